"""Random regions: emitted code equals the one-at-a-time oracle, whatever the limits and whichever optimisations run."""

from __future__ import annotations

from dataclasses import replace

import guest as guests
import lab
import numpy as np
import programs
import pytest

PASSES = [lab.ALL_PASSES, 0, *(lab.ALL_PASSES & ~(1 << b) for b in range(9)), *(1 << b for b in range(9))]
OPERATORS = [
    "bf16",
    "mp",
    "fp32",
    "e8m10,e8m7,e8m23,e8m12",
    "e8m5,e8m5,e8m5,e8m5",
    "e8m7,e8m7,e8m23,e8m7",
    "e8m23,e8m10,e8m10,e8m22",
    "e8m7,e8m7,e8m7,e8m23",
]


def random_limits(rng: np.random.Generator) -> lab.Limits:
    limits = lab.Limits()
    if rng.random() < 0.5:
        limits.passes = int(rng.choice(PASSES))
    if rng.random() < 0.3:
        limits.scratch_registers = int(rng.integers(0, 12))
    if rng.random() < 0.3:
        limits.vector_slots = int(rng.integers(6, 30))
    if rng.random() < 0.25:
        limits.instructions = int(rng.integers(1, 30))
    if rng.random() < 0.15:
        limits.fmas = int(rng.integers(1, 8))
    limits.loops = rng.random() < 0.85
    limits.side_exits = rng.random() < 0.85
    limits.first_counter = int(rng.integers(0, 1000))
    return limits


def random_shape(rng: np.random.Generator, evex: bool) -> programs.Shape:
    return programs.Shape(
        evex=evex,
        registers=int(rng.choice([6, 14, 28, 32])) if evex else int(rng.choice([6, 12, 15, 16])),
        length=int(rng.integers(3, 60)),
        loop=rng.random() < 0.5,
        exits=float(rng.choice([0, 0.05, 0.2])),
        masks=float(rng.choice([0, 0.3])),
        memory=float(rng.choice([0.1, 0.4, 0.8])),
        scalar=float(rng.choice([0, 0.1, 0.6])),
        accumulate=rng.random() < 0.5,
        fma=float(rng.choice([0.3, 0.6, 0.9])),
        stores=rng.random() < 0.6,
    )


def check(seed: int, isa: int, operator: str = "", fp64: float = 0.05) -> None:
    rng = np.random.default_rng(seed)
    evex = isa == lab.AVX512 and rng.random() < 0.8
    guest = programs.random_guest(rng, replace(random_shape(rng, evex), fp64=fp64))
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, isa == lab.AVX512)
    operator = operator or str(rng.choice(OPERATORS))
    limits = random_limits(rng)
    if "literals" in operator:  # one FMA alone needs so much scratch; groups of broadcasts want more
        limits.vector_slots = 40 if seed % 2 else max(limits.vector_slots, 14)

    oracle = guests.Oracle(guest, operator)
    expected = oracle.run(state.copy())
    expected_memory = buffer.bytes()
    buffer.reset()
    got, fault, executed = guests.emulate(guest, state.copy(), operator, isa, limits)
    assert oracle.fault is None
    assert fault.rip == 0, f"fault at {fault.rip:x}"
    assert guests.differences(expected, got) == [], (operator, limits)
    assert buffer.bytes() == expected_memory
    assert executed == oracle.executed


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize("seed", range(150))
def test_random_region(seed: int, isa: int) -> None:
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    check(seed, isa)
