"""`python -m benchmarks`, shortened. No time is asserted; the deterministic figure and the shape of the results are."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, environment

MODES = ("native", "fp32", "mp", "bf16")
WORKLOAD = "sgemm-openblas-haswell"


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    shortened = ("--workloads", WORKLOAD, "--reps", "2", "--steps", "1", "--no-startup", "--output", str(folder))
    command = [sys.executable, "-m", "benchmarks", *shortened, *options]
    return subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False, timeout=200)


def load(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run in all modes, and one that cannot run."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench(folder, "--modes", "fp32 mp bf16 no-such-mode")
    assert done.returncode == 0, done.stderr
    assert "SGEMM 512, OpenBLAS Haswell" in done.stdout
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return load(folder)


def test_shape(result: dict[str, Any]) -> None:
    assert result["schema"] == "fase-bench/1"
    assert {"date", "machine", "paper", "threads", "repetitions", "modes", "workloads", "skipped", "startup"} <= result.keys()
    assert {"cpu", "isa", "cores", "load", "versions", "commit"} <= result["machine"].keys()
    assert result["modes"] == list(MODES)
    assert [s["name"] for s in result["skipped"]] == ["mode no-such-mode"]
    (workload,) = result["workloads"]
    assert (workload["name"], workload["note"], workload["paper"]) == (WORKLOAD, "Haswell", 39)
    assert tuple(workload["modes"]) == MODES


@pytest.mark.parametrize("mode", MODES)
def test_entry(mode: str, result: dict[str, Any]) -> None:
    entry = result["workloads"][0]["modes"][mode]
    assert len(entry["seconds"]["samples"]) == 2
    assert {"median", "q1", "q3", "min", "max"} <= entry["ratio"].keys()
    assert entry["memory"]["highest"] >= entry["memory"]["now"] > 0
    assert entry["value"] is not None
    if mode != "native":
        assert {"translate_seconds", "faults", "code_bytes", "sites", "regions", "memory_ratio", "first_seconds"} <= entry.keys()
        assert entry["regions"] > 0
        assert entry["code_bytes"] > 0


@pytest.mark.parametrize("mode", MODES[1:])
def test_deterministic_figure(mode: str, result: dict[str, Any]) -> None:
    work = result["workloads"][0]["modes"][mode]["work"]
    lanes = 8  # of the Haswell kernel
    assert work["fma_emulated"] >= 512**3 / lanes
    assert 1 <= work["instructions_per_fma"] < 20
    assert work["kernels"][0]["function"] == "sgemm_kernel_HASWELL"
    assert work["kernels"][0]["share"] > 0.9


def test_rounding_costs_instructions(result: dict[str, Any]) -> None:
    fp32, mp, bf16 = (result["workloads"][0]["modes"][m]["work"]["instructions_per_fma"] for m in MODES[1:])
    assert fp32 < mp < bf16


def test_figure_repeats_and_growth_is_seen(folder: Path, result: dict[str, Any], tmp_path: Path) -> None:
    (before,) = folder.glob("*.json")
    again = bench(tmp_path / "again", "--modes", "bf16", "--against", str(before))
    assert again.returncode == 0, again.stdout + again.stderr
    smaller = copy.deepcopy(result)
    smaller["workloads"][0]["modes"]["bf16"]["work"]["instructions_per_fma"] *= 0.9
    (tmp_path / "smaller.json").write_text(json.dumps(smaller))
    grown = bench(tmp_path / "grown", "--modes", "bf16", "--against", str(tmp_path / "smaller.json"))
    assert grown.returncode == 1
    assert "11.1 % more" in grown.stdout


def test_page(folder: Path) -> None:
    (page,) = folder.glob("*.md")
    text = page.read_text()
    assert "| workload | native | fp32 | mp | bf16 | paper |" in text
    assert "| instructions per emulated FMA | fp32 | mp | bf16 |" in text
    assert "no-such-mode" in text


def test_no_mode(tmp_path: Path) -> None:
    done = bench(tmp_path, "--modes", "no-such-mode")
    assert done.returncode == 1
    assert "no mode can run" in done.stderr


def test_unknown_workload(tmp_path: Path) -> None:
    done = bench(tmp_path, "--workloads", "nothing")
    assert done.returncode == 2
    assert "no workload 'nothing'" in done.stderr
