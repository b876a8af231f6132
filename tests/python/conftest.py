"""Fixtures for the Python side: the command line in-process, and an agent library that does nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Result

from fase.cli.main import main


@pytest.fixture
def run_fase(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the `fase` command with some arguments; children's output is captured too."""

    def call(*arguments: str) -> Result:
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def idle_native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an agent library that speaks our version and does nothing."""
    folder = tmp_path_factory.mktemp("native")
    source = folder / "agent.c"
    source.write_text("int fase_agent_version(void) { return 1; }\n")
    for name in ("libfase_agent.so", "libfase_agent_late.so"):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / name), str(source)], check=True)
    return folder


@pytest.fixture
def idle_agent(idle_native: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes `fase run` use the agent that does nothing."""
    monkeypatch.setenv("FASE_NATIVE_DIR", str(idle_native))
    return idle_native
