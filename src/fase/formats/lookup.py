"""From what a person types to a format."""

from __future__ import annotations

import difflib

from fase.errors import FormatError
from fase.formats.catalogue import find, spellings
from fase.formats.format import Format
from fase.formats.words import PAIR, generic, with_options


def get(name: str | Format) -> Format:
    """The format called `name`: a catalogue name, an alias, `eXmY`, `intN` or `qI.F`, with options behind colons; case does not matter.

    FormatError, in one line, if there is no such format.
    """
    if isinstance(name, Format):
        return name
    word = PAIR.sub(r"e\1m\2", "".join(name.split()).lower())
    base, *options = word.split(":")
    found = find(base) or generic(base)
    if found is None:
        raise FormatError(f"unknown format {_quoted(base)}{_suggestion(base)}; `fase formats` lists them")
    return with_options(found, options, word) if options else found


def _quoted(word: str) -> str:
    return f"'{word}'" if word.isprintable() else repr(word)


def _suggestion(word: str) -> str:
    near = difflib.get_close_matches(word, spellings(), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
