"""A disk that is full, or becomes so while a program runs. The disk is a small one in memory, which only the test's own processes see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import Result, environment

# Threads and sizes, so that new code, new segments and new counter blocks come after the disk is full.
SCRIPT = """
import os, sys, threading
import numpy as np
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        while sys.argv[2] == "full":
            file.write(bytes(4096))
except OSError:
    pass
a = np.random.default_rng(0).random((300, 300), np.float32)
for n in (3, 50, 300):
    threads = [threading.Thread(target=lambda: a[:n, :n] @ a[:n, :n]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print((a @ a).tobytes().hex()[:4096])
"""


def on_small_disk(folder: Path, command: str) -> Result:
    """Runs a shell command where `folder` is a disk of 1.6 MB."""
    script = f"mount -t tmpfs -o size=1600k none '{folder}' && {command}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment(), capture_output=True, text=True, check=False, timeout=120)
    return Result(done.stdout, done.stderr, done.returncode)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if on_small_disk(tmp_path, "true").returncode != 0:
        pytest.skip("a disk of the test's own needs user namespaces (unshare -rm)")
    return tmp_path


def run(disk: Path, state: str) -> Result:
    program = disk.parent / f"{disk.name}.py"
    program.write_text(SCRIPT)
    fase = f"{sys.executable} -m fase run -m mp -o '{disk}/out' -- {sys.executable}"
    return on_small_disk(disk, f"{fase} '{program}' '{disk}/filler' {state}")


def test_a_program_survives_a_disk_that_becomes_full(disk: Path) -> None:
    room, full = run(disk, "room"), run(disk, "full")
    assert (room.returncode, full.returncode) == (0, 0), full.stderr
    assert room.stdout == full.stdout != ""
    assert "no space" not in room.stderr
    assert full.stderr.count("the program goes on, but not all of its FMAs will be counted") == 1
    assert "WARNING: process" in full.stderr
    assert "counts are too low" in full.stderr
    assert "cannot write" in full.stderr
    assert "Traceback" not in full.stderr


def test_nothing_runs_where_the_disk_is_full(disk: Path) -> None:
    fill = f"cat /dev/zero > '{disk}/filler' 2>&-"
    result = on_small_disk(disk, f"{fill}; {sys.executable} -m fase run -m mp -o '{disk}/out' -- echo ran")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("fase: error: cannot ")
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_program_does_not_start_where_there_is_no_room_for_its_record(disk: Path) -> None:
    inner = f"cat /dev/zero > '{disk}/filler' 2>&-; {sys.executable} -c 'print(1)'"
    result = on_small_disk(disk, f"{sys.executable} -m fase run -m mp -o '{disk}/out' -- sh -c \"{inner}\"")
    assert (result.returncode, result.stdout) == (3, "")
    assert "fase: no space left on the disk for the record file" in result.stderr
