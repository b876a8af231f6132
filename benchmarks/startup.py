"""What it costs to start: `import torch` in a process of its own, native and under `fase run`, interleaved."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import ratios, summary
from benchmarks.worker import NATIVE, WorkerError, clean_environment, under

COMMAND = "import torch"
MINIMUM = 9
"""Repetitions, at least: processes vary more than steps."""


def measure_import(modes: tuple[str, ...], repetitions: int, folder: Path, advance: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Whole processes, the launcher included; `program` is the same without the launcher, as run.json has it. The first round does not count."""
    whole: dict[str, list[float]] = {mode: [] for mode in modes}
    program: dict[str, list[float]] = {mode: [] for mode in modes if mode != NATIVE}
    for number in range(repetitions + 1):
        for mode in modes:
            seconds = _timed(mode, None)
            inner = _inner(mode, folder) if mode != NATIVE else None
            if number:
                whole[mode].append(seconds)
                if inner is not None:
                    program[mode].append(inner)
        advance()
    native = whole[NATIVE]
    return {
        "command": COMMAND,
        "repetitions": repetitions,
        "modes": {
            mode: {"seconds": summary(samples, keep=True), "ratio": ratios(samples, native)}
            | ({"program": {"seconds": summary(program[mode]), "ratio": ratios(program[mode], native)}} if mode in program else {})
            for mode, samples in whole.items()
        },
    }


def _timed(mode: str, output: Path | None) -> float:
    start = time.perf_counter()
    done = subprocess.run(under(mode, [sys.executable, "-c", COMMAND], output), env=clean_environment(1, {}), capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise WorkerError(f"{mode}: `{COMMAND}` ended with status {done.returncode}")
    return seconds


def _inner(mode: str, folder: Path) -> float:
    output = folder / f"import-{mode}"
    _timed(mode, output)
    return float(json.loads((output / "run.json").read_text())["seconds"])
