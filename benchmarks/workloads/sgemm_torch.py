"""512 x 512 matrix product in PyTorch, by the MKL inside it."""

from __future__ import annotations

import torch
from serve import Step, serve

SIZE = 512


def prepare() -> Step:
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(SIZE, SIZE, generator=generator) - 0.5
    b = torch.rand(SIZE, SIZE, generator=generator) - 0.5
    out = torch.empty(SIZE, SIZE)

    def step() -> float:
        torch.mm(a, b, out=out)
        return float(out[0, 0])

    return step


if __name__ == "__main__":
    serve(prepare, steps=40)
