"""Broadcast operands rounded together: with gaps between them, kept beside their own value, and no byte of a page that the program does not read."""

from __future__ import annotations

import ctypes as ct
import mmap

import guest as guests
import lab
import numpy as np
import programs
import pytest
from guest import R, fma_code, vec
from iced_x86 import Code, Instruction, MemoryOperand

from fase.operators import parse

GROUPS = 1 << 5
OPERATORS = ["bf16", "mp", "g1/3/-6/00000000/43e00000/c3e00000/nnns/rne," * 3 + "e8m23", parse("bf16-2_2-3").description.text]


class Panel(programs.Writer):
    """A loop over a panel's columns, some of which it leaves out; a store behind it, or an exit in it, wants the last factor as it is."""

    def __init__(self, rng: np.random.Generator, bits: int):
        super().__init__(rng, programs.Shape())
        self.width = bits
        steps = rng.choice([4, 8, 12, 16, 20, 24], size=int(rng.integers(5, 24)), p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
        self.places = [0, *np.cumsum(steps).tolist()]
        self.bytes = self.places[-1] + 4

    def write(self) -> guests.Guest:
        evex = self.width == 512
        load = Code.EVEX_VBROADCASTSS_ZMM_K1Z_XMMM32 if evex else Code.VEX_VBROADCASTSS_YMM_M32
        code = fma_code("231", "FMADD", self.width, False, evex)
        late = bool(self.chance(0.5))
        for n, place in enumerate(self.places):
            self.add(Instruction.create_reg_mem(load, vec(4, self.width), MemoryOperand(R.RSI, displ=place, displ_size=8)))
            if late and n == len(self.places) - 1:
                self.items.append(("exit", int(self.rng.choice(list(guests.CONDITIONS)))))
            for half in range(2):
                self.add(Instruction.create_reg_reg_reg(code, vec(6 + (2 * n + half) % 8, self.width), vec(4, self.width), vec(half, self.width)))
        self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
        self.items.append(("back", 5))
        store = Code.EVEX_VMOVUPS_ZMMM512_K1Z_ZMM if evex else Code.VEX_VMOVUPS_YMMM256_YMM
        self.add(Instruction.create_mem_reg(store, MemoryOperand(R.RDI, displ=64, displ_size=1), vec(4, self.width)))
        return self.assemble(1)


class Fence:
    """One readable page between two that are not."""

    def __init__(self, contents: bytes):
        self.area = mmap.mmap(-1, 3 * mmap.PAGESIZE)
        self.area[mmap.PAGESIZE : mmap.PAGESIZE + len(contents)] = contents
        self.start = ct.addressof(ct.c_char.from_buffer(self.area)) + mmap.PAGESIZE
        self.end = self.start + mmap.PAGESIZE
        self._protect(0)

    def open(self) -> None:
        self._protect(3)

    def _protect(self, access: int) -> None:
        protect = ct.CDLL(None, use_errno=True).mprotect
        for at in (self.start - mmap.PAGESIZE, self.end):
            assert protect(ct.c_void_p(at), ct.c_size_t(mmap.PAGESIZE), access) == 0


def translated(guest: guests.Guest, operator: str, isa: int, limits: lab.Limits) -> str:
    limits.excluded = guest.excluded
    t = lab.translate(guest.entry, operator, isa, limits)
    return "\n".join(lab.disassemble(lab.code_of(t), t.code))


def cases() -> list[tuple[int, int]]:
    return [(lab.AVX2, 256), (lab.AVX512, 256), (lab.AVX512, 512)] if lab.HAS_AVX512 else [(lab.AVX2, 256)]


@pytest.mark.parametrize(("isa", "bits"), cases())
@pytest.mark.parametrize("seed", range(24))
def test_panel_between_pages_without_access(seed: int, isa: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    panel = Panel(rng, bits)
    guest, buffer = panel.write(), guests.Buffer(rng)
    fence = Fence(guests.random_values(rng, mmap.PAGESIZE // 4).tobytes())
    operator = OPERATORS[seed % len(OPERATORS)]
    for start in (fence.start, fence.end - panel.bytes):
        state = guests.random_state(rng, buffer, isa == lab.AVX512)
        state.gpr[6] = start
        buffer.reset()
        oracle = guests.Oracle(guest, operator)
        expected, memory = oracle.run(state.copy()), buffer.bytes()
        for passes in (lab.ALL_PASSES, lab.ALL_PASSES & ~GROUPS, GROUPS):
            buffer.reset()
            limits = lab.Limits(passes=passes, vector_slots=40)
            got, fault, executed = guests.emulate(guest, state.copy(), operator, isa, limits)
            assert not fault.rip
            assert guests.differences(expected, got) == []
            assert buffer.bytes() == memory
            assert executed == oracle.executed
    fence.open()


@pytest.mark.parametrize(("isa", "bits"), cases())
def test_panels_with_gaps_are_grouped(isa: int, bits: int) -> None:
    """Each broadcast of the program has become one from scratch, or two loads of which one is; the sequence that rounds is there less often."""
    fewer = 0
    for seed in range(20):
        guest = Panel(np.random.default_rng(seed), bits).write()
        with_groups, without = (
            translated(guest, "mp", isa, lab.Limits(passes=passes, vector_slots=40)) for passes in (lab.ALL_PASSES, lab.ALL_PASSES & ~GROUPS)
        )
        fewer += with_groups.count("vpsrld") < 0.7 * without.count("vpsrld")
        assert "vbroadcastss" in with_groups
    assert fewer >= 15
