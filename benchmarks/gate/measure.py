"""Runs the fixed set: every kernel in every mode, by both emitters where the CPU has them. A few seconds; the load of the machine does not matter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY, family
from benchmarks.worker import WorkerError, clean_environment
from fase.machine import cpu

SECONDS = 200
TORCH = ("sgemm-torch", "convolution", "lstm-cell")


@dataclass(frozen=True)
class Case:
    """One process: kernels by their names in kernels.py, under one emitter, with further environment variables."""

    isa: str
    title: str
    kernels: tuple[str, ...]
    environment: Mapping[str, str]


def cases(widest: str) -> Iterator[Case]:
    """For a CPU whose widest instruction set is `widest`. Under the AVX2 emitter libraries must stay with AVX2: EVEX code always gets the other.

    The emitter looks at how wide the CPU's units are; here it is told.
    """
    wide, halves = {"FASE_LIMITS": "wide_units=1"}, {"FASE_LIMITS": "wide_units=0"}
    if widest == "avx512":
        yield Case("avx512", "OpenBLAS Haswell", ("sgemm-numpy",), {"OPENBLAS_CORETYPE": "Haswell"} | wide)
        yield Case("avx512", "OpenBLAS Haswell, units of 256 bits", ("sgemm-numpy",), {"OPENBLAS_CORETYPE": "Haswell"} | halves)
        yield Case("avx512", "OpenBLAS SkylakeX", ("sgemm-numpy",), {"OPENBLAS_CORETYPE": "SkylakeX"} | wide)
        yield Case("avx512", "PyTorch", TORCH, wide)
    yield Case("avx2", "OpenBLAS Haswell", ("sgemm-numpy",), {"OPENBLAS_CORETYPE": "Haswell"})
    yield Case("avx2", "PyTorch", TORCH, {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"})


def measured() -> dict[tuple[str, ...], float]:
    """Figures by emitter, kernel, the function that does most of it, and mode.

    Code made at run time has no name: the CPU stands for it, to which it is fitted.
    """
    found: dict[tuple[str, ...], float] = {}
    for case in cases(cpu().isa):
        for row in _run(case):
            function = row["function"] or f"unnamed, {family()}"
            found |= {(case.isa, f"{row['kernel']}, {case.title}", function, mode): figure for mode, figure in row["figures"].items()}
    return found


def _run(case: Case) -> Iterator[dict[str, Any]]:
    fase = [sys.executable, "-m", "fase", "run", "-q", "-m", "fp32", "--isa", case.isa, "--"]
    command = [*fase, sys.executable, "-m", "benchmarks.gate.kernels", *case.kernels]
    environment = clean_environment(1, case.environment)
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise WorkerError(f"{case.title}, {case.isa}: status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    yield from map(json.loads, done.stdout.splitlines())


def baseline(path: Path) -> dict[tuple[str, ...], float]:
    """Reads a baseline."""
    table = json.loads(path.read_text(encoding="utf-8"))
    rows = ((isa, kernel, function, modes) for isa, k in table.items() for kernel, f in k.items() for function, modes in f.items())
    return {(isa, kernel, function, mode): figure for isa, kernel, function, modes in rows for mode, figure in modes.items()}


def write_baseline(path: Path, found: Mapping[tuple[str, ...], float]) -> None:
    """Replaces the figures of every kernel in `found`; what was measured on other CPUs stays."""
    kept = baseline(path) if path.exists() else {}
    kernels = {key[:-1] for key in found}
    table: dict[str, Any] = {}
    for (isa, kernel, function, mode), figure in sorted(({k: v for k, v in kept.items() if k[:-1] not in kernels} | dict(found)).items()):
        table.setdefault(isa, {}).setdefault(kernel, {}).setdefault(function, {})[mode] = figure
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
