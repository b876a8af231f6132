"""The fixed set, run under `fase run`: each kernel named on the command line in each mode, and what the engine counted. A line of JSON a kernel."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fase
from fase.agent.library import agent
from fase.errors import FaseError
from fase.records import read
from fase.report.work import Work, work

SIZE = 192
MODES = ("fp32", "mp", "bf16", "e4m3fn", "bf16,exact", "bf16-2_2-3")
Kernel = Callable[[], object]


def sgemm_numpy() -> Kernel:
    a, b = np.random.default_rng(1).uniform(-0.5, 0.5, (2, SIZE, SIZE)).astype(np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def sgemm_torch() -> Kernel:
    import torch

    a, b = torch.rand(2, SIZE, SIZE) - 0.5
    return lambda: torch.mm(a, b)


def convolution() -> Kernel:
    """Forward and backward; 16 images, since with fewer PyTorch takes another path than oneDNN."""
    import torch

    layer, images = torch.nn.Conv2d(16, 32, 3, padding=1), torch.rand(16, 16, 16, 16)
    return lambda: layer(images).sum().backward()


def lstm_cell() -> Kernel:
    import torch

    cell, words, state = torch.nn.LSTMCell(96, 96), torch.rand(20, 96), (torch.rand(20, 96), torch.rand(20, 96))
    return lambda: cell(words, state)[0].sum().backward()


KERNELS: dict[str, Callable[[], Kernel]] = {
    "sgemm-numpy": sgemm_numpy,
    "sgemm-torch": sgemm_torch,
    "convolution": convolution,
    "lstm-cell": lstm_cell,
}


def executed() -> Work:
    """What emulation has executed in this process so far."""
    return work([read(Path(agent().record))])


def figures(kernel: Kernel) -> tuple[str, dict[str, float]]:
    """The function with most instructions, empty for code made at run time, and the figure in each mode that this emitter can run."""
    found, function = {}, ""
    for mode in MODES:
        try:
            fase.set_mode(mode)
        except FaseError:
            continue
        kernel()  # translates
        before = executed()
        kernel()
        done = executed().since(before)
        if done.figure is None:
            raise SystemExit(f"mode {mode}: nothing was emulated")
        found[mode] = done.figure
        function = done.instructions.most_common(1)[0][0][1]
    return function, found


def main(names: list[str]) -> None:
    for name in names:
        function, found = figures(KERNELS[name]())
        print(json.dumps({"kernel": name, "function": function, "figures": found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
