"""The options behind a mode: `,exact`, `,rounding=R`, `,saturate`, `,ftz`, `,chunk=N`, `,seed=N`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from fase.errors import FormatError, nearest
from fase.formats.floating import Float
from fase.formats.format import Format
from fase.formats.roundings import parse_rounding
from fase.operators.operator import OPERANDS, Operator

_NUMBER = re.compile(r"\d{1,9}")


def apply(operator: Operator, options: list[str]) -> Operator:
    """`operator` changed by options. FormatError when one is unknown, wrong, given twice, or does not fit."""
    keys = [option.partition("=")[0] for option in options]
    for option, key in zip(options, keys, strict=True):
        change = _OPTIONS.get(key)
        if change is None:
            near = nearest(key, _OPTIONS)
            hint = f" (did you mean '{near}'?)" if near else ""
            raise FormatError(f"unknown option '{option}'{hint}; there are {', '.join(_OPTIONS)}")
        if keys.count(key) > 1:
            raise FormatError(f"option '{key}' is given twice")
    for option in sorted(options, key=lambda o: "rounding" in o and not o.startswith("rounding=")):  # rounding=R before rounding-d=R
        key, equals, value = option.partition("=")
        operator = _OPTIONS[key](operator, value, bool(equals))
    return operator


def _exact(operator: Operator, value: str, equals: bool) -> Operator:
    _check_flag("exact", value, equals)
    return replace(operator, exact=True)


def _saturate(operator: Operator, value: str, equals: bool) -> Operator:
    _check_flag("saturate", value, equals)
    return _each(operator, lambda f: f if f.is_native else replace(f, overflow="max", infinity="max"))


def _ftz(operator: Operator, value: str, equals: bool) -> Operator:
    _check_flag("ftz", value, equals)
    return _each(operator, lambda f: replace(f, flush=f.flush or "before") if isinstance(f, Float) else f)


def _each(operator: Operator, change: Callable[[Format], Format]) -> Operator:
    a, b, c, d = map(change, operator.formats)
    return replace(operator, a=a, b=b, c=c, d=d)


def _rounding(operands: str) -> Callable[[Operator, str, bool], Operator]:
    def change(operator: Operator, value: str, equals: bool) -> Operator:
        words = list(operator.roundings)
        for operand in operands:
            i = OPERANDS.index(operand)
            parse_rounding(value if equals else "", operator.formats[i])
            words[i] = value
        a, b, c, d = words
        return replace(operator, roundings=(a, b, c, d))

    return change


def _chunk(operator: Operator, value: str, equals: bool) -> Operator:
    if not equals or not _NUMBER.fullmatch(value) or int(value) == 0:
        raise FormatError("chunk wants a number of accumulations from 1 to 999999999, as in chunk=128")
    return replace(operator, chunk=int(value))


def _seed(operator: Operator, value: str, equals: bool) -> Operator:
    if not equals or not value.isascii() or not value.isdecimal() or len(value) > 10 or int(value) > 0xFFFFFFFF:
        raise FormatError("seed wants a number from 0 to 4294967295, as in seed=1")
    return replace(operator, seed=int(value))


def _check_flag(name: str, value: str, equals: bool) -> None:
    if equals:
        raise FormatError(f"option '{name}' takes no value, not '{value}'; write ',{name}'")


_OPTIONS: dict[str, Callable[[Operator, str, bool], Operator]] = {
    "exact": _exact, "rounding": _rounding("abcd"), "rounding-a": _rounding("a"), "rounding-b": _rounding("b"), "rounding-c": _rounding("c"),
    "rounding-d": _rounding("d"), "saturate": _saturate, "ftz": _ftz, "chunk": _chunk, "seed": _seed,
}  # fmt: skip
