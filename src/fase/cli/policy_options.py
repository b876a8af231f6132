"""The options of `fase run` that say who gets which operator, and when; and the policy they add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from fase.errors import ModeError, PolicyError, UsageError
from fase.operators import Operator, parse
from fase.operators.parse import parse_fp64, with_fp64
from fase.policy import Policy, load, presets
from fase.policy.flags import dynamic_of
from fase.policy.lists import read_list
from fase.policy.rules import Dynamic, RoutineRule, TorchRule

DEFAULT_MODE = "bf16"
MODE_BESIDE_FP64 = "fp32"
"""The default where only double precision was asked for."""

_OPTIONS: tuple[tuple[str, bool, str, str], ...] = (
    ("--fp64", False, "MODE", "Mode of double-precision FMAs: FORMAT, mp-FORMAT or a=F,b=F,c=F,d=F; see docs/fp64.md. [default: they stay FP64]"),
    ("--policy", False, "FILE", "Policy: a TOML file, or a preset such as paper-mp; see docs/policies.md."),
    ("--exclude", True, "GLOB", "Function or library that stays native. Repeatable."),
    ("--include", True, "GLOB", "Emulate nothing but this function or library. Repeatable."),
    ("--exclude-from", True, "FILE", "Exclusion list of Verrou or PENE: functions that stay native. Repeatable."),
    ("--gen-exclude", False, "FILE", "Write the functions that were emulated as an exclusion list."),
    ("--rule", True, "GLOB=MODE", "Mode of a function, LIBRARY.so, FUNCTION@LIBRARY, or jit. First match wins. Repeatable."),
    ("--torch", True, "PATTERN[:PHASE]=MODE", "Mode of PyTorch modules by class or name, or of `optimizer`. First match wins. Repeatable."),
    ("--bf16-instructions", False, "native|run|MODE", "The CPU's own VDPBF16PS: as it is (default), in the run's mode, or in one of its own."),
    ("--dynamic", False, "MODE:MODE", "Switch between modes by the loss of a PyTorch training; or FILE.py:CLASS, a controller of your own."),
    ("--dynamic-option", True, "KEY=VALUE", "Parameter of the controller, e.g. ema-threshold=0.02; or step=backward. Repeatable."),
)


@dataclass(frozen=True)
class Choices:
    """What the command line said."""

    fp64: str | None = None
    policy: str | None = None
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude_from: tuple[str, ...] = ()
    gen_exclude: str | None = None
    rule: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()
    dynamic: str | None = None
    dynamic_option: tuple[str, ...] = ()
    bf16_instructions: str | None = None

    def resolve(self, mode: str | None, command: Sequence[str]) -> tuple[Operator, Policy]:
        """The run's operator and its policy. A mode may be a preset's name. UsageError, and nothing has run."""
        for name, value in {"mode": mode, **vars(self)}.items():
            if value == "":
                raise UsageError(f"--{name.replace('_', '-')} is empty; leave it out or say what it is")
        policy = load(self.policy) if self.policy else Policy()
        preset = mode if mode in presets() else None
        if preset:
            policy = policy.over(load(preset))
            mode = load(preset).mode
        if self.dynamic_option and not self.dynamic:
            raise UsageError("--dynamic-option goes with --dynamic")
        dynamic = dynamic_of(self.dynamic, self.dynamic_option) if self.dynamic else None
        policy = policy.extended(
            self.exclude, self.include, routines=self.rule, torch=self.torch, dynamic=dynamic, bf16_instructions=self.bf16_instructions
        )
        policy = replace(policy, rules=policy.rules + tuple(rule for file in self.exclude_from for rule in read_list(Path(file))))
        if policy.dynamic:
            from fase.dynamic.controller import check_controller

            scripts = (Path(word).parent for word in command if word.endswith(".py"))
            check_controller(policy.dynamic, (Path.cwd(), *scripts))  # where Python looks for modules
        _check_engine(policy)
        first = policy.dynamic.modes[0] if policy.dynamic and policy.dynamic.modes else None
        if first and mode and parse(mode).name != first:
            if not preset:
                raise UsageError(f"--mode {mode}: the run changes its mode by itself and begins in {first}; leave --mode out")
            mode = first
        double = self.fp64 or policy.fp64
        operator = parse(mode or first or policy.mode or (MODE_BESIDE_FP64 if double else DEFAULT_MODE))
        fp64 = parse_fp64(double) if double else None
        if self.fp64 and fp64 and operator.fp64 and operator.fp64.name != fp64.name:
            raise UsageError(f"--fp64 {self.fp64}: the mode {operator.name} says fp64={operator.fp64.name} already; give one of them")
        return with_fp64(operator, fp64), policy


def _check_engine(policy: Policy) -> None:
    """PolicyError for a mode of a rule that the engine cannot run: in the child it would be too late."""
    rules: list[RoutineRule | TorchRule | Dynamic] = [*policy.routines, *policy.torch, *([policy.dynamic] if policy.dynamic else [])]
    for rule in rules:
        operators = map(parse, rule.modes) if isinstance(rule, Dynamic) else filter(None, [rule.operator])
        for operator in operators:
            try:
                operator.spec  # noqa: B018 - raises
            except ModeError as error:
                raise PolicyError(f"{rule.where}: {error}") from None


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a click command, which gets them as the argument `choices`."""

    def call(**options: Any) -> Any:
        names = [_name(option) for option, *_ in _OPTIONS]
        return command(choices=Choices(**{name: options.pop(name) for name in names}), **options)

    call.__doc__ = command.__doc__
    call.__name__ = command.__name__
    call.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined] # where click keeps them until it has them all
    decorated: Callable[..., Any] = call
    for option, multiple, metavar, text in reversed(_OPTIONS):
        variable = f"FASE_{_name(option).upper()}"
        decorated = click.option(option, envvar=variable, show_envvar=True, multiple=multiple, metavar=metavar, help=text)(decorated)
    return decorated


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
