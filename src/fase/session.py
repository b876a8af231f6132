"""Emulation inside a running interpreter, and the mode of a process started by `fase run`.

One agent lives in a process, so everything here acts on the whole process: all threads run in the same mode.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ContextDecorator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fase.agent.config import Config, Isa, Scope
from fase.agent.library import Agent, agent
from fase.errors import AgentError, UsageError
from fase.machine import cpu, resolve_isa
from fase.operators import Operator, parse
from fase.policy import Policy
from fase.policy import load as load_policy


@dataclass(frozen=True)
class _Options:
    """The options of `emulate` but the mode."""

    policy: Policy = Policy()
    scope: Scope = "math"
    isa: Isa = "auto"
    output: Path | None = None


class _State:
    """What this process has started. `lock` guards every change."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owned = False
        """Emulation was started here, not by `fase run`, and is on."""
        self.options: _Options | None = None
        """What the running emulation was started with."""
        self.records: list[Path] = []
        """Record files of earlier and running emulation of this process, oldest first."""


_state = _State()


class emulate(ContextDecorator):  # noqa: N801 - used like a function
    """`with fase.emulate("bf16"):` or `@fase.emulate("bf16")`: FMAs of this process run under the mode, in all threads.

    Where emulation is already on, by `fase run` or an outer block, the block only switches the mode and switches it back; other options
    then have to be left out. Otherwise it starts emulation, and gives the process its own code back at the end.

    The options are those of `fase run`. `policy` is a file or a Policy; `output` a folder for the record files (default: a temporary one).
    Raises ModeError, PolicyError, MachineError or AgentError before anything changes.
    """

    def __init__(
        self,
        mode: str | None = None,
        *,
        policy: str | os.PathLike[str] | Policy | None = None,
        exclude: Iterable[str] = (),
        include: Iterable[str] = (),
        scope: Scope = "math",
        isa: Isa = "auto",
        output: str | os.PathLike[str] | None = None,
    ) -> None:
        """Checks the request; nothing is started yet."""
        rules = policy if isinstance(policy, Policy) else load_policy(Path(policy)) if policy else Policy()
        self._operator = parse(mode or rules.mode or "bf16")
        self._options = _Options(rules.extended(exclude, include), scope, isa, Path(output) if output else None)
        self._outer: list[str | None] = []

    def __enter__(self) -> emulate:
        with _state.lock:
            before = get_mode()
            if before is None:
                _start(self._operator, self._options)
            else:
                _check_same(self._options)
                agent().set_mode(self._operator)
            self._outer.append(before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _state.lock:
            before = self._outer.pop()
            if before is None:
                _stop()
            else:
                agent().set_mode(parse(before))


def set_mode(mode: str | Operator) -> None:
    """Switches the running emulation of this process to `mode`. AgentError when none is running."""
    operator = parse(mode)
    with _state.lock:
        if get_mode() is None:
            raise AgentError("no emulation is running in this process: use `with fase.emulate(mode):` or start it with `fase run`")
        agent().set_mode(operator)


def get_mode() -> str | None:
    """The mode this process runs in; None when nothing is emulated."""
    found = _agent_in_process()
    return found.mode or None if found else None


def counters() -> dict[str, Any]:
    """What this process has executed so far, in all its emulation: the `totals` of `run.json`. All zero if nothing was emulated."""
    from fase import records
    from fase.report.totals import of_record, total

    with _state.lock:
        paths = list(_state.records)
        found = _agent_in_process()
        if found and found.record and Path(found.record) not in paths:
            paths.append(Path(found.record))
        return total(of_record(records.read(path)) for path in paths).to_dict()


def _agent_in_process() -> Agent | None:
    """The agent, if it is already here; does not load it."""
    if _state.owned or os.environ.get("FASE_AGENT"):
        found = agent()
        return found if _state.owned or found.record else None
    return None


def _start(operator: Operator, options: _Options) -> None:
    resolve_isa(options.isa, cpu())
    here = agent()
    if _state.options not in (None, options):
        raise UsageError("emulation was started in this process before: policy, exclude, include, scope, isa and output cannot change any more")
    folder = _state.records[0].parent if _state.records else _folder(options.output)
    here.start(Config(operator, folder, options.policy, options.scope, options.isa).to_text())
    _state.owned, _state.options = True, options
    record = Path(here.record)
    if record not in _state.records:
        _state.records.append(record)


def _stop() -> None:
    agent().stop()
    _state.owned = False


def _check_same(options: _Options) -> None:
    if options not in (_Options(), _state.options):
        raise UsageError("emulation is already on in this process: policy, exclude, include, scope, isa and output cannot change now")


def _folder(chosen: Path | None) -> Path:
    """Where record files go; a temporary folder lasts as long as the process."""
    try:
        if chosen is not None:
            chosen.mkdir(parents=True, exist_ok=True)
            return chosen
        made = Path(tempfile.mkdtemp(prefix="fase-"))
    except OSError as error:
        raise UsageError(f"output folder '{chosen or tempfile.gettempdir()}' cannot be written: {error.strerror}") from None
    atexit.register(_remove, made, os.getpid())
    return made


def _remove(folder: Path, owner: int) -> None:
    """Removes a temporary folder, but not from a forked child that ends first."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
