"""A linear layer and a convolution of stock PyTorch in BF16.

`torch_bf16.py OUT [MODE...]` saves inputs, weights and results as float32: of the process as it is, or once in each mode, with VDPBF16PS in the mode
too; then it prints how many of those ran in which mode.
"""

import sys
from contextlib import nullcontext

import numpy as np
import torch

import fase

SIZE = 64

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(3)
x, w, image, kernel = (torch.randn(*shape, generator=generator) for shape in ((SIZE, SIZE), (SIZE, SIZE), (2, 16, 12, 12), (32, 16, 3, 3)))
arrays = {"x": x.bfloat16(), "w": w.bfloat16()}
modes = sys.argv[2:]
for mode in modes or [""]:
    with fase.emulate(mode, bf16_instructions="run") if mode else nullcontext(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        arrays[f"linear {mode}"] = torch.nn.functional.linear(x, w)
        arrays[f"convolution {mode}"] = torch.nn.functional.conv2d(image, kernel)
assert all(value.dtype == torch.bfloat16 for value in arrays.values())
np.savez(sys.argv[1], **{name.strip(): value.float().numpy() for name, value in arrays.items()})
if modes:
    for mode, count in fase.counters()["vdpbf16ps_by_mode"].items():
        print("mode", mode, count)
