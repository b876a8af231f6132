"""ResNet-18 and ResNet-50 (He et al. 2015) with the first layer of their CIFAR versions: 3 x 3, no pooling."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512)


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


class Residual(nn.Module):  # type: ignore[misc] # types are checked without PyTorch
    """`path` plus a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, path: list[nn.Module]) -> None:
        super().__init__()
        self.path = nn.Sequential(*path)
        self.shortcut = nn.Identity() if inputs == outputs and stride == 1 else nn.Sequential(*unit(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.path(x) + self.shortcut(x))


def basic(inputs: int, width: int, stride: int) -> Residual:
    return Residual(inputs, width, stride, [*unit(inputs, width, 3, stride), nn.ReLU(inplace=True), *unit(width, width, 3)])


def bottleneck(inputs: int, width: int, stride: int) -> Residual:
    path = [*unit(inputs, width, 1), nn.ReLU(inplace=True), *unit(width, width, 3, stride), nn.ReLU(inplace=True), *unit(width, 4 * width, 1)]
    return Residual(inputs, 4 * width, stride, path)


def resnet(depth: int, classes: int = 100) -> nn.Module:
    """ResNet of depth 18 or 50 for images of (n, 3, 32, 32)."""
    make, growth, blocks = {18: (basic, 1, (2, 2, 2, 2)), 50: (bottleneck, 4, (3, 4, 6, 3))}[depth]
    layers: list[nn.Module] = [*unit(3, 64, 3), nn.ReLU(inplace=True)]
    inputs = 64
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        for i in range(count):
            layers.append(make(inputs, width, 2 if stage and not i else 1))
            inputs = width * growth
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
