"""Linear systems in double precision: how much of it do the multiply-adds need?

    python examples/linear_systems.py

Runs with NumPy and SciPy alone, no launcher. For several modes of `fase.emulate(fp64=...)` it prints

- conjugate gradients: iterations until the residual that the method carries along has fallen by 10 orders, and the true residual then;
- LU factors and solutions in the mode, iterative refinement in FP64: the residual of the first solution, and the steps until refinement stops.

Products and sums that are no FMAs (divisions by pivots, vector updates in NumPy) stay FP64 in both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

import fase

Float64 = npt.NDArray[np.float64]

SIZE = 200
MODES = ("fp64", "e11m40", "e11m32", "fp32", "mp-fp32", "tf32", "bf16", "a=bf16,b=bf16,c=fp32,d=fp32", "mp-bf16")
LIMIT = 500


def system(condition: float) -> tuple[Float64, Float64]:
    """A symmetric positive definite matrix with eigenvalues from 1 / condition to 1, and a right-hand side."""
    random = np.random.default_rng(0)
    vectors = np.linalg.qr(random.standard_normal((SIZE, SIZE)))[0]
    return (vectors * np.geomspace(1 / condition, 1, SIZE)) @ vectors.T, random.standard_normal(SIZE)


def residual(a: Float64, x: Float64, b: Float64) -> float:
    """|b - a x| / |b|, in FP64."""
    return float(np.linalg.norm(b - a @ x) / np.linalg.norm(b))


def conjugate_gradients(a: Float64, b: Float64, mode: str) -> tuple[int, float]:
    """Iterations (LIMIT: it did not get there) and the true residual."""
    x, r = np.zeros(SIZE), b.copy()
    p, count = r.copy(), 0
    with fase.emulate(fp64=mode):
        rho = start = r @ r
        while count < LIMIT and np.isfinite(rho) and rho > 0 and rho > start * 1e-20:
            q = a @ p
            alpha = rho / (p @ q)
            x += alpha * p
            r -= alpha * q
            rho, before = r @ r, rho
            p = r + rho / before * p
            count += 1
    return count, residual(a, x, b)


def refinement(a: Float64, b: Float64, mode: str) -> tuple[float, int, float]:
    """The residual of the first solution; steps until it falls no more by half, and the last residual."""
    with fase.emulate(fp64=mode):
        factors = scipy.linalg.lu_factor(a)
        x = scipy.linalg.lu_solve(factors, b)
    first = best = residual(a, x, b)
    for step in range(LIMIT):
        rest = b - a @ x
        with fase.emulate(fp64=mode):
            correction = scipy.linalg.lu_solve(factors, rest)
        now = residual(a, x + correction, b)
        if not now < best / 2:
            return first, step, best
        x, best = x + correction, now
    return first, LIMIT, best


def main() -> None:
    """Prints the table."""
    a, b = system(1e3)
    print(f"{'mode':28} {'CG steps':>8} {'residual':>9}   {'LU: first':>9} {'steps':>5} {'residual':>9}")
    for mode in MODES:
        steps, true = conjugate_gradients(a, b, mode)
        first, refined, last = refinement(a, b, mode)
        print(f"{mode:28} {steps if steps < LIMIT else f'>{LIMIT - 1}':>8} {true:9.1e}   {first:9.1e} {refined:5} {last:9.1e}", flush=True)


if __name__ == "__main__":
    main()
