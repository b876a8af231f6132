"""Where in a TOML file a key stands: tomllib does not say, and an error has to."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

_TABLE = re.compile(r"\s*(\[\[?)\s*([\w.\-\"]+)\s*\]\]?")
_KEY = re.compile(r"\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[\w.\-]+)\s*=")


class Lines:
    """Lines of tables and keys, found by their looks. A key is named by its table, the table's number among its equals, and itself."""

    def __init__(self, text: str) -> None:
        self._text = text.splitlines()
        self._at: dict[tuple[str, int, str], int] = {}
        seen: Counter[str] = Counter()
        table, number = "", 0
        for line, content in enumerate(self._text, 1):
            if found := _TABLE.match(content):
                table = found[2].strip('"')
                number = seen[table]
                seen[table] += 1
                self._at.setdefault((table, number, ""), line)
            elif found := _KEY.match(content):
                self._at.setdefault((table, number, _name(found[1])), line)

    def of(self, key: str, table: str = "", number: int = 0) -> int:
        """The line of a key, else of its table, else of the table written as a key of its parent, or the other way round, else 0."""
        for place in ((table, number, key), (table, number, ""), ("", 0, table), (key, 0, "")):
            if place in self._at:
                return self._at[place]
        return 0

    def of_text(self, key: str, value: str) -> int:
        """The line of a list's element: the first after its key that holds `value`."""
        start = self.of(key)
        for line in range(start, len(self._text) + 1):
            if start and value and value in self._text[line - 1]:
                return line
        return start


def _name(written: str) -> str:
    """A key as the table has it: without quotes and escapes."""
    if written[0] not in "\"'":
        return written
    try:
        return next(iter(tomllib.loads(f"{written} = 0")))
    except tomllib.TOMLDecodeError:
        return written
