"""A finished run as a value, and `run.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fase._version import __version__
from fase.agent.config import RECORD_SUFFIX, Config
from fase.control.file import switches
from fase.errors import FaseError, RecordError
from fase.records import CLASSES, ISAS, Record, read
from fase.report.totals import Totals, of_record, total
from fase.report.work import work

SCHEMA = "fase-run/1"
TOP_MODULES = 10
"""Modules listed a process, those with most FMAs first."""


@dataclass(frozen=True)
class Run:
    """What was asked for, how it ended, and what each process recorded. `problems` are record files that could not be read."""

    mode: str
    scope: str
    command: tuple[str, ...]
    cpu: str
    isa: str
    exit_status: int
    seconds: float
    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()
    switches: tuple[dict[str, Any], ...] = ()
    """Modes that were asked for from outside while it ran: `time` in seconds since 1970, `mode`."""
    fp64: str | None = None
    """The mode of double-precision FMAs."""

    @property
    def totals(self) -> Totals:
        """Sums over all processes."""
        return total(map(of_record, self.records))

    @property
    def warnings(self) -> list[str]:
        """What a reader of the numbers must know first."""
        return [*_emptiness(self), *self.problems, *(f"process {r.header['pid']}: {n}" for r in self.records for n in r.notes)]

    def to_dict(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "fp64": self.fp64,
            "command": list(self.command),
            "cpu": self.cpu,
            "isa": self.isa,
            "scope": self.scope,
            "exit_status": self.exit_status,
            "seconds": round(self.seconds, 6),
            "fase_version": __version__,
            "totals": self.totals.to_dict(),
            "work": work(self.records).to_dict(),
            "switches": list(self.switches),
            "warnings": self.warnings,
            "processes": [_process(record) for record in self.records],
        }


def _emptiness(run: Run) -> list[str]:
    totals = run.totals
    if not run.records and not run.problems:
        return ["the agent started in no process: nothing was emulated. Did the command clear LD_PRELOAD or its environment?"]
    if totals.vdpbf16ps_emulated:
        return []
    if not totals.fma_emulated and totals.vdpbf16ps_executed:
        return ["no FMA was emulated, and VDPBF16PS ran as it is: the program computes in BF16 itself. Look at --bf16-instructions"]
    if not totals.fma_executed:
        return ["no FMA was executed: nothing was emulated. Did you instrument a wrapper, or does the program use no FMA instructions?"]
    if not totals.fma_emulated:
        return ["no FMA was emulated: all were excluded or double precision. Look at --scope, --exclude and the policy"]
    if totals.fma_in_chunk_modes and not totals.fma_chunked:
        return [
            "chunk=: no FMA was one of a loop that only adds products to its register, so nothing went to an FP32 total. See docs/accumulation.md"
        ]
    if run.fp64 and not totals.fp64_emulated:
        return [
            f"--fp64 {run.fp64}, but no double-precision FMA was emulated: {'all were excluded' if totals.fp64_executed else 'none was executed'}"
        ]
    return []


def read_records(directory: Path) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """All record files of a run, oldest process first, and one line for each file that cannot be read."""
    records, problems = [], []
    for path in directory.glob(f"*{RECORD_SUFFIX}"):
        try:
            records.append(read(path))
        except RecordError as error:
            problems.append(str(error))
    return tuple(sorted(records, key=lambda r: (int(r.header["start_ns"]), int(r.header["pid"])))), tuple(sorted(problems))


def write_json(run: Run, directory: Path) -> None:
    """Writes `run.json`, whole or not at all."""
    temporary = directory / f".run.json.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(run.to_dict(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory / "run.json")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FaseError(f"cannot write {directory / 'run.json'}: {error.strerror}") from None


def collect(config: Config, command: tuple[str, ...], cpu: str, planned_isa: str, exit_status: int, seconds: float) -> Run:
    """The finished run: what was asked for, and the record files it left. `planned_isa` stands in where no agent reports one."""
    records, problems = read_records(config.directory)
    isa = next((ISAS[int(r.header["isa"])] for r in records), planned_isa)
    fp64 = config.operator.fp64.name if config.operator.fp64 else None
    asked = tuple(switches(config.directory, {int(r.header["control_refused"]) for r in records}))
    return Run(config.operator.name, config.scope, command, cpu, isa, exit_status, seconds, records, problems, asked, fp64)


def _process(record: Record) -> dict[str, Any]:
    return {
        "pid": int(record.header["pid"]),
        "parent": int(record.header["parent_pid"]),
        "command": record.command,
        "totals": of_record(record).to_dict(),
        "faults": int(record.header["faults"]),
        "modules": _modules(record),
        "notes": record.notes,
    }


def _modules(record: Record) -> list[dict[str, Any]]:
    names = record.modules
    counts = record.counts("module", len(names)).tolist()
    rows = [{"module": name or "(JIT)", **dict(zip(CLASSES, row, strict=True))} for name, row in zip(names, counts, strict=True) if any(row)]
    rows.sort(key=lambda row: -sum(row[c] for c in CLASSES))
    return rows[:TOP_MODULES]
