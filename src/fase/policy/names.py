"""Names of the functions that a run executed, from the file beside a record (native/abi/record.h)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fase.records import Record

SUFFIX = ".names"


def functions_that_ran(record: Record) -> Iterator[tuple[str, str, int]]:
    """(mangled name, path of its file, emulated FMAs executed) of every function with any; the name is empty where there is none."""
    emulated = record.executed * record.segments["emulated"]
    names = names_of(record)
    modules = record.modules
    keys = np.stack([record.segments["function"], record.segments["module"]], axis=1)
    for function, module in np.unique(keys[emulated > 0], axis=0).tolist():
        chosen = (keys[:, 0] == function) & (keys[:, 1] == module)
        yield names.get(function, ""), modules[module], int(emulated[chosen].sum())


def names_of(record: Record) -> dict[int, str]:
    """Mangled names of the functions that ran, by number; empty where a function has none."""
    path = record.path.with_name(record.path.name + SUFFIX)
    if not path.is_file():
        return {}
    rows = (line.split("\t", 2) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {int(row[0]): row[2] for row in rows if len(row) == 3}
