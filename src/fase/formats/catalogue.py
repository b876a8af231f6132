"""The formats that have a name: the catalogue file, and what a user registers or loads."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fase.errors import FormatError
from fase.formats.fixed import fixed
from fase.formats.floating import ENCODINGS, floating
from fase.formats.format import Format
from fase.formats.posit import posit
from fase.formats.tables import MAX_BITS, table
from fase.formats.words import ALTERNATIVE, DOUBLE, renamed

VARIABLE = "FASE_FORMATS"
"""Environment variable: files of formats (`fase run --formats`), separated by colons; child processes read it too."""

_NAME = re.compile(r"[a-z][a-z0-9_.+]{0,23}")
_KINDS = {
    "float": {"exponent", "mantissa", "encoding", "bias"},
    "fixed": {"width", "fraction", "symmetric"},
    "posit": {"posit"},
    "table": {"values"},
}
_registered: dict[str, Format] = {}


@cache
def _shipped() -> dict[str, Mapping[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))


@cache
def _words() -> dict[str, str]:
    """Spelling -> name, of the catalogue file."""
    return {word: name for name, row in _shipped().items() for word in (name, *row.get("aliases", ()))}


@cache
def _built(name: str) -> Format:
    return _build(name, _shipped()[name])


@cache
def _from_environment(paths: str) -> dict[str, Format]:
    return {name: fmt for path in filter(None, paths.split(":")) for name, fmt in read(Path(path)).items()}


def own() -> dict[str, Format]:
    """The formats that were registered, or loaded from the files FASE_FORMATS names."""
    return {**_from_environment(os.environ.get(VARIABLE, "")), **_registered}


def catalogue() -> dict[str, Format]:
    """All named formats, by their name, in the order of the catalogue file; a user's own ones last."""
    return {**{name: _built(name) for name in _shipped()}, **own()}


def spellings() -> set[str]:
    """Everything `find` knows."""
    return {*_words(), *own()}


def find(word: str) -> Format | None:
    """The format with that name or alias (lower case); None if there is none."""
    if found := own().get(word):
        return found
    return _built(_words()[word]) if word in _words() else None


def register(
    name: str, values: Sequence[float] | None = None, *, decode: Callable[[int], float] | None = None, bits: int = 0, title: str = ""
) -> Format:
    """Makes a format of one's own known in this process, and returns it.

    Either `values`, the value of each code 0, 1, 2... (2 to 65536 of them), or a function `decode` from a code to its value and `bits`, 1 to 16.
    Values are binary32 numbers; NaNs, infinities and -0 may be among them. Rounding goes to the nearest value, ties to the even code, beyond
    the ends to the end (an infinity in the table is reached as in IEEE 754). FormatError if the name is taken or a value unfit.
    """
    if (values is None) == (decode is None):
        raise FormatError(f"format '{name}': give either its values or a function decode with bits")
    if decode is not None:
        if not 1 <= bits <= MAX_BITS:
            raise FormatError(f"format '{name}': a function needs bits=1 to {MAX_BITS}, the width of its codes")
        values = [decode(code) for code in range(1 << bits)]
    word = name.strip().lower()
    _check_name(word)
    assert values is not None
    _registered[word] = table(word, values, title=title)
    return _registered[word]


def load(path: str | os.PathLike[str]) -> dict[str, Format]:
    """Registers the formats of a TOML file laid out as the catalogue (`fase run --formats`). FormatError if there is anything wrong with it."""
    found = read(Path(path))
    _registered.update(found)
    return found


def read(path: Path) -> dict[str, Format]:
    """The formats of a TOML file, by name."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"formats file '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"formats file '{path}': {' '.join(str(error).split())}") from None
    found = {}
    for name, row in rows.items():
        try:
            _check_name(name)
        except FormatError as error:
            raise FormatError(f"formats file '{path}': {error}") from None
        try:
            found[name] = _build(name, row)
        except (TypeError, ValueError) as error:
            raise FormatError(f"formats file '{path}', [{name}]: {error}") from None
    return found


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise FormatError(f"'{name}' cannot name a format: it takes a small letter, then at most 23 of a-z 0-9 _ . +")
    if name in _words() or name in DOUBLE or ALTERNATIVE.fullmatch(name):
        raise FormatError(f"'{name}' is a format already; choose another name")
    from fase.operators.parse import preset_rows  # modes are made of formats; that they share their names is all formats know of them

    if name in preset_rows():
        raise FormatError(f"'{name}' is a mode already; choose another name")


def _build(name: str, row: object) -> Format:
    """A format from its row of a catalogue. FormatError or TypeError when the row does not say one."""
    if not isinstance(row, Mapping):
        raise FormatError("a format is a table of its own: [name], then exponent and mantissa, width and fraction, or values")
    keys = set(row) - {"title", "aliases"}
    kind = max(_KINDS, key=lambda k: len(keys & _KINDS[k]))
    unknown = keys - _KINDS[kind]
    if unknown or not keys:
        names = ", ".join(sorted(unknown)) or "(none)"
        raise FormatError(f"unknown keys {names}; it takes exponent and mantissa, width and fraction, posit, or values")
    made = _MAKERS[kind](name, row)
    return renamed(made, name, str(row.get("title", "")), tuple(map(str, row.get("aliases", ()))))


def _number(row: Mapping[str, Any], key: str) -> int:
    if not isinstance(row.get(key), int):
        raise FormatError(f"{key} is missing or not a whole number")
    return int(row[key])


def _float(name: str, row: Mapping[str, Any]) -> Format:
    encoding = row.get("encoding", "ieee")
    if encoding not in ENCODINGS:
        raise FormatError(f"encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
    return floating(name, _number(row, "exponent"), _number(row, "mantissa"), encoding, _number(row, "bias") if "bias" in row else None)


def _fixed(name: str, row: Mapping[str, Any]) -> Format:
    return fixed(name, _number(row, "width"), _number({"fraction": 0, **row}, "fraction"), symmetric=bool(row.get("symmetric", False)))


def _posit(name: str, row: Mapping[str, Any]) -> Format:
    bits, exponent = row["posit"]
    if not 3 <= bits <= MAX_BITS or not 0 <= exponent <= 2:
        raise FormatError("posit = [bits, exponent bits] takes 3 to 16 bits and 0 to 2 exponent bits")
    return posit(name, bits, exponent)


_MAKERS: dict[str, Callable[[str, Mapping[str, Any]], Format]] = {
    "float": _float, "fixed": _fixed, "posit": _posit, "table": lambda name, row: table(name, row["values"]),
}  # fmt: skip
