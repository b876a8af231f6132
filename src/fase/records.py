"""Reads record files: what one process did (native/abi/record.h). Readable while the process runs and after it was killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fase.errors import RecordError

MAGIC = b"FASEREC1"
VERSION = 8
MAX_MODES = 256
MAX_SEGMENTS = 1 << 17
MAX_BLOCKS = 2048
MAX_MODULES = 1024
PAGE = 4096
ISAS = ("avx2", "avx512")
REASONS = (
    "emulated",
    "fp64",
    "transcendental-symbol",
    "transcendental-code",
    "user",
    "unconfirmed",
    "unsupported",
    "random-numbers",
    "bf16-instructions",
)
"""Why a site is as it is; the index is `Reason` in record.h."""
EXCLUDED = (*REASONS[1:5], *REASONS[7:9])
UNEMULATED = REASONS[5:7]

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("header_size", "<u4"),
        ("blocks_offset_pages", "<u4"),
        ("pid", "<u4"),
        ("parent_pid", "<u4"),
        ("isa", "<u4"),
        ("start_ns", "<u8"),
        ("segments", "<u8"),
        ("blocks", "<u8"),
        ("modes", "<u8"),
        ("modules", "<u8"),
        ("sites", "<u8"),
        ("regions", "<u8"),
        ("code_bytes", "<u8"),
        ("translate_ns", "<u8"),
        ("faults", "<u8"),
        ("mode_now", "<u8"),
        ("control_taken", "<u8"),
        ("control_refused", "<u8"),
        ("sites_by_reason", "<u8", (9,)),
        ("not_executed", "<u8", (MAX_MODES, 7)),
        ("mode", [("name", "S56"), ("reserved", "<u8")], (MAX_MODES,)),
        ("module", "S240", (MAX_MODULES,)),
        ("command", "V4096"),
        ("notes", "S4096"),
    ]
)
SEGMENT = np.dtype(
    [
        ("guest", "<u8"),
        ("module", "<u4"),
        ("mode", "<u4"),
        ("emulated", "<u4"),
        ("excluded", "<u4"),
        ("fp64", "<u4"),
        ("instructions", "<u4"),
        ("guest_offset", "<u8"),
        ("function", "<u4"),
        ("dot_mode", "<u4"),
        ("dots_emulated", "<u4"),
        ("dots", "<u4"),
        ("conversions", "<u4"),
        ("fp64_emulated", "<u4"),
        ("lanes", "<u4"),
        ("chunked", "<u4"),
        ("bounded", "<u4"),
        ("unbounded", "<u4"),
    ]
)
CLASSES = ("emulated", "excluded", "fp64", "fp64_emulated")
"""FMAs: single precision under the mode, and out of scope; double precision as it is, and under the mode."""
BF16_CLASSES = ("dots_emulated", "dots", "conversions")
"""The CPU's BF16 instructions: VDPBF16PS under an operator, VDPBF16PS as it is, conversions."""
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Record:
    """One process's record file: its header, its segments, and how often each segment was executed (uint64, one per segment)."""

    path: Path
    header: Any
    segments: npt.NDArray[Any]
    executed: UInt64

    @property
    def modes(self) -> list[str]:
        """Names of the modes that were set, in the order of their first use."""
        return mode_names(self.header)

    @property
    def modules(self) -> list[str]:
        """Paths of the files that held FMAs; the first stands for code in no file (JIT)."""
        return [_text(name) for name in self.header["module"][: int(self.header["modules"])]]

    @property
    def command(self) -> list[str]:
        """The process's arguments, cut after 4096 bytes."""
        return command_of(self.header)

    @property
    def notes(self) -> list[str]:
        """What the agent has to say to people, a line each."""
        return _text(self.header["notes"]).splitlines()

    def counts(self, key: str, length: int) -> UInt64:
        """FMAs executed, summed over segments with the same `key` ("mode" or "module"): shape (length, 4), columns as CLASSES.

        FMAs that were counted but did not run because of a fault are taken off where `key` is "mode"; the file holds no other split.
        """
        totals = self._sums(key, length, CLASSES)
        if key == "mode":
            totals -= np.minimum(self.header["not_executed"][:length, : len(CLASSES)], totals)
        return totals

    def bf16_counts(self) -> UInt64:
        """BF16 instructions executed by the mode of VDPBF16PS: shape (modes, 3), columns as BF16_CLASSES."""
        length = int(self.header["modes"])
        totals = self._sums("dot_mode", length, BF16_CLASSES)
        totals -= np.minimum(self.header["not_executed"][:length, len(CLASSES) :], totals)
        return totals

    def _sums(self, key: str, length: int, classes: tuple[str, ...]) -> UInt64:
        totals = np.zeros((length, len(classes)), dtype=np.uint64)
        for column, name in enumerate(classes):
            np.add.at(totals[:, column], self.segments[key], self.executed * self.segments[name])
        return totals


