"""Keeps a workload alive: a line `run` on standard input runs one repetition; the answer is a line of JSON on standard output."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

Step = Callable[[], float]
"""One step of the workload; returns a figure that must be finite (the loss, a norm)."""


def serve(prepare: Callable[[], Step], steps: int, note: Callable[[], str] = str) -> None:
    """Prepares, says hello with the process id, then repeats on demand. One repetition is `steps` steps.

    Answers: {"seconds": wall time, "cpu_seconds": of all threads, "value": what the last step returned}.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=steps, help="steps a repetition")
    count = parser.parse_args().steps
    start = time.perf_counter()
    step = prepare()
    _say({"pid": os.getpid(), "steps": count, "prepare_seconds": time.perf_counter() - start, "note": note()})
    for line in sys.stdin:
        if line.strip() != "run":
            raise SystemExit(f"{sys.argv[0]}: unknown request {line.strip()!r}")
        cpu, start = time.process_time(), time.perf_counter()
        for _ in range(count):
            value = step()
        _say({"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, "value": value})


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)
