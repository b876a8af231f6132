"""Beside the table: growth with matrix size, and whether two threads gain what they gain natively. Entries are those of `measure`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import catalogue
from benchmarks.catalogue import Workload
from benchmarks.measure import Plan, measure
from benchmarks.worker import NATIVE

SIZES = (128, 256, 512, 1024, 2048)
STEPS = 40 * 512**3
"""Steps a repetition times the cube of the size: repetitions take the same time."""
SCALED = "sgemm-mkl sgemm-openblas-skylakex resnet18 transformer"
MODES = (NATIVE, "fp32", "mp", "bf16")
REPETITIONS = 9


def sizes(plan: Plan, folder: Path, advance: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """SGEMM by PyTorch's MKL, small to large."""
    for size in SIZES:
        workload = Workload(f"sgemm-{size}", f"SGEMM {size}, torch/MKL", "sgemm_torch", environment={"SGEMM_SIZE": str(size)})
        yield measure(workload, replace(_shorter(plan), steps=max(1, STEPS // size**3)), folder / workload.name, advance)


def two_threads(plan: Plan, folder: Path, advance: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Some workloads with two threads; none on one core."""
    for workload in catalogue.choose(SCALED) if len(os.sched_getaffinity(0)) > 1 else ():
        yield measure(workload, replace(_shorter(plan), threads=2), folder / f"{workload.name}-2", advance)


def _shorter(plan: Plan) -> Plan:
    return replace(plan, modes=tuple(m for m in MODES if m in plan.modes), repetitions=min(plan.repetitions, REPETITIONS))