def read(path: Path) -> Record:
    """Reads one record file. RecordError says in one line what is wrong with it."""
    try:
        header = read_header(path)
        segments = _segments(path, header)
        return Record(path, header, segments, _executed(path, header))
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from None


def mode_names(header: Any) -> list[str]:
    """Names of the modes that were set, in the order of their first use."""
    return [_text(name) for name in header["mode"]["name"][: int(header["modes"])]]


def command_of(header: Any) -> list[str]:
    """The process's arguments, cut after 4096 bytes."""
    return [_text(word) for word in header["command"].tobytes().rstrip(b"\0").split(b"\0")]


def read_header(path: Path) -> Any:
    """The checked header of a record file, which its process may be writing to. RecordError, OSError."""
    found = np.fromfile(path, HEADER, count=1)
    if not len(found):
        raise RecordError(f"{path}: not a record file (only {path.stat().st_size} bytes)")
    header = found[0]
    if header["magic"] != MAGIC:
        raise RecordError(f"{path}: not a record file")
    if header["version"] != VERSION:
        raise RecordError(f"{path}: record version {header['version']}; this FASE reads version {VERSION}")
    _check_sizes(path, header)
    return header


def _check_sizes(path: Path, header: Any) -> None:
    limits = {"segments": MAX_SEGMENTS, "blocks": MAX_BLOCKS, "modes": MAX_MODES, "modules": MAX_MODULES, "isa": len(ISAS) - 1}
    for name, limit in limits.items():
        if header[name] > limit:
            raise RecordError(f"{path}: damaged: {header[name]} {name} (at most {limit})")
    table_end = int(header["header_size"]) + int(header["segments"]) * SEGMENT.itemsize
    first_block = int(header["blocks_offset_pages"]) * PAGE
    if header["header_size"] < HEADER.itemsize or table_end > first_block:
        raise RecordError(f"{path}: damaged: the parts overlap")
    blocks, segments = int(header["blocks"]), int(header["segments"])
    if segments and blocks and path.stat().st_size < first_block + ((blocks - 1) * MAX_SEGMENTS + segments) * 8:
        raise RecordError(f"{path}: damaged: shorter than its header says")


def _segments(path: Path, header: Any) -> npt.NDArray[Any]:
    segments = np.fromfile(path, SEGMENT, count=int(header["segments"]), offset=int(header["header_size"]))
    if len(segments) != header["segments"]:
        raise RecordError(f"{path}: damaged: shorter than its header says")
    for key, length in (("mode", header["modes"]), ("dot_mode", header["modes"]), ("module", header["modules"])):
        if len(segments) and segments[key].max() >= length:
            raise RecordError(f"{path}: damaged: a segment names {key} {segments[key].max()} of {length}")
    return segments


def _executed(path: Path, header: Any) -> UInt64:
    """Sums the counter blocks; reads of each only the part in use, since the file is sparse and large."""
    segments = int(header["segments"])
    total = np.zeros(segments, dtype=np.uint64)
    for block in range(int(header["blocks"])):
        start = int(header["blocks_offset_pages"]) * PAGE + block * MAX_SEGMENTS * 8
        total += np.fromfile(path, "<u8", count=segments, offset=start)
    return total


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")
