"""What an operator's multipliers cost: the seeds' table ("A BF16 FMA is All You Need for DNN Training"), for any operator."""

from __future__ import annotations

from dataclasses import dataclass

from fase.formats.fixed import Fixed
from fase.formats.format import Format
from fase.operators.operator import Operator

FP32_AREA = 24 * 24
"""The area of an FP32 multiplier: mantissa bits, hidden bit included, squared."""


@dataclass(frozen=True)
class Cost:
    """`mantissa_bits`: precision of a factor, "15-16" where it depends on the value. `input_bits`: the widest operand's storage.

    `area`: products times the product of the two literals' mantissa bits. `speed_up`: how many such units fit the area of an FP32 one.
    """

    mantissa_bits: str
    input_bits: int
    products: int
    area: int
    speed_up: float


def cost(operator: Operator) -> Cost:
    """The cost of an operator."""
    widths = _significand(operator.a), _significand(operator.b)
    products = len(operator.products)
    area = products * widths[0] * widths[1]
    bits = max(count * fmt.bits for fmt, count in zip(operator.formats, operator.literals, strict=True))
    return Cost(_mantissa_bits(operator), operator.storage or bits, products, area, FP32_AREA / area)


def _significand(fmt: Format) -> int:
    """Bits of the integer that a multiplier sees."""
    return fmt.width if isinstance(fmt, Fixed) else fmt.mantissa + 1


def _mantissa_bits(operator: Operator) -> str:
    """N literals of p bits hold N*p bits, of which the products kept may lose the last; 24 is all there is."""
    count, p = operator.literals[0], _significand(operator.a)
    if count == 1:
        return str(p) if operator.a == operator.b else f"{p}, {_significand(operator.b)}"
    whole = min(24, count * p)
    complete = len(operator.products) == count * count
    return str(whole) if complete else f"{whole - 1}-{whole}"
