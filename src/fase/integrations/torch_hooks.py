"""PyTorch under torch rules: switches the mode around modules, around their part of the backward pass, and around optimizer steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules import module as torch_modules
from torch.optim import optimizer as torch_optimizers

from fase import session
from fase.integrations import torch_graph, torch_split
from fase.integrations.torch_rules import Choice, Rules
from fase.policy.rules import TorchRule


def install(rules: Sequence[TorchRule]) -> Callable[[], None]:
    """Installs hooks for these rules; the result takes them away again."""
    hooks = _Hooks(Rules(rules))
    return hooks.remove


def install_rules(rules: Sequence[TorchRule], noticed: Callable[[], None]) -> Rules:
    """Installs hooks for the rest of the process; the result says what they match. `noticed` is called when a rule has matched for the first time."""
    found = Rules(rules, noticed)
    _Hooks(found)
    return found


_UNDECIDED: Any = object()


@dataclass
class _Call:
    """One call of a module that is under way."""

    module: Any
    choice: Choice | None = None
    opened: Any = None
    first_node: int = 0
    outside: list[torch.Tensor] = field(default_factory=list)
    inside: list[torch.Tensor] = field(default_factory=list)

    @property
    def is_split(self) -> bool:
        """Input gradient and weight gradient differ, and there are both."""
        if self.choice is None or not torch.is_grad_enabled():
            return False
        input_gradient, weight_gradient = (self.choice.get(p, _UNDECIDED) for p in ("input-gradient", "weight-gradient"))
        return input_gradient != weight_gradient and any(p.requires_grad for p in self.module.parameters())


class _UnderWay(threading.local):
    """Calls of modules, and steps of optimizers, that this thread is in, innermost last."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.steps: list[Any] = []


class _Hooks:
    """The hooks of one set of rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._now = _UnderWay()
        self._handles = ExitStack()
        for name in ("backward", "grad"):
            own = getattr(torch.autograd, name)
            setattr(torch.autograd, name, torch_graph.closing(own))
            self._handles.callback(setattr, torch.autograd, name, own)
        for handle in (
            torch_modules.register_module_forward_pre_hook(self._before_forward),
            torch_modules.register_module_forward_hook(self._after_forward, always_call=True),
            torch_optimizers.register_optimizer_step_pre_hook(self._before_step),
            torch_optimizers.register_optimizer_step_post_hook(self._after_step),
        ):
            self._handles.callback(handle.remove)

    def remove(self) -> None:
        """Takes all hooks away."""
        self._handles.close()

    def _before_forward(self, module: Any, arguments: tuple[Any, ...]) -> Any:
        if not self._now.calls:
            self._rules.root(module)
        base = session.base_mode()
        call = _Call(module, self._rules.of(module, base.name) if base else None)
        self._now.calls.append(call)
        if call.choice is None:
            return None
        changed = None
        if call.is_split:
            changed, call.outside, call.inside = torch_split.cut(arguments)
        elif torch.is_grad_enabled():
            call.first_node = torch_graph.next_number()
        if "forward" in call.choice:
            call.opened = session.enter_layer(call.choice["forward"])
        return changed

    def _after_forward(self, module: Any, _arguments: Any, outputs: Any) -> Any:
        while self._now.calls and self._now.calls[-1].module is not module:
            session.leave_layer(self._now.calls.pop().opened)  # calls that another hook's exception kept from ending
        if not self._now.calls:
            return None
        call = self._now.calls.pop()
        session.leave_layer(call.opened)
        if call.choice is None or outputs is None or not torch.is_grad_enabled():
            return None
        if call.is_split:
            weights = [p for p in module.parameters() if p.requires_grad]
            return torch_split.join(outputs, call.outside, call.inside, weights, call.choice)
        backward = call.choice.get("input-gradient", call.choice.get("weight-gradient", _UNDECIDED))
        if backward is not _UNDECIDED:
            torch_graph.claim(outputs, call.first_node, backward)
        return None

    def _before_step(self, optimizer: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        base = session.base_mode()
        decided, operator = self._rules.of_optimizer(optimizer, base.name) if base else (False, None)
        self._now.steps.append(session.enter_layer(operator) if decided else None)
        if not decided:
            return None
        # Some optimizers compute the loss again within a step: that is no weight update.
        step_arguments = tuple(_as_the_run(a) if i and callable(a) else a for i, a in enumerate(arguments))
        return step_arguments, {k: _as_the_run(v) if k == "closure" and callable(v) else v for k, v in keywords.items()}

    def _after_step(self, _optimizer: Any, _arguments: Any, _keywords: Any) -> None:
        if self._now.steps:
            session.leave_layer(self._now.steps.pop())


def _as_the_run(closure: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        opened = session.enter_layer(None)
        try:
            return closure()
        finally:
            session.leave_layer(opened)

    return call
