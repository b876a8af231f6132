"""The `fase` command, which `python -m fase` is too."""

from __future__ import annotations

import gc
import sys


def script() -> None:
    """Entry point of the `fase` console script."""
    gc.disable()  # until the command's module is there: the search for garbage among what loads took a tenth of the start
    from fase.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    script()
