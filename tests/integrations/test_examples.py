"""The experiments' scripts, shortened: real data, ordinary training, policies from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch 2.13")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
from data_files import find  # noqa: E402

COUNTED = """
import json, runpy, sys, atexit
import torch
import fase
from torch.nn.modules import module
from torch.optim import optimizer as optimizers

# Counts what runs inside batch normalisation (forward and backward), inside optimizer steps, and elsewhere: by the program's own hooks.
seen = {"norm": {}, "norm backward": {}, "step": {}}
before = {}

def begin(name):
    before[name] = fase.counters()["by_mode"]

def end(name):
    for mode, n in fase.counters()["by_mode"].items():
        seen[name][mode] = seen[name].get(mode, 0) + n - before[name].get(mode, 0)

import torch.nn.functional as F
own = F.batch_norm
def batch_norm(*arguments, **keywords):
    begin("norm")
    result = own(*arguments, **keywords)
    end("norm")
    if result.grad_fn is not None:
        result.grad_fn.register_prehook(lambda *_: begin("norm backward"))
        result.grad_fn.register_hook(lambda *_: end("norm backward"))
    return result
F.batch_norm = batch_norm
class Counted(torch.optim.SGD):
    def step(self, *a):
        begin("step")
        super().step(*a)
        end("step")
torch.optim.SGD = Counted
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
print(json.dumps({"parts": seen, "whole": fase.counters()["by_mode"]}))
"""


def needs(name: str) -> None:
    try:
        find(name)
    except SystemExit as error:
        pytest.skip(str(error))


def fase_run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "fase", "run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counted(mode: str) -> dict[str, Any]:
    script = EXAMPLES / "cifar100_cnn.py"
    out = fase_run("-q", "-m", mode, "--", sys.executable, "-c", COUNTED, script, "--steps", "3", "--batch", "16")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_paper_mp_on_cifar() -> None:
    """Batch normalisation and the optimizer execute no rounded FMA; all else is rounded just as in plain mp."""
    needs("cifar100-20k.npz")
    paper, plain = counted("paper-mp"), counted("mp")
    for name, modes in paper["parts"].items():
        assert modes.get("mp", 0) == 0, name
        assert plain["parts"][name]["mp"] > 0, name
    outside = sum(part["mp"] for part in plain["parts"].values())
    assert paper["whole"]["mp"] == plain["whole"]["mp"] - outside > 1_000_000


@pytest.mark.parametrize(("script", "data"), [("cifar100_cnn", "cifar100-20k.npz"), ("ptb_lstm", "ptb/ptb.train.txt.xz")])
def test_dynamic_training(script: str, data: str, tmp_path: Path) -> None:
    """Short: the controller's own test says when it switches; here it does, the trace has every step, and the plot is drawn."""
    needs(data)
    policy = tmp_path / "fast.toml"
    policy.write_text(
        'extends = "paper-dynamic"\n[dynamic]\nmodes = ["mp", "bf16"]\nnum-batches-mp = 1\nnum-batches-bf16 = 3\nema-threshold = 0.01\n'
    )
    out, steps = tmp_path / "out" / "fast", 14
    size = ("--batch", "8") if script == "cifar100_cnn" else ("--batch", "4", "--width", "32", "--vocabulary", "499")
    log = fase_run("-q", "--policy", policy, "-o", out, "--", sys.executable, EXAMPLES / f"{script}.py", "--steps", str(steps), *size)
    (out / "log.txt").write_text(log)
    trace = [json.loads(line) for line in (out / "dynamic.jsonl").read_text().splitlines()]
    assert [s["step"] for s in trace] == list(range(steps))
    assert {s["mode"] for s in trace} == {"mp", "bf16"}
    pytest.importorskip("matplotlib", reason="needs matplotlib (pip install 'fase[plot]')")
    from dynamic_training import plot, read, table

    outcome = read("fast", out)
    assert "fast" in table([outcome])
    plot([outcome], script, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
