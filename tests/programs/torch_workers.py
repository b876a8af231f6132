"""A DataLoader whose items are matrix products: torch_workers.py WORKERS. Prints the items; they do not depend on who computed them."""

import hashlib
import sys

import torch
from torch.utils.data import DataLoader, Dataset

SIZE, ITEMS = 96, 12


class Products(Dataset[torch.Tensor]):  # type: ignore[misc] # types are checked without PyTorch
    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> torch.Tensor:
        a = torch.arange(SIZE * SIZE, dtype=torch.float32).reshape(SIZE, SIZE) / (index + 97)
        return torch.sin(a) @ torch.cos(a)


torch.set_num_threads(1)
for batch in DataLoader(Products(), batch_size=2, num_workers=int(sys.argv[1])):
    print("batch", hashlib.sha256(batch.numpy().tobytes()).hexdigest())
