"""The channel of `fase run --control`: a FIFO or a file into which modes are written, one a line."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fase.errors import FaseError, UsageError, cut

if TYPE_CHECKING:
    from fase.control.processes import Process
    from fase.control.switching import Request


_LONGEST = 200
"""A line with more characters is no mode, nor is it repeated in a message."""
_STEADY_SECONDS = 0.5
"""A last line without its end counts when the file has not changed for so long: nobody is writing."""


class Channel:
    """Reads what is written while the run lasts. A line that is no mode is reported and changes nothing.

    Of a regular file that was rewritten or grew, the last line counts; what was in it before the run does not. A missing file is made.
    A FIFO or a file that takes the place of the first is read on.
    """

    def __init__(self, path: Path, folder: Path, complain: Callable[[str], None]) -> None:
        """`folder` holds the run's control file, `complain` is told of bad lines. UsageError when the channel cannot be opened."""
        self._path, self._folder, self._complain = path, folder, complain
        self._lines: list[str] = []
        self._request: Request | None = None
        self._source = _open(path, os.O_CREAT)
        if isinstance(self._source, _File):
            self._source.skip()

    def look(self) -> bool:
        """Passes on the next line, and says whether there are more. The first call loads NumPy: in a thread that blocks signals."""
        from fase.control import switching

        if self._request:
            self._watch(self._request, switching.alive(self._folder))
        self._lines = self._lines or self._read()
        if self._lines:
            try:
                self._request = switching.ask(self._folder, _checked(self._lines.pop(0)))
            except FaseError as error:
                self._say(str(error))
        return bool(self._lines)

    def _read(self) -> list[str]:
        """The lines of the source, then those of what has taken its place."""
        lines = self._source.lines()
        if lines or not _was_replaced(self._source.identity, self._path):
            return lines
        try:
            new = _open(self._path)
        except UsageError:  # not readable yet, or nothing to read modes from
            return []
        self._source.close()
        self._source = new
        return new.lines()

    def _watch(self, request: Request, processes: list[Process]) -> None:
        """Says when a process has refused what was asked for last."""
        refused = request.refused(processes)
        if refused:
            self._say(request.refusal(refused))
        if refused or not request.waiting(processes):
            self._request = None

    def _say(self, what: str) -> None:
        self._complain(f"fase: --control {self._path}: {what}")


class _Source:
    """What is read, by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.identity = _identity(os.fstat(descriptor))

    def lines(self) -> list[str]:
        """Lines that are new since the last call."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will be read."""
        os.close(self._descriptor)


class _Fifo(_Source):
    """Every line counts."""

    _rest = b""

    def lines(self) -> list[str]:
        try:
            self._rest += os.read(self._descriptor, 65536)
        except BlockingIOError:
            return []
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest[: 4 * _LONGEST + 1]  # of a line that never ends no more than shows that it is too long
        return [text for line in lines if (text := _text(line))]


class _File(_Source):
    """The last line counts whenever the file has changed."""

    _seen = _changed = (0, 0)
    _since = 0.0

    def skip(self) -> None:
        """What is in it now does not count."""
        self._seen = self._version()

    def lines(self) -> list[str]:
        version = self._version()
        if version == self._seen:
            return []
        if version != self._changed:
            self._changed, self._since = version, time.monotonic()
        with open(self._descriptor, "rb", closefd=False) as stream:  # by its descriptor: its name may be gone
            stream.seek(0)
            content = stream.read()
        if content and not content.endswith(b"\n") and time.monotonic() < self._since + _STEADY_SECONDS:
            return []
        self._seen = version
        return [text for line in content.splitlines() if (text := _text(line))][-1:]

    def _version(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_mtime_ns, status.st_size


def _open(path: Path, flags: int = 0) -> _Fifo | _File:
    """The FIFO or the file at `path`. UsageError when it is neither, or cannot be opened."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o644)  # as a writer too: no end of file
    except OSError as error:
        raise UsageError(f"--control '{path}' cannot be opened: {error.strerror}") from None
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(kind):
        return _Fifo(descriptor)
    if stat.S_ISREG(kind):
        return _File(descriptor)
    os.close(descriptor)
    raise UsageError(f"--control '{path}' is neither a FIFO nor a file")


def _was_replaced(identity: tuple[int, int], path: Path) -> bool:
    try:
        return _identity(path.stat()) != identity
    except OSError:  # gone; what is open can still be written to
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _text(line: bytes) -> str:
    return line.decode(errors="replace").strip()


def _checked(line: str) -> str:
    if len(line) > _LONGEST:
        raise UsageError(f"a line of {len(line):,} characters or more is no mode: {cut(repr(line))}")
    return line
