"""The deterministic figure: machine instructions that emulation executes for each FMA that it emulates, from the engine's own counters.

A region's code replaces a stretch of the program, so these instructions include the stretch's own, loads and FMAs alike. In mode `fp32` a region
is little else; the difference between a mode's figure and fp32's is what rounding costs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fase.policy.names import SUFFIX
from fase.records import MAX_MODES, Record

TOP = 5
Place = tuple[str, str]
"""Module and function."""


@dataclass(frozen=True)
class Work:
    """Instructions executed in regions and FMAs emulated there, by place."""

    instructions: Counter[Place]
    emulated: Counter[Place]

    @classmethod
    def nothing(cls) -> Work:
        return cls(Counter(), Counter())

    def since(self, before: Work) -> Work:
        """What was done after `before`."""
        return Work(self.instructions - before.instructions, self.emulated - before.emulated)

    def to_dict(self, repetitions: int) -> dict[str, Any]:
        """Counts a repetition, the figure, and the places with most instructions."""
        instructions, emulated = self.instructions.total(), self.emulated.total()
        return {
            "instructions": instructions / repetitions,
            "fma_emulated": emulated / repetitions,
            "instructions_per_fma": ratio(instructions, emulated),
            "kernels": [self._kernel(place, count / instructions) for place, count in self.instructions.most_common(TOP)],
        }

    def _kernel(self, place: Place, share: float) -> dict[str, Any]:
        figure = ratio(self.instructions[place], self.emulated[place])
        return {"module": place[0], "function": place[1], "share": round(share, 4), "instructions_per_fma": figure}


def ratio(instructions: int, emulated: int) -> float | None:
    """Instructions an emulated FMA, None where there is none."""
    return round(instructions / emulated, 4) if emulated else None


def work(record: Record) -> Work:
    """What one process has executed in regions that emulate, whole regions. Regions of excluded and double-precision FMAs alone are left out."""
    functions = _functions(record)
    modules = [name.rsplit("/", 1)[-1] or "(JIT)" for name in record.modules]
    result = Work.nothing()
    relevant = np.flatnonzero((record.executed > 0) & _in_emulating_regions(record))
    for segment, executed in zip(record.segments[relevant], record.executed[relevant].tolist(), strict=True):
        place = (modules[segment["module"]], functions.get(int(segment["function"]), ""))
        result.instructions[place] += executed * int(segment["instructions"])
        result.emulated[place] += executed * int(segment["emulated"])
    return result


def _in_emulating_regions(record: Record) -> npt.NDArray[np.bool_]:
    """Which segments belong to a region (an address and a mode) with any FMA to emulate; exits and put-backs have none of their own."""
    keys = record.segments["guest"] * np.uint64(MAX_MODES) + record.segments["mode"]
    return np.isin(keys, keys[record.segments["emulated"] > 0])


def _functions(record: Record) -> dict[int, str]:
    path = record.path.with_name(record.path.name + SUFFIX)
    if not path.exists():
        return {}
    rows = (line.split("\t", 2) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {int(row[0]): row[2] for row in rows if len(row) == len(("number", "module", "name"))}
