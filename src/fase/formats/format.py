"""What all number formats have in common, and the facts that follow from their values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Self

from fase.errors import FormatError
from fase.formats.carrier import BINARY32, Carrier, floor_log2, power
from fase.formats.description import Grid, NanRule, Overflow, Rounding, Table


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """A number format. Two formats are equal when they hold the same values and round alike, whatever they are called."""

    name: str = field(compare=False)
    title: str = field(default="", compare=False)
    aliases: tuple[str, ...] = field(default=(), compare=False)
    overflow: Overflow
    """What a finite value beyond the largest one becomes."""
    infinity: Overflow
    """What an infinity becomes."""
    nan: NanRule
    """What a NaN becomes."""
    signed_zero: bool
    """There is a -0."""
    carrier: Carrier = BINARY32
    """What the values to be rounded are in."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of one value, with the sign."""

    @abstractmethod
    def decode(self, code: int) -> float:
        """The value of an encoding, 0 <= code < 2**bits."""

    @abstractmethod
    def describe(self, rounding: Rounding = "rne", random_bits: int = 0) -> Grid | Table:
        """The format as the reference and the emitters read it."""

    @property
    @abstractmethod
    def max(self) -> float:
        """Largest finite value."""

    @property
    @abstractmethod
    def min(self) -> float:
        """Smallest finite value (the most negative one)."""

    @property
    @abstractmethod
    def smallest(self) -> float:
        """Smallest positive value."""

    @property
    @abstractmethod
    def epsilon(self) -> float:
        """Distance from 1 to the next larger value; NaN where the format does not reach beyond 1."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many different finite values there are; both zeros are one."""

    @property
    def mantissa(self) -> int:
        """Stored mantissa bits at 1, without the hidden bit."""
        grid = self.describe()
        assert isinstance(grid, Grid)
        return grid.mantissa

    @property
    def spec(self) -> str:
        """The format rounded to nearest even, as the native agent reads it."""
        return self.describe().text

    @property
    def is_native(self) -> bool:
        """Rounding a number of the carrier to this format changes nothing."""
        return self.describe().is_identity

    @property
    def is_fp32(self) -> bool:
        """Rounding a binary32 number to this format changes nothing."""
        return self.carrier == BINARY32 and self.is_native

    def on(self, carrier: Carrier) -> Self:
        """The same format for values that travel in `carrier`. FormatError where that cannot be."""
        if carrier == self.carrier:
            return self
        raise FormatError(f"format '{self.name}' is a table of binary32 values, which double-precision FMAs do not have")

    def values(self) -> Iterator[tuple[int, float]]:
        """(code, value) of all encodings, in the order of the codes."""
        for code in range(1 << self.bits):
            yield code, self.decode(code)


class GridFormat(Format):
    """A format that is a `Grid`; its facts come from there."""

    @abstractmethod
    def describe(self, rounding: Rounding = "rne", random_bits: int = 0) -> Grid:
        """The format as the reference and the emitters read it."""

    def on(self, carrier: Carrier) -> Self:
        """The same format for values that travel in `carrier`. FormatError where that cannot hold it."""
        moved = replace(self, carrier=carrier)
        moved.describe()
        return moved

    @property
    def max(self) -> float:
        """Largest finite value."""
        return self.carrier.from_bits(self.describe().max_positive)

    @property
    def min(self) -> float:
        """Smallest finite value."""
        return self.carrier.from_bits(self.describe().max_negative)

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return self.describe().min_exponent

    @property
    def min_normal(self) -> float:
        """Smallest positive value with all mantissa bits."""
        return float(power(self.min_exponent))

    @property
    def smallest(self) -> float:
        """Smallest positive value."""
        grid = self.describe()
        return self.min_normal if grid.least else float(power(grid.min_exponent - grid.mantissa))

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next larger value; NaN where there is none."""
        grid = self.describe()
        step = float(power(max(0, grid.min_exponent) - grid.mantissa))
        return step if step <= 1 < self.max else float("nan")

    @property
    def count(self) -> int:
        """How many different finite values there are."""
        return 1 + self._up_to(self.max) + self._up_to(-self.min)

    def _up_to(self, value: float) -> int:
        """How many values lie above 0, up to and including `value`."""
        grid, size = self.describe(), Fraction(value)
        first = round(Fraction(self.smallest) / power(grid.min_exponent - grid.mantissa))
        exponent = max(floor_log2(size), grid.min_exponent)
        in_binade = round(size / power(exponent - grid.mantissa))
        return (exponent - grid.min_exponent << grid.mantissa) + in_binade - first + 1
