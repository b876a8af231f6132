"""A module whose input gradient and weight gradient run under different operators: its backward runs twice, once for each.

Autograd nodes compute both in one call, so hooks around nodes cannot tell them apart. Asked for one of them alone, a node computes only
that one, with the same kernels. So the module's part of the graph is cut off and differentiated by parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from fase import session
from fase.integrations.torch_rules import Choice
from fase.policy.rules import Phase


def cut(arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[torch.Tensor], list[torch.Tensor]]:
    """Arguments whose tensors begin a graph of their own; the tensors outside, and their stand-ins inside, that need gradients."""
    leaves, shape = tree_flatten(arguments)
    outside, inside = [], []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad:
            outside.append(leaf)
            inside.append(leaf.detach().requires_grad_())
            leaves[i] = inside[-1]
    found: tuple[Any, ...] = tree_unflatten(leaves, shape)
    return found, outside, inside


def join(outputs: Any, outside: list[torch.Tensor], inside: list[torch.Tensor], weights: list[torch.Tensor], choice: Choice) -> Any:
    """The outputs, tied to the tensors outside and to the weights by a backward that works in two parts."""
    leaves, shape = tree_flatten(outputs)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not places:
        return outputs
    made = [leaves[i] for i in places]
    joined = _Join.apply(_Parts(made, inside, weights, choice), *outside, *weights)
    for place, tensor in zip(places, joined, strict=True):
        leaves[place] = tensor
    return tree_unflatten(leaves, shape)


class _Parts:
    """The inner graph: its results, its beginnings, its weights."""

    def __init__(self, made: list[torch.Tensor], inside: list[torch.Tensor], weights: list[torch.Tensor], choice: Choice) -> None:
        self.made, self.inside, self.weights, self.choice = made, inside, weights, choice

    def gradients(self, phase: Phase, of: list[torch.Tensor], given: list[torch.Tensor]) -> list[Any]:
        if not of:
            return []
        with _layer(self.choice, phase):
            return list(torch.autograd.grad(self.made, of, given, retain_graph=True, allow_unused=True))


class _Join(torch.autograd.Function):  # type: ignore[misc] # PyTorch may be absent when types are checked
    """Identity on the results; its backward differentiates the inner graph by parts."""

    @staticmethod
    def forward(ctx: Any, parts: _Parts, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.parts = parts
        return tuple(tensor.detach() for tensor in parts.made)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        parts: _Parts = ctx.parts
        given = [torch.zeros_like(t) if g is None else g for t, g in zip(parts.made, gradients, strict=True)]
        inputs = parts.gradients("input-gradient", parts.inside, given)
        weights = parts.gradients("weight-gradient", parts.weights, given)
        return (None, *inputs, *weights)


@contextmanager
def _layer(choice: Choice, phase: Phase) -> Iterator[None]:
    opened = session.enter_layer(choice[phase]) if phase in choice else None
    try:
        yield
    finally:
        session.leave_layer(opened)
