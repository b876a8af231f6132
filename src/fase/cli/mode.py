"""`fase mode`: the mode of a run that is under way, from outside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from fase.control import file
from fase.control.processes import Process, alive, folder_of
from fase.errors import FaseError, ModeError, UsageError
from fase.operators import Operator, parse
from fase.operators.parse import with_fp64
from fase.policy import presets
from fase.records import MAX_MODES

_LOOK_EVERY = 0.01
_NAMED = 5
"""Processes that an error names."""


@click.command()
@click.argument("run")
@click.argument("newmode", required=False)
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), default=10.0, show_default=True,
              help="How long to wait for the processes.")  # fmt: skip
def mode(run: str, newmode: str | None, timeout: float) -> None:
    """Show the mode of every process of RUN, or switch them all to NEWMODE.

    RUN is the folder of `fase run -o`, or the number of one of its processes. Returns when all processes have switched, children too; those
    that start later begin in NEWMODE. A run started with --switchable answers at once; a process of another one switches when it enters the
    engine next: new code, a library, memory mapped or unmapped, a thread. Example: fase mode out bf16
    """
    folder = folder_of(run)
    processes = switch(folder, _checked(newmode, folder, run), timeout) if newmode else _alive(folder, run)
    state = file.read(folder)
    for process in processes:
        shown = state.mode if process.is_untouched and state.mode else process.mode
        print(f"{process.pid:8}  {shown:12}  {process.command}")


def switch(folder: Path, operator: Operator, timeout: float) -> list[Process]:
    """Asks for a mode, and waits for the processes. FaseError names those that have not followed after `timeout` seconds."""
    number = file.request(folder, operator)
    deadline = time.monotonic() + timeout
    while True:
        processes = alive(folder)
        refused = [p for p in processes if p.has_refused(number)]
        if refused:
            raise FaseError(f"{_names(refused)} refused mode '{operator.name}'; the notes in run.json will say why")
        late = [p for p in processes if not p.has_taken(number)]
        if not late:
            return processes
        if time.monotonic() >= deadline:
            raise FaseError(f"{_names(late)} has not switched within {timeout:g} s and will when it enters the engine next{_hint(folder)}")
        time.sleep(_LOOK_EVERY)


def _alive(folder: Path, run: str) -> list[Process]:
    processes = alive(folder)
    if not processes:
        raise UsageError(f"no process of the run '{run}' is alive")
    return processes


def _checked(text: str, folder: Path, run: str) -> Operator:
    """The operator of a mode that every process of the run can take. UsageError, and nothing has been touched."""
    if text in presets():
        raise ModeError(f"'{text}' is a policy, which is fixed when a run starts; a switch takes a mode: mp, bf16, ...")
    operator = parse(text)
    operator.spec  # noqa: B018 - raises ModeError where the engine cannot
    processes = _alive(folder, run)
    operator = _with_fp64(operator, processes)
    if file.read(folder).options & file.FOLLOWS_TRAINING:
        raise UsageError("this run switches by itself (--torch or --dynamic): its modes cannot be set from outside")
    for process in processes:
        if operator.full_name not in process.modes and len(process.modes) >= MAX_MODES:
            raise UsageError(f"process {process.pid} has been in {MAX_MODES} different modes: it takes no other one")
    return operator


def _with_fp64(operator: Operator, processes: Sequence[Process]) -> Operator:
    """The operator, with what double precision runs as now unless it has its own."""
    mode = next((p.mode for p in processes if p.has_mode), None)
    if mode is None:
        raise UsageError("the run is just starting; ask again in a moment")
    now = parse(mode).fp64
    if operator.fp64 and not now:
        raise ModeError("double precision can be switched only in a run that was started with --fp64")
    return with_fp64(operator, now)


def _names(processes: Sequence[Process]) -> str:
    named = ", ".join(f"{p.pid} ({p.command})" for p in processes[:_NAMED])
    more = f" and {len(processes) - _NAMED} more" if len(processes) > _NAMED else ""
    return f"process{'es' * (len(processes) > 1)} {named}{more}"


def _hint(folder: Path) -> str:
    return "" if file.read(folder).options & file.KEEP_THREAD else "; with `fase run --switchable` it would at once"
