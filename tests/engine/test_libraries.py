"""BLAS kernels in plain programs, and the test-suites of NumPy and SciPy."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import HAS_AVX512, Builder, Result, Word, run_fase, run_native
from numpy.typing import NDArray
from reference import bf16

OPENBLAS = next((Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*.so"))
# One panel of k, so that each element is one chain of FMAs and one scaling by alpha = 1.
SIZE = 100


def openblas(build: Builder, kernel: str, inputs: str, mode: str = "") -> tuple[NDArray[np.float32], Result]:
    command: list[Word] = [build.program("openblas"), OPENBLAS, SIZE, inputs]
    env = {"OPENBLAS_CORETYPE": kernel}
    result = run_fase(mode, command, env=env) if mode else run_native(command, env=env)
    assert result.lines("kernel") == [kernel], result.stdout[:200] + result.stderr
    words = result.stdout.split("\n", 1)[1].split()
    return np.array([int(w, 16) for w in words], np.uint32).view(np.float32), result


@pytest.mark.parametrize("kernel", ["Haswell", *(["SkylakeX"] if HAS_AVX512 else [])])
def test_openblas(kernel: str, build: Builder) -> None:
    plain, _ = openblas(build, kernel, "plain")
    rounded, _ = openblas(build, kernel, "rounded")
    fp32, _ = openblas(build, kernel, "plain", "fp32")
    assert fp32.tobytes() == plain.tobytes()
    mp, result = openblas(build, kernel, "plain", "mp")
    assert result.totals["fma_emulated"] * (16 if kernel == "SkylakeX" else 8) >= SIZE**3
    # Haswell's kernel ends with the FMA alpha * sum + C: there the sum is a factor, and mp rounds factors.
    # SkylakeX's small kernel multiplies by alpha.
    assert mp.tobytes() == (bf16(rounded) if kernel == "Haswell" else rounded).tobytes()
    low, _ = openblas(build, kernel, "plain", "bf16")
    if kernel == "Haswell":  # SkylakeX's adds up partial sums by FP32 additions
        assert bf16(low).tobytes() == low.tobytes()
    assert 0.001 < np.linalg.norm(low - plain) / np.linalg.norm(plain) < 0.1
    assert low.tobytes() != mp.tobytes()


@pytest.mark.skipif(not HAS_AVX512, reason="needs AVX-512")
@pytest.mark.parametrize("kernel", ["Haswell", "SkylakeX"])
def test_bounded_loops_are_counted(kernel: str, build: Builder) -> None:
    """Numbers beyond the bounds send control from a bounded loop to the full one; no FMA is lost on the way."""
    ordinary, tiny = (openblas(build, kernel, inputs, "bf16")[1] for inputs in ("plain", "tiny"))
    assert ordinary.totals["fma_bounded"] > 0.7 * ordinary.totals["fma_emulated"]
    assert ordinary.totals["fma_unbounded"] == 0
    assert "100.0 % of them within the bounds" in ordinary.stderr
    assert tiny.totals["fma_unbounded"] > 10 * tiny.totals["fma_bounded"]
    assert tiny.totals["fma_bounded"] + tiny.totals["fma_unbounded"] == ordinary.totals["fma_bounded"]


def counts(result: Result) -> dict[str, int]:
    """`120 passed, 3 skipped in 2.1s` as a dict, without warnings."""
    last = result.stdout.strip().splitlines()[-1]
    found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)", last)}
    assert found.get("passed", 0) > 0, result.stdout[-2000:] + result.stderr[-2000:]
    return found


SUITES = {
    "numpy-quick": ["numpy.linalg.tests.test_linalg", "-k", "TestSolve or TestInv or TestSVD or TestMatmul or TestQR"],
    "scipy-quick": ["scipy.linalg.tests.test_blas", "-k", "gemm or gemv or syrk or trsm"],
}
FULL_SUITES = {"numpy": ["numpy.linalg"], "scipy": ["scipy.linalg.tests.test_blas"], "scipy-lapack": ["scipy.linalg.tests.test_lapack"]}


def check_suite(arguments: list[str], folder: Path) -> None:
    common: list[Word] = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", folder]
    command: list[Word] = [sys.executable, "-m", "pytest", *common, "--pyargs", *arguments]
    env = {"OPENBLAS_NUM_THREADS": "1"}
    before = run_native(command, env=env, timeout=900)
    after = run_fase("fp32", command, env=env, timeout=900)
    assert counts(after) == counts(before)
    assert after.returncode == before.returncode
    assert after.totals["fma_executed"] > 0


@pytest.mark.parametrize("name", SUITES)
def test_suite_subset(name: str, tmp_path: Path) -> None:
    check_suite(SUITES[name], tmp_path)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FULL_SUITES)
def test_suite(name: str, tmp_path: Path) -> None:
    check_suite(FULL_SUITES[name], tmp_path)
