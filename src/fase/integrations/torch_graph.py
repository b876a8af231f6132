"""The autograd nodes a module made, and the mode each of them runs in."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from fase import session
from fase.operators import Operator

_CLAIMED = "fase"
"""Key in a node's metadata: an inner module has decided already."""


def next_number() -> int:
    """Nodes that this thread makes from now on have this sequence number or a higher one."""
    probe = torch.empty(0, requires_grad=True).view(0)  # its node takes a number
    return int(probe.grad_fn._sequence_nr())


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested tuples, lists, dictionaries."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def claim(outputs: Any, first: int, operator: Operator | None) -> None:
    """The backward of everything that was computed since number `first`, and that `outputs` depend on, runs under `operator`.

    Not what inner modules have claimed. Exact: every node switches before it runs and back after.
    """
    for node in _nodes((t.grad_fn for t in tensors(outputs) if t.grad_fn is not None), first):
        hook = _NodeHook(operator)
        node.register_prehook(hook.before)
        node.register_hook(hook.after)


def _nodes(roots: Iterable[Any], first: int) -> Iterator[Any]:
    waiting, seen = list(roots), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.name().endswith("AccumulateGrad") or node._sequence_nr() < first:
            continue
        seen.add(node)
        waiting.extend(next_node for next_node, _ in node.next_functions)
        if _CLAIMED not in node.metadata:
            node.metadata[_CLAIMED] = True
            yield node


class _Running(threading.local):
    """The scopes of nodes that this thread is in, innermost last: a node may run a backward pass itself (checkpoints)."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []


_running = _Running()


class _NodeHook:
    """Around one node."""

    def __init__(self, operator: Operator | None) -> None:
        self._operator = operator

    def before(self, _gradients: Any) -> None:
        _running.scopes.append(session.enter_layer(self._operator))

    def after(self, _inputs: Any, _outputs: Any) -> None:
        if _running.scopes:
            session.leave_layer(_running.scopes.pop())


def closing(backward: Callable[..., Any]) -> Callable[..., Any]:
    """`backward`, which runs nodes, such that a node which raises does not leave its mode behind: autograd then skips the hook after it."""

    @functools.wraps(backward)
    def call(*arguments: Any, **keywords: Any) -> Any:
        before = len(_running.scopes)
        try:
            return backward(*arguments, **keywords)
        finally:
            while len(_running.scopes) > before:
                session.leave_layer(_running.scopes.pop())

    return call
