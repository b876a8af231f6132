"""Policy files: TOML, with presets to build on. Errors name the file and the line."""

from __future__ import annotations

import json
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from fase import arguments
from fase.errors import ModeError, PolicyError
from fase.operators import Operator, parse
from fase.operators.parse import parse_fp64
from fase.policy.bf16 import checked
from fase.policy.flags import checked_ladder, checked_torch, mode_of
from fase.policy.lines import Lines
from fase.policy.lists import read_list
from fase.policy.policy import Policy
from fase.policy.rules import Action, Dynamic, RoutineRule, Rule, TorchRule, Where

_KEYS = ("extends", "mode", "fp64", "exclude", "include", "exclude-from", "rule", "torch", "dynamic", "unmatched", "bf16-instructions")
_RULE_KEYS = ("routine", "library", "jit", "mode")
_TORCH_KEYS = ("module", "phase", "mode", "when")
_DYNAMIC_KEYS = ("modes", "controller", "step", "num-batches-mp", "num-batches-bf16", "ema-threshold", "ema-n", "alpha", "parameters")

_PRESETS = Path(__file__).with_name("presets")


@cache
def presets() -> tuple[str, ...]:
    """Names of the policies that come with FASE."""
    return tuple(sorted(p.name.removesuffix(".toml") for p in _PRESETS.iterdir() if p.name.endswith(".toml")))


def load(policy: str | os.PathLike[str]) -> Policy:
    """Reads a policy: a TOML file, or the name of a preset. PolicyError says in one line, with file and line, what is wrong."""
    return _load(Path(policy), ())


def policy_of(policy: str | os.PathLike[str] | Policy | None) -> Policy:
    """What a `policy=` of the Python interface asks for. UsageError, of which PolicyError is one."""
    if isinstance(policy, Policy):
        return policy
    return Policy() if policy is None else load(arguments.path(policy, "policy"))


def _load(path: Path, parents: tuple[str, ...]) -> Policy:
    name, text = _read(path)
    reader = _Reader(name, text)
    policy = reader.policy(path.parent)
    base = reader.text("extends")
    if base is None:
        return policy
    return policy.over(reader.base(base, path, (*parents, _identity(path))))


def _identity(path: Path) -> str:
    """The same for every spelling of a path."""
    return str(path if str(path) in presets() else path.resolve())


