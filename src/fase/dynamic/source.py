"""What the file of a controller says, read without running it: mistakes that would otherwise show only in the program, when it imports PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fase.errors import UsageError
from fase.operators import parse

if TYPE_CHECKING:
    import ast


def check_source(path: Path, name: str, parameters: Sequence[str]) -> None:
    """UsageError when `name` of this file can be no controller that takes these parameters. What the text leaves open passes."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text in UTF-8") from None
    found = [node for node in _parsed(text, path).body if getattr(node, "name", None) == name]
    if name not in text:
        raise UsageError(f"{path} has no class '{name}'")
    if len(found) == 1:
        _check_definition(found[0], parameters)


def _parsed(text: str, path: Path) -> ast.Module:
    import ast  # here and below: it takes long to load, and every `fase run` loads this module

    try:
        return ast.parse(text)
    except SyntaxError as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise UsageError(f"{path}:{error.lineno}: {error.msg} (in Python {version})") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def _check_definition(node: ast.stmt, parameters: Sequence[str]) -> None:
    """A function is what makes a controller; a class is one, and all of it is here when it is derived from no other."""
    import ast

    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        _check_call(node.args, parameters, node.name)
    if not isinstance(node, ast.ClassDef) or node.decorator_list or node.bases or node.keywords:
        return
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    names = {getattr(each, key, None) for each in ast.walk(node) for key in ("name", "id", "attr")}
    if names.isdisjoint(("update", "__getattr__")):
        raise UsageError(f"{node.name} has no method update(loss)")
    if "update" in methods and not methods["update"].decorator_list:
        _check_update(methods["update"].args, node.name)
    if "__init__" in methods:
        _check_call(methods["__init__"].args, parameters, node.name, own=1)
    elif parameters:
        raise UsageError(f"{node.name} takes no '{parameters[0]}'; its parameters are (none)")
    _check_mode(node)


def _check_mode(node: ast.ClassDef) -> None:
    import ast

    for each in node.body:
        if not isinstance(each, ast.Assign) or not isinstance(each.value, ast.Constant) or not each.value.value:
            continue  # no mode, or one that is known only when the program runs
        if any(isinstance(target, ast.Name) and target.id == "mode" for target in each.targets):
            try:
                parse(each.value.value)  # type: ignore[arg-type] # what is no string is refused
            except UsageError as error:
                raise UsageError(f"{node.name}: {error}") from None


def _check_update(arguments: ast.arguments, name: str) -> None:
    """Called with the loss alone."""
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    takes = needed <= 2 and (len(positional) >= 2 or arguments.vararg is not None) and None not in arguments.kw_defaults
    if not takes:
        raise UsageError(f"{name}: its method has to be update(self, loss)")


def _check_call(arguments: ast.arguments, parameters: Sequence[str], name: str, own: int = 0) -> None:
    """Called with the parameters by keyword; `own` is 1 for a method, which has `self` first."""
    positional = [each.arg for each in arguments.args[own:]]
    names = [*positional, *(each.arg for each in arguments.kwonlyargs)]
    wrong = [each for each in parameters if each not in names]
    if wrong and arguments.kwarg is None:
        raise UsageError(f"{name} takes no '{wrong[0]}'; its parameters are {', '.join(names) or '(none)'}")
    needed = positional[: len(positional) - len(arguments.defaults)] if len(arguments.defaults) <= len(positional) else []
    needed += [each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    missing = [each for each in needed if each not in parameters]
    if missing:
        raise UsageError(f"{name} needs '{missing[0]}': --dynamic-option {missing[0]}=NUMBER")
