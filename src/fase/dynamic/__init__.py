"""Run-time precision: controllers that choose the mode of the next batch from the losses so far.

Names load on first use: `fase run` needs but one of these modules, and starts with every program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fase.dynamic.callbacks import Dynamic, keras_callback, lightning_callback
    from fase.dynamic.controller import Controller, make_controller
    from fase.dynamic.ema import EmaController

_MODULES = {
    "Controller": "controller",
    "Dynamic": "callbacks",
    "EmaController": "ema",
    "keras_callback": "callbacks",
    "lightning_callback": "callbacks",
    "make_controller": "controller",
}

__all__ = ["Controller", "Dynamic", "EmaController", "keras_callback", "lightning_callback", "make_controller"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fase.dynamic' has no attribute '{name}'")
    return getattr(import_module(f"fase.dynamic.{_MODULES[name]}"), name)
