"""What an FMA must give in the modes fp32, mp and bf16, in NumPy.

Written from the definitions alone and on purpose not from `fase.fma`, so that the engine is held against two independent accounts.
The fp32 mode of this reference is itself checked against the CPU (test_forms.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def bf16(x: Floats) -> Floats:
    """`x` rounded to BF16, nearest even, subnormals kept; a NaN becomes quiet and keeps the upper bits of its payload."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    quieted = (bits | np.uint32(0x400000)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), quieted, rounded).astype(np.uint32).view(np.float32)


def fma32(a: Floats, b: Floats, c: Floats, rounding: str = "rn") -> Floats:
    """a*b + c, rounded once to FP32: `rn`, `rd`, `ru` or `rz`.

    The product is exact in FP64. The sum is rounded to odd there (TwoSum tells whether it is exact), after which any rounding to FP32 is right.
    """
    with np.errstate(all="ignore"):
        product, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
        total = product + addend
        shadow = total - product
        error = (product - (total - shadow)) + (addend - shadow)
        even = total.view(np.int64) & 1 == 0
        inexact = np.isfinite(total) & (error != 0) & even
        total = np.where(inexact, np.nextafter(total, np.copysign(np.inf, error)), total)
        result = total.astype(np.float32)
        if rounding == "rn":
            return result
        if rounding == "rd":  # IEEE 754, 6.3: a difference that is exactly zero is -0 in this mode alone
            result = np.where((total == 0) & (np.signbit(product) != np.signbit(addend)), np.float32(-0.0), result)
        too_high = result.astype(np.float64) > total
        too_low = result.astype(np.float64) < total
        down, up = np.float32(-np.inf), np.float32(np.inf)
        lower, higher = np.nextafter(result, down), np.nextafter(result, up)
        if rounding == "rd":
            return np.where(too_high, lower, result)
        if rounding == "ru":
            return np.where(too_low, higher, result)
        return np.where(too_high & (total > 0), lower, np.where(too_low & (total < 0), higher, result))


def fma(mode: str, a: Floats, b: Floats, c: Floats, rounding: str = "rn") -> Floats:
    """One FMA instruction per element in `mode`; `rounding` is the instruction's own (MXCSR or embedded), the formats round to nearest even."""
    if mode == "fp32":
        return fma32(a, b, c, rounding)
    if mode == "mp":
        return fma32(bf16(a), bf16(b), c, rounding)
    if mode == "bf16":
        return bf16(fma32(bf16(a), bf16(b), bf16(c), rounding))
    raise ValueError(mode)
