"""Emulation inside a running interpreter, and the mode of a process started by `fase run`.

One agent lives in a process, so everything here acts on the whole process: all threads run in the same mode.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import ContextDecorator, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from fase import arguments
from fase.agent.config import ISAS, SCOPES, Config, Isa, Scope, policy_text, policy_text_of
from fase.agent.library import Agent, agent, preloaded
from fase.errors import AgentError, ModeError, UsageError
from fase.machine import cpu, resolve_isa
from fase.operators import Operator, parse, write_tables
from fase.operators.parse import parse_fp64, with_fp64
from fase.policy import Policy, TorchRule, policy_of, presets
from fase.policy import load as load_policy
from fase.policy.bf16 import check_modes
from fase.scopes import PolicyText, Scopes
from fase.scopes import Scope as OpenScope

DEFAULT_MODE = "bf16"

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Fixed:
    """What the agent takes once a process."""

    isa: Isa = "auto"
    output: Path | None = None


@dataclass(frozen=True)
class _Rules:
    """Which code is emulated, and which has a mode of its own."""

    policy: Policy = Policy()
    scope: Scope = "math"


class _State:
    """What this process has started. `lock` guards every change.

    Nothing is imported while it is held: a module that forks while it is being imported would wait for it for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.scopes = Scopes(_apply)
        self.owned = False
        """Emulation was started here, not by `fase run`, and is on."""
        self.fixed: _Fixed | None = None
        """What the first emulation of this process was started with; the agent keeps it."""
        self.records: list[Path] = []
        """Record files of earlier and running emulation of this process, oldest first."""

    def after_fork(self) -> None:
        """A child counts for itself."""
        self.records = []
        self.lock.release()


def _apply(operator: Operator, policy: PolicyText | None) -> None:
    if policy is None:
        agent().set_mode(operator)
    else:
        agent().set_policy(operator, policy)


_state = _State()
# Held across a fork: a child's state is whole, whatever its parent's other threads were about. The thread that forks owns it on both sides.
os.register_at_fork(before=_state.lock.acquire, after_in_parent=_state.lock.release, after_in_child=_state.after_fork)


@dataclass(frozen=True)
class _Entered:
    """One entry into a block: by which thread, the scope it opened, and what to take away when it is left."""

    thread: int
    scope: OpenScope
    hooks: ExitStack


