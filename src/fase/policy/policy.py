"""A policy as a value: who gets which operator, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from fase.policy.bf16 import checked
from fase.policy.flags import routine_rule, torch_rule
from fase.policy.rules import Dynamic, RoutineRule, Rule, TorchRule, Where


@dataclass(frozen=True)
class Policy:
    """Rules, and the mode they go with (None: whatever the user asks for).

    `rules` are excludes and includes: code is emulated when no exclude matches it and, where there is any include, one of them does; their
    order does not matter, and they come before all other rules. Of `routines` and of `torch` the first rule that matches decides.
    """

    rules: tuple[Rule, ...] = ()
    mode: str | None = None
    routines: tuple[RoutineRule, ...] = ()
    torch: tuple[TorchRule, ...] = ()
    dynamic: Dynamic | None = None
    unmatched: Literal["error", "allow"] = "error"
    """Whether a rule of a file may match nothing that the program can load."""
    bf16_instructions: str | None = None
    """What VDPBF16PS runs as: `native`, `run`, or a mode. None: nothing is said, so native."""
    fp64: str | None = None
    """The mode of double-precision FMAs; None: whatever the user asks for."""

    def extended(
        self,
        exclude: Iterable[str] = (),
        include: Iterable[str] = (),
        *,
        routines: Iterable[str] = (),
        torch: Iterable[str] = (),
        dynamic: Dynamic | None = None,
        bf16_instructions: str | None = None,
    ) -> Policy:
        """This policy with rules from the command line: routine and torch rules before its own, so that they win. A single string is one rule."""
        exclude, include, routines, torch = ([x] if isinstance(x, str) else x for x in (exclude, include, routines, torch))
        added = tuple(Rule("exclude", g) for g in exclude) + tuple(Rule("include", g) for g in include)
        return replace(
            self,
            rules=self.rules + added,
            routines=tuple(map(routine_rule, routines)) + self.routines,
            torch=tuple(map(torch_rule, torch)) + self.torch,
            dynamic=dynamic or self.dynamic,
            bf16_instructions=checked(bf16_instructions, Where("--bf16-instructions")) if bf16_instructions else self.bf16_instructions,
        )

    def over(self, base: Policy) -> Policy:
        """This policy with everything it inherits from `base` after its own."""
        return Policy(
            rules=self.rules + base.rules,
            mode=self.mode or base.mode,
            routines=self.routines + base.routines,
            torch=self.torch + base.torch,
            dynamic=self.dynamic or base.dynamic,
            unmatched=self.unmatched,
            bf16_instructions=self.bf16_instructions or base.bf16_instructions,
            fp64=self.fp64 or base.fp64,
        )

    @property
    def needs_python(self) -> bool:
        """True when something has to be done inside the program's Python interpreter."""
        return bool(self.torch or self.dynamic)
