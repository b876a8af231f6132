"""Stock PyTorch under emulation: fp32 is bit-equal to native, functions stay right, workers and crashes work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from harness import PROGRAMS, run_fase, run_native
from numpy.typing import NDArray
from reference import bf16

MODELS = ["cnn", "lstm", "transformer", "conv3d"]


def script(name: str, *arguments: str | Path | int) -> list[str | Path]:
    return [sys.executable, PROGRAMS / name, *map(str, arguments)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_fp32_is_native(model: str, threads: int) -> None:
    command = script("torch_steps.py", model, threads)
    before, after = run_native(command), run_fase("fp32", command)
    assert before.returncode == after.returncode == 0, after.stderr
    assert len(before.lines("loss")) == 3
    assert after.stdout == before.stdout
    assert after.totals["fma_emulated"] > 10_000


def losses(stdout: str) -> list[float]:
    return [float.fromhex(line.split()[1]) for line in stdout.splitlines()]


@pytest.mark.parametrize("model", ["cnn", "lstm", *(pytest.param(m, marks=pytest.mark.nightly) for m in ("transformer", "conv3d"))])
def test_low_precision_trains(model: str) -> None:
    """Close to native but not equal, and the less so the lower the precision; twice the same."""
    command = script("torch_steps.py", model, 1)
    native = losses(run_native(command).stdout)
    results = {mode: run_fase(mode, command) for mode in ("mp", "bf16")}
    far = {mode: max(abs(a - b) for a, b in zip(losses(r.stdout), native, strict=True)) for mode, r in results.items()}
    assert 0 < far["mp"] < 0.1
    assert 0 < far["bf16"] < 0.3
    for mode, result in results.items():
        assert result.totals["by_mode"][mode] == result.totals["fma_emulated"] > 10_000
        assert "unsupported" not in result.totals["unemulated"]
    again = run_fase("bf16", command)
    assert again.stdout == results["bf16"].stdout
    assert again.totals["fma_executed"] == results["bf16"].totals["fma_executed"]


LIMITS = [
    "instructions=24,loops=0,side_exits=0",
    "fmas=1",
    "scratch_registers=3",
    "loops=0",
    "side_exits=0",
    "instructions=100,fmas=7,scratch_registers=5",
]


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("cnn", LIMITS[0]),
        ("lstm", LIMITS[2]),
        *(pytest.param(m, n, marks=pytest.mark.nightly) for m in ("cnn", "lstm", "transformer") for n in LIMITS),
    ],
)
def test_region_limits_do_not_matter(model: str, limits: str) -> None:
    command = script("torch_steps.py", model, 1)
    assert run_fase("bf16", command, limits=limits).stdout == run_fase("bf16", command).stdout


@pytest.mark.parametrize("model", ["cnn", "lstm", "transformer"])
@pytest.mark.nightly
def test_both_emitters_agree(model: str) -> None:
    command = script("torch_steps.py", model, 1)
    assert run_fase("bf16", command, "--isa", "avx2").stdout == run_fase("bf16", command).stdout


def ulps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """Distance in units in the last place; +0 and -0 are the same number."""
    ordered = []
    for x in (a, b):
        bits = x.view(np.int32).astype(np.int64)
        ordered.append(np.where(bits < 0, -(bits & 0x7FFFFFFF), bits))
    distance: NDArray[np.int64] = np.abs(ordered[0] - ordered[1])
    return distance


@pytest.mark.parametrize("kernels", ["best", "avx2"])
def test_transcendental_functions_stay_right(kernels: str, tmp_path: Path) -> None:
    native, emulated, env = tmp_path / "native.npz", tmp_path / "bf16.npz", {} if kernels == "best" else {"ATEN_CPU_CAPABILITY": kernels}
    assert run_native(script("torch_functions.py", native), env=env).returncode == 0
    result = run_fase("bf16", script("torch_functions.py", emulated), env=env)
    assert result.returncode == 0, result.stderr
    assert result.totals["by_mode"].get("fp32", 0) > 0, "nothing was recognised as transcendental"
    a, b = np.load(native), np.load(emulated)
    worst = {name: int(ulps(a[name], b[name]).max()) for name in a.files}
    finite = {name: bool(np.isfinite(b[name]).all()) for name in a.files if np.isfinite(a[name]).all()}
    assert all(finite.values()), finite
    assert max(worst.values()) <= 4, worst


@pytest.mark.parametrize("size", [64, 200])
def test_mkl_sgemm(size: int, tmp_path: Path) -> None:
    """mp is the native product of BF16-rounded operands: same kernel, same order, so the same bits. MKL scales by alpha = 1 without an FMA."""
    results = {}
    for name, mode, inputs in (
        ("plain", "", "plain"),
        ("rounded", "", "rounded"),
        ("fp32", "fp32", "plain"),
        ("mp", "mp", "plain"),
        ("bf16", "bf16", "plain"),
    ):
        command = script("torch_sgemm.py", tmp_path / f"{name}.npy", size, inputs)
        result = run_fase(mode, command) if mode else run_native(command)
        assert result.returncode == 0, result.stderr
        results[name] = np.load(tmp_path / f"{name}.npy")
    assert results["fp32"].tobytes() == results["plain"].tobytes()
    assert results["mp"].tobytes() == results["rounded"].tobytes() != results["plain"].tobytes()
    assert 1e-3 < np.linalg.norm(results["bf16"] - results["plain"]) / np.linalg.norm(results["plain"]) < 0.1
    if size == 64:  # one panel of k, so that every element is one chain of FMAs; panels are added up by FP32 additions
        assert bf16(results["bf16"]).tobytes() == results["bf16"].tobytes()


def test_scope_all_reaches_them(tmp_path: Path) -> None:
    emulated = tmp_path / "bf16.npz"
    assert run_fase("bf16", script("torch_functions.py", emulated), "--scope", "all").totals["by_mode"].keys() <= {"bf16", "fp64"}
    assert run_native(script("torch_functions.py", tmp_path / "native.npz")).returncode == 0
    a, b = np.load(tmp_path / "native.npz"), np.load(emulated)
    for name in ("sigmoid", "gelu", "randn"):  # MKL computes the others in double precision, or in table look-ups without FMAs
        assert ulps(a[name], b[name]).max() > 1000, name


def test_data_loader_workers() -> None:
    """The same FMAs give the same bits, whoever runs them: this process, or two forked workers."""
    alone, workers = (run_fase("bf16", script("torch_workers.py", n)) for n in (0, 2))
    assert workers.returncode == 0, workers.stderr
    assert len(workers.lines("batch")) == 6
    assert workers.stdout == alone.stdout != run_native(script("torch_workers.py", 0)).stdout
    assert len(workers.run_json["processes"]) >= 3
    emulated = [r.totals["fma_emulated"] for r in (alone, workers)]
    assert emulated[0] * 16 >= 12 * 96**3
    assert emulated[1] == emulated[0]


def test_faulthandler() -> None:
    result = run_fase("bf16", script("crash_trace.py"))
    assert result.returncode == 0, result.stderr
    assert result.lines("signal") == ["11"]
    assert result.lines("sum") == run_native(script("crash_trace.py")).lines("sum")
    assert "Fatal Python error: Segmentation fault" in result.stderr
    assert "in read_nothing" in result.stderr
