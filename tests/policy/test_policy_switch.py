"""Policies that change in a running process: blocks with other rules, nested, restored, while threads run; counts stay exact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "programs"

SET_UP = """
import ctypes, sys, threading
import fase
from fase.policy import Policy

library = ctypes.CDLL(sys.argv[1])
for name in ("alpha", "beta", "gamma_"):
    getattr(library, name).restype = ctypes.c_float
before = fase.counters()["by_mode"] if OUTSIDE else {}
expected = {}

def check(alpha, beta, gamma="fp32"):
    # Runs each function once, and compares its sum and its count with the mode it must run in; None: not counted, nothing is emulated.
    for name, mode in (("alpha", alpha), ("beta", beta), ("gamma_", gamma)):
        total = getattr(library, name)()
        assert total == (8 * 513 / 512 if mode in (None, "fp32") else 8), (name, mode, total)
        if mode:
            expected[mode] = expected.get(mode, 0) + 8
    found = fase.counters()["by_mode"]
    found = {mode: n - before.get(mode, 0) for mode, n in found.items() if n != before.get(mode, 0) and mode != "fp64"}
    assert found == expected, (found, expected)
"""

NESTED = """
native = "fp32" if OUTSIDE else None
check(native, native, native)
with fase.emulate("bf16"):
    check("bf16", "bf16")
    with fase.emulate("mp", exclude=["alpha_code"]):
        check("fp32", "mp")
        with fase.emulate("bf16"):  # the policy stays
            check("fp32", "bf16")
        with fase.emulate(exclude=["beta_code"]):  # the mode stays
            check("mp", "fp32")
            with fase.emulate("bf16", policy=Policy().extended(routines=["alpha_code=e8m5"])):
                check("e8m5", "bf16")
                fase.set_mode("mp")
                check("e8m5", "mp")
            with fase.emulate(include=["beta_code"]):
                check("fp32", "mp")
            with fase.emulate(scope="all"):
                check("mp", "mp", "mp")
            check("mp", "fp32")
        check("fp32", "mp")
    check("bf16", "bf16")
check(native, native, native)
with fase.emulate("mp", exclude=["*named*"]):  # a library, and an earlier emulation of this process with another policy
    check("fp32", "fp32")
with fase.emulate("mp"):
    check("mp", "mp")
try:
    with fase.emulate("bf16", exclude=["beta_code"]):
        check("bf16", "fp32")
        raise KeyError
except KeyError:
    check(native, native, native)
for options in ({"isa": "avx2"}, {"output": "/tmp"}):
    with fase.emulate("bf16"):
        try:
            with fase.emulate(**options):
                raise AssertionError
        except fase.FaseError as error:
            assert "isa and output" in str(error)
        check("bf16", "bf16")
totals = fase.counters()
assert all(0 <= n < 1000 for n in totals["excluded"].values()), totals
"""

# Overlapping blocks of two threads: the one entered last decides, and when it ends, what holds around it is back.
OVERLAP = """
inside, leave = threading.Event(), threading.Event()
def other():
    with fase.emulate("bf16", exclude=["alpha_code"]):
        inside.set()
        leave.wait(20)
thread = threading.Thread(target=other)
with fase.emulate("mp", exclude=["beta_code"]):
    check("mp", "fp32")
    thread.start()
    inside.wait(20)
    check("fp32", "bf16")
    leave.set()
    thread.join()
    check("mp", "fp32")
"""

THREADS = """
library.mixed.argtypes = [ctypes.c_long, ctypes.POINTER(ctypes.c_long)]
rounds, runs, wrong, natives = 200, [], [], []
stop = False
def work():
    native = (ctypes.c_long * 2)()
    done = 0
    while not stop:
        wrong.append(library.mixed(1000, native))
        done += 1000
    runs.append(done)
    natives.append(sum(native))
with fase.emulate("bf16"):
    workers = [threading.Thread(target=work) for _ in range(3)]
    for thread in workers: thread.start()
    for i in range(rounds):
        with fase.emulate("mp", exclude=["alpha_code"]):
            with fase.emulate(policy=Policy().extended(routines=["beta_code=fp32", "alpha_code=e8m6"])):
                pass
            with fase.emulate("bf16", exclude=["beta_code", "alpha_code"]):
                pass
    stop = True
    for thread in workers: thread.join()
by_mode = {mode: n - before.get(mode, 0) for mode, n in fase.counters()["by_mode"].items() if mode != "fp64"}
assert not any(wrong), sum(wrong)
assert sum(by_mode.values()) == 16 * sum(runs) > 0, (by_mode, sum(runs))
assert by_mode.get("fp32", 0) == 8 * sum(natives) > 0, (by_mode, sum(natives))
assert by_mode["bf16"] > 0 and by_mode["mp"] > 0, by_mode
assert set(by_mode) <= {"fp32", "bf16", "mp", "e8m6"}, by_mode
"""

# A child has its parent's policy and its own counts.
FORKED = """
import os
with fase.emulate("mp", exclude=["beta_code"]):
    check("mp", "fp32")
    pid = os.fork()
    if pid == 0:
        before, expected = {}, {}
        try:
            check("mp", "fp32")
            with fase.emulate("bf16", exclude=["alpha_code"]):
                check("fp32", "bf16")
            check("mp", "fp32")
            totals = fase.counters()
            assert all(0 <= n < 1000 for n in totals["excluded"].values()), totals
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    check("mp", "fp32")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("named") / "libnamed.so"
    source = PROGRAMS / "named_library.c"
    flags = ["-O2", "-D_GNU_SOURCE", "-march=x86-64", "-fPIC", "-shared", "-fno-builtin", "-Wl,-Bsymbolic"]
    subprocess.run(["gcc", *flags, "-o", str(out), str(source)], check=True)
    return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("launched", [False, True], ids=["in-process", "under-run"])
@pytest.mark.parametrize("code", [NESTED, OVERLAP, THREADS, FORKED], ids=["nested", "overlap", "threads", "forked"])
def test_policy_changes(code: str, launched: bool, library: Path) -> None:
    launcher = ["-m", "fase", "run", "-q", "-m", "fp32", "--", sys.executable] if launched else []
    text = (SET_UP + code).replace("OUTSIDE", str(launched))
    command = [sys.executable, *launcher, "-c", text, str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_policy_of_the_run_is_back_after_a_block(library: Path) -> None:
    code = """
check("fp32", "bf16")
with fase.emulate("mp", exclude=["beta_code"]):
    check("mp", "fp32")
    fase.set_mode("e8m5")
    check("e8m5", "fp32")
check("fp32", "bf16")
with fase.emulate("mp"):
    check("fp32", "mp")
"""
    launcher = ["-m", "fase", "run", "-q", "-m", "bf16", "--exclude", "alpha_code", "--", sys.executable]
    command = [sys.executable, *launcher, "-c", (SET_UP + code).replace("OUTSIDE", "True"), str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_bad_rules_change_nothing(library: Path) -> None:
    code = """
with fase.emulate("mp", exclude=["beta_code"]):
    for options in ({"exclude": [""]}, {"policy": "/none.toml"}, {"policy": Policy().extended(routines=["alpha_code=bf16"]), "mode": "bf16,chunk=4"}):
        try:
            with fase.emulate(**options):
                raise AssertionError
        except fase.FaseError:
            pass
        check("mp", "fp32")
"""
    command = [sys.executable, "-c", (SET_UP + code).replace("OUTSIDE", "False"), str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