def _read(path: Path) -> tuple[str, str]:
    """A preset's or a file's name for messages, and its text."""
    if str(path) in presets() and not path.exists():
        return str(path), (_PRESETS / f"{path}.toml").read_text(encoding="utf-8")
    try:
        content = path.read_bytes()
        return str(path), content.decode("utf-8-sig")  # some editors write a byte order mark
    except OSError as error:
        known = f"; the presets are {', '.join(presets())}" if len(path.parts) == 1 and not path.suffix else ""
        raise PolicyError(f"policy {path}: {error.strerror}{known}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"policy {path}:{line}: is not text in UTF-8") from None


class _Reader:
    """One file: its table, and where its keys stand."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = Lines(text)
        try:
            self._table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            raise PolicyError(f"policy {name}:{line}: {error}") from None
        except RecursionError:
            raise PolicyError(f"policy {name}: lists or tables are nested too deeply") from None
        except ValueError:  # of Python's int
            found = re.search(r"[\d_]{4000,}", text)
            line = text.count("\n", 0, found.start()) + 1 if found else 0
            raise PolicyError(f"{Where(f'policy {name}', line)}: a number is too long") from None
        self._known(self._table, _KEYS)

    def policy(self, folder: Path) -> Policy:
        """What the file itself says, without what it extends."""
        mode = self.text("mode")
        if mode is not None:
            self._operator(mode, self._where("mode"))
        fp64 = self.text("fp64")
        if fp64 is not None:
            self._double(fp64, self._where("fp64"))
        listed = self.text("exclude-from")
        rules = self._globs("exclude") + self._globs("include") + (self._list(folder / listed) if listed is not None else ())
        routines = tuple(self._routine(row, i) for i, row in enumerate(self._rows("rule")))
        torch = tuple(self._torch(row, i) for i, row in enumerate(self._rows("torch")))
        unmatched = self.text("unmatched")
        if unmatched not in (None, "allow", "error"):
            raise PolicyError(f"{self._where('unmatched')}: unmatched is 'error' or 'allow'")
        dots = self.text("bf16-instructions")
        return Policy(
            rules,
            mode,
            routines,
            torch,
            self._dynamic(),
            "allow" if unmatched == "allow" else "error",
            checked(dots, self._where("bf16-instructions")) if dots is not None else None,
            fp64,
        )

    def base(self, name: str, own: Path, parents: tuple[str, ...]) -> Policy:
        """The policy this one extends: a preset, or a file beside it."""
        path = Path(name) if name in presets() else own.parent / name
        if str(path) not in presets() and not path.exists():
            raise PolicyError(f"{self._where('extends')}: no policy '{name}'; the presets are {', '.join(presets())}")
        if _identity(path) in parents:
            circle = " -> ".join(Path(p).name for p in (*parents, _identity(path)))
            raise PolicyError(f"{self._where('extends')}: 'extends' goes round in a circle: {circle}")
        return _load(path, parents)

    def text(self, key: str) -> str | None:
        """A key of the top level that is a string."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, str):
            raise PolicyError(f"{self._where(key)}: '{key}' is not a string")
        return value

    def _where(self, key: str, table: str = "", number: int = 0) -> Where:
        return Where(f"policy {self._name}", self._lines.of(key, table, number))

    def _known(self, row: dict[str, Any], keys: tuple[str, ...], table: str = "", number: int = 0) -> None:
        for key in row:
            if key not in keys:
                raise PolicyError(f"{self._where(key, table, number)}: unknown key {key!r}; the keys are {', '.join(keys)}")

    def _operator(self, mode: Any, where: Where) -> Operator | None:
        if not isinstance(mode, str):
            raise PolicyError(f"{where}: 'mode' is not a string")
        try:
            return mode_of(mode) if where.file else parse(mode)
        except ModeError as error:
            raise PolicyError(f"{where}: {error}") from None

    def _double(self, mode: str, where: Where) -> None:
        try:
            parse_fp64(mode)
        except ModeError as error:
            raise PolicyError(f"{where}: {error}") from None

    def _globs(self, key: Action) -> tuple[Rule, ...]:
        globs = self._table.get(key, [])
        if not isinstance(globs, list) or not all(isinstance(g, str) for g in globs):
            raise PolicyError(f"{self._where(key)}: '{key}' is not a list of strings")
        rules = []
        for glob in globs:
            where = Where(f"policy {self._name}", self._lines.of_text(key, glob))
            try:
                rules.append(Rule(key, glob, where))
            except PolicyError as error:
                raise PolicyError(f"{where}: {error}") from None
        return tuple(rules)

    def _list(self, path: Path) -> tuple[Rule, ...]:
        if not path.is_file():
            raise PolicyError(f"{self._where('exclude-from')}: there is no file {path}")
        return read_list(path)

    def _rows(self, table: str) -> list[dict[str, Any]]:
        rows = self._table.get(table, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PolicyError(f"{self._where(table)}: write [[{table}]] for each of them")
        return rows

    def _routine(self, row: dict[str, Any], number: int) -> RoutineRule:
        self._known(row, _RULE_KEYS, "rule", number)
        where = self._where("", "rule", number)
        jit = row.get("jit", False)
        routine, library = (self._glob(row, key, "rule", number) for key in ("routine", "library"))
        if not isinstance(jit, bool) or (jit and (routine or library)) or not (jit or routine or library):
            raise PolicyError(f"{where}: a rule has a routine, a library, or both; or jit = true and neither")
        if "mode" not in row:
            raise PolicyError(f"{where}: the rule has no mode")
        operator = self._operator(row["mode"], self._where("mode", "rule", number))
        return RoutineRule(operator, routine or "*", library or "*", jit, where)

    def _torch(self, row: dict[str, Any], number: int) -> TorchRule:
        self._known(row, _TORCH_KEYS, "torch", number)
        where = self._where("", "torch", number)
        module = self._glob(row, "module", "torch", number)
        for key in ("phase", "when"):
            if row.get(key) == []:
                raise PolicyError(f"{self._where(key, 'torch', number)}: '{key}' is an empty list; leave it out to mean all of them")
        phases = self._words(row.get("phase", []), self._where("phase", "torch", number))
        if "mode" not in row:
            raise PolicyError(f"{where}: the rule has no mode")
        operator = self._operator(row["mode"], self._where("mode", "torch", number))
        if module is None and phases != ("optimizer",):
            raise PolicyError(f'{where}: a torch rule has a module, or phase = "optimizer"')
        if module is not None and phases == ("optimizer",):
            raise PolicyError(f"{where}: the optimizer step belongs to no module")
        pattern, spelled = checked_torch(module or "*", phases, self._where("phase", "torch", number))
        when_at = self._where("when", "torch", number)
        when = tuple(self._named(mode, when_at) for mode in self._words(row.get("when", []), when_at))
        return TorchRule(pattern, spelled, operator, when, where)

    def _named(self, mode: str, where: Where) -> str:
        operator = self._operator(mode, where)
        if operator is None:
            raise PolicyError(f"{where}: 'when' names modes of the run, and 'run' is none")
        return operator.name

    def _dynamic(self) -> Dynamic | None:
        row = self._table.get("dynamic")
        if row is None:
            return None
        if not isinstance(row, dict):
            raise PolicyError(f"{self._where('dynamic')}: write [dynamic]")
        self._known(row, _DYNAMIC_KEYS, "dynamic")
        where = self._where("", "dynamic")
        if isinstance(text := row.get("modes"), str):
            shown = json.dumps(text.split(":"))
            raise PolicyError(f"{self._where('modes', 'dynamic')}: 'modes' is not a list of strings; write modes = {shown}")
        modes = self._words(row.get("modes", []), self._where("modes", "dynamic"))
        controller, step = row.get("controller", ""), row.get("step", "optimizer")
        if not isinstance(controller, str) or bool(controller) == bool(modes):
            raise PolicyError(f"{where}: give either modes, the most careful first, or a controller, 'FILE.py:CLASS'")
        if step not in ("optimizer", "backward"):
            raise PolicyError(f"{self._where('step', 'dynamic')}: step is 'optimizer' or 'backward'")
        ladder = checked_ladder(modes, self._where("modes", "dynamic")) if modes else ()
        return Dynamic(ladder, controller, self._parameters(row), step, where)

    def _parameters(self, row: dict[str, Any]) -> tuple[tuple[str, float], ...]:
        given = {k: v for k, v in row.items() if k not in ("modes", "controller", "step", "parameters")}
        extra = row.get("parameters", {})
        if not isinstance(extra, dict):
            raise PolicyError(f"{self._where('parameters', 'dynamic')}: 'parameters' is not a table")
        for key, value in (given | extra).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PolicyError(f"{self._where(key, 'dynamic')}: '{key}' is not a number")
        return tuple((key.replace("-", "_"), value) for key, value in (given | extra).items())

    def _glob(self, row: dict[str, Any], key: str, table: str, number: int) -> str | None:
        value = row.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or not value.isprintable() or any(c in value for c in "@|"):
            raise PolicyError(f"{self._where(key, table, number)}: '{key}' is not a glob")
        return value

    def _words(self, value: Any, where: Where) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise PolicyError(f"{where}: is neither a string nor a list of strings")
        return tuple(words)
