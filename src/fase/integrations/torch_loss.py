"""Finds the loss of a PyTorch program, what `backward()` is called on, and drives a dynamic run with it."""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizers

from fase import session
from fase.dynamic.controller import make_controller
from fase.dynamic.driver import Driver
from fase.dynamic.recorder import Recorder, trace_path
from fase.integrations.torch_ranks import mean_over_ranks, rank
from fase.policy.rules import Dynamic


def follow(dynamic: Dynamic, folder: Path, noticed: Callable[[], None]) -> Follower:
    """Switches modes by the losses of this process from now on. `noticed` is called after the first backward pass."""
    return Follower(dynamic, folder, noticed)


class Follower:
    """Gathers losses; a step ends with the optimizer's step, or with each backward pass when the policy says so.

    The loss of a step is the mean over the backward passes in it (accumulated gradients).
    """

    def __init__(self, dynamic: Dynamic, folder: Path, noticed: Callable[[], None]) -> None:
        self._dynamic = dynamic
        self._noticed = noticed
        self._folder = folder
        self._driver: Driver | None = None
        self._losses: list[float] = []
        self._depth = 0
        self.passes = 0
        """Backward passes seen."""
        self._pid = os.getpid()
        self._controller = make_controller(dynamic)
        self._backward = torch.autograd.backward
        torch.autograd.backward = self._wrapped()
        if dynamic.step == "optimizer":
            torch_optimizers.register_optimizer_step_post_hook(self._on_step)
        if first := getattr(self._controller, "mode", None):
            session.set_mode(first)
        atexit.register(self._close)

    def _wrapped(self) -> Any:
        @functools.wraps(self._backward)
        def backward(*arguments: Any, **keywords: Any) -> None:
            self._on_backward(*arguments, **keywords)

        return backward

    def _on_backward(self, roots: Any, *arguments: Any, **keywords: Any) -> None:
        self._depth += 1
        try:
            self._backward(roots, *arguments, **keywords)
        finally:
            self._depth -= 1
        if self._depth == 0 and os.getpid() == self._pid:
            self.passes += 1
            if self.passes == 1:
                self._noticed()
            self._losses.append(_value([roots] if isinstance(roots, torch.Tensor) else roots))
            if self._dynamic.step == "backward":
                self._end_step()

    def _on_step(self, *_: Any) -> None:
        if self._losses and os.getpid() == self._pid:
            self._end_step()

    def _end_step(self) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses = []
        if self._driver is None:
            recorder = Recorder(trace_path(self._folder, rank())) if self._folder.is_dir() else None
            self._driver = Driver(self._controller, recorder, mean_over_ranks, counts_from_start=True)
        self._driver.step(loss)

    def _close(self) -> None:
        if self._driver is not None and os.getpid() == self._pid:
            self._driver.close()


def _value(roots: Sequence[torch.Tensor]) -> float:
    """The sum of the roots, each a number or, when it is not one, its mean."""
    return float(sum(float(root.detach().mean()) for root in roots))
