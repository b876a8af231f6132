"""The reference FMA against exact rationals, the CPU, and the counterexamples of the literature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from exact import fused, to_bits, to_float32
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fase
from fase.doctor.checks import operands
from fase.doctor.probe import multiply_add
from fase.machine import cpu

FINITE = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(min_value=-(2.0**-60), max_value=2.0**-60, width=32),
    st.builds(math.ldexp, st.integers(-(2**24) + 1, 2**24 - 1), st.integers(-149, 40)),
)


def single(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike, mode: str = "fp32") -> npt.NDArray[np.float32]:
    """One reference FMA, as an array without dimensions."""
    return fase.fma(a, b, c, mode)


@settings(max_examples=2000)
@given(FINITE, FINITE, FINITE)
@example(2.0**-75, 2.0**-75, 2.0**-149)  # a sticky bit far below a subnormal
@example(1.5 * 2.0**-75, 2.0**-75, 2.0**-149)  # a tie in the subnormals
@example(2.0**-75, -(2.0**-75), 2.0**-149)
@example(1.0, 1.0 + 2.0**-23, -1.0)
@example(2.0**127, 2.0, -(2.0**127))
@example(2.0**-149, 0.5, 0.0)
@example(-(2.0**-149), 0.5, 0.0)
@example((1 + 2.0**-23) * 2.0**-64, (1 + 2.0**-23) * 2.0**-63, 2.0**-126)
def test_fp32_is_rounded_once(a: float, b: float, c: float) -> None:
    assert to_bits(single(a, b, c)) == to_bits(np.float32(fused(a, b, c)))


@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_fp32_equals_the_instruction(level: str) -> None:
    """Every triple of 38 special values and 16,384 random triples, NaN payloads included, on this CPU."""
    if level == "avx512" and cpu().isa != "avx512":
        pytest.skip("this CPU has no AVX-512")
    a, b, c = operands()
    d = np.frombuffer(multiply_add(level, a.tobytes(), b.tobytes(), c.tobytes()), np.uint32)
    np.testing.assert_array_equal(fase.fma(a, b, c).view(np.uint32), d)


@given(FINITE, FINITE, FINITE)
def test_mp_rounds_the_factors_only(a: float, b: float, c: float) -> None:
    ra, rb = (float(fase.round(x, "bf16")) for x in (a, b))
    if math.isfinite(ra) and math.isfinite(rb):
        assert to_bits(single(a, b, c, "mp")) == to_bits(np.float32(fused(ra, rb, c)))


@given(FINITE, FINITE, FINITE)
def test_bf16_rounds_operands_and_result(a: float, b: float, c: float) -> None:
    rounded = [float(fase.round(x, "bf16")) for x in (a, b, c)]
    if all(map(math.isfinite, rounded)):
        expected = fase.round(np.float32(fused(rounded[0], rounded[1], rounded[2])), "bf16")
        assert to_bits(single(a, b, c, "bf16")) == to_bits(expected)


def test_bf16_goes_through_fp32() -> None:
    """NUMERICS section 2: the correctly rounded result would be 0x1.bap-3; the default goes through FP32."""
    a, b, c = map(float.fromhex, ("-0x1.5p-2", "-0x1.5p-1", "0x1.fcp-127"))
    assert single(a, b, c, "bf16") == float.fromhex("0x1.b8p-3")
    assert fused(a, b, c, mantissa=7) == float.fromhex("0x1.bap-3")


@pytest.mark.parametrize(("value", "stop", "terms"), [(1.0, 256.0, 300), (0.1, 32.0, 400)])
def test_bf16_sums_stagnate(value: float, stop: float, terms: int) -> None:
    total = np.zeros((), np.float32)
    reached = 0
    for term in range(1, terms):
        before, total = total, single(1.0, value, total, "bf16")
        reached = term if total != before else reached
    assert total == stop
    assert reached in (256, 276)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("mode", ["fp32", "mp", "bf16", "e8m3"])
def test_special_values(mode: str) -> None:
    assert single(INF, 2.0, 1.0, mode) == INF
    assert single(-INF, 2.0, 1.0, mode) == -INF
    assert to_bits(single(INF, 0.0, 1.0, mode)) == 0xFFC00000
    assert to_bits(single(INF, 1.0, -INF, mode)) == 0xFFC00000
    assert np.isnan(single(1.0, 1.0, NAN, mode))
    assert to_bits(single(0.0, -1.0, -0.0, mode)) == 0x80000000
    assert to_bits(single(1.0, 1.0, -1.0, mode)) == 0
    assert single(3e38, 3e38, 0.0, mode) == INF


def test_nan_priority_is_a_b_c() -> None:
    nans = [to_float32(bits) for bits in (0x7FC10000, 0xFFC20000, 0x7F840000)]
    for a, b, c in itertools.permutations(nans):
        assert to_bits(single(a, b, c)) == to_bits(a) | 0x00400000
        assert to_bits(single(1.0, b, c)) == to_bits(b) | 0x00400000
        assert to_bits(single(INF, 0.0, c)) == to_bits(c) | 0x00400000


@given(FINITE, FINITE, FINITE)
def test_negated_forms(a: float, b: float, c: float) -> None:
    for negate_product, negate_addend in itertools.product((False, True), repeat=2):
        expected = fused(-a if negate_product else a, b, -c if negate_addend else c)
        found = fase.fma(a, b, c, negate_product=negate_product, negate_addend=negate_addend)
        assert to_bits(found) == to_bits(np.float32(expected))


def test_negation_keeps_nan_signs() -> None:
    assert to_bits(fase.fma(to_float32(0x7FC10000), 1.0, 1.0, negate_product=True)) == 0x7FC10000
    assert to_bits(fase.fma(1.0, 1.0, to_float32(0x7FC10000), negate_addend=True)) == 0x7FC10000


def test_broadcasting_and_types() -> None:
    result = fase.fma(np.ones((3, 1)), np.arange(4), 1)
    assert result.shape == (3, 4)
    assert result.dtype == np.float32


def dot(a: np.ndarray, b: np.ndarray, mode: str) -> np.ndarray:
    """A (m, k) times b (k, n), rounded after each multiply-add, in the order of k."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = fase.fma(a[:, k : k + 1], b[k : k + 1], total, mode)
    return total


@pytest.mark.parametrize(("mode", "expected"), [("bf16", 2.9e-2), ("mp", 1.8e-4), ("fp32", 2.3e-7)])
def test_error_of_a_dot_product(mode: str, expected: float) -> None:
    """NUMERICS section 6: 32x32 outputs, uniform operands, K = 256, relative Frobenius error against FP64."""
    random = np.random.default_rng(0)
    a, b = (random.random(shape, np.float32) for shape in ((32, 256), (256, 32)))
    exact = a.astype(np.float64) @ b
    error = np.linalg.norm(dot(a, b, mode) - exact) / np.linalg.norm(exact)
    assert expected / 1.5 < error < expected * 1.5
