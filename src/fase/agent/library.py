"""The agent's C functions (native/abi/agent.h) through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fase.agent.config import INTERFACE_VERSION
from fase.agent.locate import LATE_AGENT, library
from fase.errors import AgentError
from fase.operators import Operator, write_tables

_ERROR_SIZE = 1024


class Agent:
    """The one agent of this process. Methods raise AgentError with the agent's own message."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        """Checks the interface version of a loaded library and declares its functions."""
        self._handle = handle
        found = handle.fase_agent_version()
        if found != INTERFACE_VERSION:
            raise AgentError(f"the agent speaks interface version {found}, this package {INTERFACE_VERSION}: build both from one source")
        handle.fase_agent_mode.restype = ctypes.c_char_p
        handle.fase_agent_record.restype = ctypes.c_char_p

    def start(self, options: str) -> None:
        """Starts emulation in this process; `options` is `Config.to_text()`."""
        self._call("fase_agent_start", options)

    def stop(self) -> None:
        """Gives the process its own code back; counters stay."""
        self._call("fase_agent_stop")

    def set_mode(self, operator: Operator) -> None:
        """Switches all threads to `operator`."""
        if self.record:
            write_tables(operator, Path(self.record).parent)
        self._call("fase_agent_set_mode", operator.full_name, operator.spec)

    def set_policy(self, operator: Operator, policy: Sequence[str]) -> None:
        """Switches all threads to `operator` and to the policy whose lines these are (`config.policy_text`)."""
        write_tables(operator, Path(self.record).parent)
        text = [f"mode={operator.full_name}", f"operator={operator.spec}", *policy, f"directory={Path(self.record).parent}"]
        self._call("fase_agent_set_policy", "\n".join(text) + "\n")

    @property
    def mode(self) -> str:
        """Name of the current mode; empty when dormant."""
        return (self._handle.fase_agent_mode() or b"").decode()

    @property
    def record(self) -> str:
        """Path of this process's record file; empty when dormant."""
        return (self._handle.fase_agent_record() or b"").decode()

    def _call(self, function: str, *texts: str) -> None:
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        arguments = [ctypes.c_char_p(text.encode()) for text in texts]
        if getattr(self._handle, function)(*arguments, error, ctypes.c_size_t(_ERROR_SIZE)) != 0:
            raise AgentError(error.value.decode(errors="replace") or f"{function} failed")


@cache
def preloaded() -> Agent | None:
    """The agent that this process was started with, running or dormant."""
    everything = ctypes.CDLL(None)
    return Agent(everything) if hasattr(everything, "fase_agent_version") else None


@cache
def agent() -> Agent:
    """The agent of this process: the preloaded one, else the library loaded now."""
    if found := preloaded():
        return found
    path = library(LATE_AGENT)
    try:
        return Agent(ctypes.CDLL(str(path)))
    except OSError as error:
        raise AgentError(f"cannot load {path}: {error}") from None
