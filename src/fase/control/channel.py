"""The channel of `fase run --control`: a FIFO or a file into which modes are written, one a line."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fase.errors import FaseError, UsageError

if TYPE_CHECKING:
    from fase.control.processes import Process
    from fase.control.switching import Request


class Channel:
    """Reads what is written while the run lasts. A line that is no mode is reported and changes nothing.

    Of a regular file that was rewritten or grew, the last line counts; what was in it before the run does not. A missing file is made.
    """

    def __init__(self, path: Path, folder: Path, complain: Callable[[str], None]) -> None:
        """`folder` holds the run's control file, `complain` is told of bad lines. UsageError when the channel cannot be opened."""
        self._path, self._folder, self._complain = path, folder, complain
        self._rest = b""
        self._waiting: list[str] = []
        self._request: Request | None = None
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)  # as a writer too: no end of file
        except OSError as error:
            raise UsageError(f"--control '{path}' cannot be opened: {error.strerror}") from None
        kind = os.fstat(self._descriptor).st_mode
        self._is_fifo = stat.S_ISFIFO(kind)
        if not self._is_fifo and not stat.S_ISREG(kind):
            raise UsageError(f"--control '{path}' is neither a FIFO nor a file")
        self._seen = self._version()

    def look(self) -> bool:
        """Passes on the next line, and says whether there are more. The first call loads NumPy: in a thread that blocks signals."""
        from fase.control import switching

        if self._request:
            self._watch(self._request, switching.alive(self._folder))
        self._waiting = self._waiting or self._lines()
        if self._waiting:
            try:
                self._request = switching.ask(self._folder, self._waiting.pop(0))
            except FaseError as error:
                self._say(str(error))
        return bool(self._waiting)

    def _watch(self, request: Request, processes: list[Process]) -> None:
        """Says when a process has refused what was asked for last."""
        refused = request.refused(processes)
        if refused:
            self._say(request.refusal(refused))
        if refused or not request.waiting(processes):
            self._request = None

    def _say(self, what: str) -> None:
        self._complain(f"fase: --control {self._path}: {what}")

    def _lines(self) -> list[str]:
        if not self._is_fifo:
            return self._last_line()
        try:
            self._rest += os.read(self._descriptor, 65536)
        except BlockingIOError:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        return [text for line in lines if (text := line.decode(errors="replace").strip())]

    def _last_line(self) -> list[str]:
        version = self._version()
        if version == self._seen:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except OSError:
            return []
        if lines and not lines[-1].endswith("\n"):  # somebody is writing
            return []
        self._seen = version
        return [line.strip() for line in lines if line.strip()][-1:]

    def _version(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0, 0
        return status.st_ino, status.st_mtime_ns, status.st_size
