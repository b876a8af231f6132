"""A training step of 3DGAN (Khattak et al.) on calorimeter showers of 25 x 25 x 25 cells: one discriminator step, two generator steps, batch of 2."""

from __future__ import annotations

import torch
from serve import Step, serve
from showers import origin, showers
from torch import nn

LATENT, BATCH, RATE = 200, 2, 1e-4
WEIGHTS = (8.0, 0.2, 0.1)
"""Of the losses: real or fake, relative error of the primary energy, relative error of the deposited energy."""


def pad(x: int, y: int, z: int) -> nn.Module:
    return nn.ConstantPad3d((z, z, y, y, x, x), 0.0)


def generator() -> nn.Module:
    return nn.Sequential(
        nn.Linear(LATENT, 3136), nn.Unflatten(1, (8, 7, 7, 8)),
        nn.Conv3d(8, 64, (6, 6, 8), padding="same"), nn.LeakyReLU(), nn.BatchNorm3d(64), nn.Upsample(scale_factor=2),
        pad(2, 2, 0), nn.Conv3d(64, 6, (6, 5, 8)), nn.LeakyReLU(), nn.BatchNorm3d(6), nn.Upsample(scale_factor=(2, 2, 3)),
        pad(1, 0, 3), nn.Conv3d(6, 6, (3, 3, 8)), nn.LeakyReLU(), nn.Conv3d(6, 1, 2, bias=False), nn.ReLU(),
    )  # fmt: skip


def trunk() -> nn.Module:
    """From showers to features."""
    layers: list[nn.Module] = [nn.Conv3d(1, 32, 5, padding="same"), nn.LeakyReLU(), nn.Dropout(0.2)]
    for inputs in (32, 8, 8):
        layers += [pad(2, 2, 1), nn.Conv3d(inputs, 8, 5), nn.LeakyReLU(), nn.BatchNorm3d(8), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.AvgPool3d(2), nn.Flatten(), nn.LazyLinear(2))


def relative(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return ((found - wanted) / wanted).abs().mean()


def prepare() -> Step:
    torch.manual_seed(1)
    make, judge = generator(), trunk()
    real, energy = showers(BATCH)
    energy = energy / 100
    deposits = real.sum((1, 2, 3, 4)).unsqueeze(1)
    judge(real)  # gives the lazy layer its shape
    judge_steps, make_steps = (torch.optim.Adam(net.parameters(), lr=RATE) for net in (judge, make))

    def loss(images: torch.Tensor, label: float) -> torch.Tensor:
        verdict, primary = judge(images).split(1, dim=1)
        truth = torch.full_like(verdict, label)
        parts = (nn.functional.binary_cross_entropy_with_logits(verdict, truth), relative(primary, energy),
                 relative(images.sum((1, 2, 3, 4)).unsqueeze(1), deposits))  # fmt: skip
        return sum((w * p for w, p in zip(WEIGHTS, parts, strict=True)), torch.zeros(()))

    def fake() -> torch.Tensor:
        return make(torch.randn(BATCH, LATENT) * energy)

    def step() -> float:
        judge_steps.zero_grad()
        found = loss(real, 1.0) + loss(fake().detach(), 0.0)
        found.backward()
        judge_steps.step()
        for _ in range(2):
            make_steps.zero_grad()
            loss(fake(), 1.0).backward()
            make_steps.step()
        return float(found.item())

    return step


if __name__ == "__main__":
    serve(prepare, steps=1, note=origin)
