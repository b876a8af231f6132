"""A real notebook: FASE in a Jupyter kernel, around PyTorch's backward, without a launcher."""

from __future__ import annotations

from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel (pip install 'fase[test]')")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (pip install 'fase[test]')")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel (pip install 'fase[test]')")
pytest.importorskip("torch", reason="needs PyTorch 2.13")

CELLS = [
    """
import time
import torch
import fase
torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 14 * 14, 10))
x, y = torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))

def gradients(backward_mode=None):
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    if backward_mode:
        with fase.emulate(backward_mode):
            loss.backward()
    else:
        loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])

def seconds(n=15):
    times = []
    for _ in range(n):
        start = time.perf_counter(); gradients(); times.append(time.perf_counter() - start)
    return sorted(times)[n // 2]

native = gradients()
before = seconds()
""",
    """
with fase.emulate("bf16"):
    y0 = gradients()          # forward and backward
rounded = gradients("bf16")   # backward only
error = float((rounded - native).norm() / native.norm())
assert 1e-4 < error < 0.5, error
""",
    """
assert fase.get_mode() is None
assert torch.equal(gradients(), native)                  # native bits
after = seconds()
assert torch.equal(gradients("fp32"), native)
assert fase.counters()["by_mode"]["bf16"] > 100_000
print(f"before {before:.6f} after {after:.6f}")
""",
]


@pytest.mark.filterwarnings("ignore")
def test_notebook() -> None:
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    words = notebook.cells[-1].outputs[0]["text"].split()
    before, after = float(words[1]), float(words[3])
    assert after < 1.5 * before + 0.002, "leaving the block did not give native speed back"
