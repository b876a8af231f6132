"""The random bits of stochastic rounding: a counter per thread and a mix that SIMD integer instructions do in place (docs/operators.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fase.arguments import shown
from fase.errors import UsageError

LANES = 16
STEP = 0x9E3779B9
_FIRST = np.uint32(0x21F0AAAD)
_SECOND = np.uint32(0x735A2D97)

_UInt32 = npt.NDArray[np.uint32]


def mix(z: _UInt32) -> _UInt32:
    """Scatters 32-bit words; of the result the upper bits are good. The constants are those of lowbias32 (Wellons, hash prospector)."""
    z = (z ^ (z >> np.uint32(16))) * _FIRST
    return (z ^ (z >> np.uint32(15))) * _SECOND


@dataclass(frozen=True)
class Stream:
    """The stream of one thread after `start` roundings of vectors of `lanes` elements."""

    seed: int = 0
    thread: int = 0
    start: int = 0
    lanes: int = LANES
    per_instruction: int = 1
    """Stochastic roundings an instruction does."""

    def __post_init__(self) -> None:
        """UsageError for numbers outside of their ranges."""
        for name, least, most in (("seed", 0, 0xFFFFFFFF), ("thread", 0, 0xFFFFFFFF), ("start", 0, 2**63), ("lanes", 1, LANES)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or not least <= value <= most:
                raise UsageError(f"{name} is a whole number from {least} to {most}, not {shown(value)}")

    @property
    def keys(self) -> _UInt32:
        """The word of each lane."""
        thread = mix(np.array([(self.seed + STEP * (self.thread + 1)) & 0xFFFFFFFF], np.uint32))
        lane = (STEP * (np.arange(LANES, dtype=np.uint64) + np.uint64(1))).astype(np.uint32)
        return mix(thread + lane)

    def bits(self, count: int, random_bits: int, position: int = 0) -> _UInt32:
        """`random_bits` random bits for each of `count` elements: the rounding at `position` within each instruction."""
        element = np.arange(count, dtype=np.uint64)
        instruction = element // np.uint64(self.lanes)
        rounding = np.uint64(self.start + position + 1) + instruction * np.uint64(self.per_instruction)
        counter = ((rounding & np.uint64(0xFFFFFFFF)) * np.uint64(STEP)).astype(np.uint32)
        lane = (element % np.uint64(self.lanes)).astype(np.intp)
        return mix(self.keys[lane] + counter) >> np.uint32(32 - random_bits)
