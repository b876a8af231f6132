"""The same training in MP, in BF16, and switching between them by the loss: a table, and a plot of losses and modes.

The runs are presets of docs/policies.md; in those with -wu-bn weight update and batch normalisation are FP32 also in BF16.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = ("paper-mp", "paper-bf16", "paper-dynamic", "paper-bf16-wu-bn", "paper-dynamic-wu-bn")
_STEP = re.compile(r"step (\d+) loss (\S+)")
_FINAL = re.compile(r"final training loss (\S+) test loss (\S+)")


@dataclass(frozen=True)
class Outcome:
    """One training: (step, loss) every ten steps, the final losses, and FMAs executed by mode."""

    mode: str
    losses: tuple[tuple[int, float], ...]
    training_loss: float
    test_loss: float
    fmas: dict[str, int]
    trace: tuple[dict[str, Any], ...]

    @property
    def bf16_share(self) -> float:
        """Of the FMAs that a mode of the run could round: excluded ones and FP64 are not among them."""
        counted = {mode: n for mode, n in self.fmas.items() if mode != "fp64"}
        return counted.get("bf16", 0) / max(1, sum(counted.values()))


def train(script: Path, mode: str, arguments: Sequence[str], folder: Path) -> Outcome:
    """Runs the script under `mode`; its output is kept as `log.txt` beside `run.json`."""
    command = [sys.executable, "-m", "fase", "run", "-q", "-m", mode, "-o", str(folder), "--", sys.executable, str(script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (folder / "log.txt").write_text(done.stdout, encoding="utf-8")
    return read(mode, folder)


def read(mode: str, folder: Path) -> Outcome:
    """An outcome from what `train` left."""
    log = (folder / "log.txt").read_text(encoding="utf-8")
    final = _FINAL.search(log)
    assert final, f"{folder}: the training did not end"
    trace = folder / "dynamic.jsonl"
    steps = tuple(json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()) if trace.exists() else ()
    totals = json.loads((folder / "run.json").read_text(encoding="utf-8"))["totals"]
    losses = tuple((int(n), float(loss)) for n, loss in _STEP.findall(log))
    return Outcome(mode, losses, float(final[1]), float(final[2]), totals["by_mode"], steps)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes, a line each."""
    lines = [f"{'run':20} {'training loss':>14} {'test loss':>10} {'FMAs in bf16':>13} {'switches':>9}"]
    for o in outcomes:
        switches = str(sum(s["mode"] != s["next_mode"] for s in o.trace)) if o.trace else "-"
        lines.append(f"{o.mode:20} {o.training_loss:14.4f} {o.test_loss:10.4f} {100 * o.bf16_share:11.1f} % {switches:>9}")
    return "\n".join(lines)


def plot(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """Losses over steps; behind the dynamic run, grey where it was in MP."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed (pip install 'fase[plot]')")
        return
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for o in outcomes:
        axes.plot(*zip(*o.losses, strict=True), label=o.mode, linewidth=1)
    trace = next((o.trace for o in reversed(outcomes) if o.trace), ())
    for step in trace:
        if step["mode"] != "bf16":
            axes.axvspan(step["step"], step["step"] + 1, color="0.85", linewidth=0)
    axes.plot([s["step"] for s in trace], [s["ema"] for s in trace], "k--", linewidth=0.8, label="EMA of the last dynamic run")
    axes.set(xlabel="step", ylabel="training loss", title=f"{title} (grey: the last dynamic run is in MP)")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Trains in each mode; leaves runs, `results.json` and `plot.png` in the output folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("script", choices=("cifar100_cnn", "ptb_lstm"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=None, help="default: fase-run-dynamic/SCRIPT")
    parser.add_argument("--modes", nargs="*", help=f"presets to train under; default: {' '.join(MODES)}")
    parser.add_argument("--only-read", action="store_true", help="show what an earlier call left in the output folder")
    options, rest = parser.parse_known_args()
    folder: Path = options.output or Path("fase-run-dynamic") / options.script
    script = Path(__file__).with_name(options.script + ".py")
    outcomes = []
    for mode in options.modes or MODES:
        print(f"{options.script}: {mode}", file=sys.stderr, flush=True)
        arguments = ["--steps", str(options.steps), *rest]
        outcomes.append(read(mode, folder / mode) if options.only_read else train(script, mode, arguments, folder / mode))
    print(table(outcomes))
    (folder / "results.txt").write_text(table(outcomes) + "\n", encoding="utf-8")
    plot(outcomes, options.script, folder / "plot.png")


if __name__ == "__main__":
    main()
