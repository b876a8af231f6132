"""TensorFlow and JAX, unmodified. FASE_TEST_HEAVY_PYTHON names an interpreter that has both."""

from __future__ import annotations

import math
import os

import pytest
from harness import PROGRAMS, Result, Word, run_fase, run_native

INTERPRETER = os.environ.get("FASE_TEST_HEAVY_PYTHON", "")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not INTERPRETER, reason="set FASE_TEST_HEAVY_PYTHON to an interpreter with tensorflow-cpu and jax"),
]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}


def losses(result: Result) -> list[float]:
    assert result.returncode == 0, result.stderr[-3000:]
    return [float.fromhex(line) for line in result.lines("loss")]


@pytest.mark.parametrize(("name", "steps"), [("jax_steps.py", 20), ("tensorflow_steps.py", 5)])
def test_training_steps(name: str, steps: int) -> None:
    command: list[Word] = [INTERPRETER, PROGRAMS / name]
    native = losses(run_native(command, env=QUIET, timeout=300))
    assert len(native) == steps
    assert native[-1] < native[0]
    for mode, near in (("fp32", 0.0), ("mp", 0.05), ("bf16", 0.3)):
        result = run_fase(mode, command, env=QUIET, timeout=600)
        got = losses(result)
        assert all(math.isfinite(x) for x in got)
        assert got[-1] < got[0]
        worst = max(abs(a - b) / b for a, b in zip(got, native, strict=True))
        assert worst <= near
        assert worst > 0 or mode == "fp32", "nothing was rounded"
        assert result.totals["fma_emulated"] > 10_000
