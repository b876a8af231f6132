"""What docs/operators.md says, with exact rationals, one number at a time: an oracle that shares nothing with the reference but the descriptions."""

from __future__ import annotations

import bisect
import math
import struct
from fractions import Fraction

from fase.formats.description import Grid
from fase.formats.posit import decode
from fase.operators import Operator

SIGN, INF, NAN = 0x80000000, 0x7F800000, 0x7FC00000
FP32 = Grid(23, -126, 0, 0x7F7FFFFF, 0xFF7FFFFF)


def value(bits: int, width: int = 32) -> float:
    """The number of a binary32 or binary64 encoding."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0] if width == 32 else struct.unpack("<d", struct.pack("<Q", bits))[0])


def encoding(x: float, width: int = 32) -> int:
    """The encoding of a binary32 or binary64 number."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0] if width == 32 else struct.unpack("<Q", struct.pack("<d", x))[0])


def exponent_of(x: Fraction) -> int:
    """floor(log2 |x|)."""
    guess = abs(x).numerator.bit_length() - x.denominator.bit_length()
    return guess if Fraction(2) ** guess <= abs(x) else guess - 1


def round_bits(bits: int, grid: Grid, random: int = 0) -> int:
    """Rounds an encoding to a grid of its width."""
    width, mantissa = (32, 23) if grid.carrier.bits == 32 else (64, 52)
    x = value(bits, width)
    sign = bits & 1 << (width - 1)
    if math.isnan(x):
        cut = mantissa - grid.mantissa
        return {"nan": (bits >> cut << cut) | 1 << (mantissa - 1), "zero": 0, "max": grid.max_positive}[grid.nan]
    if math.isinf(x):
        return _beyond(grid.infinity, sign, grid)
    return round_exact(Fraction(x), sign, grid, random)


def round_exact(x: Fraction, sign: int, grid: Grid, random: int = 0) -> int:
    """Rounds a rational number to a grid; `sign` is that of a zero."""
    width = grid.carrier.bits
    sign = 1 << (width - 1) if x < 0 else 0 if x > 0 else sign
    zero = sign if grid.signed_zero else 0
    if x == 0 or abs(x) < Fraction(value(grid.least, width)):
        return zero
    exponent = max(exponent_of(x), grid.min_exponent)
    step = Fraction(2) ** (exponent - grid.mantissa)
    count = _nearby(abs(x) / step, exponent, sign, grid, random)
    rounded = count * step
    if rounded > abs(Fraction(value(grid.max_negative if sign else grid.max_positive, width))):
        inward = grid.rounding in ("rtz", "odd") or grid.rounding == ("rup" if sign else "rdn")
        return _beyond("max" if inward else grid.overflow, sign, grid)
    return encoding(float(rounded), width) | sign if rounded else zero


def _nearby(ratio: Fraction, exponent: int, sign: int, grid: Grid, random: int) -> int:
    low = ratio.numerator // ratio.denominator
    rest = ratio - low
    odd = low % 2 if grid.mantissa or low == 0 else (exponent + 127) % 2
    match grid.rounding:
        case "rne":
            up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and odd == 1)
        case "rna":
            up = rest >= Fraction(1, 2)
        case "rtz":
            up = False
        case "rup":
            up = rest > 0 and not sign
        case "rdn":
            up = rest > 0 and bool(sign)
        case "odd":
            up = rest > 0 and not odd
        case "sr":
            up = math.floor(rest * 2**grid.random_bits) + random >= 2**grid.random_bits
    return low + up


def _beyond(result: str, sign: int, grid: Grid) -> int:
    infinity, nan = (INF, NAN) if grid.carrier.bits == 32 else (0x7FF << 52, 0xFFF << 51)
    return {"inf": sign | infinity, "nan": sign | nan, "max": grid.max_negative if sign else grid.max_positive}[result]


def fma_bits(a: int, b: int, c: int, grid: Grid = FP32) -> int:
    """a * b + c of binary32 encodings, rounded once to a grid. Any NaN is one NaN."""
    x, y, z = value(a), value(b), value(c)
    if not all(map(math.isfinite, (x, y, z))):
        result = encoding_of_special(x, y, z)
        return round_bits(result, grid) if grid != FP32 else result
    total = Fraction(x) * Fraction(y) + Fraction(z)
    product_sign = (a ^ b) & SIGN
    return round_exact(total, product_sign if product_sign == c & SIGN else 0, grid)


def encoding_of_special(x: float, y: float, z: float) -> int:
    """x * y + z where one of them is infinite or a NaN."""
    if any(map(math.isnan, (x, y, z))) or (math.isinf(x) and y == 0) or (math.isinf(y) and x == 0):
        return NAN
    if math.isinf(x) or math.isinf(y):
        product = math.copysign(math.inf, math.copysign(1, x) * math.copysign(1, y))
        return NAN if math.isinf(z) and z != product else encoding(product)
    return encoding(z)


def operate(operator: Operator, a: int, b: int, c: int) -> int:
    """D of an operator whose formats are grids, without stochastic rounding."""
    grids = [g for g in (operator.description.a, operator.description.b, operator.description.c, operator.description.d) if isinstance(g, Grid)]
    if operator.is_compound:
        return _compound(operator, grids, a, b, c)
    a, b, c = (bits if g == FP32 else round_bits(bits, g) for bits, g in zip((a, b, c), grids, strict=False))
    if operator.exact:
        return fma_bits(a, b, c, grids[3])
    d = fma_bits(a, b, c)
    return d if grids[3] == FP32 else round_bits(d, grids[3])


def _compound(operator: Operator, grids: list[Grid], a: int, b: int, c: int) -> int:
    parts = [_split(x, g, n) for x, g, n in zip((a, b, c), grids, operator.literals, strict=False)]
    d = _sum(parts[2])
    for i, j in operator.products:
        d = fma_bits(parts[0][i], parts[1][j], d)
    return _sum(_split(d, grids[3], operator.literals[3]))


def _split(x: int, grid: Grid, count: int) -> list[int]:
    if grid == FP32:
        return [x]
    found, rest = [round_bits(x, grid)], x
    while len(found) < count:
        regular = math.isfinite(value(found[0]))
        rest = fma_bits(found[-1], encoding(-1.0), rest) if regular else 0
        found.append(round_bits(rest, grid) if regular else 0)
    return found


def _sum(parts: list[int]) -> int:
    total = parts[0]
    for part in parts[1:]:
        total = fma_bits(part, encoding(1.0), total) if math.isfinite(value(total)) else total
    return total


class PositOracle:
    """Rounding to posit<n, es> by the standard's words: the bit string of n + 1 bits between two posits decides."""

    def __init__(self, bits: int, exponent: int) -> None:
        """Lists the positive posits of n + 1 bits; the odd ones are the borders."""
        self.fine = [decode(code, bits + 1, exponent) for code in range(1, 1 << bits)]

    def round(self, x: float) -> float:
        """The posit of a finite number."""
        size = Fraction(abs(x))
        if size == 0:
            return 0.0
        i = bisect.bisect_left(self.fine, size)  # fine[i - 1] < size <= fine[i]; fine[i] has code i + 1
        if i < len(self.fine) and self.fine[i] == size:
            code = i + 1
            nearest = code // 2 if code % 2 == 0 else (code // 2 if code // 2 % 2 == 0 else code // 2 + 1)
        else:
            nearest = (i + 1) // 2
        nearest = min(max(nearest, 1), len(self.fine) // 2)
        return math.copysign(float(self.fine[2 * nearest - 1]), x)
