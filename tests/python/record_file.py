"""Writes record files by hand, as the native agent would (native/abi/record.h), for tests that need no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fase import records

HEADER_SIZE = -(-records.HEADER.itemsize // records.PAGE) * records.PAGE
BLOCKS_PAGE = (HEADER_SIZE + records.MAX_SEGMENTS * records.SEGMENT.itemsize) // records.PAGE + 1


def header(**fields: Any) -> Any:
    """A valid header of a process without FMAs; `fields` overrides its members."""
    made = np.zeros(1, records.HEADER)
    defaults = {"magic": records.MAGIC, "version": records.VERSION, "header_size": HEADER_SIZE, "blocks_offset_pages": BLOCKS_PAGE}
    for name, value in {**defaults, "pid": 1234, "parent_pid": 1, "isa": 1, **fields}.items():
        made[name][0] = value
    return made


def write(
    path: Path,
    modes: Sequence[str] = ("bf16",),
    modules: Sequence[str] = ("", "/lib/libtorch_cpu.so"),
    segments: Sequence[Mapping[str, int]] = (),
    blocks: Sequence[Sequence[int]] = (),
    command: Sequence[str] = ("python", "train.py"),
    **fields: Any,
) -> Path:
    """Writes a record file: `segments` are SegmentRecord members, `blocks` the execution counts of each thread."""
    made = header(modes=len(modes), modules=len(modules), segments=len(segments), blocks=len(blocks), **fields)
    made["mode"]["name"][0][: len(modes)] = [m.encode() for m in modes]
    made["module"][0][: len(modules)] = [m.encode() for m in modules]
    made["command"][0] = np.void(b"\0".join(w.encode() for w in command).ljust(4096, b"\0"))
    table = np.zeros(len(segments), records.SEGMENT)
    for row, segment in zip(table, segments, strict=True):
        for name, value in segment.items():
            row[name] = value
    with path.open("wb") as file:
        made.tofile(file)
        file.seek(HEADER_SIZE)
        table.tofile(file)
        for number, counts in enumerate(blocks):
            file.seek(BLOCKS_PAGE * records.PAGE + number * records.MAX_SEGMENTS * 8)
            np.asarray(counts, "<u8").tofile(file)
    return path
