"""Exclusion lists of Verrou and PENE: one `FUNCTION OBJECT` or `OBJECT FUNCTION` a line, `*` wildcards, `#` comments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from fase.errors import PolicyError
from fase.policy.rules import Rule, Where


def read_list(path: Path) -> tuple[Rule, ...]:
    """The exclusions of a list. Verrou puts the function first, PENE the object: which it is, the looks of each line tell.

    A line with one word is a function, or an object when it looks like one. PolicyError names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"exclusion list {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"exclusion list {path}: is not text") from None
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].strip()
        if words:
            rules.append(_rule(words, Where(str(path), number)))
    return tuple(rules)


def write_list(pairs: Iterable[tuple[str, str]]) -> str:
    """A list in Verrou's order from (function, object path) pairs: base names, each once, sorted. Functions without a name become `*`."""
    lines = sorted({(function or "*", PurePath(library).name) for function, library in pairs if library})
    return "# FUNCTION OBJECT: remove the lines that shall be emulated\n" + "".join(f"{f}\t{o}\n" for f, o in lines)


def _rule(words: str, where: Where) -> Rule:
    first, gap, last = _ends(words)
    function, library = (last, first) if _is_object(first) and not _is_object(last) else (first, last)
    if not last:
        function, library = ("*", first) if _is_object(first) else (first, "*")
    has_spaces = gap == " " and " " in function and not _is_demangled(function)
    two_objects = _is_object(first) and _is_object(last) and not _is_demangled(function)
    if has_spaces or two_objects or not (function + library).isprintable() or "@" in library:
        raise PolicyError(f"{where}: is not 'FUNCTION OBJECT'")
    library = PurePath(library).name or "*"
    if function == "*" and library == "*":
        raise PolicyError(f"{where}: excludes everything")
    if library == "*":
        return Rule("exclude", function, where)
    return Rule("exclude", f"{function}@{library}", where)


def _ends(words: str) -> tuple[str, str, str]:
    """Function and object: divided by a tab, else at the last space, or the first where the line begins with an object.

    A demangled name may hold spaces.
    """
    if "\t" in words:
        first, tab, last = words.partition("\t")
        return first.strip(), tab, last.strip()
    parts = words.split()
    if len(parts) == 1:
        return parts[0], "", ""
    if _is_object(parts[0]) and not _is_object(parts[-1]):
        return parts[0], " ", " ".join(parts[1:])
    return " ".join(parts[:-1]), " ", parts[-1]


def _is_demangled(function: str) -> bool:
    """True for what may hold spaces and slashes: only C++ names with arguments, and operators, do."""
    return any(mark in function for mark in ("(", "<", "::", "operator"))


def _is_object(word: str) -> bool:
    """True for what can only be a file: a path, a shared library, a pattern of one."""
    return "/" in word or word.endswith((".so", ".so*", ".exe")) or ".so." in word
