"""Finds the data sets of the examples: in $FASE_DATA, then in ../shared/data beside the repository, then in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def find(name: str) -> Path:
    """The file `name`; SystemExit says where it was looked for."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fase"
    folders = [Path(__file__).resolve().parents[2] / "shared" / "data", cache]
    if chosen := os.environ.get("FASE_DATA"):
        folders.insert(0, Path(chosen))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise SystemExit(f"no {name} in {', '.join(map(str, folders))}; put it into one of them or set FASE_DATA")
