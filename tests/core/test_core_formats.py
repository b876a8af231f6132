"""Any format on the binary32 grid, in all deterministic roundings: emitted code against the reference, bit for bit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import guest as guests
import lab
import numpy as np
import pytest
from test_core_forms import instructions
from test_core_regions import check as check_region

import fase
from fase.errors import FormatError
from fase.formats import catalogue, get
from fase.formats.description import Grid
from fase.formats.format import Format, GridFormat
from fase.formats.roundings import parse_rounding
from fase.operators import parse
from fase.operators.compound import SEEDS

ISAS = [isa for isa in lab.ISAS if isa == lab.AVX2 or lab.HAS_AVX512]
ROUNDINGS = ["rne", "rtz", "rup", "rdn", "rna", "odd"]
ODDITIES = [
    "e8m0", "e3m0", "e1m3", "e5m2:flush", "e4m3:flush=after", "e4m3:sat", "e5m2:sat", "e8m10:flush=after", "fp32:flush", "bf16:flush", "e6m23",
    "e4m3:bias=-3", "e4m3:bias=100", "e4m3:bias=-100", "e4m3:uz", "e4m3:overflow=inf:inf=nan:nan=max", "q2.5", "int8:symmetric", "int16:scale=2^-8",
    "int24", "e8m22", "e2m1:nan=nan", "bf16:sat", "fp16:sat", "e7m22", "e7m20", "int8:overflow=inf:inf=nan:nan=nan", "e5m2:inf=max", "bf16:uz",
    "e7m1",
]  # fmt: skip
NAMES = [*(name for name, f in catalogue().items() if isinstance(f, GridFormat) and not f.is_fp32), *ODDITIES]
MODES = ["fp16", "e4m3fn", "e5m2", "e4m3fnuz", "e2m1", "mp-fp16", "a=e4m3,b=e5m2,c=fp16,d=e8m13", "mxint8", "bf16,rounding=rtz", "tpu-v3"]
EXACT = ["bf16,exact", "e4m3,exact", "a=bf16,b=fp16,c=fp32,d=e8m12,exact"]
OWN_SUMS = [*EXACT, *guests.COMPOUND]  # no trace in MXCSR, whatever it says


def grid_text(fmt: Format, rounding: str) -> str:
    """The description; skips what is no combination."""
    try:
        described = fmt.describe(*parse_rounding(rounding, fmt))
    except FormatError as error:
        pytest.skip(str(error))
    assert isinstance(described, Grid)
    return described.text


def strata(fmt: Format, count: int) -> np.ndarray:
    """Encodings: random ones, values of the format, ties and their neighbours, the ends, special ones."""
    rng = np.random.default_rng(zlib.crc32(fmt.name.encode()))
    exponents = rng.uniform(np.log2(max(fmt.smallest, 2.0**-148)) - 3, np.log2(fmt.max) + 2, count).clip(-149, 127.9)
    inside = (rng.choice([-1, 1], count) * 2.0**exponents).astype(np.float32)
    values = fase.round(inside, fmt).view(np.uint32).astype(np.int64)
    half = 1 << max(0, 22 - fmt.mantissa)
    ties = [values + half * k + s for k in (0, 1, -1) for s in (-1, 0, 1)]
    steps = np.array([fmt.smallest * k / 8 for k in range(40)], np.float32).view(np.uint32)
    ends = np.array([fmt.max, fmt.min, fmt.max * (1 + fmt.epsilon / 2), fmt.max * (1 + fmt.epsilon / 4)], np.float64)
    with np.errstate(over="ignore"):
        edges = ends.astype(np.float32).view(np.uint32)
    special = np.array([0, 0x7F800000, 0x7F800001, 0x7FFFFFFF, 0x7FC12345, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF])
    parts = [rng.integers(0, 1 << 32, count), inside.view(np.uint32), *ties, steps, edges, special, *(p + (1 << 31) for p in (steps, special))]
    return np.concatenate([(p.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32) for p in parts])


def check_rounding(name: str, rounding: str, isa: int, inputs: Iterator[np.ndarray]) -> None:
    fmt = get(name)
    text = grid_text(fmt, rounding)
    for x in inputs:
        want = fase.round(x.view(np.float32), fmt, rounding=rounding).view(np.uint32)
        for in_place in (False, True):
            got = lab.round_to(text, isa, x.view(np.float32), in_place=in_place).view(np.uint32)
            wrong = np.nonzero(got != want)[0]
            assert wrong.size == 0, (text, in_place, *(f"{v[wrong[0]]:08x}" for v in (x, want, got)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", NAMES)
def test_rounding_strata(name: str, rounding: str, isa: int) -> None:
    check_rounding(name, rounding, isa, iter([strata(get(name), 3000)]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["fp16", "e5m2", "e5m2:sat", "e4m3fn", "e4m3fnuz", "k8p3", "e3m4", "e2m1", "mxint8"])
def test_rounding_a_million(name: str, isa: int) -> None:
    check_rounding(name, "rne", isa, iter([strata(get(name), 90_000), np.arange(0, 1 << 32, 26801, dtype=np.uint64).astype(np.uint32)]))


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [n for n in NAMES if get(n).bits <= 16 or n in ("fp22", "tf32")])
def test_rounding_every_input(name: str) -> None:
    """All 2^32 inputs by both emitters; by the reference, since rounding is monotonic, the ends of every run of neighbours with one result."""
    text, block = grid_text(get(name), "rne"), 1 << 22
    ways = [(isa, in_place) for isa in ISAS for in_place in (False, True)]
    for start in range(0, 1 << 32, block):
        x = np.arange(start, start + block, dtype=np.uint32)
        first, *others = (lab.round_to(text, isa, x.view(np.float32), in_place=in_place).view(np.uint32) for isa, in_place in ways)
        for way, other in zip(ways[1:], others, strict=True):
            assert np.array_equal(first, other), (text, way, f"{x[first != other][0]:08x}")
        changes = np.flatnonzero(first[1:] != first[:-1])
        ends = np.unique(np.r_[0, changes, changes + 1, block - 1])
        wrong = ends[fase.round(x[ends].view(np.float32), name).view(np.uint32) != first[ends]]
        assert wrong.size == 0, (text, f"{x[wrong[0]]:08x}")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["fp16", "e5m2", "e4m3fn", "e4m3fnuz", "k8p3", "e8m3:sat", "e7m22", "e5m2:sat"])
def test_short_form_is_right_for_values(name: str, isa: int) -> None:
    """Without the care for NaNs off the grid."""
    fmt = get(name)
    x = strata(fmt, 3000)
    x = np.where(np.isnan(x.view(np.float32)), fase.round(x.view(np.float32), fmt).view(np.uint32), x)
    want = fase.round(x.view(np.float32), fmt).view(np.uint32)
    for in_place in (False, True):
        got = lab.round_to(grid_text(fmt, "rne"), isa, x.view(np.float32), nan_fix=False, in_place=in_place).view(np.uint32)
        assert (got == want).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["e2m1", "e3m2", "e2m3", "e5m2:sat", "e4m3:sat:uz", "fp16", "mxint8", "bf16"])
def test_shortest_form_is_right_for_finite_values(name: str, isa: int) -> None:
    x = strata(get(name), 3000).view(np.float32)
    x = x[np.isfinite(x)]
    want = fase.round(x, name).view(np.uint32)
    for in_place in (False, True):
        got = lab.round_to(grid_text(get(name), "rne"), isa, x, nan_fix=False, in_place=in_place, finite=True).view(np.uint32)
        assert (got == want).all()


@pytest.mark.parametrize(("isa", "evex"), [(lab.AVX2, False), (lab.AVX512, False), (lab.AVX512, True)])
@pytest.mark.parametrize("form", ["132", "213", "231"])
@pytest.mark.parametrize("mode", [*MODES, *OWN_SUMS])
def test_form(mode: str, form: str, isa: int, evex: bool) -> None:
    if isa not in ISAS:
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    text = parse(mode).description.text
    for kind in ("FMADD", "FNMSUB"):
        for insn in instructions(form, kind, evex, rng):
            guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
            state = guests.random_state(rng, buffer, True)
            want = guests.Oracle(guest, text).run(state.copy())
            got, fault, executed = guests.emulate(guest, state.copy(), text, isa, lab.Limits())
            assert not fault.rip
            assert executed["emulated"] == 1
            assert guests.differences(want, got) == [], (str(insn), mode)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", [*SEEDS[1:], "fp16-3_3-9", "e5m2-3_3-9", "bf16,exact"])
def test_every_fma_finds_room(mode: str, isa: int) -> None:
    """Registers, and the scratch of an agent that was loaded late (native/CMakeLists.txt)."""
    rng = np.random.default_rng(3)
    limits = lab.Limits(vector_slots=12)
    for form in ("132", "213", "231"):
        for insn in instructions(form, "FMADD", isa == lab.AVX512, rng):
            guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
            assert lab.translate(guest.entry, parse(mode).description.text, isa, limits).status == lab.OK, str(insn)


@pytest.mark.parametrize("mxcsr", [0x1F80, 0x3FB3, 0x5FC0, 0xFF80, 0x9FC0])
@pytest.mark.parametrize("mode", OWN_SUMS)
def test_own_sums_whatever_mxcsr(mode: str, mxcsr: int) -> None:
    """With AVX2: every rounding mode, DAZ, FTZ, flags that are set; tiny operands among others."""
    rng = np.random.default_rng(mxcsr)
    buffer = guests.Buffer(rng)
    text = parse(mode).description.text
    for form, kind in (("132", "FMADD"), ("213", "FMSUBADD"), ("231", "FNMSUB"), ("231", "FMADDSUB")):
        for insn in instructions(form, kind, False, rng):
            guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
            state = guests.random_state(rng, buffer, True)
            state.lanes()[:, ::3] &= np.uint32(0x9FFFFFFF)
            state.mxcsr = mxcsr
            want = guests.Oracle(guest, text).run(state.copy())
            got, fault, _ = guests.emulate(guest, state.copy(), text, lab.AVX2, lab.Limits())
            assert not fault.rip
            assert guests.differences(want, got) == [], (str(insn), mode)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", [*MODES, *OWN_SUMS])
def test_regions(mode: str, isa: int) -> None:
    text = parse(mode).description.text
    for seed in range(12):
        check_region(zlib.crc32(mode.encode()) + seed, isa, text)


def operands(count: int) -> tuple[np.ndarray, ...]:
    """Three arrays: ordinary numbers of many sizes, any bits, special values."""
    rng = np.random.default_rng(5)

    def one() -> np.ndarray:
        return np.where(rng.random(count) < 0.2, rng.integers(0, 1 << 32, count), guests.random_values(rng, count)).astype(np.uint32).view(np.float32)

    return one(), one(), one()


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("mode", [*MODES, *OWN_SUMS, "fp16,exact", "e5m2,exact", "avx10.2-bf16", "bf16-3_3-9", "fp16-2_2-4"])
def test_fma_equals_reference(mode: str, form: int) -> None:
    a, b, c = operands(50_000)
    want = fase.fma(a, b, c, mode).view(np.uint32)
    for isa in ISAS:
        assert (lab.fma(parse(mode).description.text, isa, form, a, b, c).view(np.uint32) == want).all(), isa


def test_double_rounding() -> None:
    """The counterexamples of NUMERICS.md section 2, through binary32 and exact."""
    for mode, a, b, c, through, once in (
        ("bf16", "-0x1.5p-2", "-0x1.5p-1", "0x1.fcp-127", "0x1.b8p-3", "0x1.bap-3"),
        ("fp16", "0x1.02p-16", "-0x1.fcp5", "-0x1.5d4p1", "-0x1.5d8p1", "-0x1.5d4p1"),
        ("e5m2", "-0xcp0", "0x18p0", "-0x1p-16", "-0x1p8", "-0x1.4p8"),
    ):
        x, y, z = (np.array([float.fromhex(v)], np.float32) for v in (a, b, c))
        for suffix, want in (("", through), (",exact", once)):
            for isa in ISAS:
                assert lab.fma(parse(mode + suffix).description.text, isa, 2, x, y, z)[0] == float.fromhex(want), (mode, suffix, isa)
