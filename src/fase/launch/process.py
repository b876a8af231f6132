"""Running the command: same terminal, same standard streams, signals passed on, its exit status ours."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fase.errors import TargetError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
_FROM_TERMINAL = 0x80
"""si_code SI_KERNEL: the terminal sent the signal to the whole foreground group, the command included."""
_LOOK_SECONDS = 0.02


def run(path: Path, command: Sequence[str], environment: Mapping[str, str], look: Callable[[], bool] | None = None) -> int:
    """Runs `path` with the arguments `command` to its end, and calls `look` now and then; at once again while it says that there is more.

    Returns its exit status, or 128 + n when signal n ended it.
    """
    watched = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        pid = _spawn(path, command, environment, before)
        return _wait(pid, watched, look)
    finally:
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spawn(path: Path, command: Sequence[str], environment: Mapping[str, str], mask: set[int | signal.Signals]) -> int:
    # As the user spelled it where that names the file: a script sees it as its $0.
    program = command[0] if "/" in command[0] else path
    try:
        return os.posix_spawn(program, list(command), environment, setsigmask=mask, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        raise TargetError(f"'{path}' cannot be started: {error.strerror}") from None


def _wait(pid: int, watched: frozenset[signal.Signals], look: Callable[[], bool] | None) -> int:
    """Waits for the process `pid`, passing signals on.

    Without a limit of time: `sigtimedwait` of CPython 3.11 gives nonsense when it was stopped and continued meanwhile (Ctrl-Z, fg). The process's end
    wakes it in any case: another thread may have taken the kernel's own SIGCHLD.
    """
    ended, here = threading.Event(), threading.get_ident()

    def wake_at_the_end() -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended.set()
        signal.pthread_kill(here, signal.SIGCHLD)

    def look_now_and_then(look: Callable[[], bool]) -> None:
        more = False
        while not ended.wait(0 if more else _LOOK_SECONDS):
            more = look()

    threads = [threading.Thread(target=wake_at_the_end)]
    threads += [threading.Thread(target=look_now_and_then, args=(look,))] if look else []
    for thread in threads:
        thread.start()
    while not ended.is_set():
        info = signal.sigwaitinfo(watched)
        if info.si_signo in _FORWARDED and info.si_code != _FROM_TERMINAL:
            os.kill(pid, info.si_signo)
    for thread in threads:
        thread.join()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code
