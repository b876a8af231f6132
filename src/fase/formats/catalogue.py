"""Names of formats: the catalogue file, aliases, and the generic `eXmY`."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files

from fase.errors import FormatError
from fase.formats.format import Format, generic


@cache
def catalogue() -> dict[str, Format]:
    """All named formats, by their name, in the order of the catalogue file."""
    text = (files("fase.formats") / "catalogue.toml").read_text(encoding="utf-8")
    return {
        name: Format(row["exponent"], row["mantissa"], name, row["title"], tuple(row.get("aliases", ()))) for name, row in tomllib.loads(text).items()
    }


@cache
def _spellings() -> dict[str, Format]:
    return {word: fmt for fmt in catalogue().values() for word in (fmt.name, *fmt.aliases)}


def get(name: str | Format) -> Format:
    """The format called `name`: a catalogue name, an alias or `eXmY`; case does not matter. FormatError if there is none."""
    if isinstance(name, Format):
        return name
    word = name.strip().lower()
    found = _spellings().get(word) or generic(word)
    if found is None:
        raise FormatError(f"unknown format {word!r}{_suggestion(word)}; `fase formats` lists them")
    return found


def _suggestion(word: str) -> str:
    near = difflib.get_close_matches(word, _spellings(), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
