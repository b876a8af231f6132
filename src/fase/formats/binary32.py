"""Binary32 encodings in plain Python, exactly."""

from __future__ import annotations

from fase.formats.carrier import BINARY32, floor_log2, power

__all__ = ["at_least", "floor_log2", "from_bits", "power", "step_up", "to_bits"]

from_bits = BINARY32.from_bits
to_bits = BINARY32.to_bits
step_up = BINARY32.step_up
at_least = BINARY32.at_least
