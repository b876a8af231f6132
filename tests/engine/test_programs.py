"""Programs whose FMA count is known by construction: nothing escapes, nothing is counted twice, and the programs do not notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import HAS_AVX512, Builder, Result, Word, check_counts, run_fase
from scenarios import LONG, QUICK, Scenario

Native = Callable[..., Result]
EVEX = [Scenario("loop", ("zmm", "1000")), Scenario("loop", ("masked", "1000"))] if HAS_AVX512 else []


def check(scenario: Scenario, mode: str, expected: Result, got: Result) -> None:
    assert expected.returncode == scenario.status, expected.stdout + expected.stderr
    assert got.returncode == scenario.status, got.stdout + got.stderr
    assert got.plain == expected.plain
    check_counts(mode, got)
    if mode == "fp32":
        assert got.lines("mode-dependent") == expected.lines("mode-dependent")


@pytest.mark.parametrize("mode", ["fp32", "mp", "bf16"])
@pytest.mark.parametrize("scenario", QUICK + EVEX, ids=str)
def test_program(scenario: Scenario, mode: str, build: Builder, native: Native) -> None:
    command = scenario.command(build)
    check(scenario, mode, native(*command), run_fase(mode, command))


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["fp32", "mp"])
@pytest.mark.parametrize("scenario", LONG, ids=str)
def test_long_program(scenario: Scenario, mode: str, build: Builder, native: Native) -> None:
    command = scenario.command(build)
    check(scenario, mode, native(*command), run_fase(mode, command, timeout=600))


# mp shows every escape by its value, and rounds: the one mode that is worth its time for each variant.
STRIPPED = [s for s in QUICK if s.program in ("middle", "data_in_text", "exceptions", "threads")]


@pytest.mark.parametrize("scenario", STRIPPED, ids=str)
def test_stripped_program(scenario: Scenario, build: Builder, native: Native) -> None:
    """Without symbols only unwind information and control flow tell what is code."""
    command = scenario.command(build, stripped=True)
    check(scenario, "mp", native(*command), run_fase("mp", command))


AVX2 = [s for s in QUICK if s.program in ("registers", "signals", "loop", "middle")]


@pytest.mark.parametrize("scenario", AVX2, ids=str)
def test_avx2_emitter(scenario: Scenario, build: Builder, native: Native) -> None:
    command = scenario.command(build)
    check(scenario, "mp", native(*command), run_fase("mp", command, "--isa", "avx2"))


# Sums of their own: with AVX2 in a stretch under an MXCSR of the engine's.
OWN_MXCSR = ["signals-repair", "signals-longjmp", "signals-timer-300000", "signals-timer_mxcsr-300000", "registers-flags", "registers-mxcsr"]


@pytest.mark.parametrize("mode", ["bf16,exact", "bf16-1_2"])
@pytest.mark.parametrize("scenario", [s for s in QUICK if str(s) in OWN_MXCSR], ids=str)
def test_own_sums_with_avx2(scenario: Scenario, mode: str, build: Builder, native: Native) -> None:
    command = scenario.command(build)
    check(scenario, mode, native(*command), run_fase(mode, command, "--isa", "avx2"))


@pytest.mark.skipif(not HAS_AVX512, reason="needs AVX-512")
def test_a_handler_changes_the_rounding_mode_of_a_loop(build: Builder, native: Native) -> None:
    """A bounded loop could not obey: the program ends, with a line that says what to do."""
    scenario = Scenario("signals", ("rounding",))
    command = scenario.command(build)
    expected = native(*command)
    assert expected.returncode == 0
    check(scenario, "mp", expected, run_fase("mp", command))
    check(scenario, "bf16", expected, run_fase("bf16", command, "--isa", "avx2"))
    got = run_fase("bf16", command)
    assert got.returncode == 70
    assert "a signal handler changed the rounding mode" in got.stderr
    assert "--isa avx2" in got.stderr


LIMITS = ["instructions=1", "instructions=7,loops=0", "fmas=1", "fmas=3,side_exits=0", "loops=0,side_exits=0", "scratch_registers=4"]
NAMES = ["middle-straight-twice", "middle-inside", "middle-blocks", "registers-branch", "registers-vectors", "signals-repair", "signals-longjmp"]
VARIED = [s for s in QUICK if str(s) in NAMES]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("scenario", VARIED, ids=str)
def test_region_limits_do_not_matter(scenario: Scenario, limits: str, build: Builder, native: Native) -> None:
    command = scenario.command(build)
    check(scenario, "mp", native(*command), run_fase("mp", command, limits=limits))


def test_region_limits_are_heard(build: Builder) -> None:
    """Otherwise the test above would compare equal things."""
    command: list[Word] = [build.program("registers"), "vectors"]
    assert run_fase("mp", command, limits="fmas=1").totals["regions"] > run_fase("mp", command).totals["regions"]


# Two known limits. The first is stated by the engine itself, the second is not detected.


def test_shared_code_is_reported(build: Builder) -> None:
    """Code in a shared mapping cannot be patched: whoever else maps it would see the patches. It runs natively, and the report says so."""
    result = run_fase("mp", [build.program("jit"), "dual", "20"])
    assert result.returncode == 0
    assert result.number("units") == result.number("probes") * 513
    assert result.totals["fma_executed"] == 0
    assert "shared mapping runs without emulation" in result.stderr


@pytest.mark.xfail(reason="a program that reads, or copies, code that has run sees the patches in it")
@pytest.mark.parametrize("mode", ["fp32", "mp"])
def test_code_reads_back_unchanged(mode: str, build: Builder, native: Native) -> None:
    scenario = Scenario("jit", ("readback",))
    check(scenario, mode, native(*scenario.command(build)), run_fase(mode, scenario.command(build)))
