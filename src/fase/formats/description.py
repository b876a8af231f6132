"""A number format as the emitters read it: numbers on the binary32 grid, and their text form (docs/operators.md).

Every format that is rounded to inline is a `Grid`; formats given by their values are a `Table`. Both know nothing of names or encodings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from fase.errors import FormatError

Rounding = Literal["rne", "rtz", "rup", "rdn", "rna", "odd", "sr"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
"""Nearest-even, toward zero, up, down, nearest-away, to odd, stochastic."""

Overflow = Literal["inf", "nan", "max"]
"""What a value beyond the largest finite one becomes: an infinity, a NaN, or the largest finite value of its sign."""

NanRule = Literal["nan", "zero", "max"]
"""What a NaN becomes: a quiet NaN, +0 (in formats that have none), or the largest positive value."""

MANTISSA = 23
MIN_EXPONENT = -126
MAX_EXPONENT = 127
MIN_QUANTUM = -149
INFINITY = 0x7F800000
SIGN = 0x80000000

_WORD = re.compile(r"e8m([1-9]\d?)")
_GRID = re.compile(
    r"g1/(\d{1,2})/(-?\d{1,3})/([0-9a-f]{8})/([0-9a-f]{8})/([0-9a-f]{8})/([inm])([inm])([nzm])([su])/(rne|rtz|rup|rdn|rna|odd|sr(\d{1,2}))"
)
_TABLE = re.compile(r"t1/([0-9a-f]{16})/([inm])([nzm])([su])")
_OVERFLOWS: dict[str, Overflow] = {"i": "inf", "n": "nan", "m": "max"}
_NANS: dict[str, NanRule] = {"n": "nan", "z": "zero", "m": "max"}


@dataclass(frozen=True)
class Grid:
    """Values n * 2^(max(e, min_exponent) - mantissa), e being the exponent of the value: what rounding a binary32 number to a format means.

    `least`, `max_positive` and `max_negative` are binary32 encodings. Inputs smaller in magnitude than `least` become zero
    before anything else; 0 keeps subnormals. Fixed point is the case in which every value is subnormal or +-2^min_exponent.
    """

    mantissa: int
    """Stored mantissa bits, without the hidden one: 0 to 23."""
    min_exponent: int
    """Exponent of the smallest normal value: -126 to 127; subnormals are multiples of 2^(min_exponent - mantissa)."""
    least: int
    max_positive: int
    max_negative: int
    overflow: Overflow = "inf"
    """Result of rounding a finite value beyond the largest finite one."""
    infinity: Overflow = "inf"
    """Result for an infinite input."""
    nan: NanRule = "nan"
    """Result for a NaN."""
    signed_zero: bool = True
    """Zeros keep their sign; otherwise all are +0."""
    rounding: Rounding = "rne"
    random_bits: int = 0
    """Random bits of stochastic rounding, 1 to 23; 0 for the other roundings."""

    def __post_init__(self) -> None:
        """Refuses what no emitter could make sense of."""
        sane = 0 <= self.mantissa <= MANTISSA and MIN_EXPONENT <= self.min_exponent <= MAX_EXPONENT
        sane = sane and self.min_exponent - self.mantissa >= MIN_QUANTUM
        sane = sane and 0 <= self.least < INFINITY and 0 < self.max_positive < INFINITY and SIGN < self.max_negative < SIGN + INFINITY
        sane = sane and (1 <= self.random_bits <= max(1, MANTISSA - self.mantissa) if self.rounding == "sr" else self.random_bits == 0)
        if not sane:
            raise FormatError(f"not a format on the binary32 grid: {self}")

    @property
    def is_identity(self) -> bool:
        """Rounding a binary32 number to this grid changes nothing."""
        return self.mantissa == MANTISSA and self == ieee(MANTISSA, self.rounding, self.random_bits)

    @property
    def text(self) -> str:
        """The canonical text form: `e8mY` for what the word says, else `g1/...`."""
        if self.mantissa > 0 and self == ieee(self.mantissa):
            return f"e8m{self.mantissa}"
        letters = f"{self.overflow[0]}{self.infinity[0]}{self.nan[0]}{'s' if self.signed_zero else 'u'}"
        numbers = f"{self.mantissa}/{self.min_exponent}/{self.least:08x}/{self.max_positive:08x}/{self.max_negative:08x}"
        return f"g1/{numbers}/{letters}/{self.rounding}{self.random_bits or ''}"


@dataclass(frozen=True)
class Table:
    """A format given by its values: `key` names a file of values and the limits between them (docs/operators.md), rounding included."""

    key: str
    """16 hexadecimal digits: the start of the SHA-256 of the file."""
    infinity: Overflow = "inf"
    """Result for an infinite input: "inf" is whatever the table gives."""
    nan: NanRule = "nan"
    signed_zero: bool = True

    @property
    def is_identity(self) -> bool:
        """Never: a table holds at most 2^16 values."""
        return False

    @property
    def text(self) -> str:
        """The canonical text form."""
        return f"t1/{self.key}/{self.infinity[0]}{self.nan[0]}{'s' if self.signed_zero else 'u'}"


def ieee(mantissa: int, rounding: Rounding = "rne", random_bits: int = 0) -> Grid:
    """The grid of 8 exponent bits, laid out as in IEEE 754: what the word `e8mY` stands for."""
    largest = INFINITY - (1 << (MANTISSA - mantissa))
    return Grid(mantissa, MIN_EXPONENT, 0, largest, SIGN | largest, rounding=rounding, random_bits=random_bits)


def parse_format(text: str) -> Grid | Table:
    """Reads the text form of one format. FormatError when it is not one."""
    if (word := _WORD.fullmatch(text)) and int(word[1]) <= MANTISSA:
        return ieee(int(word[1]))
    if found := _GRID.fullmatch(text):
        return _grid(found)
    if found := _TABLE.fullmatch(text):
        return Table(found[1], _OVERFLOWS[found[2]], _NANS[found[3]], found[4] == "s")
    raise FormatError(f"{text!r} is not the description of a format; docs/operators.md has the grammar")


def _grid(found: re.Match[str]) -> Grid:
    least, largest, lowest = (int(word, 16) for word in found.group(3, 4, 5))
    rounding = next(r for r in ROUNDINGS if found[10].startswith(r))
    overflow, infinity, nan = _OVERFLOWS[found[6]], _OVERFLOWS[found[7]], _NANS[found[8]]
    return Grid(int(found[1]), int(found[2]), least, largest, lowest, overflow, infinity, nan, found[9] == "s", rounding, int(found[11] or 0))
