"""An operator as the emitters read it, and its text form: what crosses from Python to the native agent (docs/operators.md)."""

from __future__ import annotations

from dataclasses import dataclass

from fase.errors import FormatError, ModeError
from fase.formats.carrier import BINARY32, BINARY64, Carrier
from fase.formats.description import Grid, Table, parse_format

MAX_LITERALS = 3


@dataclass(frozen=True)
class Description:
    """D = A*B + C with a format for each operand.

    Simple operators have one literal an operand and the one product (0, 0). In a compound operator `a` to `d` are the formats of
    the literals and `literals` says how many of them each operand has.
    """

    a: Grid | Table
    b: Grid | Table
    c: Grid | Table
    d: Grid | Table
    exact: bool = False
    """The sum is rounded once, to the format of d; otherwise to binary32 first."""
    literals: tuple[int, int, int, int] = (1, 1, 1, 1)
    products: tuple[tuple[int, int], ...] = ((0, 0),)
    """Partial products (literal of a, literal of b) in the order they are added."""
    chunk: int = 0
    """Accumulations after which a sum is added to a binary32 total and starts again from zero; 0 for never."""
    seed: int = 0
    """Seed of stochastic rounding: 32 bits."""
    fp64: Description | None = None
    """What double-precision FMAs compute: formats on the binary64 grid, without options. None: they run as they are."""

    @property
    def is_compound(self) -> bool:
        """More than one literal in some operand."""
        return self.literals != (1, 1, 1, 1)

    @property
    def text(self) -> str:
        """The canonical text form; one line without spaces."""
        parts = [f.text for f in (self.a, self.b, self.c, self.d)]
        if self.exact:
            parts.append("exact")
        if self.is_compound:
            parts.append("literals=" + ".".join(map(str, self.literals)))
            parts.append("products=" + ".".join(f"{i}{j}" for i, j in self.products))
        if self.chunk:
            parts.append(f"chunk={self.chunk}")
        if self.seed:
            parts.append(f"seed={self.seed:08x}")
        return ",".join(parts) + (f";{self.fp64.text}" if self.fp64 else "")


def parse_description(text: str) -> Description:
    """Reads the text form. ModeError, in one line, when it is not one."""
    single, semicolon, double = text.partition(";")
    words = single.split(",")
    a, b, c, d = _formats(words, BINARY32)
    fp64 = Description(*_formats(double.split(","), BINARY64)) if semicolon else None
    options = dict(word.partition("=")[::2] for word in words[4:])
    try:
        found = Description(
            a,
            b,
            c,
            d,
            exact="exact" in options,
            literals=_literals(options.get("literals", "1.1.1.1")),
            products=_products(options.get("products", "00")),
            chunk=int(options.get("chunk", "0")),
            seed=int(options.get("seed", "0"), 16),
            fp64=fp64,
        )
    except ValueError:
        raise ModeError(f"{text!r} is not the description of an operator; docs/operators.md has the grammar") from None
    if found.text != text:
        raise ModeError(f"{text!r} is not in canonical form, which is '{found.text}'")
    return found


def _formats(words: list[str], carrier: Carrier) -> tuple[Grid | Table, Grid | Table, Grid | Table, Grid | Table]:
    """The formats of the four operands, all on the carrier's grid."""
    try:
        a, b, c, d = (parse_format(word) for word in words[:4])
    except FormatError as error:
        raise ModeError(str(error)) from None
    except ValueError:
        raise ModeError(f"{','.join(words)!r} has {len(words)} formats; an operator has four: a,b,c,d") from None
    if any((fmt.carrier if isinstance(fmt, Grid) else BINARY32) != carrier for fmt in (a, b, c, d)):
        raise ModeError(f"{','.join(words)!r} has formats that are not on the {carrier.name} grid")
    return a, b, c, d


def _literals(text: str) -> tuple[int, int, int, int]:
    a, b, c, d = map(int, text.split("."))
    if not all(1 <= n <= MAX_LITERALS for n in (a, b, c, d)):
        raise ValueError(text)
    return a, b, c, d


def _products(text: str) -> tuple[tuple[int, int], ...]:
    pairs = []
    for i, j in (tuple(word) for word in text.split(".")):
        pairs.append((int(i), int(j)))
    return tuple(pairs)
