"""`fase formats`: the number formats and the operators that have a name."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fase.formats import Format, catalogue, get
from fase.operators import presets

_HEADINGS = {
    "name": "name", "bits": "bits", "exponent": "exponent bits", "mantissa": "mantissa bits", "max": "largest", "min_normal": "smallest normal",
    "min_subnormal": "smallest", "epsilon": "epsilon", "aliases": "also called",
}  # fmt: skip
_LISTED = ("name", "bits", "exponent", "mantissa", "max", "min_subnormal", "epsilon")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def formats(name: str | None, as_json: bool) -> None:
    """List the formats and operators, or describe the format NAME.

    Mantissa bits are counted without the hidden bit.
    """
    chosen = [get(name)] if name else list(catalogue().values())
    if as_json:
        described = [describe(fmt) for fmt in chosen]
        print(json.dumps(described[0] if name else described, indent=2))
        return
    out = Console(highlight=False)
    if name:
        _print_one(out, chosen[0])
    else:
        _print_all(out, chosen)


def describe(fmt: Format) -> dict[str, Any]:
    """Everything about a format as plain data."""
    derived = ("bits", "exponent", "mantissa", "bias", "max", "min_normal", "min_subnormal", "epsilon")
    return {"name": fmt.name, "title": fmt.title, "spec": fmt.spec, **{k: getattr(fmt, k) for k in derived}, "aliases": list(fmt.aliases)}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print_one(out: Console, fmt: Format) -> None:
    for key, value in describe(fmt).items():
        out.print(f"{_HEADINGS.get(key, key):18}{_text(value) or '-'}", markup=False, soft_wrap=True)
    out.print(f"{'specials':18}subnormals, infinities, NaNs, signed zeros; overflow gives infinity", soft_wrap=True)


def _print_all(out: Console, chosen: list[Format]) -> None:
    out.print("Formats (mantissa bits without the hidden bit)")
    table = Table(*(_HEADINGS[key] for key in _LISTED))
    for fmt in chosen:
        row = describe(fmt)
        table.add_row(*(_text(row[key]) for key in _LISTED))
    out.print(table)
    out.print("and e8mY: 8 exponent bits and Y mantissa bits, 1 to 23\n", soft_wrap=True)
    out.print("Operators: the format of each operand of d = a * b + c")
    operators = Table("mode", "a", "b", "c", "d")
    for name, op in presets().items():
        operators.add_row(name, *(f.name for f in (op.a, op.b, op.c, op.d)))
    operators.add_row("mp-F", "F", "F", "fp32", "fp32")
    operators.add_row("F", "F", "F", "F", "F")
    out.print(operators)
    out.print("and a=F,b=F,c=F,d=F: an operand that is left out is fp32", soft_wrap=True)
