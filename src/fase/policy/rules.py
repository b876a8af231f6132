"""The rules a policy is made of: plain data, each with the place it was written at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fase.errors import PolicyError
from fase.operators import Operator

Action = Literal["exclude", "include"]
Phase = Literal["forward", "input-gradient", "weight-gradient", "optimizer"]
PHASES: tuple[Phase, ...] = ("forward", "input-gradient", "weight-gradient", "optimizer")
LAYER_PHASES: tuple[Phase, ...] = PHASES[:3]
BACKWARD: tuple[Phase, ...] = ("input-gradient", "weight-gradient")
RUN = "run"
"""As the mode of a rule: whatever the run asks for. An exception from a later rule."""


@dataclass(frozen=True)
class Where:
    """The place a rule was written at: a file and a line, or an option of the command line."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Rule:
    """One glob over a function name or a library's base name, or FUNCTION@LIBRARY. An empty glob stands for code in no file (JIT)."""

    action: Action
    glob: str
    where: Where = field(default=Where(), compare=False)

    def __post_init__(self) -> None:
        if not self.glob or not self.glob.isprintable():
            raise PolicyError(f"--{self.action} {self.glob!r} is not a glob: it is empty or holds control characters")


@dataclass(frozen=True)
class RoutineRule:
    """Functions that run under an operator of their own, whatever the mode. `operator` None: under the run's mode.

    `routine` is a glob over function names, demangled or mangled, `library` one over base names of files; `jit` stands for code in no file.
    """

    operator: Operator | None
    routine: str = "*"
    library: str = "*"
    jit: bool = False
    where: Where = field(default=Where(), compare=False)

    @property
    def text(self) -> str:
        """What it matches, for people."""
        if self.jit:
            return "JIT code"
        parts = [f"{name} {glob}" for name, glob in (("routine", self.routine), ("library", self.library)) if glob != "*"]
        return ", ".join(parts) or "everything"


@dataclass(frozen=True)
class TorchRule:
    """Layers of PyTorch, or the optimizer step, that run under an operator of their own (None: under the run's mode).

    `pattern` is a glob over class names, qualified class names and qualified module names; `phases` are the parts of training it holds
    for; `when` are the modes of the run it holds in (empty: all).
    """

    pattern: str
    phases: tuple[Phase, ...]
    operator: Operator | None
    when: tuple[str, ...] = ()
    where: Where = field(default=Where(), compare=False)

    @property
    def text(self) -> str:
        """What it matches, for people."""
        what = "optimizer step" if self.phases == ("optimizer",) else f"modules {self.pattern} ({', '.join(self.phases)})"
        return what + (f", when the run is in {' or '.join(self.when)}" if self.when else "")


@dataclass(frozen=True)
class Dynamic:
    """A run that changes its mode: the modes, most careful first, or a controller of the user's (`file.py:Class`), and its parameters."""

    modes: tuple[str, ...] = ()
    controller: str = ""
    parameters: tuple[tuple[str, float], ...] = ()
    step: Literal["optimizer", "backward"] = "optimizer"
    where: Where = field(default=Where(), compare=False)
