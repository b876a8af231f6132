"""What the native agent can emit today. The one place to widen when it learns more."""

from __future__ import annotations

from fase.formats.description import Grid, ieee
from fase.operators.description import Description


def obstacle(described: Description) -> str:
    """Why the agent cannot emit an operator, in a few words; empty when it can."""
    if described.chunk:
        return "chunked accumulation cannot be seen in a stream of instructions"
    if described.is_compound:
        return "compound operators are not emitted"
    if described.exact:
        return "'exact' is not emitted"
    for operand in (described.a, described.b, described.c, described.d):
        if not isinstance(operand, Grid):
            return "formats by table are not emitted"
        if operand.rounding != "rne":
            return f"rounding {operand.rounding} is not emitted"
        if operand.mantissa == 0 or operand != ieee(operand.mantissa):
            return "only formats e8m1 to e8m23 are emitted, with subnormals, infinities and NaNs"
    return ""
