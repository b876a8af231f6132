"""Sums of products under an operator, in order: for studies of accumulators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fase.arrays import together
from fase.errors import ArrayError
from fase.formats.rounding import Float32
from fase.operators.operator import Operator
from fase.operators.parse import parse
from fase.operators.reference import fma


def dot(a: npt.ArrayLike, b: npt.ArrayLike, mode: str | Operator, *, axis: int = -1) -> Float32:
    """The sum of a * b along `axis`, one FMA a term, in order, starting at +0; float32.

    With `chunk=N` in the mode, the partial sum goes to a binary32 total after every N terms, rounded to nearest even, and starts again empty: at -0,
    or at +0 where d has no other. Of two NaNs the partial sum's stays. In a program, loops add up so (docs/accumulation.md).
    """
    operator = parse(mode)
    x, y = together(np.float32, a=a, b=b)
    if not isinstance(axis, int | np.integer) or not -x.ndim <= axis < x.ndim:
        raise ArrayError(f"axis {axis} is none of arrays of shape {x.shape}")
    x, y = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
    empty = np.full(x.shape[1:], -0.0 if operator.chunk and operator.description.d.signed_zero else 0.0, np.float32)
    total, part = np.zeros_like(empty), empty
    stochastic = sum(word.startswith("sr") and not f.is_fp32 for word, f in zip(operator.roundings, operator.formats, strict=True))
    instructions = -(-max(1, part.size) // 16)
    for i in range(x.shape[0]):
        part = fma(x[i], y[i], part, operator, start=i * instructions * stochastic)
        if operator.chunk and (i + 1) % operator.chunk == 0:
            total, part = promoted(total, part), empty
    return promoted(total, part) if operator.chunk else part


def promoted(total: Float32, part: Float32) -> Float32:
    """The binary32 total once a partial sum has been added to it."""
    with np.errstate(all="ignore"):
        return np.where(np.isnan(part), part, total + part)
