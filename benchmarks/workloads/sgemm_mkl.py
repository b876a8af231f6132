"""512 x 512 matrix product by the MKL in the folder $MKL_FOLDER, called through its C interface."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
from serve import Step, serve

SIZE = 512
ROW_MAJOR, NO_TRANSPOSE = 101, 111


def load() -> ctypes.CDLL:
    """MKL's run-time library; the libraries it opens by name come first."""
    folder = Path(os.environ["MKL_FOLDER"])
    for name in ("libiomp5.so", "libmkl_core.so", "libmkl_intel_thread.so"):
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL | os.RTLD_LAZY)
    return ctypes.CDLL(str(folder / "libmkl_rt.so"), mode=ctypes.RTLD_GLOBAL)


def version() -> str:
    """As MKL says it."""
    text = ctypes.create_string_buffer(200)
    load().mkl_get_version_string(text, len(text))
    return " ".join(text.value.decode().split())


def prepare() -> Step:
    sgemm = load().cblas_sgemm
    sgemm.restype = None
    random = np.random.default_rng(1)
    a, b = (random.uniform(-0.5, 0.5, (SIZE, SIZE)).astype(np.float32) for _ in range(2))
    out = np.empty((SIZE, SIZE), np.float32)
    size, pointer = ctypes.c_int(SIZE), ctypes.POINTER(ctypes.c_float)
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    x, y, z = (m.ctypes.data_as(pointer) for m in (a, b, out))

    def step() -> float:
        sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, size, size, size, one, x, size, y, size, zero, z, size)
        return float(out[0, 0])

    return step


if __name__ == "__main__":
    serve(prepare, steps=40, note=version)
