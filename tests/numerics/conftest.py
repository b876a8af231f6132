"""Fixtures for the tests of formats and operators."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from shown import Result

from fase.cli.main import main


@pytest.fixture
def run_fase(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the `fase` command with some arguments."""

    def call(*arguments: object) -> Result:
        status = main([str(a) for a in arguments])
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def no_own_formats(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """No format is registered, and none stays so; what `register` fills."""
    registered: dict[str, object] = {}
    monkeypatch.setattr(sys.modules["fase.formats.catalogue"], "_registered", registered)
    return registered
