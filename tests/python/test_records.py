"""Record files: the layout, the sums, and files that are damaged."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_file import HEADER_SIZE, write

from fase import records
from fase.errors import RecordError
from fase.report.totals import of_record, total

ABI = Path(__file__).parents[2] / "native"


def sample(path: Path) -> Path:
    """Two threads, two modes, three segments."""
    return write(
        path,
        modes=("bf16", "fp32"),
        segments=[
            {"mode": 0, "module": 1, "emulated": 4, "excluded": 1, "fp64": 2},
            {"mode": 1, "module": 0, "emulated": 3},
            {"mode": 0, "module": 1, "emulated": 1},
        ],
        blocks=[[10, 5, 0], [1, 0, 2**33]],
        sites=9,
        regions=2,
        sites_by_reason=[3, 2, 1, 1, 0, 4, 0, 0, 0],
        translate_ns=1_500_000_000,
        code_bytes=4096,
    )


def test_layout_is_that_of_the_header(tmp_path: Path) -> None:
    """Compiles record.h and compares every offset."""
    names = [n for n in records.HEADER.names or () if n not in ("magic",)]
    lines = "".join(f'printf("%zu ", offsetof(RecordHeader, {n}));' for n in names)
    segment = "".join(f'printf("%zu ", offsetof(SegmentRecord, {n}));' for n in records.SEGMENT.names or ())
    source = tmp_path / "layout.cpp"
    source.write_text(
        '#include "abi/record.h"\n#include <cstddef>\n#include <cstdio>\nusing namespace fase::abi;\nint main() {'
        f'{lines}{segment} printf("%zu %zu %u %u %u %u", sizeof(RecordHeader), sizeof(SegmentRecord), kMaxSegments, kMaxBlocks, kMaxModules,'
        " kRecordVersion); }"
    )
    subprocess.run(["g++", "-std=c++20", f"-I{ABI}", "-Wno-invalid-offsetof", "-o", tmp_path / "layout", source], check=True)
    found = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout.split()
    fields = [records.HEADER.fields[n][1] for n in names]  # type: ignore[index]
    fields += [records.SEGMENT.fields[n][1] for n in records.SEGMENT.names or ()]  # type: ignore[index]
    sizes = [records.HEADER.itemsize, records.SEGMENT.itemsize]
    limits = [records.MAX_SEGMENTS, records.MAX_BLOCKS, records.MAX_MODULES, records.VERSION]
    assert [int(n) for n in found] == [*fields, *sizes, *limits]


def test_sums_over_threads_segments_and_modes(tmp_path: Path) -> None:
    totals = of_record(records.read(sample(tmp_path / "1.faserec")))
    assert totals.by_mode == {"bf16": 44 + 2**33, "fp32": 11 + 15, "fp64": 22}
    assert totals.fma_emulated == 44 + 2**33 + 15
    assert totals.fma_executed == sum(totals.by_mode.values())
    assert totals.excluded == {"fp64": 2, "transcendental-symbol": 1, "transcendental-code": 1}
    assert totals.unemulated == {"unconfirmed": 4}
    assert (totals.sites, totals.regions, totals.code_bytes, totals.translate_seconds) == (9, 2, 4096, 1.5)


def test_faulted_instructions_are_taken_off(tmp_path: Path) -> None:
    not_executed = np.zeros((records.MAX_MODES, 7), np.uint64)
    not_executed[0] = (2, 1, 0, 0, 0, 0, 0)
    not_executed[1] = (0, 0, 0, 0, 3, 4, 5)
    segment = {"emulated": 4, "excluded": 1, "dot_mode": 1, "dots_emulated": 2, "dots": 3, "conversions": 4}
    path = write(tmp_path / "1.faserec", ("bf16", "mp"), segments=[segment], blocks=[[5]], not_executed=not_executed)
    totals = of_record(records.read(path))
    assert (totals.vdpbf16ps_executed, totals.vdpbf16ps_by_mode, totals.bf16_conversions) == (25 - 7, {"mp": 10 - 3}, 20 - 5)
    assert (totals.fma_executed, totals.fma_emulated, totals.by_mode) == (22, 18, {"bf16": 18, "fp32": 4})


def test_double_precision_under_an_operator(tmp_path: Path) -> None:
    not_executed = np.zeros((records.MAX_MODES, 7), np.uint64)
    not_executed[1] = (0, 0, 1, 2, 0, 0, 0)
    path = write(
        tmp_path / "1.faserec",
        modes=("bf16", "bf16;fp64=a=fp32,b=fp32", "mp;fp64=fp32"),
        segments=[
            {"mode": 0, "emulated": 1, "fp64": 2},
            {"mode": 1, "emulated": 3, "excluded": 4, "fp64": 5, "fp64_emulated": 6},
            {"mode": 2, "fp64_emulated": 7},
        ],
        blocks=[[1, 10, 100]],
        not_executed=not_executed,
    )
    totals = of_record(records.read(path))
    assert totals.by_mode == {"bf16": 31, "fp32": 40, "fp64": 51, "fp64=a=fp32,b=fp32": 58, "fp64=fp32": 700}
    assert (totals.fma_executed, totals.fma_emulated) == (31 + 40 + 51 + 58 + 700, 31 + 58 + 700)
    assert (totals.fp64_executed, totals.fp64_emulated) == (51 + 58 + 700, 758)
    assert total([totals, totals]).fp64_emulated == 2 * 758


def test_process_facts(tmp_path: Path) -> None:
    record = records.read(write(tmp_path / "1.faserec", command=["a", "", "c d"], notes=b"one\ntwo\n"))
    assert record.command == ["a", "", "c d"]
    assert record.notes == ["one", "two"]
    assert record.modules == ["", "/lib/libtorch_cpu.so"]


def test_total_of_nothing() -> None:
    assert total([]).to_dict()["by_mode"] == {}


def test_total_adds_processes(tmp_path: Path) -> None:
    one = of_record(records.read(sample(tmp_path / "1.faserec")))
    both = total([one, one])
    assert both.fma_executed == 2 * one.fma_executed
    assert both.excluded == {"fp64": 4, "transcendental-symbol": 2, "transcendental-code": 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": b"ELF"}, "not a record file"),
        ({"version": 99}, "record version 99; this FASE reads version"),
        ({"header_size": 16}, "parts overlap"),
        ({"blocks_offset_pages": 0}, "parts overlap"),
        ({"isa": 7}, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "x.faserec", segments=[{"emulated": 1}], blocks=[[1]], **fields)
    with pytest.raises(RecordError, match=message):
        records.read(path)


def test_segment_of_an_unknown_mode(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="a segment names mode 5 of 1"):
        records.read(write(tmp_path / "x.faserec", segments=[{"mode": 5}], blocks=[[1]]))


@pytest.mark.parametrize("size", [0, 7, 1000, HEADER_SIZE, HEADER_SIZE + 41])
def test_cut_files_are_refused(tmp_path: Path, size: int) -> None:
    path = sample(tmp_path / "x.faserec")
    with path.open("rb+") as file:
        file.truncate(size)
    with pytest.raises(RecordError):
        records.read(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        records.read(tmp_path / "none.faserec")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 111), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_give_a_record_or_an_error(tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    path = sample(tmp_path / "x.faserec")
    with path.open("rb+") as file:
        for position, value in damage:
            file.seek(position)
            file.write(bytes([value]))
    try:
        of_record(records.read(path))
    except RecordError as error:
        assert "\n" not in str(error)
