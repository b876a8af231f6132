"""Exclusion lists of other tools, demangled names, and what rules match in a library, as the agent sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fase.cli.main import main
from fase.errors import PolicyError
from fase.policy.explain import _regex as glob
from fase.policy.lists import read_list, write_list
from fase.policy.mangle import mangled
from fase.policy.symbols import demangled, function_names

LIBRARY = """
#include <cmath>
namespace deep { namespace { __attribute__((used, noinline)) float hidden(float a) { return a * a; } }
  template <class T> struct Box { T twice(T a) { return a + a; } };
  float normal(float a) { return hidden(a) + Box<float>().twice(a); }
  namespace inner { float normal_two(float a, float b) { return std::fma(a, b, a); } } }
extern "C" float plain_c(float a) { return deep::normal(a); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "x.cpp").write_text(LIBRARY)
    subprocess.run(["g++", "-shared", "-fPIC", "-O0", "-o", str(folder / "libx.so"), str(folder / "x.cpp")], check=True)
    return folder / "libx.so"


def test_both_column_orders(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(
        "# Verrou\nsin*  /lib/libm.so.6   # a comment\nfoo(int, float)\t*\n*\tlibgomp.so.1\n\n# PENE\nlibm.so cosf\n/opt/a.so *\nbar\nlibz.so*\n"
    )
    assert [rule.glob for rule in read_list(path)] == [
        "sin*@libm.so.6", "foo(int, float)", "*@libgomp.so.1", "cosf@libm.so", "*@a.so", "bar", "*@libz.so*",
    ]  # fmt: skip
    assert read_list(path)[0].where.line == 2
    path.write_text("ok libm.so\n* *\n")
    with pytest.raises(PolicyError, match=r"list:2: excludes everything"):
        read_list(path)


@pytest.mark.parametrize("line", ["a b c d", "liba.so libb.so", "/x/a /y/b"])
def test_lines_that_are_no_pair(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(f"unsigned long ns::f(int, float) /usr/lib/libx.so\noperator/(A, B) liba.so\n{line}\n")
    with pytest.raises(PolicyError, match=r"list:3: is not 'FUNCTION OBJECT'"):
        read_list(path)


def test_written_lists_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(write_list([("f", "/a/libb.so"), ("g", "/a/libb.so"), ("f", "/a/libb.so"), ("", "/c/d.so"), ("jit", "")]))
    assert [rule.glob for rule in read_list(path)] == ["*@d.so", "f@libb.so", "g@libb.so"]


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("deep::normal", ["deep::normal(float)"]),
        ("deep::normal(float)", ["deep::normal(float)"]),
        ("deep::(anonymous namespace)::hidden*", ["deep::(anonymous namespace)::hidden(float)"]),
        ("deep::*::normal_*", ["deep::inner::normal_two(float, float)"]),
        ("deep::Box<float>::twice(float)", ["deep::Box<float>::twice(float)"]),
        ("float std::fma(float, float, float)", ["std::fma(float, float, float)"]),
    ],
)
def test_demangled_globs(library: Path, name: str, functions: list[str]) -> None:
    pattern = glob(mangled(name))
    assert [demangled(n) for n in function_names(library) if pattern.fullmatch(n)] == functions


def check(file: Path, *libraries: Path) -> int:
    return main(["policy", "check", str(file), *map(str, libraries)])


def test_check_explains(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.toml"
    path.write_text("exclude = ['plain_*']\n[[rule]]\nroutine = 'deep::inner::*'\nmode = 'fp32'\n[[rule]]\nroutine = '*normal*'\nmode = 'mp'\n")
    assert check(path, library) == 0
    out = capsys.readouterr().out
    assert "deep::inner::normal_two(float, float)" in out
    assert "routine *normal*: 1 functions, 1 more decided by earlier rules" in out
    assert f"{path}:5" in out


def test_rules_that_match_nothing(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.toml"
    path.write_text("mode = 'mp'\n[[rule]]\nroutine = 'deep::nothing*'\nmode = 'fp32'\n")
    assert check(path, library) == 2
    out, err = capsys.readouterr()
    assert f"{path}:2: 'routine deep::nothing*' matches nothing in libx.so" in err
    assert not out
    path.write_text("[[rule]]\nroutine = '*a*'\nmode = 'fp32'\n[[rule]]\nroutine = 'ba*'\nmode = 'fp32'\n")
    assert check(path) == 2
    assert f"{path}:4: 'routine ba*' matches nothing that the rule at" in capsys.readouterr().err


def test_libraries_by_base_name(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.toml"
    path.write_text("exclude = ['plain_*']\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "libzq.so").symlink_to(library)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert check(path, Path("libzq.so")) == 0
    assert "exclude plain_*: 1 functions" in capsys.readouterr().out
    path.write_text("exclude = ['cosf*']\n")
    assert check(path, Path("libm.so.6")) == 0
    capsys.readouterr()
    assert check(path, Path("libno_such_zq.so")) == 2
    assert capsys.readouterr() == (
        "",
        "fase: error: libno_such_zq.so: is not in this folder, nor among the libraries of Python and the system; give its path\n",
    )


def test_run_refuses_them_before_anything_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.toml"
    runs: Callable[[], int] = lambda: main(["run", "--policy", str(path), "--", "touch", str(tmp_path / "ran")])  # noqa: E731
    path.write_text("mode = 'mp'\n\n[[rule]]\nroutine = 'no_such_function_anywhere_zq*'\nmode = 'fp32'\n")
    assert runs() == 2
    error = capfd.readouterr().err
    assert error.startswith(f"fase: error: policy {path}:3: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_refused_bf16_instructions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--bf16-instructions", "bf16,exact", "--", "true"]) == 2
    assert capsys.readouterr().err.count("bf16-instructions") == 1


def test_c_names_are_left_alone() -> None:
    assert demangled("plain_c") == "plain_c"
