"""Mode strings: `fp32`, `mp`, `bf16`, a preset, `mp-FORMAT`, `FORMAT`, `F-N_M[-k]`, `a=F,b=F,c=F,d=F`, then options after commas; then, behind
`;fp64=`, the mode of double-precision FMAs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from fase.arguments import shown, text
from fase.errors import FormatError, ModeError, nearest
from fase.formats.carrier import BINARY32, BINARY64, Carrier
from fase.formats.catalogue import spellings
from fase.formats.format import Format
from fase.formats.lookup import get
from fase.formats.words import PAIR
from fase.operators import options
from fase.operators.compound import compound
from fase.operators.operator import FP64_PREFIX, OPERANDS, Operator

MAX_NAME = 55
"""Longest name of a mode, bytes (native/abi/record.h)."""


@dataclass(frozen=True)
class Preset:
    """A mode with a name of its own. `unit`: how the hardware it is named after differs, if it does."""

    name: str
    mode: str
    title: str
    unit: str = ""


@cache
def preset_rows() -> dict[str, Preset]:
    """The rows of the presets' file, by name."""
    text = Path(__file__).with_name("presets.toml").read_text(encoding="utf-8")
    return {name: Preset(name, **row) for name, row in tomllib.loads(text).items()}


@cache
def presets() -> dict[str, Operator]:
    """The operators that have a name of their own."""
    return {name: replace(_operator(row.mode.split(",")), name=name) for name, row in preset_rows().items()}


def parse(mode: str | Operator) -> Operator:
    """The operator that `mode` asks for; case and spaces do not matter. ModeError with one line if it is not a mode."""
    if isinstance(mode, Operator):
        return mode
    name = _spelled(mode, "mode", "'bf16', 'mp' or 'fp32'")
    single, prefix, double = name.partition(FP64_PREFIX)
    try:
        operator = replace(_operator(PAIR.sub(r"e\1m\2", single).split(",")), name=single)
        _check(operator)
    except FormatError as error:
        raise ModeError(f"mode '{single}': {error}") from None
    return with_fp64(operator, parse_fp64(double)) if prefix else operator


def parse_fp64(mode: str | Operator) -> Operator:
    """The operator that `mode` asks for in double precision: `FORMAT`, `mp-FORMAT` or `a=F,b=F,c=F,d=F`, with `rounding=`, `saturate`, `ftz`.

    ModeError with one line if it is not such a mode.
    """
    if isinstance(mode, Operator):
        return mode
    name = _spelled(mode, "mode of double-precision FMAs", "'fp32', 'mp-bf16' or 'a=bf16,b=bf16,c=fp32,d=fp32'")
    try:
        operator = replace(_operator(PAIR.sub(r"e\1m\2", name).split(","), BINARY64), name=name)
        _check_fp64(operator)
    except FormatError as error:
        raise ModeError(f"fp64 mode '{name}': {error}") from None
    return operator


def with_fp64(operator: Operator, fp64: Operator | None) -> Operator:
    """`operator`, with `fp64` for double-precision FMAs unless it has one of its own. ModeError where the name of both is too long."""
    both = operator.with_fp64(fp64)
    _check_length(both.full_name)
    return both


def _spelled(mode: str, what: str, examples: str) -> str:
    """What was typed, in small letters and without spaces. ModeError where that cannot be a mode."""
    name = "".join(text(mode, what, ModeError).split()).lower()
    if not name:
        raise ModeError(f"the {what} is empty; try {examples}")
    if not name.isascii() or not name.isprintable():
        raise ModeError(f"mode {shown(mode)} is not plain text")
    _check_length(name)
    return name


def _check_length(name: str) -> None:
    if len(name) > MAX_NAME:
        raise ModeError(f"mode {shown(name)} is not plain text of at most {MAX_NAME} characters; give long formats a name in a file of formats")


def _operator(parts: list[str], carrier: Carrier = BINARY32) -> Operator:
    """The operator of a mode's parts."""
    if parts[0].partition("=")[0] not in OPERANDS:
        return options.apply(_head(parts[0], carrier), parts[1:])
    operands: dict[str, Format] = {}
    for operand, _, value in (p.partition("=") for p in parts):
        if operand in OPERANDS and operand in operands:
            raise FormatError(f"an operand is given twice: {operand}")
        if operand in OPERANDS:
            operands[operand] = get(value, carrier)
    rest = [p for p in parts if p.partition("=")[0] not in OPERANDS]
    a, b, c, d = (operands.get(operand, get(carrier.native, carrier)) for operand in OPERANDS)
    return options.apply(Operator(a, b, c, d), rest)


def _head(word: str, carrier: Carrier) -> Operator:
    """The operator of a preset, `mp-FORMAT`, `F-N_M[-k]` or `FORMAT`. Presets and compound operators are for single precision."""
    if word.startswith("mp-"):
        factor, native = get(word.removeprefix("mp-"), carrier), get(carrier.native, carrier)
        return Operator(factor, factor, native, native)
    if carrier == BINARY64 and ((word in preset_rows() and word not in spellings()) or compound(word)):
        raise FormatError(
            "is for single precision; in double precision there are FORMAT, mp-FORMAT and a=F,b=F,c=F,d=F, as in a=bf16,b=bf16,c=fp32,d=fp32"
        )
    if word in preset_rows() and carrier == BINARY32:
        return _operator(preset_rows()[word].mode.split(","))
    if carrier == BINARY32 and (found := compound(word)):
        return found
    try:
        fmt = get(word, carrier)
    except FormatError as error:
        raise (_better(word, error) if carrier == BINARY32 else error) from None
    return Operator(fmt, fmt, fmt, fmt)


def _better(word: str, error: FormatError) -> FormatError:
    """`error`, or one that names a preset when that is nearer to what was typed than any format."""
    near = nearest(word, [*preset_rows(), *spellings()])
    if near in preset_rows() and near not in spellings():
        return FormatError(f"unknown mode (did you mean '{near}'?); `fase operators` lists them")
    return error


def _check(operator: Operator) -> None:
    """Refuses combinations that mean nothing. FormatError."""
    described = operator.description
    if operator.is_compound and (operator.exact or operator.chunk or operator.is_stochastic):
        wrong = "exact" if operator.exact else "chunk" if operator.chunk else "rounding=sr"
        raise FormatError(f"a compound operator rounds every partial product to FP32, which excludes '{wrong}'; leave it out")
    if operator.exact and operator.d.is_fp32 and described.d.text.partition("/sr")[1]:
        raise FormatError("'exact' has no stochastic rounding into fp32; choose a shorter format for d, as in d=e8m15")
    if operator.chunk and operator.d.is_fp32:
        raise FormatError("'chunk' promotes sums of a short d into FP32, and d is fp32 here; choose d, as in a=e4m3,b=e4m3,c=e8m13,d=e8m13,chunk=128")
    if operator.seed and not operator.is_stochastic:
        raise FormatError("'seed' is for stochastic rounding; add rounding=sr")


def _check_fp64(operator: Operator) -> None:
    """Refuses what there is only in single precision. FormatError."""
    for wrong, name in ((operator.exact, "exact"), (operator.chunk, "chunk"), (operator.seed, "seed"), (operator.is_stochastic, "rounding=sr")):
        if wrong:
            raise FormatError(f"'{name}' is for single precision; leave it out")
    _ = operator.description
