"""What a dynamic run writes down is JSON, whatever the losses are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NoReturn

import pytest

from fase.dynamic.recorder import Recorder, Step, read_trace


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite(number: float, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.jsonl"
    recorder = Recorder(path)
    recorder.add(Step(0, number, number, "mp", "bf16", {"mp": 3}))
    recorder.close()
    row = json.loads(path.read_text(), parse_constant=refuse)
    assert row["loss"] is None
    assert row["ema"] is None
    assert list(read_trace(path)) == [Step(0, None, None, "mp", "bf16", {"mp": 3})]
