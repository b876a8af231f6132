"""A training step of ResNet-50 on 16 images of CIFAR's shape (with fewer, and one thread, PyTorch takes another path than oneDNN)."""

from __future__ import annotations

import torch
from residual import resnet
from serve import Step, serve
from training import classifier_step


def prepare() -> Step:
    torch.manual_seed(1)
    return classifier_step(resnet(50), torch.rand(16, 3, 32, 32), classes=100)


if __name__ == "__main__":
    serve(prepare, steps=1)
