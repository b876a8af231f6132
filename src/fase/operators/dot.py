"""The reference of VDPBF16PS, the CPU's dot product of BF16 pairs, natively and under an operator (docs/operators.md)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fase.arrays import numbers, together
from fase.errors import ArrayError, ModeError
from fase.formats.rounding import Float32
from fase.operators.emittable import dot_meaningless
from fase.operators.operator import Operator
from fase.operators.parse import parse
from fase.operators.reference import fma32, round_operand, sum_to_odd

_TINY = 2.0**-126 * (1 - 2.0**-25)
"""Sums below it, rounded to 24 bits with an unbounded exponent, are below the smallest normal number. (This one is a tie, and goes up.)"""
_LOW_HALF = np.uint32(0xFFFF)


def dpbf16(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike, mode: str | Operator = "fp32") -> Float32:
    """VDPBF16PS: d[i] = c[i] + a[2i+1] * b[2i+1] + a[2i] * b[2i], the odd pair first, each of the two multiply-adds under the operator `mode`.

    `a` and `b` hold BF16 values as float32, shape (..., 2N); `c` is float32, shape (..., N), like the result; leading axes broadcast. Subnormal
    operands count as zeros of their sign, and so do sums that are subnormal once rounded. Without a mode it is the instruction itself.
    ModeError for what is no mode or has no meaning here (`exact`, compound, stochastic, `chunk`); ArrayError for an operand that is not
    BF16, or shapes that do not fit.
    """
    operator = parse(mode)
    if reason := dot_meaningless(operator.description):
        raise ModeError(f"mode '{operator.name}' is none for VDPBF16PS: {reason}")
    x, y, total = _pairs(a, "a"), _pairs(b, "b"), numbers(c, "c", np.float32)
    for k in (1, 0):
        factors = together(np.float32, a=x[..., k], b=y[..., k], c=total)
        flat = [_without_subnormals(np.atleast_1d(v).ravel()) for v in factors]
        total = _multiply_add(operator, *flat).reshape(factors[0].shape)
    return total


def _multiply_add(operator: Operator, a: Float32, b: Float32, c: Float32) -> Float32:
    a, b, c = (round_operand(operator, i, x) for i, x in enumerate((a, b, c)))
    d = fma32(a, b, c)
    with np.errstate(all="ignore"):
        tiny = np.abs(sum_to_odd(a, b, c)) < _TINY
    return round_operand(operator, 3, np.where(tiny, np.copysign(np.float32(0), d), d))


def _without_subnormals(x: Float32) -> Float32:
    return np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0), x), x)


def _pairs(values: npt.ArrayLike, name: str) -> Float32:
    """BF16 values in float32, as pairs: shape (..., N, 2)."""
    x = numbers(values, name, np.float32)
    if x.ndim == 0 or x.shape[-1] % 2:
        raise ArrayError(f"{name} has no whole number of pairs along its last axis: its shape is {x.shape}")
    if (np.ascontiguousarray(x).view(np.uint32) & _LOW_HALF).any():
        raise ArrayError(f"{name} holds values that are not BF16; round them first: fase.round({name}, 'bf16')")
    return x.reshape(*x.shape[:-1], -1, 2)
