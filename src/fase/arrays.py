"""Arrays that callers pass: what is no array of real numbers, or does not fit the others, is refused in one line."""

from __future__ import annotations

from numbers import Real
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fase.arguments import shown
from fase.errors import ArrayError

_REAL = "biufV"
"""Kinds of dtypes; V: bfloat16 and the other formats of ml_dtypes."""
_Scalar = TypeVar("_Scalar", np.float32, np.float64)


def numbers(value: Any, what: str, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
    """`value` as an array of `dtype`. ArrayError for what is no array of real numbers."""
    try:
        found = np.asarray(value)
        real = all(isinstance(each, Real) for each in found.flat) if found.dtype == object else found.dtype.kind in _REAL
        if real:
            with np.errstate(all="ignore"):
                return found.astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ArrayError(f"{what} is an array of real numbers, not {shown(value)}")


def together(dtype: type[_Scalar], **arrays: Any) -> list[npt.NDArray[_Scalar]]:
    """The arrays, by name, as `dtype` and broadcast to one shape. ArrayError where there is none."""
    found = [numbers(value, name, dtype) for name, value in arrays.items()]
    try:
        return list(np.broadcast_arrays(*found))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(arrays, found, strict=True))
        raise ArrayError(f"the shapes do not fit together: {shapes}") from None
