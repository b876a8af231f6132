"""Switching a run from outside: what `fase mode` and the channel of `fase run --control` have in common.

Reading records loads NumPy: the launcher imports this module only where its signals are blocked, which NumPy's threads inherit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fase.control import file
from fase.control.processes import Process, alive
from fase.errors import ModeError, UsageError
from fase.operators import Operator, parse
from fase.operators.parse import with_fp64
from fase.policy import presets
from fase.records import MAX_MODES

__all__ = ["Request", "alive", "ask", "names"]

_NAMED = 5
"""Processes that a message names."""


@dataclass(frozen=True)
class Request:
    """A mode that was asked for. `number` is that of the control file."""

    folder: Path
    operator: Operator
    number: int

    def refused(self, processes: Sequence[Process]) -> list[Process]:
        """Those of the run's processes that could not take it over; where there are any, the list of switches leaves it out."""
        found = [p for p in processes if p.has_refused(self.number)]
        if found:
            file.mark_refused(self.folder, self.number)
        return found

    def waiting(self, processes: Sequence[Process]) -> list[Process]:
        """Those that have not dealt with it yet."""
        return [p for p in processes if not p.has_taken(self.number)]

    def refusal(self, processes: Sequence[Process]) -> str:
        """What to say of processes that refused."""
        return f"{names(processes)} refused mode '{self.operator.name}'; the notes in run.json will say why"


def ask(folder: Path, text: str) -> Request:
    """Asks all processes of a run for the mode `text`. UsageError for one that they cannot take, and nothing has been touched."""
    operator = _checked(folder, text)
    return Request(folder, operator, file.request(folder, operator))


def names(processes: Sequence[Process]) -> str:
    """Processes in a sentence, the first few by number and command."""
    named = ", ".join(f"{p.pid} ({p.command})" for p in processes[:_NAMED])
    more = f" and {len(processes) - _NAMED} more" if len(processes) > _NAMED else ""
    return f"process{'es' * (len(processes) > 1)} {named}{more}"


def _checked(folder: Path, text: str) -> Operator:
    """The operator of a mode that every process of the run can take. UsageError."""
    if text in presets():
        raise ModeError(f"'{text}' is a policy, which is fixed when a run starts; a switch takes a mode: mp, bf16, ...")
    operator = parse(text)
    operator.spec  # noqa: B018 - raises ModeError where the engine cannot
    state, processes = file.read(folder), alive(folder)
    operator = _with_fp64(operator, state, processes)
    if state.options & file.FOLLOWS_TRAINING:
        raise UsageError("this run switches by itself (--torch or --dynamic): its modes cannot be set from outside")
    for process in processes:
        if operator.full_name not in process.modes and len(process.modes) >= MAX_MODES:
            raise UsageError(f"process {process.pid} has been in {MAX_MODES} different modes: it takes no other one")
    return operator


def _with_fp64(operator: Operator, state: file.State, processes: Sequence[Process]) -> Operator:
    """The operator, with what double precision runs as now unless it has its own.

    Now: what was asked for last, or what the program itself has chosen since it took that over.
    """
    mode = next((p.mode for p in processes if p.has_mode and p.taken >= state.sequence), state.mode)
    now = parse(mode).fp64
    if operator.fp64 and not now:
        raise ModeError("double precision can be switched only in a run that was started with --fp64")
    return with_fp64(operator, now)
