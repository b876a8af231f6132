"""Trains a small CNN on scikit-learn's handwritten digits (1797 images of 8x8 pixels). Plain PyTorch: it knows nothing of FASE."""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import nn


def digits(test_share: float = 0.25) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (n, 1, 8, 8) scaled to [0, 1] and labels (n,): first for training, then for testing."""
    data = load_digits()
    order = torch.randperm(len(data.target))
    images = torch.tensor(data.images, dtype=torch.float32)[order].unsqueeze(1) / 16
    labels = torch.tensor(data.target)[order]
    split = int(len(labels) * (1 - test_share))
    return images[:split], labels[:split], images[split:], labels[split:]


def network() -> nn.Module:
    """Two convolutions with batch normalisation, then two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor, batch: int) -> float:
    """One pass over the training data; returns the mean loss."""
    model.train()
    losses = []
    for chosen in torch.randperm(len(labels)).split(batch):
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(sum(losses) / len(losses))


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose most likely class is right."""
    model.eval()
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def main() -> None:
    """Trains and prints one line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="a network this small gains nothing from more")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    images, labels, test_images, test_labels = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    start = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        loss = train_epoch(model, optimizer, images, labels, options.batch)
        score = accuracy(model, test_images, test_labels)
        print(f"epoch {epoch}/{options.epochs} loss {loss:.4f} accuracy {score:.4f} seconds {time.perf_counter() - start:.2f}", flush=True)


if __name__ == "__main__":
    main()
