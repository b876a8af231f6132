"""The CPU's own BF16 instructions end to end: counted exactly, native by default, VDPBF16PS under an operator equal to the reference."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from harness import PROGRAMS, Builder, Result, Word, cpu_flags, run_fase, run_native
from numpy.typing import NDArray

import fase

pytestmark = pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="this CPU has no AVX512_BF16")

STEPS = 100
MASK = 0x5A3C
STEP = np.dtype([("a", "<u2", 32), ("b", "<u2", 32), ("c", "<f4", 16)])
RESULT = np.dtype([("sum", "<f4", (5, 16)), ("one", "<u2", 16), ("two", "<u2", 32)])


def inputs(folder: Path) -> tuple[Path, NDArray[np.void]]:
    """Ordinary numbers with some subnormal, infinite and NaN ones among the last steps, so that the sums stay numbers for long."""
    rng = np.random.default_rng(5)
    steps = np.zeros(STEPS, STEP)
    for name in "ab":
        values = rng.standard_normal((STEPS, 32)).astype(np.float32) * np.exp2(rng.integers(-6, 3, (STEPS, 32))).astype(np.float32)
        steps[name] = (fase.round(values, "bf16").view(np.uint32) >> 16).astype(np.uint16)
        steps[name][: STEPS // 2, ::7] = rng.integers(0, 0x100, (STEPS // 2, 5))  # subnormal, or so small that sums are
        steps[name][-20:] = rng.integers(0, 1 << 16, (20, 32))
    steps["c"] = rng.standard_normal((STEPS, 16)).astype(np.float32) * np.float32(2.0**-100)
    path = folder / "steps"
    steps.tofile(path)
    return path, steps


def floats(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)


def expected(steps: NDArray[np.void], mode: str) -> NDArray[np.uint32]:
    """The bits of all sums, by the reference: shape (steps, 5, 16)."""
    sums = np.tile(steps["c"][0], (5, 1))
    out = np.zeros((STEPS, 5, 16), np.float32)
    lanes = np.arange(16)
    for i in range(STEPS):
        a, b = floats(steps["a"][i]), floats(steps["b"][i])
        both = fase.dpbf16(a, np.stack([b, b, b, b, np.tile(b[:2], 16)]), sums, mode)
        both[3] = np.where(MASK >> lanes & 1, both[3], sums[3])
        sums = both
        out[i] = sums
        out[i, 1, 8:] = out[i, 2, 4:] = 0
    return out.view(np.uint32)


def run(build: Builder, folder: Path, mode: str, threads: int, *options: str) -> tuple[Result, NDArray[np.void]]:
    path, _ = inputs(folder)
    command = (build.program("bf16"), path, folder / "out", threads)
    result = run_fase(mode, command, *options) if mode else run_native(command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result, np.fromfile(folder / "out", RESULT)


def check_counts(result: Result, emulated: str) -> None:
    """`emulated`: the mode that VDPBF16PS ran under; empty: none."""
    dots, totals = result.number("dots"), result.totals
    assert totals["vdpbf16ps_executed"] == dots
    assert totals["vdpbf16ps_emulated"] == dots * bool(emulated)
    assert totals["vdpbf16ps_by_mode"] == ({emulated: dots} if emulated else {})
    assert totals["bf16_conversions"] == result.number("conversions")


@pytest.mark.parametrize("threads", [1, 3])
def test_native_by_default(build: Builder, tmp_path: Path, threads: int) -> None:
    native = run(build, tmp_path, "", threads)[1]
    result, out = run(build, tmp_path, "bf16", threads)
    assert out.tobytes() == native.tobytes()
    assert (out["sum"].view(np.uint32) == expected(inputs(tmp_path)[1], "fp32")).all()
    check_counts(result, "")
    assert result.totals["excluded"]["bf16-instructions"] == 7
    assert f"{result.number('dots'):,}" in result.stderr
    assert f"{result.number('conversions'):,}" in result.stderr
    assert "--bf16-instructions" in result.stderr, "nothing was emulated: the warning says how"


@pytest.mark.parametrize(("mode", "option", "name", "isa"), [
    ("bf16", "run", "bf16", "auto"),
    ("fp32", "run", "fp32", "auto"),
    ("fp32", "bf16", "bf16", "avx2"),
    ("bf16", "mp", "mp", "avx2"),
    ("bf16", "mp-e4m3fn", "mp-e4m3fn", "auto"),
    ("fp32", "a=bf16,b=bf16,c=fp16,d=fp16,rounding=rtz", "a=bf16,b=bf16,c=fp16,d=fp16,rounding=rtz", "auto"),
])  # fmt: skip
def test_under_an_operator(build: Builder, tmp_path: Path, mode: str, option: str, name: str, isa: str) -> None:
    result, out = run(build, tmp_path, mode, 2, "--bf16-instructions", option, "--isa", isa)
    check_counts(result, name)
    sums = out["sum"].view(np.uint32)
    want = expected(inputs(tmp_path)[1], name)
    assert (sums == want).all(), [np.argwhere(sums != want)[:3], sums[sums != want][:3], want[sums != want][:3]]
    native = run(build, tmp_path, "", 1)[1]["sum"].view(np.uint32)
    assert (sums == native).all() == (name in ("fp32", "mp"))
    first = np.nan_to_num(out["sum"][:, 0])  # what the conversions read
    assert (floats(out["one"]) == fase.round(np.where(np.abs(first) < 2.0**-126, 0, first), "bf16"))[np.isfinite(out["sum"][:, 0])].all()


@pytest.mark.parametrize("limits", ["instructions=1", "fmas=2,loops=0", "side_exits=0,scratch_registers=3"])
def test_region_limits_do_not_matter(build: Builder, tmp_path: Path, limits: str) -> None:
    path, steps = inputs(tmp_path)
    result = run_fase("bf16", (build.program("bf16"), path, tmp_path / "out", 1), "--bf16-instructions", "run", limits=limits)
    assert (np.fromfile(tmp_path / "out", RESULT)["sum"].view(np.uint32) == expected(steps, "bf16")).all()
    check_counts(result, "bf16")


def test_excluded_functions_stay_native(build: Builder, tmp_path: Path) -> None:
    result, out = run(build, tmp_path, "bf16", 1, "--bf16-instructions", "run", "--exclude", "walk")
    assert out.tobytes() == run(build, tmp_path, "", 1)[1].tobytes()
    check_counts(result, "")


@pytest.mark.parametrize(("mode", "option", "words"), [
    ("bf16-2_2-3", "run", "compound"),
    ("bf16", "bf16,exact", "exact"),
    ("bf16", "mp-fp16,saturate", "BF16 does not hold"),
    ("bf16", "nothing", "unknown format"),
])  # fmt: skip
def test_refused_before_anything_runs(tmp_path: Path, mode: str, option: str, words: str) -> None:
    result = run_fase(mode, ["touch", tmp_path / "ran"], "--bf16-instructions", option)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "ran").exists()


LINEAR = 64**3 // 2 // 16
"""VDPBF16PS of a product of 64 x 64 matrices: two products a lane, 16 lanes."""


def matrix_product(x: NDArray[np.float32], w: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
    """x @ w.T as oneDNN's kernel sums 64 products: one chain of VDPBF16PS over k; then BF16."""
    sums = np.zeros((len(x), len(w)), np.float32)
    for k in range(0, x.shape[1], 2):
        rows, columns = (v[:, k : k + 2].reshape(shape) for v, shape in ((x, (-1, 1, 2)), (w, (1, -1, 2))))
        a, b = np.broadcast_arrays(rows, columns)
        sums = fase.dpbf16(a, b, sums[..., None], mode)[..., 0]
    return fase.round(sums, "bf16")


