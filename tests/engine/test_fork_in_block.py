"""Processes that fork, or start others, inside of `fase.emulate`: OpenBLAS has handlers for forks that are emulated code themselves."""

from __future__ import annotations

import sys

import pytest
from harness import run_native

HEAD = """
import os, sys
import numpy as np
import fase
a = np.random.default_rng(0).random((96, 96), np.float32)
native = a @ a
def differs(_=0):
    return bool(((a @ a) != native).any())
"""
WAYS = {
    "fork": """
pid = os.fork()
if pid == 0:
    os._exit(10 + differs())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11)
""",
    "pool": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(all(pool.map(differs, range(4))))
""",
    "preexec": """
import subprocess
print(subprocess.run([sys.executable, "-c", "print(1)"], preexec_fn=os.setsid, capture_output=True).stdout == b"1\\n")
""",
    "untouched": """
import subprocess
print(not any(name in subprocess.run(["env"], capture_output=True, text=True).stdout for name in ("FASE_AGENT", "libfase_agent")))
""",
    "loader": """
import torch
class Products(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return float(differs())
print(sum(float(batch.sum()) for batch in torch.utils.data.DataLoader(Products(), batch_size=2, num_workers=1)) == 4)
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_fork_in_a_block(way: str) -> None:
    if way == "loader":
        pytest.importorskip("torch")
    body = "\n".join("    " + line for line in WAYS[way].strip().splitlines())
    result = run_native([sys.executable, "-c", f'{HEAD}\nwith fase.emulate("bf16"):\n{body}\nprint(differs())\n'])
    assert (result.returncode, result.stdout) == (0, "True\nFalse\n"), result.stderr
