"""An operator: the format of each operand of one fused multiply-add."""

from __future__ import annotations

from dataclasses import dataclass, field

from fase.formats.format import Format


@dataclass(frozen=True)
class Operator:
    """What an emulated d = a * b + c computes: a, b, c are rounded to their formats, multiplied and added as binary32 with one
    rounding, and the result is rounded to the format of d.

    `name` is the mode as the user spelled it, and what runs are recorded under; it does not take part in comparisons.
    """

    a: Format
    b: Format
    c: Format
    d: Format
    rounding: str = "rne"
    name: str = field(default="", compare=False)

    @property
    def spec(self) -> str:
        """The operand formats as the native agent reads them: `eXmY,eXmY,eXmY,eXmY`."""
        return ",".join(f.spec for f in (self.a, self.b, self.c, self.d))

    @property
    def is_identity(self) -> bool:
        """True when the operator is the native instruction."""
        return all(f.is_fp32 for f in (self.a, self.b, self.c, self.d))
