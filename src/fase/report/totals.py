"""Counts of a process or of a whole run, as `run.json` holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from fase.errors import FaseError
from fase.operators import parse
from fase.operators.operator import FP64_PREFIX
from fase.records import EXCLUDED, REASONS, UNEMULATED, Record


@dataclass(frozen=True)
class Totals:
    """Executed counts are instructions; `excluded` and `unemulated` are sites by reason; `sites` and `regions` are numbers of code places.

    `by_mode` splits `fma_executed` by the format the instruction ran in: the mode's name when emulated, "fp32" when excluded, "fp64" for
    double precision as it is, "fp64=MODE" for double precision that was emulated; `fp64_executed` and `fp64_emulated` are the double-precision
    part of `fma_executed` and `fma_emulated`. The CPU's BF16 instructions are no FMAs and count apart: `vdpbf16ps_executed`, of these
    `vdpbf16ps_emulated` under an operator (`vdpbf16ps_by_mode`), and `bf16_conversions`. `translate_seconds` is time spent in discovery and
    translation, `code_bytes` the machine code written. `fma_chunked` are the emulated FMAs whose sums went to binary32 totals (option `chunk=N`).
    `fma_bounded` are those of bounded loops, `fma_unbounded` those of the full loops that take over beyond the bounds (ARCHITECTURE.md),
    each to the pass of a segment.
    """

    fma_executed: int = 0
    fma_emulated: int = 0
    by_mode: dict[str, int] = field(default_factory=dict)
    vdpbf16ps_executed: int = 0
    vdpbf16ps_emulated: int = 0
    vdpbf16ps_by_mode: dict[str, int] = field(default_factory=dict)
    bf16_conversions: int = 0
    sites: int = 0
    regions: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    unemulated: dict[str, int] = field(default_factory=dict)
    translate_seconds: float = 0.0
    code_bytes: int = 0
    fp64_executed: int = 0
    fp64_emulated: int = 0
    fma_chunked: int = 0
    fma_bounded: int = 0
    fma_unbounded: int = 0

    @property
    def fma_in_chunk_modes(self) -> int:
        """FMAs emulated in modes with the option `chunk=N`, whether their sums could go to totals or not."""
        return sum(count for mode, count in self.by_mode.items() if _in_chunks(mode))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def of_record(record: Record) -> Totals:
    """The totals of one process."""
    by_mode: Counter[str] = Counter()
    emulated = native64 = emulated64 = 0
    for name, (in_mode, excluded, as_is, in_mode64) in zip(record.modes, record.counts("mode", len(record.modes)).tolist(), strict=True):
        single, _, double = name.partition(FP64_PREFIX)
        by_mode.update({single: in_mode})
        by_mode.update({"fp32": excluded, "fp64": as_is, f"fp64={double}": in_mode64})
        emulated += in_mode
        native64 += as_is
        emulated64 += in_mode64
    dots, native, conversions = record.bf16_counts().T.tolist()
    dots_by_mode: Counter[str] = Counter()
    for name, count in zip(record.modes, dots, strict=True):
        dots_by_mode.update({name.partition(FP64_PREFIX)[0]: count})
    sites = dict(zip(REASONS, record.header["sites_by_reason"].tolist(), strict=True))
    return Totals(
        fma_executed=sum(by_mode.values()),
        fma_emulated=emulated + emulated64,
        by_mode=_nonzero(by_mode),
        vdpbf16ps_executed=sum(dots) + sum(native),
        vdpbf16ps_emulated=sum(dots),
        vdpbf16ps_by_mode=_nonzero(dots_by_mode),
        bf16_conversions=sum(conversions),
        sites=int(record.header["sites"]),
        regions=int(record.header["regions"]),
        excluded=_nonzero({reason: sites[reason] for reason in EXCLUDED}),
        unemulated=_nonzero({reason: sites[reason] for reason in UNEMULATED}),
        translate_seconds=round(int(record.header["translate_ns"]) / 1e9, 6),
        code_bytes=int(record.header["code_bytes"]),
        fp64_executed=native64 + emulated64,
        fp64_emulated=emulated64,
        fma_chunked=_executed(record, "chunked"),
        fma_bounded=_executed(record, "bounded"),
        fma_unbounded=_executed(record, "unbounded"),
    )


def _executed(record: Record, column: str) -> int:
    return int((record.executed * record.segments[column]).sum())


def total(parts: Iterable[Totals]) -> Totals:
    """The sum over processes."""
    parts = list(parts)
    return Totals(
        fma_executed=sum(p.fma_executed for p in parts),
        fma_emulated=sum(p.fma_emulated for p in parts),
        by_mode=_sum(p.by_mode for p in parts),
        vdpbf16ps_executed=sum(p.vdpbf16ps_executed for p in parts),
        vdpbf16ps_emulated=sum(p.vdpbf16ps_emulated for p in parts),
        vdpbf16ps_by_mode=_sum(p.vdpbf16ps_by_mode for p in parts),
        bf16_conversions=sum(p.bf16_conversions for p in parts),
        sites=sum(p.sites for p in parts),
        regions=sum(p.regions for p in parts),
        excluded=_sum(p.excluded for p in parts),
        unemulated=_sum(p.unemulated for p in parts),
        translate_seconds=round(sum(p.translate_seconds for p in parts), 6),
        code_bytes=sum(p.code_bytes for p in parts),
        fp64_executed=sum(p.fp64_executed for p in parts),
        fp64_emulated=sum(p.fp64_emulated for p in parts),
        fma_chunked=sum(p.fma_chunked for p in parts),
        fma_bounded=sum(p.fma_bounded for p in parts),
        fma_unbounded=sum(p.fma_unbounded for p in parts),
    )


def _in_chunks(mode: str) -> bool:
    """Names of records need not be modes here: formats of files, double precision."""
    try:
        return parse(mode).chunk > 0
    except FaseError:
        return False


def _sum(tables: Iterable[dict[str, int]]) -> dict[str, int]:
    result: Counter[str] = Counter()
    for table in tables:
        result.update(table)
    return dict(result)


def _nonzero(table: dict[str, int] | Counter[str]) -> dict[str, int]:
    return {key: value for key, value in table.items() if value}
