"""`fase run --dynamic` on PyTorch programs that know nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch 2.13")

TRAIN = """
import os
import torch
from torch import nn
rank = int(os.environ.get("RANK", 0))
torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
if "RANK" in os.environ:
    import torch.distributed as dist
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.manual_seed(rank)
x, y = torch.randn(256, 32), torch.randint(0, 16, (256,))
for step in range(40):
    for part in range(2):
        chosen = slice(64 * (2 * (step % 2) + part), 64 * (2 * (step % 2) + part) + 64)
        nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
    optimizer.step()
    optimizer.zero_grad()
"""
FAST = ("num-batches-mp=2", "num-batches-bf16=6", "ema-n=2", "ema-threshold=0.02")
OPTIONS = [word for option in FAST for word in ("--dynamic-option", option)]
TEARDOWN = "terminate called without an active exception"
"""How a rank of PyTorch 2.13 ends now and then, when it is done: without FASE too."""
ATTEMPTS = 6


def run(folder: Path, *options: str, launcher: tuple[str, ...] = (), code: str = TRAIN, status: int = 0) -> str:
    script = folder / "train.py"
    script.write_text(code)
    command = [sys.executable, "-m", "fase", "run", "-o", str(folder / "out"), *options, "--", sys.executable, *launcher, str(script)]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        if done.returncode == status or TEARDOWN not in done.stderr:
            break
    assert done.returncode == status, done.stderr
    return done.stderr


def trace(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_finds_the_loss(tmp_path: Path) -> None:
    errors = run(tmp_path, "--dynamic", "mp:bf16", *OPTIONS)
    steps = trace(tmp_path / "out" / "dynamic.jsonl")
    assert [s["step"] for s in steps] == list(range(40))  # a step is an optimizer step: two backward passes
    assert {s["mode"] for s in steps} == {"mp", "bf16"}
    assert steps[0]["mode"] == "mp"
    assert all(a["next_mode"] == b["mode"] for a, b in pairwise(steps))
    assert all(s["fmas"].get(s["mode"], 0) > 1000 for s in steps)
    other = {"mp": "bf16", "bf16": "mp"}
    assert all(s["fmas"].get(other[s["mode"]], 0) == 0 for s in steps), "a batch ran in two modes"
    assert "fase: dynamic: 40 steps" in errors
    totals = json.loads((tmp_path / "out" / "run.json").read_text())["totals"]["by_mode"]
    for mode in ("mp", "bf16"):
        assert totals[mode] == sum(s["fmas"].get(mode, 0) for s in steps)
    from fase.dynamic import EmaController

    controller = EmaController(num_batches_mp=2, num_batches_bf16=6, ema_n=2, ema_threshold=0.02)
    assert [controller.update(s["loss"]) for s in steps] == [s["next_mode"] for s in steps]


def test_paper_dynamic_leaves_batch_norm_and_optimizer_alone_in_mp_only(tmp_path: Path) -> None:
    run(tmp_path, "--policy", "paper-dynamic", "--dynamic", "mp:bf16", *OPTIONS)
    steps = trace(tmp_path / "out" / "dynamic.jsonl")
    fp32 = {mode: sum(s["fmas"].get("fp32", 0) for s in steps[1:] if s["mode"] == mode) for mode in ("mp", "bf16")}
    assert fp32["mp"] > 0
    per_step = {mode: fp32[mode] / sum(s["mode"] == mode for s in steps[1:]) for mode in fp32}
    assert per_step["mp"] > per_step["bf16"]


def test_controller_of_ones_own_and_steps_without_optimizer(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    mode = 'bf16'\n    def update(self, loss):\n        return 'fp32' if loss < 2.7 else 'bf16'\n"
    )
    code = TRAIN.replace("    optimizer.step()\n", "    with torch.no_grad():\n        for p in model.parameters(): p -= 0.1 * p.grad\n")
    run(tmp_path, "--dynamic", f"{tmp_path / 'mine.py'}:Mine", "--dynamic-option", "step=backward", code=code)
    steps = trace(tmp_path / "out" / "dynamic.jsonl")
    assert len(steps) == 80
    assert [s["next_mode"] for s in steps] == ["fp32" if s["loss"] < 2.7 else "bf16" for s in steps]
    assert {s["mode"] for s in steps} == {"fp32", "bf16"}


def test_a_controller_that_cannot_be_made_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_module\nclass Mine:\n    def update(self, loss):\n        return 'mp'\n")
    errors = run(tmp_path, "--dynamic", f"{tmp_path / 'mine.py'}:Mine", status=2)
    assert "mine.py:Mine: ModuleNotFoundError: No module named 'no_such_module'" in errors
    assert "Traceback" not in errors


def test_without_steps_it_says_so(tmp_path: Path) -> None:
    code = TRAIN.replace("    optimizer.step()\n", "")
    assert "step=backward" in run(tmp_path, "--dynamic", "mp:bf16", code=code)
    assert "step=backward" in run(tmp_path, "--dynamic", "mp:bf16", code=code + "os._exit(0)")
    assert "WARNING" not in run(tmp_path, "--dynamic", "mp:bf16", code=TRAIN + "os._exit(0)")
    assert not list((tmp_path / "out").glob("python-*"))
    assert "no Python process imported PyTorch" in run(tmp_path, "--dynamic", "mp:bf16", code="print(1)")


@pytest.mark.timeout(300)
def test_ranks_switch_together(tmp_path: Path) -> None:
    """torchrun, gloo, two processes with different data: both see the mean loss, and switch at the same steps."""
    options = (*OPTIONS, "--dynamic-option", "ema-threshold=0.002")
    run(tmp_path, "--dynamic", "mp:bf16", *options, launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))
    zero, one = trace(tmp_path / "out" / "dynamic.jsonl"), trace(tmp_path / "out" / "dynamic-rank1.jsonl")
    assert len(zero) == len(one) == 40
    assert [(s["loss"], s["mode"]) for s in zero] == [(s["loss"], s["mode"]) for s in one]
    assert {s["mode"] for s in zero} == {"mp", "bf16"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dynamic", "mp"), "two different modes"),
        (("--dynamic", "mp:nonsense=1"), "nonsense"),
        (("--dynamic", "mp:bf61"), "mode 'bf61': unknown format 'bf61' (did you mean 'bf16'?)"),
        (("--dynamic", "no_such_module:Mine"), "nor is there a module 'no_such_module'"),
        (("--dynamic", "nothing.py:Mine"), "No such file"),
        (("--dynamic", "mp:bf16", "--dynamic-option", "speed=1"), "no 'speed'; its parameters are num_batches_mp, num_batches_bf16,"),
        (("--dynamic", "mp:bf16", "--dynamic-option", "ema-n=x"), "KEY=NUMBER"),
        (("--dynamic-option", "ema-n=1"), "goes with --dynamic"),
    ],
)
def test_bad_requests(options: tuple[str, ...], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "fase", "run", *options, "--", "true"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
