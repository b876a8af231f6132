"""An operator: the format of each operand of one fused multiply-add, and how often it rounds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from fase.errors import ModeError, UsageError
from fase.formats.description import Grid, Table
from fase.formats.format import Format
from fase.formats.roundings import parse_rounding
from fase.formats.tables import TableFormat
from fase.lazy import lazy
from fase.operators.description import Description
from fase.operators.emittable import obstacle

OPERANDS = ("a", "b", "c", "d")

FP64_PREFIX = ";fp64="
"""Between a mode and the mode of double-precision FMAs in the full name of an operator."""


@dataclass(frozen=True)
class Operator:
    """What an emulated d = a * b + c computes (docs/operators.md).

    `name` is the mode as the user spelled it, double precision aside; it does not take part in comparisons.
    """

    a: Format
    b: Format
    c: Format
    d: Format
    name: str = field(default="", compare=False)
    roundings: tuple[str, str, str, str] = ("rne", "rne", "rne", "rne")
    """How a, b, c, d are rounded: rne, rtz, rup, rdn, rna, odd, sr or srN."""
    exact: bool = False
    literals: tuple[int, int, int, int] = (1, 1, 1, 1)
    products: tuple[tuple[int, int], ...] = ((0, 0),)
    chunk: int = 0
    seed: int = 0
    storage: int = field(default=0, compare=False)
    """Bits of the widest operand of a compound operator as stored, since three literals of c and d are written as fp32 here."""
    fp64: Operator | None = None
    """What double-precision FMAs compute; None: they run as they are."""

    @property
    def formats(self) -> tuple[Format, Format, Format, Format]:
        """The formats of a, b, c, d."""
        return self.a, self.b, self.c, self.d

    @lazy
    def description(self) -> Description:
        """The operator as the reference and the emitters read it. FormatError where a rounding does not fit a format."""
        a, b, c, d = (self._described(i) for i in range(4))
        seed = self.seed if self.is_stochastic else 0
        fp64 = self.fp64.description if self.fp64 else None
        return Description(a, b, c, d, self.exact, self.literals, self.products, self.chunk, seed, fp64)

    def _described(self, i: int) -> Grid | Table:
        fmt = self.formats[i]
        if fmt.is_native and not (self.exact and i == 3):
            return fmt.describe()
        return fmt.describe(*parse_rounding(self.roundings[i], fmt))

    @property
    def spec(self) -> str:
        """The operator as the native agent reads it. ModeError, in one line, when the agent cannot emit it."""
        reason = obstacle(self.description)
        if reason:
            raise ModeError(f"mode '{self.name}' cannot run in the engine: {reason}; the reference (fase.fma) has it")
        return self.description.text

    @property
    def rounding(self) -> str:
        """What the agent's line `rounding=` says; the roundings themselves are in `spec`."""
        return "rne"

    @property
    def is_identity(self) -> bool:
        """True when the operator is the native instruction; double precision aside."""
        return all(f.is_native for f in self.formats) and not self.is_compound and (not self.exact or self.roundings[3] == "rne") and not self.chunk

    @property
    def is_compound(self) -> bool:
        """More than one literal in some operand."""
        return self.literals != (1, 1, 1, 1)

    @property
    def is_stochastic(self) -> bool:
        """Some rounding is stochastic."""
        return any(word.startswith("sr") and not fmt.is_fp32 for word, fmt in zip(self.roundings, self.formats, strict=True))

    def with_fp64(self, fp64: Operator | None) -> Operator:
        """This operator with `fp64` for double-precision FMAs, unless it has one of its own."""
        return self if fp64 is None or self.fp64 is not None else replace(self, fp64=fp64)

    @property
    def full_name(self) -> str:
        """`name`, and behind it that of the mode of double-precision FMAs: what the agent is told, and `parse` reads."""
        return self.name + (FP64_PREFIX + self.fp64.name if self.fp64 else "")


def write_tables(operator: Operator, folder: Path) -> list[Path]:
    """Writes the files of the tables among the operator's formats to `folder`, where the agent looks for them; returns their paths.

    A process may read a file while another writes it: it appears all at once. UsageError where the folder cannot be written.
    """
    written = []
    for fmt, word in zip(operator.formats, operator.roundings, strict=True):
        if isinstance(fmt, TableFormat):
            rounding, _ = parse_rounding(word, fmt)
            path = folder / f"{fmt.describe(rounding).key}.fasetab"
            _write(path, fmt.file(rounding))
            written.append(path)
    return written


def _write(path: Path, content: bytes) -> None:
    try:
        if path.exists() and path.read_bytes() == content:
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
            partial.write(content)
        Path(partial.name).rename(path)
    except OSError as error:
        raise UsageError(f"the table of a format cannot be written to '{path}': {error.strerror}") from None
