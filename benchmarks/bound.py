"""What emulation cannot fall below: a loop of nothing but FMAs, with and without rounding, scaled to the FMAs that a workload executes.

With n FMAs of some width a step, t nanoseconds each in such a loop natively, t' in a mode (bound.c, the best of many, in the same run), and
T the native step:

    floor = max(1, n t' / T)        all else, memory and cache misses too, hidden behind the FMAs and their rounding
    added = 1 + n (t' - t) / T      nothing hidden: what rounding takes by itself comes on top of the native step

No engine with these rounding sequences beats `floor`; one that costs nothing else, but does not hide rounding in the gaps that native code leaves,
gets `added`. Limits: factors in the loop never change, so their rounding is not in t' (in `mp` both figures are near 1, though a kernel must round
each factor that it loads); FMAs under a mask count as full; a narrow FMA takes no more than its share of a wider one, as if all could be joined.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.unavailable import Unavailable
from benchmarks.worker import NATIVE, clean_environment, under

SOURCE = Path(__file__).with_name("bound.c")
ROUNDS = 5
Loops = dict[int, float]
"""Nanoseconds an FMA, by its lanes."""


def measure_loops(modes: tuple[str, ...], folder: Path) -> dict[str, Loops]:
    """The loop in each mode; interleaved, the best of some rounds. Unavailable: no C compiler."""
    program = folder / "bound"
    try:
        subprocess.run(["cc", "-O1", "-o", str(program), str(SOURCE)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Unavailable("the lower bound needs a C compiler (cc)") from None
    best: dict[str, Loops] = {mode: {} for mode in modes}
    for _ in range(ROUNDS):
        for mode in modes:
            done = subprocess.run(under(mode, [str(program)]), env=clean_environment(1, {}), capture_output=True, text=True, check=True)
            for lanes, nanoseconds in (line.split() for line in done.stdout.splitlines()):
                best[mode][int(lanes)] = min(float(nanoseconds), best[mode].get(int(lanes), float("inf")))
    return {mode: _joined(loops) for mode, loops in best.items()}


def _joined(loops: Loops) -> Loops:
    """A narrow FMA, where a share of a wider one is cheaper, takes that."""
    return {lanes: min(t * lanes / wide for wide, t in loops.items() if wide >= lanes) for lanes in loops}


def bounds(fmas: Mapping[int, float], native: Loops, mode: Loops, seconds: float) -> dict[str, float]:
    """`floor` and `added` of a workload: `fmas` executed a repetition by lanes, `seconds` a native repetition, summed over its threads."""
    time = partial(_time, fmas)
    floor, added = time(mode) / seconds, (time(mode) - time(native)) / seconds
    return {"floor": round(max(1.0, floor), 3), "added": round(1 + max(0.0, added), 3)}


def _time(fmas: Mapping[int, float], loops: Loops) -> float:
    """Seconds; a region of mixed widths, whose mean is none of the loops', counts as the next wider."""
    return sum(n * loops[min((w for w in loops if w >= lanes), default=max(loops))] for lanes, n in fmas.items()) / 1e9


def of_workload(entry: dict[str, Any], loops: Mapping[str, Loops], threads: int) -> dict[str, dict[str, float]]:
    """By mode, from a workload's entry in the results."""
    seconds = entry["modes"][NATIVE]["seconds"]["median"] * threads
    found = {mode: {int(k): v for k, v in m["work"]["fmas_by_lanes"].items()} for mode, m in entry["modes"].items() if "work" in m}
    return {mode: bounds(fmas, loops[NATIVE], loops[mode], seconds) for mode, fmas in found.items() if mode in loops}
