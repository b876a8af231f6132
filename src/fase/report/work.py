"""The deterministic figure: machine instructions that emulation executes for each FMA that it emulates, from the engine's own counters.

A region's code replaces a stretch of the program, so these instructions include the stretch's own, loads and FMAs alike. In mode `fp32` a region
is little else; the difference between a mode's figure and fp32's is what rounding costs. It depends on no clock and no load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fase.policy.names import names_of
from fase.records import MAX_MODES, Record

TOP = 5
"""Kernels listed, those with most instructions first."""
Place = tuple[str, str]
"""Base name of the file and name of the function (mangled): `(JIT)` and empty for code in no file, empty where there is no name."""


@dataclass(frozen=True)
class Work:
    """Instructions executed in regions that emulate, and FMAs emulated there, by place."""

    instructions: Counter[Place] = field(default_factory=Counter)
    emulated: Counter[Place] = field(default_factory=Counter)
    chunked: Counter[Place] = field(default_factory=Counter)
    """Of `emulated`: FMAs whose sums went to binary32 totals (option `chunk=N`)."""
    lanes: Counter[int] = field(default_factory=Counter)
    """FMAs emulated, by their lanes: 1, 4, 8, 16; where a segment has several widths, by the mean."""

    @property
    def figure(self) -> float | None:
        """Instructions an emulated FMA; None where there is none."""
        return ratio(self.instructions.total(), self.emulated.total())

    def since(self, before: Work) -> Work:
        """What was done after `before`."""
        return Work(
            self.instructions - before.instructions, self.emulated - before.emulated, self.chunked - before.chunked, self.lanes - before.lanes
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the sum, the figure, and the places with most instructions."""
        total = self.instructions.total()
        kernels = [
            {"module": module, "function": function, "share": round(count / total, 4),
             "instructions_per_fma": ratio(count, self.emulated[module, function])}
            | ({"chunked": ratio(self.chunked[module, function], self.emulated[module, function])} if self.chunked.total() else {})
            for (module, function), count in self.instructions.most_common(TOP) if count
        ]  # fmt: skip
        lanes = {str(width): count for width, count in sorted(self.lanes.items()) if count}
        return {"instructions": total, "instructions_per_fma": self.figure, "fmas_by_lanes": lanes, "kernels": kernels}


def ratio(count: int, emulated: int) -> float | None:
    """How many an emulated FMA, None where there is none."""
    return round(count / emulated, 4) if emulated else None


def work(records: Iterable[Record]) -> Work:
    """What processes have executed in regions that emulate, whole regions. Regions of excluded and double-precision FMAs alone are left out."""
    result = Work()
    for record in records:
        _add(result, record)
    return result


def _add(to: Work, record: Record) -> None:
    relevant = (record.executed > 0) & _in_emulating_regions(record)
    segments, executed = record.segments[relevant], record.executed[relevant]
    names = names_of(record)
    modules = [name.rsplit("/", 1)[-1] or "(JIT)" for name in record.modules]
    places, index = np.unique(segments["module"].astype(np.uint64) << np.uint64(32) | segments["function"], return_inverse=True)
    for column, counter in (("instructions", to.instructions), ("emulated", to.emulated), ("chunked", to.chunked)):
        sums = np.zeros(len(places), np.uint64)
        np.add.at(sums, index, executed * segments[column])
        for place, count in zip(places.tolist(), sums.tolist(), strict=True):
            counter[modules[place >> 32], names.get(place & 0xFFFFFFFF, "")] += count
    lanes = -(-segments["lanes"].astype(np.int64) // np.maximum(segments["emulated"], 1))  # rounded up
    for width, count in zip(lanes.tolist(), (executed * segments["emulated"]).tolist(), strict=True):
        to.lanes[width] += count


def _in_emulating_regions(record: Record) -> npt.NDArray[np.bool_]:
    """Which segments belong to a region (an address and a mode) with any FMA to emulate; exits and put-backs have none of their own."""
    keys = record.segments["guest"] * np.uint64(MAX_MODES) + record.segments["mode"]
    return np.isin(keys, keys[record.segments["emulated"] > 0])
