"""The test programs themselves: does each execute the FMAs it claims? Checked natively, by single-stepping them and by disassembling them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from harness import PROGRAMS, Builder, Result, run_native
from scenarios import QUICK, STEPPED, Scenario

FMA = re.compile(r"\tv(?:fn?m(?:add|sub)|fmaddsub|fmsubadd)(?:132|213|231)[ps][sd]\b")
DECLARED = {
    path.stem: eval(found[1], {"__builtins__": {}})  # a sum such as 10 + 9
    for path in sorted(PROGRAMS.glob("*.c*"))
    if (found := re.search(r"^// fma-sites: ([0-9+* ]+)$", path.read_text(), re.MULTILINE))
}


@pytest.mark.parametrize("name", DECLARED)
def test_compiler_adds_no_fma(name: str, build: Builder) -> None:
    binary = build.library(name) if name == "probe_library" else build.program(name)
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", binary], capture_output=True, text=True, check=True).stdout
    assert len(FMA.findall(listing)) == DECLARED[name]


@pytest.mark.parametrize("scenario", QUICK, ids=str)
def test_passes_natively(scenario: Scenario, build: Builder, native: Callable[..., Result]) -> None:
    result = native(*scenario.command(build))
    assert result.returncode == scenario.status, result.stdout
    assert result.number("units") == result.number("probes") * 513


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", STEPPED, ids=str)
def test_stepped_count(scenario: Scenario, build: Builder) -> None:
    """The CPU's own account, one instruction at a time. Static: single-stepping the dynamic linker takes minutes."""
    stepper = build.program("step_count")
    static = Builder(build.folder / "static")
    static.folder.mkdir(exist_ok=True)
    result = run_native([stepper, *scenario.command(static, False, "-static")], timeout=250)
    stepped = re.search(r"^stepped (\d+)$", result.stderr, re.MULTILINE)
    assert stepped
    assert int(stepped[1]) == result.number("fmas") + result.number("fp64")
