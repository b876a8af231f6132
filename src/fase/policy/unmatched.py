"""Finds rules of a policy file that can match nothing in a program, before it runs."""

from __future__ import annotations

import glob
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fase.errors import PolicyError
from fase.policy.explain import matching
from fase.policy.files import presets
from fase.policy.lower import agent_glob, rule_glob
from fase.policy.policy import Policy
from fase.policy.rules import RoutineRule, Rule

_LAUNCHERS = frozenset(
    ("bash", "csh", "dash", "env", "fish", "ksh", "make", "mpiexec", "mpirun", "nice", "nohup", "numactl", "perl", "ruby", "setsid", "sh",
     "stdbuf", "taskset", "tcsh", "time", "timeout", "xargs", "zsh")
)  # fmt: skip
"""Programs that start other programs: what those load cannot be known."""
_SYSTEM = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/local/lib", "/usr/lib")
_SHORTEST = 4
"""A rule whose longest fixed part is shorter is not looked for."""


def check(policy: Policy, program: Path) -> None:
    """PolicyError, with file and line, for a rule of a policy file that can match nothing.

    Looks for the fixed part of a rule's names in the files that the program can load: its own, those of its Python environment, those of the
    system. A program that loads libraries from elsewhere needs `unmatched = "allow"` in its policy.
    """
    every: list[Rule | RoutineRule] = [*policy.rules, *policy.routines]
    rules = [rule for rule in every if must_match(rule)]
    if policy.unmatched == "allow" or not rules or program.name in _LAUNCHERS:
        return
    for rule in _without_match(rules, program):
        raise PolicyError(
            f"{rule.where}: '{_text(rule)}' matches nothing in {program.name} and the libraries it can load; "
            'correct it, or say unmatched = "allow" in the policy'
        )


def warnings(policy: Policy, program: Path) -> list[str]:
    """One line for every rule of the command line that can match nothing in a program: it may be meant for another one that this starts."""
    every: list[Rule | RoutineRule] = [*policy.rules, *policy.routines]
    rules = [rule for rule in every if not rule.where.line]
    if program.name in _LAUNCHERS:
        return []
    return [f"'{_text(rule)}' matches nothing in {program.name} and the libraries it can load" for rule in _without_match(rules, program)]


def find_library(name: str, program: Path) -> Path | None:
    """The first file of that name among those that a program can load."""
    return next((found[0] for found in _libraries(program, glob.escape(name)) if found), None)


def _text(rule: Rule | RoutineRule) -> str:
    return rule.text if isinstance(rule, RoutineRule) else f"{rule.action} {rule.glob}"


def _without_match(rules: Iterable[Rule | RoutineRule], program: Path) -> list[Rule | RoutineRule]:
    waiting = {id(rule): rule for rule in rules if _fixed_parts(rule)}
    files = _files(program)
    while waiting and (file := next(files, None)):
        waiting = {key: rule for key, rule in waiting.items() if not _may_match(rule, file)}
    return list(waiting.values())


def must_match(rule: Rule | RoutineRule) -> bool:
    """Of a policy file: not of the command line, an exclusion list (which names what may be there) or a preset (which is for many programs)."""
    file = rule.where.file.removeprefix("policy ")
    return bool(rule.where.line) and file != rule.where.file and file not in presets()


def _fixed_parts(rule: Rule | RoutineRule) -> tuple[str, str] | None:
    """The glob over files, and the longest fixed part of the function's name (empty: any function); None when there is nothing to look for."""
    pattern = agent_glob(rule) if isinstance(rule, RoutineRule) else rule_glob(rule)
    function, at, library = pattern.partition("@")
    if pattern == "@":
        return None
    fixed = max(re.split(r"[*?]+", function), key=len)
    if not at and (".so" in function or len(fixed) < _SHORTEST):
        return (function, "") if ".so" in function else None
    return (library or "*", fixed if len(fixed) >= _SHORTEST else "")


def _may_match(rule: Rule | RoutineRule, file: Path) -> bool:
    parts = _fixed_parts(rule)
    assert parts is not None
    library, fixed = parts
    if not matching(RoutineRule(None, library, "*"), [file.name], ""):
        return False
    return not fixed or _holds(file, fixed.encode())


def _holds(file: Path, text: bytes) -> bool:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(text) >= 0
    except (OSError, ValueError):
        return False


def _files(program: Path) -> Iterator[Path]:
    """The program; what its Python environment holds, largest first; what the system holds. Each file once."""
    yield program
    seen: set[Path] = set()
    for found in _libraries(program, "*.so*"):
        for path in sorted(found, key=lambda p: -p.stat().st_size):
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                yield path


def _libraries(program: Path, pattern: str) -> Iterator[list[Path]]:
    """The files that a program can load whose base names match, folder by folder."""
    for folder in (*_python_folders(program), *os.environ.get("LD_LIBRARY_PATH", "").split(":"), *_SYSTEM):
        if folder and Path(folder).is_dir():
            below = "" if str(folder) in _SYSTEM else "**/"
            yield [path for path in Path(folder).glob(below + pattern) if path.is_file()]


def _python_folders(program: Path) -> Iterator[Path | str]:
    if not program.name.startswith("python"):
        yield program.parent
        return
    for prefix in {program.parent.parent, program.resolve().parent.parent}:
        yield from sorted(prefix.glob("lib/python3*"))
        yield from sorted(prefix.glob("lib/libpython3*"))
    yield from os.environ.get("PYTHONPATH", "").split(os.pathsep)
