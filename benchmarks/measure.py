"""One workload in all modes, interleaved: the processes live side by side and take turns, one repetition each, round after round."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue import Workload
from benchmarks.figures import ratios, summary
from benchmarks.unavailable import Unavailable
from benchmarks.worker import NATIVE, Repetition, Worker, WorkerError, clean_environment
from fase.report.work import Work

WARM_UP = 2
"""Repetitions before those that count: the first translates."""
PAUSE = 0.02
"""Seconds between turns with more than one thread: those of the last process must stop spinning."""


@dataclass(frozen=True)
class Plan:
    """What to run: modes with `native` first, counted repetitions, threads, and steps a repetition where not the script's own."""

    modes: tuple[str, ...]
    repetitions: int
    threads: int = 1
    steps: int | None = None


def measure(workload: Workload, plan: Plan, folder: Path, advance: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The workload's entry in the results. `advance` is called after every round. Unavailable, WorkerError: there is none."""
    environment = clean_environment(plan.threads, {**workload.environment, **workload.prepare()})
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(workload, m, environment, folder / m.replace("/", "_"), plan.steps)) for m in plan.modes]
        note = workers[0].hello["note"]
        if not note.startswith(workload.kernel):
            raise Unavailable(f"this build runs the kernel {note} instead")
        warm = _rounds(workers, WARM_UP, plan.threads, advance)
        before = [w.work() for w in workers]
        counted = _rounds(workers, plan.repetitions, plan.threads, advance)
        done = [w.work().since(b) for w, b in zip(workers, before, strict=True)]
        memory = [w.memory() for w in workers]
        runs = [w.close() for w in workers]
    native = counted[0]
    modes = {
        worker.mode: _entry(repetitions, native, plan.threads)
        | {"first_seconds": round(first[0].seconds, 6), "prepare_seconds": round(worker.hello["prepare_seconds"], 6), "memory": resident}
        | (_emulation(run, figure, plan.repetitions, resident, memory[0]) if worker.mode != NATIVE else {})
        for worker, repetitions, first, figure, resident, run in zip(workers, counted, warm, done, memory, runs, strict=True)
    }
    return {"name": workload.name, "title": workload.title, "paper": workload.paper, "note": note, "steps": workers[0].hello["steps"], "modes": modes}


def _rounds(workers: Sequence[Worker], count: int, threads: int, advance: Callable[[], None]) -> list[list[Repetition]]:
    """`count` rounds; in each, every process runs once. The starting process moves on by one a round, so that none always follows the same."""
    results: list[list[Repetition]] = [[] for _ in workers]
    for number in range(count):
        for turn in range(len(workers)):
            index = (number + turn) % len(workers)
            if threads > 1:
                time.sleep(PAUSE)
            results[index].append(workers[index].run())
        advance()
    return results


def _entry(repetitions: list[Repetition], native: list[Repetition], threads: int) -> dict[str, Any]:
    wall, cpu = ([r.seconds for r in repetitions], [r.cpu_seconds for r in repetitions])
    return {
        "seconds": summary(wall, keep=True),
        "ratio": ratios(wall, [r.seconds for r in native]),
        "cpu_ratio": ratios(cpu, [r.cpu_seconds for r in native]),
        "cpu_share": round(summary([c / (w * threads) for c, w in zip(cpu, wall, strict=True)])["median"], 3),
        "value": repetitions[-1].value if math.isfinite(repetitions[-1].value) else None,
    }


def _emulation(run: dict[str, Any], done: Work, repetitions: int, memory: dict[str, int], native: dict[str, int]) -> dict[str, Any]:
    """What a native process does not have: translation, memory against native, and the deterministic figure."""
    if not run:
        raise WorkerError("fase run left no run.json")
    totals = run["totals"]
    return {
        "translate_seconds": totals["translate_seconds"],
        "faults": sum(p["faults"] for p in run["processes"]),
        "code_bytes": totals["code_bytes"],
        "sites": totals["sites"],
        "regions": totals["regions"],
        "memory_ratio": round(memory["highest"] / native["highest"], 4),
        "work": done.to_dict()
        | {
            "fmas_by_lanes": {lanes: n / repetitions for lanes, n in done.lanes.items() if n},
            "instructions": done.instructions.total() / repetitions,
            "fma_emulated": done.emulated.total() / repetitions,
        },
        "warnings": run["warnings"],
    }
