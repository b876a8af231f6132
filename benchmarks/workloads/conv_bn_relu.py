"""A training step of two blocks of convolution, batch normalisation and ReLU on 16 images of 32 x 32."""

from __future__ import annotations

import torch
from serve import Step, serve
from torch import nn
from training import classifier_step


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def prepare() -> Step:
    torch.manual_seed(1)
    model = nn.Sequential(*block(3, 32), *block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return classifier_step(model, torch.rand(16, 3, 32, 32), classes=10)


if __name__ == "__main__":
    serve(prepare, steps=6)
