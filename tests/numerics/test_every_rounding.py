"""Rounding to every format in every way: against exact rationals, ml_dtypes and gfloat."""

from __future__ import annotations

import zlib

import gfloat
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from calls import count_calls
from gfloat import RoundMode
from oracle import PositOracle, round_bits
from test_formats import GFLOAT, ML_DTYPES

import fase
from fase.errors import FormatError
from fase.formats import catalogue, get
from fase.formats.description import ROUNDINGS, Grid
from fase.formats.format import Format, GridFormat
from fase.formats.random import Stream
from fase.formats.roundings import parse_rounding

GRIDS = [f for f in catalogue().values() if isinstance(f, GridFormat) and not f.is_fp32]
ODDITIES = [
    "e8m0", "e3m0", "e1m3", "e5m2:flush", "e4m3:flush=after", "e4m3:sat", "e8m10:flush=after", "fp32:flush", "bf16:flush", "e6m23", "e4m3:bias=-3",
    "e4m3:uz", "e4m3:overflow=inf:inf=nan:nan=max", "q2.5", "int8:symmetric", "int16:scale=2^-8", "int24", "e8m22", "e2m1:nan=nan",
]  # fmt: skip
DIRECTED = {
    "rne": RoundMode.TiesToEven, "rtz": RoundMode.TowardZero, "rup": RoundMode.TowardPositive, "rdn": RoundMode.TowardNegative,
    "rna": RoundMode.TiesToAway,
}  # fmt: skip


def inputs(fmt: Format, count: int = 1500) -> np.ndarray:
    """Encodings: random, and values, ties, their neighbours and the ends of a format, special ones."""
    random = np.random.default_rng(zlib.crc32(fmt.name.encode()))
    anything = random.integers(0, 1 << 32, count, dtype=np.uint64)
    exponents = random.uniform(np.log2(max(fmt.smallest, 2.0**-148)) - 3, np.log2(fmt.max) + 2, count).clip(-149, 127.9)
    inside = (random.choice([-1, 1], count) * 2.0**exponents).astype(np.float32)
    values = fase.round(inside, fmt).view(np.uint32).astype(np.int64)
    half = 1 << max(0, 22 - fmt.mantissa)
    near = [values + half * k + s for k in (0, 1, -1) for s in (-1, 0, 1)]
    small = np.array([fmt.smallest * k / 8 for k in range(1, 40)], np.float32)
    ends = np.array([fmt.max, fmt.min, fmt.max * (1 + fmt.epsilon / 2), fmt.max * (1 + fmt.epsilon / 4), 0.0, -0.0], np.float64)
    with np.errstate(over="ignore"):
        edges = ends.astype(np.float32)
    special = np.array([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FFFFFFF, 0xFFC12345, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF])
    bits: list[npt.NDArray[np.generic]] = [
        anything,
        *near,
        inside.view(np.uint32),
        small.view(np.uint32),
        (-small).view(np.uint32),
        edges.view(np.uint32),
        special,
    ]
    return np.concatenate([(b.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32) for b in bits])


@pytest.mark.parametrize("rounding", [*ROUNDINGS, "sr3"])
@pytest.mark.parametrize("name", [*(f.name for f in GRIDS), *ODDITIES])
def test_equals_exact_rationals(name: str, rounding: str) -> None:
    fmt = get(name)
    try:
        grid = fmt.describe(*parse_rounding(rounding, fmt))
    except FormatError as error:
        assert "flushing after" in str(error) or "more random bits" in str(error)
        return
    assert isinstance(grid, Grid)
    bits = inputs(fmt, 60)
    random = Stream(seed=7).bits(bits.size, grid.random_bits) if grid.random_bits else np.zeros(bits.size, np.uint32)
    found = fase.round(bits.view(np.float32), fmt, rounding=rounding, seed=7).view(np.uint32)
    expected = np.array([round_bits(int(x), grid, int(r)) for x, r in zip(bits, random, strict=True)], np.uint32)
    wrong = np.flatnonzero(found != expected)
    assert not wrong.size, [f"{bits[i]:08x}: {found[i]:08x}, expected {expected[i]:08x}" for i in wrong[:5]]


