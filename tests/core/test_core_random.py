"""Stochastic rounding: the values, the order in which random bits are drawn, and that no optimisation loses or adds a draw."""

from __future__ import annotations

import zlib

import guest as guests
import lab
import numpy as np
import programs
import pytest
from iced_x86 import Instruction, MemoryOperand
from test_core_formats import ISAS, strata
from test_core_forms import instructions
from test_core_regions import random_limits, random_shape

import fase
from fase.formats import get
from fase.formats.description import Grid
from fase.formats.rounding import on_grid
from fase.formats.roundings import parse_rounding
from fase.operators import parse

FORMATS = [
    "bf16", "fp16", "tf32", "e4m3fn", "e5m2", "e4m3fnuz", "e2m1", "e2m3", "e8m13", "dlfloat16", "k8p3", "mxint8", "int8", "int24", "e8m0", "e3m0",
    "e6m23", "e7m22", "e1m3", "e5m2:flush", "bf16:flush", "fp32:flush", "e4m3:sat", "e4m3:bias=100", "e4m3:bias=-100", "e7m20", "e8m22",
    "bf16:uz", "fp16:nan=max", "int16:scale=2^-8",
]  # fmt: skip
MODES = [
    "bf16,rounding=sr", "bf16,rounding=sr4,seed=255", "mp,rounding=sr", "bf16,rounding-d=sr", "bf16,rounding-c=sr3", "mp-fp16,rounding-b=sr,seed=7",
    "fp16,rounding=sr",
    "e4m3,rounding=sr", "a=bf16,b=e5m2,d=e8m13,rounding-a=sr,rounding-d=sr9", "bf16,exact,rounding=sr",
    "bf16,exact,rounding-d=sr8,seed=3",
]  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rounding", ["sr", "sr1", "sr5"])
@pytest.mark.parametrize("name", FORMATS)
def test_values(name: str, rounding: str, isa: int) -> None:
    fmt = get(name)
    _, most = parse_rounding("sr", fmt)
    grid = fmt.describe(*parse_rounding(f"sr{most}" if rounding == "sr5" and most < 5 else rounding, fmt))
    assert isinstance(grid, Grid)
    bits = strata(fmt, 2000)
    x = np.concatenate([bits, bits, np.arange(0, 1 << 32, 1234577).astype(np.uint32)])
    rng = np.random.default_rng(3)
    random = rng.integers(0, 1 << 32, x.size, dtype=np.uint64).astype(np.uint32)
    random[: bits.size // 4], random[bits.size // 4 : bits.size // 2] = 0, 0xFFFFFFFF
    with np.errstate(invalid="ignore"):
        want = on_grid(x.view(np.float32).astype(np.float64), x.view(np.float32), grid, random >> np.uint32(32 - grid.random_bits))
    got = lab.round_randomly(grid.text, isa, x.view(np.float32), random).view(np.uint32)
    wrong = np.nonzero(got != want.view(np.uint32))[0]
    assert wrong.size == 0, (grid.text, *(f"{v[wrong[0]]:08x}" for v in (x, random, want.view(np.uint32), got)))


def check_region(seed: int, isa: int, text: str, thread: int) -> None:
    """Result, memory and number of draws, whatever the limits and passes."""
    rng = np.random.default_rng(seed)
    evex = isa == lab.AVX512 and rng.random() < 0.8
    guest = programs.random_guest(rng, random_shape(rng, evex))
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, isa == lab.AVX512)
    limits = random_limits(rng)
    limits.vector_slots = max(limits.vector_slots, 12)  # what a late agent has
    oracle = guests.Oracle(guest, text)
    oracle.thread = thread
    expected = oracle.run(state.copy())
    memory = buffer.bytes()
    buffer.reset()
    position = lab.start_stream(oracle.seed, thread)
    got, fault, executed = guests.emulate(guest, state.copy(), text, isa, limits)
    assert oracle.fault is None
    assert fault.rip == 0
    assert guests.differences(expected, got) == [], (text, limits)
    assert buffer.bytes() == memory
    assert executed == oracle.executed
    assert position[0] == oracle.draws * 0x9E3779B9 % 2**32


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
def test_regions(mode: str, isa: int) -> None:
    for seed in range(8):
        check_region(zlib.crc32(mode.encode()) + seed, isa, parse(mode).description.text, seed)


@pytest.mark.parametrize(("isa", "evex"), [(lab.AVX2, False), (lab.AVX512, False), (lab.AVX512, True)])
@pytest.mark.parametrize("form", ["132", "213", "231"])
@pytest.mark.parametrize("mode", ["bf16,rounding=sr", "e4m3,rounding-b=sr2"])
def test_form(mode: str, form: str, isa: int, evex: bool) -> None:
    if isa not in ISAS:
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    text = parse(mode).description.text
    for kind in ("FMADD", "FNMSUB", "FMADDSUB"):
        for insn in instructions(form, kind, evex, rng):
            guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
            state = guests.random_state(rng, buffer, True)
            oracle = guests.Oracle(guest, text)
            want = oracle.run(state.copy())
            position = lab.start_stream(0, 0)
            got, fault, _ = guests.emulate(guest, state.copy(), text, isa, lab.Limits())
            assert not fault.rip
            assert guests.differences(want, got) == [], (str(insn), mode)
            assert position[0] == oracle.draws * 0x9E3779B9 % 2**32


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", range(3))
def test_arrays_equal_the_reference(mode: str, form: int, isa: int) -> None:
    """Instructions of a full vector, one after the other: `fase.fma` with its `lanes`."""
    rng = np.random.default_rng(form)
    lanes = 16 if isa == lab.AVX512 else 8
    a, b, c = (guests.random_values(rng, 20_000).view(np.float32) for _ in range(3))
    operator = parse(mode)
    lab.start_stream(operator.seed, 5)
    got = lab.fma(operator.description.text, isa, form, a, b, c)
    assert (got.view(np.uint32) == fase.fma(a, b, c, mode, thread=5, lanes=lanes).view(np.uint32)).all()


def test_a_faulting_instruction_draws_nothing() -> None:
    """Its memory operand is read before the thread's count changes."""
    insn = Instruction.create_reg_reg_mem(
        guests.fma_code("231", "FMADD", 256, False, False), guests.vec(3, 256), guests.vec(1, 256), MemoryOperand(guests.R.R13)
    )
    guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
    rng = np.random.default_rng(0)
    state = guests.random_state(rng, guests.Buffer(rng), lab.HAS_AVX512)
    state.gpr[13] = 0x10
    for isa in ISAS:
        for mode in ("bf16,rounding=sr", "mp,rounding=sr", "a=bf16,b=fp32,c=fp32,d=bf16,rounding=sr"):
            position = lab.start_stream(0, 0)
            got, fault, executed = guests.emulate(guest, state.copy(), parse(mode).description.text, isa, lab.Limits())
            assert fault.guest_rip == guest.entry
            assert executed["emulated"] == 0
            assert position[0] == 0
            assert guests.differences(state, got) == []
