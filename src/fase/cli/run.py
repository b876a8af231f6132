"""`fase run`: a command under emulation."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from fase.agent.config import ISAS, RECORD_SUFFIX, SCOPES, Config, Isa, Scope, parse_limits
from fase.agent.environment import child_environment
from fase.agent.locate import AGENT, library
from fase.cli.format_files import formats_option, load_all, with_formats
from fase.cli.policy_options import DEFAULT_MODE, MODE_BESIDE_FP64, Choices, policy_options
from fase.cli.stderr import expendable, say
from fase.control import file as control_file
from fase.control.channel import Channel
from fase.errors import FaseError, UsageError
from fase.integrations.inject import child_environment as python_environment
from fase.launch import process, target
from fase.machine import cpu, resolve_isa
from fase.policy import Policy

LOCK = "lock"
"""The file among the records of a run that says, by who holds its lock, whether the run has ended."""


@click.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
@click.option(
    "-m",
    "--mode",
    envvar="FASE_MODE",
    show_envvar=True,
    help=f"Number format or operator; see `fase formats`. [default: {DEFAULT_MODE}, with --fp64 {MODE_BESIDE_FP64}]",
)
@formats_option
@policy_options
@click.option("--scope", envvar="FASE_SCOPE", show_envvar=True, type=click.Choice(SCOPES), default="math", show_default=True,
              help="math: the inside of exp, tanh, log... stays FP32; all: everything.")  # fmt: skip
@click.option("--isa", envvar="FASE_ISA", show_envvar=True, type=click.Choice(ISAS), default="auto", show_default=True,
              help="Instruction set of the emulation code.")  # fmt: skip
@click.option("-o", "--output", envvar="FASE_OUTPUT", show_envvar=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder for run.json and the records.")  # fmt: skip
@click.option("--switchable", envvar="FASE_SWITCHABLE", show_envvar=True, is_flag=True,
              help="Let `fase mode` switch at any moment: a thread that sleeps in each process that runs FMAs.")  # fmt: skip
@click.option("--control", envvar="FASE_CONTROL", show_envvar=True, metavar="FIFO", type=click.Path(path_type=Path),
              help="Switch to the modes written to this FIFO or file, one a line. Includes --switchable.")  # fmt: skip
@click.option("-q", "--quiet", envvar="FASE_QUIET", show_envvar=True, is_flag=True, help="No banner, no table, no warnings; run.json (-o) has them.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(
    mode: str | None,
    files: tuple[Path, ...],
    choices: Choices,
    scope: Scope,
    isa: Isa,
    output: Path | None,
    switchable: bool,
    control: Path | None,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run CMD with every FP32 fused multiply-add emulated (and with --fp64 every FP64 one); its exit status is passed on.

    Example: fase run -m mp -o out -- python train.py
    """
    load_all(files)
    variables = with_formats(os.environ, files)
    operator, rules = choices.resolve(mode, command)
    limits = parse_limits(os.environ.get("FASE_LIMITS", ""))
    this = cpu()
    planned = resolve_isa(isa, this)
    program = target.resolve(command)
    silent = _check_rules(rules, program, warn=bool(output) or not quiet)
    if choices.gen_exclude:
        _check_writable(Path(choices.gen_exclude))
    agent = library(AGENT)
    with _output(output) as (directory, records):
        config = Config(operator, records, rules, scope, isa, limits)
        config.write_tables()
        environment = python_environment(child_environment(variables, agent, config), rules, directory)
        look = _control(records, switchable, control, rules, operator.full_name)
        if not quiet:
            double = f", fp64 as {operator.fp64.name}" if operator.fp64 else ""
            say(f"fase: {operator.name}{double}, scope {scope}, {planned}: {shlex.join(command)}")
        start = time.perf_counter()
        status = process.run(program, command, environment, look)
        seconds = time.perf_counter() - start

        if quiet and not (output or choices.gen_exclude):
            sys.exit(status)
        # Only now: these load NumPy, whose threads would take the signals that process.run waits for.
        from fase.cli.aftermath import after_hooks, write_exclusions
        from fase.integrations.aftermath import summary
        from fase.report import collect, show, write_json

        try:
            result = after_hooks(collect(config, command, this.model, planned, status, seconds), rules, directory)
            result = replace(result, problems=(*result.problems, *silent))
            if not quiet:
                with expendable():
                    show(result)
                for line in summary(directory):
                    say(f"fase: {line}")
            if output:
                write_json(result, directory)
            if choices.gen_exclude:
                write_exclusions(result, Path(choices.gen_exclude))
        except (FaseError, OSError) as error:  # the program has run: its exit status is what counts
            say(f"fase: error: {error}")
    sys.exit(status)


def _check_rules(rules: Policy, program: Path, warn: bool) -> list[str]:
    """PolicyError for a rule that can never hold; a line for each on the command line that may not. A run without rules loads none of this."""
    if not (rules.rules or rules.routines or rules.torch):
        return []
    from fase.policy.order import check_order
    from fase.policy.unmatched import check, warnings

    check_order(rules)
    check(rules, program)
    return warnings(rules, program) if warn else []


def _control(folder: Path, switchable: bool, channel: Path | None, rules: Policy, mode: str) -> Callable[[], bool] | None:
    """Makes the run's control file, and opens the channel: what to call now and then."""
    if channel and rules.needs_python:
        raise UsageError("--control: a run with --torch or --dynamic switches by itself")
    keep_thread = control_file.KEEP_THREAD if switchable or channel else 0
    control_file.create(folder, keep_thread | (control_file.FOLLOWS_TRAINING if rules.needs_python else 0), mode)
    return Channel(channel, folder, say).look if channel else None


def _check_writable(path: Path) -> None:
    try:
        with path.open("a"):
            pass
    except OSError as error:
        raise UsageError(f"--gen-exclude '{path}' cannot be written: {error.strerror}") from None


@contextmanager
def _output(chosen: Path | None) -> Iterator[tuple[Path, Path]]:
    """The folder for results and the one for record files, both empty of earlier records; temporary when none is chosen.

    UsageError for a folder that cannot be written, or that another run is using.
    """
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="fase-", ignore_cleanup_errors=True) as name:
            yield Path(name), Path(name)
        return
    from fase.integrations.aftermath import forget

    records = chosen / "records"
    with ExitStack() as held:
        try:
            records.mkdir(parents=True, exist_ok=True)
            held.enter_context(_alone_in(chosen, records))
            with tempfile.TemporaryFile(dir=chosen):
                pass
            for stale in [*records.glob(f"*{RECORD_SUFFIX}*"), records / control_file.LOG]:  # records and the names beside them
                stale.unlink(missing_ok=True)
            forget(chosen)
        except OSError as error:
            raise UsageError(f"output folder '{chosen}' cannot be written: {error.strerror}") from None
        yield chosen, records


@contextmanager
def _alone_in(chosen: Path, records: Path) -> Iterator[None]:
    """Keeps other runs out of a folder, by a lock that ends with this process however it ends. UsageError when another run has it."""
    with (records / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"output folder '{chosen}' is that of a run that has not ended; give another one") from None
        yield
