"""Loops made 512 bits wide: the same results, counts and flags, and states that a program can be resumed from."""

from __future__ import annotations

import ctypes as ct
import mmap

import guest as guests
import kernels
import lab
import numpy as np
import pytest

from fase.operators import parse

pytestmark = pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")
WIDEN = 1 << 7
OPERATORS = [
    "bf16", "mp", "e8m10,e8m7,e8m23,e8m12", "e8m7,e8m7,e8m23,e8m7", "g1/3/-6/00000000/43e00000/c3e00000/nnns/rne," * 3 + "e8m23",
    *(parse(mode).description.text for mode in ("bf16-2_2-3", "bf16-1_2", "bf16,exact")),
]  # fmt: skip


def is_widened(seed: int, limits: lab.Limits, isa: int = lab.AVX512) -> bool:
    guest, _ = kernel(seed)
    limits.excluded = guest.excluded
    t = lab.translate(guest.entry, "bf16", isa, limits)
    return any("vinsertf32x8" in line for line in lab.disassemble(lab.code_of(t), t.code))


def kernel(seed: int, bits: int = 256) -> tuple[guests.Guest, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return kernels.Kernel(rng, float(rng.choice([0, 0, 0.05, 0.2])), bits).write(), rng


@pytest.mark.parametrize(("bits", "seed"), [*((256, seed) for seed in range(200)), *((512, seed) for seed in range(80))])
def test_kernel_equals_the_oracle(bits: int, seed: int) -> None:
    guest, rng = kernel(seed, bits)
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, True)
    state.gpr[13] = state.gpr[7] - 512
    operator = str(rng.choice(OPERATORS))
    limits = lab.Limits()
    if rng.random() < 0.4:
        limits.passes = int(rng.choice([WIDEN, *(lab.ALL_PASSES & ~(1 << b) for b in range(9))]))
    if rng.random() < 0.2:
        limits.scratch_registers = int(rng.integers(0, 10))
    limits.vector_slots = int(rng.choice([8, 14, 40]))
    if "literals" in operator:
        limits.vector_slots = max(limits.vector_slots, 14)
    oracle = guests.Oracle(guest, operator)
    expected = oracle.run(state.copy())
    memory = buffer.bytes()
    buffer.reset()
    got, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, limits)
    assert not fault.rip
    assert guests.differences(expected, got) == [], (operator, limits)
    assert buffer.bytes() == memory
    assert executed == oracle.executed


def test_kernels_are_widened() -> None:
    """Many of them, and none where the pass is off or the AVX2 emitter is asked for."""
    assert sum(is_widened(seed, lab.Limits()) for seed in range(60)) >= 15
    assert not any(is_widened(seed, lab.Limits(passes=lab.ALL_PASSES & ~WIDEN)) for seed in range(60))
    assert not any(is_widened(seed, lab.Limits(), lab.AVX2) for seed in range(60))


@pytest.mark.parametrize("seed", range(120))
def test_state_after_a_fault_can_be_resumed(seed: int) -> None:
    """The rows run into a page without access. From the state that is shown there, the oracle goes on to the same end."""
    guest, rng = kernel(seed)
    buffer = guests.Buffer(rng)
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    rows = ct.addressof(ct.c_char.from_buffer(area))
    area.write(guests.random_values(rng, page // 2).tobytes())
    state = guests.random_state(rng, buffer, True)
    state.gpr[1] = 6
    state.gpr[13] = rows + page - 64 * int(rng.integers(3, 8)) - 4 * int(rng.integers(16))
    operator = str(rng.choice(OPERATORS))
    whole = guests.Oracle(guest, operator)
    expected = whole.run(state.copy())
    memory = buffer.bytes()
    buffer.reset()
    protect = ct.CDLL(None).mprotect
    protect(ct.c_void_p(rows + page), ct.c_size_t(page), 0)
    limits = lab.Limits(passes=int(rng.choice([lab.ALL_PASSES, WIDEN, lab.ALL_PASSES & ~(1 << 6)])))
    got, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, limits)
    protect(ct.c_void_p(rows + page), ct.c_size_t(page), 3)
    if fault.rip:
        assert rows + page <= fault.address < rows + page + 4096
        rest = guests.Oracle(guest, operator)
        got = rest.run(got, at=fault.guest_rip)
        executed = {key: executed[key] + rest.executed[key] for key in executed}
    assert guests.differences(expected, got) == [], (operator, limits)
    assert buffer.bytes() == memory
    assert executed == whole.executed
