"""A number format as data, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fase.errors import FormatError

_GENERIC = re.compile(r"e(\d{1,2})m(\d{1,2})")

FP32_MANTISSA = 23


@dataclass(frozen=True)
class Format:
    """A binary floating-point format with subnormals, infinities and NaNs laid out as in IEEE 754.

    `mantissa` counts the stored bits, not the hidden one. Two formats are equal when they hold the same values, whatever they
    are called.
    """

    exponent: int
    mantissa: int
    name: str = field(compare=False)
    title: str = field(default="", compare=False)
    aliases: tuple[str, ...] = field(default=(), compare=False)

    @property
    def spec(self) -> str:
        """The name the native agent knows it by: `eXmY`."""
        return f"e{self.exponent}m{self.mantissa}"

    @property
    def bits(self) -> int:
        """Bits of one value, with the sign."""
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        """What is added to the exponent when it is stored."""
        return (1 << (self.exponent - 1)) - 1

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest finite value."""
        return self.bias

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return 1 - self.bias

    @property
    def max(self) -> float:
        """Largest finite value."""
        return float((2.0 - 2.0**-self.mantissa) * 2.0**self.max_exponent)

    @property
    def min_normal(self) -> float:
        """Smallest positive normal value."""
        return float(2.0**self.min_exponent)

    @property
    def min_subnormal(self) -> float:
        """Smallest positive value."""
        return float(2.0 ** (self.min_exponent - self.mantissa))

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next larger value."""
        return float(2.0**-self.mantissa)

    @property
    def is_fp32(self) -> bool:
        """True when rounding to this format changes nothing."""
        return self.exponent == 8 and self.mantissa == FP32_MANTISSA


def generic(text: str) -> Format | None:
    """The format that `eXmY` names; None when `text` does not have that shape. FormatError when it is out of range."""
    match = _GENERIC.fullmatch(text)
    if match is None:
        return None
    exponent, mantissa = int(match[1]), int(match[2])
    if exponent != 8 or not 1 <= mantissa <= FP32_MANTISSA:
        raise FormatError(f"format '{text}' is not supported yet: the generic formats are e8m1 to e8m23")
    return Format(exponent, mantissa, name=text, title=f"8 exponent bits, {mantissa} mantissa bits")
