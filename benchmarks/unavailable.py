"""The error of a workload that cannot run here."""

from __future__ import annotations


class Unavailable(Exception):  # noqa: N818 # a state of the machine, not a fault
    """What a workload needs is not on this machine; the message says what."""
