"""What a controller is, and how a user's own is found."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fase.dynamic.ema import EmaController
from fase.errors import PolicyError, UsageError
from fase.policy.rules import Dynamic


class Controller(Protocol):
    """Chooses modes. A controller of your own is any class with this method.

    It may have an attribute `mode`, the mode of the first batch (otherwise the run's), and an attribute `ema`, which is recorded.
    """

    def update(self, loss: float) -> str:
        """Takes in the loss of a batch, and returns the mode of the next one."""


def make_controller(dynamic: Dynamic) -> Controller:
    """The controller a policy asks for. UsageError for parameters it does not take."""
    parameters = dict(dynamic.parameters)
    try:
        if dynamic.modes:
            return EmaController(dynamic.modes, **parameters)
        return _own(dynamic.controller, parameters)
    except (TypeError, UsageError) as error:
        raise PolicyError(f"{dynamic.where}: {error}") from None


def check_controller(dynamic: Dynamic) -> None:
    """As far as that goes without running code of the user's: PolicyError for what cannot work."""
    if dynamic.modes:
        make_controller(dynamic)
        return
    source, _, name = dynamic.controller.rpartition(":")
    if not source.endswith(".py"):
        return
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"{dynamic.where}: {source}: {error.strerror}") from None
    if f"class {name}" not in text and name not in text:
        raise PolicyError(f"{dynamic.where}: {source} has no class '{name}'")


def _own(place: str, parameters: Mapping[str, float]) -> Controller:
    source, _, name = place.rpartition(":")
    module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    made = getattr(module, name, None)
    if made is None:
        raise UsageError(f"{source} has no class '{name}'")
    controller: Controller = made(**parameters)
    if not callable(getattr(controller, "update", None)):
        raise UsageError(f"{place} has no method update(loss)")
    return controller


def _from_file(path: Path) -> object:
    name = f"fase_controller_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
