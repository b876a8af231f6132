"""Who gets the operator: globs over function names and libraries, from the command line and from a policy file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fase.errors import PolicyError

Action = Literal["exclude", "include"]
_KEYS = ("mode", "exclude", "include")


@dataclass(frozen=True)
class Rule:
    """One glob over a function name (plain or mangled) or a library's base name."""

    action: Action
    glob: str

    def __post_init__(self) -> None:
        if not self.glob or not self.glob.isprintable():
            raise PolicyError(f"--{self.action} {self.glob!r} is not a glob: it is empty or holds control characters")


@dataclass(frozen=True)
class Policy:
    """Rules, and the mode they go with (None: whatever the user asks for).

    Code is emulated when no exclude matches it and, where there is any include, one of them does. The order does not matter.
    """

    rules: tuple[Rule, ...] = ()
    mode: str | None = None

    def extended(self, exclude: Iterable[str], include: Iterable[str]) -> Policy:
        """This policy with more rules after its own."""
        return Policy(self.rules + _rules(exclude, include), self.mode)


def _rules(exclude: Iterable[str], include: Iterable[str]) -> tuple[Rule, ...]:
    return tuple(Rule("exclude", g) for g in exclude) + tuple(Rule("include", g) for g in include)


def load(path: Path) -> Policy:
    """Reads a policy file: TOML with `mode`, `exclude` and `include`. PolicyError names the file and what is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"policy {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy {path}: {error}") from None
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise PolicyError(f"policy {path}: unknown key '{unknown[0]}'; the keys are {', '.join(_KEYS)}")
    mode = table.get("mode")
    if mode is not None and not isinstance(mode, str):
        raise PolicyError(f"policy {path}: 'mode' is not a string")
    return Policy(_rules(_globs(table, "exclude", path), _globs(table, "include", path)), mode)


def _globs(table: dict[str, Any], key: Action, path: Path) -> list[str]:
    globs = table.get(key, [])
    if not isinstance(globs, list) or not all(isinstance(g, str) for g in globs):
        raise PolicyError(f"policy {path}: '{key}' is not a list of strings")
    return globs
