"""What is counted of a loop that is there twice: each pass for the loop that it began in, and what both really execute."""

from __future__ import annotations

import guest as guests
import lab
import pytest
from iced_x86 import Decoder, Mnemonic
from test_core_bounded import Sums, places, power, prepared, put

pytestmark = pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")
FMAS = 12
PASSES = 6


def loop(seed: int, **shape: bool) -> tuple[Sums, guests.Guest]:
    writer = Sums(seed, 512, rows=2, columns=FMAS // 2, **shape)
    return writer, writer.write()


def counted(guest: guests.Guest, buffer: guests.Buffer, state: lab.State) -> dict[str, int]:
    """FMAs executed, by what their segment says of them."""
    buffer.reset()
    t = lab.translate(guest.entry, "bf16", lab.AVX512, lab.Limits(vector_slots=40))
    counts = lab.counters(reset=True)
    _, fault = lab.run(t.code, state)
    assert not fault.rip
    segments = range(t.segments)
    return {kind: sum(int(counts[s]) * getattr(t.segment[s], kind) for s in segments) for kind in ("emulated", "bounded", "unbounded")}


def expected(bounded: int) -> dict[str, int]:
    return {"emulated": FMAS * PASSES, "bounded": FMAS * bounded, "unbounded": FMAS * (PASSES - bounded)}


@pytest.mark.parametrize("seed", range(4))
def test_each_pass_counts_for_the_loop_that_it_began_in(seed: int) -> None:
    writer, guest = loop(seed)
    buffer, state = prepared(seed, PASSES)
    assert counted(guest, buffer, state) == expected(PASSES)
    put(buffer, places(writer)["row"], power(-60))  # found in the second pass
    assert counted(guest, buffer, state) == expected(2)
    buffer, state = prepared(seed, PASSES)
    state.lanes()[6, 3] = power(110)  # a sum, before the loop
    assert counted(guest, buffer, state) == expected(0)
    buffer, state = prepared(seed, PASSES)
    state.mxcsr |= 0x2000  # rounds down
    assert counted(guest, buffer, state) == expected(0)


def test_what_both_loops_execute() -> None:
    """As many instructions as lie between the loop's start and the jump back to it, but for those between the exit and the first FMA."""
    for seed in range(6):
        writer, guest = loop(seed)
        t = lab.translate(guest.entry, "bf16", lab.AVX512, lab.Limits(vector_slots=40))
        code = list(Decoder(64, lab.code_of(t), ip=t.code))
        at = {i.ip: n for n, i in enumerate(code)}
        ends = [n for n, i in enumerate(code) if i.mnemonic == Mnemonic.JMP and i.near_branch_target in at and i.near_branch_target < i.ip]
        lengths = [n - at[code[n].near_branch_target] for n in ends[:2]]  # code behind the loops follows
        full, bounded = ([t.segment[s].instructions for s in range(t.segments) if getattr(t.segment[s], kind)] for kind in ("unbounded", "bounded"))
        assert [sum(bounded) + writer.entry, sum(full) + writer.entry] == lengths
        assert lengths[0] < lengths[1]


def test_other_loops_are_neither() -> None:
    _, guest = loop(0, early=True)
    buffer, state = prepared(0, PASSES)
    state.rflags &= ~64  # DEC is before the entry
    assert counted(guest, buffer, state) == {"emulated": FMAS * (PASSES + 1), "bounded": 0, "unbounded": 0}
