"""Handlers that throw, that look at the stack, and that send control elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Builder, Result, Word, run_fase

Native = Callable[..., Result]


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
@pytest.mark.parametrize("scenario", ["fault", "timer", "plain", "backtrace"])
def test_unwinding(scenario: str, mode: str, build: Builder, native: Native) -> None:
    command: list[Word] = [build.program("unwound", "-rdynamic"), scenario]
    expected, got = native(*command), run_fase(mode, command)
    assert (expected.returncode, got.returncode) == (0, 0), got.stderr
    assert got.stdout == expected.stdout


@pytest.mark.parametrize("mode", ["fp32", "mp"])
def test_preemption(mode: str, build: Builder, native: Native) -> None:
    """Where results are rounded, control may be taken from between an FMA and its rounding: what is resumed then is not the program's."""
    command: list[Word] = [build.program("unwound", "-rdynamic"), "preempt"]
    expected, got = native(*command), run_fase(mode, command)
    assert (expected.returncode, got.returncode) == (0, 0), got.stdout + got.stderr
    assert got.stdout == expected.stdout
