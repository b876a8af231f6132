"""Operators: which format each operand of a fused multiply-add has, and the NumPy reference of the result."""

from fase.operators.operator import Operator, write_tables
from fase.operators.parse import parse, presets

__all__ = ["Operator", "parse", "presets", "write_tables"]
