"""The reference fused multiply-add: binary32 operands, one rounding, then the formats of an operator around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fase.formats.rounding import Float32, round_to
from fase.operators.operator import Operator
from fase.operators.parse import parse

_Float64 = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]

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
) -> Float32:
    """d = a * b + c under the operator `mode`; operands broadcast, converted to float32; the result is float32.

    `negate_product` and `negate_addend` give the other three instructions (fnmadd, fmsub, fnmsub). The signs change after the operands
    have been rounded, and never the sign of a NaN, as in the hardware.
    """
    operator = parse(mode)
    operands = np.broadcast_arrays(*(np.asarray(x, dtype=np.float32) for x in (a, b, c)))
    ra, rb, rc = (round_to(x, f) for x, f in zip(operands, (operator.a, operator.b, operator.c), strict=True))
    ra = _negate(ra) if negate_product else ra
    rc = _negate(rc) if negate_addend else rc
    return round_to(fma32(ra, rb, rc), operator.d)


def fma32(a: Float32, b: Float32, c: Float32) -> Float32:
    """The binary32 FMA of x86 with default MXCSR: one rounding to nearest even, subnormals kept; same shape as the operands.

    The product of two binary32 numbers is exact in binary64. The sum is rounded to odd in binary64, which has more than 24 + 2 bits, so
    rounding it once more to binary32 gives the correctly rounded result (Boldo & Melquiond, IEEE TC 57(4), 2008), also
    where that result is subnormal, since the wanted precision only gets smaller there.
    """
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        total = _add_to_odd(product, c.astype(np.float64)).astype(np.float32)
    return _propagate_nan(a, b, c, total)


def _add_to_odd(x: _Float64, y: _Float64) -> _Float64:
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
