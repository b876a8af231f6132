"""Generic names (`eXmY`, `intN`, `qI.F`) and options (`e4m3:sat:bias=8`) of formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from fase.errors import FormatError, cut, nearest
from fase.formats.carrier import BINARY32, BINARY64, Carrier, floor_log2, power
from fase.formats.fixed import Fixed, fixed
from fase.formats.floating import ENCODINGS, FOR_DOUBLE, Encoding, Float, floating
from fase.formats.format import Format

_F = TypeVar("_F", bound=Format)

ALTERNATIVE = re.compile(r"e(\d{1,3})m(\d{1,3})|int(\d{1,3})|q(\d{1,3})\.(\d{1,3})", re.ASCII)
"""Names that no user's format can have."""

PAIR = re.compile(r"e=(\d{1,3}),m=(\d{1,3})", re.ASCII)
"""`e=5,m=2`, another spelling of `e5m2`."""

_SCALE = re.compile(r"2\^(-?\d{1,4})|(\d{1,20}(?:\.\d{1,40})?(?:e-?\d{1,2})?)")


DOUBLE = frozenset({"fp64", "float64", "double", "binary64", "f64"})
"""Spellings of the format that only double-precision FMAs have."""


def generic(word: str, carrier: Carrier = BINARY32) -> Format | None:
    """The format that a generic name says; None when `word` is no such name. FormatError when it is out of range."""
    if word in DOUBLE and carrier == BINARY32:
        raise FormatError(f"format '{word}' is wider than binary32; it is for double-precision FMAs ({FOR_DOUBLE})")
    if word in DOUBLE:
        return renamed(floating("fp64", 11, 52, "ieee", carrier=BINARY64), "fp64", "IEEE 754 binary64")
    found = ALTERNATIVE.fullmatch(word)
    if found is None:
        return None
    if any(n and n != str(int(n)) for n in found.groups()):
        raise FormatError(f"'{word}' has a number with a zero in front; leave it out")
    exponent, mantissa, width, whole, fraction = (int(n) if n else 0 for n in found.groups())
    if found[3]:
        return renamed(fixed(word, width, 0, carrier=carrier), word, f"integers of {width} bits, two's complement")
    if found[4]:
        return renamed(
            fixed(word, 1 + whole + fraction, fraction, carrier=carrier), word, f"fixed point: sign, {whole} integer and {fraction} fraction bits"
        )
    made = floating(f"e{exponent}m{mantissa}", exponent, mantissa, "ieee" if mantissa else "fn", carrier=carrier)
    return renamed(made, made.name, f"{exponent} exponent bits, {mantissa} mantissa bits, laid out as IEEE 754")


def renamed(fmt: _F, name: str, title: str = "", aliases: tuple[str, ...] = ()) -> _F:
    """The same format under another name."""
    return replace(fmt, name=name, title=title, aliases=aliases)


def with_options(fmt: Format, options: list[str], name: str) -> Format:
    """`fmt` changed by the options behind its name. FormatError when one is unknown, wrong, at odds with another, or does not fit."""
    said: dict[str, str] = {}
    for option in sorted(options, key=lambda o: o not in ENCODINGS):  # an encoding sets the policies that others then change
        key, _, value = option.partition("=")
        change = _OPTIONS.get(key)
        if change is None:
            near = nearest(key, _OPTIONS)
            hint = f" (did you mean '{near}'?)" if near else ""
            raise FormatError(f"format '{cut(name)}': unknown option '{option}'{hint}; there are {', '.join(_OPTIONS)}")
        for fact in _SETS.get(key, (key,)):
            if fact in said:
                raise FormatError(f"format '{cut(name)}': '{said[fact]}' and '{option}' say the same thing twice; leave one out")
            said[fact] = option
        fmt = change(replace(fmt, name=name), value, option)
    fmt.describe()
    return fmt


def _encoding(fmt: Format, value: str, option: str) -> Format:
    made = floating(fmt.name, *_sizes(fmt, option), _word(option, ENCODINGS, "an encoding"), carrier=fmt.carrier)
    return made if not value else _unexpected(fmt, option)


