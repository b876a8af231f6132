"""The results as a table, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.worker import NATIVE

BUSY = 0.95
"""Share of a CPU below which a one-thread process was held up by others."""
IDLE = 0.5
"""Load average of a quiet machine, at most."""
MIB = 2**20
Rows = list[list[str]]


def speed(result: dict[str, Any]) -> Rows:
    """Slow-downs, with their quartiles, beside the paper's."""
    modes = [m for m in result["modes"] if m != NATIVE]
    rows = [["workload", "native", *modes, "paper"]]
    for w in result["workloads"]:
        rows.append([*_slowdowns(w, modes), f"{w['paper']:.0f}" if w["paper"] else "-"])
    if start := result["startup"]:
        present = start["modes"]
        rows.append([start["command"], f"{1000 * present[NATIVE]['seconds']['median']:.0f} ms",
                     *(_ratio(present[m]["ratio"]) if m in present else "-" for m in modes), "-"])  # fmt: skip
        rows.append(["  without the launcher", "", *(_ratio(present[m]["program"]["ratio"]) if m in present else "-" for m in modes), "-"])
    return rows


def _slowdowns(w: dict[str, Any], modes: list[str]) -> list[str]:
    native = w["modes"][NATIVE]["seconds"]["median"] / w["steps"]
    return [w["title"], f"{1000 * native:.2f} ms", *(_ratio(w["modes"][m]["ratio"]) for m in modes)]


def bounds(result: dict[str, Any]) -> Rows:
    """What was measured, beside what no engine with these rounding sequences can beat (bound.py)."""
    modes = [m for m in result["modes"] if m in (result["loops"] or {}) and m != NATIVE]
    rows = [["measured / floor-added", *modes]]
    if not modes:
        return rows
    for w in result["workloads"]:
        found = w.get("bounds", {})
        rows.append([w["title"], *(_bound(w["modes"][m]["ratio"]["median"], found[m]) if m in found else "-" for m in modes)])
    rows.append(["FMA loop, 512 bits", *(_against_native(result["loops"], m, 16) for m in modes)])
    rows.append(["FMA loop, 256 bits", *(_against_native(result["loops"], m, 8) for m in modes)])
    return rows


def growth(result: dict[str, Any]) -> Rows:
    """SGEMM, small to large."""
    modes = list(result["sizes"][0]["modes"])[1:] if result["sizes"] else []
    return [["growth with size", "native", *modes], *(_slowdowns(w, modes) for w in result["sizes"])]


def two_threads(result: dict[str, Any]) -> Rows:
    """What the second thread gains, natively; and in a mode as a share of that."""
    before = {w["name"]: w["modes"] for w in result["workloads"]}
    pairs = [(w["title"], before[w["name"]], w["modes"]) for w in result["two_threads"] if w["name"] in before]
    modes = [m for m in (pairs[0][2] if pairs else ()) if m != NATIVE]
    rows = [["speed-up by a second thread", "native", *(f"{m}, of native's" for m in modes)]]
    for title, one, two in pairs:
        gain = {m: one[m]["seconds"]["median"] / two[m]["seconds"]["median"] for m in (NATIVE, *modes)}
        rows.append([title, f"{gain[NATIVE]:.2f}", *(f"{gain[m] / gain[NATIVE]:.2f}" for m in modes)])
    return rows


def instructions(result: dict[str, Any]) -> Rows:
    """The deterministic figure."""
    modes = [m for m in result["modes"] if m != NATIVE]
    rows = [["instructions per emulated FMA", *modes]]
    for w in result["workloads"]:
        figures = (w["modes"][m]["work"]["instructions_per_fma"] for m in modes)
        rows.append([w["title"], *("-" if f is None else f"{f:.2f}" for f in figures)])
    return rows


def cost(result: dict[str, Any]) -> Rows:
    """Translation and memory, in the last mode of the list."""
    mode = result["modes"][-1]
    rows = [[f"cost in mode {mode}", "translation", "faults", "sites", "a site", "regions", "code", "memory", "first repetition"]]
    for w in result["workloads"]:
        m = w["modes"][mode]
        if mode != NATIVE:
            rows.append([w["title"], f"{m['translate_seconds']:.2f} s", f"{m['faults']:,}", f"{m['sites']:,}",
                         f"{1e6 * m['translate_seconds'] / max(1, m['sites']):.1f} us", f"{m['regions']:,}",
                         f"{m['code_bytes'] / MIB:.1f} MiB", _memory(m), f"{m['first_seconds']:.2f} s"])  # fmt: skip
    return rows


