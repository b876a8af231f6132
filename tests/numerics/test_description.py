"""The text form of formats and operators: a round trip, and the words the agent already knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fase.errors import FaseError, FormatError, ModeError
from fase.formats import get
from fase.formats.description import ROUNDINGS, Grid, NanRule, Overflow, Table, ieee, parse_format
from fase.operators import parse
from fase.operators.description import Description, parse_description

OVERFLOWS: st.SearchStrategy[Overflow] = st.sampled_from(["inf", "nan", "max"])
NANS: st.SearchStrategy[NanRule] = st.sampled_from(["nan", "zero", "max"])


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    mantissa = draw(st.integers(0, 23))
    rounding = draw(st.sampled_from(ROUNDINGS))
    return Grid(
        mantissa,
        draw(st.integers(-126, 127)),
        draw(st.integers(0, 0x7F7FFFFF)),
        draw(st.integers(1, 0x7F7FFFFF)),
        draw(st.integers(0x80000001, 0xFF7FFFFF)),
        draw(OVERFLOWS),
        draw(OVERFLOWS),
        draw(NANS),
        draw(st.booleans()),
        rounding,
        draw(st.integers(1, max(1, 23 - mantissa))) if rounding == "sr" else 0,
    )


TABLES = st.builds(Table, st.integers(0, 2**64 - 1).map("{:016x}".format), OVERFLOWS, NANS, st.booleans())
FORMATS = st.one_of(st.integers(1, 23).map(ieee), grids(), TABLES)
COMPOUND = st.sampled_from([((1, 1, 1, 1), ((0, 0),)), ((2, 2, 2, 2), ((1, 0), (0, 1), (0, 0))), ((1, 1, 2, 2), ((0, 0),))])


@given(FORMATS)
def test_formats_round_trip(fmt: Grid | Table) -> None:
    assert parse_format(fmt.text) == fmt


@given(FORMATS, FORMATS, FORMATS, FORMATS, st.booleans(), COMPOUND, st.integers(0, 4096), st.integers(0, 2**32 - 1))
def test_operators_round_trip(
    a: Grid | Table,
    b: Grid | Table,
    c: Grid | Table,
    d: Grid | Table,
    exact: bool,
    compound: tuple[tuple[int, int, int, int], tuple[tuple[int, int], ...]],
    chunk: int,
    seed: int,
) -> None:
    described = Description(a, b, c, d, exact, *compound, chunk, seed)
    assert parse_description(described.text) == described
    assert not set(described.text) & set(" \n\t")


@given(st.one_of(st.text(max_size=60), st.text("eg1m8/,.-0f=inszrtl", max_size=80)))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        assert parse_description(text).text == text
    except ModeError as error:
        assert "\n" not in str(error)


def test_words() -> None:
    assert ieee(7).text == "e8m7"
    assert ieee(23).is_identity
    assert ieee(7, "rtz").text == "g1/7/-126/00000000/7f7f0000/ff7f0000/iins/rtz"
    assert parse_format("g1/3/-6/00000000/43e00000/c3e00000/nnns/sr8") == Grid(
        3, -6, 0, 0x43E00000, 0xC3E00000, "nan", "nan", rounding="sr", random_bits=8
    )


@pytest.mark.parametrize("text", ["e8m0", "e8m24", "e5m2", "g2/3/-6/0/0/0/nnns/rne", "t1/12/inu", "g1/3/-6/00000000/43e00000/c3e00000/nnns/sr"])
def test_unknown_words(text: str) -> None:
    with pytest.raises(FormatError):
        parse_format(text)


@pytest.mark.parametrize("text", ["e8m7,e8m7,e8m7", "e8m7,e8m7,e8m7,e8m7,loud", "e8m7,e8m7,e8m7,e8m7,seed=0", "e8m7,e8m7,e8m7,e8m7,literals=4.1.1.1"])
def test_bad_operators(text: str) -> None:
    with pytest.raises(FaseError) as caught:
        parse_description(text)
    assert caught.value.exit_code == 2


def test_the_examples_of_the_documentation() -> None:
    """Each mode named in docs/operators.md has the text given there."""
    text = Path(__file__).parents[2].joinpath("docs/operators.md").read_text()
    assert parse("mp").description.text + " " in text
    assert parse("bf16-2_2-3").description.text in text
    assert get("e4m3fn").describe().text in text
    assert get("e5m2:sat").describe("rtz").text in text
    assert get("q1.6").describe().text in text
