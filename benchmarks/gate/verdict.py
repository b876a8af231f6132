"""Figures of the fixed set against the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.compare import Figures, changed, growth

FALLEN = 0.99
"""Of the baseline: below, it should be refreshed, or later growth up to it goes unseen."""


@dataclass(frozen=True)
class Verdict:
    """Lines for people. `grown` and `lost` (modes that no longer run) fail the gate; `unknown` are kernels of which the baseline has nothing."""

    grown: tuple[str, ...]
    lost: tuple[str, ...]
    fallen: tuple[str, ...]
    unknown: tuple[str, ...]
    compared: int

    @property
    def failed(self) -> bool:
        return bool(self.grown or self.lost)

    @property
    def lines(self) -> list[str]:
        """All of it, and what to do."""
        parts = [
            *(f"GROWN: {line}" for line in self.grown),
            *(f"NO LONGER RUNS: {line}" for line in self.lost),
            *(f"less than the baseline: {line}" for line in self.fallen),
            *(f"not in the baseline: {line}" for line in self.unknown),
        ]
        if self.fallen or self.unknown:
            parts.append("`make baseline` takes these figures into benchmarks/gate/baseline.json")
        return [*parts, f"{self.compared} figures compared" if self.compared else "skipped: the baseline has no kernel that runs on this CPU"]


def judge(now: Figures, before: Figures) -> Verdict:
    """Keys are emitter, kernel, function and mode."""
    kernels = {key[:-1] for key in now}
    return Verdict(
        grown=tuple(growth(now, before)),
        lost=_names(key for key in before if key[:-1] in kernels and key not in now),
        fallen=tuple(changed(key, figure, before[key]) for key, figure in now.items() if key in before and figure < before[key] * FALLEN),
        unknown=_names(key for key in now if key not in before),
        compared=len(now.keys() & before.keys()),
    )


def _names(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """A line a kernel, with its modes."""
    modes: dict[tuple[str, ...], list[str]] = {}
    for *kernel, mode in keys:
        modes.setdefault(tuple(kernel), []).append(mode)
    return tuple(f"{', '.join(kernel)}: {' '.join(found)}" for kernel, found in modes.items())
