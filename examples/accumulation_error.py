"""How much error a matrix product gathers when its multiply-adds round: by the reference in the order of k, and by NumPy's and PyTorch's own SGEMM.

`python examples/accumulation_error.py` prints the relative error (Frobenius) of 32 x 32 products of K terms against FP64. U: uniform, N: normal.
coarse: BF16 operands, FP32 sums, the result rounded to BF16, which is what rounding around an operation gives. fine: BF16 after every multiply-add;
chunk=128: the same with FP32 totals, which the sums go to every 128 terms. The rest are modes. A library adds up the terms in several chains; below
its table stands how long they are, found by what its BF16 sums swallow.
"""

# ruff: noqa: E402 - the libraries read the number of threads when they are loaded

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # one thread, one order of sums

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fase
from fase.agent.library import agent
from fase.machine import cpu
from fase.operators.accumulate import dot
from fase.report.run import read_records
from fase.report.work import Work, work

Matrix = npt.NDArray[np.float32]
Product = Callable[[Matrix, Matrix], Matrix]

SIZE = 32
CASES = ("U256", "U1024", "U4096", "N1024")
MODES = {"fine": "bf16", "chunk=128": "bf16,chunk=128", "mp": "mp", "bf16-2_2-3": "bf16-2_2-3", "bf16-3_3-6": "bf16-3_3-6", "fp32": "fp32"}
BIG = 256.0
"""To which BF16 cannot add 1."""


@dataclass(frozen=True)
class Library:
    """A matrix product, and whose it is."""

    name: str
    product: Product


def libraries() -> list[Library]:
    """Those that are installed."""
    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"] if isinstance(config, dict) else {}
    found = [Library(f"NumPy {np.__version__}, {blas.get('name')} {blas.get('version')}", lambda a, b: a @ b)]
    try:
        import torch
    except ModuleNotFoundError:
        return found
    torch.set_num_threads(1)
    blas_name = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    return [*found, Library(f"PyTorch {torch.__version__}, {blas_name}", lambda a, b: (torch.from_numpy(a) @ torch.from_numpy(b)).numpy())]


def operands(case: str, seed: int) -> tuple[Matrix, Matrix]:
    """Two matrices, SIZE x K and K x SIZE, of a case such as U256."""
    random, k = np.random.default_rng(seed), int(case[1:])
    draw = random.random if case[0] == "U" else random.standard_normal
    return draw((SIZE, k), dtype=np.float32), draw((k, SIZE), dtype=np.float32)


def error(product: Matrix, a: Matrix, b: Matrix) -> float:
    """Relative Frobenius distance from the product in FP64."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.linalg.norm(product - exact) / np.linalg.norm(exact))


def coarse(product: Product, a: Matrix, b: Matrix) -> Matrix:
    """Rounded before and after."""
    return fase.round(product(fase.round(a, "bf16"), fase.round(b, "bf16")), "bf16")


def in_order(mode: str) -> Product:
    """The reference: one chain of FMAs over k."""
    return lambda a, b: dot(a[:, None], b.T[None], mode)


def by_reference(a: Matrix, b: Matrix) -> dict[str, float]:
    """A row of the table."""
    return {"coarse": error(coarse(in_order("fp32"), a, b), a, b)} | {name: error(in_order(mode)(a, b), a, b) for name, mode in MODES.items()}


def by_library(library: Library, a: Matrix, b: Matrix) -> dict[str, float]:
    """A row of the table; emulation is on. SystemExit where the library computed without FMAs."""
    fase.set_mode("fp32")
    row = {"coarse": error(coarse(library.product, a, b), a, b)}
    for name, mode in MODES.items():
        fase.set_mode(mode)
        before = fase.counters()["fma_emulated"]
        row[name] = error(library.product(a, b), a, b)
        if fase.counters()["fma_emulated"] - before < a.size * SIZE // 16:
            raise SystemExit(f"{library.name} computes this product without FMA instructions: nothing can be said about it")
    return row


def chains(product: Product, k: int) -> list[int]:
    """Lengths of the chains in which a product over k terms is summed, in order; emulation is on.

    1 + 256 - 256 is 0 in a BF16 chain and 1 where a chain begins between the 1 and the 256.
    """
    fase.set_mode("bf16")

    def together(first: int, last: int) -> bool:
        a = np.zeros((SIZE, k), np.float32)
        a[:, first], a[:, last], a[:, last + 1] = 1, BIG, -BIG
        return not product(a, np.ones((k, SIZE), np.float32)).any()

    found, start = [], 0
    while start < k:
        low, high = start + 1, k - 1  # the chain ends behind low, and not behind high
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if together(start, middle) else (low, middle)
        end = k if low >= k - 1 else low
        found.append(end - start)
        start = end
    return found


def shown(lengths: list[int]) -> str:
    """3 x 192 + 64"""
    runs: list[tuple[int, int]] = []
    for length in lengths:
        runs = [*runs[:-1], (runs[-1][0] + 1, length)] if runs and runs[-1][1] == length else [*runs, (1, length)]
    return " + ".join(f"{count} x {length}" if count > 1 else str(length) for count, length in runs)


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Prints one table."""
    print(f"\n{title}")
    print(f"{'':8}" + "".join(f"{name:>12}" for name in ("coarse", *MODES)))
    for case, row in rows.items():
        print(f"{case[0]} {case[1:]:6}" + "".join(f"{value:12.1e}" for value in row.values()))


def kernels(done: Work) -> str:
    """Functions that ran, those with most instructions first."""
    return ", ".join(f"{k['function'] or 'a function without a name'} in {k['module']}" for k in done.to_dict()["kernels"][:2])


def start_under_fase() -> None:
    """Starts this program once more under `fase run`, unless it is: a process that runs already has no room for the totals of `chunk=`."""
    if fase.get_mode() is not None:
        return
    with tempfile.TemporaryDirectory(prefix="fase-") as folder:
        launcher = [sys.executable, "-m", "fase", "run", "-q", "-m", "fp32", "-o", f"{folder}/run", "--"]
        raise SystemExit(subprocess.run([*launcher, sys.executable, *sys.argv], check=False).returncode)


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="U or N and the number of terms, e.g. U256")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start_under_fase()
    data = {case: operands(case, options.seed) for case in options.cases}
    print(f"relative Frobenius error against FP64, {SIZE} x {SIZE} outputs; {cpu().model}")
    table("reference (fase.fma), in the order of k", {case: by_reference(*pair) for case, pair in data.items()})
    records = Path(agent().record).parent
    for library in libraries():
        before = work(read_records(records)[0])
        table(f"{library.name}, under the engine", {case: by_library(library, *pair) for case, pair in data.items()})
        print("kernel:", kernels(work(read_records(records)[0]).since(before)))
        print("chains:", "; ".join(f"K {k}: {shown(chains(library.product, k))}" for k in sorted({int(case[1:]) for case in data})))


if __name__ == "__main__":
    main()
