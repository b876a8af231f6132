"""Stochastic rounding in whole programs: every thread's results are those of the reference that replays its stream."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from harness import Builder, Result, Word, environment, run_fase, run_native

import fase

N = 150
A, B = np.float32(0.9), np.float32(0.07)
START = np.arange(1, 9, dtype=np.float32) / np.float32(7)
MODES = ["bf16,rounding=sr", "bf16,rounding-d=sr,seed=17", "e4m3,rounding=sr4"]
DRAWS = {MODES[0]: 4, MODES[1]: 1, MODES[2]: 4}
"""Stochastic roundings of one instruction."""


def replay(mode: str, x: np.ndarray, count: int, thread: int = 0, done: int = 0) -> np.ndarray:
    """`count` instructions x = a * x + b of a thread that has executed `done` before."""
    for i in range(done, done + count):
        x = fase.fma(A, x, B, mode, thread=thread, start=i * DRAWS[mode], lanes=8)
    return x


def words(result: Result, name: str) -> list[np.ndarray]:
    assert result.returncode == 0, result.stdout + result.stderr
    return [np.array([int(word, 16) for word in line.split()], np.uint32).view(np.float32) for line in result.lines(f"{name} ")]


def same(got: np.ndarray, want: np.ndarray) -> bool:
    return bool((got.view(np.uint32) == want.view(np.uint32)).all())


@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("mode", MODES)
def test_chain(mode: str, isa: str, build: Builder) -> None:
    result = run_fase(mode, [build.program("stochastic"), "chain", N], "--isa", isa)
    assert same(words(result, "chain")[0], replay(mode, START, N))
    assert result.totals["by_mode"] == {mode: N}


@pytest.mark.parametrize("limits", ["instructions=1", "scratch_registers=4,loops=0"])
def test_limits_do_not_matter(limits: str, build: Builder) -> None:
    result = run_fase(MODES[0], [build.program("stochastic"), "chain", N], limits=limits)
    assert same(words(result, "chain")[0], replay(MODES[0], START, N))


def test_threads_have_streams_of_their_own(build: Builder) -> None:
    """Numbered in the order of their creation, whichever runs first; the main thread is number 0."""
    found = words(run_fase(MODES[0], [build.program("stochastic"), "threads", 5, N]), "thread")
    want = [replay(MODES[0], START, N, thread) for thread in range(1, 6)]
    assert all(map(same, found, want))
    assert len({x.tobytes() for x in found}) == 5


def test_a_forked_child_goes_on_with_the_stream(build: Builder) -> None:
    result = run_fase(MODES[0], [build.program("stochastic"), "fork", N])
    before = replay(MODES[0], START, N)
    after = replay(MODES[0], before, N, done=N)
    assert same(words(result, "before")[0], before)
    assert same(words(result, "child")[0], after)
    assert same(words(result, "parent")[0], after)


@pytest.mark.parametrize("isa", ["auto", "avx2"])
def test_a_fault_draws_nothing(isa: str, build: Builder) -> None:
    """The instruction that faults and is executed again draws once."""
    result = run_fase(MODES[0], [build.program("stochastic"), "fault"], "--isa", isa)
    x, third = np.full(4, 0.2, np.float32), np.float32(0.3)
    x[1:] = 0
    a, b = (np.array([v, 0, 0, 0], np.float32) for v in (A, B))  # what the calling convention puts into the registers
    x = fase.fma(a, b, x, MODES[0], start=0, lanes=4)
    x = fase.fma(x, np.full(4, third), b, MODES[0], start=4, lanes=4)
    x = fase.fma(a, x, b, MODES[0], start=8, lanes=4)
    assert same(words(result, "fault")[0], x[:1])


def test_sums_do_not_stagnate(build: Builder) -> None:
    """0.1 added in BF16: to nearest, the sum stops where a term is less than half a step; stochastically it does not, and is right on average."""
    command: list[Word] = [build.program("stochastic"), "sum", 4096]
    exact = 4096 * 0.1
    nearest = words(run_fase("bf16", command), "sum")[0][0]
    found = [words(run_fase(f"bf16,rounding=sr,seed={seed}", command), "sum")[0][0] for seed in range(4)]
    assert nearest == 32
    assert len(set(found)) > 1
    # Steps of 2 at the end, so a variance below 1/4 * 2^2 an addition; sigma < 64 for one sum.
    assert abs(np.mean(found) - exact) < 4 * 64 / np.sqrt(4)
    assert abs(words(run_native(command), "sum")[0][0] - exact) < 0.1


SEEDS = """
import numpy as np
import fase

a = np.random.default_rng(0).random((8, 40), np.float32)
b = np.ascontiguousarray(np.random.default_rng(1).random((40, 8), np.float32))


def product(mode):
    with fase.emulate(mode):
        return a @ b


first, again, other = product("bf16,rounding=sr,seed=1"), product("bf16,rounding=sr,seed=1"), product("bf16,rounding=sr,seed=2")
assert (first == again).all()      # emulation starts again, and the stream with it
assert (first != other).any()
with fase.emulate("bf16,rounding=sr,seed=1"):
    one = a @ b
    fase.set_mode("mp")
    fase.set_mode("bf16,rounding=sr,seed=2")
    two = a @ b
    fase.set_mode("bf16,rounding=sr,seed=1")
    three = a @ b
assert (one == first).all()
assert (two == other).all()        # a stream for each seed
assert (three != first).any()      # which goes on
"""


def test_seeds_and_switches_in_process() -> None:
    env = environment({"OPENBLAS_NUM_THREADS": "1"})
    done = subprocess.run([sys.executable, "-c", SEEDS], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
