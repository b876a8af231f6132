"""Run-time precision: controllers that choose the mode of the next batch from the losses so far."""

from __future__ import annotations

from fase.dynamic.callbacks import Dynamic, keras_callback, lightning_callback
from fase.dynamic.controller import Controller, make_controller
from fase.dynamic.ema import EmaController

__all__ = ["Controller", "Dynamic", "EmaController", "keras_callback", "lightning_callback", "make_controller"]
