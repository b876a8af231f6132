"""Torch rules, counted: which FMAs ran in which mode, part by part of a training step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch 2.13")

MODEL = """
import json
import torch
from torch import nn
import fase

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16 * 6 * 6, 32))
conv, norm, linear = model[0], model[1], model[4]
x, y = torch.randn(16, 3, 8, 8), torch.randint(0, 32, (16,))
seen = {}

def counted(name, work):
    before = fase.counters()["by_mode"]
    result = work()
    after = fase.counters()["by_mode"]
    seen[name] = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0) and k != "fp64"}
    return result
"""

STEP = """
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
a = counted("conv", lambda: conv(x))
a.retain_grad()
b = counted("norm", lambda: norm(a))
c = nn.functional.relu(b).flatten(1)
d = counted("linear", lambda: linear(c))
loss = nn.functional.cross_entropy(d, y)
g = torch.autograd.grad(loss, d)[0]
gc = counted("linear input gradient", lambda: torch.autograd.grad(d, c, g, retain_graph=True)[0])
counted("linear weight gradient", lambda: torch.autograd.grad(d, linear.weight, g, retain_graph=True))
gb = torch.autograd.grad(c, b, gc)[0]
ga = counted("norm backward", lambda: torch.autograd.grad(b, (a, norm.weight, norm.bias), gb)[0])
counted("conv backward", lambda: torch.autograd.grad(a, conv.weight, ga))
for p in model.parameters():
    p.grad = torch.ones_like(p)
counted("step", optimizer.step)
counted("second step", optimizer.step)
counted("after", lambda: x.flatten(1) @ x.flatten(1).T)
print(json.dumps(seen))
"""


def run(code: str, *options: str, mode: str = "mp", status: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "fase", "run", "-m", mode, *options, "--", sys.executable, "-c", MODEL + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def counts(*options: str, mode: str = "mp") -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(run(STEP, *options, mode=mode)[0])
    return found


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, int]]:
    return counts()


def test_everything_is_rounded_without_rules(plain: dict[str, dict[str, int]]) -> None:
    assert all(seen.get("mp") for name, seen in plain.items()), plain


@pytest.mark.parametrize("how", ["preset", "mode", "flags"])
def test_paper_mp(how: str, plain: dict[str, dict[str, int]]) -> None:
    """Batch normalisation, forward and backward, and the optimizer round nothing; all else is rounded as without the policy."""
    if how == "flags":
        seen = counts("--torch", "BatchNorm*=fp32", "--torch", "optimizer=fp32")
    else:
        seen = counts("--policy", "paper-mp") if how == "preset" else counts(mode="paper-mp")
    for name in ("norm", "norm backward", "step", "second step"):
        assert seen[name].get("mp", 0) == 0, name
        assert seen[name]["fp32"] >= plain[name]["mp"] > 0, name
    for name in ("conv", "linear", "linear input gradient", "linear weight gradient", "conv backward", "after"):
        assert seen[name].get("mp", 0) == plain[name]["mp"], name


def test_paper_bf16_rounds_all() -> None:
    for name, seen in counts(mode="paper-bf16").items():
        assert seen.get("bf16"), name
        assert set(seen) <= {"bf16", "fp32"}, name


def test_phases() -> None:
    """Forward, input gradient and weight gradient of one layer under three operators."""
    flags = ("Linear:forward=fp32", "Linear:input-gradient=bf16", "Linear:weight-gradient=e8m10")
    whole = """
        x.requires_grad_()
        d = counted("forward", lambda: linear(x.flatten(1).repeat(1, 3)))
        counted("backward", lambda: torch.autograd.grad(d.sum(), (x, *linear.parameters())))
        print(json.dumps(seen))
    """
    code = "\n".join(line.strip() for line in whole.splitlines())
    code_plain = json.loads(run(code)[0])
    seen = json.loads(run(code, *(word for flag in flags for word in ("--torch", flag)))[0])
    assert seen["forward"].get("mp", 0) == 0
    assert seen["backward"]["bf16"] > 0
    assert seen["backward"]["e8m10"] > 0
    assert seen["backward"].get("mp", 0) == 0
    assert seen["backward"]["bf16"] + seen["backward"]["e8m10"] >= code_plain["backward"]["mp"]


def test_split_backward_gives_the_same_gradients() -> None:
    code = """
import sys
def gradients():
    for p in model.parameters(): p.grad = None
    nn.functional.cross_entropy(model(x), y).backward()
    return [p.grad.clone() for p in model.parameters()]
x.requires_grad_()
x.grad = None
a = gradients(); gx = x.grad.clone(); x.grad = None
with fase.emulate(torch=["Conv2d:input-gradient=run", "Linear:weight-gradient=run", "BatchNorm2d:weight-gradient=run"]):
    b = gradients()
