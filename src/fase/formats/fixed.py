"""Fixed-point formats: integers of some bits times a power of two."""

from __future__ import annotations

from dataclasses import dataclass

from fase.errors import FormatError
from fase.formats.carrier import BINARY32, Carrier, power
from fase.formats.description import Grid, Rounding
from fase.formats.format import GridFormat


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
        """The format on the carrier's grid: everything is subnormal there but the lowest value."""
        half = 1 << (self.width - 1)
        top, low = (self.carrier.to_bits(float(n * power(-self.fraction))) for n in (half - 1, -half + self.symmetric))
        policies = (self.overflow, self.infinity, self.nan, self.signed_zero)
        return Grid(self.width - 1, self.width - 1 - self.fraction, 0, top, low, *policies, rounding, random_bits, self.carrier)


def fixed(name: str, width: int, fraction: int, *, symmetric: bool = False, carrier: Carrier = BINARY32) -> Fixed:
    """A fixed-point format; it saturates, and a NaN becomes 0. FormatError when it is out of range."""
    widest, low, high = carrier.mantissa + 1, carrier.min_exponent + 1 - width, carrier.max_exponent + 1 - width
    if not 2 <= width <= widest:
        raise FormatError(f"format '{name}': fixed-point formats have 2 to {widest} bits, sign included")
    if not low <= -fraction <= high:
        raise FormatError(f"format '{name}': its values do not fit {carrier.name}; the scale is 2^{low} to 2^{high}")
    return Fixed(
        name=name, width=width, fraction=fraction, symmetric=symmetric, overflow="max", infinity="max", nan="zero", signed_zero=False, carrier=carrier
    )