class emulate(ContextDecorator):  # noqa: N801 - used like a function
    """`with fase.emulate("bf16"):` or `@fase.emulate("bf16")`: FMAs of this process run under the mode, in all threads.

    Where emulation is already on, by `fase run` or another block, the block switches the mode and switches it back; otherwise it starts
    emulation, and the process gets its own code back when the last block ends. Blocks of several threads may overlap: the one entered last
    decides. A block may end in another thread than it began in.

    `mode` may be the name of a preset policy. Without a mode the block keeps the one that applies; where none does, it is bf16, or with `fp64` fp32.
    `fp64` is the mode of double-precision FMAs; without one they run as in the blocks around, outermost as they are.
    The other options are those of `fase run`. `policy` (a file, the name of a preset or a Policy), `exclude`, `include` and `scope` together
    replace what holds around the block; a block that gives none of them leaves it as it is. `torch` are rules as for `--torch`, which
    come on top until the block ends. `isa` and `output`, a folder for the record files (default: a temporary one), hold for the process
    and can be given only where emulation starts for the first time.
    Programs that the process starts, Python ones too, begin without emulation; a fork goes on as its parent was.
    Raises UsageError (ModeError, PolicyError, MachineError) or AgentError before anything changes.
    """

    def __init__(
        self,
        mode: str | Operator | None = None,
        *,
        fp64: str | Operator | None = None,
        policy: str | os.PathLike[str] | Policy | None = None,
        exclude: Iterable[str] = (),
        include: Iterable[str] = (),
        torch: Iterable[str] = (),
        bf16_instructions: str | None = None,
        scope: Scope | None = None,
        isa: Isa = "auto",
        output: str | os.PathLike[str] | None = None,
    ) -> None:
        """Checks the request; nothing is started yet."""
        if scope is not None:
            arguments.one_of(scope, SCOPES, "scope")
        arguments.one_of(isa, ISAS, "isa")
        rules = policy_of(policy)
        if mode is not None and not isinstance(mode, Operator) and arguments.text(mode, "mode", ModeError) in presets():
            rules, mode = rules.over(load_policy(mode)), load_policy(mode).mode
        if rules.dynamic:
            raise UsageError("this policy changes its mode while it runs: use `with fase.dynamic.Dynamic(policy=...)`, or `fase run`")
        if bf16_instructions is not None:
            arguments.text(bf16_instructions, "bf16_instructions")
        exclude, include, torch = (arguments.texts(globs, what) for globs, what in ((exclude, "exclude"), (include, "include"), (torch, "torch")))
        rules = rules.extended(exclude, include, torch=torch, bf16_instructions=bf16_instructions)
        chosen = rules.mode if mode is None else mode
        double = rules.fp64 if fp64 is None else fp64
        self._fp64 = parse_fp64(double) if double is not None else None
        self._operator = with_fp64(parse(chosen), self._fp64) if chosen is not None else None
        check_modes(rules, self._operator or self._default())
        self._torch = rules.torch
        own = _Rules(replace(rules, mode=None, fp64=None, torch=(), dynamic=None), scope or "math")
        self._rules = own if scope or own.policy != Policy(unmatched=own.policy.unmatched) else None
        self._fixed = _Fixed(isa, None if output is None else arguments.path(output, "output"))
        self._entered: list[_Entered] = []
        """Entries that have not been left, the latest last; an object may be entered many times, by many threads."""

    def __call__(self, function: _Function) -> _Function:
        """The function, run in a block at each call. UsageError for one whose body runs later than its call: async functions and generators."""
        import inspect  # here: it takes long to load

        later = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if any(runs_later(function) for runs_later in later):
            name = getattr(function, "__qualname__", "the function")
            raise UsageError(f"@fase.emulate: {name} is async or a generator, and would run after the block; use `with fase.emulate(...):` inside")
        return super().__call__(function)

    def __enter__(self) -> emulate:
        install = _torch_hooks() if self._torch else None
        with _state.lock, ExitStack() as undo:
            _adopt()
            _check_same(self._fixed)
            started = not len(_state.scopes)
            if started:
                _start(self._operator or self._default(), self._rules or _Rules(), self._fixed)
                opened = _state.scopes.base
                undo.callback(_stop)
            else:
                policy = _policy_text(self._rules) if self._rules else None
                opened = _state.scopes.enter(self._operator or self._as_around(), policy=policy)
                undo.callback(_state.scopes.leave, opened)
            hooks = ExitStack()
            if install:
                hooks.callback(install(self._torch))
            undo.pop_all()
            self._entered.append(_Entered(threading.get_ident(), opened, hooks))
        return self

    def _default(self) -> Operator:
        """What runs where no mode is asked for and none applies: where only double precision was asked for, single precision stays FP32."""
        return with_fp64(parse("fp32" if self._fp64 else DEFAULT_MODE), self._fp64)

    def _as_around(self) -> Operator | None:
        """The mode that applies, with this block's mode of double precision if it has one."""
        operator = _state.scopes.base.operator
        return replace(operator, fp64=self._fp64) if operator and self._fp64 else operator

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """UsageError for a block that is left more often than it was entered."""
        with _state.lock:
            left = self._latest()
            _adopt()  # takes in a switch from outside, as a getter would
            with left.hooks:
                if _state.owned and len(_state.scopes) == 1 and _state.scopes.base is left.scope:
                    _stop()
                else:
                    _state.scopes.leave(left.scope)
            self._entered.remove(left)

    def _latest(self) -> _Entered:
        """The latest entry of this thread; of another where this thread has none: generators and frameworks end blocks in other threads."""
        if not self._entered:
            raise UsageError("this block of fase.emulate has ended already: __exit__ belongs to one __enter__")
        here = threading.get_ident()
        return next((e for e in reversed(self._entered) if e.thread == here), self._entered[-1])


