"""Formats given by their values: both emitters' look-ups against the reference, and what a broken table is refused for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

import guest as guests
import lab
import numpy as np
import pytest
from test_core_formats import ISAS
from test_core_forms import instructions
from test_core_regions import check as check_region

import fase
from fase.formats import get
from fase.formats.roundings import parse_rounding
from fase.formats.tables import TableFormat, table
from fase.operators import Operator

ROUNDINGS = ["rne", "rtz", "rup", "rdn", "rna", "odd"]


def _dense() -> list[float]:
    """All in two binades, so that buckets are as full as they get."""
    return list(map(float, np.arange(0x3F800000, 0x3F800000 + 65536 * 150, 150, dtype=np.uint32).view(np.float32)))


def _scattered() -> list[float]:
    rng = np.random.default_rng(9)
    bits = rng.integers(0, 1 << 32, 3000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    return [*map(float, values[np.isfinite(values)]), 0.0, 2.0**-149, -(2.0**-149), 3 * 2.0**-149]


MADE: dict[str, Callable[[], TableFormat]] = {
    "ternary": lambda: table("ternary", [0.0, 1.0, -1.0]),
    "signs": lambda: table("signs", [1.0, -1.0]),
    "logarithmic": lambda: table("logarithmic", [0.0, -0.0, float("nan"), *(s * 2.0 ** (k / 2 // 1 - 8) for k in range(34) for s in (1, -1))]),
    "infinite": lambda: table("infinite", [0.0, 0.5, 1.0, 4.0, float("inf"), -0.5, -2.0, float("-inf"), -0.0]),
    "upper": lambda: table("upper", [0.25, 1.0, 8.0, float("inf"), float("nan")]),
    "negative": lambda: table("negative", [-3.0, -2.0, -0.125]),
    "dense": lambda: table("dense", _dense()),
    "scattered": lambda: table("scattered", _scattered()),
    "ends": lambda: table("ends", [3.4028234663852886e38, -3.4028234663852886e38, 2.0**-149, 0.0, -0.0]),
}
NAMES = ["posit8", "posit16", "posit8:inf=max", "posit16:nan=max", "posit8:nan=zero:inf=nan", *MADE]


@cache
def fmt_of(name: str) -> TableFormat:
    fmt = MADE[name]() if name in MADE else get(name)
    assert isinstance(fmt, TableFormat)
    return fmt


def text_of(name: str, rounding: str = "rne") -> str:
    """The format's text, its table known to the lab."""
    fmt = fmt_of(name)
    word, _ = parse_rounding(rounding, fmt)
    guests.know_table(fmt.file(word))
    return fmt.describe(word).text


def inputs(name: str, rounding: str, count: int) -> np.ndarray:
    """All limits and values with their neighbours, some numbers between, any bits, special ones."""
    fmt = fmt_of(name)
    values, limits = fmt.limits(parse_rounding(rounding, fmt)[0])
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    near = np.array([*values, *limits], np.float32).view(np.uint32).astype(np.int64)
    near = np.concatenate([near + s for s in (-1, 0, 1)]) & 0xFFFFFFFF
    special = np.array([0, 0x7F800000, 0x7F800001, 0x7FFFFFFF, 0x7FC12345, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF], np.int64)
    plain = rng.standard_normal(count).astype(np.float32).view(np.uint32) if count else special
    parts = [near, special, special | 1 << 31, rng.integers(0, 1 << 32, count), plain]
    return np.concatenate([p.astype(np.uint32) for p in parts])


def check_rounding(name: str, rounding: str, isa: int, x: np.ndarray) -> None:
    text = text_of(name, rounding)
    want = fase.round(x.view(np.float32), fmt_of(name), rounding=rounding).view(np.uint32)
    got = lab.round_to(text, isa, x.view(np.float32)).view(np.uint32)
    wrong = np.nonzero(got != want)[0]
    assert wrong.size == 0, (name, rounding, *(f"{v[wrong[0]]:08x}" for v in (x, want, got)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", NAMES)
def test_every_limit(name: str, isa: int) -> None:
    for rounding in ROUNDINGS if fmt_of(name).count < 1000 else ["rne"]:
        check_rounding(name, rounding, isa, inputs(name, rounding, 2000))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["posit8", "posit16", "infinite", "scattered"])
def test_a_million(name: str, isa: int) -> None:
    x = np.concatenate([inputs(name, "rne", 300_000), np.arange(0, 1 << 32, 9973, dtype=np.uint64).astype(np.uint32)])
    check_rounding(name, "rne", isa, x)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["posit8", "posit16", "logarithmic"])
