"""`make demo`: the same training script, native and under three modes of FASE, side by side."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

SCRIPT = Path(__file__).with_name("train_digits.py")
MODES = ("native", "fp32", "mp", "bf16")
_EPOCH = re.compile(r"epoch \d+/\d+ loss (\S+) accuracy (\S+) seconds (\S+)")


@dataclass(frozen=True)
class Outcome:
    """How one training ended: last loss, test accuracy, seconds of training, and FMA instructions executed and emulated."""

    mode: str
    loss: float
    accuracy: float
    seconds: float
    executed: int
    emulated: int


def train(mode: str, epochs: int, folder: Path, advance: Callable[[], None]) -> Outcome:
    """Runs the training script in `mode` as a child; calls `advance` after every epoch."""
    command = [sys.executable, str(SCRIPT), "--epochs", str(epochs)]
    if mode != "native":
        command = [sys.executable, "-m", "fase", "run", "-q", "-m", mode, "-o", str(folder / mode), "--", *command]
    last = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if match := _EPOCH.match(line):
                last = match
                advance()
    if child.returncode or last is None:
        raise SystemExit(f"demo: training in mode {mode} ended with status {child.returncode}")
    totals = {"fma_executed": 0, "fma_emulated": 0}
    if mode != "native":
        totals = json.loads((folder / mode / "run.json").read_text())["totals"]
    return Outcome(mode, float(last[1]), float(last[2]), float(last[3]), totals["fma_executed"], totals["fma_emulated"])


def table(outcomes: list[Outcome]) -> Table:
    """The outcomes side by side; slow-downs are against the first."""
    result = Table(title="A CNN on 8x8 digits: one training script, four arithmetics", box=SIMPLE_HEAD, title_justify="left")
    for heading in ("mode", "loss", "accuracy", "FMAs", "emulated", "seconds", "slow-down"):
        result.add_column(heading, justify="left" if heading == "mode" else "right", no_wrap=True)
    for o in outcomes:
        counts = (f"{o.executed:,}", f"{o.emulated:,}") if o.executed else ("-", "-")
        slow_down = f"{o.seconds / outcomes[0].seconds:.1f}x"
        result.add_row(o.mode, f"{o.loss:.4f}", f"{100 * o.accuracy:.2f} %", *counts, f"{o.seconds:.1f}", slow_down)
    return result


def main() -> None:
    """Trains in every mode, prints the table, and leaves demo.json beside the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("fase-run-demo"), help="folder for the runs and demo.json")
    options = parser.parse_args()
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        outcomes = []
        for mode in MODES:
            task = progress.add_task(mode, total=options.epochs)
            outcomes.append(train(mode, options.epochs, options.output, lambda task=task: progress.advance(task)))  # type: ignore[misc]
    Console().print(table(outcomes))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "demo.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=2) + "\n")


if __name__ == "__main__":
    main()
