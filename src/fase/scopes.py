"""Nested scopes of one process, each asking for a mode and perhaps a policy: what applies when they overlap, also between threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fase.operators import Operator

PolicyText = tuple[str, ...]
"""A policy as the agent takes it: its lines."""


@dataclass(eq=False)
class Scope:
    """One open scope. `hook` marks those that a policy opens around a layer; `operator` is what it asks for, None whatever the run asks for.

    `policy` None: that of the scope around.
    """

    operator: Operator | None
    hook: bool = False
    policy: PolicyText | None = None


class Scopes:
    """The open scopes, oldest first. The innermost decides; one that ends before a younger one just drops out.

    `apply` is called with the operator and the policy that apply, whenever they change; the policy is None while the one that applies stays.
    Callers hold a lock.
    """

    def __init__(self, apply: Callable[[Operator, PolicyText | None], None]) -> None:
        self._apply = apply
        self._open: list[Scope] = []
        self._applied: Operator | None = None
        self._policy: PolicyText = ()

    def __len__(self) -> int:
        return len(self._open)

    def adopt(self, operator: Operator, policy: PolicyText = ()) -> None:
        """A first scope for a mode and a policy that apply already: those the process was started in."""
        self._open = [Scope(operator, policy=policy)]
        self._applied, self._policy = operator, policy

    def forget(self) -> None:
        """No scope is open and nothing applies."""
        self._open, self._applied = [], None

    def enter(self, operator: Operator | None, hook: bool = False, policy: PolicyText | None = None) -> Scope:
        """Opens a scope inside the others."""
        scope = Scope(operator, hook, policy)
        self._open.append(scope)
        try:
            self._settle()
        except BaseException:
            self._open.remove(scope)
            raise
        return scope

    def leave(self, scope: Scope) -> None:
        """Closes a scope, whether or not it is the innermost; closing it again does nothing."""
        if scope in self._open:
            self._open.remove(scope)
            self._settle()

    def replace(self, operator: Operator) -> None:
        """The innermost scope that is no hook asks for `operator` from now on."""
        scope = self.base
        before = scope.operator
        scope.operator = operator.with_fp64(before.fp64 if before else None)
        try:
            self._settle()
        except BaseException:
            scope.operator = before
            raise

    def noticed(self, name: str, operator_of: Callable[[str], Operator]) -> None:
        """The process is in the mode `name`. If nobody here has asked for it, the run was switched from outside, which counts as `replace` does.

        To be called before anything changes, so that the outcome does not depend on who looked meanwhile.
        """
        if self._applied is not None and name != self._applied.full_name:
            self._applied = self.base.operator = operator_of(name)

    @property
    def base(self) -> Scope:
        """The innermost scope that is no hook: what the program or its controller asks for."""
        return next(s for s in reversed(self._open) if not s.hook)

    @property
    def current(self) -> Operator | None:
        """What applies; None when no scope is open. Double precision runs as the innermost scope says that says anything about it."""
        if not self._open:
            return None
        operator = self._open[-1].operator or self.base.operator
        fp64 = next((s.operator.fp64 for s in reversed(self._open) if s.operator and s.operator.fp64), None)
        return operator.with_fp64(fp64) if operator else None

    def _settle(self) -> None:
        wanted = self.current
        if wanted is None:
            return
        policy = next((s.policy for s in reversed(self._open) if s.policy is not None), self._policy)
        if policy != self._policy:
            self._apply(wanted, policy)
        elif wanted != self._applied or wanted.full_name != self._applied.full_name:
            self._apply(wanted, None)
        self._applied, self._policy = wanted, policy
