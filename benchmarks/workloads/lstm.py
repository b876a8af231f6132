"""A training step of the small word-level LSTM of Zaremba et al. 2014 with PTB's shapes: 20 rows of 35 words, vocabulary 10,000, 2 x 200 units."""

from __future__ import annotations

import torch
from serve import Step, serve
from torch import nn
from training import RATE

WORDS, UNITS, BATCH, LENGTH = 10_000, 200, 20, 35
CLIP = 5.0


def prepare() -> Step:
    torch.manual_seed(1)
    embedding, lstm, output = nn.Embedding(WORDS, UNITS), nn.LSTM(UNITS, UNITS, num_layers=2), nn.Linear(UNITS, WORDS)
    parameters = [p for layer in (embedding, lstm, output) for p in layer.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=RATE)
    text = torch.randint(WORDS, (LENGTH + 1, BATCH))

    def step() -> float:
        optimizer.zero_grad()
        scores = output(lstm(embedding(text[:-1]))[0])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), text[1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return float(loss.item())

    return step


if __name__ == "__main__":
    serve(prepare, steps=1)
