"""Building the test programs, running them natively and under `fase run`, and reading what both say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = REPOSITORY / "tests" / "programs"
C_FLAGS = ["-O2", "-g0", "-D_GNU_SOURCE", "-march=x86-64", "-Wall", "-Wextra", "-Werror", "-pthread"]
"""-march=x86-64: the compiler has no FMA of its own; every FMA is one that the source spells out."""
TIMEOUT = 60
UNIT = 512  # see tests/programs/probe.h

Word = str | int | Path
"""One word of a command line."""


@dataclass(frozen=True)
class Result:
    """What a run left behind. `returncode` is as a shell would say it: 128 + n after signal n."""

    stdout: str
    stderr: str
    returncode: int
    run_json: dict[str, Any] = field(default_factory=dict)

    @property
    def totals(self) -> dict[str, Any]:
        totals: dict[str, Any] = self.run_json["totals"]
        return totals

    def number(self, name: str) -> int:
        """The number that the program printed on the line that begins with `name`."""
        found = re.search(rf"^{name} (-?\d+)$", self.stdout, re.MULTILINE)
        assert found, f"no line '{name}' in:\n{self.stdout}\n{self.stderr}"
        return int(found[1])

    def lines(self, prefix: str) -> list[str]:
        return [line.removeprefix(prefix).strip() for line in self.stdout.splitlines() if line.startswith(prefix)]

    @property
    def plain(self) -> str:
        """The output that must not depend on the mode, nor on the run."""
        varying = ("mode-dependent", "fmas", "probes", "units")
        return "\n".join(line for line in self.stdout.splitlines() if not line.startswith(varying))


class Builder:
    """Compiles test programs, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def program(self, name: str, *extra: str, stripped: bool = False) -> Path:
        """The executable of tests/programs/NAME.c or .cpp (with NAME.S, when there is one). `extra`: compiler options, the same in every call."""
        flags = [*extra, "-s"] if stripped else extra
        return self.named(name + "-stripped" * stripped, name, *flags)

    def named(self, out_name: str, name: str, *extra: str | Path) -> Path:
        """The same as the file `out_name`; `extra` may hold further sources."""
        out = self.folder / out_name
        if not out.exists():
            own = [path for ending in (".c", ".cpp", ".S") if (path := PROGRAMS / (name + ending)).exists()]
            compiler = ["g++", "-std=c++20"] if any(path.suffix == ".cpp" for path in own) else ["gcc", "-std=gnu17"]
            self._compile([*compiler, *C_FLAGS, f"-I{PROGRAMS}", *map(str, [*extra, *own])], out)
        return out

    def library(self, name: str, copy: str = "") -> Path:
        """The shared library of tests/programs/NAME.c; `copy` makes another one of the same content."""
        out = self.folder / f"lib{name}{copy}.so"
        if not out.exists():
            self._compile(["gcc", "-std=gnu17", *C_FLAGS, "-fPIC", "-shared", str(PROGRAMS / (name + ".c"))], out)
        return out

    def _compile(self, command: list[str], out: Path) -> None:
        partial = out.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(partial), "-ldl"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        partial.rename(out)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with `fase` importable and without settings that would change a result."""
    merged = {k: v for k, v in os.environ.items() if not k.startswith("FASE_") or k == "FASE_NATIVE_DIR"}
    merged["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "src"), *filter(None, [merged.get("PYTHONPATH")])])
    return merged | dict(extra or {})


def run_native(argv: Sequence[Word], env: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> Result:
    """Runs `argv` as it is."""
    return _run([str(a) for a in argv], environment(env), timeout)


def run_fase(
    mode: str, argv: Sequence[Word], *options: str, env: Mapping[str, str] | None = None, limits: str = "", timeout: float = TIMEOUT
) -> Result:
    """Runs `argv` under `fase run -m mode` with further `options`. `limits`: bounds on regions, e.g. "fmas=1,loops=0"."""
    extra = dict(env or {}) | ({"FASE_LIMITS": limits} if limits else {})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fase", "run", "-m", mode, "-o", folder, *options, "--", *map(str, argv)]
        done = _run(command, environment(extra), timeout)
        summary = Path(folder) / "run.json"
        run_json = json.loads(summary.read_text()) if summary.exists() else {}
    return Result(done.stdout, done.stderr, done.returncode, run_json)


def _run(command: list[str], env: dict[str, str], timeout: float) -> Result:
    # A process group of its own: when it hangs, everything that it started goes with it.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=env, start_new_session=True)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        stdout, stderr = process.communicate()
        raise AssertionError(f"hangs: {' '.join(command)}\n{stdout[-2000:]}\n{stderr[-2000:]}") from None
    code = process.returncode
    return Result(stdout, stderr, code if code >= 0 else 128 - code)


def cpu_flags() -> frozenset[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":")[1].split())
    return frozenset()


HAS_AVX512 = {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= cpu_flags()


def unit_of(mode: str) -> int:
    """What one probe adds in `mode`, in units of 1/512: the rounded factor is 1, the original 1 + 2^-9."""
    return UNIT + 1 if mode == "fp32" else UNIT


def check_counts(mode: str, result: Result) -> None:
    """No escape: values and counters both say that every FMA was emulated, and the counters say how many there were."""
    fmas, fp64 = result.number("fmas"), result.number("fp64")
    assert result.number("units") == result.number("probes") * unit_of(mode), "probes escaped emulation, by their values"
    totals = result.totals
    assert totals["fma_executed"] == fmas + fp64
    assert totals["fma_emulated"] == fmas
    assert totals["by_mode"].get(mode, 0) == fmas
    assert totals["by_mode"].get("fp64", 0) == fp64
    assert "unsupported" not in totals["unemulated"]
