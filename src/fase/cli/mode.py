"""`fase mode`: the mode of a run that is under way, from outside."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import click

from fase.control import file
from fase.control.processes import Process, alive, folder_of
from fase.control.switching import ask, names
from fase.errors import FaseError, UsageError

_LOOK_EVERY = 0.01


def _number(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("nan is not a number")
    return value


@click.command()
@click.argument("run")
@click.argument("newmode", required=False)
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), default=10.0, show_default=True, callback=_number,
              help="How long to wait for the processes.")  # fmt: skip
def mode(run: str, newmode: str | None, timeout: float) -> None:
    """Show the mode of every process of RUN, or switch them all to NEWMODE.

    RUN is the folder of `fase run -o`, or the number of one of its processes. Returns when all processes have switched, children too; those
    that start later begin in NEWMODE. A run started with --switchable answers at once; a process of another one switches when it enters the
    engine next: new code, a library, memory mapped or unmapped, a thread. Example: fase mode out bf16
    """
    folder = folder_of(run)
    processes = _alive(folder, run)
    if newmode is not None:
        processes = switch(folder, newmode, timeout)
    state = file.read(folder)
    for process in processes:
        shown = state.mode if process.is_untouched and state.sequence else process.mode
        print(f"{process.pid:8}  {shown:12}  {process.command}")


def switch(folder: Path, newmode: str, timeout: float) -> list[Process]:
    """Asks for a mode, and waits for the processes. FaseError names those that have not followed after `timeout` seconds."""
    request = ask(folder, newmode)
    deadline = time.monotonic() + timeout
    while True:
        processes = alive(folder)
        if refused := request.refused(processes):
            raise FaseError(request.refusal(refused))
        late = request.waiting(processes)
        if not late:
            return processes
        if time.monotonic() >= deadline:
            raise FaseError("; ".join(_reasons(late, timeout, folder)))
        time.sleep(_LOOK_EVERY)


def _reasons(late: list[Process], timeout: float, folder: Path) -> Iterator[str]:
    """Why processes have not switched yet."""
    stopped = [p for p in late if p.is_stopped]
    running = [p for p in late if p not in stopped]
    if stopped:
        yield f"{names(stopped)} is stopped (by Ctrl-Z, SIGSTOP or a debugger) and will switch when it goes on"
    if running:
        yield f"{names(running)} has not switched within {timeout:g} s and will when it enters the engine next{_hint(folder)}"


def _alive(folder: Path, run: str) -> list[Process]:
    processes = alive(folder)
    if not processes:
        raise UsageError(f"no process of the run '{run}' is alive")
    return processes


def _hint(folder: Path) -> str:
    return "" if file.read(folder).options & file.KEEP_THREAD else "; with `fase run --switchable` it would at once"
