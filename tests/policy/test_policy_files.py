"""Policy files: what they say, how they build on each other, and what is wrong with bad ones, by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import count_calls

from fase.errors import PolicyError
from fase.operators import parse
from fase.policy import Policy, load, presets
from fase.policy.flags import dynamic_of, routine_rule, torch_rule
from fase.policy.lower import agent_lines
from fase.policy.order import check_order

WHOLE = """
extends = "paper-mp"
mode = "bf16"
exclude = ["sgemm_*", "ns::f"]

[[rule]]
routine = "a*"
library = "lib*.so"
mode = "fp32"

[[rule]]
jit = true
mode = "run"

[[torch]]
module = "encoder.*"
phase = ["forward", "weight-gradient"]
mode = "e8m10"
when = ["bf16"]

[dynamic]
modes = ["mp", "bf16"]
ema-threshold = 0.01
"""


def write(folder: Path, text: str, name: str = "p.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_whole_file(tmp_path: Path) -> None:
    policy = load(write(tmp_path, WHOLE))
    assert policy.mode == "bf16"
    assert [rule.where.line for rule in policy.rules] == [4, 4]
    assert [(r.routine, r.library, r.jit) for r in policy.routines[:2]] == [("a*", "lib*.so", False), ("*", "*", True)]
    assert [r.where.line for r in policy.routines[:2]] == [6, 11]
    assert policy.torch[0].phases == ("forward", "weight-gradient")
    assert policy.torch[0].when == ("bf16",)
    assert policy.torch[1:] == load("paper-mp").torch  # inherited rules come after its own
    assert policy.dynamic is not None
    assert policy.dynamic.parameters == (("ema_threshold", 0.01),)
    fp32 = parse("fp32").spec
    assert list(agent_lines(policy))[:4] == ["exclude=sgemm_*", "exclude=_Z*2ns1f*", f"rule=a*@lib*.so|fp32|{fp32}", "rule=@||"]


@pytest.mark.parametrize("name", presets())
def test_presets_load(name: str) -> None:
    assert load(name).mode in ("mp", "bf16")
    check_order(load(name))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("mode = 'mp'\nmode = \n", 2, "Invalid value"),
        ("\n\nmode = 'nonsense'", 3, "nonsense"),
        ("mode = 'mp'\ncolour = 1", 2, "unknown key 'colour'"),
        ("[[rule]]\nroutine = 'a'\nmode = 'mp'\n\n[[rule]]\nroutine = 'b'\nmod = 'mp'", 7, "unknown key 'mod'"),
        ("[[rule]]\nroutine = 'a'\nmode = 'mp'\n\n[[rule]]\nroutine = 'b'\nmode = 'pm'", 7, "pm"),
        ("\n[[rule]]\nmode = 'mp'", 2, "routine, a library"),
        ("\n[[rule]]\nroutine = 'a'", 2, "no mode"),
        ("[[rule]]\njit = true\nroutine = 'a'\nmode = 'mp'", 1, "jit = true and neither"),
        ("[[torch]]\nmodule = 'a'\nphase = 'sideways'\nmode = 'mp'", 3, "sideways"),
        ("[[torch]]\nmode = 'mp'", 1, "has a module"),
        ("[[torch]]\nmodule = 'a'\nmode = 'mp'\nwhen = 'run'", 4, "'run' is none"),
        ("\n[dynamic]\nmodes = ['mp']", 3, "two different modes"),
        ("\n[dynamic]\nmodes = ['mp', 'fb16']", 3, "fb16"),
        ("\n[dynamic]\ncontroller = 'a.py:B'\nmodes = ['mp', 'bf16']", 2, "either modes"),
        ("[dynamic]\nmodes = ['mp', 'bf16']\nema-n = 'x'", 3, "not a number"),
        ("extends = 'no-such'", 1, "no policy 'no-such'"),
        ("exclude = [\n  'a',\n  '',\n]", 1, "not a glob"),
        ("\nexclude-from = 3", 2, "not a string"),
        ("unmatched = 'maybe'", 1, "'error' or 'allow'"),
        ("rule = 3", 1, "[[rule]]"),
        ("# x\n\n[rule]\nroutine = 'x'\nmode = 'mp'", 3, "[[rule]]"),
        ('mode = "mp"\n\n"b\\u001b[31mRED" = 1', 3, r"unknown key 'b\x1b[31mRED'"),
        ("mode = 'mp'\n\nexclude-from = 'nosuch.txt'", 3, "no file"),
        ("[dynamic]\nmodes = 'mp:bf16'", 2, 'write modes = ["mp", "bf16"]'),
        ("\nx = " + "9" * 6000, 2, "number is too long"),
        ("[[torch]]\nmodule = 'a'\nmode = 'mp'\nphase = []", 4, "'phase' is an empty list"),
        ("[[torch]]\nmodule = 'a'\nmode = 'mp'\nwhen = []", 4, "'when' is an empty list"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PolicyError) as caught:
        load(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_circles(tmp_path: Path) -> None:
    one = write(tmp_path, "mode = 'mp'\nextends = 'two.toml'", "one.toml")
    (tmp_path / "x").mkdir()
    two = write(tmp_path, "extends = 'x/../one.toml'", "two.toml")
    with pytest.raises(PolicyError, match=rf"{two}:1: 'extends' goes round in a circle: one.toml -> two.toml -> one.toml"):
        load(one)
    own = write(tmp_path, "extends = 'own.toml'", "own.toml")
    with pytest.raises(PolicyError, match="circle"):
        load(own)


def test_command_line_comes_first() -> None:
    policy = load("paper-mp").extended(routines=["*batch_norm*=bf16"], torch=["BatchNorm2d=bf16"])
    assert policy.routines[0].operator == parse("bf16")
    assert policy.torch[0].operator == parse("bf16")


def test_flags() -> None:
    assert (routine_rule("libm.so.6=fp32").routine, routine_rule("libm.so.6=fp32").library) == ("*", "libm.so.6")
    both = routine_rule("f*@lib.so=a=bf16,b=bf16,c=fp32,d=fp32")
    assert (both.routine, both.library, both.operator) == ("f*", "lib.so", parse("mp"))
    assert routine_rule("jit=mp").jit
    assert routine_rule("f=run").operator is None
    assert torch_rule("a.b:backward=mp").phases == ("input-gradient", "weight-gradient")
    assert torch_rule("optimizer=fp32").phases == ("optimizer",)
    assert dynamic_of("fp32:mp:bf16").modes == ("fp32", "mp", "bf16")
    assert dynamic_of("mp:e4m3:sat:bias=8:e5m2").modes == ("mp", "e4m3:sat:bias=8", "e5m2")
    assert dynamic_of("mine.py:Own", ["gain=2"]).controller == "mine.py:Own"
    assert Policy().needs_python is False


def test_a_single_string_is_one_rule() -> None:
    policy = Policy().extended("*gemm*", include="a*", torch="Linear=bf16")
    assert [(rule.action, rule.glob) for rule in policy.rules] == [("exclude", "*gemm*"), ("include", "a*")]
    assert [rule.pattern for rule in policy.torch] == ["Linear"]


ROUTINES = [
    (["*gemm*", "sgemm_*"], True),
    (["sgemm_*", "*gemm*"], False),
    (["sgemm_?", "sgemm_*"], False),
    (["ns::f", "ns::f"], True),
    (["ns::*", "ns::f"], True),
    (["f", "f@libx.so"], True),
    (["f@libx.so", "f"], False),
    (["libx.so", "f@libx.so"], True),
    (["*", "jit"], True),
    (["jit", "jit"], True),
    (["jit", "*"], False),
    (["f", "g", "h*", "f?", "h"], True),
]
TORCH = [
    (["Linear", "Linear"], True),
    (["*", "Linear"], True),
    (["Linear", "*"], False),
    (["optimizer", "optimizer"], True),
    (["Adam*:optimizer", "optimizer"], False),
    (["optimizer", "Adam*:optimizer"], True),
    (["*", "optimizer"], False),
    (["*:forward", "Linear"], False),
    (["*:forward", "Linear:backward", "Lin*"], False),
    (["*:forward", "Lin*:backward", "Linear"], True),
    (["[ab]*", "[ab]*"], True),
    (["?", "[ab]"], False),
]


@pytest.mark.parametrize(("options", "globs", "wrong"), [("routines", *row) for row in ROUTINES] + [("torch", *row) for row in TORCH])
def test_rules_that_earlier_ones_leave_nothing(options: str, globs: list[str], wrong: bool) -> None:
    rules = [f"{glob}={mode}" for glob, mode in zip(globs, ("fp32", "mp", "bf16", "e8m5", "e8m6"), strict=False)]
    policy = Policy().extended(routines=rules) if options == "routines" else Policy().extended(torch=rules)
    if not wrong:
        check_order(policy)
        return
    with pytest.raises(PolicyError, match=r"matches nothing that the rule at --(rule|torch) .* has not matched before"):
        check_order(policy)


def test_torch_rules_of_a_file_in_vain(tmp_path: Path) -> None:
    """By file and line. A rule for some modes of the run leaves the others."""
    rule = "[[torch]]\nmodule = 'Linear'\nmode = 'fp32'\n"
    check_order(load(write(tmp_path, f"{rule}when = 'mp'\n{rule}")))
    check_order(load(write(tmp_path, f"{rule}when = 'mp'\n{rule}when = 'bf16'")))
    for text in (rule + rule, f"{rule}when = ['mp', 'bf16']\n{rule}when = 'mp'\n"):
        path = write(tmp_path, text)
        with pytest.raises(PolicyError, match=rf"^policy {path}:\d: .* rule at policy {path}:1 has not"):
            check_order(load(path))


def test_rules_of_a_file_after_those_of_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "[[rule]]\nroutine = 'f'\nmode = 'mp'\n[[torch]]\nmodule = 'Linear'\nmode = 'fp32'")
    check_order(load(path).extended(routines=["f=bf16"], torch=["Linear=mp"]))


@pytest.mark.parametrize("glob", ["fun_{}", "fun_{}_*", "*gemm_{}_*", "ns::*::fun_{}"])
def test_thousands_of_rules(glob: str) -> None:
    """Not every rule is compared with every other: eight times the rules take eight times the calls."""

    def calls(number: int) -> int:
        policy = Policy().extended(routines=[f"{glob.format(i)}=mp" for i in range(number)])
        return count_calls(lambda: check_order(policy))

    assert calls(4000) < 12 * calls(500)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b'mode = "mp"\n\n# \xe9\n')
    with pytest.raises(PolicyError, match=f"^policy {path}:3: is not text in UTF-8"):
        load(path)
    path.write_bytes(b'\xef\xbb\xbfmode = "mp"\n')  # a byte order mark
    assert load(path).mode == "mp"


def test_nested_too_deeply(tmp_path: Path) -> None:
    path = write(tmp_path, f"a = {'[' * 3000}{']' * 3000}")
    with pytest.raises(PolicyError, match=f"^policy {path}: .* nested too deeply"):
        load(path)
