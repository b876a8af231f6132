"""The pack of test vectors: against exact rationals, its size, and the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracle import operate, round_bits
from shown import Result

import fase
from fase.errors import UsageError
from fase.formats.description import Grid
from fase.formats.random import Stream
from fase.operators import parse
from fase.vectors import pack

TABLES = {"posit8", "posit16"}


@pytest.mark.parametrize("name", pack.modes())
def test_vectors_equal_exact_rationals(name: str) -> None:
    made = pack.generate(pack.modes()[name])
    operator = made.operator
    if name in TABLES:
        a, b, c = (fase.round(x, name) for x in (made.a, made.b, made.c))
        np.testing.assert_array_equal(made.d, fase.round(fase.fma(a, b, c), name))
        return
    plain = parse(operator.name.partition(",")[0]) if operator.is_stochastic else operator
    words = [x.view(np.uint32).tolist() for x in (made.a, made.b, made.c, made.d)]
    grid = operator.description.d
    assert isinstance(grid, Grid)
    random = Stream(operator.seed, lanes=1).bits(made.a.size, grid.random_bits) if operator.is_stochastic else np.zeros(made.a.size, np.uint32)
    for a, b, c, d, r in zip(*words, random.tolist(), strict=True):
        if operator.is_stochastic:
            x, y, z = (fase.round(np.uint32(word).view(np.float32), plain.a) for word in (a, b, c))
            expected = round_bits(int(fase.fma(x, y, z).view(np.uint32)), grid, r)
        else:
            expected = operate(operator, a, b, c)
        both_nan = max(d & 0x7FFFFFFF, 0x7F800000) == d & 0x7FFFFFFF != 0x7F800000 and expected & 0x7FFFFFFF > 0x7F800000
        assert d == expected or both_nan, (f"{a:08x}", f"{b:08x}", f"{c:08x}", f"{d:08x}", f"{expected:08x}")


@pytest.mark.parametrize("name", pack.modes())
def test_the_first_operands_are_on_the_grid(name: str) -> None:
    made = pack.generate(pack.modes()[name])
    assert 200 < made.on_grid < made.a.size
    for fmt, x in zip(made.operator.formats, (made.a, made.b, made.c), strict=False):
        first = x[: made.on_grid]
        rounded = fase.round(first, fmt)
        np.testing.assert_array_equal(rounded, first)


def test_they_cover_ties_subnormals_and_overflow() -> None:
    """In every short format, some rounding is inexact, and both an overflow and a tie occur."""
    for name in ("bf16", "e4m3fn-sat-exact", "fp16-exact", "e5m2-exact"):
        made = pack.generate(pack.modes()[name])
        finite = np.isfinite(made.a) & np.isfinite(made.b) & np.isfinite(made.c)
        with np.errstate(all="ignore"):
            exact = made.a.astype(np.float64) * made.b.astype(np.float64) + made.c.astype(np.float64)
        fmt = made.operator.d
        exponent = np.maximum(np.frexp(np.where(finite, exact, 1))[1] - 1, np.log2(fmt.smallest) + fmt.mantissa)
        steps = np.ldexp(np.where(finite, exact, 1), (fmt.mantissa - exponent).astype(int))
        with np.errstate(over="ignore", invalid="ignore"):
            assert ((np.abs(steps) % 1 == 0.5) & finite)[: made.on_grid].sum() > 10
            assert ((np.abs(exact) > fmt.max) & finite)[: made.on_grid].sum() > 10
        assert ((np.abs(made.d) < 2.0 ** (np.log2(fmt.smallest) + fmt.mantissa)) & (made.d != 0)).sum() > 5


def test_write_and_check(tmp_path: Path, run_fase: Callable[..., Result]) -> None:
    written = run_fase("vectors", "-o", tmp_path)
    assert written.status == 0
    files = sorted(tmp_path.glob("*.hex"))
    assert {f.stem for f in files} == set(pack.modes())
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 1_000_000
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["schema"] == "fase-vectors/1"
    assert manifest["files"]["bf16.hex"]["operator"] == "e8m7,e8m7,e8m7,e8m7"
    assert run_fase("vectors", *(word for f in files for word in ("--check", f))).status == 0


@pytest.mark.parametrize("mode", ["e1m1", "e1m1:ieee", "e1m1:bias=127", "q0.1", "int2", "int8:scale=2^-133", "a=e1m1:ieee,b=bf16", "bf16;fp64=fp32"])
def test_small_formats_and_double_precision(mode: str, tmp_path: Path, run_fase: Callable[..., Result]) -> None:
    """Formats of one exponent, and modes of which only the single-precision part has vectors."""
    assert run_fase("vectors", "-o", tmp_path, "-m", mode).status == 0
    (path,) = tmp_path.glob("*.hex")
    assert run_fase("vectors", "--check", path).status == 0


def test_a_wrong_result_is_found(tmp_path: Path, run_fase: Callable[..., Result]) -> None:
    pack.write(tmp_path, {"x": "e4m3"})
    path = tmp_path / "x.hex"
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.endswith("3f800000"))
    lines[number] = lines[number][:-8] + "3f900000"
    path.write_text("\n".join(lines) + "\n")
    checked = run_fase("vectors", "--check", path)
    assert checked.status == 1
    assert f"line {number + 1}: " in checked.out
    assert "d 3f900000, reference 3f800000" in checked.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"), ("hello", "first line"), ("// fase-vectors/1\n", "mode is empty"), ("// fase-vectors/1\n// mode=bf17\n", "bf16"),
        ("// fase-vectors/1\n// mode=bf16\n// operator=e8m6,e8m7,e8m7,e8m7\n", "another operator than"),
        ("// fase-vectors/1\n// mode=bf16\n// operator=e8m7,e8m7,e8m7,e8m7\n12 13\n", "line 4"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, run_fase: Callable[..., Result], text: str, message: str) -> None:
    path = tmp_path / "x.hex"
    path.write_text(text)
    checked = run_fase("vectors", "--check", path)
    assert checked.status == 2
    assert message in checked.err
    assert checked.err.count("\n") == 1


def test_usage(tmp_path: Path, run_fase: Callable[..., Result]) -> None:
    assert run_fase("vectors").status == run_fase("vectors", "--check", tmp_path / "none").status == 2
    assert run_fase("vectors", "-o", tmp_path / "a", "-m", "nonsense").status == 2
    with pytest.raises(UsageError):
        pack.read(tmp_path)
    assert run_fase("vectors", "-o", tmp_path / "a", "-m", "e4m3:sat,exact").status == 0
    assert (tmp_path / "a" / "e4m3_sat_exact.hex").exists()
