"""`fase formats`: the number formats."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fase.cli.format_files import formats_option, load_all
from fase.cli.output import output_console
from fase.errors import FormatError
from fase.formats import Format, catalogue, get
from fase.formats.fixed import Fixed
from fase.formats.floating import Float
from fase.formats.format import GridFormat
from fase.formats.roundings import TITLES
from fase.formats.tables import TableFormat
from fase.operators import Operator
from fase.operators.emittable import obstacle

MAX_BITS = 16
"""Widest format whose values are listed."""

_COLUMNS = {
    "name": "name", "bits": "bits", "exponent": "e", "mantissa": "m", "max": "largest", "smallest": "smallest > 0", "epsilon": "epsilon",
    "values": "values", "overflow": "overflow", "infinity": "Inf", "nan": "NaN", "zero": "-0",
}  # fmt: skip
_REFERENCE_ONLY = "*"
_BEYOND = {"inf": "infinity", "nan": "NaN", "max": "largest value"}
_GENERIC = """\
Also: eXmY (X 1-8 exponent, Y 0-23 mantissa bits), intN, qI.F (sign, I integer and F fraction bits). Options go behind colons, as in e4m3:sat:
  ieee fn fnuz p3109 finite   which codes are special       bias=N              exponent bias
  flush, flush=after          no subnormals                 sat                 overflow and infinities give the largest value
  overflow=, inf= inf|nan|max what these become             nan=nan|zero|max    what a NaN becomes
  uz                          all zeros are +0              scale=2^K, symmetric (fixed point)
"""


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--values", is_flag=True, help=f"All values of the format NAME, which has at most {MAX_BITS} bits.")
@formats_option
def formats(name: str | None, as_json: bool, values: bool, files: tuple[Path, ...]) -> None:
    """List the number formats, or describe the format NAME.

    Mantissa bits are counted without the hidden bit.
    """
    load_all(files)
    if values:
        _print_values(_listable(name), as_json)
    elif as_json:
        print(json.dumps(describe(get(name)) if name is not None else [describe(f) for f in catalogue().values()], indent=2))
    elif name is not None:
        _print_one(output_console(), get(name))
    else:
        _print_all(output_console())


def describe(fmt: Format) -> dict[str, Any]:
    """Everything about a format as plain data. Facts that a kind of format does not have are left out; NaN is null."""
    kind = "float" if isinstance(fmt, Float) else "fixed" if isinstance(fmt, Fixed) else "table"
    facts: dict[str, Any] = {"name": fmt.name, "title": fmt.title, "kind": kind, "spec": fmt.spec, "bits": fmt.bits}
    if isinstance(fmt, Float):
        facts |= {
            "exponent": fmt.exponent_bits,
            "encoding": fmt.encoding,
            "bias": fmt.bias,
            "subnormals": not fmt.flush and fmt.encoding != "dlfloat",
        }
    facts |= {"mantissa": fmt.mantissa, "max": fmt.max, "min": fmt.min}
    if isinstance(fmt, GridFormat) and not isinstance(fmt, Fixed):
        facts["min_normal"] = fmt.min_normal
    facts |= {"smallest": fmt.smallest, "epsilon": None if math.isnan(fmt.epsilon) else fmt.epsilon, "values": fmt.count}
    facts |= {"overflow": fmt.overflow, "infinity": _infinity(fmt), "nan": fmt.nan, "zero": "signed" if fmt.signed_zero else "one"}
    return {**facts, "aliases": list(fmt.aliases), "engine": obstacle(Operator(fmt, fmt, fmt, fmt).description) or "yes"}


def _infinity(fmt: Format) -> str:
    """What an infinity becomes: in a table without one, the largest value."""
    return "max" if isinstance(fmt, TableFormat) and fmt.infinity == "inf" and math.inf not in fmt.codes else fmt.infinity


def _text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key in ("overflow", "infinity"):
        return _BEYOND[value]
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return {"True": "yes", "False": "no"}.get(str(value), str(value) or "-")


def _short(key: str, value: Any) -> str:
    if key in ("overflow", "infinity", "nan"):
        return str(value)
    if key == "zero":
        return "yes" if value == "signed" else "no"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _print_one(out: Console, fmt: Format) -> None:
    for key, value in describe(fmt).items():
        label = {"zero": "zeros", "values": "finite values", "min_normal": "smallest normal", "smallest": "smallest > 0"}.get(
            key, key.replace("_", " ")
        )
        out.print(f"{label:18}{_text(key, value)}", markup=False, soft_wrap=True)


def _print_all(out: Console) -> None:
    out.print(
        "Formats. e, m: exponent and mantissa bits, without the hidden bit. overflow, Inf, NaN: what these become. -0: there is one.", soft_wrap=True
    )
    table = Table(*_COLUMNS.values(), box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    rows = [describe(fmt) for fmt in catalogue().values()]
    for row in rows:
        name = row["name"] + _REFERENCE_ONLY * (row["engine"] != "yes")
        table.add_row(name, *(_short(key, row.get(key)) for key in _COLUMNS if key != "name"))
    out.print(table)
    if any(row["engine"] != "yes" for row in rows):
        out.print(f"{_REFERENCE_ONLY} not in the engine yet: `fase.round` and `fase.fma` only; `fase formats NAME` says why.", soft_wrap=True)
    out.print("\n" + _GENERIC, markup=False, soft_wrap=True)
    out.print("Roundings: " + "; ".join(f"{name} {title}" for name, title in TITLES.items()), soft_wrap=True)
    out.print("`fase formats NAME` describes one, `--values` lists its values; `fase operators` lists the operators.", soft_wrap=True)


def _listable(name: str | None) -> Format:
    if name is None:
        raise FormatError("--values wants the name of a format, as in `fase formats e2m1 --values`")
    fmt = get(name)
    if fmt.bits > MAX_BITS:
        raise FormatError(f"format '{fmt.name}' has {fmt.bits} bits; values are listed up to {MAX_BITS}")
    return fmt


def _print_values(fmt: Format, as_json: bool) -> None:
    """One line a code: the code in hexadecimal, then the value, exactly."""
    digits = -(-fmt.bits // 4)
    rows = [(f"{code:0{digits}x}", repr(value)) for code, value in fmt.values()]
    if as_json:
        print(json.dumps([{"code": code, "value": value if "n" in value else float(value)} for code, value in rows]))
        return
    for code, value in rows:
        print(f"{code}  {value}")
