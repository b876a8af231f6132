"""Several ranks of one training (torchrun) see one loss, so that all of them switch at the same step."""

from __future__ import annotations

import os

import torch
from torch import distributed


def rank() -> int | None:
    """This process's number among its ranks; None when it trains alone."""
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return int(os.environ["RANK"]) if "RANK" in os.environ else None


def mean_over_ranks(loss: float) -> float:
    """The mean of the ranks' losses, added in the order of ranks: bit for bit the same everywhere."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return loss
    own = torch.tensor([loss], dtype=torch.float64)
    everyone = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, own)
    return float(sum(t.item() for t in everyone)) / len(everyone)
