"""`fase operators`: what modes there are, and what their units cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fase.cli.format_files import formats_option, load_all
from fase.cli.output import output_console
from fase.formats import Format
from fase.operators import Operator, parse, presets
from fase.operators.compound import SEEDS
from fase.operators.cost import cost
from fase.operators.emittable import obstacle
from fase.operators.parse import preset_rows

_MODES = """\
Modes: fp32, a preset, FORMAT (all four operands), mp-FORMAT (a and b; c and d are fp32), FORMAT-N_M[-k] (N literals for a and b, M for c and d,
k partial products), or a=F,b=F,c=F,d=F (those left out are fp32). Options follow after commas:
  exact             one rounding, into d's format           rounding=R, rounding-d=R   rne rtz rup rdn rna odd sr srN
  saturate          overflow gives the largest value        ftz                        subnormals are zero, in and out
  seed=N            of stochastic rounding                  chunk=N                    in loops, sums of N products go to an FP32 total
"""


@click.command()
@click.argument("mode", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@formats_option
def operators(mode: str | None, as_json: bool, files: tuple[Path, ...]) -> None:
    """List the operators and what their multipliers cost, or describe MODE.

    Area: multiplier mantissa bits squared, hidden bit included, times the number of partial products. Speed-up: at the area of FP32.
    """
    load_all(files)
    named = {**presets(), **{name: parse(name) for name in SEEDS}}
    chosen = {mode: parse(mode)} if mode else named
    described = [describe(name, operator) for name, operator in chosen.items()]
    if as_json:
        print(json.dumps(described[0] if mode else described, indent=2))
        return
    out = output_console()
    if mode:
        for key, value in described[0].items():
            out.print(f"{key.replace('_', ' '):18}{value if value not in ('', None) else '-'}", markup=False, soft_wrap=True)
        return
    _print_table(out, described)
    for row in preset_rows().values():
        out.print(f"{row.name:18}{row.title}" + (f" ({row.unit})" if row.unit else ""), markup=False, soft_wrap=True)
    out.print("\n" + _MODES, markup=False, soft_wrap=True)


def describe(name: str, operator: Operator) -> dict[str, Any]:
    """Everything about an operator as plain data."""
    row = preset_rows().get(name)
    facts: dict[str, Any] = {"mode": name, "title": row.title if row else "", "unit": row.unit if row else ""}
    facts |= {x: _operand(fmt, count) for x, fmt, count in zip("abcd", operator.formats, operator.literals, strict=True)}
    facts |= {"exact": operator.exact, "roundings": ",".join(operator.roundings), "chunk": operator.chunk or None}
    if operator.is_compound:
        facts["partial_products"] = " ".join(f"a{i}*b{j}" for i, j in operator.products)
    spent = cost(operator)
    facts |= {"mantissa_bits": spent.mantissa_bits, "input_bits": spent.input_bits, "products": spent.products, "area": spent.area}
    facts |= {"speed_up": round(spent.speed_up, 2), "description": operator.description.text}
    return {**facts, "engine": obstacle(operator.description) or "yes"}


def _operand(fmt: Format, count: int) -> str:
    return f"{count} x {fmt.name}" if count > 1 else fmt.name


def _print_table(out: Console, described: list[dict[str, Any]]) -> None:
    table = Table("mode", "a, b", "c", "d", "mantissa bits", "input bits", "products", "area", "speed-up", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in described:
        factors = row["a"] if row["a"] == row["b"] else f"{row['a']}, {row['b']}"
        table.add_row(row["mode"], factors, row["c"], row["d"], *(str(row[k]) for k in ("mantissa_bits", "input_bits", "products", "area")),
                      f"{row['speed_up']:.2f}")  # fmt: skip
    out.print(table)
    out.print("Mantissa bits: of a and b together with the hidden bit; a range where partial products are left out.\n", soft_wrap=True)
