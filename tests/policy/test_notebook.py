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

native = gradients()
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
assert torch.equal(gradients("fp32"), native)
counted = fase.counters()
gradients()
assert fase.counters() == counted                        # and native speed: not one FMA went through a patch
assert counted["by_mode"]["bf16"] > 100_000
""",
]


@pytest.mark.filterwarnings("ignore")
def test_notebook() -> None:
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