def without_kernels(verbose: str) -> str:
    """What oneDNN's log says of kernels that are not its VDPBF16PS ones; "none" where there are no kernels at all."""
    kernels = [line for line in verbose.splitlines() if ",matmul," in line or ",convolution," in line]
    return "" if kernels and all("avx512_core_bf16" in line for line in kernels) else str(kernels or "none")


def test_pytorch(tmp_path: Path) -> None:
    """oneDNN's kernels: native values and exact counts by default; under operators, in one process, values that a chain over k explains."""
    pytest.importorskip("torch")
    script: list[Word] = [sys.executable, PROGRAMS / "torch_bf16.py"]
    counted = run_fase("fp32", [*script, tmp_path / "native.npz"], env={"ONEDNN_VERBOSE": "1"})
    assert counted.returncode == 0, counted.stderr
    if others := without_kernels(counted.stdout):
        pytest.skip(f"oneDNN has no VDPBF16PS kernels here: {others}")
    native = np.load(tmp_path / "native.npz")
    assert native["linear"].tobytes() == matrix_product(native["x"], native["w"], "fp32").tobytes()
    dots = counted.totals["vdpbf16ps_executed"]
    assert dots > LINEAR
    assert counted.totals["vdpbf16ps_emulated"] == 0
    assert counted.totals["bf16_conversions"] >= 64 * 64 // 16

    changes = {"fp32": False, "mp": False, "bf16": True, "mp-e5m2": True}
    emulated = run_native([*script, tmp_path / "out.npz", *changes])
    assert emulated.returncode == 0, emulated.stderr
    out = np.load(tmp_path / "out.npz")
    for mode, changed in changes.items():
        assert out[f"linear {mode}"].tobytes() == matrix_product(out["x"], out["w"], mode).tobytes(), mode
        for layer in ("linear", "convolution"):
            assert (out[f"{layer} {mode}"].tobytes() != native[layer].tobytes()) == changed, (mode, layer)
    assert emulated.lines("mode") == [f"{mode} {dots}" for mode in changes]


@pytest.mark.nightly
def test_pytorch_without_the_instructions(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = run_fase("fp32", [sys.executable, PROGRAMS / "torch_bf16.py", tmp_path / "out.npz"], env={"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"})
    assert result.returncode == 0, result.stderr
    assert result.totals["vdpbf16ps_executed"] == 0
