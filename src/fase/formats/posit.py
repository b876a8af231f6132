"""Posits (Standard for Posit Arithmetic, 2022): the values of posit<n, es>, and where rounding to them changes."""

from __future__ import annotations

import math
from fractions import Fraction

from fase.formats.binary32 import power
from fase.formats.tables import TableFormat


def posit(name: str, bits: int, exponent: int, *, title: str = "", aliases: tuple[str, ...] = ()) -> TableFormat:
    """posit<bits, exponent>. It saturates at both ends: nothing but zero becomes zero; NaN and infinities become NaR.

    Rounding is defined on the bit string: the border between two posits is the posit of one more bit between them.
    """
    half = 1 << (bits - 1)
    positive = [decode(code, bits, exponent) for code in range(1, half)]
    codes = [0.0, *map(float, positive), math.nan, *(-float(v) for v in reversed(positive))]
    middles = [Fraction(0), *(decode(2 * code + 1, bits + 1, exponent) for code in range(1, half - 1))]
    return TableFormat(
        name=name, title=title, aliases=aliases, codes=tuple(codes), middles=tuple([-m for m in reversed(middles)] + middles),
        overflow="max", infinity="nan", nan="nan", signed_zero=False,
    )  # fmt: skip


def decode(code: int, bits: int, exponent: int) -> Fraction:
    """The value of a positive posit, 0 < code < 2^(bits-1): (1 + fraction) * 2^(regime * 2^exponent + e), cut bits being zero."""
    text = f"{code:0{bits - 1}b}"
    run = len(text) - len(text.lstrip(text[0]))
    regime = run - 1 if text[0] == "1" else -run
    rest = text[run + 1 :]
    e = int(rest[:exponent].ljust(exponent, "0"), 2) if exponent else 0
    fraction = rest[exponent:]
    mantissa = 1 + Fraction(int(fraction or "0", 2), 1 << len(fraction))
    return mantissa * power(regime * (1 << exponent) + e)
