"""From what a person types to a format."""

from __future__ import annotations

from fase.arguments import text
from fase.errors import FormatError, cut, nearest
from fase.formats.carrier import BINARY32, Carrier
from fase.formats.catalogue import find, spellings
from fase.formats.format import Format
from fase.formats.words import PAIR, generic, with_options


def get(name: str | Format, carrier: Carrier = BINARY32) -> Format:
    """The format called `name`: a catalogue name, an alias, `eXmY`, `intN` or `qI.F`, with options behind colons; case does not matter.

    `carrier` is what the values to be rounded are in: with BINARY64 there are `fp64` and wider formats too (X up to 11, Y up to 52).
    FormatError, in one line, if there is no such format.
    """
    if isinstance(name, Format):
        return name.on(carrier)
    word = PAIR.sub(r"e\1m\2", "".join(text(name, "format", FormatError).split()).lower())
    base, *options = word.split(":")
    found = find(base) or generic(base, carrier)
    if found is None:
        raise FormatError(f"unknown format {_quoted(base)}{_suggestion(base)}; `fase formats` lists them")
    found = found.on(carrier)
    return with_options(found, options, word) if options else found


def _quoted(word: str) -> str:
    return cut(f"'{word}'" if word.isprintable() else repr(word))


def _suggestion(word: str) -> str:
    near = nearest(word, spellings())
    return f" (did you mean '{near}'?)" if near else ""
