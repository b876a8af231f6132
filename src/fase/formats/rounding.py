"""The reference rounding. Slow and obvious: emitted code must give the same bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fase.errors import FormatError
from fase.formats.catalogue import get
from fase.formats.format import FP32_MANTISSA, Format

Float32 = npt.NDArray[np.float32]
_UInt32 = npt.NDArray[np.uint32]

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITY = np.uint32(0x7F800000)
_QUIET = np.uint32(0x00400000)


def round_to(x: npt.ArrayLike, fmt: str | Format, *, rounding: str = "rne") -> Float32:
    """The values of `fmt` nearest to `x`, ties to the even mantissa, as float32 of the same shape.

    `x` is converted to float32 first. Subnormals are kept. What rounds beyond the largest finite value becomes an infinity of
    its sign. A NaN keeps its sign, becomes quiet, and its payload is cut to the bits the format has. Rounding to fp32 changes no bit.
    """
    if rounding != "rne":
        raise FormatError(f"rounding '{rounding}' is not supported yet: use 'rne' (nearest, ties to even)")
    target = get(fmt)
    values = np.asarray(x, dtype=np.float32)
    if target.is_fp32:
        return values.copy()
    bits = np.atleast_1d(values).view(np.uint32)
    return _round_bits(bits, FP32_MANTISSA - target.mantissa).view(np.float32).reshape(values.shape)


def _round_bits(bits: _UInt32, drop: int) -> _UInt32:
    """Rounds binary32 encodings to `drop` mantissa bits fewer (NUMERICS: the integer form).

    Encodings of one sign are ordered as their values are, so adding just under half a step, and one more where the kept part is
    odd, carries correctly into the exponent, and from the largest finite value to infinity.
    """
    keep = ~np.uint32((1 << drop) - 1)
    odd = (bits >> np.uint32(drop)) & np.uint32(1)
    half = np.uint32((1 << (drop - 1)) - 1)
    rounded = (bits + half + odd) & keep
    is_nan = (bits & _MAGNITUDE) > _INFINITY
    return np.where(is_nan, (bits | _QUIET) & keep, rounded).astype(np.uint32)
