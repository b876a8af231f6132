"""The Python side with the real engine: doctor, sessions, and what a run records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Result

SESSION = """
import json
import numpy as np
import fase

a = np.random.default_rng(0).random((64, 64), np.float32)
product = lambda: (a @ a).tobytes()
native = product()
modes = [fase.get_mode()]
with fase.emulate("bf16"):
    modes.append(fase.get_mode())
    bf16 = product()
    with fase.emulate("fp32"):
        modes.append(fase.get_mode())
        fp32 = product()
    modes.append(fase.get_mode())
    fase.set_mode("e8m10")
    modes.append(fase.get_mode())
    e8m10 = product()
    try:
        fase.emulate("mp", isa="avx2").__enter__()
    except fase.FaseError as error:
        refused = str(error)
modes.append(fase.get_mode())
after = product()
print(json.dumps({
    "modes": modes, "refused": refused, "counters": fase.counters(),
    "same": [x == native for x in (bf16, fp32, e8m10, after)],
}))
"""


def session(*launcher: str) -> dict[str, object]:
    """What the session above found, run by `launcher` or plainly."""
    command = [*launcher, sys.executable, "-W", "error", "-c", SESSION]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_doctor(run_fase: Callable[..., Result]) -> None:
    result = run_fase("doctor", "--json")
    report = json.loads(result.out)
    assert [c for c in report["checks"] if not c["ok"]] == []
    assert result.status == 0
    assert report["ok"]
    assert set(report["machine"]) >= {"CPU", "kernel", "agent", "NumPy"}


def test_doctor_fails_with_an_agent_that_does_nothing(run_fase: Callable[..., Result], idle_agent: Path) -> None:
    result = run_fase("doctor")
    assert result.status == 1
    assert str(idle_agent) in result.out
    assert "FAILED" in result.out
    assert "the agent did not start" in result.out


def test_session_in_a_plain_interpreter() -> None:
    found = session()
    assert found["modes"] == [None, "bf16", "fp32", "bf16", "e8m10", None]
    assert found["same"] == [False, True, False, True]
    assert "cannot change" in str(found["refused"])
    counters = found["counters"]
    assert isinstance(counters, dict)
    by_mode = counters["by_mode"]
    assert by_mode["bf16"] == by_mode["fp32"] == by_mode["e8m10"] > 0


def test_session_under_fase_run() -> None:
    found = session(sys.executable, "-m", "fase", "run", "-q", "-m", "fp32", "--")
    assert found["modes"] == ["fp32", "bf16", "fp32", "bf16", "e8m10", "fp32"]
    assert found["same"] == [False, True, False, True]


def test_modes_of_a_matrix_product(run_fase: Callable[..., Result], tmp_path: Path) -> None:
    """Every mode runs as many FMAs; fp32 gives native bits, and mp those of rounded operands up to the last step.

    OpenBLAS ends with C += alpha * sum, an FMA in which the sum is a factor: `mp` rounds it to BF16 there.
    """
    code = (
        "import sys, numpy as np, fase; a = fase.round(np.random.default_rng(0).random((64, 64), np.float32), 'bf16');"
        "sys.stdout.write((a @ a).tobytes().hex())"
    )
    native = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    counts = set()
    values = np.frombuffer(bytes.fromhex(native), np.float32)
    for mode, tolerance in (("fp32", 0.0), ("mp", 2.0**-8), ("bf16", 0.1)):
        result = run_fase("run", "-m", mode, "-o", tmp_path, "--", sys.executable, "-c", code)
        assert result.status == 0
        np.testing.assert_allclose(np.frombuffer(bytes.fromhex(result.out), np.float32), values, rtol=tolerance)
        totals = json.loads((tmp_path / "run.json").read_text())["totals"]
        counts.add(totals["fma_emulated"])
        assert totals["fma_executed"] == sum(totals["by_mode"].values())
    assert len(counts) == 1


def test_children_are_recorded(run_fase: Callable[..., Result], tmp_path: Path) -> None:
    run_fase("run", "-q", "-o", tmp_path, "--", "bash", "-c", f"{sys.executable} -c pass; {sys.executable} -c pass; true")
    processes = json.loads((tmp_path / "run.json").read_text())["processes"]
    assert [p["command"][-1] for p in processes].count("pass") == 2
    assert len({p["pid"] for p in processes}) == 3  # a program that replaces itself by another leaves a record of each


def test_environment_reaches_the_program(run_fase: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent starts before the C library: nothing it does there may run the library's constructors too early."""
    monkeypatch.setenv("A_NAME", "a value")
    assert run_fase("run", "-q", "--", "env").out.splitlines().count("A_NAME=a value") == 1
    assert run_fase("run", "-q", "--", "sh", "-c", "exec env").out.splitlines().count("A_NAME=a value") == 1


def test_names_of_arguments_reach_the_record(run_fase: Callable[..., Result], tmp_path: Path) -> None:
    run_fase("run", "-q", "-o", tmp_path, "--", "echo", "a b", "", "c")
    assert json.loads((tmp_path / "run.json").read_text())["processes"][0]["command"] == ["echo", "a b", "", "c"]


REPEATED = """
import numpy as np
import fase

a = np.random.default_rng(0).random((64, 64), np.float32)
native = (a @ a).tobytes()


@fase.emulate("bf16", exclude=["nothing*"])
def product():
    return (a @ a).tobytes()


print([product() == native for _ in range(3)], (a @ a).tobytes() == native, fase.get_mode())
with fase.emulate("bf16"):
    print((a @ a).tobytes() == product(), fase.get_mode())
try:
    with fase.emulate("mp", exclude=["nothing*"]):
        raise KeyError
except KeyError:
    print(fase.get_mode())
"""


def test_blocks_can_be_repeated() -> None:
    """Each restores native code, also when left by an exception, and with another policy than the block before."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", REPEATED], capture_output=True, text=True, check=True, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[0] == "[False, False, False] True None"
    assert lines[1:] == ["True bf16", "None"]
