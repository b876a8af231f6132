"""512 x 512 matrix product in NumPy, by the OpenBLAS inside it. OPENBLAS_CORETYPE chooses the kernel."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
from serve import Step, serve

SIZE = 512


def kernel() -> str:
    """The kernel in use, as OpenBLAS calls it."""
    library = next((Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*.so"), None)
    if library is None:
        return "unknown"
    name = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
    name.restype = ctypes.c_char_p
    return str(name().decode())


def prepare() -> Step:
    random = np.random.default_rng(1)
    a, b = (random.uniform(-0.5, 0.5, (SIZE, SIZE)).astype(np.float32) for _ in range(2))
    out = np.empty((SIZE, SIZE), np.float32)

    def step() -> float:
        np.matmul(a, b, out=out)
        return float(out[0, 0])

    return step


if __name__ == "__main__":
    serve(prepare, steps=40, note=kernel)