def test_every_input(name: str, isa: int) -> None:
    chunk = 1 << 22
    for start in range(0, 1 << 32, chunk):
        check_rounding(name, "rne", isa, np.arange(start, start + chunk, dtype=np.uint64).astype(np.uint32))


OPERATORS = {
    "posit8": ("posit8", "posit8", "posit8", "posit8"),
    "mixed": ("posit8", "posit8", "fp32", "posit16"),
    "unstable": ("signs", "signs", "signs", "infinite"),
    "with grids": ("ternary", "bf16", "scattered", "e4m3"),
    "negative": ("negative", "upper", "posit8", "bf16"),
    "unstable grids": ("e5m2:inf=max", "e5m2:inf=max", "e5m2:inf=max", "e5m2:inf=max"),
    "unequal": ("posit8:nan=zero:inf=nan", "posit8", "posit8", "posit8:nan=zero:inf=nan"),
}


def operator_text(name: str) -> str:
    return ",".join(text_of(f) if f in MADE or f.startswith("posit") else get(f).describe().text for f in OPERATORS[name])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", OPERATORS)
def test_regions(name: str, isa: int) -> None:
    """Also the guest's opmasks, general registers and flags stay."""
    text = operator_text(name)
    for seed in range(8):
        check_region(zlib.crc32(name.encode()) + seed, isa, text)


@pytest.mark.parametrize(("isa", "evex"), [(lab.AVX2, False), (lab.AVX512, False), (lab.AVX512, True)])
@pytest.mark.parametrize("form", ["132", "213", "231"])
def test_form(form: str, isa: int, evex: bool) -> None:
    if isa not in ISAS:
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    text = operator_text("mixed")
    for kind in ("FMADD", "FNMSUB"):
        for insn in instructions(form, kind, evex, rng):
            guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
            state = guests.random_state(rng, buffer, True)
            want = guests.Oracle(guest, text).run(state.copy())
            got, fault, executed = guests.emulate(guest, state.copy(), text, isa, lab.Limits())
            assert not fault.rip
            assert executed["emulated"] == 1
            assert guests.differences(want, got) == [], str(insn)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("name", OPERATORS)
def test_fma_equals_the_reference(name: str, form: int, isa: int) -> None:
    rng = np.random.default_rng(form)
    a, b, c = (guests.random_values(rng, 20_000).view(np.float32) for _ in range(3))
    fa, fb, fc, fd = (fmt_of(f) if f in MADE or f.startswith("posit") else get(f) for f in OPERATORS[name])
    for exact in (False, True):
        want = fase.fma(a, b, c, Operator(fa, fb, fc, fd, exact=exact)).view(np.uint32)
        got = lab.fma(operator_text(name) + ",exact" * exact, isa, form, a, b, c).view(np.uint32)
        assert (got == want).all(), exact


def _file(values: list[float], limits: list[float], count: int | None = None) -> bytes:
    return b"FASETAB1" + struct.pack(f"<II{len(values)}f{len(limits)}f", len(values) if count is None else count, 0, *values, *limits)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "begin with FASETAB1"),
        (b"FASETAB2" + bytes(20), "begin with FASETAB1"),
        (b"FASETAB1" + bytes(4), "begin with FASETAB1"),
        (_file([0.0], []), "2 to 65536 values"),
        (_file([0.0, 1.0], [0.5], count=65537), "2 to 65536 values"),
        (_file([0.0, 1.0], [0.5], count=3), "its size"),
        (_file([0.0, 1.0], [0.5]) + b"\0", "its size"),
        (b"FASETAB1" + struct.pack("<II3f", 2, 1, 0, 1, 0.5), "bytes 12 to 15"),
        (_file([1.0, 0.0], [0.5]), "not ascending"),
        (_file([0.0, 0.0], [0.0]), "not ascending"),
        (_file([-0.0, 1.0], [0.5]), "NaN or -0"),
        (_file([0.0, float("nan")], [0.5]), "NaN or -0"),
        (_file([0.0, float("inf"), 1.0], [0.5, 0.7]), "neither its first nor its last"),
        (_file([float("-inf"), float("inf")], [0.0]), "no finite value"),
        (_file([0.0, 1.0], [0.0]), "not between"),
        (_file([0.0, 1.0], [1.5]), "not between"),
        (_file([0.0, 1.0], [float("nan")]), "not between"),
        (_file([0.0, 1.0, 2.0], [1.0, 1.0]), "not between"),
    ],
)  # fmt: skip
def test_a_broken_table(file: bytes, problem: str) -> None:
    assert problem in lab.add_table(file)
    assert lab.add_table(_file([0.0, 1.0], [0.5])) == ""
