"""`run.json` and the closing table."""

from __future__ import annotations

import io
import json
from pathlib import Path

from record_file import write
from rich.console import Console

from fase.report.run import TOP_MODULES, Run, read_records, write_json
from fase.report.table import show


def run_of(folder: Path, mode: str = "bf16") -> Run:
    """A run from the record files of a folder."""
    records, problems = read_records(folder)
    return Run(mode, "math", ("python", "x.py"), "A CPU", "avx2", 0, 1.25, records, problems)


def text_of(run: Run) -> str:
    """The closing table as plain text."""
    out = io.StringIO()
    show(run, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_contents(tmp_path: Path) -> None:
    write(tmp_path / "2-9.faserec", pid=2, parent_pid=1, start_ns=9, segments=[{"module": 1, "emulated": 2}], blocks=[[3]])
    write(tmp_path / "1-5.faserec", pid=1, start_ns=5, segments=[{"module": 0, "emulated": 1, "fp64": 1}], blocks=[[4]], notes=b"pid 3 is static")
    write_json(run_of(tmp_path), tmp_path)
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["schema"] == "fase-run/1"
    assert document["command"] == ["python", "x.py"]
    assert {k: document[k] for k in ("mode", "cpu", "isa", "exit_status", "scope")} == {
        "mode": "bf16", "cpu": "A CPU", "isa": "avx2", "exit_status": 0, "scope": "math",
    }  # fmt: skip
    assert set(document["totals"]) == {
        "fma_executed", "fma_emulated", "by_mode", "sites", "regions", "excluded", "unemulated", "translate_seconds", "code_bytes",
        "vdpbf16ps_executed", "vdpbf16ps_emulated", "vdpbf16ps_by_mode", "bf16_conversions",
        "fp64_executed", "fp64_emulated", "fma_chunked", "fma_bounded", "fma_unbounded",
    }  # fmt: skip
    assert document["totals"]["fma_executed"] == 14
    assert document["totals"]["by_mode"] == {"bf16": 10, "fp64": 4}
    assert [p["pid"] for p in document["processes"]] == [1, 2]
    assert document["processes"][0]["modules"] == [{"module": "(JIT)", "emulated": 4, "excluded": 0, "fp64": 4, "fp64_emulated": 0}]
    assert document["processes"][0]["notes"] == ["pid 3 is static"]
    assert document["warnings"] == ["process 1: pid 3 is static"]
    assert [p.name for p in tmp_path.iterdir() if "json" in p.name] == ["run.json"]


def test_top_modules(tmp_path: Path) -> None:
    names = [f"/lib/{n}.so" for n in range(20)]
    write(tmp_path / "1.faserec", modules=names, segments=[{"module": n, "emulated": n} for n in range(20)], blocks=[[1] * 20])
    modules = run_of(tmp_path).to_dict()["processes"][0]["modules"]
    assert [m["emulated"] for m in modules] == list(range(19, 19 - TOP_MODULES, -1))


def test_instructions_per_emulated_fma(tmp_path: Path) -> None:
    """Regions with nothing to emulate are left out, exits of those that emulate are not; modes and processes are added up."""
    for name in ("1", "2"):
        write(
            tmp_path / f"{name}.faserec",
            segments=[
                {"guest": 16, "module": 1, "function": 1, "emulated": 2, "lanes": 32, "instructions": 7},
                {"guest": 16, "module": 1, "function": 1, "instructions": 3},
                {"guest": 32, "module": 1, "function": 1, "excluded": 1, "instructions": 50},
                {"guest": 48, "module": 0, "emulated": 1, "lanes": 1, "instructions": 4},
            ],
            blocks=[[10, 1, 9, 5], [10, 1, 9, 0]],
        )
        (tmp_path / f"{name}.faserec.names").write_text("1\t1\tkernel\n")
    work = run_of(tmp_path).to_dict()["work"]
    assert work == {
        "instructions": 2 * (146 + 20),
        "instructions_per_fma": round(332 / 90, 4),
        "fmas_by_lanes": {"1": 10, "16": 80},
        "kernels": [
            {"module": "libtorch_cpu.so", "function": "kernel", "share": round(292 / 332, 4), "instructions_per_fma": 3.65},
            {"module": "(JIT)", "function": "", "share": round(40 / 332, 4), "instructions_per_fma": 4.0},
        ],
    }


def test_table_has_a_row_for_each_kind(tmp_path: Path) -> None:
    write(
        tmp_path / "1.faserec",
        modes=("bf16", "fp32"),
        segments=[{"mode": 0, "emulated": 6, "excluded": 3, "fp64": 1}, {"mode": 1, "emulated": 1000}],
        blocks=[[1, 1]],
        sites_by_reason=[1, 2, 0, 5, 0, 7, 0, 0, 0],
    )
    lines = [line.replace("│", " ").split() for line in text_of(run_of(tmp_path)).splitlines()]
    assert ["bf16", "6", "6", "100.0"] in lines
    assert ["fp32", "1,000", "1,000", "100.0"] in lines
    assert ["fp32", "(excluded)", "3", "0", "0.0"] in lines
    assert ["fp64", "1", "0", "0.0"] in lines
    assert ["all", "1,010", "1,006", "99.6"] in lines
    assert "kept native: fp64 2 sites, transcendental-code 5 sites" in text_of(run_of(tmp_path))
    assert "left alone: unconfirmed 7 sites" in text_of(run_of(tmp_path))


def test_bounded_loops(tmp_path: Path) -> None:
    """The line is there only where such a loop ran."""
    loops = [{"emulated": 10, "bounded": 8, "instructions": 30}, {"emulated": 10, "unbounded": 8, "instructions": 60}]
    for name in ("1", "2"):
        write(tmp_path / f"{name}.faserec", segments=loops, blocks=[[9, 1], [20, 0]])
    run = run_of(tmp_path)
    totals = run.totals.to_dict()
    assert (totals["fma_emulated"], totals["fma_bounded"], totals["fma_unbounded"]) == (600, 464, 16)
    assert "in bounded loops: 480 FMAs, 96.7 % of them within the bounds" in text_of(run)
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "1.faserec", segments=[{"emulated": 10}], blocks=[[9]])
    assert "bounded" not in text_of(run_of(tmp_path / "other"))


