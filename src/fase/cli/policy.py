"""`fase policy`: what a policy says, and what it would do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from fase.dynamic.controller import check_controller
from fase.errors import PolicyError
from fase.policy import Policy, load, presets
from fase.policy.bf16 import NATIVE
from fase.policy.explain import Effect, effects, readable
from fase.policy.mangle import is_demangled
from fase.policy.order import check_order
from fase.policy.rules import RUN, Dynamic, RoutineRule, Rule, TorchRule
from fase.policy.unmatched import find_library, must_match

_EXAMPLES = 3
_DOTS = {NATIVE: "it is", RUN: "the run's mode says"}


@click.group()
def policy() -> None:
    """Policies: which code runs in which format, and when."""


@policy.command("presets")
def list_presets() -> None:
    """List the policies that come with FASE."""
    for name in presets():
        print(name)


@policy.command()
@click.argument("file")
@click.argument("libraries", nargs=-1, type=click.Path(path_type=Path))
@click.option("--all", "all_names", is_flag=True, help="Show every function, not only the first few.")
def check(file: str, libraries: tuple[Path, ...], all_names: bool) -> None:
    """Explain every rule of FILE (a TOML file or a preset), and show what it decides in LIBRARIES.

    With libraries, a rule of FILE that matches nothing in any of them is an error. A library without a folder is looked for in this one,
    then among those that Python and the system have. Example: fase policy check my.toml libtorch_cpu.so
    """
    found = load(file)
    check_order(found)
    if found.dynamic:
        check_controller(found.dynamic, (Path.cwd(),))
    shown = _in_libraries(found, [_located(path) for path in libraries], all_names) if libraries else []
    for line in (*explain(found), *shown):
        print(line)


def explain(found: Policy) -> Iterator[str]:
    """What a policy says, a line a rule, in the order in which rules are asked."""
    yield f"mode {found.mode}" if found.mode else "mode: what the command line says"
    if found.fp64:
        yield f"fp64 {found.fp64}: the mode of double-precision FMAs"
    if found.bf16_instructions:
        yield f"the CPU's own BF16 instructions: VDPBF16PS runs as {_DOTS.get(found.bf16_instructions, found.bf16_instructions)}"
    for rule in found.rules:
        what = "stays native" if rule.action == "exclude" else "is emulated, and nothing else but other includes"
        yield f"{rule.action:8} {rule.glob or 'JIT code'} {what}{_at(rule)}"
    if found.routines:
        yield "routine rules, whatever the run's mode; the first match wins:"
    for number, routine in enumerate(found.routines, 1):
        yield f"{number:6}.  {routine.text} -> {_mode(routine)}{_demangled(routine)}{_at(routine)}"
    if found.torch:
        yield "torch rules; the first match wins, an inner module's before an outer one's:"
    for number, layer in enumerate(found.torch, 1):
        yield f"{number:6}.  {layer.text} -> {_mode(layer)}{_at(layer)}"
    if found.dynamic:
        yield _dynamic(found.dynamic)


def _dynamic(dynamic: Dynamic) -> str:
    what = " <-> ".join(dynamic.modes) if dynamic.modes else f"controller {dynamic.controller}"
    parameters = "".join(f", {key} = {value:g}" for key, value in dynamic.parameters)
    return f"dynamic  {what}, a step is an {dynamic.step} {'step' if dynamic.step == 'optimizer' else 'pass'}{parameters}{_at(dynamic)}"


def _mode(rule: RoutineRule | TorchRule) -> str:
    return rule.operator.full_name if rule.operator else "the run's mode"


def _demangled(rule: RoutineRule) -> str:
    return " (a demangled name: arguments are not looked at)" if is_demangled(rule.routine) else ""


def _at(rule: Rule | RoutineRule | TorchRule | Dynamic) -> str:
    return f"  [{str(rule.where).removeprefix('policy ')}]" if rule.where.file else ""


def _located(library: Path) -> Path:
    """The file that is meant, which may be given by its base name alone."""
    if library.exists() or library.name != str(library):
        return library
    programs = filter(None, dict.fromkeys((sys.executable, shutil.which("python3"), shutil.which("python"))))
    found = next(filter(None, (find_library(library.name, Path(program)) for program in programs)), None)
    if found is None:
        raise PolicyError(f"{library}: is not in this folder, nor among the libraries of Python and the system; give its path")
    return found


def _in_libraries(found: Policy, libraries: Sequence[Path], all_names: bool) -> list[str]:
    """What the rules decide, line by line. PolicyError for a rule that matches nothing."""
    lines = []
    matched: dict[int, int] = {}
    for library in libraries:
        lines.append(f"\nin {library.name}:")
        for number, effect in enumerate(effects(found, library)):
            matched[number] = matched.get(number, 0) + effect.matches
            if not (isinstance(effect.rule, RoutineRule) and effect.rule.jit):
                lines.append(_effect(effect, all_names))
    rules: list[Rule | RoutineRule] = [
        *(r for r in found.rules if r.action == "exclude"),
        *(r for r in found.rules if r.action == "include"),
        *found.routines,
    ]
    for number, rule in enumerate(rules):
        if not matched.get(number) and must_match(rule) and found.unmatched != "allow" and not (isinstance(rule, RoutineRule) and rule.jit):
            text = rule.text if isinstance(rule, RoutineRule) else f"{rule.action} {rule.glob}"
            raise PolicyError(f"{rule.where}: '{text}' matches nothing in {', '.join(p.name for p in libraries)}")
    return lines


def _effect(effect: Effect, all_names: bool) -> str:
    text = effect.rule.text if isinstance(effect.rule, RoutineRule) else f"{effect.rule.action} {effect.rule.glob}"
    late = f", {effect.too_late:,} more decided by earlier rules" if effect.too_late else ""
    lines = [f"  {text}: {len(effect.decides):,} functions{late}"]
    shown = len(effect.decides) if all_names else _EXAMPLES
    lines += [f"      {name}" for name in readable(effect.decides, shown)]
    if len(effect.decides) > shown:
        lines.append("      ...")
    return "\n".join(lines)
