"""Values under emulation equal the reference: loops (state carried around many passes), and every form of every FMA instruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forms import Form, evex_forms, source, vex_forms
from harness import HAS_AVX512, Builder, Result, Word, run_fase, run_native
from numpy.typing import NDArray
from reference import fma

MODES = ["fp32", "mp", "bf16"]
PASSES = 300
Floats = NDArray[np.float32]


def rows(result: Result, prefix: str = "") -> dict[str, Floats]:
    found = {}
    for name in "abxyzw":
        for line in result.lines(f"{prefix}{name} "):
            found[name] = np.array([int(word, 16) for word in line.split()], np.uint32).view(np.float32)
    return found


def loop_reference(kind: str, mode: str, s: dict[str, Floats]) -> dict[str, Floats]:
    """What tests/programs/loop.c computes."""
    a, b, x, y, z, w = (s[name] for name in "abxyzw")
    lanes = np.arange(16)
    in_k1, in_k2 = (np.array([mask >> lane & 1 for lane in lanes], bool) for mask in (0x5A3C, 0xC0F5))
    for _ in range(PASSES):
        if kind == "masked":
            x = np.where(in_k1, fma(mode, a, x, b), x)
            y = np.where(in_k2, fma(mode, a, y, b), np.float32(0))
            z = fma(mode, z, np.full_like(a, a[1]), -b)
            w = np.where(lanes < 1, fma(mode, -a, w, -b), np.where(lanes < 4, w, np.float32(0)))
        else:
            x = fma(mode, a, x, b)
            y = fma(mode, -a, x, y)
            y = fma(mode, y, a, b)
            z = fma(mode, z, a, np.where(lanes % 2, b, -b))
    return {"x": x, "y": y, "z": z, "w": w}


def assert_same_bits(got: Floats, expected: Floats, what: str) -> None:
    """Bit for bit, but for the payload of a NaN: which operand's it is, the form tells, and the emitter's own tests check that."""
    both_nan = np.isnan(got) & np.isnan(expected)
    same = (got.view(np.uint32) == expected.view(np.uint32)) | both_nan
    assert same.all(), f"{what}\n got      {got[~same]}\n expected {expected[~same]}"


LANES = {"xmm": 4, "ymm": 8, "zmm": 16, "masked": 16}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("kind", ["xmm", "ymm", *(["zmm", "masked"] if HAS_AVX512 else [])])
def test_loop(kind: str, isa: str, mode: str, build: Builder) -> None:
    result = run_fase(mode, [build.program("loop"), kind, PASSES], "--isa", isa)
    expected = loop_reference(kind, mode, rows(result))
    got = rows(result, "mode-dependent ")
    assert result.totals["fma_emulated"] == 4 * PASSES
    for name, values in expected.items():
        assert_same_bits(got[name][: LANES[kind]], values[: LANES[kind]], f"register {name}")


@pytest.mark.parametrize("mode", MODES)
def test_double_precision_is_left_alone(mode: str, build: Builder) -> None:
    command: list[Word] = [build.program("loop"), "double", PASSES]
    before, after = run_native(command), run_fase(mode, command)
    for register in ("x", "y"):  # the double precision accumulators
        assert after.lines(f"mode-dependent {register}") == before.lines(f"mode-dependent {register}")
    assert after.totals["by_mode"] == {mode: PASSES, "fp64": 2 * PASSES}


def inputs() -> Floats:
    """Sets of a, b, c: plain numbers, numbers of all magnitudes, ties of BF16, and special values among plain ones (one a lane)."""
    random = np.random.default_rng(20240607)
    plain = random.standard_normal((6, 3, 16)).astype(np.float32)
    wide = (random.standard_normal((6, 3, 16)) * 2.0 ** random.integers(-120, 120, (6, 3, 16))).astype(np.float32)
    ties = (np.round(random.standard_normal((4, 3, 16)) * 64) / 64 * (1 + 2.0**-8)).astype(np.float32)
    special = random.standard_normal((8, 3, 16)).astype(np.float32)
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3.3e38, -3.4e38, 2.0**-126], np.float32)
    where = random.integers(0, 3, (8, 16))
    for s in range(8):
        special[s, where[s], np.arange(16)] = values[random.integers(0, len(values), 16)]
    return np.concatenate([plain, wide, ties, special])


def run_forms(name: str, forms: list[Form], mode: str | None, build: Builder, folder: Path, *options: str) -> Floats:
    """The destinations of all forms for all inputs: sets x forms x 16."""
    assembly, given, out = folder / f"{name}.S", folder / "inputs", folder / "outputs"
    assembly.write_text(source(forms))
    program = build.named(f"forms-{name}", "forms", assembly)
    sets = inputs()
    sets.tofile(given)
    command = [program, given, out]
    result = run_fase(mode, command, *options) if mode else run_native(command)
    assert result.returncode == 0, result.stderr
    assert result.number("forms") == len(forms)
    if mode:
        doubles = sum(form.double for form in forms)
        assert result.totals["by_mode"] == {mode: (len(forms) - doubles) * len(sets), "fp64": doubles * len(sets)}
    return np.fromfile(out, np.float32).reshape(len(sets), len(forms), 16)


FORMS = {"vex": list(vex_forms())} | ({"evex": list(evex_forms())} if HAS_AVX512 else {})


def check_forms(forms: list[Form], mode: str, got: Floats) -> None:
    for s, (a, b, c) in enumerate(inputs()):
        for index, form in enumerate(forms):
            if not form.double:
                assert_same_bits(got[s, index], form.expected(mode, a, b, c), f"set {s}: {form.text(index)[3]}")


@pytest.mark.parametrize("name", FORMS)
def test_reference_equals_this_cpu(name: str, build: Builder, tmp_path: Path) -> None:
    check_forms(FORMS[name], "fp32", run_forms(name, FORMS[name], None, build, tmp_path))


@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FORMS)
def test_every_form(name: str, mode: str, isa: str, build: Builder, tmp_path: Path) -> None:
    forms = FORMS[name]
    before = run_forms(name, forms, None, build, tmp_path).view(np.uint32)
    after = run_forms(name, forms, mode, build, tmp_path, "--isa", isa)
    for index, form in enumerate(forms):
        if form.double or mode == "fp32":  # here also the payload of a NaN
            assert (after.view(np.uint32)[:, index] == before[:, index]).all(), form.text(index)[3]
    check_forms(forms, mode, after)
