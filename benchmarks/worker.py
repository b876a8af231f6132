"""A workload's process, native or under `fase run`, as seen from outside."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue import Workload
from fase.agent.config import RECORD_SUFFIX
from fase.records import read
from fase.report.work import Work, work

NATIVE = "native"
ANSWER_SECONDS = 600
KIB = 1024


class WorkerError(Exception):
    """A workload's process died or does not answer."""


@dataclass(frozen=True)
class Repetition:
    """Wall seconds, CPU seconds of all threads, and the workload's own figure."""

    seconds: float
    cpu_seconds: float
    value: float


def clean_environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """This environment without settings of FASE, and with as many threads in every library as asked for."""
    base = {k: v for k, v in os.environ.items() if not k.startswith("FASE_") or k in ("FASE_NATIVE_DIR", "FASE_DATA")}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return base | counts | {"PYTHONWARNINGS": "ignore"} | dict(extra)


def under(mode: str, command: list[str], output: Path | None = None) -> list[str]:
    """`command` under `fase run -q`; itself where `mode` is native."""
    if mode == NATIVE:
        return command
    return [sys.executable, "-m", "fase", "run", "-q", "-m", mode, *(["-o", str(output)] if output else []), "--", *command]


class Worker:
    """One live process: `run` asks for a repetition. A context manager; leaving it ends the process."""

    def __init__(self, workload: Workload, mode: str, environment: Mapping[str, str], folder: Path, steps: int | None) -> None:
        self.mode = mode
        self.folder = folder
        self._errors = folder / "stderr"
        folder.mkdir(parents=True)
        command = under(mode, [sys.executable, str(workload.path), *(["--steps", str(steps)] if steps else [])], folder)
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(environment),
                                             start_new_session=True)  # fmt: skip
        try:
            self.hello = self._answer()
        except BaseException:
            self._kill()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure:
            self._kill()
        self.close()

    def run(self) -> Repetition:
        """One repetition, now."""
        assert self._process.stdin
        try:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None
        answer = self._answer()
        return Repetition(answer["seconds"], answer["cpu_seconds"], answer["value"])

    def memory(self) -> dict[str, int]:
        """Bytes resident: at their highest, and now, of what kind."""
        status = Path(f"/proc/{self.hello['pid']}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        names = {"highest": "VmHWM", "now": "VmRSS", "anonymous": "RssAnon", "file": "RssFile", "shared": "RssShmem"}
        return {name: int(fields[field].split()[0]) * KIB for name, field in names.items()}

    def work(self) -> Work:
        """What emulation has executed so far; nothing in a native process."""
        return work(map(read, (self.folder / "records").glob(f"{self.hello['pid']}-*{RECORD_SUFFIX}")))

    def close(self) -> dict[str, Any]:
        """Ends the process. Returns `run.json`; empty for a native one."""
        try:
            self._process.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            raise WorkerError(f"{self.mode}: does not end") from None
        result = self.folder / "run.json"
        return json.loads(result.read_text()) if result.exists() else {}

    def _kill(self) -> None:
        """Ends the launcher and the program; the session is ours alone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        if not ready:
            raise WorkerError(f"{self.mode}: no answer within {ANSWER_SECONDS} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._dead()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _dead(self) -> WorkerError:
        status = self._process.wait()
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return WorkerError(f"{self.mode}: ended with status {status}" + (f": {lines[-1]}" if lines else ""))
