"""Every error FASE raises on purpose. Each carries the exit status its command ends with."""

from __future__ import annotations

from collections.abc import Iterable


def cut(text: str, most: int = 60) -> str:
    """The beginning of a text that may be of any length, for a message."""
    return text if len(text) <= most else f"{text[:most]}..."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """What `word` is most likely a misspelling of, for a message."""
    import difflib  # only now: most runs make no mistake

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


class FaseError(Exception):
    """Root of all errors of this package. The message is one line and says what would be right."""

    exit_code = 1


class UsageError(FaseError):
    """The request cannot be carried out as it was put; nothing has run."""

    exit_code = 2


class FormatError(UsageError, ValueError):
    """No such number format, or one that cannot be emulated."""


class ModeError(UsageError, ValueError):
    """No such mode, or a mode or option that is not supported."""


class ArrayError(UsageError, ValueError):
    """An argument that is no array of real numbers, or of the wrong shape."""


class PolicyError(UsageError):
    """A policy file or a rule that cannot be used."""


class TargetError(UsageError):
    """The program cannot be run under emulation."""


class MachineError(UsageError):
    """This machine cannot run the engine."""


class AgentError(FaseError):
    """The native agent is missing, of another version, or refused a request."""


class AgentMissingError(AgentError, UsageError):
    """The native agent has not been built or cannot be found."""

    exit_code = 2


class RecordError(FaseError):
    """A record file that cannot be read."""