assert all(torch.equal(p, q) for p, q in zip(a, b)), [float((p - q).abs().max()) for p, q in zip(a, b)]
assert torch.equal(gx, x.grad)
"""
    run(code)


def test_names_first_match_and_innermost() -> None:
    code = """
a = counted("0", lambda: model[0:1](x))
model(x)
forward = []
for layer in (conv, norm, linear):
    layer.register_forward_hook(lambda *_: forward.append(fase.get_mode()))  # runs inside the layer's scope? after global hooks
whole = counted("whole", lambda: model(x))
print(json.dumps(seen))
"""
    # By qualified name; the first rule that matches decides; `run` makes an exception from a rule for the module around it.
    seen = json.loads(run(code, "--torch", "Sequential=fp32", "--torch", "4=run", "--torch", "Linear=bf16")[0])
    assert seen["0"].get("mp", 0) == 0
    assert set(seen["whole"]) == {"fp32", "mp"}
    seen = json.loads(run(code, "--torch", "torch.nn.modules.linear.*=bf16", "--torch", "Linear=fp32", "--torch", "0:backward=fp32")[0])
    assert seen["whole"]["bf16"] > 0
    assert seen["whole"]["mp"] > 0


def test_modes_are_back_after_exceptions() -> None:
    code = """
class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x * 1
    @staticmethod
    def backward(ctx, g): raise KeyError("backward")
class Layer(nn.Module):
    def forward(self, x, fail=False):
        if fail: raise KeyError("forward")
        return Broken.apply(x)
layer = Layer()
for work in (lambda: layer(x, fail=True), lambda: layer(x.requires_grad_()).sum().backward()):
    try:
        work()
    except KeyError:
        pass
    else:
        raise AssertionError
    assert fase.get_mode() == "mp", fase.get_mode()
"""
    run(code, "--torch", "Layer=fp32")


def test_other_sitecustomize_and_site_packages_stay(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.OWN = 1\n")
    code = "import sys, os\nassert OWN == 1\nassert not any(p.endswith(os.path.join('integrations', 'site')) for p in sys.path)"
    import os

    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "fase", "run", "-q", "--torch", "Linear=fp32", "--", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)
    assert done.returncode == 0, done.stderr


def test_unused_costs_nothing() -> None:
    """Without rules the child's environment has nothing of ours in it, and PyTorch no hooks."""
    code = """
import os
from torch.nn.modules import module
assert not any("integrations" in p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep)) and "FASE_PYTHON" not in os.environ
assert not module._global_forward_hooks and torch.autograd.backward.__module__ == "torch.autograd"
with fase.emulate(torch=["Linear=fp32"]):
    assert module._global_forward_hooks
assert not module._global_forward_hooks and not module._global_forward_pre_hooks
"""
    run(code)


def test_rules_that_match_nothing_are_reported() -> None:
    _, errors = run("model(x)", "--torch", "Nonsense*=fp32", "--torch", "Conv2d=fp32")
    assert "WARNING: --torch Nonsense*=fp32: matched nothing" in errors
    assert "Conv2d" not in errors.replace("-c", "").split("WARNING", 1)[1]


@pytest.mark.parametrize(("rule", "message"), [("Linear", "GLOB=MODE"), ("Linear=nonsense", "nonsense"), ("Linear:sideways=fp32", "sideways")])
def test_bad_rules(rule: str, message: str) -> None:
    command: list[Any] = [sys.executable, "-m", "fase", "run", "--torch", rule, "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_routine_rules_in_the_engine(plain: dict[str, dict[str, int]]) -> None:
    """Libraries, code made at run time (oneDNN's convolutions), and an exception: the first match wins."""
    seen = counts("--rule", "jit=fp32", "--rule", "*batch_norm*=run", "--rule", "libtorch_cpu.so=bf16")
    assert seen["conv"].get("mp", 0) == 0
    assert seen["conv"]["fp32"] >= plain["conv"]["mp"]
    assert seen["norm"]["mp"] == plain["norm"]["mp"]
    assert seen["linear"].get("mp", 0) == 0
    assert seen["linear"]["bf16"] == plain["linear"]["mp"]


@pytest.mark.parametrize(("end", "status"), [("os._exit(0)", 0), ("os.kill(os.getpid(), 15)", 143), ("raise SystemExit(3)", 3)])
def test_what_rules_matched_is_known_however_the_program_ends(end: str, status: int) -> None:
    _, errors = run(f"import os\nmodel(x)\n{end}", "--torch", "Nonsense*=fp32", "--torch", "Conv2d=fp32", "--torch", "Linear=fp32", status=status)
    assert "imported PyTorch" not in errors
    assert errors.count("matched nothing") == 1
    assert "WARNING: --torch Nonsense*=fp32: matched nothing" in errors
