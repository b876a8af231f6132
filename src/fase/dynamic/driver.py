"""Turns losses into modes: asks the controller, switches, records."""

from __future__ import annotations

from collections.abc import Callable

from fase import session
from fase.arguments import shown
from fase.dynamic.controller import Controller, name_of
from fase.dynamic.recorder import Recorder, Step
from fase.errors import FaseError, UsageError

Reduce = Callable[[float], float]


class Driver:
    """One training. `reduce` makes all ranks see the same loss, so that all decide alike."""

    def __init__(
        self, controller: Controller, recorder: Recorder | None = None, reduce: Reduce | None = None, counts_from_start: bool = False
    ) -> None:
        """Emulation has to be on; the controller's first mode is set. FMAs of the first step: since now, or since the process began."""
        self._controller = controller
        self._recorder = recorder
        self._reduce = reduce
        self._steps = 0
        first = getattr(controller, "mode", None)
        if first:
            session.set_mode(first)
        base = session.base_mode()
        if base is None:
            raise UsageError("dynamic precision: no emulation is running in this process")
        self.mode = base.name
        """The mode of the next batch."""
        self._counted = {} if counts_from_start else self._counts()

    def step(self, loss: float) -> str:
        """A batch has ended. Returns the mode of the next one, which is set. UsageError where the controller chose none."""
        if self._reduce is not None:
            loss = self._reduce(loss)
        ran_in = self.mode
        wanted = self._controller.update(loss)
        if wanted != ran_in:
            self._switch(wanted)
        self._record(loss, ran_in)
        self._steps += 1
        return self.mode

    def _switch(self, wanted: str) -> None:
        try:
            session.set_mode(wanted)
        except FaseError as error:
            raise UsageError(f"{self._place}: update(loss) returned {shown(wanted)}: {error}") from None
        self.mode = wanted

    @property
    def _place(self) -> str:
        return f"controller {name_of(self._controller)}, step {self._steps}"

    def close(self) -> None:
        """The training has ended."""
        if self._recorder is not None:
            self._recorder.close()

    def _record(self, loss: float, ran_in: str) -> None:
        if self._recorder is None:
            return
        counted = self._counts()
        fmas = {mode: n - self._counted.get(mode, 0) for mode, n in counted.items() if n != self._counted.get(mode, 0)}
        self._counted = counted
        self._recorder.add(Step(self._steps, loss, self._ema(), ran_in, self.mode, fmas))

    def _ema(self) -> float | None:
        found = getattr(self._controller, "ema", None)
        try:
            return None if found is None else float(found)
        except (TypeError, ValueError):
            raise UsageError(f"{self._place}: ema is a number, not {shown(found)}") from None

    def _counts(self) -> dict[str, int]:
        if self._recorder is None:
            return {}
        by_mode: dict[str, int] = session.counters()["by_mode"]
        return by_mode
