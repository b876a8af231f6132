"""Trains an LSTM language model on the Penn Treebank. Plain PyTorch: it knows nothing of FASE."""

from __future__ import annotations

import argparse
import lzma
import time
from collections import Counter
from collections.abc import Iterator

import torch
from data_files import find
from torch import nn


def words(part: str) -> list[str]:
    """The words of `train`, `valid` or `test`; a line ends with <eos>."""
    with lzma.open(find(f"ptb/ptb.{part}.txt.xz"), "rt", encoding="utf-8") as file:
        return [word for line in file for word in [*line.split(), "<eos>"]]


def numbers(text: list[str], vocabulary: list[str]) -> torch.Tensor:
    """Words as their ranks in the vocabulary; all others as its last, <rare>."""
    rank = {word: i for i, word in enumerate(vocabulary)}
    return torch.tensor([rank.get(word, len(vocabulary)) for word in text])


class Model(nn.Module):  # type: ignore[misc] # types are checked without PyTorch
    """Embedding, LSTM, and a linear layer to the scores of the next word."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.scores = nn.Linear(width, vocabulary)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Scores (batch, time, vocabulary) and the state after the last word."""
        hidden, state = self.lstm(self.embedding(x), state)
        return self.scores(hidden), state


def pieces(text: torch.Tensor, batch: int, length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, bool]]:
    """Words, the words that follow, and whether a new pass begins; `batch` places of the text at once, `length` words a piece, no end."""
    rows = text[: len(text) // batch * batch].view(batch, -1)
    while True:
        for i in range(0, rows.shape[1] - length, length):
            yield rows[:, i : i + length], rows[:, i + 1 : i + length + 1], i == 0


def main() -> None:
    """Trains; prints the mean loss of every ten steps, at the end that of the validation text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=1999)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    train = words("train")
    vocabulary = [word for word, _ in Counter(train).most_common(options.vocabulary)]
    model = Model(len(vocabulary) + 1, options.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.rate)
    losses: list[float] = []
    state, start = None, time.perf_counter()
    for step, (x, y, begins) in zip(range(1, options.steps + 1), pieces(numbers(train, vocabulary), options.batch, options.length), strict=False):
        state = None if begins or state is None else (state[0].detach(), state[1].detach())
        scores, state = model(x, state)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0:
            print(f"step {step} loss {sum(losses[-10:]) / 10:.4f} seconds {time.perf_counter() - start:.1f}", flush=True)
    last = losses[-200:]
    model.eval()
    with torch.no_grad():
        held_out = numbers(words("valid")[:20001], vocabulary)
        x, y, _ = next(pieces(held_out, 20, 999))
        test_loss = nn.functional.cross_entropy(model(x, None)[0].flatten(0, 1), y.flatten())
    print(f"final training loss {sum(last) / len(last):.4f} test loss {float(test_loss):.4f} perplexity {float(test_loss.exp()):.2f}")


if __name__ == "__main__":
    main()