def notes(result: dict[str, Any]) -> Iterator[str]:
    """What a reader of the numbers must know."""
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    yield (
        f"{threads}, {result['repetitions']} interleaved repetitions. Ratios of the medians to native's in the same run; "
        "in brackets the quartiles of the ratios within a round. Native: one step."
    )
    yield (
        "Instructions: all that the regions execute, the program's own among them; fp32 is what a region costs without rounding. "
        "Memory: highest resident, more than native."
    )
    yield f"Last column: {result['paper']}."
    if result["loops"]:
        yield "Floor: all else hidden behind FMAs and their rounding; added: nothing hidden. Rounding of factors is in neither (benchmarks/bound.py)."
    if switch := result["switch"]:
        times = switch["microseconds"]
        spread = f"{times['q1']:.0f}-{times['q3']:.0f}, longest {times['max']:.0f}"
        yield f"Mode switch with {switch['sites']:,} sites: {times['median']:.0f} us ({spread})."
    if (load := result["machine"]["load"][0]) > IDLE:
        yield f"BUSY: load {load} before the run; do not quote the ratios."
    for skipped in result["skipped"]:
        yield f"Skipped: {skipped['name']}: {skipped['reason']}"
    for w in result["workloads"]:
        share = min(m["cpu_share"] for m in w["modes"].values())
        if result["threads"] == 1 and share < BUSY:
            times = ", ".join(f"{mode} {m['cpu_ratio']['median']:.2f}" for mode, m in w["modes"].items() if mode != NATIVE)
            yield f"BUSY: {w['title']}: a process had only {100 * share:.0f} % of a CPU; do not quote the ratios. In CPU time: {times}."
        for mode, m in w["modes"].items():
            if m["value"] is None:
                yield f"NOT FINITE: {w['title']} in mode {mode}."
            for warning in m.get("warnings", ()):
                yield f"{w['title']}, {mode}: {warning}"


def show(result: dict[str, Any], console: Console) -> None:
    """Prints the tables and notes."""
    for rows in _tables(result):
        table = Table(box=SIMPLE_HEAD)
        for column, heading in enumerate(rows[0]):
            table.add_column(heading, justify="right" if column else "left", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
    for note in notes(result):
        console.print(note, markup=False, highlight=False, style="red" if note[:3].isupper() else None)


def markdown(result: dict[str, Any]) -> str:
    """The same as a page."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    hardware = f"{machine['cores']} cores ({machine['family_model']}, {machine['isa']}), Linux {machine['kernel']}"
    software = f"{versions}, commit {machine['commit'] or 'unknown'}"
    parts = [f"# {result['date']}, {machine['cpu']}", f"{hardware}; {software}; load before: {machine['load'][0]}. Written by `make bench`."]
    parts += [_markdown_table(rows) for rows in _tables(result)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(result))]) + "\n"


def _tables(result: dict[str, Any]) -> list[Rows]:
    """Those that have any rows."""
    tables = (speed, bounds, instructions, cost, growth, two_threads)
    return [rows for rows in (table(result) for table in tables) if len(rows) > 1]


def _markdown_table(rows: Rows) -> str:
    lines = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]
    lines.insert(1, "|" + "|".join(["---", *["---:"] * (len(rows[0]) - 1)]) + "|")
    return "\n".join(lines)


def _memory(entry: dict[str, Any]) -> str:
    highest = entry["memory"]["highest"]
    return f"{(highest - highest / entry['memory_ratio']) / MIB:+.1f} MiB ({100 * (entry['memory_ratio'] - 1):+.1f} %)"


def _bound(measured: float, bound: dict[str, float]) -> str:
    return f"{measured:.2f} / {bound['floor']:.2f}-{bound['added']:.2f}"


def _against_native(loops: dict[str, dict[int, float]], mode: str, lanes: int) -> str:
    return f"{loops[mode][lanes] / loops[NATIVE][lanes]:.2f}" if lanes in loops[NATIVE] else "-"


def _ratio(figures: dict[str, float]) -> str:
    return f"{figures['median']:.2f} ({figures['q1']:.2f}-{figures['q3']:.2f})"
