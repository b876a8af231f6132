"""Which controllers and parameters are refused, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fase.dynamic import Dynamic
from fase.dynamic.controller import check_controller
from fase.errors import FaseError
from fase.policy.flags import dynamic_of


def test_modules_beside_the_program(tmp_path: Path) -> None:
    (tmp_path / "mine_beside.py").write_text("raise SystemExit('must not run yet')\n")
    wanted = dynamic_of("mine_beside:Mine")
    check_controller(wanted, [tmp_path])
    with pytest.raises(FaseError, match="nor is there a module 'mine_beside'"):
        check_controller(wanted)


def test_in_the_program() -> None:
    with pytest.raises(FaseError, match=r"'bf61' \(did you mean 'bf16'\?\)"):
        Dynamic("mp:bf61")
    with pytest.raises(FaseError, match="no 'foo'; its parameters are num_batches_mp"):
        Dynamic("mp:bf16", foo=1)


def test_parameters_of_ones_own(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text("class Mine:\n    def __init__(self, gain=1.0):\n        self.gain = gain\n    def update(self, loss):\n        return 'mp'\n")
    Dynamic(f"{source}:Mine", gain=2)
    with pytest.raises(FaseError, match=r"no 'foo'; its parameters are gain$"):
        Dynamic(f"{source}:Mine", foo=1)


UPDATE = "    def update(self, loss):\n        return 'mp'\n"
SOURCES = [
    ("class Mine(:\n    pass\n", "mine.py:1: invalid syntax"),
    ("class Mine:\n    pass\n", "Mine has no method update(loss)"),
    ("class Mine:\n    def update(self):\n        return 'mp'\n", "Mine: its method has to be update(self, loss)"),
    (f"class Mine:\n    mode = 'bf61'\n{UPDATE}", "Mine: mode 'bf61': unknown format 'bf61' (did you mean 'bf16'?)"),
    (f"class Mine:\n    mode = 5\n{UPDATE}", "Mine: mode is a string, not 5"),
    (f"class Mine:\n    def __init__(self, gain):\n        pass\n{UPDATE}", "Mine needs 'gain': --dynamic-option gain=NUMBER"),
    (f"class Mine:\n    def __init__(self, *, gain):\n        pass\n{UPDATE}", "Mine needs 'gain'"),
    ("def Mine(loss):\n    return 'mp'\n", "Mine needs 'loss'"),
    ("class Other:\n    pass\n", "has no class 'Mine'"),
]


@pytest.mark.parametrize(("text", "message"), SOURCES, ids=[message for _, message in SOURCES])
def test_what_a_file_shows_is_refused_before_it_runs(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(text)
    with pytest.raises(FaseError) as found:
        check_controller(dynamic_of(f"{source}:Mine"))
    assert message in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "text",
    [
        f"raise SystemExit('must not run yet')\nclass Mine:\n{UPDATE}",
        f"class Mine:\n    def __init__(self, *, gain=1.0, **others):\n        pass\n{UPDATE}",
        "class Mine(Base):\n    pass\n",
        "class Mine:\n    def __init__(self):\n        self.update = max\n",
        "class Mine:\n    def update(self, *losses):\n        return 'mp'\n",
        "class Mine:\n    @staticmethod\n    def update(loss):\n        return 'mp'\n",
        "from elsewhere import *  # Mine\n",
        "def Mine():\n    return object()\n",
    ],
)
def test_what_a_file_leaves_open_passes(text: str, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(text)
    check_controller(dynamic_of(f"{source}:Mine"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module\nMine = 1\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("Mine = 5\n", "is no class, but 5"),
        (f"class Mine:\n    def __init__(self):\n        raise ValueError('one' + chr(10) + 'two')\n{UPDATE}", "Mine: ValueError: one two"),
        (f"class Mine:\n    mode = 'bf' + '61'\n{UPDATE}", "controller Mine: mode 'bf61'"),
    ],
)
def test_what_shows_when_it_is_made(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(text)
    check_controller(dynamic_of(f"{source}:Mine"))
    with pytest.raises(FaseError) as found:
        Dynamic(f"{source}:Mine")
    assert message in str(found.value)
    assert "\n" not in str(found.value)
