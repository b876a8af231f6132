"""What a controller decided, step by step: JSON lines beside `run.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from fase.errors import UsageError

NAME = "dynamic"
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Step:
    """One batch: `mode` is what it ran in, `next_mode` the decision after it; `fmas` the FMAs since the step before, by mode.

    `loss` is the mean over ranks where there are several; `ema` None where the controller has none yet. In the file a number that is not finite
    is null: JSON has no other way to say it.
    """

    step: int
    loss: float | None
    ema: float | None
    mode: str
    next_mode: str
    fmas: dict[str, int]


class Recorder:
    """Appends steps to a file; a killed process loses at most one. UsageError where the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UsageError(f"record '{path}' cannot be written: {error.strerror}") from None

    def add(self, step: Step) -> None:
        """Writes one step."""
        row = {**asdict(step), "loss": _finite(step.loss), "ema": _finite(step.ema)}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def close(self) -> None:
        """No steps follow."""
        self._file.close()


def _finite(number: float | None) -> float | None:
    return float(number) if number is not None and isfinite(number) else None


def trace_path(folder: Path, rank: int | None = None) -> Path:
    """Where a process writes: `dynamic.jsonl`; further processes of one run get their rank or process number into the name."""
    if rank:
        return folder / f"{NAME}-rank{rank}{SUFFIX}"
    first = folder / f"{NAME}{SUFFIX}"
    try:
        os.close(os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return folder / f"{NAME}-{os.getpid()}{SUFFIX}"
    return first


def read_trace(path: Path) -> Iterator[Step]:
    """The steps of a trace."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Step(**json.loads(line))


def traces(folder: Path) -> list[Path]:
    """All traces of a run, the first process's first."""
    return sorted(folder.glob(f"{NAME}*{SUFFIX}"), key=lambda p: (p.stem != NAME, p.name))
