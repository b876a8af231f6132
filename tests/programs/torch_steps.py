"""Training steps of small models with stock PyTorch; prints every loss and a digest of the gradients, bit for bit.

torch_steps.py MODEL THREADS      MODEL: cnn (oneDNN convolution, batch norm), lstm, transformer, conv3d
"""

import hashlib
import sys

import torch
from torch import nn


class Lstm(nn.Module):  # type: ignore[misc] # types are checked without PyTorch
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 32, batch_first=True)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(x)[0][:, -1])


def model(name: str) -> tuple[nn.Module, torch.Tensor]:
    if name == "cnn":
        layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10)), torch.randn(8, 3, 16, 16)
    if name == "lstm":
        return Lstm(), torch.randn(8, 12, 24)
    if name == "transformer":
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        return nn.Sequential(layer, nn.Flatten(), nn.Linear(12 * 32, 10)), torch.randn(8, 12, 32)
    if name == "conv3d":
        layers = [nn.Conv3d(1, 8, 3), nn.LeakyReLU(), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 3), nn.LeakyReLU(), nn.AdaptiveAvgPool3d(1)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10)), torch.randn(4, 1, 10, 10, 10)
    raise ValueError(name)


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(7)
    net, x = model(sys.argv[1])
    target = torch.arange(x.shape[0]) % 10
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), target)
        loss.backward()
        gradients = b"".join(p.grad.numpy().tobytes() for p in net.parameters())
        print("loss", loss.item().hex(), "gradients", hashlib.sha256(gradients).hexdigest())
        optimiser.step()


main()
