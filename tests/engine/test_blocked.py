"""A thread that blocks SIGSEGV, started before the agent came: its code must stay executable all the time, or the kernel ends the process."""

from __future__ import annotations

import sys

from harness import Builder, run_native

SCRIPT = """
import ctypes, sys
import numpy as np
import fase
library = ctypes.CDLL(sys.argv[1])
assert library.start() == 0
a = np.random.default_rng(0).random((96, 96), np.float32)
native = a @ a
for mode in ("bf16", "fp32", "bf16"):
    before = library.turns()
    with fase.emulate(mode):
        assert ((a @ a) != native).any() == (mode == "bf16")
    assert (a @ a == native).all()
    while library.turns() == before:
        pass
print("alive", fase.counters()["by_mode"]["bf16"] > 0)
"""


def test_a_thread_that_blocks_faults_survives(build: Builder) -> None:
    result = run_native([sys.executable, "-c", SCRIPT, build.library("blocked_thread")])
    assert (result.returncode, result.stdout) == (0, "alive True\n"), result.stderr
