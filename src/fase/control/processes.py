"""The processes of a run that are alive, and what mode each is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fase import records
from fase.agent.config import RECORD_SUFFIX
from fase.control import file
from fase.errors import RecordError, UsageError, cut


@dataclass(frozen=True)
class Process:
    """One process of a run, alive when it was looked at. `header` is that of its record."""

    pid: int
    header: Any

    @property
    def is_untouched(self) -> bool:
        """It has run no emulated code yet: whatever it runs will be in the mode that was asked for last."""
        return not self.header["segments"]

    @property
    def mode(self) -> str:
        """The mode it is in; "-" when it is just starting."""
        return self.modes[int(self.header["mode_now"])] if self.has_mode else "-"

    @property
    def has_mode(self) -> bool:
        """It has got as far as being in a mode."""
        return int(self.header["mode_now"]) < len(self.modes)

    @property
    def modes(self) -> list[str]:
        """All modes it was ever in."""
        return records.mode_names(self.header)

    @property
    def command(self) -> str:
        """Its command line, the beginning."""
        return " ".join(records.command_of(self.header))[:60]

    @property
    def is_stopped(self) -> bool:
        """It is stopped, by Ctrl-Z, SIGSTOP or a debugger: all its threads are, but a main thread that has ended."""
        return any(_state(task) in "Tt" for task in Path(f"/proc/{self.pid}/task").glob("*"))

    def has_taken(self, request: int) -> bool:
        """It has dealt with a request, or will before it runs its first FMA."""
        return self.is_untouched or self.taken >= request

    @property
    def taken(self) -> int:
        """The last request that it has dealt with."""
        return int(self.header["control_taken"])

    def has_refused(self, request: int) -> bool:
        """It could not carry a request out."""
        return int(self.header["control_refused"]) >= request


def _state(task: Path) -> str:
    """The letter by which the kernel calls a thread's state; X, dead, when it has ended meanwhile."""
    try:
        status = (task / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "X"
    return status.rpartition(") ")[2][0]


def folder_of(run: str) -> Path:
    """The folder of a run's records and control file. `run`: the folder of `fase run -o`, a file in it, or the number of a process. UsageError."""
    path = Path(run)
    exists = os.path.exists(run)  # noqa: PTH110 - the one of Path raises for names that are too long
    if run.isdecimal() and not exists:
        return _folder_of_process(run)
    if not exists:
        raise UsageError(f"no run '{cut(run)}': give the folder of `fase run -o`, or the number of a process")
    folder = path if path.is_dir() else path.parent
    for candidate in (folder / "records", folder):
        if (candidate / file.NAME).is_file():
            return candidate
    raise UsageError(f"{run} is not the folder of a run: it holds no control file")


def alive(folder: Path) -> list[Process]:
    """The run's processes, oldest first."""
    found: dict[int, Process] = {}
    for header in _headers(folder):
        pid = int(header["pid"])
        if pid not in found or found[pid].header["start_ns"] < header["start_ns"]:  # after an execve the same process has another record
            found[pid] = Process(pid, header)
    return sorted((p for p in found.values() if _belongs(p.pid, folder)), key=lambda p: int(p.header["start_ns"]))


def _headers(folder: Path) -> Iterator[Any]:
    for path in folder.glob(f"*{RECORD_SUFFIX}"):
        try:
            yield records.read_header(path)
        except (RecordError, OSError):  # being made right now
            continue


def _folder_of_process(number: str) -> Path:
    """Of a process of a run, or of the `fase run` that started it. An ancestor of several runs names none of them."""
    if not os.path.isdir(f"/proc/{number}"):  # noqa: PTH112 - as above
        raise UsageError(f"no process {cut(number)}")
    pid = int(number)
    own = _run_of(pid)
    folders = {own} if own else {folder for folder in map(_run_of, _children(pid)) if folder}
    if len(folders) != 1:
        below = f"; {len(folders)} runs are below it" if folders else ""
        raise UsageError(f"process {pid} does not run under `fase run`, nor is it one{below}")
    return folders.pop()


def _run_of(pid: int) -> Path | None:
    return next((folder for folder in _control_folders(pid) if file.is_run(folder)), None)


def _belongs(pid: int, folder: Path) -> bool:
    """The process is alive and still one of this run's: numbers come back. The folder may have been made anew for another run."""
    return Path(os.path.realpath(folder)) in _control_folders(pid)


def _control_folders(pid: int) -> Iterator[Path]:
    """The folders of the files with the control file's name that a process has mapped.

    It cannot hide those, as it can its environment. It may have lost its main thread, whose memory then counts as empty.
    """
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            lines = (task / "maps").read_bytes().splitlines()
        except OSError:
            continue
        if lines:
            ending = f"/{file.NAME}".encode()
            yield from (Path(os.fsdecode(line.split(maxsplit=5)[-1])).parent for line in lines if line.endswith(ending))
            return


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found
