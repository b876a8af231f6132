"""Medians and quartiles of repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def summary(samples: Sequence[float], *, keep: bool = False) -> dict[str, Any]:
    """Median, quartiles and extremes, and the samples themselves when `keep`."""
    low, q1, median, q3, high = (round(float(x), 6) for x in np.percentile(samples, (0, 25, 50, 75, 100)))
    figures: dict[str, Any] = {"median": median, "q1": q1, "q3": q3, "min": low, "max": high}
    return figures | ({"samples": [round(s, 6) for s in samples]} if keep else {})


def ratios(samples: Sequence[float], native: Sequence[float]) -> dict[str, Any]:
    """The ratio of the medians; its spread is that of the ratios within each round, whose runs lie side by side in time."""
    pairs = summary([a / b for a, b in zip(samples, native, strict=True)])
    return pairs | {"median": round(float(np.median(samples) / np.median(native)), 4)}
