"""Chunked accumulation in a whole program: its loop's sum is the reference's, undisturbed by signals, and whole where a fault shows it."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Builder, Result, run_fase

import fase
from fase.operators.accumulate import dot

A = (1 + np.arange(8, dtype=np.float32) / 16).astype(np.float32)
MODES = ["bf16,chunk=128", "deepseek-fp8", "e8m13,chunk=7", "e5m2,rounding=rtz,chunk=1"]


def terms(count: int) -> np.ndarray:
    return (np.float32(0.3) + np.arange(count, dtype=np.float32) / np.float32(64)).astype(np.float32)


def reference(mode: str, count: int) -> np.ndarray:
    bits: np.ndarray = dot(np.broadcast_to(A, (count, 8)), terms(count)[:, None], mode, axis=0).view(np.uint32)
    return bits


def shown(result: Result) -> list[int]:
    assert result.returncode == 0, result.stdout + result.stderr
    return [int(word, 16) for word in result.lines("sum ")[0].split()]


@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("mode", MODES)
def test_sum(mode: str, isa: str, build: Builder) -> None:
    result = run_fase(mode, [build.program("chunks"), "sum", 1000], "--isa", isa)
    assert shown(result) == reference(mode, 1000).tolist()
    assert result.totals["fma_chunked"] == result.totals["fma_emulated"] == 1000


def test_promotion_is_seen(build: Builder) -> None:
    """Otherwise the test above could compare sums that no total ever helped."""
    with_totals, without = (run_fase(mode, [build.program("chunks"), "sum", 1000]) for mode in ("bf16,chunk=128", "bf16"))
    assert shown(with_totals) != shown(without)
    exact = (A.astype(np.float64) * terms(1000).astype(np.float64).sum())[0]
    far, near = (abs(np.array(shown(r), np.uint32).view(np.float32)[0] / exact - 1) for r in (without, with_totals))
    assert far > 10 * near


@pytest.mark.parametrize("isa", ["auto", "avx2"])
def test_signals_do_not_disturb_totals(isa: str, build: Builder) -> None:
    result = run_fase("bf16,chunk=16", [build.program("chunks"), "timer", 3000], "--isa", isa)
    assert shown(result) == reference("bf16,chunk=16", 3000).tolist()


@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("count", [1, 127, 128, 300])
def test_faults_show_whole_sums(count: int, isa: str, build: Builder) -> None:
    result = run_fase("bf16,chunk=128", [build.program("chunks"), "fault", count], "--isa", isa)
    assert shown(result) == reference("bf16,chunk=128", count).tolist()[:4]


def test_a_process_that_runs_has_no_room() -> None:
    with pytest.raises(fase.FaseError, match="programs that `fase run` starts"), fase.emulate("bf16,chunk=128"):
        pass
    assert fase.get_mode() is None
