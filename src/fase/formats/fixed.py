"""Fixed-point formats: integers of some bits times a power of two."""

from __future__ import annotations

from dataclasses import dataclass

from fase.errors import FormatError
from fase.formats.binary32 import power, to_bits
from fase.formats.description import MAX_EXPONENT, MIN_EXPONENT, Grid, Rounding
from fase.formats.format import GridFormat

MAX_WIDTH = 24


@dataclass(frozen=True, kw_only=True)
class Fixed(GridFormat):
    """Integers n, -2^(width-1) <= n < 2^(width-1), times 2^-fraction; two's complement, or without the lowest one if `symmetric`."""

    width: int
    fraction: int
    symmetric: bool = False

    @property
    def bits(self) -> int:
        """Bits of one value, with the sign."""
        return self.width

    def decode(self, code: int) -> float:
        """The value of an encoding."""
        number = code - (1 << self.width) if code >> (self.width - 1) else code
        return float(number * power(-self.fraction))

    def describe(self, rounding: Rounding = "rne", random_bits: int = 0) -> Grid:
        """The format on the binary32 grid: everything is subnormal there but the lowest value."""
        half = 1 << (self.width - 1)
        top, low = (to_bits(float(n * power(-self.fraction))) for n in (half - 1, -half + self.symmetric))
        policies = (self.overflow, self.infinity, self.nan, self.signed_zero)
        return Grid(self.width - 1, self.width - 1 - self.fraction, 0, top, low, *policies, rounding, random_bits)


def fixed(name: str, width: int, fraction: int, *, symmetric: bool = False) -> Fixed:
    """A fixed-point format; it saturates, and a NaN becomes 0. FormatError when it is out of range."""
    if not 2 <= width <= MAX_WIDTH:
        raise FormatError(f"format '{name}': fixed-point formats have 2 to {MAX_WIDTH} bits, sign included")
    if not MIN_EXPONENT <= width - 1 - fraction <= MAX_EXPONENT:
        raise FormatError(f"format '{name}': its values do not fit binary32; the scale is 2^-{width + 125} to 2^{MAX_EXPONENT + 1 - width}")
    return Fixed(name=name, width=width, fraction=fraction, symmetric=symmetric, overflow="max", infinity="max", nan="zero", signed_zero=False)
