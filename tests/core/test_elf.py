"""ELF tables: the same functions as binutils sees, and no harm from broken files."""

from __future__ import annotations

import re
from pathlib import Path

import images
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def function_symbols(path: Path, *flags: str) -> dict[int, set[str]]:
    """Address -> names of sized function symbols in code sections, by readelf."""
    out: dict[int, set[str]] = {}
    for line in images.run("readelf", "-W", *flags, path).splitlines():
        m = re.match(r"\s*\d+: ([0-9a-f]{16})\s+(\d+|0x[0-9a-f]+) (FUNC|IFUNC)\s+\w+\s+\w+\s+(\d+) (\S+)", line)
        if m and int(m[2], 0) > 0:
            out.setdefault(int(m[1], 16), set()).add(m[5].split("@")[0])
    return out


@pytest.mark.parametrize("bias", [0, 0x7F0000000000])
def test_symbols_are_those_that_readelf_lists(bias: int) -> None:
    path = images._library("numpy", "numpy.libs/libscipy_openblas*.so")
    image = images.Image().load(path, bias)
    expected = function_symbols(path, "--symbols")
    assert len(expected) > 5000
    for address, names in list(expected.items())[::7]:
        name, begin, end = image.symbol(address + bias)
        assert begin == address + bias < end
        assert name in names


TWO_TABLES = """
.globl shared, lost
.type shared, @function
.type local, @function
.type lost, @function
.text
shared: ret
.size shared, .-shared
local: nop
   ret
.size local, .-local
lost: nop
   nop
   ret
.size lost, .-lost
"""


def test_symbols_of_one_table_alone(tmp_path: Path) -> None:
    """One is in both tables, one in .symtab alone, one in .dynsym alone."""
    (tmp_path / "t.s").write_text(TWO_TABLES)
    images.run("as", "-o", tmp_path / "t.o", tmp_path / "t.s")
    images.run("ld", "-shared", "-o", tmp_path / "whole.so", tmp_path / "t.o")
    images.run("objcopy", "--strip-symbol=lost", tmp_path / "whole.so", tmp_path / "t.so")
    dynamic, static = images.run("nm", "-D", tmp_path / "t.so"), images.run("nm", tmp_path / "t.so")
    assert [re.findall(r" [tT] (\w+)", listing) for listing in (dynamic, static)] == [["lost", "shared"], ["local", "shared"]]
    image = images.Image().load(tmp_path / "t.so")
    for address, names in function_symbols(tmp_path / "t.so", "--symbols").items():
        assert {image.symbol(address)[0]} == names
    assert len(image.functions()) == 3


def test_every_symbol_is_in_a_function_and_functions_do_not_overlap() -> None:
    path = images._library("numpy", "numpy.libs/libscipy_openblas*.so")
    functions = images.openblas().functions()
    assert (functions["begin"][1:] >= functions["end"][:-1]).all()
    starts = np.array(sorted(function_symbols(path, "--symbols")), np.uint64)
    where = np.searchsorted(functions["begin"], starts, side="right") - 1
    assert (where >= 0).all()
    assert (starts < functions["end"][where]).all()


def test_unwind_table_of_a_stripped_library() -> None:
    path = images.system_library("libm.so.6")
    functions = images.Image().load(path).functions()
    known = set(zip(functions["begin"].tolist(), functions["end"].tolist(), strict=True))
    fdes = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"FDE .* pc=([0-9a-f]+)\.\.([0-9a-f]+)", images.run("readelf", "-wNF", path))]
    assert len(fdes) > 500
    assert [f for f in fdes if f not in known] == []


def test_a_range_query_gives_what_the_whole_gives() -> None:
    image = images.openblas()
    whole = image.functions()
    for i in range(0, len(whole), 997):
        begin, end = int(whole["begin"][i]) + 1, int(whole["begin"][min(i + 20, len(whole) - 1)])
        overlapping = whole[(whole["begin"] < end) & (whole["end"] > begin)]
        np.testing.assert_array_equal(image.functions(begin, end), overlapping)


LSDA = """
.globl f
.type f, @function
f: .cfi_startproc
   .cfi_personality 0x1b, handler
   .cfi_lsda 0x1b, table
   call f
   ret
   .cfi_endproc
.size f, .-f
.type plain, @function
plain: .cfi_startproc
   .cfi_personality 0x1b, handler
   ret
inner: nop
   ret
   .cfi_endproc
.size plain, .-plain
.type inner, @function
.size inner, 2
handler: ret
.type numbers, @object
numbers: .float 1, 2, 3
.size numbers, 12
.section .gcc_except_table, "a"
table: .byte 0xff, 0xff, 1, 0
"""


@pytest.fixture(scope="module")
def with_landing_pads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lsda")
    (folder / "t.s").write_text(LSDA)
    images.run("as", "-o", folder / "t.o", folder / "t.s")
    images.run("ld", "-shared", "--eh-frame-hdr", "-o", folder / "t.so", folder / "t.o")
    return folder / "t.so"


def test_landing_pads_nested_symbols_and_data(with_landing_pads: Path) -> None:
    image = images.Image().load(with_landing_pads)
    label = {p[2]: int(p[0], 16) for p in (line.split() for line in images.run("nm", with_landing_pads).splitlines()) if len(p) == 3}
    by_begin = {int(f["begin"]): f for f in image.functions()}
    assert by_begin[label["f"]]["landing_pads"] == 1
    plain = by_begin[label["plain"]]
    assert plain["landing_pads"] == 0
    assert plain["entries"] == 1
    assert label["inner"] not in by_begin
    assert image.symbol(label["inner"] + 1)[0] == "inner"
    assert [(int(d["begin"]), int(d["end"])) for d in image.data()] == [(label["numbers"], label["numbers"] + 12)]


def test_stripped_of_section_headers_the_unwind_table_remains(with_landing_pads: Path) -> None:
    file = np.fromfile(with_landing_pads, np.uint8)
    whole = images.Image().add_elf(file.copy()).functions()
    file[40:48] = 0  # e_shoff
    file[60:64] = 0  # e_shnum, e_shstrndx
    bare = images.Image().add_elf(file).functions()
    assert len(bare) > 0
    assert set(bare["begin"].tolist()) <= set(whole["begin"].tolist())


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 200, b"MZ" * 100])
def test_no_elf_no_functions(data: bytes) -> None:
    image = images.Image().add_elf(np.frombuffer(data, np.uint8).copy())
    assert len(image.functions()) == 0
    assert len(image.code()) == 0


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, 20000),
    hits=st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 255)), max_size=12),
    wild=st.lists(st.tuples(st.integers(0, 2500), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80"])), max_size=4),
)
def test_damaged_files_do_no_harm(with_landing_pads: Path, cut: int, hits: list[tuple[int, int]], wild: list[tuple[int, bytes]]) -> None:
    file = bytearray(with_landing_pads.read_bytes())
    for at, value in hits:
        file[at % len(file)] = value
    for at, word in wild:
        file[at : at + len(word)] = word
    image = images.Image().add_elf(np.frombuffer(bytes(file[: cut % (len(file) + 1)] if cut % 3 == 0 else file), np.uint8).copy())
    functions = image.functions()
    assert (functions["begin"] < functions["end"]).all()
    assert (functions["begin"][1:] >= functions["end"][:-1]).all()
    image.symbol(0x1000)
    image.survey()
