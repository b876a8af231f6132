"""The self-test: the engine against the reference, bit for bit, and against known counts."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fase.agent.config import INTERFACE_VERSION, ISAS, Config, Isa
from fase.agent.environment import child_environment
from fase.agent.locate import AGENT, LATE_AGENT, library
from fase.doctor import probe
from fase.errors import FaseError
from fase.formats.rounding import Float32
from fase.machine import cpu, resolve_isa
from fase.operators import Operator, parse
from fase.operators.double import fma64
from fase.operators.reference import fma
from fase.report.run import read_records
from fase.report.totals import Totals, of_record, total

MODES = ("fp32", "mp", "bf16")
_SPECIAL = (
    0x00000000, 0x00000001, 0x00007FFF, 0x00008000, 0x00008001, 0x007FFFFF, 0x00800000, 0x3F800000, 0x3F807FFF, 0x3F808000, 0x3F808001,
    0x3F818000, 0x40490FDB, 0x7F7F7FFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF,
)  # fmt: skip
"""Zero, subnormals, ties of BF16 and their neighbours, the largest values, infinity, NaNs; the negative ones are added."""
_SPECIAL64 = (
    0, 1, 0x36A0000000000000, 0x37A0000000000000, 0x3FD5555555555555, 0x3FF0000000000000, 0x3FF0000010000000, 0x3FF0000030000000,
    0x47EFFFFFF0000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000, 0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF,
)  # fmt: skip
"""As binary64 encodings: zero, subnormals (of FP32 too), a third, one, ties of FP32, where FP32 overflows, the largest value, infinity, NaNs."""
_MATMUL = "import hashlib, numpy as np; r = np.random.default_rng(0); a, b = (r.random((96, 96), np.float32) for _ in 'ab')\n"
_TIMEOUT = 60


@dataclass(frozen=True)
class Check:
    """One thing tested: whether it holds, and what was seen."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class _Outcome:
    """What a child did under emulation."""

    stdout: str
    totals: Totals
    processes: int


def checks() -> Iterator[Check]:
    """Runs the checks one by one; stops early where the rest cannot run."""
    for name, basis in (("the CPU has FMA instructions", _machine), ("the agent loads and speaks our version", _library)):
        result = _check(name, basis)
        yield result
        if not result.ok:
            return
    for isa in ISAS[1:] if cpu().isa == "avx512" else ISAS[1:2]:
        for mode in MODES:
            yield _check(f"{mode}, {isa}: every bit and the count", partial(_vectors, mode, isa))
    for isa in ISAS[1:] if cpu().isa == "avx512" else ISAS[1:2]:
        yield _check(f"double precision in fp32, {isa}: every bit and the count", partial(_doubles, isa))
    yield _check("NumPy's matrix product in fp32 equals native", _matmul)


def _check(name: str, test: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *test())
    except (FaseError, OSError, subprocess.SubprocessError) as error:
        return Check(name, False, str(error))


def _machine() -> tuple[bool, str]:
    return True, resolve_isa("auto", cpu())


def _library() -> tuple[bool, str]:
    found = ctypes.CDLL(str(library(LATE_AGENT))).fase_agent_version()
    return found == INTERFACE_VERSION, f"interface version {found}, wanted {INTERFACE_VERSION}"


def _vectors(mode: str, isa: Isa) -> tuple[bool, str]:
    """Runs the probe over special and random operands; compares its results with the reference and its count with the known one."""
    operator = parse(mode)
    a, b, c = operands()
    with tempfile.TemporaryDirectory(prefix="fase-doctor-") as name:
        files = [Path(name) / n for n in "abc"]
        for file, values in zip(files, (a, b, c), strict=True):
            values.tofile(file)
        outcome = _emulated([sys.executable, "-m", "fase.doctor.probe", isa, *map(str, files)], operator, isa)
        result = np.fromfile(files[2], np.float32)
    wrong = int((result.view(np.uint32) != fma(a, b, c, operator).view(np.uint32)).sum())
    known = a.nbytes // probe.BYTES[isa]
    counted = outcome.totals.fma_emulated
    if not outcome.processes:
        return False, "the agent did not start: is LD_PRELOAD honoured here?"
    return wrong == 0 and counted == known, f"{a.size - wrong:,} of {a.size:,} results, {counted:,} of {known:,} FMAs"


def _doubles(isa: Isa) -> tuple[bool, str]:
    """The same for double precision under `--fp64 fp32`: the special values as binary64 numbers, and random ones."""
    operator = parse("fp32;fp64=fp32")
    values = np.array([bits | sign for bits in _SPECIAL64 for sign in (0, 1 << 63)], np.uint64).view(np.float64)
    triples = np.array(list(itertools.product(values, repeat=3)))
    noise = np.random.default_rng(0).standard_normal((2048, 3))
    rows = np.concatenate([triples, noise])
    rows = rows[: len(rows) // 8 * 8]
    a, b, c = (np.ascontiguousarray(column) for column in rows.T)
    with tempfile.TemporaryDirectory(prefix="fase-doctor-") as name:
        files = [Path(name) / n for n in "abc"]
        for file, column in zip(files, (a, b, c), strict=True):
            column.tofile(file)
        outcome = _emulated([sys.executable, "-m", "fase.doctor.probe", "double", *map(str, files)], operator, isa)
        result = np.fromfile(files[2], np.float64)
    wrong = int((result.view(np.uint64) != fma64(a, b, c, "fp32").view(np.uint64)).sum())
    known, counted = a.nbytes // probe.BYTES["double"], outcome.totals.fp64_emulated
    return wrong == 0 and counted == known, f"{a.size - wrong:,} of {a.size:,} results, {counted:,} of {known:,} FMAs"


def operands(random: int = 16384) -> tuple[Float32, Float32, Float32]:
    """All triples of special values and `random` triples of random bits, filled up to whole vectors: three arrays of binary32."""
    special = np.array([bits | sign for bits in _SPECIAL for sign in (0, 0x80000000)], np.uint32)
    triples = np.array(list(itertools.product(special, repeat=3)), np.uint32)
    noise = np.random.default_rng(0).integers(0, 1 << 32, (random, 3), np.uint32)
    rows: npt.NDArray[np.uint32] = np.concatenate([triples, noise])
    rows = rows[: len(rows) // 16 * 16]
    a, b, c = (np.ascontiguousarray(column).view(np.float32) for column in rows.T)
    return a, b, c


def _matmul() -> tuple[bool, str]:
    """Compares a matrix product's bits with and without the engine, in fp32 mode."""
    command = [sys.executable, "-c", _MATMUL + "print(hashlib.sha256((a @ b).tobytes()).hexdigest())"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    native = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False).stdout
    outcome = _emulated(command, parse("fp32"), "auto", environment)
    same = native == outcome.stdout and bool(native)
    return same and outcome.totals.fma_emulated > 0, f"{outcome.totals.fma_emulated:,} FMAs, {'same' if same else 'other'} bits"


def _emulated(command: list[str], operator: Operator, isa: Isa, environment: dict[str, str] | None = None) -> _Outcome:
    """Runs a command under the agent. FaseError when it fails."""
    with tempfile.TemporaryDirectory(prefix="fase-doctor-") as name:
        config = Config(operator, Path(name), isa=isa)
        complete = child_environment(environment or os.environ, library(AGENT), config)
        child = subprocess.run(command, env=complete, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        records, problems = read_records(Path(name))
    if child.returncode or problems:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise FaseError(problems[0] if problems else f"the child ended with status {child.returncode}: {last}")
    return _Outcome(child.stdout, total(map(of_record, records)), len(records))
