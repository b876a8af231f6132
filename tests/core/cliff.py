"""Two pages of memory, the second of which can be closed; what a program that runs into it is shown, and how it goes on from there."""

from __future__ import annotations

import ctypes as ct
import mmap

import guest as guests
import lab
import numpy as np


class Cliff:
    """`words`: what is in the pages. `edge`: the address where the second one begins."""

    def __init__(self, words: np.ndarray):
        self._area = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        self._area.write(words.tobytes())
        self.edge = ct.addressof(ct.c_char.from_buffer(self._area)) + mmap.PAGESIZE

    def close(self, closed: bool) -> None:
        assert ct.CDLL(None).mprotect(ct.c_void_p(self.edge), ct.c_size_t(mmap.PAGESIZE), 0 if closed else 3) == 0

    def check(self, guest: guests.Guest, state: lab.State, operator: str) -> lab.State:
        """Emulated up to the fault, and by the oracle from there, is by the oracle from the start. Returns what was shown at the fault."""
        whole, rest = guests.Oracle(guest, operator), guests.Oracle(guest, operator)
        expected = whole.run(state.copy())
        self.close(True)
        shown, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, lab.Limits(vector_slots=40))
        self.close(False)
        assert fault.rip
        assert guests.differences(expected, rest.run(shown.copy(), at=fault.guest_rip)) == []
        assert {key: executed[key] + rest.executed[key] for key in executed} == whole.executed
        return shown
