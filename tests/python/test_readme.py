"""The README's commands and its Python work as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.removeprefix("$ ") for block in re.findall(r"```console\n(.*?)```", TEXT, re.S) for line in block.splitlines() if line[:2] == "$ "]
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder that sees the examples but keeps what the commands write away from the repository."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_readme_has_commands() -> None:
    assert len(COMMANDS) >= 4
    assert len(SNIPPETS) >= 1


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, workplace: Path) -> None:
    """Runs it; `make` targets are only resolved, since this test is one of them."""
    folder = workplace
    if command.startswith("make "):
        command, folder = command.replace("make", "make --dry-run", 1), ROOT
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(snippet: str, workplace: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", snippet], cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'bf16': " in done.stdout


def test_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists()
