"""What the native agent can emit today (native/core/emit/emittable.cpp says the same). The one place to widen when it learns more."""

from __future__ import annotations

from fase.formats.carrier import BINARY64
from fase.formats.description import MANTISSA, MIN_EXPONENT, Grid, Table, ieee
from fase.operators.description import Description

LEAST_STEP = -123
"""Exponent of the smallest step of a format whose subnormals are not binary32's own."""

MOST_EXACT = 21
"""Mantissa bits of d up to which a sum can be rounded to odd in binary32 first."""


LEAST_STEP64 = -1019
"""The same on the binary64 grid."""

_BF16 = 7
"""Mantissa bits of BF16."""

_SMALLEST_NORMAL = 0x00800000


def obstacle(described: Description) -> str:
    """Why the agent cannot emit an operator, in a few words; empty when it can."""
    if described.fp64 and (reason := _obstacle64(described.fp64)):
        return reason
    if described.exact and described.d != ieee(MANTISSA) and getattr(described.d, "mantissa", 0) > MOST_EXACT:
        return f"'exact' is not emitted for results of more than {MOST_EXACT} mantissa bits"
    for operand in (described.a, described.b, described.c, described.d):
        if isinstance(operand, Table):
            continue
        if operand.rounding == "sr" and not operand.is_identity and described.is_compound:
            return "stochastic rounding of compound operators is not emitted"
        step = operand.min_exponent - operand.mantissa
        lowest = step >= LEAST_STEP if operand.mantissa else operand.min_exponent > MIN_EXPONENT + 1
        if operand.min_exponent != MIN_EXPONENT and not lowest:
            return f"a format with steps of 2^{step} is not emitted; 2^{LEAST_STEP} is the smallest"
    return ""


def _obstacle64(described: Description) -> str:
    for operand in (described.a, described.b, described.c, described.d):
        assert isinstance(operand, Grid)
        step = operand.min_exponent - operand.mantissa
        if operand.min_exponent != BINARY64.min_exponent and step < LEAST_STEP64:
            return f"a format with steps of 2^{step} is not emitted; 2^{LEAST_STEP64} is the smallest"
    return ""


def dot_obstacle(described: Description) -> str:
    """Why VDPBF16PS cannot run under an operator, in a few words; empty when it can."""
    if reason := dot_meaningless(described) or obstacle(described):
        return reason
    if any(isinstance(f, Table) for f in (described.a, described.b, described.c, described.d)):
        return "VDPBF16PS is not emitted for formats by table"
    if not all(isinstance(f, Grid) and _rounds_to_bf16(f) for f in (described.a, described.b)):
        return "a format of factors of VDPBF16PS ends at a value that BF16 does not hold"
    return ""


def dot_meaningless(described: Description) -> str:
    """Why an operator says nothing about VDPBF16PS, in a few words; empty when it does."""
    if described.is_compound:
        return "VDPBF16PS has no compound operators"
    if described.exact:
        return "VDPBF16PS rounds every sum to FP32, which excludes 'exact'"
    if described.chunk:
        return "VDPBF16PS does not add up in chunks"
    grids = [f for f in (described.a, described.b, described.c, described.d) if isinstance(f, Grid)]
    if any(f.rounding == "sr" and not f.is_identity for f in grids):
        return "VDPBF16PS has no stochastic rounding"
    return ""


def _rounds_to_bf16(f: Grid) -> bool:
    """Rounding a BF16 value to `f` gives a BF16 value: rounded factors are handed to the instruction again."""
    bf16 = ieee(_BF16)
    wide = f.mantissa >= _BF16 and f.min_exponent == MIN_EXPONENT and f.least <= _SMALLEST_NORMAL and f.max_positive >= bf16.max_positive
    if f.mantissa <= _BF16 or (wide and f.max_negative >= bf16.max_negative and (f.infinity, f.nan, f.signed_zero) == ("inf", "nan", True)):
        return True
    ends = f.rounding in ("rtz", "odd", "rup", "rdn") or "max" in (f.overflow, f.infinity, f.nan)
    return not ends or (f.max_positive | f.max_negative) & 0xFFFF == 0
