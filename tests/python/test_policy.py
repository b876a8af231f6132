"""Policy files, the agent's options, and the child's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from fase.agent.config import Config, parse_limits
from fase.agent.environment import child_environment
from fase.agent.locate import AGENT, library
from fase.errors import AgentMissingError, PolicyError, UsageError
from fase.operators import parse
from fase.policy import Policy, Rule, load


def test_file_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('mode = "mp"\nexclude = ["*batch_norm*"]\ninclude = ["libtorch_cpu.so"]\n')
    policy = load(path).extended(["sgemm_*"], [])
    assert policy.mode == "mp"
    assert policy.rules == (Rule("exclude", "*batch_norm*"), Rule("include", "libtorch_cpu.so"), Rule("exclude", "sgemm_*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = \n", "line 1"),
        ("modes = 1", "unknown key 'modes'"),
        ("mode = 1", "'mode' is not a string"),
        ("exclude = 'x'", "'exclude' is not a list"),
        ("include = [1]", "'include' is not a list"),
        ("exclude = ['']", "not a glob"),
        ('exclude = ["a\\nb"]', "not a glob"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=message):
        load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        load(tmp_path / "p.toml")


def test_options_text(tmp_path: Path) -> None:
    config = Config(parse("mp"), tmp_path, Policy().extended(["a*"], ["b"]), "all", "avx2", {"fmas": 1, "loops": 0})
    assert config.to_text().splitlines() == [
        "version=1", "mode=mp", "operator=e8m7,e8m7,e8m23,e8m23", "rounding=rne", "scope=all", "isa=avx2", "exclude=a*", "include=b",
        f"directory={tmp_path}", "limit.fmas=1", "limit.loops=0",
    ]  # fmt: skip


def test_limits() -> None:
    assert parse_limits("instructions=40,loops=0") == {"instructions": 40, "loops": 0}
    assert parse_limits("") == {}
    for wrong in ("speed=1", "fmas", "fmas=x", "fmas=-1"):
        with pytest.raises(UsageError, match="FASE_LIMITS"):
            parse_limits(wrong)


def test_environment_keeps_other_preloads(tmp_path: Path) -> None:
    agent = tmp_path / AGENT
    config = Config(parse("bf16"), tmp_path)
    made = child_environment({"LD_PRELOAD": f"/other/{AGENT}:/lib/x.so /lib/y.so", "A": "b"}, agent, config)
    assert made["LD_PRELOAD"] == f"{agent}:/lib/x.so:/lib/y.so"
    assert made["FASE_AGENT"] == config.to_text()
    assert made["A"] == "b"
    with pytest.raises(UsageError, match="LD_PRELOAD"):
        child_environment({}, tmp_path / "a b" / AGENT, config)


def test_library_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASE_NATIVE_DIR", str(tmp_path))
    with pytest.raises(AgentMissingError, match="holds no"):
        library(AGENT)
    (tmp_path / AGENT).touch()
    assert library(AGENT) == tmp_path / AGENT