def test_bf16_instructions_count_apart(tmp_path: Path) -> None:
    write(
        tmp_path / "1.faserec",
        modes=("fp32", "bf16"),
        segments=[{"mode": 0, "emulated": 6, "dot_mode": 1, "dots_emulated": 40, "conversions": 2}, {"mode": 0, "dots": 100}],
        blocks=[[3, 5]],
    )
    totals = run_of(tmp_path).totals.to_dict()
    assert (totals["fma_executed"], totals["by_mode"]) == (18, {"fp32": 18})
    assert (totals["vdpbf16ps_executed"], totals["vdpbf16ps_emulated"], totals["bf16_conversions"]) == (620, 120, 6)
    assert totals["vdpbf16ps_by_mode"] == {"bf16": 120}
    lines = [line.replace("│", " ").split() for line in text_of(run_of(tmp_path)).splitlines()]
    assert ["all", "18", "18", "100.0"] in lines
    assert ["VDPBF16PS:", "bf16", "120", "120", "100.0"] in lines
    assert ["VDPBF16PS:", "native", "500", "0", "0.0"] in lines
    assert ["conversions", "to", "BF16", "6", "0", "0.0"] in lines


def test_a_program_of_bf16_instructions_alone_is_told_of_the_option(tmp_path: Path) -> None:
    write(tmp_path / "1.faserec", segments=[{"dots": 1}], blocks=[[7]])
    assert "--bf16-instructions" in run_of(tmp_path).warnings[0]
    write(tmp_path / "1.faserec", segments=[{"dots_emulated": 1}], blocks=[[7]])
    assert run_of(tmp_path).warnings == []


def test_warns_of_nothing(tmp_path: Path) -> None:
    assert "the agent started in no process" in text_of(run_of(tmp_path))
    write(tmp_path / "1.faserec")
    assert "Did you instrument a wrapper" in text_of(run_of(tmp_path))
    write(tmp_path / "1.faserec", segments=[{"excluded": 1}], blocks=[[1]])
    assert "no FMA was emulated" in text_of(run_of(tmp_path))


def test_unreadable_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "1.faserec").write_bytes(b"short")
    assert "not a record file" in text_of(run_of(tmp_path))
