"""A training step of ResNet-50 on 4 images of CIFAR's shape."""

from __future__ import annotations

import torch
from residual import resnet
from serve import Step, serve
from training import classifier_step


def prepare() -> Step:
    torch.manual_seed(1)
    return classifier_step(resnet(50), torch.rand(4, 3, 32, 32), classes=100)


if __name__ == "__main__":
    serve(prepare, steps=1)
