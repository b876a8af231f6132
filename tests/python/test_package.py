"""The public names, and what importing the package costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from command_line import Result

import fase
from fase.agent import locate


def test_native_libraries_bring_zydis_along() -> None:
    folder = locate.library(locate.LAB).parent
    bundled = sorted(folder.glob("libZydis.so.*"))
    if not bundled:
        pytest.skip("built with Zydis inside, or from another folder")
    for name in ("libfase_agent.so", "libfase_agent_late.so", "libfase_lab.so"):
        found = subprocess.run(["ldd", str(folder / name)], capture_output=True, text=True, check=True).stdout
        assert f"=> {bundled[0]} " in found
    assert "MIT" in (folder / "LICENSE.zydis").read_text(encoding="utf-8")


def test_import_is_light() -> None:
    code = "import sys, fase; print([m for m in ('numpy', 'torch', 'rich', 'click', 'ctypes') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_public_names() -> None:
    for name in fase.__all__:
        assert getattr(fase, name) is not None
    assert dir(fase) == sorted(fase.__all__)
    assert fase.formats.get("bf16").mantissa == 7
    assert fase.operators.parse("mp").spec == "e8m7,e8m7,e8m23,e8m23"
    assert np.float32(fase.round(1.001, "bf16")) == 1.0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fase.nothing


def test_nothing_is_emulated_by_itself() -> None:
    assert fase.get_mode() is None
    assert fase.counters()["fma_executed"] == 0
    with pytest.raises(fase.FaseError, match="no emulation is running"):
        fase.set_mode("bf16")


def test_bad_requests_are_refused_before_anything_starts() -> None:
    with pytest.raises(fase.FaseError, match="unknown format"):
        fase.emulate("bf17")
    with pytest.raises(fase.FaseError, match="No such file"):
        fase.emulate("bf16", policy="/none.toml")


def test_formats_command(run_fase: Callable[..., Result]) -> None:
    listed = run_fase("formats")
    assert listed.status == 0
    assert "bf16" in listed.out
    assert "eXmY" in listed.out
    assert [row["name"] for row in json.loads(run_fase("formats", "--json").out)][:3] == ["fp32", "tf32", "bf16"]
    one = json.loads(run_fase("formats", "bfloat16", "--json").out)
    assert (one["spec"], one["bias"], one["aliases"][0]) == ("e8m7", 127, "bfloat16")
    assert "3.38953e+38" in run_fase("formats", "bf16").out
    unknown = run_fase("formats", "bf17")
    assert (unknown.status, unknown.out) == (2, "")
    assert unknown.err.count("\n") == 1


def test_help_and_version(run_fase: Callable[..., Result]) -> None:
    assert fase.__version__ in run_fase("--version").out
    for command in ("run", "doctor", "formats"):
        assert command in run_fase("--help").out
        assert "Usage" in run_fase(command, "--help").out
    assert "No such command" in run_fase("nonsense").err
