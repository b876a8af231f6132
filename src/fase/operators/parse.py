"""Mode strings: `fp32`, `mp`, `bf16`, `mp-FORMAT`, `FORMAT`, `a=F,b=F,c=F,d=F`, then options after commas."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from fase.errors import FormatError, ModeError
from fase.formats.catalogue import get
from fase.formats.format import Format
from fase.operators.operator import Operator

MAX_NAME = 55
"""Longest name of a mode, bytes (native/abi/record.h)."""

_OPERANDS = ("a", "b", "c", "d")
_PLANNED_FLAGS = ("exact", "saturate", "ftz")
_PLANNED_ROUNDINGS = ("rtz", "rup", "rdn", "rna", "odd", "sr")


@cache
def presets() -> dict[str, Operator]:
    """The operators that have a name of their own."""
    text = (files("fase.operators") / "presets.toml").read_text(encoding="utf-8")
    return {name: Operator(get(row["a"]), get(row["b"]), get(row["c"]), get(row["d"]), name=name) for name, row in tomllib.loads(text).items()}


def parse(mode: str | Operator) -> Operator:
    """The operator that `mode` asks for; case and spaces do not matter. ModeError with one line if it is not a mode."""
    if isinstance(mode, Operator):
        return mode
    name = "".join(mode.split()).lower()
    if not name:
        raise ModeError("the mode is empty; try 'bf16', 'mp' or 'fp32'")
    if not name.isascii() or not name.isprintable() or len(name) > MAX_NAME:
        raise ModeError(f"mode {mode!r} is not plain text of at most {MAX_NAME} characters")
    parts = name.split(",")
    try:
        operands, options = _split(parts)
    except FormatError as error:
        raise ModeError(f"mode '{name}': {error}") from None
    return Operator(operands["a"], operands["b"], operands["c"], operands["d"], _rounding(options, name), name)


def _split(parts: list[str]) -> tuple[dict[str, Format], list[str]]:
    """The operand formats a mode begins with, and the options left."""
    if parts[0].partition("=")[0] not in _OPERANDS:
        return _head(parts[0]), parts[1:]
    operands = dict.fromkeys(_OPERANDS, get("fp32"))
    given = [p for p in parts if p.partition("=")[0] in _OPERANDS]
    for part in given:
        operand, _, value = part.partition("=")
        operands[operand] = get(value)
    if len({p[0] for p in given}) != len(given):
        raise FormatError("an operand is given twice")
    return operands, [p for p in parts if p not in given]


def _head(word: str) -> dict[str, Format]:
    """The operand formats of a preset, `mp-FORMAT` or `FORMAT`."""
    if word in presets():
        chosen = presets()[word]
        return {operand: getattr(chosen, operand) for operand in _OPERANDS}
    if word.startswith("mp-"):
        factor = get(word.removeprefix("mp-"))
        return {"a": factor, "b": factor, "c": get("fp32"), "d": get("fp32")}
    if "-" in word and "_" in word:
        raise FormatError("compound operators are not supported yet; the modes are fp32, mp, bf16, mp-FORMAT, FORMAT or a=F,b=F,c=F,d=F")
    return dict.fromkeys(_OPERANDS, get(word))


def _rounding(options: list[str], mode: str) -> str:
    """The rounding that the options of a mode ask for; ModeError for any other option."""
    rounding = "rne"
    for option in options:
        key, _, value = option.partition("=")
        if option in _PLANNED_FLAGS or (key == "rounding" and value in _PLANNED_ROUNDINGS):
            raise ModeError(f"mode '{mode}': option '{option}' is not supported yet; drop it")
        if option != "rounding=rne":
            raise ModeError(f"mode '{mode}': unknown option '{option}'; the option is rounding=rne")
    return rounding
