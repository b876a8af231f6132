"""The closing table on standard error."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from fase.report.run import Run
from fase.report.totals import Totals


def console() -> Console:
    """Standard error, in colour where it is a terminal. Lines are not wrapped in files and pipes."""
    stderr = Console(stderr=True, highlight=False)
    return stderr if stderr.is_terminal else Console(stderr=True, highlight=False, width=120)


def rows(totals: Totals) -> Iterator[tuple[str, int, int]]:
    """(what ran, FMAs executed, of these emulated): the modes, then what kept native precision, then the sum."""
    kept = totals.fma_executed - totals.fma_emulated - totals.by_mode.get("fp64", 0)
    for mode, count in totals.by_mode.items():
        emulated = count - kept if mode == "fp32" else count
        if mode != "fp64" and emulated:
            yield mode, emulated, emulated
    if kept:
        yield "fp32 (excluded)", kept, 0
    if totals.by_mode.get("fp64"):
        yield "fp64", totals.by_mode["fp64"], 0
    yield "all", totals.fma_executed, totals.fma_emulated


def bf16_rows(totals: Totals) -> Iterator[tuple[str, int, int]]:
    """The same for the CPU's BF16 instructions, which are no FMAs."""
    for mode, count in totals.vdpbf16ps_by_mode.items():
        yield f"VDPBF16PS: {mode}", count, count
    if native := totals.vdpbf16ps_executed - totals.vdpbf16ps_emulated:
        yield "VDPBF16PS: native", native, 0
    if totals.bf16_conversions:
        yield "conversions to BF16", totals.bf16_conversions, 0


def show(run: Run, to: Console | None = None) -> None:
    """Prints the table, the reasons, and the warnings; to standard error unless told."""
    to = to or console()
    totals = run.totals
    to.print(f"fase: FMA instructions executed in {len(run.records)} process{'es' * (len(run.records) != 1)}")
    table = Table()
    table.add_column("ran as")
    for heading in ("Total", "Emulated", "%"):
        table.add_column(heading, justify="right")
    for group in (rows, bf16_rows):
        for name, executed, emulated in group(totals):
            share = f"{100 * emulated / executed:.1f}" if executed else "-"
            table.add_row(name, f"{executed:,}", f"{emulated:,}", share)
        table.add_section()
    to.print(table)
    for line in _reasons(totals):
        to.print(line, markup=False)
    for warning in run.warnings:
        to.print(f"fase: WARNING: {warning}", style="bold red", markup=False, soft_wrap=True)


def _reasons(totals: Totals) -> Iterator[str]:
    yield f"{totals.sites:,} sites in {totals.regions:,} regions, {totals.code_bytes / 2**20:.1f} MiB of code in {totals.translate_seconds:.2f} s"
    if in_modes := totals.fma_in_chunk_modes:
        share = 100 * totals.fma_chunked / in_modes
        yield f"with FP32 totals: {totals.fma_chunked:,} FMAs, {share:.1f} % of those in modes with chunk=N (the others are in no loop that adds up)"
    if in_loops := totals.fma_bounded + totals.fma_unbounded:
        yield f"in bounded loops: {in_loops:,} FMAs, {100 * totals.fma_bounded / in_loops:.1f} % of them within the bounds"
    for title, table in (("kept native", totals.excluded), ("left alone", totals.unemulated)):
        if table:
            yield f"{title}: " + ", ".join(f"{reason} {count:,} sites" for reason, count in table.items())
