"""FASE: run unmodified programs as if the CPU's fused multiply-add units computed in another number format.

Importing this package loads nothing heavy; names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fase._version import __version__
from fase.errors import FaseError

if TYPE_CHECKING:
    from fase import dynamic, formats, operators
    from fase.formats.rounding import round64
    from fase.formats.rounding import round_to as round  # noqa: A004
    from fase.operators.dot import dpbf16
    from fase.operators.double import fma64
    from fase.operators.reference import fma
    from fase.session import counters, emulate, get_mode, set_mode

_LAZY = {
    "round": ("fase.formats.rounding", "round_to"),
    "dpbf16": ("fase.operators.dot", "dpbf16"),
    "round64": ("fase.formats.rounding", "round64"),
    "fma": ("fase.operators.reference", "fma"),
    "fma64": ("fase.operators.double", "fma64"),
    "counters": ("fase.session", "counters"),
    "emulate": ("fase.session", "emulate"),
    "get_mode": ("fase.session", "get_mode"),
    "set_mode": ("fase.session", "set_mode"),
}
_PACKAGES = ("dynamic", "formats", "operators")

__all__ = [
    "FaseError", "__version__", "counters", "dpbf16", "dynamic", "emulate", "fma", "fma64", "formats", "get_mode", "operators", "round",
    "round64", "set_mode",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"fase.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'fase' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
