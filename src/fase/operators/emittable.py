"""What the native agent can emit today (native/core/emit/emittable.cpp says the same). The one place to widen when it learns more."""

from __future__ import annotations

from fase.formats.description import MANTISSA, MIN_EXPONENT, Grid, ieee
from fase.operators.description import Description

LEAST_STEP = -123
"""Exponent of the smallest step of a format whose subnormals are not binary32's own."""

MOST_EXACT = 21
"""Mantissa bits of d up to which a sum can be rounded to odd in binary32 first."""


def obstacle(described: Description) -> str:
    """Why the agent cannot emit an operator, in a few words; empty when it can."""
    if described.chunk:
        return "chunked accumulation cannot be seen in a stream of instructions"
    if described.exact and described.d != ieee(MANTISSA) and getattr(described.d, "mantissa", 0) > MOST_EXACT:
        return f"'exact' is not emitted for results of more than {MOST_EXACT} mantissa bits"
    for operand in (described.a, described.b, described.c, described.d):
        if not isinstance(operand, Grid):
            return "formats by table are not emitted"
        if operand.rounding == "sr" and not operand.is_identity:
            return "stochastic rounding is not emitted"
        step = operand.min_exponent - operand.mantissa
        lowest = step >= LEAST_STEP if operand.mantissa else operand.min_exponent > MIN_EXPONENT + 1
        if operand.min_exponent != MIN_EXPONENT and not lowest:
            return f"a format with steps of 2^{step} is not emitted; 2^{LEAST_STEP} is the smallest"
    return ""
