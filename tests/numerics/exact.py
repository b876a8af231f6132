"""Arithmetic with exact rationals: an oracle that shares nothing with the reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

MANTISSA = 23
MIN_EXPONENT = -126
MAX_EXPONENT = 127


def to_float32(bits: int) -> np.float32:
    """The binary32 number with an encoding."""
    return np.float32(np.uint32(bits).view(np.float32))


def to_bits(x: npt.ArrayLike) -> int:
    """The encoding of a binary32 number."""
    return int(np.asarray(x, np.float32).view(np.uint32))


def nearest(value: Fraction, mantissa: int = MANTISSA) -> float:
    """`value` rounded to 8 exponent bits and `mantissa` mantissa bits, ties to even; as a float. Zero comes out positive."""
    if value == 0:
        return 0.0
    size, sign = abs(value), 1 if value > 0 else -1
    exponent = _exponent(size)
    step = Fraction(2) ** (max(exponent, MIN_EXPONENT) - mantissa)
    count = round(size / step)  # Fraction rounds ties to even
    rounded = count * step
    if rounded >= Fraction(2) ** (MAX_EXPONENT + 1):
        return sign * float("inf")
    return sign * float(rounded)


def _exponent(size: Fraction) -> int:
    guess = size.numerator.bit_length() - size.denominator.bit_length()
    return guess if Fraction(2) ** guess <= size else guess - 1


def fused(a: float, b: float, c: float, mantissa: int = MANTISSA) -> float:
    """a * b + c of finite numbers with one rounding; for a sum of zero, the sign that x86 gives."""
    value = Fraction(a) * Fraction(b) + Fraction(c)
    if value == 0:
        return float(np.float64(a) * np.float64(b) + np.float64(c)) * 0.0 if a and b else a * b + c
    result = nearest(value, mantissa)
    return result if result else (-0.0 if value < 0 else 0.0)
