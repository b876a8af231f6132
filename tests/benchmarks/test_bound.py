"""The lower bound, by hand; and what is measured beside the table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bound import bounds, measure_loops
from benchmarks.switching import MODES, SITES, measure_switch

NATIVE = {1: 0.5, 8: 0.5, 16: 0.5}


def test_compute_bound() -> None:
    """2e9 FMAs of half a nanosecond fill a step of a second; rounding takes as long again."""
    assert bounds({16: 2e9}, NATIVE, {1: 1.0, 8: 1.0, 16: 1.0}, 1.0) == {"floor": 2.0, "added": 2.0}


def test_memory_bound() -> None:
    """The same FMAs in a step of four seconds: rounding could hide in the gaps, or not."""
    assert bounds({16: 2e9}, NATIVE, {1: 1.0, 8: 1.0, 16: 1.0}, 4.0) == {"floor": 1.0, "added": 1.25}


def test_widths_add_up() -> None:
    mode = {1: 1.0, 8: 1.5, 16: 2.5}
    found = bounds({1: 1e8, 8: 1e8, 16: 1e8}, NATIVE, mode, 0.1)
    assert found == {"floor": 5.0, "added": 4.5}
    assert bounds({12: 1e8}, NATIVE, mode, 0.1) == bounds({16: 1e8}, NATIVE, mode, 0.1)


def test_mode_without_cost() -> None:
    assert bounds({8: 1e9}, NATIVE, NATIVE, 1.0) == {"floor": 1.0, "added": 1.0}


def test_loops(tmp_path: Path) -> None:
    """Every width the CPU has, in every mode; a narrow FMA costs no more than a wide one."""
    loops = measure_loops(("native", "bf16"), tmp_path)
    assert loops["native"].keys() == loops["bf16"].keys() >= {1, 4, 8}
    for by_lanes in loops.values():
        times = [by_lanes[lanes] for lanes in sorted(by_lanes)]
        assert times[0] > 0
        assert times == sorted(times)


def test_switch() -> None:
    """All were executed under emulation, once a mode. Where a region runs on into a page that nobody has jumped to, its FMAs there are no sites."""
    found = measure_switch()
    assert found["sites"] >= 0.99 * SITES
    assert found["fma_emulated"] == len(MODES) * SITES
    assert 0 < found["microseconds"]["median"] <= found["microseconds"]["max"]
