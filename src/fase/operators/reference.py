"""The reference fused multiply-add: what docs/operators.md says, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fase.arrays import together
from fase.formats.random import LANES, Stream
from fase.formats.rounding import Float32, Float64, round_flat, round_real, to_odd32
from fase.formats.roundings import parse_rounding
from fase.formats.tables import TableFormat
from fase.operators.operator import Operator
from fase.operators.parse import parse

_QUIET = np.uint32(0x00400000)
_DEFAULT_NAN = np.uint32(0xFFC00000)
"""What x86 gives for 0 * Inf and Inf - Inf."""


def fma(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    c: npt.ArrayLike,
    mode: str | Operator = "fp32",
    *,
    negate_product: bool = False,
    negate_addend: bool = False,
    thread: int = 0,
    start: int = 0,
    lanes: int = LANES,
) -> Float32:
    """d = a * b + c under the operator `mode`; operands broadcast, converted to float32; the result is float32.

    `negate_product` and `negate_addend` give the other three instructions (fnmadd, fmsub, fnmsub). The signs change after the operands
    have been rounded, and never the sign of a NaN, as in the hardware.

    Stochastic rounding takes its random bits as if the elements were computed by instructions of `lanes` lanes, one after the other, on
    thread number `thread` after `start` roundings. ModeError for what is no mode, ArrayError for operands that are no arrays of numbers or
    do not fit.
    """
    operator = parse(mode)
    operands = together(np.float32, a=a, b=b, c=c)
    flat = [np.atleast_1d(x).ravel() for x in operands]
    compute = _compound if operator.is_compound else _simple
    stream = Stream(operator.seed, thread, start, lanes, sum(_is_stochastic(operator, i) for i in range(4)))
    return compute(operator, flat, negate_product, negate_addend, stream).reshape(operands[0].shape)


def fma32(a: Float32, b: Float32, c: Float32) -> Float32:
    """The binary32 FMA of x86 with default MXCSR: one rounding to nearest even, subnormals kept; same shape as the operands.

    The exact sum, rounded to odd in binary64, has more than 24 + 2 bits, so rounding it once more to binary32 gives the correctly
    rounded result (Boldo & Melquiond, IEEE TC 57(4), 2008), also where that is subnormal, since the wanted precision only gets smaller there.
    """
    with np.errstate(all="ignore"):
        total = sum_to_odd(a, b, c).astype(np.float32)
    return _propagate_nan(a, b, c, total)


def _simple(operator: Operator, operands: list[Float32], negate_product: bool, negate_addend: bool, stream: Stream) -> Float32:
    a, b, c = (_round(operator, i, x, stream) for i, x in enumerate(operands))
    a = _negate(a) if negate_product else a
    c = _negate(c) if negate_addend else c
    d = fma32(a, b, c)
    if not operator.exact:
        return _round(operator, 3, d, stream)
    with np.errstate(all="ignore"):
        total = sum_to_odd(a, b, c)
    rounding, random_bits = parse_rounding(operator.roundings[3], operator.d)
    if random_bits or isinstance(operator.d, TableFormat):
        odd = to_odd32(total, d)
        return _round(operator, 3, np.where(np.isfinite(total), odd, d), stream)
    if operator.d.is_fp32:
        nan = np.isnan(total)
        return np.where(nan, d, round_real(np.where(nan, 0.0, total), d, operator.d, rounding, 0, None))
    return round_real(total, d, operator.d, rounding, 0, None)


def _compound(operator: Operator, operands: list[Float32], negate_product: bool, negate_addend: bool, stream: Stream) -> Float32:
    a, b = (_split(operator, i, operands[i], stream) for i in (0, 1))
    c = _joined(operator, 2, operands[2], stream)
    a = [_negate(x) if negate_product else x for x in a]
    d = _negate(c) if negate_addend else c
    for i, j in operator.products:
        d = fma32(a[i], b[j], d)
    return _joined(operator, 3, d, stream)


def _split(operator: Operator, i: int, x: Float32, stream: Stream) -> list[Float32]:
    """The literals of an operand, largest first. An infinity or a NaN is all in the first."""
    literals = [_round(operator, i, x, stream)]
    rest, regular = x, np.isfinite(literals[0])
    while len(literals) < operator.literals[i]:
        with np.errstate(invalid="ignore"):
            rest = np.where(regular, rest - literals[-1], np.float32(0))
        literals.append(_round(operator, i, rest, stream))
    return literals


def _joined(operator: Operator, i: int, x: Float32, stream: Stream) -> Float32:
    """The sum of the literals of an operand."""
    first, *others = _split(operator, i, x, stream)
    for literal in others:
        first = np.where(np.isfinite(first), first + literal, first)
    return first


def _round(operator: Operator, i: int, x: Float32, stream: Stream) -> Float32:
    """Rounds operand number i (0 to 3: a to d) to its format."""
    fmt = operator.formats[i]
    if fmt.is_fp32:
        return x
    rounding, random_bits = parse_rounding(operator.roundings[i], fmt)
    position = sum(_is_stochastic(operator, earlier) for earlier in range(i))
    random = stream.bits(x.size, random_bits, position) if random_bits else None
    return round_flat(x, fmt, rounding, random_bits, random)


def round_operand(operator: Operator, i: int, x: Float32) -> Float32:
    """Rounds a vector to the format of operand number i (0 to 3: a to d), which is not stochastic."""
    return _round(operator, i, x, Stream(operator.seed, 0, 0, LANES, 0))


def _is_stochastic(operator: Operator, i: int) -> bool:
    return operator.roundings[i].startswith("sr") and not operator.formats[i].is_fp32


def sum_to_odd(a: Float32, b: Float32, c: Float32) -> Float64:
    """a * b + c in binary64, to odd; the product of two binary32 numbers is exact there."""
    return _add_to_odd(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))


def _add_to_odd(x: Float64, y: Float64) -> Float64:
    """x + y, rounded to odd: exact sums as they are, others to the neighbour whose last bit is one. No overflow, no underflow."""
    total = np.atleast_1d(x + y)
    rest = total - x
    error = (x - (total - rest)) + (y - rest)  # Knuth's TwoSum: total + error = x + y exactly
    bits = total.view(np.int64)
    inexact_even = np.isfinite(total) & np.isfinite(error) & (error != 0) & ((bits & 1) == 0)
    away = np.signbit(error) == np.signbit(total)
    stepped = np.where(inexact_even, bits + np.where(away, 1, -1), bits)
    return stepped.view(np.float64).reshape(np.shape(x + y))


def _negate(x: Float32) -> Float32:
    return np.where(np.isnan(x), x, -x)


def _propagate_nan(a: Float32, b: Float32, c: Float32, result: Float32) -> Float32:
    """Puts the NaNs of x86 into `result`: the first operand that is one, made quiet, else the default NaN."""
    bits = np.where(np.isnan(result), _DEFAULT_NAN, result.view(np.uint32))
    for operand in (c, b, a):
        bits = np.where(np.isnan(operand), operand.view(np.uint32) | _QUIET, bits)
    return bits.astype(np.uint32).view(np.float32)