def stratified() -> np.ndarray:
    """A million finite numbers over all encodings."""
    x = np.arange(0, 1 << 32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return x[np.isfinite(x)]


@pytest.mark.parametrize("name", ML_DTYPES)
def test_equals_ml_dtypes(name: str) -> None:
    """On a million inputs. Trap: for the MX elements a NaN becomes -0 there and +0 here; for other formats NaN payloads differ."""
    x = stratified()
    with np.errstate(all="ignore"):
        expected = x.astype(ML_DTYPES[name]).astype(np.float32)
    found = fase.round(x, name)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    ordinary = ~np.isnan(found)
    np.testing.assert_array_equal(found[ordinary].view(np.uint32), expected[ordinary].view(np.uint32))


@pytest.mark.parametrize("name", ML_DTYPES)
def test_infinities_equal_ml_dtypes(name: str) -> None:
    x = np.array([np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(fase.round(x, name), x.astype(ML_DTYPES[name]).astype(np.float32))


def test_traps_of_ml_dtypes() -> None:
    """If one of these goes away, the tests around it can be made simpler."""
    tie = 1 + 2.0**-4 + 2.0**-40  # just above a tie of E4M3: binary64 input is rounded twice there
    assert float(np.array([tie]).astype(ml_dtypes.float8_e4m3fn)[0]) == 1.0
    assert np.signbit(np.array([np.nan], np.float32).astype(ml_dtypes.float4_e2m1fn).astype(np.float32))[0]
    assert not np.signbit(fase.round(np.nan, "e2m1"))
    assert np.isnan(np.float32(1e9).astype(ml_dtypes.float8_e4m3fn).astype(np.float32))
    assert fase.round(1e9, "e4m3:sat") == 448


@pytest.mark.parametrize("rounding", DIRECTED)
@pytest.mark.parametrize("name", GFLOAT)
def test_equals_gfloat(name: str, rounding: str) -> None:
    """Trap: gfloat refuses overflow in formats without infinity and NaN, so those are compared saturating; it gives -0 as 0 for mxint8."""
    info, fmt = GFLOAT[name], get(name)
    x = inputs(fmt, 100).view(np.float32)
    x = x[~np.isnan(x)]
    saturating = fmt.overflow == "max"
    expected = [gfloat.round_float(info, float(v), DIRECTED[rounding], sat=saturating) for v in x]
    found = fase.round(x, fmt, rounding=rounding)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize(("name", "bits"), [("posit8", 8), ("posit16", 16)])
def test_posits_follow_the_standard(name: str, bits: int) -> None:
    oracle, x = PositOracle(bits, 2), inputs(get(name), 1000).view(np.float32)
    finite = x[np.isfinite(x)]
    np.testing.assert_array_equal(fase.round(finite, name), np.array([oracle.round(float(v)) for v in finite], np.float32))
    assert np.isnan(fase.round([np.inf, -np.inf, np.nan], name)).all()
    assert fase.round([1e-40, -1e-40, 3e38], name).tolist() == [get(name).smallest, -get(name).smallest, get(name).max]


@pytest.mark.parametrize("name", ["bf16", "e4m3", "e5m2", "fp16", "mxint8"])
def test_stochastic_rounding_is_right_on_average(name: str) -> None:
    """2^16 roundings of 0.3 steps: the mean is 0.3 steps within five standard deviations, and it is one neighbour or the other."""
    step = get(name).epsilon
    x = np.full(1 << 16, 1 + 0.3 * step, np.float32)
    rounded = fase.round(x, name, rounding="sr", seed=3)
    assert set(rounded.tolist()) == {1.0, 1 + step}
    assert abs((rounded.astype(np.float64).mean() - 1) / step - 0.3) < 5 * np.sqrt(0.21 / x.size)


def test_stochastic_rounding_is_reproducible() -> None:
    x = np.linspace(1, 2, 1000, dtype=np.float32)
    base = fase.round(x, "e5m2", rounding="sr", seed=1)
    np.testing.assert_array_equal(base, fase.round(x, "e5m2", rounding="sr", seed=1))
    np.testing.assert_array_equal(base[16:], fase.round(x[16:], "e5m2", rounding="sr", seed=1, start=1))
    assert (base != fase.round(x, "e5m2", rounding="sr", seed=2)).any()
    assert (base != fase.round(x, "e5m2", rounding="sr", seed=1, thread=1)).any()
    np.testing.assert_array_equal(fase.round(base, "e5m2", rounding="sr", seed=9), base)


def test_random_bits_as_documented() -> None:
    """The generator of docs/operators.md, with plain integers."""

    def mix(z: int) -> int:
        z ^= z >> 16
        z = z * 0x21F0AAAD & 0xFFFFFFFF
        z ^= z >> 15
        return z * 0x735A2D97 & 0xFFFFFFFF

    seed, thread, start = 12345, 3, 41
    found = Stream(seed, thread, start).bits(64, 7)
    for i in range(64):
        n, lane = start + i // 16 + 1, i % 16
        key = mix(mix(seed + 0x9E3779B9 * (thread + 1) & 0xFFFFFFFF) + 0x9E3779B9 * (lane + 1) & 0xFFFFFFFF)
        assert found[i] == mix(key + 0x9E3779B9 * n & 0xFFFFFFFF) >> 25


def test_random_bits_look_random() -> None:
    """Each bit is set half the time, neighbours in lane and time agree half the time."""
    words = Stream(seed=1).bits(1 << 18, 32).reshape(-1, 16)
    for pairs in (words, words[1:] ^ words[:-1], words[:, 1:] ^ words[:, :-1]):
        ones = np.unpackbits(np.ascontiguousarray(pairs).view(np.uint8).reshape(-1, 4), axis=1)
        assert np.abs(ones[:, :].mean(axis=0)[8:] - 0.5).max() < 0.006


@pytest.mark.parametrize(("name", "rounding"), [("e4m3", "rne"), ("bf16", "sr"), ("posit16", "rne")])
def test_a_million_takes_no_more_calls_than_a_thousand(name: str, rounding: str) -> None:
    """Slow and obvious, but usable: arrays are rounded as arrays."""
    x = stratified()

    def calls(count: int) -> int:
        return count_calls(lambda: fase.round(x[:count], name, rounding=rounding))

    assert calls(1_000_000) < 2 * calls(1000)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["fp16", "e4m3fn", "e5m2"])
def test_equals_ml_dtypes_on_all_inputs(name: str) -> None:
    for start in range(0, 1 << 32, 1 << 20):
        x = np.arange(start, start + (1 << 20), dtype=np.uint64).astype(np.uint32).view(np.float32)
        x = x[~np.isnan(x)]
        with np.errstate(all="ignore"):
            expected = x.astype(ML_DTYPES[name]).astype(np.float32)
        np.testing.assert_array_equal(fase.round(x, name), expected)
