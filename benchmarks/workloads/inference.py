"""ResNet-18 answers one image of CIFAR's shape."""

from __future__ import annotations

import torch
from residual import resnet
from serve import Step, serve


def prepare() -> Step:
    torch.manual_seed(1)
    model = resnet(18).eval()
    image = torch.rand(1, 3, 32, 32)

    def step() -> float:
        with torch.inference_mode():
            return float(model(image).sum())

    return step


if __name__ == "__main__":
    serve(prepare, steps=10)
