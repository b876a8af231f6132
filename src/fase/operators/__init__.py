"""Operators: which format each operand of a fused multiply-add has, and the NumPy reference of the result."""

from importlib import import_module
from types import ModuleType

from fase.operators.operator import Operator, write_tables
from fase.operators.parse import parse, presets

__all__ = ["Operator", "accumulate", "parse", "presets", "write_tables"]


def __getattr__(name: str) -> ModuleType:
    """`fase.operators.accumulate` after `import fase` too, but NumPy only when it is wanted."""
    if name == "accumulate":
        return import_module("fase.operators.accumulate")
    raise AttributeError(f"module 'fase.operators' has no attribute '{name}'")
