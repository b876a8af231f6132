"""The reference rounding against other libraries, exact rationals, and by exhaustion."""

from __future__ import annotations

from fractions import Fraction

import gfloat
import ml_dtypes
import numpy as np
import pytest
from exact import nearest, to_bits, to_float32
from gfloat.formats import format_info_bfloat16
from hypothesis import given
from hypothesis import strategies as st

import fase
from fase.errors import FormatError
from fase.formats import get

BITS = st.integers(0, 0xFFFFFFFF)


def stratified(step: int = 4099) -> np.ndarray:
    """A million encodings spread over all 2**32, with the neighbourhood of every BF16 tie in each octave."""
    spread = np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32)
    near = (np.arange(0, 1 << 16, 7, dtype=np.uint32)[:, None] << 16) | np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return np.concatenate([spread, near.ravel()]).view(np.float32)


def test_bf16_equals_ml_dtypes_on_a_million() -> None:
    x = stratified()
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(fase.round(x, "bf16").view(np.uint32), expected.view(np.uint32))


def test_bf16_equals_gfloat() -> None:
    x = stratified(step=104729 * 97)
    finite = x[np.isfinite(x)]
    expected = [gfloat.round_float(format_info_bfloat16, float(v)) for v in finite]
    np.testing.assert_array_equal(fase.round(finite, "bf16").view(np.uint32), np.array(expected, np.float32).view(np.uint32))


def test_nans_are_quiet_keep_sign_and_upper_payload() -> None:
    bits = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FA1FFFF, 0x7FC10000], np.uint32)
    expected = np.array([0x7FFF0000, 0xFFFF0000, 0x7FC00000, 0xFFC00000, 0x7FE10000, 0x7FC10000], np.uint32)
    np.testing.assert_array_equal(fase.round(bits.view(np.float32), "bf16").view(np.uint32), expected)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F808000, 0x3F800000),  # tie, to even below
        (0x3F818000, 0x3F820000),  # tie, to even above
        (0x3F808001, 0x3F810000),
        (0x00008000, 0x00000000),  # subnormal tie to zero
        (0x00008001, 0x00010000),
        (0x80000001, 0x80000000),  # keeps the sign of zero
        (0x007FFFFF, 0x00800000),  # subnormal to the smallest normal
        (0x7F7F7FFF, 0x7F7F0000),
        (0x7F7F8000, 0x7F800000),  # overflow
        (0xFF7FFFFF, 0xFF800000),
        (0x7F800000, 0x7F800000),
    ],
)
def test_bf16_known_cases(bits: int, expected: int) -> None:
    assert to_bits(fase.round(to_float32(bits), "bf16")) == expected


@given(BITS, st.integers(1, 22))
def test_generic_formats_equal_exact_rationals(bits: int, mantissa: int) -> None:
    x = to_float32(bits)
    rounded = fase.round(x, f"e8m{mantissa}")[()]
    if np.isfinite(x):
        assert abs(rounded) == abs(nearest(Fraction(float(x)), mantissa))
        assert np.signbit(rounded) == np.signbit(x)
    else:
        assert np.isnan(rounded) == np.isnan(x)


@given(BITS, st.integers(1, 23))
def test_rounding_is_idempotent(bits: int, mantissa: int) -> None:
    once = fase.round(to_float32(bits), f"e8m{mantissa}")
    assert to_bits(fase.round(once, f"e8m{mantissa}")) == to_bits(once[()])


@given(st.lists(BITS, max_size=8))
def test_fp32_changes_no_bit(bits: list[int]) -> None:
    x = np.array(bits, np.uint32).view(np.float32)
    np.testing.assert_array_equal(fase.round(x, "fp32").view(np.uint32), x.view(np.uint32))


def test_shapes_and_argument_are_kept() -> None:
    x = np.ones((2, 3, 4), np.float32)[:, ::2, 1:] * np.float32(1.001)
    before = x.copy()
    assert fase.round(x, "bf16").shape == x.shape
    assert fase.round(1.001, "bf16").shape == ()
    assert fase.round([], "bf16").shape == (0,)
    np.testing.assert_array_equal(x, before)
    assert fase.round(x, "fp32") is not x


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_bf16_equals_ml_dtypes_on_all_inputs() -> None:
    for start in range(0, 1 << 32, 1 << 20):
        x = np.arange(start, start + (1 << 20), dtype=np.uint64).astype(np.uint32).view(np.float32)
        x = x[~np.isnan(x)]
        with np.errstate(over="ignore"):
            expected = x.astype(ml_dtypes.bfloat16).view(np.uint16)
        np.testing.assert_array_equal(fase.round(x, get("bf16")).view(np.uint32) >> 16, expected)


@pytest.mark.parametrize(("word", "message"), [("up", "did you mean 'rup'"), ("", "unknown rounding"), ("sr0", "no random bits")])
def test_unknown_roundings(word: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        fase.round(1.0, "bf16", rounding=word)
