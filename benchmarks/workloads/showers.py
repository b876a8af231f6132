"""Showers for the 3DGAN workload: real ones where the data set is there, else made-up ones of the same shape."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

NAME = "showers-pbwo4-4k.npz"
CELLS = 25


def find() -> Path | None:
    """The data set in $FASE_DATA or in ../shared/data beside the repository."""
    folders = [Path(os.environ.get("FASE_DATA", "")), Path(__file__).resolve().parents[3] / "shared" / "data"]
    return next((f / NAME for f in folders if (f / NAME).is_file()), None)


def showers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` showers: deposits (count, 1, 25, 25, 25) in GeV, and primary energies (count, 1) in GeV."""
    path = find()
    if path is None:
        generator = torch.Generator().manual_seed(1)
        energy = 10 + 90 * torch.rand(count, 1, generator=generator)
        shape = torch.rand(count, CELLS**3, generator=generator) ** 8
        return (energy * shape / shape.sum(1, keepdim=True)).view(-1, 1, CELLS, CELLS, CELLS), energy
    with np.load(path) as data:
        sizes = data["counts"][:count]
        row, total = np.repeat(np.arange(count), sizes), int(sizes.sum())
        deposits = np.zeros((count, CELLS**3), np.float32)
        deposits[row, data["cell"][:total]] = data["edep"][:total]
        energies = torch.from_numpy(data["energy"][:count]).view(-1, 1)
    return torch.from_numpy(deposits).view(-1, 1, CELLS, CELLS, CELLS), energies


def origin() -> str:
    return "real showers" if find() else f"made-up showers ({NAME} not found)"
