"""Mode strings and format names."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fase.errors import FaseError, FormatError, ModeError
from fase.formats import catalogue, get
from fase.formats.floating import Float
from fase.operators import parse, presets
from fase.operators.cost import cost
from fase.operators.description import parse_description

FORMATS = st.one_of(st.sampled_from(sorted(catalogue())), st.integers(1, 23).map(lambda m: f"e8m{m}"))


@pytest.mark.parametrize(
    ("mode", "spec"),
    [
        ("fp32", "e8m23,e8m23,e8m23,e8m23"),
        ("mp", "e8m7,e8m7,e8m23,e8m23"),
        ("bf16", "e8m7,e8m7,e8m7,e8m7"),
        ("mp-bf16", "e8m7,e8m7,e8m23,e8m23"),
        ("mp-e8m10", "e8m10,e8m10,e8m23,e8m23"),
        ("bfloat16", "e8m7,e8m7,e8m7,e8m7"),
        ("e8m3", "e8m3,e8m3,e8m3,e8m3"),
        ("d=bf16,a=e8m3", "e8m3,e8m23,e8m23,e8m7"),
        ("bf16,rounding=rne", "e8m7,e8m7,e8m7,e8m7"),
        (" A=BF16 , b=bf16, rounding=rne", "e8m7,e8m7,e8m23,e8m23"),
    ],
)
def test_modes(mode: str, spec: str) -> None:
    assert parse(mode).spec == spec


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("bf17", "did you mean 'bf16'"),
        ("nonsense", "fase formats"),
        ("e9m2", "1 to 8 exponent bits"),
        ("e8m24", "0 to 23 mantissa bits"),
        ("e8m3:fn", "use ieee, or fewer exponent bits"),
        ("e7m3:bias=-3", "bias of at least -1"),
        ("e4m3:bias=200", "it is -126 to 127"),
        ("e4m3:loud", "there are ieee, fn"),
        ("e4m3:sta", "did you mean 'sat'"),
        ("e4m3:sat=1", "takes no value"),
        ("e4m3:sat:overflow=inf", "'sat' and 'overflow=inf' say the same thing twice"),
        ("e4m3:inf=nan:sat", "'inf=nan' and 'sat' say the same thing twice"),
        ("e4m3:fn:ieee", "twice"),
        ("e4m3:bias=7:bias=8", "twice"),
        ("e11m20", "--fp64; docs/fp64.md"),
        ("fp64", "--fp64; docs/fp64.md"),
        ("e4m3:bias=x", "whole number"),
        ("e4m3:nan=inf", "one of nan, zero, max"),
        ("int8:flush", "floating-point formats"),
        ("e4m3:scale=2", "fixed-point formats"),
        ("int8:scale=0.1", "2^-4 and 2^-3"),
        ("int8:scale=x", "power of two"),
        ("int1", "2 to 24 bits"),
        ("q20.20", "2 to 24 bits"),
        ("e1m0", "no number but zero"),
        ("posit8,rounding=sr", "is a table"),
        ("tpuv3", "did you mean 'tpu-v3'"),
        ("mp-", "unknown format ''"),
        ("mp-x", "unknown format 'x'"),
        ("bf16-2_2-5", "3 or 4 partial products"),
        ("bf16-4_1", "1 to 3 literals"),
        ("posit8-2_2", "not a table"),
        ("bf16-2_2-3,exact", "excludes 'exact'"),
        ("bf16-2_2-3,rounding=sr", "excludes 'rounding=sr'"),
        ("bf16,exact=1", "takes no value"),
        ("bf16,exact,exact", "twice"),
        ("bf16,rounding=up", "did you mean 'rup'"),
        ("bf16,rounding=sr0", "no random bits"),
        ("bf16,rounding=sr17", "sr16 has all"),
        ("e8m22,rounding=sr2", "sr1 has all"),
        ("e04m03", "zero in front"),
        ("bf16,chunk=1073741824", "to 999999999"),
        ("bf16,seed=1", "add rounding=sr"),
        ("bf16,rounding=sr,seed=-1", "from 0 to 4294967295"),
        ("bf16,chunk=0", "chunk=128"),
        ("mp,chunk=8", "d is fp32"),
        ("mp,exact,rounding=sr", "into fp32"),
        ("e3m2:flush=after,rounding=rup", "no meaning with rup"),
        ("bf16,loud", "unknown option 'loud'"),
        ("bf16,", "unknown option ''"),
        ("a=bf16,a=fp32", "twice"),
        ("a=", "unknown format ''"),
        ("bf16,a=fp32", "unknown option 'a=fp32'"),
        ("b\x00f16", "plain text"),
        ("a=e8m7," + "rounding=rne," * 9, "plain text"),
    ],
)
def test_bad_modes_say_what_is_wrong(mode: str, message: str) -> None:
    with pytest.raises(ModeError) as caught:
        parse(mode)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@settings(deadline=None)
@given(st.tuples(FORMATS, FORMATS, FORMATS, FORMATS))
def test_operands_are_independent(formats: tuple[str, str, str, str]) -> None:
    operator = parse(",".join(f"{operand}={name}" for operand, name in zip("abcd", formats, strict=True)))
    assert (operator.a, operator.b, operator.c, operator.d) == tuple(map(get, formats))
    assert parse(operator.name) == operator


@settings(deadline=None)
@given(FORMATS)
def test_format_and_mp_of_any_format(name: str) -> None:
    assert parse(name).a == parse(name).d == parse(f"mp-{name}").b == get(name)
    assert parse(f"mp-{name}").c == parse(f"mp-{name}").d == get("fp32")


@settings(deadline=None)
@given(st.text(max_size=70))
def test_any_text_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        operator = parse(text)
    except FaseError as error:
        assert "\n" not in str(error)
    else:
        assert operator.name.isascii()
        assert len(operator.name) <= 55


def test_presets_are_named_after_themselves() -> None:
    assert [parse(name) for name in presets()] == list(presets().values())
    assert parse("fp32").is_identity
    assert not parse("mp").is_identity


def test_facts_follow_from_the_bits() -> None:
    bf16 = get("bfloat16")
    assert isinstance(bf16, Float)
    assert (bf16.bits, bf16.bias, bf16.spec) == (16, 127, "e8m7")
    assert bf16.max == float.fromhex("0x1.fep127")
    assert bf16.min_normal == 2.0**-126
    assert bf16.smallest == 2.0**-133
    assert bf16.epsilon == 2.0**-7
    assert get("e8m7") == bf16


def test_unknown_format() -> None:
    with pytest.raises(FormatError, match="unknown format"):
        get("posit9")


FRAGMENTS = """
e4m3 e5m2 e8m7 e8m23 e8m0 e1m0 e9m1 bf16 fp32 int8 int24 q1.6 q0.23 q30.1 posit8 e=4,m=3 tpu-v3 mp- a= b= c= d= a=bf16 1_1 -2_2-3 -3_3 -1_9
, : , : = exact rounding= rounding-d= rna sr sr7 sr99 rtz odd saturate ftz chunk= seed= 0 1 -1 999 -999 4294967295 \u00b2 \u0663 flush flush=after
bias= bias=-999 bias=999 bias=-3 bias=20 sat overflow= overflow=inf inf= inf=nan nan= nan=max uz scale= 2^ scale=2^-149 scale=2^127 scale=0.3
scale=1e-99 symmetric ieee fn fnuz p3109 finite dlfloat max zero
"""
FRAGMENT = st.sampled_from(sorted(set(FRAGMENTS.split())))


@settings(deadline=None, max_examples=3000)
@given(st.lists(FRAGMENT, min_size=1, max_size=9).map("".join))
def test_anything_like_a_mode_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        operator = parse(text)
    except ModeError as error:
        assert "\n" not in str(error)
        assert error.exit_code == 2
    else:
        assert parse(operator.name) == operator
        assert parse_description(operator.description.text) == operator.description
        assert cost(operator).area > 0


@settings(deadline=None, max_examples=500)
@given(st.lists(FRAGMENT, min_size=1, max_size=6).map(":".join))
def test_anything_like_a_format_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        fmt = get(text)
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert fmt.min < 0 < fmt.smallest <= fmt.max
        assert fmt.count > 2
        assert get(fmt.name) == fmt


def test_parsing_does_not_load_numpy() -> None:
    """`fase run` must not: its threads would take signals meant for the command."""
    code = (
        "import sys; from fase.operators import parse; parse('posit8,rounding=odd').description; parse('bf16-2_2-3'); print('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
