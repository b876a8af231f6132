"""Double-precision FMAs under an operator: emitted code against the reference, bit for bit."""

from __future__ import annotations

import itertools
import zlib

import guest as guests
import lab
import numpy as np
import pytest
from guest import KINDS
from test_core_forms import FORMS, instructions
from test_core_regions import check as check_region

import fase
from fase.errors import FormatError
from fase.formats import get
from fase.formats.carrier import BINARY64
from fase.formats.description import Grid
from fase.formats.format import Format
from fase.formats.roundings import parse_rounding
from fase.operators import parse
from fase.operators.parse import parse_fp64

ISAS = [isa for isa in lab.ISAS if isa == lab.AVX2 or lab.HAS_AVX512]
ROUNDINGS = ["rne", "rtz", "rup", "rdn", "rna", "odd"]
NAMES = [
    "fp32", "bf16", "fp16", "tf32", "e11m20", "e11m1", "e11m51", "e11m0", "e10m52", "e10m51", "e10m45", "e8m40", "e8m52", "e5m2", "e4m3fn",
    "e4m3fnuz", "e2m1", "e3m0", "e11m52:sat", "e11m30:sat", "e11m30:flush", "fp32:flush", "fp32:flush=after", "fp32:sat", "fp32:uz", "e11m12:uz",
    "q7.8", "int16", "int53", "e5m2:sat", "e4m3:overflow=inf:inf=nan:nan=max", "dlfloat16", "e4m3:bias=500", "k8p3", "e1m3", "e8m0",
    "e11m52:nan=max", "fp16:nan=zero", "e9m10", "fp32:inf=max",
]  # fmt: skip
MODES = [
    "fp32",
    "mp-bf16",
    "a=bf16,b=bf16,c=fp32,d=fp32",
    "e11m20",
    "mp-e11m20,rounding=rtz",
    "fp16,rounding=rtz",
    "fp64",
    "a=e4m3,b=fp16,c=e11m30,d=e8m40",
]


def described(name: str, rounding: str) -> tuple[Format, str]:
    """A format on the binary64 grid and its text; skips what is no combination."""
    fmt = get(name, BINARY64)
    try:
        grid = fmt.describe(*parse_rounding(rounding, fmt))
    except FormatError as error:
        pytest.skip(str(error))
    assert isinstance(grid, Grid)
    return fmt, grid.text


def strata(fmt: Format, count: int) -> np.ndarray:
    """Random encodings, values of the format, ties and their neighbours, the ends, special ones."""
    rng = np.random.default_rng(zlib.crc32(fmt.name.encode()))
    exponents = rng.uniform(np.log2(max(fmt.smallest, 5e-324)) - 3, np.log2(fmt.max) + 2, count).clip(-1074, 1023.9)
    inside = rng.choice([-1, 1], count) * 2.0**exponents
    values = fase.round64(inside, fmt).view(np.int64)
    half = 1 << max(0, 51 - fmt.mantissa)
    ties = [values + half * k + s for k in (0, 1, -1) for s in (-1, 0, 1)]
    steps = (fmt.smallest * np.arange(40) / 8).view(np.int64)
    with np.errstate(over="ignore"):
        edges = np.array([fmt.max, fmt.min, fmt.max * (1 + fmt.epsilon / 2), fmt.max * (1 + fmt.epsilon / 4)], np.float64).view(np.int64)
    special = np.array([0, 0x7FF << 52, (0x7FF << 52) + 1, (1 << 63) - 1, (0x7FF8 << 48) + 12345, 1, (1 << 52) - 1, 1 << 52, (0x7FF << 52) - 1])
    parts = [rng.integers(-(2**63), 2**63 - 1, count), inside.view(np.int64), *ties, steps, edges, special]
    return np.concatenate([*parts, *(p | np.int64(-(2**63)) for p in (steps, special))]).view(np.float64)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", NAMES)
def test_rounding_strata(name: str, rounding: str) -> None:
    fmt, text = described(name, rounding)
    x = strata(fmt, 1200)
    want = fase.round64(x, fmt, rounding=rounding).view(np.uint64)
    for isa in ISAS:
        got = lab.round64(text, isa, x).view(np.uint64)
        wrong = np.nonzero(got != want)[0]
        assert wrong.size == 0, (text, isa, *(f"{v[wrong[0]]:016x}" for v in (x.view(np.uint64), want, got)))


@pytest.mark.parametrize("isa", ISAS)
def test_fp32_equals_the_cpu(isa: int) -> None:
    """NumPy converts by the CPU's cvtpd2ps; the oracle shares nothing with the reference."""
    x = strata(get("fp32", BINARY64), 100_000)
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(np.float32).astype(np.float64)
    got = lab.round64(get("fp32", BINARY64).spec, isa, x)
    assert (got.view(np.uint64) == want.view(np.uint64)).all()


@pytest.mark.parametrize(("isa", "evex"), [(lab.AVX2, False), (lab.AVX512, False), (lab.AVX512, True)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_form(kind: str, form: str, isa: int, evex: bool) -> None:
    if isa not in ISAS:
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    texts = itertools.cycle(parse_fp64(m).description.text for m in MODES)
    thinned = 1 if kind in ("FMADD", "FMSUBADD") else 3
    for insn in itertools.islice(instructions(form, kind, evex, rng, fp64=True), 0, None, thinned):
        guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
        text = "bf16;" + next(texts)
        state = guests.random_state(rng, buffer, True)
        want = guests.Oracle(guest, text).run(state.copy())
        got, fault, executed = guests.emulate(guest, state.copy(), text, isa, lab.Limits())
        assert not fault.rip
        assert executed == dict.fromkeys(lab.COUNTS, 0) | {"fp64_emulated": 1}
        assert guests.differences(want, got) == [], (str(insn), text)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
def test_regions(mode: str, isa: int) -> None:
    """Both precisions in one region, each under its own operator."""
    for seed, single in zip(range(12), itertools.cycle(("bf16", "mp", "fp32", "e5m2")), strict=False):
        text = parse(f"{single};fp64={mode}").description.text
        check_region(zlib.crc32(mode.encode()) + seed, isa, text, fp64=(0.5, 0.9, 0.3)[seed % 3])


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("mode", MODES)
def test_fma_equals_reference(mode: str, form: int) -> None:
    rng = np.random.default_rng(5)
    n = 6000

    def operand() -> np.ndarray:
        usual = rng.standard_normal(n) * 2.0 ** rng.integers(-12, 12, n)
        any_bits = rng.integers(-(2**63), 2**63 - 1, n).view(np.float64)
        return np.where(rng.random(n) < 0.25, any_bits, np.where(rng.random(n) < 0.1, rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan], n), usual))

    a, b, c = operand(), operand(), operand()
    want = fase.fma64(a, b, c, mode).view(np.uint64)
    for isa in ISAS:
        got = lab.fma64(parse(f"fp32;fp64={mode}").description.text, isa, form, a, b, c).view(np.uint64)
        assert (got == want).all(), isa
