"""What a policy's routine rules would do in a library: which function each of them decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fase.policy.lower import agent_glob, rule_glob
from fase.policy.policy import Policy
from fase.policy.rules import RoutineRule, Rule
from fase.policy.symbols import demangled, function_names


@dataclass
class Effect:
    """Functions of one library that a rule decides, and how many more it matches that an earlier rule has decided. Mangled names."""

    rule: Rule | RoutineRule
    decides: list[str] = field(default_factory=list)
    too_late: int = 0

    @property
    def matches(self) -> int:
        """All functions it matches."""
        return len(self.decides) + self.too_late


def effects(policy: Policy, library: Path) -> list[Effect]:
    """One effect a rule, in the order in which they are asked: excludes, includes, then routine rules, of which the first match wins."""
    names = function_names(library)
    excludes = [Effect(rule) for rule in policy.rules if rule.action == "exclude"]
    includes = [Effect(rule) for rule in policy.rules if rule.action == "include"]
    routines = [Effect(rule) for rule in policy.routines]
    taken: set[str] = set()
    for group in (excludes, routines):
        for effect in group:
            found = matching(effect.rule, names, library.name)
            effect.decides = [name for name in found if name not in taken]
            effect.too_late = len(found) - len(effect.decides)
            taken.update(found)
    for effect in includes:
        effect.decides = matching(effect.rule, names, library.name)
    return [*excludes, *includes, *routines]


def matching(rule: Rule | RoutineRule, names: Sequence[str], library: str) -> list[str]:
    """The functions of a library that a rule matches, exactly as the agent does it."""
    glob = agent_glob(rule) if isinstance(rule, RoutineRule) else rule_glob(rule)
    function, at, file = glob.partition("@")
    if at:
        return _filter(function, names) if _regex(file).fullmatch(library) else []
    return list(names) if _regex(glob).fullmatch(library) else _filter(glob, names)


def readable(names: Sequence[str], most: int) -> list[str]:
    """The first few names, demangled."""
    return [demangled(name) for name in names[:most]]


def _filter(glob: str, names: Sequence[str]) -> list[str]:
    if glob == "*":
        return list(names)
    pattern = _regex(glob)
    return [name for name in names if pattern.fullmatch(name)]


def _regex(glob: str) -> re.Pattern[str]:
    """The agent's globs know * and ? only."""
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in glob), re.DOTALL)
