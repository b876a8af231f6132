"""The algorithm of "Dynamically Adapting Floating-Point Precision to Accelerate Deep Neural Network Training": an EMA of the loss decides."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from fase.errors import UsageError


class EmaController:
    """Chooses between a careful mode (MP) and a cheap one (BF16): cheap while the loss goes down, careful while it stagnates.

    The published pseudo-code, line by line. Losses are taken in iterations of `num_batches_mp` batches; the loss of an iteration is the mean
    over its batches. Iterations 0 to N give the first EMA, their average; from then on EMA = alpha * loss + (1 - alpha) * EMA once an
    iteration, and "the loss goes down" means that the EMA fell by more than `ema_threshold` (absolute). In the careful mode that is
    asked after every iteration, and leads to the cheap mode. In the cheap mode it is asked whenever `num_batches_bf16` batches have
    passed: if the loss still goes down, another `num_batches_bf16` follow, otherwise the careful mode.

    What the publication leaves open: alpha (here 2 / (N + 1) unless given, N = `ema_n` = 5); the mode before the first decision (the
    careful one); a number of BF16 batches that the iteration does not divide (>= in place of =); losses that are not finite (they count as
    stagnation and stay out of the EMA). With more than two modes, most careful first, a falling loss moves one mode on, a stagnating
    one moves one back; with two this is the published algorithm.
    """

    def __init__(
        self,
        modes: Sequence[str] = ("mp", "bf16"),
        *,
        num_batches_mp: float = 10,
        num_batches_bf16: float = 1000,
        ema_threshold: float = 0.04,
        ema_n: float = 5,
        alpha: float | None = None,
    ) -> None:
        """Checks the parameters; UsageError."""
        if len(modes) < 2:
            raise UsageError("dynamic precision needs two modes or more")
        for name, value in (("num_batches_mp", num_batches_mp), ("num_batches_bf16", num_batches_bf16), ("ema_n", ema_n)):
            if value < 1 or value != int(value):
                raise UsageError(f"dynamic precision: {name} is a whole number from 1, not {value:g}")
        self._modes = tuple(modes)
        self._iteration_batches, self._hold, self._history = int(num_batches_mp), int(num_batches_bf16), int(ema_n)
        self._threshold = ema_threshold
        self._alpha = 2 / (ema_n + 1) if alpha is None else alpha
        if not 0 < self._alpha <= 1:
            raise UsageError(f"dynamic precision: alpha lies between 0 and 1, not at {self._alpha:g}")
        self._level = 0
        self._batches_here = 0
        self._losses: list[float] = []
        self._first: list[float] = []
        self._ema: float | None = None

    @property
    def mode(self) -> str:
        """The mode of the next batch."""
        return self._modes[self._level]

    @property
    def ema(self) -> float | None:
        """The moving average; None before the first."""
        return self._ema

    def update(self, loss: float) -> str:
        """Takes in the loss of a batch, and returns the mode of the next one."""
        self._losses.append(loss)
        if len(self._losses) == self._iteration_batches:
            self._iteration(sum(self._losses) / len(self._losses))
            self._losses = []
        return self.mode

    def _iteration(self, loss: float) -> None:
        if self._ema is None:
            self._start_average(loss)
        else:
            self._decide(self._falls(loss))

    def _start_average(self, loss: float) -> None:
        """Iterations 0 to N."""
        if isfinite(loss):
            self._first.append(loss)
        if len(self._first) == self._history + 1:
            self._ema = sum(self._first) / len(self._first)

    def _falls(self, loss: float) -> bool:
        """Moves the average on; true when it fell by more than the threshold."""
        before = self._ema
        assert before is not None
        if not isfinite(loss):
            return False
        self._ema = self._alpha * loss + (1 - self._alpha) * before
        return before - self._ema > self._threshold

    def _decide(self, falls: bool) -> None:
        if self._level == 0:
            if falls:
                self._level = 1
            return
        self._batches_here += self._iteration_batches
        if self._batches_here >= self._hold:
            self._batches_here = 0
            step = 1 if falls else -1
            self._level = min(self._level + step, len(self._modes) - 1)
