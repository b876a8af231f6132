"""Dynamic precision in programs that want to say so themselves: hand-written loops, Lightning, Keras."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from types import TracebackType
from typing import Any

from fase import arguments, session
from fase.dynamic.controller import Controller, checked, make_controller
from fase.dynamic.driver import Driver, Reduce
from fase.dynamic.recorder import Recorder
from fase.errors import UsageError
from fase.policy import Policy, policy_of
from fase.policy.flags import dynamic_of


class Dynamic:
    """Three lines around a training loop::

        with Dynamic("mp:bf16") as dynamic:
            for batch in batches:
                ...
                dynamic.step(loss)   # a number, or a tensor of one element

    `controller` is `MODE:MODE` (default: the policy's, else mp:bf16), `FILE.py:CLASS` or a Controller; `record` a file that the decisions
    are appended to; `policy` as for `emulate`.
    Works inside `fase run`, inside `fase.emulate`, and alone. Parameters of the algorithm are keywords: `ema_threshold=0.02`.
    """

    def __init__(
        self,
        controller: str | Controller | None = None,
        *,
        record: str | os.PathLike[str] | None = None,
        policy: str | os.PathLike[str] | Policy | None = None,
        reduce: Reduce | None = None,
        **parameters: float,
    ) -> None:
        """Checks the request; nothing is started yet. UsageError."""
        rules = policy_of(policy)
        self._policy = replace(rules, dynamic=None)
        options = [f"{key}={value}" for key, value in parameters.items()]
        if controller is None and rules.dynamic and not options:
            controller = make_controller(rules.dynamic)
        chosen = "mp:bf16" if controller is None else controller
        self._controller = make_controller(dynamic_of(chosen, options)) if isinstance(chosen, str) else _object(chosen, options)
        self._record = None if record is None else arguments.path(record, "record")
        self._started = ExitStack()
        """What ends with the training: emulation, then the record."""
        self._reduce = reduce
        self._driver: Driver | None = None

    def __enter__(self) -> Dynamic:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def mode(self) -> str | None:
        """The mode of the next batch; None when not started."""
        return self._driver.mode if self._driver else None

    def start(self) -> None:
        """Begins emulation in the first mode. UsageError when it has begun before, or `record` cannot be written; nothing is changed then."""
        if self._driver is not None:
            raise UsageError("dynamic precision has been started already: stop it first, or use an object for each training")
        with ExitStack() as undo:
            recorder = undo.enter_context(closing(Recorder(self._record))) if self._record else None
            undo.enter_context(session.emulate(getattr(self._controller, "mode", None), policy=self._policy))
            self._driver = Driver(self._controller, recorder, self._reduce)
            self._started = undo.pop_all()

    def step(self, loss: Any) -> str:
        """A batch has ended with this loss. Returns the mode of the next one. UsageError for a loss that is no number."""
        if self._driver is None:
            raise UsageError("dynamic precision has not been started: use `with Dynamic(...) as dynamic`")
        return self._driver.step(_number(loss))

    def stop(self) -> None:
        """Ends emulation, or gives the run its mode back."""
        self._driver = None
        self._started.close()


def _object(controller: Any, options: Sequence[str]) -> Controller:
    """A controller of the program's own. UsageError for what cannot be one."""
    made = checked(controller)
    if options:
        raise UsageError(f"controller is an object already, which cannot take {options[0]}")
    return made


def _number(loss: Any) -> float:
    try:
        return float(loss.item() if hasattr(loss, "item") else loss)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"loss is a number or a tensor of one element, not {arguments.shown(loss)}") from None


def lightning_callback(controller: str | Controller = "mp:bf16", **options: Any) -> Any:
    """A callback for Lightning's Trainer: `Trainer(callbacks=[lightning_callback("mp:bf16")])`. Options as of Dynamic."""
    base = _first_of(("lightning.pytorch.callbacks", "pytorch_lightning.callbacks"), "Callback", "Lightning")
    dynamic = Dynamic(controller, **options)

    class FaseDynamic(base):  # type: ignore[misc,valid-type] # known only at run time
        """Switches the mode after each training batch."""

        def on_train_start(self, *_: Any) -> None:
            dynamic.start()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
            loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
            if loss is not None:
                dynamic.step(loss)

        def on_train_end(self, *_: Any) -> None:
            dynamic.stop()

        def on_exception(self, *_: Any) -> None:
            dynamic.stop()

    return FaseDynamic()


def keras_callback(controller: str | Controller = "mp:bf16", **options: Any) -> Any:
    """A callback for Keras: `model.fit(..., callbacks=[keras_callback("mp:bf16")])`. Options as of Dynamic."""
    base = _first_of(("keras.callbacks", "tensorflow.keras.callbacks"), "Callback", "Keras")
    dynamic = Dynamic(controller, **options)

    class FaseDynamic(base):  # type: ignore[misc,valid-type] # known only at run time
        """Switches the mode after each training batch."""

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            dynamic.stop()  # Keras does not say when a training ends by an exception
            dynamic.start()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self._batches, self._sum = 0, 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            # Keras reports the mean since the epoch began: the last batch's loss is the difference of two sums.
            self._batches += 1
            total = float(logs["loss"]) * self._batches
            loss, self._sum = total - self._sum, total
            dynamic.step(loss)

        def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
            dynamic.stop()

    return FaseDynamic()


def _first_of(modules: tuple[str, ...], name: str, what: str) -> Any:
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise UsageError(f"{what} is not installed")
