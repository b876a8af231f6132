"""A policy's routine rules as the agent takes them: `exclude=`, `include=` and `rule=` lines (native/abi/agent.h)."""

from __future__ import annotations

from collections.abc import Iterator

from fase.operators import Operator
from fase.operators.parse import with_fp64
from fase.policy import bf16
from fase.policy.mangle import is_demangled, mangled
from fase.policy.policy import Policy
from fase.policy.rules import RoutineRule, Rule

JIT_GLOB = "@"
"""Code in no file has neither a function nor a library."""


def agent_lines(policy: Policy, fp64: Operator | None = None) -> Iterator[str]:
    """One line for each glob; a glob over demangled names becomes one over mangled names. And what VDPBF16PS runs as.

    `fp64`: the run's mode of double precision, which rules without their own keep.
    """
    yield from bf16.agent_line(policy.bf16_instructions)
    for rule in policy.rules:
        yield f"{rule.action}={rule_glob(rule)}"
    for routine in policy.routines:
        operator = with_fp64(routine.operator, fp64) if routine.operator else None
        yield f"rule={agent_glob(routine)}|" + (f"{operator.full_name}|{operator.spec}" if operator else "|")


def rule_glob(rule: Rule) -> str:
    """An exclude or include, as the agent matches it."""
    return _mangled(rule.glob)


def agent_glob(rule: RoutineRule) -> str:
    """FUNCTION@LIBRARY, as the agent matches it."""
    return JIT_GLOB if rule.jit else f"{_mangled(rule.routine)}@{rule.library}"


def _mangled(glob: str) -> str:
    function, at, library = glob.partition("@")
    return (mangled(function) if is_demangled(function) else function) + at + library
