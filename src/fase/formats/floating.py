"""Binary floating-point formats: exponent and mantissa bits, a bias, and which codes are special."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fase.errors import FormatError
from fase.formats.carrier import BINARY32, BINARY64, Carrier, power
from fase.formats.description import Grid, Rounding
from fase.formats.format import GridFormat

Encoding = Literal["ieee", "fn", "fnuz", "p3109", "finite", "dlfloat"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
"""Which codes are not ordinary numbers.

ieee:    the largest exponent: infinities and NaNs (IEEE 754)
fn:      the largest code of each sign is a NaN; no infinities (OCP E4M3)
fnuz:    the code of -0 is the only NaN; no infinities
p3109:   the code of -0 is the only NaN, the largest code of each sign an infinity (IEEE P3109)
finite:  none (OCP MX elements)
dlfloat: the largest code is NaN and infinity in one; no subnormals: exponent 0 is an ordinary one, of which code 0 is zero
"""

FOR_DOUBLE = "--fp64; docs/fp64.md"
"""Where formats that are too wide for binary32 belong."""

Flush = Literal["", "before", "after"]
"""Subnormals are kept; are zero as judged by the value before rounding; or by the one after, rounded as if the exponent had no limit."""


@dataclass(frozen=True, kw_only=True)
class Float(GridFormat):
    """A sign, `exponent_bits`, `mantissa_bits` stored ones (without the hidden one)."""

    exponent_bits: int
    mantissa_bits: int
    encoding: Encoding
    bias: int
    flush: Flush = ""

    @property
    def bits(self) -> int:
        """Bits of one value, with the sign."""
        return 1 + self.exponent_bits + self.mantissa_bits

    def decode(self, code: int) -> float:
        """The value of an encoding."""
        largest = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        size, sign = code & largest, -1.0 if code > largest else 1.0
        field, rest = size >> self.mantissa_bits, size & ((1 << self.mantissa_bits) - 1)
        if size == 0:
            return math.nan if sign < 0 and self.encoding in ("fnuz", "p3109") else 0.0 * sign
        if self.encoding == "ieee" and field == (1 << self.exponent_bits) - 1:
            return math.nan if rest else sign * math.inf
        if size == largest and self.encoding in ("fn", "dlfloat", "p3109"):
            return sign * math.inf if self.encoding == "p3109" else math.nan
        if field == 0 and self.encoding != "dlfloat":
            return 0.0 * sign if self.flush else sign * math.ldexp(rest, 1 - self.bias - self.mantissa_bits)
        return sign * math.ldexp((1 << self.mantissa_bits) + rest, field - self.bias - self.mantissa_bits)

    def describe(self, rounding: Rounding = "rne", random_bits: int = 0) -> Grid:
        """The format on the carrier's grid. FormatError where the carrier cannot hold it."""
        lowest = -self.bias if self.encoding == "dlfloat" else 1 - self.bias
        try:
            largest = abs(self.decode(self._largest_code))
        except OverflowError:
            largest = math.inf
        self._check(lowest, largest)
        top, least = self.carrier.to_bits(largest), self._least(lowest, rounding)
        policies = (self.overflow, self.infinity, self.nan, self.signed_zero)
        return Grid(self.mantissa_bits, lowest, least, top, self.carrier.sign | top, *policies, rounding, random_bits, self.carrier)

    @property
    def smallest(self) -> float:
        """Smallest positive value."""
        return self.decode(1) if not self.flush or self.encoding == "dlfloat" else self.min_normal

    @property
    def _largest_code(self) -> int:
        codes = 1 << (self.exponent_bits + self.mantissa_bits)
        special = {"ieee": 1 << self.mantissa_bits, "fnuz": 0, "finite": 0}
        return codes - 1 - special.get(self.encoding, 1)

    def _least(self, lowest: int, rounding: Rounding) -> int:
        """The encoding of the smallest input that does not become zero; 0 when subnormals are kept."""
        if not self.flush:
            return 0
        smallest = power(lowest) if self.encoding != "dlfloat" else power(lowest) + power(lowest - self.mantissa_bits)
        down = rounding in ("rtz", "odd", "sr")
        if self.flush == "before" or (down and self.encoding != "dlfloat"):
            return self.carrier.to_bits(float(smallest))
        if rounding in ("rup", "rdn"):
            raise FormatError(f"format '{self.name}': flushing after rounding has no meaning with {rounding}; use flush (before rounding)")
        if self.encoding == "dlfloat":
            tie_stays = rounding == "rna"
            border = power(lowest) + power(lowest - self.mantissa_bits - 1)
            return self.carrier.to_bits(float(smallest) if down else self.carrier.at_least(border, beyond=not tie_stays))
        return self.carrier.to_bits(self.carrier.at_least(smallest - power(lowest - self.mantissa_bits - 2), beyond=False))

    def _check(self, lowest: int, largest: float) -> None:
        if largest == 0 or math.isnan(largest):
            raise FormatError(f"format '{self.name}' holds no number but zero; give it more exponent or mantissa bits")
        carrier = self.carrier
        if math.isinf(largest) or largest >= power(carrier.max_exponent + 1):
            least = (self._largest_code >> self.mantissa_bits) - carrier.max_exponent
            advice = f"a bias of at least {least}" if least <= carrier.max_exponent else "ieee, or fewer exponent bits"
            raise FormatError(f"format '{self.name}' reaches beyond {carrier.name}; use {advice}")
        if lowest < carrier.min_exponent:
            most = self.bias + lowest - carrier.min_exponent
            raise FormatError(f"format '{self.name}' has normal values below those of {carrier.name}; use a bias of at most {most}")


