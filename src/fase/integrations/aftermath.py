"""What a run with hooks in Python left behind, for people: rules that matched nothing, and a summary of a dynamic run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fase.dynamic.recorder import read_trace, traces
from fase.integrations.startup_names import MATCHES, PARTIAL
from fase.policy import Policy


def warnings(policy: Policy, folder: Path) -> Iterator[str]:
    """One line for every rule that had no effect."""
    if not policy.needs_python:
        return
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"{MATCHES}*.json")]
    if not reports:
        yield "no Python process imported PyTorch: the rules of --torch and --dynamic had no effect"
        return
    for rule in policy.torch:
        if not any(report["torch"].get(str(rule.where)) for report in reports):
            yield f"{rule.where}: matched nothing in this program"
    if policy.dynamic and not traces(folder):
        backward = sum(report["backward"] for report in reports)
        hint = "no optimizer step of PyTorch: try --dynamic-option step=backward" if backward else "backward() was never called"
        yield f"{policy.dynamic.where}: the mode never changed: {hint}"


def summary(folder: Path) -> Iterator[str]:
    """One line a training."""
    for path in traces(folder):
        steps = list(read_trace(path))
        fmas: Counter[str] = Counter()
        for step in steps:
            fmas.update(step.fmas)
        switches = sum(step.mode != step.next_mode for step in steps)
        total = sum(fmas.values()) or 1
        shares = ", ".join(f"{mode} {100 * n / total:.1f} %" for mode, n in fmas.most_common())
        yield f"dynamic: {len(steps):,} steps, {switches} switches; FMAs: {shares}"


def forget(folder: Path) -> None:
    """Removes what an earlier run left."""
    forget_reports(folder)
    for stale in traces(folder):
        stale.unlink()


def forget_reports(folder: Path) -> None:
    """Removes what the processes of a run say for `warnings`, which nobody else reads."""
    for report in (*folder.glob(f"{MATCHES}*.json"), *folder.glob(f"{MATCHES}*{PARTIAL}")):
        report.unlink()
