"""The two IEEE 754 formats that programs keep their values in, exactly and in plain Python: no NumPy, so that parsing a mode stays quick."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from fase.lazy import lazy


@dataclass(frozen=True)
class Carrier:
    """A format of the hardware. Emulated formats are described by encodings of the one that their values travel in."""

    name: str
    native: str
    """The name of the format that holds all its values."""
    bits: int
    mantissa: int
    """Stored mantissa bits, without the hidden one."""
    code: str
    """How `struct` calls it."""
    version: str
    """First word of the general text form of a format (docs/operators.md)."""

    @property
    def exponent_bits(self) -> int:
        """Width of the exponent field."""
        return self.bits - 1 - self.mantissa

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest values; also the bias."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return 1 - self.max_exponent

    @property
    def min_quantum(self) -> int:
        """Exponent of the smallest positive value."""
        return self.min_exponent - self.mantissa

    @lazy
    def sign(self) -> int:
        """Encoding of -0."""
        return 1 << (self.bits - 1)

    @lazy
    def infinity(self) -> int:
        """Encoding of +infinity."""
        return ((1 << self.exponent_bits) - 1) << self.mantissa

    @lazy
    def quiet(self) -> int:
        """The bit that makes a NaN quiet."""
        return 1 << (self.mantissa - 1)

    def from_bits(self, bits: int) -> float:
        """The number with an encoding."""
        return float(struct.unpack(f"<{self.code}", bits.to_bytes(self.bits // 8, "little"))[0])

    def to_bits(self, value: float) -> int:
        """The encoding of a number that the format holds. ValueError for any other."""
        try:
            bits = int.from_bytes(struct.pack(f"<{self.code}", value), "little")
        except OverflowError:
            bits = self.infinity
        if self.from_bits(bits) != value:
            raise ValueError(f"{value!r} is not a {self.name} number")
        return bits

    def step_up(self, value: float) -> float:
        """The next larger number; the smallest positive one after either zero; `value` is finite."""
        bits = self.to_bits(value)
        if value == 0:
            return self.from_bits(1)
        return self.from_bits(bits - 1 if bits & self.sign else bits + 1)

    def at_least(self, value: Fraction, *, beyond: bool) -> float:
        """The smallest number >= `value`, or > `value` if `beyond`; infinite where there is no finite one."""
        size = abs(value)
        if size >= power(self.max_exponent + 1):
            return float("inf") if value > 0 else self.from_bits(self.sign | (self.infinity - 1))
        exponent = max(floor_log2(size), self.min_exponent) if size else self.min_exponent
        quantum = power(exponent - self.mantissa)
        rounded = -(-value // quantum) * quantum  # ceiling
        if rounded >= power(self.max_exponent + 1):
            return float("inf")
        found = float(rounded)
        return self.step_up(found) if beyond and rounded == value else found


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(2) ** exponent


def floor_log2(value: Fraction) -> int:
    """The exponent of a positive number."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power(guess) <= value else guess - 1


BINARY32 = Carrier("binary32", "fp32", 32, 23, "f", "g1")
BINARY64 = Carrier("binary64", "fp64", 64, 52, "d", "g2")