def floating(name: str, exponent: int, mantissa: int, encoding: Encoding, bias: int | None = None, carrier: Carrier = BINARY32) -> Float:
    """A format with the policies that its encoding suggests. FormatError when it is out of range.

    Overflow gives an infinity if there is one, else a NaN, else the largest value; a NaN becomes +0 where there is none. The bias
    is 2^(exponent-1) - 1, and one more where the encoding has one zero (fnuz, p3109).
    """
    if not 1 <= exponent <= carrier.exponent_bits or not 0 <= mantissa <= carrier.mantissa:
        fits_double = 1 <= exponent <= BINARY64.exponent_bits and mantissa <= BINARY64.mantissa
        hint = f"; wider ones are for double-precision FMAs ({FOR_DOUBLE})" if fits_double and carrier != BINARY64 else ""
        raise FormatError(f"format '{name}': there are 1 to {carrier.exponent_bits} exponent bits and 0 to {carrier.mantissa} mantissa bits{hint}")
    if bias is not None and not carrier.min_exponent <= bias <= carrier.max_exponent:  # the smallest normal value is a normal number
        raise FormatError(f"format '{name}': a bias of {bias} leaves {carrier.name}; it is {carrier.min_exponent} to {carrier.max_exponent}")
    unsigned = encoding in ("fnuz", "p3109")
    chosen = (1 << (exponent - 1)) - (0 if unsigned else 1) if bias is None else bias
    if mantissa == 0 and (encoding not in ("fn", "finite") or (chosen % 2 == 0 and exponent > 1)):
        raise FormatError(f"format '{name}': without mantissa bits the encoding is fn or finite, and the bias odd")
    overflow: Literal["inf", "nan", "max"] = "inf" if encoding in ("ieee", "p3109") else "max" if encoding == "finite" else "nan"
    found = Float(
        name=name, exponent_bits=exponent, mantissa_bits=mantissa, encoding=encoding, bias=chosen, flush="after" if encoding == "dlfloat" else "",
        overflow=overflow, infinity=overflow, nan="zero" if encoding == "finite" else "nan", signed_zero=not unsigned,
        carrier=carrier,
    )  # fmt: skip
    found.describe()
    return found
