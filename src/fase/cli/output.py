"""Standard output for tables."""

from __future__ import annotations

from rich.console import Console

_WIDE = 160


def output_console() -> Console:
    """As wide as the terminal; in files and pipes, and in narrow terminals, wide enough that no number is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal and console.width >= _WIDE else Console(highlight=False, width=_WIDE, soft_wrap=True)
