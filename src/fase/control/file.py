"""The control file of a run (native/abi/control.h): made by `fase run`, written by whoever asks for another mode, read by the agents.

No NumPy here: the launcher uses it while the program runs.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fase.errors import FaseError, UsageError
from fase.operators import Operator, write_tables

NAME = "control"
LOG = "switches.jsonl"
"""Beside it: a line for each request, and for each that was refused."""
KEEP_THREAD = 1
FOLLOWS_TRAINING = 2
"""Hooks in Python switch the modes of this run (--torch, --dynamic): nobody else shall."""

_MAGIC = b"FASECTL1"
_SEQUENCE = len(_MAGIC)
_LAYOUT = struct.Struct("<8sII56s2048s")
_TEXTS = struct.Struct("<56s2048s")
_FUTEX, _WAKE, _EVERYONE = 202, 1, 2**31 - 1


@dataclass(frozen=True)
class State:
    """What was asked for last: the number of the request and its mode (0, and the run's own mode: nothing yet); and the run's options."""

    sequence: int
    options: int
    mode: str


def create(folder: Path, options: int, mode: str) -> Path:
    """Makes the control file of a run that starts in `mode`, with no request in it. UsageError where that cannot be."""
    path = folder / NAME
    try:
        path.write_bytes(_LAYOUT.pack(_MAGIC, 0, options, mode.encode(), b""))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return path


def read(folder: Path) -> State:
    """The last request. UsageError when the folder is not that of a run."""
    try:
        data = (folder / NAME).read_bytes()
        magic, sequence, options, mode, _ = _LAYOUT.unpack(data)
    except (OSError, struct.error):
        magic = b""
    if magic != _MAGIC:
        raise UsageError(f"{folder} holds no run of `fase run`")
    return State(sequence, options, mode.rstrip(b"\0").decode())


def is_run(folder: Path) -> bool:
    """Whether a folder holds a control file."""
    try:
        read(folder)
    except UsageError:
        return False
    return True


def request(folder: Path, operator: Operator) -> int:
    """Asks all processes of a run, those that it starts later too, for a mode. Returns the number of the request."""
    import ctypes  # not before it is needed: `fase run` is to start quickly

    name, spec = operator.full_name.encode(), operator.spec.encode()
    if len(spec) >= 2048:
        raise UsageError(f"mode '{operator.name}' is too long to describe for a switch")
    write_tables(operator, folder)
    try:
        with _locked(folder / NAME) as memory:
            sequence = ctypes.c_uint32.from_buffer(memory, _SEQUENCE)
            sequence.value |= 1  # odd: readers wait. One writer that died here has left it odd
            _TEXTS.pack_into(memory, _LAYOUT.size - _TEXTS.size, name, spec)
            sequence.value += 1
            number = sequence.value
            ctypes.CDLL(None).syscall(_FUTEX, ctypes.byref(sequence), _WAKE, _EVERYONE, None, None, 0)
            del sequence  # it holds the mapping
            _log(folder, {"number": number, "time": round(time.time(), 6), "mode": operator.full_name})
    except OSError as error:
        raise FaseError(f"cannot write {folder / NAME}: {error.strerror}") from None
    return number


def mark_refused(folder: Path, number: int) -> None:
    """Says that a process could not carry out a request. Does nothing where that cannot be written: the process's record says it too."""
    with suppress(OSError), _locked(folder / NAME):
        _log(folder, {"refused": number})


def switches(folder: Path, refused: Iterable[int] = ()) -> list[dict[str, Any]]:
    """The requests of a run that no process refused (`refused`: as records say), in order: `time` in seconds since 1970, and `mode`."""
    try:
        rows = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    without = {*refused, *(row["refused"] for row in rows if "refused" in row)}
    return [{"time": row["time"], "mode": row["mode"]} for row in rows if "mode" in row and row["number"] not in without]


def _log(folder: Path, row: dict[str, Any]) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")


@contextmanager
def _locked(path: Path) -> Iterator[mmap.mmap]:
    """The file, mapped; one writer at a time."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with mmap.mmap(file.fileno(), _LAYOUT.size) as memory:
            yield memory
