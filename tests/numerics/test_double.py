"""Double precision: formats on the binary64 grid, the reference FMA, modes. Oracles: exact rationals, ml_dtypes, NumPy's own conversions."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import encoding, round_bits, round_exact, value
from shown import Result

import fase
from fase.errors import FaseError, FormatError, ModeError
from fase.formats import get
from fase.formats.carrier import BINARY64
from fase.formats.description import ROUNDINGS, Grid, ieee, parse_format
from fase.formats.roundings import parse_rounding
from fase.operators import parse
from fase.operators.description import parse_description
from fase.operators.parse import parse_fp64

FORMATS = [
    "fp32", "bf16", "fp16", "tf32", "e11m20", "e11m1", "e11m51", "e11m0", "e10m52", "e8m52", "e5m2", "e4m3fn", "e4m3fnuz", "e2m1", "e11m52:sat",
    "e11m30:flush", "fp32:flush=after", "fp32:uz", "q7.8", "int53", "e4m3:overflow=inf:inf=nan:nan=max", "dlfloat16", "e8m0", "e4m3:bias=900",
]  # fmt: skip
NATIVE = ieee(52, carrier=BINARY64)


def inputs(name: str, count: int) -> npt.NDArray[np.float64]:
    """Random encodings, values of the format, ties and their neighbours, the ends, special numbers."""
    fmt = get(name, BINARY64)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    exponents = random.uniform(np.log2(max(fmt.smallest, 5e-324)) - 3, np.log2(fmt.max) + 2, count).clip(-1074, 1023.9)
    inside = random.choice([-1, 1], count) * 2.0**exponents
    values = fase.round64(inside, fmt).view(np.int64)
    half = 1 << max(0, 51 - fmt.mantissa)
    near = [values + half * k + s for k in (0, 1, -1) for s in (-1, 0, 1)]
    small = fmt.smallest * np.arange(1, 20) / 8
    with np.errstate(over="ignore"):
        ends = np.array([fmt.max, fmt.min, fmt.max * (1 + fmt.epsilon / 2), fmt.max * (1 + fmt.epsilon / 4), 0.0, -0.0, np.inf, -np.inf, 5e-324])
    nans = np.array([0x7FF0000000000001, 0x7FF8000000000123, -1, -(1 << 51)], np.int64)
    parts = [random.integers(-(2**63), 2**63 - 1, count), inside.view(np.int64), *near, *(x.view(np.int64) for x in (small, -small, ends)), nans]
    return np.concatenate(parts).view(np.float64)


@pytest.mark.parametrize("rounding", [r for r in ROUNDINGS if r != "sr"])
@pytest.mark.parametrize("name", FORMATS)
def test_rounding_equals_exact_rationals(name: str, rounding: str) -> None:
    fmt = get(name, BINARY64)
    try:
        grid = fmt.describe(*parse_rounding(rounding, fmt))
    except FormatError as error:
        assert "flushing after" in str(error)
        return
    assert isinstance(grid, Grid)
    x = inputs(name, 40)
    found = fase.round64(x, fmt, rounding=rounding).view(np.uint64)
    expected = np.array([round_bits(int(bits), grid) for bits in x.view(np.uint64)], np.uint64)
    wrong = np.flatnonzero(found != expected)
    assert not wrong.size, [f"{x.view(np.uint64)[i]:016x}: {found[i]:016x}, expected {expected[i]:016x}" for i in wrong[:5]]


def test_conversions_of_numpy_agree() -> None:
    for name, dtype in (("fp32", np.float32), ("fp16", np.float16)):
        x = inputs(name, 50_000)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = x.astype(dtype).astype(np.float64)
        found = fase.round64(x, name)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        assert (found.view(np.uint64) == expected.view(np.uint64))[~np.isnan(found)].all(), name


@pytest.mark.parametrize("name", ["bf16", "fp16", "e5m2", "e4m3fn", "e2m1", "int8", "e8m0:flush"])
def test_binary32_numbers_round_as_in_single_precision(name: str) -> None:
    bits = np.arange(0, 1 << 32, 65537 * 3, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    x = x[~np.isnan(x)]
    assert (fase.round64(x, name).astype(np.float32).view(np.uint32) == fase.round(x, name).view(np.uint32)).all()


def numbers() -> st.SearchStrategy[float]:
    near_one = st.builds(lambda m, e: float(np.ldexp(m, e)), st.integers(-(2**53), 2**53).map(float), st.integers(-60, -40))
    return st.one_of(near_one, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 5e-324, 2.0**-1022, 2.0**1023]))


@given(numbers(), numbers(), numbers())
def test_native_fma_equals_exact_rationals(a: float, b: float, c: float) -> None:
    total = Fraction(a) * Fraction(b) + Fraction(c)
    product_sign = (encoding(a, 64) ^ encoding(b, 64)) >> 63 << 63
    expected = round_exact(total, product_sign if product_sign == encoding(c, 64) >> 63 << 63 else 0, NATIVE)
    assert int(fase.fma64(a, b, c).view(np.uint64)) == expected


@given(numbers(), numbers(), numbers(), st.sampled_from(["fp32", "mp-bf16", "a=bf16,b=tf32,c=fp32,d=e11m20", "fp16,rounding=rtz", "e11m30"]))
def test_fma_rounds_operands_then_once_then_the_result(a: float, b: float, c: float, mode: str) -> None:
    """Operands and result by the oracle of roundings, the sum by exact rationals, where nothing overflows."""
    described = parse_fp64(mode).description
    grids = [g for g in (described.a, described.b, described.c, described.d) if isinstance(g, Grid)]
    x, y, z = (value(round_bits(encoding(v, 64), g), 64) for v, g in zip((a, b, c), grids, strict=False))
    if not all(map(np.isfinite, (x, y, z))):
        return
    total = Fraction(x) * Fraction(y) + Fraction(z)
    product_sign = (encoding(x, 64) ^ encoding(y, 64)) >> 63 << 63
    rounded = round_exact(total, product_sign if product_sign == encoding(z, 64) >> 63 << 63 else 0, NATIVE)
    assert int(fase.fma64(a, b, c, mode).view(np.uint64)) == round_bits(rounded, grids[3])


def test_special_operands() -> None:
    inf, nan = np.inf, float("nan")
    payload = np.uint64(0x7FF0000000000ABC).view(np.float64)

    def bits(a: float, b: float, c: float, *, negate_product: bool = False, negate_addend: bool = False) -> int:
        return int(fase.fma64(a, b, c, negate_product=negate_product, negate_addend=negate_addend).view(np.uint64))

    assert bits(inf, 0.0, 1.0) == bits(inf, 1.0, -inf) == 0xFFF8 << 48
    assert bits(payload, nan, 1.0) == bits(1.0, 1.0, payload) == 0x7FF8000000000ABC
    assert bits(1.0, payload, 1.0, negate_product=True) == bits(1.0, 1.0, payload, negate_addend=True) == 0x7FF8000000000ABC
    assert bits(2.0**600, 2.0**600, -inf) == 0xFFF << 52
    assert bits(2.0**600, -(2.0**600), 1.0) == 0xFFF << 52
    assert bits(0.0, -1.0, -0.0) == 1 << 63
    assert bits(1.0, 1.0, -1.0) == 0
    assert bits(2.0**-600, -(2.0**-600), 0.0) == 1 << 63
    assert bits(2.0, 3.0, 1.0, negate_product=True, negate_addend=True) == encoding(-7.0, 64)


def test_double_rounding_through_binary64() -> None:
    """53 >= 2 * 24 + 2: sums and products of binary32 numbers, rounded to binary64 first, come out as if rounded once. FMAs do not."""
    random = np.random.default_rng(3)
    x, y = ((random.standard_normal(20_000) * 2.0 ** random.integers(-20, 20, 20_000)).astype(np.float32) for _ in "xy")
    assert (fase.fma64(x, y, 0.0, "fp32") == x * y).all()
    assert (fase.fma64(x, 1.0, y, "fp32") == x + y).all()
    a, c = 1 + 2.0**-12, 2.0**-70  # a * a = 1 + 2^-11 + 2^-24 is a tie, which c breaks upwards
    once = value(round_exact(Fraction(a) * Fraction(a) + Fraction(c), 0, ieee(23)))
    assert once == 1 + 2.0**-11 + 2.0**-23
    assert fase.fma64(a, a, c, "fp32") == 1 + 2.0**-11  # c is lost in binary64, and the tie goes to even


RTZ = "g2/20/-1022/0000000000000000/7fefffff00000000/ffefffff00000000/iins/rtz"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("fp64", "e11m52,e11m52,e11m52,e11m52"),
        ("double", "e11m52,e11m52,e11m52,e11m52"),
        ("e11m20", "e11m20,e11m20,e11m20,e11m20"),
        ("mp-e11m30", "e11m30,e11m30,e11m52,e11m52"),
        (" A=E11M20 , d=e11m30 ", "e11m20,e11m52,e11m52,e11m30"),
        ("a=e11m20,rounding=rtz", f"{RTZ},e11m52,e11m52,e11m52"),
    ],
)
def test_modes(mode: str, text: str) -> None:
    assert parse_fp64(mode).description.text == text
    assert parse(f"bf16;fp64={mode}").spec == f"e8m7,e8m7,e8m7,e8m7;{text}"
    assert parse_description(f"e8m7,e8m7,e8m7,e8m7;{text}").fp64 == parse_fp64(mode).description


def test_fp32_is_described_on_the_binary64_grid() -> None:
    top = encoding(float(np.finfo(np.float32).max), 64)
    assert parse_fp64("fp32").description.a == Grid(23, -126, 0, top, 1 << 63 | top, carrier=BINARY64)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("", "is empty"),
        ("fp65", "did you mean"),
        ("e12m3", "1 to 11 exponent bits"),
        ("e11m53", "0 to 52 mantissa bits"),
        ("mp", "is for single precision"),
        ("tpu-v3", "is for single precision"),
        ("bf16-2_2-3", "is for single precision"),
        ("bf16,exact", "'exact' is for single precision"),
        ("bf16,rounding=sr", "'rounding=sr' is for single precision"),
        ("posit8", "double-precision FMAs do not have"),
        ("a=fp32,a=fp32", "twice"),
        ("e11m3:bias=2000", "leaves binary64"),
        ("fp32,loud", "unknown option"),
    ],
)
def test_modes_that_are_refused(mode: str, message: str) -> None:
    with pytest.raises(ModeError, match=message) as caught:
        parse_fp64(mode)
    assert "\n" not in str(caught.value)


def test_wide_formats_are_for_double_precision() -> None:
    for name in ("fp64", "double"):
        with pytest.raises(FaseError, match="wider than binary32"):
            parse(name)
        with pytest.raises(FormatError, match="wider than binary32"):
            fase.round(1.0, name)
    assert fase.round64(1 / 3, "double") == 1 / 3
    with pytest.raises(FormatError, match="no stochastic rounding"):
        fase.round64(1.0, "fp32", rounding="sr")
    with pytest.raises(ModeError, match="2\\^-1019 is the smallest"):
        _ = parse("fp32;fp64=e4m3:bias=1020").spec


@pytest.mark.parametrize("text", ["e11m0", "e11m53", "e12m3", "g2/3/-6/0/0/0/nnns/rne", "g2/3/-6/00000000/43e00000/c3e00000/nnns/rne"])
def test_descriptions_that_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_format(text)


def test_operators_do_not_mix_grids() -> None:
    for text in ("e11m52,e8m7,e8m7,e8m7", "e8m7,e8m7,e8m7,e8m7;e8m7,e8m7,e8m7,e8m7", "e8m7,e8m7,e8m7,e8m7;e11m52"):
        with pytest.raises(ModeError):
            parse_description(text)


def test_bad_modes_run_nothing(run_fase: Callable[..., Result]) -> None:
    result = run_fase("run", "--fp64", "e12m3", "--", "true")
    assert (result.status, result.out) == (2, "")
    assert "1 to 11 exponent bits" in result.err
    assert result.err.count("\n") == 1
    assert run_fase("run", "-m", "a=e8m10:sat,b=e8m10:sat,c=e8m10:sat", "--fp64", "a=e8m10:sat,b=e8m10:sat", "--", "true").status == 2
