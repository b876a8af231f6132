"""The gate on instructions per emulated FMA. Measured once, on real kernels; the baseline is benchmarks/gate/baseline.json."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import REPOSITORY, environment

from benchmarks.gate.__main__ import BASELINE, check
from benchmarks.gate.measure import baseline, write_baseline
from benchmarks.gate.verdict import judge

Figures = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """What `make baseline` writes today."""
    path = tmp_path_factory.mktemp("gate") / "now.json"
    command = [sys.executable, "-m", "benchmarks.gate", "--refresh", "--baseline", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return baseline(path)


def test_not_grown(now: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = judge(now, baseline(BASELINE))
    if not verdict.compared:
        pytest.skip(verdict.lines[-1])
    assert not verdict.failed, "\n".join(verdict.lines)
    if verdict.fallen or verdict.unknown:
        with capsys.disabled():
            print("", *verdict.lines, sep="\n")  # noqa: T201 - for whoever reads the log of CI


def test_every_mode_costs_more_than_native_arithmetic(now: Figures) -> None:
    for key, figure in now.items():
        assert figure > 1
        assert figure > now[*key[:-1], "fp32"] or key[-1] == "fp32"


def test_growth_fails(now: Figures, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = next(iter(now))
    for factor, status in ((1.06, 1), (1.04, 0)):
        write_baseline(tmp_path / "doctored.json", now | {first: now[first] / factor})
        assert check(now, tmp_path / "doctored.json") == status
        assert ("GROWN: " + ", ".join(first) in capsys.readouterr().out) == bool(status)


def test_fall_asks_for_a_new_baseline(now: Figures, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_baseline(tmp_path / "doctored.json", {key: 1.2 * figure for key, figure in now.items()})
    assert check(now, tmp_path / "doctored.json") == 0
    out = capsys.readouterr().out
    assert "16.7 % less" in out
    assert "`make baseline` takes these figures" in out


def test_mode_that_no_longer_runs_fails(now: Figures) -> None:
    key = next(iter(now))
    without = {k: v for k, v in now.items() if k != key}
    assert judge(without, now).failed
    assert not judge(now, without).failed


def test_other_cpu_is_skipped_and_kept(now: Figures, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    other: Figures = {("avx512", "sgemm-torch, PyTorch", "another_kernel", "bf16"): 1.0}
    write_baseline(path, other)
    assert check(now, path) == 0
    assert "no kernel that runs on this CPU" in capsys.readouterr().out
    write_baseline(path, now)
    assert baseline(path) == now | other
