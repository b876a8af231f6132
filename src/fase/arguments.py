"""Arguments of the Python interface: what has the wrong type is refused in one line, before anything else happens."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fase.errors import FaseError, UsageError


def shown(value: object) -> str:
    """A value for a message: cut when it is long, on one line."""
    return " ".join(reprlib.repr(value).split())


def text(value: Any, what: str, error: type[FaseError] = UsageError) -> str:
    """`value`, which has to be a string; `error` otherwise."""
    if isinstance(value, str):
        return value
    raise error(f"{what} is a string, not {shown(value)}")


def texts(value: Any, what: str) -> tuple[str, ...]:
    """One string or several. UsageError."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(text(each, f"each of {what}") for each in value)
    return (text(value, f"each of {what}"),)


def path(value: Any, what: str) -> Path:
    """`value`, which has to name a file or a folder. UsageError."""
    if isinstance(value, str | os.PathLike) and isinstance(name := os.fspath(value), str) and name:
        return Path(name)
    raise UsageError(f"{what} is the name of a file or a folder, not {shown(value)}")


def one_of(value: Any, choices: Sequence[str], what: str) -> None:
    """UsageError unless `value` is one of the choices."""
    if value not in choices:
        raise UsageError(f"{what} is one of {', '.join(choices)}, not {shown(value)}")
