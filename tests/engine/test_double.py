"""Double-precision FMAs under `--fp64`: a C program and NumPy's matrix product, against the reference and against known relations; scope; counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from harness import HAS_AVX512, Builder, Result, Word, run_fase, run_native
from numpy.typing import NDArray

import fase

N = 300
MODES = ["fp32", "mp-bf16", "a=bf16,b=bf16,c=fp32,d=fp32", "e11m20,rounding=rtz", "fp16"]
ISAS = ["avx2", *(["avx512"] if HAS_AVX512 else [])]


def row(result: Result, name: str) -> NDArray[np.float64]:
    """The numbers of a line of encodings."""
    return np.array([int(w, 16) for w in result.lines(name + " ")[0].split()], np.uint64).view(np.float64)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
def test_program(mode: str, isa: str, build: Builder) -> None:
    result = run_fase("bf16", [build.program("double"), N], "--fp64", mode, "--isa", isa)
    a, b = (row(result, name).reshape(N, 4) for name in "ab")
    packed, scalar = np.zeros(4), np.zeros(1)
    for x, y in zip(a, b, strict=True):
        packed = fase.fma64(x, y, packed, mode)
        scalar = fase.fma64(x[:1], y[:1], scalar, mode, negate_product=True)
    assert row(result, "packed").tobytes() == packed.tobytes()
    assert row(result, "scalar").tobytes() == scalar.tobytes()
    assert result.lines("single ") == ["0x1p+8"]  # sums of BF16 ones stop there
    totals = result.totals
    assert totals["by_mode"] == {"bf16": N, f"fp64={mode}": 2 * N}
    assert (totals["fma_executed"], totals["fma_emulated"], totals["fp64_executed"], totals["fp64_emulated"]) == (3 * N, 3 * N, 2 * N, 2 * N)
    assert result.run_json["fp64"] == mode


def test_program_without_an_operator(build: Builder) -> None:
    native = run_native([build.program("double"), N])
    plain, same = run_fase("fp32", [build.program("double"), N]), run_fase("fp32", [build.program("double"), N], "--fp64", "fp64")
    assert plain.stdout == same.stdout == native.stdout
    assert plain.totals["by_mode"] == {"fp32": N, "fp64": 2 * N}
    assert (plain.totals["fp64_executed"], plain.totals["fp64_emulated"], plain.run_json["fp64"]) == (2 * N, 0, None)
    assert same.totals["by_mode"] == {"fp32": N, "fp64=fp64": 2 * N}


@pytest.mark.parametrize("limits", ["fmas=1", "loops=0", "instructions=3,side_exits=0", "scratch_registers=1"])
def test_limits_change_nothing(limits: str, build: Builder) -> None:
    command: list[Word] = [build.program("double"), N]
    assert run_fase("mp", command, "--fp64", "fp32", limits=limits).stdout == run_fase("mp", command, "--fp64", "fp32").stdout


PRODUCT = """
import sys
import numpy as np
a, b = (m.reshape(SIZE, SIZE) for m in np.fromfile(sys.argv[1]).reshape(2, -1))
(a @ b).tofile(sys.argv[2])
"""
SIZE = 40


def product(folder: Path, kernel: str, a: NDArray[np.float64], b: NDArray[np.float64], *options: str) -> NDArray[np.float64]:
    """NumPy's matrix product by an OpenBLAS kernel, in one thread; under FASE if there are options."""
    np.stack([a, b]).tofile(folder / "in")
    command: list[Word] = [sys.executable, "-c", PRODUCT.replace("SIZE", str(SIZE)), folder / "in", folder / "out"]
    env = {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1"}
    result = run_fase("fp32", command, *options, env=env) if options else run_native(command, env=env)
    assert result.returncode == 0, result.stderr
    if options:
        assert result.totals["fp64_emulated"] * 8 >= SIZE**3
    return np.fromfile(folder / "out").reshape(SIZE, SIZE)


@pytest.mark.parametrize("kernel", ["Haswell", *(["SkylakeX"] if HAS_AVX512 else [])])
def test_numpy(kernel: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    a, b = (random.standard_normal((SIZE, SIZE)) for _ in "ab")
    native = product(tmp_path, kernel, a, b)
    assert product(tmp_path, kernel, a, b, "--fp64", "fp64").tobytes() == native.tobytes()
    low, mixed = (product(tmp_path, kernel, a, b, "--fp64", mode) for mode in ("fp32", "mp-bf16"))
    assert 1e-9 < np.linalg.norm(low - native) / np.linalg.norm(native) < 1e-6
    if kernel == "Haswell":
        assert low.tobytes() == chain(a, b, "fp32").tobytes()
        assert mixed.tobytes() == chain(a, b, "mp-bf16").tobytes()
    else:
        assert mixed.tobytes() == product(tmp_path, kernel, fase.round64(a, "bf16"), fase.round64(b, "bf16")).tobytes()


def chain(a: NDArray[np.float64], b: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    """Each element as Haswell's kernel computes it: a multiplication, which is no FMA, then FMAs over k."""
    total = a[:, 0, None] * b[None, 0, :]
    for k in range(1, SIZE):
        total = fase.fma64(a[:, k, None], b[None, k, :], total, mode)
    return total


FUNCTIONS = """
import hashlib, math
import numpy as np
r = np.random.default_rng(0)
x = r.standard_normal(3000)
y = np.abs(x) + 0.1
old = np.random.RandomState(1)
drawn = [x, r.random(3000), r.exponential(size=300), r.gamma(2.0, size=300), r.poisson(3.5, 300), r.beta(2, 3, 300), old.normal(size=300)]
ufuncs = [np.exp, np.log, np.sin, np.cos, np.tan, np.tanh, np.cbrt, np.arctan, np.log1p, np.expm1, np.exp2, np.log2, np.arcsinh, np.sinh]
computed = [f(v) for f in ufuncs for v in (y, y[::3])] + [y**1.7]
scalars = [f(1.2345) for f in (math.exp, math.log, math.sin, math.cos, math.tanh, math.gamma, math.erf, math.sinh)] + [math.pow(1.3, 2.7)]
for values in (*drawn, *computed, scalars):
    print(hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest())
"""


def test_functions_and_random_numbers_stay_what_they_are() -> None:
    command = [sys.executable, "-c", FUNCTIONS]
    native = run_native(command).stdout
    result = run_fase("fp32", command, "--fp64", "e5m2")
    assert result.stdout == native
    assert result.totals["fp64_executed"] > 10_000
    assert run_fase("fp32", command, "--fp64", "e5m2", "--scope", "all").stdout != native


IN_PROCESS = """
import numpy as np
import fase
r = np.random.default_rng(0)
a, b = (r.standard_normal((32, 32)) for _ in "ab")
s, t = a.astype(np.float32), b.astype(np.float32)
native, native32 = a @ b, s @ t
def differs(): return (a @ b).tobytes() != native.tobytes()
def differs32(): return (s @ t).tobytes() != native32.tobytes()
with fase.emulate("bf16"):
    seen = [differs(), differs32(), fase.get_mode()]
    with fase.emulate(fp64="fp32"):
        seen += [differs(), differs32(), fase.get_mode()]
        fase.set_mode("fp32")
        seen += [differs(), differs32(), fase.get_mode()]
        with fase.emulate("mp;fp64=fp64"):
            seen += [differs(), fase.get_mode()]
    seen += [differs(), differs32(), fase.get_mode()]
print(*seen)
with fase.emulate(fp64="e11m10"):
    print(differs(), differs32(), fase.get_mode())
print(differs(), differs32(), fase.get_mode())
counts = fase.counters()
print({name for name, count in counts["by_mode"].items()}, counts["fp64_executed"] > counts["fp64_emulated"] > 0)
try:
    fase.emulate(fp64="mp")
except fase.FaseError as error:
    print(error)
"""


def test_in_process() -> None:
    result = run_native([sys.executable, "-c", IN_PROCESS], env={"OPENBLAS_NUM_THREADS": "1"})
    lines = result.stdout.splitlines()
    assert lines[0] == ("False True bf16 True True bf16;fp64=fp32 True False fp32;fp64=fp32 False mp;fp64=fp64 False True bf16"), (
        result.stdout + result.stderr
    )
    assert lines[1] == "True False fp32;fp64=e11m10"
    assert lines[2] == "False False None"
    assert set(lines[3].replace("{", "").split("}")[0].replace("'", "").split(", ")) == {
        "bf16", "fp32", "fp64", "fp64=fp32", "fp64=fp64", "fp64=e11m10"
    }  # fmt: skip
    assert lines[3].endswith("True")
    assert "is for single precision" in lines[4]


def test_rules_and_policies(build: Builder, tmp_path: Path) -> None:
    """An exclude holds for both precisions; a rule's mode is for single precision and leaves the other to the run; a policy has a key for it."""
    command: list[Word] = [build.program("double"), N]
    excluded = run_fase("bf16", command, "--fp64", "fp32", "--exclude", "main")
    assert excluded.stdout == run_native(command).stdout
    assert excluded.totals["by_mode"] == {"fp32": N, "fp64": 2 * N}
    ruled = run_fase("bf16", command, "--fp64", "fp32", "--rule", "main=fp32")
    assert ruled.totals["by_mode"] == {"fp32": N, "fp64=fp32": 2 * N}
    off = run_fase("bf16", command, "--fp64", "fp32", "--rule", "main=bf16;fp64=fp64")
    assert off.totals["by_mode"] == {"bf16": N, "fp64=fp64": 2 * N}
    (tmp_path / "p.toml").write_text('fp64 = "fp16"\n')
    assert run_fase("bf16", command, "--policy", str(tmp_path / "p.toml")).totals["by_mode"] == {"bf16": N, "fp64=fp16": 2 * N}
    (tmp_path / "p.toml").write_text('mode = "bf16"\nfp64 = "mp"\n')
    wrong = run_fase("bf16", command, "--policy", str(tmp_path / "p.toml"))
    assert wrong.returncode == 2
    assert "p.toml:2: fp64 mode 'mp' is for single precision" in wrong.stderr.replace(": is", " is")
