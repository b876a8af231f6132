"""Running the command: same terminal, same standard streams, signals passed on, its exit status ours."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fase.errors import TargetError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
_FROM_TERMINAL = 0x80
"""si_code SI_KERNEL: the terminal sent the signal to the whole foreground group, the command included."""
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 0.02


def run(path: Path, command: Sequence[str], environment: Mapping[str, str], look: Callable[[], None] | None = None) -> int:
    """Runs `path` with the arguments `command` to its end, and calls `look` now and then.

    Returns its exit status, or 128 + n when signal n ended it.
    """
    watched = _FORWARDED | {signal.SIGCHLD, signal.SIGALRM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        pid = _spawn(path, command, environment, before)
        return _wait(pid, watched, look)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while signal.sigtimedwait({signal.SIGALRM}, 0):  # one that came meanwhile would end us when it is let through
            pass
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spawn(path: Path, command: Sequence[str], environment: Mapping[str, str], mask: set[int | signal.Signals]) -> int:
    # As the user spelled it where that names the file: a script sees it as its $0.
    program = command[0] if "/" in command[0] else path
    try:
        return os.posix_spawn(program, list(command), environment, setsigmask=mask, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        raise TargetError(f"'{path}' cannot be started: {error.strerror}") from None


def _wait(pid: int, watched: frozenset[signal.Signals], look: Callable[[], None] | None) -> int:
    """Waits for the process `pid`, passing signals on. Looks now and then by itself: another thread may have taken SIGCHLD.

    A timer wakes it, not a limit of the wait: `sigtimedwait` of CPython 3.11 gives nonsense when it was stopped and continued (Ctrl-Z, fg).
    """
    seconds = _LOOK_SECONDS if look else _POLL_SECONDS
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo in _FORWARDED and info.si_code != _FROM_TERMINAL:
            os.kill(pid, info.si_signo)
        if look:
            look()
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
