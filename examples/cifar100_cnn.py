"""Trains a small CNN with batch normalisation on CIFAR-100 (200 images a class). Plain PyTorch: it knows nothing of FASE."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from data_files import find
from torch import nn

Batch = tuple[torch.Tensor, torch.Tensor]


def images(part: str) -> Batch:
    """Images (n, 3, 32, 32), normalised, and labels (n,) of `train` or `test`."""
    with np.load(find("cifar100-20k.npz")) as file:
        pixels = torch.from_numpy(file[f"x_{part}"]).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(file[f"y_{part}"].astype(np.int64))
    mean, deviation = torch.tensor([0.507, 0.487, 0.441]), torch.tensor([0.267, 0.256, 0.276])
    return (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1), labels


def network(width: int) -> nn.Module:
    """Three convolutions of `width`, 2 and 4 times `width` channels, each with batch normalisation and pooling; one linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for out in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
        channels = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, 100))


def batches(data: Batch, size: int) -> Iterator[Batch]:
    """Shuffled batches without end, half of the images mirrored."""
    x, y = data
    while True:
        for chosen in torch.randperm(len(y)).split(size):
            mirrored = torch.rand(len(chosen), 1, 1, 1) < 0.5
            yield torch.where(mirrored, x[chosen].flip(3), x[chosen]), y[chosen]


def evaluate(model: nn.Module, data: Batch) -> tuple[float, float]:
    """Mean loss and accuracy."""
    model.eval()
    x, y = data
    with torch.no_grad():
        scores = torch.cat([model(part) for part in x.split(250)])
    return float(nn.functional.cross_entropy(scores, y)), float((scores.argmax(1) == y).float().mean())


def main() -> None:
    """Trains; prints the mean loss of every ten steps, at the end those of the test images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = network(options.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.rate, momentum=0.9, weight_decay=5e-4)
    start, losses = time.perf_counter(), []
    for step, (x, y) in zip(range(1, options.steps + 1), batches(images("train"), options.batch), strict=False):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0:
            print(f"step {step} loss {sum(losses[-10:]) / 10:.4f} seconds {time.perf_counter() - start:.1f}", flush=True)
    last = losses[-200:]
    test_loss, accuracy = evaluate(model, images("test"))
    print(f"final training loss {sum(last) / len(last):.4f} test loss {test_loss:.4f} accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
