"""What the reference's functions are given: arrays of any real type; the rest is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fase
from fase.operators.accumulate import dot


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float64, object, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_real_types(dtype: Any) -> None:
    x = np.array([0, 1, 1], dtype)
    assert fase.round(x, "bf16").tolist() == [0, 1, 1]
    assert fase.round64(x, "bf16").tolist() == [0, 1, 1]
    assert fase.fma(x, 2, 1, "bf16").tolist() == [1, 3, 3]
    assert fase.fma64(x, 2, 1, "fp32").tolist() == [1, 3, 3]
    assert dot(x, x, "bf16") == 2


def test_fractions() -> None:
    assert fase.round(np.array(Fraction(1, 3)), "bf16") == np.float32(0.333984375)


CALLS: dict[str, Callable[[Any], Any]] = {
    "round": lambda x: fase.round(x, "bf16"),
    "round64": lambda x: fase.round64(x, "bf16"),
    "fma": lambda x: fase.fma(1, x, 1, "bf16"),
    "fma64": lambda x: fase.fma64(1, x, 1, "fp32"),
    "dpbf16": lambda x: fase.dpbf16(x, [1, 1], [1], "bf16"),
    "dot": lambda x: dot(x, [1, 1], "bf16"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", ["1.5", 1j, None, [1, [2]], {}, np.zeros(2, "M8[s]"), [1j, 2], object()], ids=lambda v: type(v).__name__)
def test_no_real_numbers(name: str, value: Any) -> None:
    with pytest.raises(fase.FaseError, match="array of real numbers, not") as caught:
        CALLS[name](value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_shapes() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: fase.fma([1, 2], [1, 2, 3], 1, "mp"),
        lambda: fase.fma64([1, 2], [1, 2, 3], 1, "fp32"),
        lambda: dot([1, 2], [1, 2, 3], "mp"),
    ]
    for call in calls:
        with pytest.raises(fase.FaseError, match=r"do not fit together: a \(2,\), b \(3,\)"):
            call()
    with pytest.raises(fase.FaseError, match="axis 1 is none"):
        dot([1, 2], [1, 2], "mp", axis=1)


@pytest.mark.parametrize(("option", "value"), [("lanes", 0), ("lanes", 17), ("start", -1), ("thread", -1), ("thread", 1.5), ("lanes", "8")])
def test_streams(option: str, value: Any) -> None:
    with pytest.raises(fase.FaseError, match=f"{option} is a whole number from"):
        fase.fma(1, 1, 1, "bf16,rounding=sr", **{option: value})
    with pytest.raises(fase.FaseError, match=f"{option} is a whole number from"):
        fase.round(1, "bf16", rounding="sr", **{option: value})


def test_seed() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(fase.FaseError, match="seed is a whole number from 0 to 4294967295"):
            fase.round(1, "bf16", rounding="sr", seed=seed)
