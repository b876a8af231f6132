"""Globs over demangled names as globs over mangled ones, which is what a symbol table holds (Itanium C++ ABI, <mangled-name>)."""

from __future__ import annotations

import re

_ANONYMOUS = "(anonymous namespace)"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*$")


def is_demangled(glob: str) -> bool:
    """True when only a demangled C++ name can match."""
    return "::" in glob or "(" in glob or " " in glob


def mangled(glob: str) -> str:
    """A glob over mangled names for one over demangled names, `ns::*::name*(...)`.

    It matches at least the functions that the first names: arguments of functions and of templates are not looked at, and a part with a
    wildcard matches anywhere behind the part before it. `fase policy check FILE LIBRARY` lists what it matches.
    """
    name = _without_arguments(glob.replace(_ANONYMOUS, "_GLOBAL__N_1").split("(", 1)[0]).split(" ")[-1]
    parts = [_part(part) for part in name.split("::")]
    return re.sub(r"\*+", "*", "_Z*" + "".join(parts) + "*").replace("*3std", "*St")  # the ABI's short form of namespace std


def _without_arguments(name: str) -> str:
    """Template arguments as a `*`."""
    before = ""
    while before != name:
        before, name = name, re.sub(r"<[^<>]*>", "*", name)
    return name.split("<", 1)[0]


def _part(part: str) -> str:
    plain = part.rstrip("*")
    if part.startswith("operator"):
        return "*"
    if _IDENTIFIER.match(plain) and part == plain:
        return f"{len(part)}{part}"
    return f"*{part}*" if part.strip("*") else "*"
