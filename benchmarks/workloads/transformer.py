"""A training step of a Transformer with Multi30k's shapes: 32 pairs of 16 words, vocabulary 6,000, width 256, 3 + 3 layers, dropout."""

from __future__ import annotations

import torch
from serve import Step, serve
from torch import nn
from training import RATE

WORDS, WIDTH, BATCH, LENGTH = 6_000, 256, 32, 16


def prepare() -> Step:
    torch.manual_seed(1)
    source, target, output = nn.Embedding(WORDS, WIDTH), nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
    core = nn.Transformer(WIDTH, nhead=8, num_encoder_layers=3, num_decoder_layers=3, dim_feedforward=512, batch_first=True)
    parameters = [p for layer in (source, target, output, core) for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE / 10)
    english, german = torch.randint(WORDS, (BATCH, LENGTH)), torch.randint(WORDS, (BATCH, LENGTH + 1))
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)

    def step() -> float:
        optimizer.zero_grad()
        scores = output(core(source(english), target(german[:, :-1]), tgt_mask=mask, tgt_is_causal=True))
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), german[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


if __name__ == "__main__":
    serve(prepare, steps=1)
