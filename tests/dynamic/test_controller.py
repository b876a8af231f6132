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
