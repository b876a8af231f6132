"""What the agent is told: the options of one run as a value, and their text form (native/abi/agent.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fase.errors import UsageError
from fase.operators import Operator, write_tables
from fase.policy import Policy
from fase.policy.bf16 import check_modes
from fase.policy.lower import agent_lines

INTERFACE_VERSION = 1
"""Version of the agent's options and functions."""

RECORD_SUFFIX = ".faserec"
"""What the names of record files end with."""

Scope = Literal["math", "all"]
Isa = Literal["auto", "avx2", "avx512"]
SCOPES: tuple[Scope, ...] = ("math", "all")
ISAS: tuple[Isa, ...] = ("auto", "avx2", "avx512")
LIMITS = ("instructions", "fmas", "scratch_registers", "loops", "side_exits", "passes", "wide_units", "chunk_pages")


@dataclass(frozen=True)
class Config:
    """Everything the agent needs to know. `directory` is where it writes record files; `limits` are for tests."""

    operator: Operator
    directory: Path
    policy: Policy = Policy()
    scope: Scope = "math"
    isa: Isa = "auto"
    limits: dict[str, int] = field(default_factory=dict)

    def write_tables(self) -> None:
        """Puts the tables of the formats that the agent will read into its directory."""
        for operator in (self.operator, *(rule.operator for rule in self.policy.routines if rule.operator)):
            write_tables(operator, self.directory)

    def to_text(self) -> str:
        """The agent's start-up options: `key=value` lines."""
        check_modes(self.policy, self.operator)
        directory = str(self.directory.absolute())
        if "\n" in directory:
            raise UsageError(f"the directory name {directory!r} holds a line break")
        lines = [
            f"version={INTERFACE_VERSION}",
            f"mode={self.operator.full_name}",
            f"operator={self.operator.spec}",
            f"rounding={self.operator.rounding}",
            f"scope={self.scope}",
            f"isa={self.isa}",
            *agent_lines(self.policy, self.operator.fp64),
            f"directory={directory}",
            *(f"limit.{key}={value}" for key, value in self.limits.items()),
        ]
        return "\n".join(lines) + "\n"


def policy_text(policy: Policy, scope: Scope) -> tuple[str, ...]:
    """The lines of `Config.to_text` that can be changed, with the mode, while the agent runs."""
    return (f"scope={scope}", *agent_lines(policy))


def policy_text_of(options: str) -> tuple[str, ...]:
    """The same lines of options that an agent was started with."""
    return tuple(line for line in options.splitlines() if line.partition("=")[0] in ("scope", "exclude", "include", "rule", "bf16"))


def parse_limits(text: str) -> dict[str, int]:
    """Reads `instructions=40,loops=0,...`, the region limits that tests vary."""
    limits = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in LIMITS or not value.isdecimal():
            raise UsageError(f"FASE_LIMITS: '{part}' is not one of {', '.join(LIMITS)} with =NUMBER")
        limits[key] = int(value)
    return limits
