"""What a controller is, and how a user's own is found."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fase.arguments import shown
from fase.dynamic.ema import EmaController
from fase.dynamic.source import check_source
from fase.errors import ModeError, PolicyError, UsageError
from fase.operators import parse
from fase.policy.flags import is_mode
from fase.policy.rules import Dynamic

T = TypeVar("T")


class Controller(Protocol):
    """Chooses modes. A controller of your own is any class with this method.

    It may have an attribute `mode`, the mode of the first batch (otherwise the run's), and an attribute `ema`, which is recorded.
    """

    def update(self, loss: float) -> str:
        """Takes in the loss of a batch, and returns the mode of the next one."""


def make_controller(dynamic: Dynamic) -> Controller:
    """The controller a policy asks for. PolicyError for parameters it does not take, and where there is none."""
    parameters = dict(dynamic.parameters)
    try:
        if dynamic.modes:
            _check_parameters(partial(EmaController, dynamic.modes), parameters)
            return EmaController(dynamic.modes, **parameters)
        return _own(dynamic.controller, parameters)
    except (TypeError, UsageError) as error:
        raise PolicyError(f"{dynamic.where}: {error}") from None


def check_controller(dynamic: Dynamic, folders: Iterable[Path] = ()) -> None:
    """As far as that goes without running code of the user's: PolicyError for what cannot work.

    `folders` are where the program finds modules besides the places where this process does.
    """
    if dynamic.modes:
        make_controller(dynamic)
        return
    source, _, name = dynamic.controller.rpartition(":")
    try:
        if source.endswith(".py"):
            check_source(Path(source), name, [key for key, _ in dynamic.parameters])
        else:
            _check_module(source, name, folders)
    except UsageError as error:
        raise PolicyError(f"{dynamic.where}: {error}") from None


def checked(controller: Any) -> Controller:
    """`controller`, if it can be one as far as that shows before its first step. UsageError that names it."""
    name = name_of(controller)
    if isinstance(controller, type):
        raise UsageError(f"controller is an object, not the class {controller.__name__}: Dynamic({controller.__name__}(...))")
    if not callable(getattr(controller, "update", None)):
        raise UsageError(f"controller is 'MODE:MODE', 'FILE.py:CLASS' or an object with a method update(loss), not {shown(controller)}")
    _check_update(controller.update, name)
    if getattr(controller, "mode", None):
        try:
            parse(controller.mode)
        except ModeError as error:
            raise UsageError(f"controller {name}: {error}") from None
    made: Controller = controller
    return made


def name_of(controller: object) -> str:
    """What a controller is called in messages."""
    return type(controller).__name__


def _check_update(update: Callable[..., object], name: str) -> None:
    import inspect  # here: it takes long to load, and every `fase run` loads this module

    try:
        inspect.signature(update).bind(0.0)
    except TypeError:
        raise UsageError(f"controller {name}: its method has to be update(self, loss)") from None
    except ValueError:
        pass  # written in C: it has no signature


def _own(place: str, parameters: Mapping[str, float]) -> Controller:
    source, _, name = place.rpartition(":")
    if not source.endswith(".py"):
        _check_module(source, name)
    made = getattr(_guarded(place, lambda: _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)), name, None)
    if made is None:
        raise UsageError(f"{source} has no class '{name}'")
    if not callable(made):
        raise UsageError(f"{place} is no class, but {shown(made)}")
    _guarded(place, lambda: _check_parameters(made, parameters))
    return checked(_guarded(place, lambda: made(**parameters)))


def _guarded(place: str, work: Callable[[], T]) -> T:
    """Runs the user's code. UsageError, in one line, for whatever it raises."""
    try:
        return work()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _check_module(source: str, name: str, folders: Iterable[Path] = ()) -> None:
    """UsageError for a pair that is no MODULE:CLASS: most likely a MODE:MODE with a slip. Imports nothing."""
    if not is_mode(source) and _module_exists(source.partition(".")[0], folders):
        return
    try:
        parse(name)
    except ModeError as error:
        missing = "" if is_mode(source) else f"; nor is there a module '{source}' (a file is given as FILE.py:CLASS)"
        raise UsageError(f"{error}{missing}") from None
    raise UsageError(f"there is no module '{source}'; a file is given as FILE.py:CLASS")


def _module_exists(name: str, folders: Iterable[Path]) -> bool:
    if not name:
        return False
    return name in sys.modules or bool(importlib.util.find_spec(name) or PathFinder.find_spec(name, list(map(str, folders))))


def _check_parameters(controller: Callable[..., object], parameters: Mapping[str, float]) -> None:
    """UsageError for a parameter that a controller does not take."""
    import inspect  # here: it takes long to load, and every `fase run` loads this module

    known = [p for p in inspect.signature(controller).parameters.values() if p.kind is not p.POSITIONAL_ONLY]
    names = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    wrong = [name for name in parameters if name not in names]
    if wrong and not any(p.kind is p.VAR_KEYWORD for p in known):
        raise UsageError(f"the controller takes no '{wrong[0]}'; its parameters are {', '.join(names) or '(none)'}")


def _from_file(path: Path) -> object:
    name = f"fase_controller_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
