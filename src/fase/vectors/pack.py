"""Writing and reading packs of test vectors (docs/vectors.md)."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fase._version import __version__
from fase.errors import UsageError
from fase.formats.rounding import Float32
from fase.operators import Operator, parse
from fase.operators.reference import fma
from fase.vectors.operands import off_grid, on_grid

SCHEMA = "fase-vectors/1"
SUFFIX = ".hex"
OFF_GRID = "// operands from here on are not values of their formats: they test conversion too"

_ROW = re.compile(r"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.IGNORECASE)


@dataclass(frozen=True)
class Vectors:
    """The vectors of one operator: float32 vectors of one length; the first `on_grid` of a, b, c are values of their formats."""

    operator: Operator
    a: Float32
    b: Float32
    c: Float32
    d: Float32
    on_grid: int


@dataclass(frozen=True)
class Mismatch:
    """A result that is not the reference's: binary32 encodings, and the number of the line."""

    line: int
    a: int
    b: int
    c: int
    found: int
    expected: int


def modes() -> dict[str, str]:
    """The operators of the pack: file name without ending, mode."""
    rows: dict[str, str] = tomllib.loads((files("fase.vectors") / "modes.toml").read_text(encoding="utf-8"))
    return rows


def generate(mode: str | Operator) -> Vectors:
    """The vectors of one operator, by the reference: of single-precision FMAs. Stochastic rounding: as one scalar instruction a row, on thread 0."""
    operator = replace(parse(mode), fp64=None)
    first, second = on_grid(operator), off_grid(operator)
    a, b, c = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    return Vectors(operator, a, b, c, fma(a, b, c, operator, lanes=1), first[0].size)


def write(folder: Path, chosen: dict[str, str]) -> list[Path]:
    """Writes one file an operator, and manifest.json; returns the paths. UsageError if the folder cannot be written."""
    manifest: dict[str, object] = {"schema": SCHEMA, "fase": __version__, "files": {}}
    written, listed = [], {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, mode in chosen.items():
            made = generate(mode)
            written.append(folder / f"{name}{SUFFIX}")
            written[-1].write_text(to_text(made), encoding="ascii")
            listed[written[-1].name] = {"mode": mode, "operator": made.operator.description.text, "vectors": made.a.size, "on_grid": made.on_grid}
        manifest["files"] = listed
        written.append(folder / "manifest.json")
        written[-1].write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
    except OSError as error:
        raise UsageError(f"folder '{folder}' cannot be written: {error.strerror}") from None
    return written


def to_text(vectors: Vectors) -> str:
    """The file of one operator."""
    operator = vectors.operator
    head = [f"// {SCHEMA}", f"// mode={operator.name}", f"// operator={operator.description.text}", "// a b c d: binary32 encodings"]
    columns = [x.view(np.uint32).tolist() for x in (vectors.a, vectors.b, vectors.c, vectors.d)]
    rows = [" ".join(f"{word:08x}" for word in row) for row in zip(*columns, strict=True)]
    return "\n".join([*head, *rows[: vectors.on_grid], OFF_GRID, *rows[vectors.on_grid :]]) + "\n"


def read(path: Path) -> Vectors:
    """Reads a file of vectors. UsageError, in one line, if it is not one."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise UsageError(f"'{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"'{path}' is not a file of vectors: it is not plain text") from None
    if not lines or lines[0] != f"// {SCHEMA}":
        raise UsageError(f"'{path}' is not a file of vectors: its first line is not '// {SCHEMA}'")
    facts = dict(line[3:].partition("=")[::2] for line in lines if line.startswith("// ") and "=" in line)
    operator = parse(facts.get("mode", ""))
    if facts.get("operator") != operator.description.text:
        raise UsageError(
            f"'{path}': mode {operator.name} is {operator.description.text} here, another operator than the file's; was it made by another version?"
        )
    rows = [words for _, words in _rows(path, lines)]
    a, b, c, d = np.array(rows, np.uint32).reshape(-1, 4).T.copy().view(np.float32)
    border = lines.index(OFF_GRID) if OFF_GRID in lines else len(lines)
    return Vectors(operator, a, b, c, d, sum(number <= border for number, _ in _rows(path, lines)))


def check(path: Path) -> tuple[int, list[Mismatch]]:
    """How many vectors a file has, and those whose d is not the reference's. Any NaN stands for any other."""
    vectors = read(path)
    expected = fma(vectors.a, vectors.b, vectors.c, vectors.operator, lanes=1)
    same = (vectors.d.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(vectors.d) & np.isnan(expected))
    numbers = [number for number, _ in _rows(path, path.read_text(encoding="ascii").splitlines())]
    wrong = np.flatnonzero(~same)
    return same.size, [Mismatch(numbers[i], *(_word(x, i) for x in (vectors.a, vectors.b, vectors.c, vectors.d, expected))) for i in wrong]


def _word(x: Float32, i: np.intp) -> int:
    bits: npt.NDArray[np.uint32] = x.view(np.uint32)
    return int(bits[i])


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(line number, four words) of each line that is not a comment."""
    for number, line in enumerate(lines, 1):
        text = line.partition("//")[0].strip()
        if not text:
            continue
        found = _ROW.fullmatch(text)
        if found is None:
            raise UsageError(f"'{path}', line {number}: not four words of eight hexadecimal digits")
        yield number, tuple(int(word, 16) for word in found.groups())
