"""Finding the native libraries: FASE_NATIVE_DIR, then the installed package, then the build folder of a checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fase
from fase.errors import AgentMissingError

AGENT = "libfase_agent.so"  # for LD_PRELOAD
LATE_AGENT = "libfase_agent_late.so"  # the same with less thread-local scratch, to be loaded into a running process
LAB = "libfase_lab.so"


def library(name: str) -> Path:
    """The absolute path of a native library. AgentMissingError says how to get one."""
    for folder in _folders():
        path = folder / name
        if path.is_file():
            return path.absolute()
    if "FASE_NATIVE_DIR" in os.environ:
        raise AgentMissingError(f"FASE_NATIVE_DIR={os.environ['FASE_NATIVE_DIR']} holds no {name}")
    raise AgentMissingError(f"{name} is not built: run `make setup` in the repository, or install the wheel")


def _folders() -> Iterator[Path]:
    chosen = os.environ.get("FASE_NATIVE_DIR")
    if chosen:
        yield Path(chosen)
        return
    for package in map(Path, fase.__path__):
        yield package / "_native"
        if package.parent.name == "src":
            yield package.parents[1] / "build" / "native"
