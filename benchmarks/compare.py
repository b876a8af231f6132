"""Has the deterministic figure grown? Between two results, workload by workload and mode by mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ALLOWED = 1.05


def growth(now: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    """A line for every figure that is more than 5 % above the earlier one."""
    earlier = figures(before)
    for key, figure in figures(now).items():
        if key in earlier and figure > earlier[key] * ALLOWED:
            more = 100 * (figure / earlier[key] - 1)
            yield f"{key[0]}, {key[1]}: {figure:.3f} instructions per emulated FMA, {more:.1f} % more than {earlier[key]:.3f}"


def figures(result: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(workload, mode) to instructions per emulated FMA."""
    found = {(w["name"], name): m["work"]["instructions_per_fma"] for w in result["workloads"] for name, m in w["modes"].items() if "work" in m}
    return {key: figure for key, figure in found.items() if figure is not None}
