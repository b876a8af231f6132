"""Faults inside a region: the guest sees its own instruction, its own registers and exact counts."""

from __future__ import annotations

import ctypes as ct
import mmap

import guest as guests
import lab
import numpy as np
import programs
import pytest
from iced_x86 import Code, Instruction, MemoryOperand

R = guests.R
# Registers that are dead, and accumulators rounded before the instruction that reads them, may show another value; without these they may not.
STRICT = lab.ALL_PASSES & ~(1 << 2 | 1 << 3 | 1 << 6 | 1 << 7)


class Poisoned(programs.Writer):
    """A program in which r13 points to nothing, and some instruction reads there."""

    def write(self) -> guests.Guest:
        bad = MemoryOperand(R.R13, displ=16, displ_size=1)
        entry = len(self.items)
        self.fma()
        for _ in range(self.s.length):
            self.step()
        bits = 256
        choice = int(self.rng.integers(3))
        if choice == 0:
            self.add(
                Instruction.create_reg_reg_mem(guests.fma_code("231", "FMADD", bits, False, False), guests.vec(3, bits), guests.vec(1, bits), bad)
            )
        elif choice == 1:
            self.add(Instruction.create_reg_mem(Code.VEX_VMOVUPS_YMM_YMMM256, guests.vec(2, bits), bad))
        else:
            self.add(Instruction.create_mem_reg(Code.VEX_VMOVUPS_YMMM256_YMM, bad, guests.vec(2, bits)))
        for _ in range(8):
            self.step()
        self.fma()
        return self.assemble(entry)


def check(seed: int, isa: int) -> None:
    """Strictly: every register. With all optimisations: the instruction, memory and the counts."""
    rng = np.random.default_rng(seed)
    evex = isa == lab.AVX512 and rng.random() < 0.7
    shape = programs.Shape(evex=evex, registers=int(rng.choice([6, 15, 32 if evex else 16])), length=int(rng.integers(2, 25)), exits=0.05)
    guest = Poisoned(rng, shape).write()
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, isa == lab.AVX512)
    state.gpr[13] = 0x10
    operator = str(rng.choice(["bf16", "mp", "fp32"]))
    oracle = guests.Oracle(guest, operator)
    want = oracle.run(state.copy())
    memory = buffer.bytes()
    for passes in (STRICT, lab.ALL_PASSES):
        buffer.reset()
        got, fault, executed = guests.emulate(guest, state.copy(), operator, isa, lab.Limits(passes=passes))
        if oracle.fault is None:
            assert fault.rip == 0
        else:
            assert fault.guest_rip == oracle.fault
            assert fault.address in (0x20, 0x3F)
        assert buffer.bytes() == memory
        assert executed == oracle.executed
        if passes == STRICT or oracle.fault is None:
            assert guests.differences(want, got) == [], operator


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize("seed", range(120))
def test_fault_in_a_region(seed: int, isa: int) -> None:
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    check(seed, isa)


@pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")
@pytest.mark.parametrize("mode", ["bf16", "mp", "fp32"])
def test_inactive_lanes_do_not_fault(mode: str) -> None:
    """The operand straddles into a page without access; only lanes before it are active."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    at = ct.addressof(ct.c_char.from_buffer(area))
    ct.CDLL(None).mprotect(ct.c_void_p(at + page), page, 0)
    i = Instruction.create_reg_reg_mem(
        guests.fma_code("231", "FMADD", 512, False, True), guests.vec(3, 512), guests.vec(1, 512), MemoryOperand(R.RSI)
    )
    guest = guests.Guest.from_bytes(guests.encode(guests.with_mask(i, 2, False), lab.guest_base()), 0)
    rng = np.random.default_rng(0)
    state = guests.random_state(rng, guests.Buffer(rng), True)
    state.gpr[6] = at + page - 20
    state.opmask[2] = 0b10110
    ct.memmove(at + page - 20, np.arange(1.1, 6).astype(np.float32).tobytes(), 20)
    lanes: np.ndarray = np.r_[np.frombuffer(ct.string_at(at + page - 20, 20), np.uint32), np.zeros(11, np.uint32)]

    class Straddling(guests.Oracle):
        def _memory(self, *_: object) -> np.ndarray:
            return lanes

    oracle = Straddling(guest, mode)
    want = oracle.run(state.copy())
    got, fault, _ = guests.emulate(guest, state.copy(), mode, lab.AVX512, lab.Limits())
    assert not fault.rip
    assert guests.differences(want, got) == []
    state.opmask[2] |= 1 << 6
    _, fault, executed = guests.emulate(guest, state.copy(), mode, lab.AVX512, lab.Limits())
    assert fault.guest_rip == guest.entry
    assert executed["emulated"] == 0
    ct.CDLL(None).mprotect(ct.c_void_p(at + page), page, 3)


@pytest.mark.parametrize("mode", ["bf16", "fp32"])
@pytest.mark.parametrize("loop", [False, True])
def test_first_use_of_the_counters(mode: str, loop: bool) -> None:
    rng = np.random.default_rng(5)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        guest = programs.random_guest(rng, programs.Shape(evex=False, registers=12, length=12, loop=loop, exits=0.1))
        buffer = guests.Buffer(rng)
        state = guests.random_state(rng, buffer, False)
        t = lab.translate(guest.entry, mode, lab.AVX2)
        known = lab.counters(reset=True)
        first, _ = lab.run(t.code, state)
        wanted = known[: t.segments].copy()
        buffer.reset()
        counts = lab.counters(reset=True, forget=True)
        second, fault = lab.run(t.code, state)
        assert fault.counter_faults == (1 if wanted.any() else 0)
        assert (counts[: t.segments] == wanted).all()
        assert guests.differences(first, second) == []
