"""One matrix product in PyTorch (MKL): torch_sgemm.py OUTPUT.npy SIZE plain|rounded, one thread. rounded: the operands are rounded to BF16 first."""

import sys

import numpy as np
import torch

torch.set_num_threads(1)
n = int(sys.argv[2])
# Not torch.randn: its logarithms are another test's subject.
a, b = (torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, n)).astype(np.float32)) for seed in (1, 2))
if sys.argv[3] == "rounded":
    a, b = a.to(torch.bfloat16).float(), b.to(torch.bfloat16).float()
np.save(sys.argv[1], (a @ b).numpy())
