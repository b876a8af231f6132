"""`python -m benchmarks.gate`: exit 1 if the deterministic figure of any kernel of the fixed set grew by more than 5 %."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.compare import Figures
from benchmarks.gate.measure import baseline, measured, write_baseline
from benchmarks.gate.verdict import judge

BASELINE = Path(__file__).with_name("baseline.json")


@click.command(context_settings={"show_default": True})
@click.option("--baseline", "path", default=BASELINE, type=click.Path(dir_okay=False, path_type=Path), help="What to compare with.")
@click.option("--refresh", is_flag=True, help="Write what was measured into the baseline.")
def main(path: Path, refresh: bool) -> None:
    """Instructions per emulated FMA, per kernel and mode, against the baseline."""
    now = measured()
    status = check(now, path)
    if refresh:
        write_baseline(path, now)
        print(f"written: {path}")
    sys.exit(0 if refresh else status)


def check(now: Figures, path: Path) -> int:
    """Prints the verdict on `now`; returns the exit status."""
    verdict = judge(now, baseline(path) if path.exists() else {})
    print(*verdict.lines, sep="\n")
    return int(verdict.failed)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gate")
