"""Finds rules that earlier ones leave nothing: the first match wins, so they would never hold."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Generic, TypeVar

from fase.errors import PolicyError
from fase.policy.lower import agent_glob
from fase.policy.policy import Policy
from fase.policy.rules import RoutineRule, TorchRule, Where

R = TypeVar("R", RoutineRule, TorchRule)


def check_order(policy: Policy) -> None:
    """PolicyError, with file and line, for a rule that earlier rules of the same file, or of the command line, leave nothing."""
    routines: dict[str, _Earlier[RoutineRule]] = defaultdict(_Earlier)
    for routine in policy.routines:
        earlier = routines[_source(routine.where)]
        for first in earlier.covering(agent_glob(routine)):
            raise _nothing_left(routine, first)
        earlier.add(agent_glob(routine), routine)
    layers: dict[str, _Earlier[TorchRule]] = defaultdict(_Earlier)
    for layer in policy.torch:
        _check_layer(layer, layers[_source(layer.where)])
        layers[_source(layer.where)].add(layer.pattern, layer)


def _check_layer(rule: TorchRule, earlier: _Earlier[TorchRule]) -> None:
    """A torch rule holds phase by phase."""
    left = set(rule.phases)
    for first in earlier.covering(rule.pattern):
        if not first.when or (rule.when and set(rule.when) <= set(first.when)):
            left -= set(first.phases)
            if not left:
                raise _nothing_left(rule, first)


def _nothing_left(late: RoutineRule | TorchRule, early: RoutineRule | TorchRule) -> PolicyError:
    return PolicyError(f"{late.where}: '{late.text}' matches nothing that the rule at {early.where} has not matched before")


def _source(where: Where) -> str:
    """Rules of the command line come before those of a file so that they win; only within one place is the order a mistake."""
    return where.file if where.line else ""


class _Earlier(Generic[R]):
    """Rules by their globs, so that few of them have to be tried for a later one: there may be thousands."""

    def __init__(self) -> None:
        self._equal: dict[str, list[R]] = defaultdict(list)
        self._wild: dict[int, dict[str, list[tuple[re.Pattern[str], R]]]] = defaultdict(lambda: defaultdict(list))
        """Those with wildcards, by the longest part between them, which a later glob must hold, and before that by its length."""

    def add(self, glob: str, rule: R) -> None:
        """Another rule, which comes after all others."""
        self._equal[glob].append(rule)
        fixed = max(re.split(r"[*?]+", glob), key=len)
        if fixed != glob and "[" not in glob:  # one with a set of characters covers its equal only
            self._wild[len(fixed)][fixed].append((_covering(glob), rule))

    def covering(self, glob: str) -> Iterator[R]:
        """The rules that match whatever `glob` matches."""
        yield from self._equal.get(glob, ())
        for length, rules in self._wild.items():
            for part in {glob[start : start + length] for start in range(len(glob) - length + 1)}:
                yield from (rule for pattern, rule in rules.get(part, ()) if pattern.fullmatch(glob))


def _covering(glob: str) -> re.Pattern[str]:
    """Matches globs that match no more than `glob`: a `*` in them is covered by a `*` only. Function and library are apart (`@`)."""
    return re.compile("".join({"*": "[^@]*", "?": r"[^@*\[\]]"}.get(c, re.escape(c)) for c in glob), re.DOTALL)
