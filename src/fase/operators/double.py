"""The reference of double-precision FMAs: docs/operators.md with binary64 in place of binary32."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fase.arrays import together
from fase.formats.description import Grid
from fase.formats.rounding import Float64, round64_flat
from fase.operators.operator import Operator
from fase.operators.parse import parse_fp64

_QUIET = np.uint64(1 << 51)
_DEFAULT_NAN = np.uint64(0xFFF8 << 48)
"""What x86 gives for 0 * Inf and Inf - Inf."""


def fma64(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    c: npt.ArrayLike,
    mode: str | Operator = "fp64",
    *,
    negate_product: bool = False,
    negate_addend: bool = False,
) -> Float64:
    """d = a * b + c in double precision under `mode`, one of `fase run --fp64`; operands broadcast, converted to float64; the result is float64.

    `negate_product` and `negate_addend` as in `fma`. A microsecond or two an element. ModeError for what is no mode.
    """
    operator = parse_fp64(mode)
    operands = together(np.float64, a=a, b=b, c=c)
    x, y, z = (_round(operator, i, np.atleast_1d(v).ravel()) for i, v in enumerate(operands))
    d = native64(_negate(x) if negate_product else x, y, _negate(z) if negate_addend else z)
    return _round(operator, 3, d).reshape(operands[0].shape)


def native64(a: Float64, b: Float64, c: Float64) -> Float64:
    """The binary64 FMA of x86 with default MXCSR: one rounding to nearest even, subnormals kept."""
    found = np.array([_fused(*numbers) for numbers in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)], np.float64)
    bits = np.where(np.isnan(found), _DEFAULT_NAN, found.view(np.uint64))
    for operand in (c, b, a):
        bits = np.where(np.isnan(operand), operand.view(np.uint64) | _QUIET, bits)
    return bits.view(np.float64)


def _fused(a: float, b: float, c: float) -> float:
    """One rounding of the exact sum; any NaN stands for all."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c
    (p, q), (r, s), (u, v) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    total = p * r * v + u * q * s
    if total == 0:
        return a * b + c if not p * r else 0.0  # two zeros have a sign of their own; x - x is +0
    try:
        size = abs(total) / (q * s * v)  # Python divides integers with one rounding to nearest even, subnormals included
    except OverflowError:
        size = math.inf
    return size if total > 0 else -size


def _round(operator: Operator, i: int, x: Float64) -> Float64:
    described = operator.description
    grid = (described.a, described.b, described.c, described.d)[i]
    assert isinstance(grid, Grid)
    return round64_flat(x, grid)


def _negate(x: Float64) -> Float64:
    return np.where(np.isnan(x), x, -x)
