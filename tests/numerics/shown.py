"""How a command line of ours ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Exit status, standard output and standard error."""

    status: int
    out: str
    err: str
