"""Square matrix product in PyTorch, by the MKL inside it; 512 x 512, or of size $SGEMM_SIZE."""

from __future__ import annotations

import os

import torch
from serve import Step, serve

SIZE = int(os.environ.get("SGEMM_SIZE", "512"))


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
