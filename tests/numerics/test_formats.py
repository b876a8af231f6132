"""The catalogue: values against other libraries, facts against the values, and a user's own formats."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat import formats as known
from shown import Result

import fase
from fase.errors import FormatError
from fase.formats import Format, catalogue, get, load, register
from fase.formats.description import Grid
from fase.formats.format import GridFormat

SMALL = [f for f in catalogue().values() if f.bits <= 16]
ML_DTYPES = {
    "bf16": ml_dtypes.bfloat16, "e5m2": ml_dtypes.float8_e5m2, "e4m3fn": ml_dtypes.float8_e4m3fn, "e3m4": ml_dtypes.float8_e3m4,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e4m3:ieee": ml_dtypes.float8_e4m3, "e3m2": ml_dtypes.float6_e3m2fn, "e2m3": ml_dtypes.float6_e2m3fn, "e2m1": ml_dtypes.float4_e2m1fn,
    "fp16": np.float16,
}  # fmt: skip
GFLOAT = {
    "bf16": known.format_info_bfloat16, "fp16": known.format_info_binary16, "e5m2": known.format_info_ocp_e5m2,
    "e4m3fn": known.format_info_ocp_e4m3, "e3m2": known.format_info_ocp_e3m2, "e2m3": known.format_info_ocp_e2m3,
    "e2m1": known.format_info_ocp_e2m1, "mxint8": known.format_info_ocp_int8, "k8p3": known.format_info_p3109(8, 3),
    "k8p4": known.format_info_p3109(8, 4), "k8p5": known.format_info_p3109(8, 5),
}  # fmt: skip


def same(x: float, y: float) -> bool:
    """Equal, with the sign of zero; NaNs are equal."""
    return (math.isnan(x) and math.isnan(y)) or (x == y and math.copysign(1, x) == math.copysign(1, y))


@pytest.mark.parametrize("name", ML_DTYPES)
def test_values_equal_ml_dtypes(name: str) -> None:
    fmt = get(name)
    codes = np.arange(1 << fmt.bits).astype(np.uint16 if fmt.bits > 8 else np.uint8)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        expected = codes.view(ML_DTYPES[name]).astype(np.float64)
    assert all(same(value, float(e)) for (_, value), e in zip(fmt.values(), expected, strict=True))


@pytest.mark.parametrize("name", GFLOAT)
def test_values_equal_gfloat(name: str) -> None:
    fmt, info = get(name), GFLOAT[name]
    assert all(same(value, gfloat.decode_float(info, code).fval) for code, value in fmt.values())
    assert (fmt.max, fmt.min) == (info.max, info.min)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.name)
def test_facts_follow_from_the_values(fmt: Format) -> None:
    values = [v for _, v in fmt.values()]
    finite = sorted({v for v in values if math.isfinite(v)})
    assert (fmt.max, fmt.min) == (finite[-1], finite[0])
    assert fmt.smallest == min(v for v in finite if v > 0)
    assert fmt.count == len(finite)
    assert fmt.signed_zero == any(v == 0 and math.copysign(1, v) < 0 for v in values)
    assert (fmt.nan == "nan") == any(map(math.isnan, values))
    if not math.isnan(fmt.epsilon):
        assert fmt.epsilon == min(v for v in finite if v > 1) - 1


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.name)
@pytest.mark.parametrize("rounding", ["rne", "rtz", "rup", "rna", "odd"])
def test_values_are_their_own_roundings(fmt: Format, rounding: str) -> None:
    if fmt.name == "dlfloat16" and rounding == "rup":
        pytest.skip("flushing after rounding has no meaning with rup")
    values = np.array([v for _, v in fmt.values() if math.isfinite(v)], np.float32)
    np.testing.assert_array_equal(fase.round(values, fmt, rounding=rounding).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("name", ["e8m0", "e1m3", "e3m0", "e5m10", "e4m3:bias=20", "e2m5:finite", "e3m3:p3109:uz", "int5", "q2.3"])
def test_generic_formats(name: str) -> None:
    test_facts_follow_from_the_values(get(name))
    assert get(get(name).name) == get(name)


def test_words_people_type() -> None:
    for spellings, name in (
        (("fp16", "half", "float16"), "fp16"),
        (("e4m3", "E4M3FN", "float8_e4m3fn"), "e4m3fn"),
        (("e=8,m=7",), "bf16"),
    ):
        assert {get(word) for word in spellings} == {get(name)}
    assert get("q1.6") == get("mxint8") == get("int8:scale=2^-6") == get("int8:scale=0.015625")
    assert get("e5m10") == get("fp16")
    assert get("e8m13") == get("fp22")
    assert get("e4m3:ieee").max == 240
    assert get("e4m3:sat") != get("e4m3")
    assert get("e4m3:ieee:bias=9:sat") == get("e4m3:sat:ieee:bias=9")


def test_no_fact_is_typed_in() -> None:
    """Published figures (OCP FP8, MX, IEEE 754, P3109, ml_dtypes, Standard for Posit Arithmetic)."""
    figures = {
        "e4m3fn": 448, "e5m2": 57344, "e4m3fnuz": 240, "e5m2fnuz": 57344, "k8p3": 49152, "k8p4": 224, "e2m1": 6, "e2m3": 7.5, "e3m2": 28,
        "fp16": 65504,
        "mxint8": 127 / 64, "posit8": 2.0**24, "posit16": 2.0**56, "dlfloat16": 2.0**32 * (2 - 2.0**-8), "e3m4": 15.5, "e4m3b11fnuz": 30,
    }  # fmt: skip
    assert {name: get(name).max for name in figures} == figures
    assert get("dlfloat16").smallest == 2.0**-31 * (1 + 2.0**-9)


def test_posit_values() -> None:
    posit8 = dict(get("posit8").values())
    assert [posit8[c] for c in (0x00, 0x40, 0x48, 0x7F, 0x01, 0xC0, 0xFF)] == [0, 1, 2, 2.0**24, 2.0**-24, -1, -(2.0**-24)]
    assert posit8[0x44] == 1.5
    assert math.isnan(posit8[0x80])


def test_fixed_point_is_not_symmetric() -> None:
    grid = get("int8").describe()
    assert isinstance(grid, Grid)
    assert (get("int8").min, get("int8").max, get("int8:symmetric").min) == (-128, 127, -127)
    assert fase.round([200, -200, 0.5, 1.5, -0.25, np.nan, -np.inf], "int8").tolist() == [127, -128, 0, 2, 0, 0, -128]


@pytest.mark.usefixtures("no_own_formats")
def test_a_table_of_ones_own() -> None:
    mine = register("powers", [0.0, *(2.0**k for k in range(-3, 4)), *(-(2.0**k) for k in range(-3, 4))], title="signed powers of two")
    assert fase.round([3.0, 2.9, 3.1, 100, -0.01, np.nan, -6.1], "powers").tolist() == [4.0, 2.0, 4.0, 8.0, 0.0, 0.0, -8.0]
    assert fase.fma(3.5, 2.0, 0.4, "a=powers") == np.float32(4 * 2 + 0.4)
    assert (mine.bits, mine.count, mine.max) == (4, 15, 8.0)
    logarithmic = register("lns8", decode=lambda code: float(np.float32(2 ** (code / 8 - 8))) if code else 0.0, bits=7)
    assert fase.round(1.04, logarithmic) == 1.0
    assert get("LNS8") is logarithmic
    assert "powers" in catalogue()


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0], "2 to 65536 values"), ([0.0, 0.1], "not a binary32 number"), ([1.0, 1.0], "two different"), ([1.0, "x"], "not a binary32 number")],
)
def test_bad_tables(values: list[float], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        register("mine", values)


@pytest.mark.parametrize("name", ["bf16", "e4m3", "e4m9", "int7", "9x", "", "a,b", "a:b", "x" * 30])
def test_taken_names(name: str) -> None:
    with pytest.raises(FormatError):
        register(name, [0.0, 1.0])


def test_files_of_formats(
    tmp_path: Path, run_fase: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, no_own_formats: dict[str, object]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[ternary]\nvalues = [0.0, 1.0, -1.0]\n[short]\nexponent = 5\nmantissa = 1\nencoding = "fnuz"\ntitle = "mine"\n')
    assert load(path)["ternary"].count == 3
    assert get("short:sat").max == 57344 / 1.75 * 1.5
    shown = run_fase("formats", "--formats", str(path), "ternary", "--values")
    assert shown.out.splitlines() == ["0  0.0", "1  1.0", "2  -1.0", "3  nan"]
    no_own_formats.clear()
    monkeypatch.setenv("FASE_FORMATS", str(path))
    assert get("ternary").bits == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mp]\nvalues=[0.0, 1.0, 2.0]", "is a mode already"), ("[bf16]\nvalues=[0.0, 1.0, 2.0]", "is a format already"),
        ("[x", "formats file"), ("x = 1", "table of its own"), ("[x]\n", "unknown keys"), ("[x]\nexponent=5", "mantissa is missing"),
        ("[x]\nexponent=9\nmantissa=2", "1 to 8 exponent bits"), ("[x]\nvalues=[0.1, 0.5]", "binary32"), ("[x]\nvalues=3", "formats file"),
        ("[bf16]\nexponent=5\nmantissa=2", "already"), ("[x]\nexponent=5\nmantissa=2\nfoo=3", "unknown keys foo;"),
        ("[x]\nexponent=5\nmantissa=2\nencoding='odd'", "not one of"), ("[x]\nposit=[8]", "formats file"),
    ],
)  # fmt: skip
def test_bad_files_of_formats(tmp_path: Path, run_fase: Callable[..., Result], text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    shown = run_fase("formats", "--formats", str(path))
    assert shown.status == 2
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_commands(run_fase: Callable[..., Result]) -> None:
    rows = json.loads(run_fase("formats", "--json").out)
    assert {row["name"] for row in rows} == set(catalogue())
    assert json.loads(run_fase("formats", "e2m1", "--values", "--json").out)[7] == {"code": "7", "value": 6.0}
    assert "at most" not in run_fase("formats", "fp32", "--values").out
    assert run_fase("formats", "fp32", "--values").status == run_fase("formats", "--values").status == 2
    for fmt in catalogue().values():
        assert fmt.name in run_fase("formats", fmt.name).out


def test_listing(tmp_path: Path, run_fase: Callable[..., Result], no_own_formats: dict[str, object]) -> None:
    """Every row without a star: no word about stars. A table's infinity is what its largest value is, unless it has one."""
    path = tmp_path / "mine.toml"
    path.write_text("[without]\nvalues = [0.0, 1.0, -1.0]\n[with]\nvalues = [0.0, 1.0, -1.0, inf]\n")
    shown = run_fase("formats", "--formats", str(path)).out
    rows = {row["name"]: row for row in json.loads(run_fase("formats", "--json", "--formats", str(path)).out)}
    assert ("*" in shown) == any(row["engine"] != "yes" for row in rows.values())
    for name in ("without", "with"):
        assert rows[name]["infinity"] == ("max" if fase.round(np.float32(np.inf), load(path)[name]) == 1 else "inf")
    assert no_own_formats


def test_spacing_of_grids() -> None:
    """The number of values between two powers of two, by the format and by its values."""
    for fmt in SMALL:
        if isinstance(fmt, GridFormat) and fmt.max >= 2:
            inside = {Fraction(v) for _, v in fmt.values() if 1 <= v < 2}
            assert len(inside) == round(1 / fmt.epsilon)
