"""Has the deterministic figure grown? Between two results, workload by workload and mode by mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ALLOWED = 1.05

Figures = Mapping[tuple[str, ...], float]
"""Instructions per emulated FMA, by what was run; the last part is the mode."""


def growth(now: Figures, before: Figures) -> Iterator[str]:
    """A line for every figure that is more than 5 % above the earlier one."""
    for key, figure in now.items():
        if key in before and figure > before[key] * ALLOWED:
            yield changed(key, figure, before[key])


def changed(key: tuple[str, ...], now: float, before: float) -> str:
    """One figure beside the earlier one."""
    percent = 100 * (now / before - 1)
    return f"{', '.join(key)}: {now:.3f} instructions per emulated FMA, {abs(percent):.1f} % {'more' if percent > 0 else 'less'} than {before:.3f}"


def figures(result: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """The figures of a benchmark's result, by workload and mode."""
    found = {(w["name"], name): m["work"]["instructions_per_fma"] for w in result["workloads"] for name, m in w["modes"].items() if "work" in m}
    return {key: figure for key, figure in found.items() if figure is not None}
