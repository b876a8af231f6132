"""Formats given by their values in whole programs: posits, and formats a user brings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import Builder, Result, environment, run_fase
from test_stochastic import START, A, B, N, same, words

import fase
from fase.agent.config import Config
from fase.agent.environment import child_environment
from fase.agent.locate import AGENT, library
from fase.operators import parse

MODES = ["posit8", "a=posit8,b=posit8,d=posit16"]


def chain(mode: str) -> np.ndarray:
    x = START
    for _ in range(N):
        x = fase.fma(A, x, B, mode)
    return x


@pytest.mark.parametrize("isa", ["auto", "avx2"])
@pytest.mark.parametrize("mode", MODES)
def test_chain(mode: str, isa: str, build: Builder) -> None:
    result = run_fase(mode, [build.program("stochastic"), "chain", N], "--isa", isa)
    assert same(words(result, "chain")[0], chain(mode))
    assert result.totals["by_mode"] == {mode: N}


def test_exact(build: Builder) -> None:
    result = run_fase("posit8,exact", [build.program("stochastic"), "chain", N])
    assert same(words(result, "chain")[0], chain("posit8,exact"))


def test_children_find_the_table(build: Builder) -> None:
    """A shell execs the program in a child process."""
    result = run_fase("posit8", ["sh", "-c", f"{build.program('stochastic')} chain {N}; true"])
    assert same(words(result, "chain")[0], chain("posit8"))


USERS = """
import sys
import numpy as np
import fase

fase.formats.register("signs", [1.0, -1.0])
fase.formats.register("lns8", decode=lambda code: 2.0 ** (code // 8 - 16) * (1 + code % 8 / 8), bits=8)
a = np.random.default_rng(0).random((24, 24), np.float32)
b = np.ascontiguousarray(a.T)
rows = []
for mode in ("a=signs,b=lns8", "a=posit8,b=lns8,d=lns8"):
    with fase.emulate(mode):
        one = a @ b
    with fase.emulate("fp32"):
        fase.set_mode(mode)
        other = a @ b
        assert fase.get_mode() == mode
    assert (one == other).all(), mode
    # OpenBLAS ends with C += alpha * sum: for one term there is no order of summation.
    x, y = a[:, :1].copy(), b[:1, :].copy()
    with fase.emulate(mode):
        rows.append(x @ y)
print(len(np.unique(rows[0])), fase.counters()["by_mode"])
"""


def test_users_formats_in_process() -> None:
    env = environment({"OPENBLAS_NUM_THREADS": "1"})
    done = subprocess.run([sys.executable, "-c", USERS], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "a=signs,b=lns8" in done.stdout


@pytest.mark.parametrize("by_option", [True, False])
def test_a_users_format_on_the_command_line(by_option: bool, build: Builder, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[steps]\nvalues = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -0.5, inf, nan]\n")
    options = ("--formats", str(file)) if by_option else ()
    env = {} if by_option else {"FASE_FORMATS": str(file)}
    result = run_fase("steps", [build.program("stochastic"), "chain", N], *options, env=env)
    found = words(result, "chain")[0]
    assert set(found) <= {0.25, 0.5, 0.75, 1.0, 1.5}


def start_agent(folder: Path, program: Path) -> Result:
    env = child_environment(os.environ, library(AGENT), Config(parse("posit8"), folder))
    done = subprocess.run([program, "chain", "1"], env=env, capture_output=True, text=True, check=False)
    return Result(done.stdout, done.stderr, done.returncode)


@pytest.mark.parametrize(
    ("damage", "message"), [("gone", "cannot be read (errno 2)"), ("cut", "its size"), ("other", "FASETAB1"), ("empty", "FASETAB1")]
)
def test_a_broken_table_stops_the_start(damage: str, message: str, build: Builder, tmp_path: Path) -> None:
    """`fase run` writes what it needs; who starts the agent otherwise, or takes the file away from a child, gets one line."""
    config = Config(parse("posit8"), tmp_path)
    config.write_tables()
    (table,) = tmp_path.glob("*.fasetab")
    whole = table.read_bytes()
    assert start_agent(tmp_path, build.program("stochastic")).returncode == 0
    table.unlink() if damage == "gone" else table.write_bytes({"cut": whole[:-4], "other": b"x" + whole[1:], "empty": b""}[damage])
    stopped = start_agent(tmp_path, build.program("stochastic"))
    assert stopped.returncode == 3
    assert stopped.stdout == ""
    assert message in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    config.write_tables()
    assert table.read_bytes() == whole
