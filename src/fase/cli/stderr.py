"""Standard error, which `fase run` shares with the program that it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def expendable() -> Iterator[None]:
    """Around what is written to standard error: where that cannot be written (a full disk), the exit status is what it would have been."""
    try:
        yield
    except OSError:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - what the old one still holds would fail again at exit, and Python end with 120


def say(line: str) -> None:
    """A line on standard error."""
    with expendable():
        print(line, file=sys.stderr, flush=True)
