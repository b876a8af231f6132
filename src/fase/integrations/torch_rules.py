"""Which rule holds for which module: globs over class names and qualified names, decided once a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

from fase.operators import Operator
from fase.policy.rules import LAYER_PHASES, Phase, TorchRule

Choice = dict[Phase, Operator | None]
"""The operator of each phase that some rule decides; None for the run's own."""

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


class Rules:
    """First match wins, phase by phase. Qualified names are those below the outermost module that is called, wrappers taken off."""

    def __init__(self, rules: Sequence[TorchRule], noticed: Callable[[], None] = lambda: None) -> None:
        """`noticed` is called when a rule has matched for the first time."""
        self._rules = tuple(rules)
        self._noticed = noticed
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._matching: WeakKeyDictionary[Any, tuple[int, ...]] = WeakKeyDictionary()
        self.matched = [0] * len(self._rules)
        """For each rule, how many modules it matched; for a rule of the optimizer, how many optimizers."""

    def root(self, module: Any) -> None:
        """`module` is called from outside any other: names begin here."""
        if module in self._names:
            return
        for name, child in module.named_modules():
            self._names.setdefault(child, name)
        if type(module).__name__ in _WRAPPERS:
            for name, child in module.module.named_modules():
                self._names[child] = name

    def of(self, module: Any, mode: str) -> Choice | None:
        """What holds for a module while the run is in `mode`; None when no rule does."""
        numbers = self._matching.get(module)
        if numbers is None:
            numbers = self._find(module)
        if not numbers:
            return None
        choice: Choice = {}
        for number in numbers:
            rule = self._rules[number]
            if not rule.when or mode in rule.when:
                for phase in rule.phases:
                    choice.setdefault(phase, rule.operator)
        return choice or None

    def of_optimizer(self, optimizer: Any, mode: str) -> tuple[bool, Operator | None]:
        """Whether a rule decides the step of an optimizer, and its operator."""
        known = optimizer in self._matching
        self._matching.setdefault(optimizer, ())
        for number, rule in enumerate(self._rules):
            if rule.phases == ("optimizer",) and fnmatchcase(type(optimizer).__name__, rule.pattern):
                if not known:
                    self._count(number)
                if not rule.when or mode in rule.when:
                    return True, rule.operator
        return False, None

    def _find(self, module: Any) -> tuple[int, ...]:
        kind = type(module)
        names = {kind.__name__, f"{kind.__module__}.{kind.__qualname__}", self._names.get(module) or kind.__name__}
        found = []
        for number, rule in enumerate(self._rules):
            if any(p in LAYER_PHASES for p in rule.phases) and any(fnmatchcase(name, rule.pattern) for name in names):
                found.append(number)
                self._count(number)
        self._matching[module] = tuple(found)
        return self._matching[module]

    def _count(self, number: int) -> None:
        self.matched[number] += 1
        if self.matched[number] == 1:
            self._noticed()
