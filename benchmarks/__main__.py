"""`python -m benchmarks`: runs workloads, prints the tables, and leaves them as JSON and Markdown."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import catalogue, machine
from benchmarks.bound import measure_loops, of_workload
from benchmarks.compare import figures, growth
from benchmarks.extras import sizes, two_threads
from benchmarks.measure import WARM_UP, Plan, measure
from benchmarks.report import markdown, show
from benchmarks.startup import MINIMUM, measure_import
from benchmarks.switching import measure_switch
from benchmarks.unavailable import Unavailable
from benchmarks.worker import NATIVE, WorkerError, clean_environment, under

SCHEMA = "fase-bench/1"
RESULTS = Path(__file__).with_name("results")


@click.command(context_settings={"show_default": True})
@click.option("--workloads", default="", metavar="NAMES", help="Some workloads only; a prefix stands for all that begin with it. [default: all]")
@click.option("--modes", default="fp32 mp bf16 e4m3 bf16-2_2-3 paper-mp", metavar="MODES", help="Modes beside native, with spaces between them.")
@click.option("--reps", default=15, type=click.IntRange(min=1), help="Repetitions that count, of each workload in each mode.")
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Threads of the workloads.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps a repetition, instead of each workload's own number.")
@click.option("--startup/--no-startup", default=True, help=f"Measure `import torch` too, at least {MINIMUM} repetitions.")
@click.option("--extras/--no-extras", default=None, help="Lower bounds, mode switch, growth with size, two threads. [default: with all workloads]")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the JSON and Markdown. "
              "[default: benchmarks/results for a run of all workloads; else none]")  # fmt: skip
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="An earlier JSON: exit 1 if instructions per emulated FMA grew by more than 5 %.")  # fmt: skip
def main(workloads: str, modes: str, reps: int, threads: int, steps: int | None, startup: bool, extras: bool | None,
         output: Path | None, against: Path | None) -> None:  # fmt: skip
    """Slow-downs of FASE against native in the same run, beside the paper's. Workloads: sgemm-mkl, sgemm-mkl-avx512, sgemm-openblas-haswell,
    sgemm-openblas-skylakex, conv-bn-relu, resnet18, resnet50, gan3d, lstm, transformer, inference."""
    try:
        chosen = catalogue.choose(workloads)
    except KeyError as error:
        names = ", ".join(w.name for w in catalogue.WORKLOADS)
        raise click.BadParameter(f"no workload {error}; there are {names}", param_hint="--workloads") from None
    earlier = json.loads(against.read_text()) if against else None
    if earlier and earlier["threads"] != threads:
        raise click.BadParameter("libraries choose other kernels with another number of threads", param_hint="--against")
    able, skipped = _runnable(modes.split())
    if not able:
        raise click.ClickException("no mode can run: " + "; ".join(s["reason"] for s in skipped))
    result = _run(chosen, Plan((NATIVE, *able), reps, threads, steps), skipped, max(reps, MINIMUM) if startup else 0,
                  extras if extras is not None else not workloads)  # fmt: skip
    show(result, Console(width=None if sys.stdout.isatty() else 160))
    if folder := output or (None if workloads else RESULTS):
        print(f"written: {write(result, folder)}")
    if earlier and (grown := list(growth(figures(result), figures(earlier)))):
        print("GROWN:", *grown, sep="\n  ")
        sys.exit(1)
    if not result["workloads"]:
        sys.exit(1)


def _runnable(modes: list[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The modes that the engine can run, and why it cannot run the others."""
    able, skipped = [], []
    for mode in modes:
        done = subprocess.run(under(mode, ["/bin/true"]), env=clean_environment(1, {}), capture_output=True, text=True, check=False)
        if done.returncode:
            skipped.append({"name": f"mode {mode}", "reason": (done.stderr.strip().splitlines() or ["failed"])[-1].removeprefix("fase: error: ")})
        else:
            able.append(mode)
    return able, skipped


def _run(chosen: tuple[catalogue.Workload, ...], plan: Plan, skipped: list[dict[str, str]], starts: int, extras: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine.description(),
        "paper": catalogue.PAPER,
        "threads": plan.threads,
        "repetitions": plan.repetitions,
        "modes": list(plan.modes),
        "workloads": [],
        "skipped": skipped,
        "startup": None,
        "loops": None,
        "switch": None,
        "sizes": [],
        "two_threads": [],
    }
    columns = (TextColumn("{task.description:>28}"), BarColumn(), TextColumn("{task.completed}/{task.total} rounds"), TimeElapsedColumn())
    folder = tempfile.TemporaryDirectory(prefix="fase-bench-", ignore_cleanup_errors=True)
    with folder as name, Progress(*columns, console=Console(stderr=True)) as progress:
        for workload in chosen:
            task = progress.add_task(workload.title, total=plan.repetitions + WARM_UP)
            with _skipping(workload.title, skipped):
                result["workloads"].append(measure(workload, plan, Path(name) / workload.name, lambda task=task: progress.advance(task)))  # type: ignore[misc]
        if starts:
            task = progress.add_task("import torch", total=starts + 1)
            result["startup"] = measure_import(plan.modes, starts, Path(name), lambda: progress.advance(task))
        if extras:
            task = progress.add_task("bounds, switch, sizes, threads")
            _add_extras(result, plan, Path(name), lambda: progress.advance(task))
    return result


def _add_extras(result: dict[str, Any], plan: Plan, folder: Path, advance: Callable[[], None]) -> None:
    with _skipping("lower bounds", result["skipped"]):
        result["loops"] = measure_loops(plan.modes, folder)
        for entry in result["workloads"]:
            entry["bounds"] = of_workload(entry, result["loops"], plan.threads)
    with _skipping("mode switch", result["skipped"]):
        result["switch"] = measure_switch()
    if plan.threads == 1:
        for key, entries in (("sizes", sizes), ("two_threads", two_threads)):
            with _skipping(key, result["skipped"]):
                result[key].extend(entries(plan, folder, advance))


@contextmanager
def _skipping(title: str, skipped: list[dict[str, str]]) -> Iterator[None]:
    """What cannot be measured is listed."""
    try:
        yield
    except (Unavailable, WorkerError) as error:
        skipped.append({"name": title, "reason": str(error)})


def write(result: dict[str, Any], folder: Path) -> Path:
    """Writes DATE-CPU.json and .md (`-Nthreads` with more than one); returns the path without its ending."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = f"-{result['threads']}threads" * (result["threads"] > 1)
    stem = folder / f"{result['date']}-{machine.slug(result['machine']['cpu'])}{threads}"
    Path(f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    Path(f"{stem}.md").write_text(markdown(result), encoding="utf-8")
    return stem


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
