"""Element-wise functions of PyTorch over their domains, written as .npz: torch_functions.py OUTPUT.

Their insides are polynomials of FMAs, which the default scope leaves in FP32. No input is rounded to BF16, so none of them stays put by accident.
"""

import sys

import numpy as np
import torch

torch.set_num_threads(1)
# Not torch.linspace: that is arithmetic of the model, start + i * step by FMA, and would be rounded.
wide = torch.from_numpy(np.linspace(-20, 20, 100_003).astype(np.float32))
positive = torch.from_numpy(np.logspace(-30, 30, 100_003).astype(np.float32))
functions = {
    "exp": (torch.exp, wide),
    "tanh": (torch.tanh, wide),
    "sigmoid": (torch.sigmoid, wide),
    "softmax": (lambda x: torch.softmax(x.reshape(-1, 29), 1), wide[:29000]),
    "gelu": (torch.nn.functional.gelu, wide),
    "erf": (torch.erf, wide / 4),
    "log": (torch.log, positive),
    "sin": (torch.sin, wide),
    "randn": (lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(3)), wide),
}
np.savez(sys.argv[1], **{name: function(x).numpy() for name, (function, x) in functions.items()})