def set_mode(mode: str | Operator) -> None:
    """Switches the running emulation of this process to `mode`: until the innermost `emulate` block ends, or the run.

    AgentError when none is running. Double precision stays as it is unless `mode` says otherwise (`bf16;fp64=fp32`).
    Takes effect in all threads, without a policy's exceptions for the layer that is running.
    """
    operator = parse(mode)
    with _state.lock:
        if not _adopt():
            raise AgentError("no emulation is running in this process: use `with fase.emulate(mode):` or start it with `fase run`")
        _state.scopes.replace(operator)


def get_mode() -> str | None:
    """The mode this process runs in, as in `bf16` or `bf16;fp64=fp32`; None when nothing is emulated."""
    with _state.lock:
        found = agent().mode if _adopt() else None
    return found or None


def base_mode() -> Operator | None:
    """What the program, its controller or the run asks for, whatever a policy says about the layer that is running; None when nothing is emulated."""
    with _state.lock:
        return _state.scopes.base.operator if _adopt() else None


def enter_layer(operator: Operator | None) -> OpenScope | None:
    """For hooks: a layer begins that runs under `operator` (None: as the program asks). None when nothing is emulated."""
    with _state.lock:
        return _state.scopes.enter(operator, hook=True) if _adopt() else None


def leave_layer(opened: OpenScope | None) -> None:
    """For hooks: the layer ends."""
    if opened is not None:
        with _state.lock:
            if _adopt():
                _state.scopes.leave(opened)


def counters() -> dict[str, Any]:
    """What this process has executed so far, in all its emulation: the `totals` of `run.json`. All zero if nothing was emulated."""
    from fase import records
    from fase.report.totals import of_record, total

    with _state.lock:
        paths = list(_state.records)
        found = _running_agent()
        if found and found.record and Path(found.record) not in paths:
            paths.append(Path(found.record))
        return total(of_record(records.read(path)) for path in paths).to_dict()


def _torch_hooks() -> Callable[[tuple[TorchRule, ...]], Callable[[], None]]:
    """What puts hooks for rules into PyTorch; it returns what takes them away."""
    try:
        from fase.integrations.torch_hooks import install
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError("torch rules need PyTorch, which is not installed here") from None
    return install


def _adopt() -> bool:
    """True when emulation is on. The first call under `fase run` takes the run's mode as the outermost scope."""
    if len(_state.scopes):
        _state.scopes.noticed(agent().mode, parse)
        return True
    if _state.fixed is not None:  # started here, and stopped since
        return False
    found = _running_agent()
    if not found or not found.mode:
        return False
    _state.scopes.adopt(parse(found.mode), policy_text_of(os.environ.get("FASE_AGENT", "")))
    return True


def _running_agent() -> Agent | None:
    """The agent, if it runs in this process, started by `fase run` or here; does not load it.

    The agent itself is asked. The environment proves nothing: a program may have put FASE_AGENT there.
    """
    found = agent() if _state.owned else None if _state.fixed else preloaded()
    return found if found and found.record else None


def _start(operator: Operator, rules: _Rules, fixed: _Fixed) -> None:
    resolve_isa(fixed.isa, cpu())
    here = agent()
    folder = _folder(fixed.output) if _state.fixed is None else Path(here.record).parent
    config = Config(operator, folder, rules.policy, rules.scope, fixed.isa)
    config.write_tables()
    here.start(config.to_text())
    _state.owned = True
    _state.fixed = _state.fixed or fixed
    _state.scopes.adopt(operator, policy_text(rules.policy, rules.scope))
    record = Path(here.record)
    if record not in _state.records:
        _state.records.append(record)


def _policy_text(rules: _Rules) -> PolicyText:
    """A policy for the running agent, which finds the tables of its formats beside its record."""
    for rule in rules.policy.routines:
        if rule.operator:
            write_tables(rule.operator, Path(agent().record).parent)
    return policy_text(rules.policy, rules.scope)


def _stop() -> None:
    agent().stop()
    _state.owned = False
    _state.scopes.forget()


def _check_same(fixed: _Fixed) -> None:
    """What the agent takes once a process may be left out later, and inside a block, and under `fase run`."""
    started = len(_state.scopes) > 0 or _state.fixed is not None
    if started and fixed not in (_Fixed(), _state.fixed):
        raise UsageError("emulation was started in this process before: isa and output cannot change any more")


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
