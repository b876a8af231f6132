"""A number format as the emitters read it: numbers on the binary32 or binary64 grid, and their text form (docs/operators.md).

Every format that is rounded to inline is a `Grid`; formats given by their values are a `Table`. Both know nothing of names or encodings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from fase.errors import FormatError
from fase.formats.carrier import BINARY32, BINARY64, Carrier

Rounding = Literal["rne", "rtz", "rup", "rdn", "rna", "odd", "sr"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
"""Nearest-even, toward zero, up, down, nearest-away, to odd, stochastic."""

Overflow = Literal["inf", "nan", "max"]
"""What a value beyond the largest finite one becomes: an infinity, a NaN, or the largest finite value of its sign."""

NanRule = Literal["nan", "zero", "max"]
"""What a NaN becomes: a quiet NaN, +0 (in formats that have none), or the largest positive value."""

MANTISSA = BINARY32.mantissa
MIN_EXPONENT = BINARY32.min_exponent
MAX_EXPONENT = BINARY32.max_exponent
INFINITY = BINARY32.infinity
SIGN = BINARY32.sign

CARRIERS = (BINARY32, BINARY64)

_WORD = re.compile(r"e(8|11)m([1-9]\d?)")
_GRID = re.compile(
    r"(g[12])/(\d{1,2})/(-?\d{1,4})/([0-9a-f]{8,16})/([0-9a-f]{8,16})/([0-9a-f]{8,16})/([inm])([inm])([nzm])([su])"
    r"/(rne|rtz|rup|rdn|rna|odd|sr(\d{1,2}))"
)
_TABLE = re.compile(r"t1/([0-9a-f]{16})/([inm])([nzm])([su])")
_OVERFLOWS: dict[str, Overflow] = {"i": "inf", "n": "nan", "m": "max"}
_NANS: dict[str, NanRule] = {"n": "nan", "z": "zero", "m": "max"}


@dataclass(frozen=True)
class Grid:
    """Values n * 2^(max(e, min_exponent) - mantissa), e being the exponent of the value: what rounding a number of the carrier to a format means.

    `least`, `max_positive` and `max_negative` are encodings of the carrier. Inputs smaller in magnitude than `least` become zero
    before anything else; 0 keeps subnormals. Fixed point is the case in which every value is subnormal or +-2^min_exponent.
    """

    mantissa: int
    """Stored mantissa bits, without the hidden one: 0 to 23, or to 52."""
    min_exponent: int
    """Exponent of the smallest normal value, at least the carrier's; subnormals are multiples of 2^(min_exponent - mantissa)."""
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
    carrier: Carrier = BINARY32
    """What the values that are rounded, and the encodings here, are in."""

    def __post_init__(self) -> None:
        """Refuses what no emitter could make sense of."""
        c = self.carrier
        sane = 0 <= self.mantissa <= c.mantissa and c.min_exponent <= self.min_exponent <= c.max_exponent
        sane = sane and self.min_exponent - self.mantissa >= c.min_quantum
        sane = sane and 0 <= self.least < c.infinity and 0 < self.max_positive < c.infinity and c.sign < self.max_negative < c.sign + c.infinity
        sane = sane and (1 <= self.random_bits <= max(1, c.mantissa - self.mantissa) if self.rounding == "sr" else self.random_bits == 0)
        if not sane:
            raise FormatError(f"not a format on the {c.name} grid: {self}")

    @property
    def is_identity(self) -> bool:
        """Rounding a number of the carrier to this grid changes nothing."""
        return self.mantissa == self.carrier.mantissa and self == ieee(self.mantissa, self.rounding, self.random_bits, self.carrier)

    @property
    def text(self) -> str:
        """The canonical text form: `e8mY` or `e11mY` for what the word says, else `g1/...` or `g2/...`."""
        if self.mantissa > 0 and self == ieee(self.mantissa, carrier=self.carrier):
            return f"e{self.carrier.exponent_bits}m{self.mantissa}"
        letters = f"{self.overflow[0]}{self.infinity[0]}{self.nan[0]}{'s' if self.signed_zero else 'u'}"
        least, top, low = (f"{code:0{self.carrier.bits // 4}x}" for code in (self.least, self.max_positive, self.max_negative))
        return f"{self.carrier.version}/{self.mantissa}/{self.min_exponent}/{least}/{top}/{low}/{letters}/{self.rounding}{self.random_bits or ''}"


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


def ieee(mantissa: int, rounding: Rounding = "rne", random_bits: int = 0, carrier: Carrier = BINARY32) -> Grid:
    """The grid of the carrier's exponent bits, laid out as in IEEE 754: what the words `e8mY` and `e11mY` stand for."""
    largest = carrier.infinity - (1 << (carrier.mantissa - mantissa))
    return Grid(mantissa, carrier.min_exponent, 0, largest, carrier.sign | largest, rounding=rounding, random_bits=random_bits, carrier=carrier)


def parse_format(text: str) -> Grid | Table:
    """Reads the text form of one format. FormatError when it is not one."""
    if word := _WORD.fullmatch(text):
        carrier = next(c for c in CARRIERS if c.exponent_bits == int(word[1]))
        if int(word[2]) <= carrier.mantissa:
            return ieee(int(word[2]), carrier=carrier)
    if found := _GRID.fullmatch(text):
        carrier = next(c for c in CARRIERS if c.version == found[1])
        if all(len(code) == carrier.bits // 4 for code in found.group(4, 5, 6)):
            return _grid(found, carrier)
    if found := _TABLE.fullmatch(text):
        return Table(found[1], _OVERFLOWS[found[2]], _NANS[found[3]], found[4] == "s")
    raise FormatError(f"{text!r} is not the description of a format; docs/operators.md has the grammar")


def _grid(found: re.Match[str], carrier: Carrier) -> Grid:
    least, largest, lowest = (int(word, 16) for word in found.group(4, 5, 6))
    rounding = next(r for r in ROUNDINGS if found[11].startswith(r))
    overflow, infinity, nan = _OVERFLOWS[found[7]], _OVERFLOWS[found[8]], _NANS[found[9]]
    random_bits = int(found[12] or 0)
    return Grid(int(found[2]), int(found[3]), least, largest, lowest, overflow, infinity, nan, found[10] == "s", rounding, random_bits, carrier)