def _sizes(fmt: Format, option: str) -> tuple[int, int]:
    return _as(Float, fmt, option).exponent_bits, _as(Float, fmt, option).mantissa_bits


def _bias(fmt: Format, value: str, option: str) -> Format:
    if not re.fullmatch(r"-?\d{1,4}", value):
        raise FormatError(f"format '{fmt.name}': '{option}' wants a whole number, as in bias=7")
    old = _as(Float, fmt, option)
    floating(fmt.name, old.exponent_bits, old.mantissa_bits, old.encoding, int(value), old.carrier)
    return replace(old, bias=int(value))


def _flush(fmt: Format, value: str, option: str) -> Format:
    when = _word(value or "before", ("before", "after"), f"'{option}'", fmt)
    return replace(_as(Float, fmt, option), flush=when)


def _saturate(fmt: Format, value: str, option: str) -> Format:
    return replace(fmt, overflow="max", infinity="max") if not value and fmt else _unexpected(fmt, option)


def _policy(field: str, words: tuple[str, ...]) -> Callable[[Format, str, str], Format]:
    def change(fmt: Format, value: str, option: str) -> Format:
        chosen: Any = _word(value, words, f"'{option}'", fmt)
        return replace(fmt, **{field: chosen})

    return change


def _unsigned_zero(fmt: Format, value: str, option: str) -> Format:
    return replace(fmt, signed_zero=False) if not value else _unexpected(fmt, option)


def _symmetric(fmt: Format, value: str, option: str) -> Format:
    return replace(_as(Fixed, fmt, option), symmetric=True) if not value else _unexpected(fmt, option)


def _scale(fmt: Format, value: str, option: str) -> Format:
    old = _as(Fixed, fmt, option)
    found = _SCALE.fullmatch(value)
    size = power(int(found[1])) if found and found[1] else Fraction(found[2]) if found else Fraction(0)
    if size <= 0:
        raise FormatError(f"format '{fmt.name}': '{option}' wants a power of two, as in scale=2^-4 or scale=0.0625")
    exponent = floor_log2(size)
    if size != power(exponent):
        raise FormatError(f"format '{fmt.name}': a scale is a power of two; near {value} are 2^{exponent} and 2^{exponent + 1}")
    made = fixed(fmt.name, old.width, -exponent, symmetric=old.symmetric, carrier=old.carrier)
    return replace(made, overflow=old.overflow, infinity=old.infinity, nan=old.nan)


def _as(kind: type[_F], fmt: Format, option: str) -> _F:
    if not isinstance(fmt, kind):
        wanted = "floating-point" if issubclass(kind, Float) else "fixed-point"
        raise FormatError(f"format '{fmt.name}': '{option}' is for {wanted} formats; leave it out")
    return fmt


def _word(word: str, words: tuple[str, ...], what: str, fmt: Format | None = None) -> Any:
    if word not in words:
        where = f"format '{fmt.name}': " if fmt else ""
        raise FormatError(f"{where}{what} is one of {', '.join(words)}")
    return word


def _unexpected(fmt: Format, option: str) -> Format:
    raise FormatError(f"format '{fmt.name}': '{option.partition('=')[0]}' takes no value; write ':{option.partition('=')[0]}'")


def _encoding_option(encoding: Encoding) -> Callable[[Format, str, str], Format]:
    return lambda fmt, value, option: _encoding(fmt, value, encoding) if not value else _unexpected(fmt, option)


_OPTIONS: dict[str, Callable[[Format, str, str], Format]] = {
    **{encoding: _encoding_option(encoding) for encoding in ENCODINGS},
    "bias": _bias,
    "flush": _flush,
    "sat": _saturate,
    "overflow": _policy("overflow", ("inf", "nan", "max")),
    "inf": _policy("infinity", ("inf", "nan", "max")),
    "nan": _policy("nan", ("nan", "zero", "max")),
    "uz": _unsigned_zero,
    "scale": _scale,
    "symmetric": _symmetric,
}

_SETS: dict[str, tuple[str, ...]] = {**dict.fromkeys(ENCODINGS, ("encoding",)), "sat": ("overflow", "inf")}
"""What an option says, where that is not just its own name: no two options may say the same thing."""
