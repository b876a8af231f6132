"""Binary32 encodings in plain Python, exactly: no NumPy, so that parsing a mode stays quick."""

from __future__ import annotations

import struct
from fractions import Fraction

from fase.formats.description import INFINITY, MAX_EXPONENT, SIGN


def from_bits(bits: int) -> float:
    """The number with an encoding."""
    return float(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


def to_bits(value: float) -> int:
    """The encoding of a number that binary32 holds. ValueError for any other."""
    try:
        bits = int.from_bytes(struct.pack("<f", value), "little")
    except OverflowError:
        bits = INFINITY
    if from_bits(bits) != value:
        raise ValueError(f"{value!r} is not a binary32 number")
    return bits


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(2) ** exponent


def floor_log2(value: Fraction) -> int:
    """The exponent of a positive number."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power(guess) <= value else guess - 1


def step_up(value: float) -> float:
    """The next larger binary32 number; the smallest positive one after either zero; `value` is finite."""
    bits = to_bits(value)
    if value == 0:
        return from_bits(1)
    return from_bits(bits - 1 if bits & SIGN else bits + 1)


def at_least(value: Fraction, *, beyond: bool) -> float:
    """The smallest binary32 number >= `value`, or > `value` if `beyond`; infinite where there is no finite one."""
    size = abs(value)
    if size >= power(MAX_EXPONENT + 1):
        return float("inf") if value > 0 else from_bits(SIGN | (INFINITY - 1))
    quantum = power(max(floor_log2(size), -126) - 23) if size else power(-149)
    rounded = -(-value // quantum) * quantum  # ceiling
    if rounded >= power(MAX_EXPONENT + 1):
        return float("inf")
    found = float(rounded)
    return step_up(found) if beyond and rounded == value else found
