"""Wrong types in the Python interface are refused in one short line, and nothing is switched on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fase
from fase.dynamic import Dynamic
from fase.errors import FaseError

emulate: Any = fase.emulate
dynamic: Any = Dynamic


class Mine:
    def update(self, loss: float) -> str:  # noqa: ARG002
        return "mp"


MANY_LINES = type("ManyLines", (), {"__repr__": lambda _: "one\ntwo"})()

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: emulate(123), "mode is a string, not 123"),
    (lambda: emulate(Path("mp")), "mode is a string, not PosixPath('mp')"),
    (lambda: emulate(MANY_LINES), "mode is a string, not one two"),
    (lambda: emulate(""), "the mode is empty; try 'bf16', 'mp' or 'fp32'"),
    (lambda: emulate("mp", fp64=5), "mode of double-precision FMAs is a string, not 5"),
    (lambda: emulate("mp", fp64=""), "the mode of double-precision FMAs is empty"),
    (lambda: emulate("mp", policy=5), "policy is the name of a file or a folder, not 5"),
    (lambda: emulate("mp", exclude=5), "each of exclude is a string, not 5"),
    (lambda: emulate("mp", exclude=[5]), "each of exclude is a string, not 5"),
    (lambda: emulate("mp", include=[None]), "each of include is a string, not None"),
    (lambda: emulate("mp", torch=[5]), "each of torch is a string, not 5"),
    (lambda: emulate("mp", bf16_instructions=5), "bf16_instructions is a string, not 5"),
    (lambda: emulate("mp", scope="none"), "scope is one of math, all, not 'none'"),
    (lambda: emulate("mp", isa=5), "isa is one of auto, avx2, avx512, not 5"),
    (lambda: emulate("mp", output=5), "output is the name of a file or a folder, not 5"),
    (lambda: fase.set_mode(None), "mode is a string, not None"),  # type: ignore[arg-type]
    (lambda: fase.round(1.0, 5), "format is a string, not 5"),  # type: ignore[arg-type]
    (lambda: dynamic(["mp", "bf16"]), "not ['mp', 'bf16']"),
    (lambda: dynamic(Mine), "controller is an object, not the class Mine"),
    (lambda: dynamic(Mine(), gain=2), "controller is an object already, which cannot take gain=2"),
    (lambda: dynamic(""), "the mode is empty"),
    (lambda: dynamic("mp:bf16", record=5), "record is the name of a file or a folder, not 5"),
    (lambda: dynamic("mp:bf16", policy=5), "policy is the name of a file or a folder, not 5"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_types(call: Callable[[], object], message: str) -> None:
    with pytest.raises(FaseError) as found:
        call()
    assert message in str(found.value)
    assert "\n" not in str(found.value)
    assert fase.get_mode() is None


@pytest.mark.parametrize("mode", ["x" * 100_000, "a=" + "e8m7" * 1000, "\0" * 1000])
def test_long_modes_are_cut(mode: str) -> None:
    with pytest.raises(FaseError) as found:
        emulate(mode)
    assert len(str(found.value)) < 200
