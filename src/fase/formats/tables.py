"""Formats given by their values: posits, and whatever a user brings. At most 16 bits."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from fase.errors import FormatError
from fase.formats.binary32 import at_least, step_up, to_bits
from fase.formats.description import Rounding, Table
from fase.formats.format import Format

MAX_BITS = 16
MAGIC = b"FASETAB1"
LOWEST = -(2 - 2.0**-23) * 2.0**127
"""The most negative binary32 number."""


@dataclass(frozen=True, kw_only=True)
class TableFormat(Format):
    """A format whose code n stands for `codes[n]`. Rounds to the nearest value; ties go to the even code.

    `middles` overrides where the border between a value and the next larger one lies (posits: not half-way between the two).
    """

    codes: tuple[float, ...] = field(repr=False, compare=False)
    middles: tuple[Fraction, ...] | None = field(default=None, repr=False, compare=False)
    digest: str = field(init=False, repr=False)
    """Stands for codes and middles in comparisons, which are many and would be slow."""

    def __post_init__(self) -> None:
        """Computes the digest."""
        import hashlib  # here: it takes long to load, and most runs have no table

        text = struct.pack(f"<{len(self.codes)}f", *self.codes) + repr(self.middles).encode()
        object.__setattr__(self, "digest", hashlib.sha256(text).hexdigest())

    @property
    def bits(self) -> int:
        """Bits of one value."""
        return max(1, (len(self.codes) - 1).bit_length())

    def decode(self, code: int) -> float:
        """The value of an encoding; NaN for codes beyond the table."""
        return self.codes[code] if code < len(self.codes) else math.nan

    @property
    def max(self) -> float:
        """Largest finite value."""
        return max(v for v in self.codes if math.isfinite(v))

    @property
    def min(self) -> float:
        """Smallest finite value."""
        return min(v for v in self.codes if math.isfinite(v))

    @property
    def smallest(self) -> float:
        """Smallest positive value; NaN if there is none."""
        return min((v for v in self.codes if v > 0), default=math.nan)

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next larger value; NaN where 1 or a larger value is missing."""
        above = [v for v in self.codes if v > 1 and math.isfinite(v)]
        return min(above) - 1 if above and 1.0 in self.codes else math.nan

    @property
    def mantissa(self) -> int:
        """Stored mantissa bits at 1."""
        return max(0, -math.frexp(self.epsilon)[1] + 1) if self.epsilon > 0 else 0

    @property
    def count(self) -> int:
        """How many different finite values there are."""
        return len({v for v in self.codes if math.isfinite(v)})

    def describe(self, rounding: Rounding = "rne", random_bits: int = 0) -> Table:  # noqa: ARG002
        """The key of the table's file, and the policies."""
        return Table(_key(self, rounding), self.infinity, self.nan, self.signed_zero)

    def limits(self, rounding: Rounding) -> tuple[list[float], list[float]]:
        """The values in ascending order, and the smallest binary32 number that rounds to each but the first."""
        return _limits(self, rounding)

    def file(self, rounding: Rounding) -> bytes:
        """The table's file for a rounding (docs/operators.md)."""
        return _file(self, rounding)


def table(name: str, values: Sequence[float], *, title: str = "", aliases: tuple[str, ...] = ()) -> TableFormat:
    """A format from the values of its codes 0, 1, 2...; NaNs and infinities may be among them. FormatError when they cannot be used."""
    if not 2 <= len(values) <= 1 << MAX_BITS:
        raise FormatError(f"format '{name}': a table has 2 to 65536 values, not {len(values)}")
    for value in values:
        try:
            _ = math.isnan(value) or to_bits(value)
        except (TypeError, ValueError):
            raise FormatError(f"format '{name}': {value!r} is not a binary32 number; round the values of the table to binary32 first") from None
    codes = tuple(map(float, values))
    finite = {v for v in codes if math.isfinite(v)}
    if len(finite) < 2:
        raise FormatError(f"format '{name}': a table needs two different finite values")
    minus_zero = any(v == 0 and math.copysign(1, v) < 0 for v in codes)
    has_nan = any(map(math.isnan, codes))
    return TableFormat(
        name=name, title=title, aliases=aliases, codes=codes, overflow="inf" if math.inf in codes else "max", infinity="inf",
        nan="nan" if has_nan else "zero", signed_zero=minus_zero,
    )  # fmt: skip


@cache
def _limits(fmt: TableFormat, rounding: Rounding) -> tuple[list[float], list[float]]:
    if rounding == "sr":
        raise FormatError(f"format '{fmt.name}' is a table, which cannot be rounded to stochastically; use rne, rtz, rup, rdn, rna or odd")
    parity = {v + 0.0: code % 2 for code, v in sorted(enumerate(fmt.codes), reverse=True) if not math.isnan(v)}
    values = sorted(parity)
    middles = fmt.middles or _middles(values)
    return values, [_limit(low, high, middle, parity[low], rounding) for low, high, middle in zip(values[:-1], values[1:], middles, strict=True)]


def _middles(values: list[float]) -> tuple[Fraction, ...]:
    """Half-way points; beyond the largest finite value and before an infinity, half the last step further."""
    found = []
    for i, (low, high) in enumerate(itertools.pairwise(values)):
        if math.isfinite(low) and math.isfinite(high):
            found.append((Fraction(low) + Fraction(high)) / 2)
        elif math.isfinite(low):
            found.append(Fraction(low) + (Fraction(low) - Fraction(values[i - 1])) / 2)
        else:
            found.append(Fraction(high) - (Fraction(values[i + 2]) - Fraction(high)) / 2)
    return tuple(found)


def _limit(low: float, high: float, middle: Fraction, low_is_odd: int, rounding: Rounding) -> float:
    """The smallest binary32 number that rounds to `high` rather than `low`."""
    if rounding == "rne":
        return at_least(middle, beyond=not low_is_odd)
    if rounding == "rna":
        return at_least(middle, beyond=middle < 0 or middle == low)
    to_high = {"rup": True, "rdn": False, "rtz": high <= 0, "odd": not low_is_odd}[rounding]
    if not to_high:
        return high
    return step_up(low) if math.isfinite(low) else LOWEST


@cache
def _key(fmt: TableFormat, rounding: Rounding) -> str:
    import hashlib

    return hashlib.sha256(_file(fmt, rounding)).hexdigest()[:16]


@cache
def _file(fmt: TableFormat, rounding: Rounding) -> bytes:
    values, limits = _limits(fmt, rounding)
    count = len(values)
    return MAGIC + struct.pack(f"<II{count}f{count - 1}f", count, 0, *values, *limits)
