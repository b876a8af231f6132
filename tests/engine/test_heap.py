"""The agent's own heap."""

from __future__ import annotations

import subprocess

import pytest
from harness import REPOSITORY, Builder

NATIVE = REPOSITORY / "native"
PAGE = 4096


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_requests(build: Builder, seed: int) -> None:
    """Blocks do not overlap, and memory that is free goes back to the kernel, but for a little that is kept for the next translation."""
    program = build.named("heap", "heap", f"-I{NATIVE}", NATIVE / "runtime/heap.cpp", NATIVE / "runtime/message.cpp")
    done = subprocess.run([program, str(seed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = dict(line.split() for line in done.stdout.splitlines())
    assert int(pages["full"]) * PAGE > 8 << 20
    assert int(pages["empty"]) * PAGE < 512 << 10
