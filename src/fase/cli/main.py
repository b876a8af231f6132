"""The `fase` command: its subcommands, and errors as one line on standard error."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from importlib import import_module

import click

from fase._version import __version__
from fase.cli.stderr import say
from fase.errors import FaseError

COMMANDS = {
    "run": "a command under emulation",
    "mode": "the mode of a run that is under way: show it, or switch it",
    "doctor": "what this machine has, and a self-test of the engine",
    "formats": "the number formats",
    "policy": "what a policy says, and what it would do in a library",
    "operators": "the operators, and what their multipliers cost",
    "vectors": "test vectors for hardware",
}


class _Lazy(click.Group):
    """Loads a command's module when it is used, so that `fase run` starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"fase.cli.{cmd_name}"), cmd_name)
        gc.freeze()  # modules stay to the end: nothing is garbage among them
        gc.enable()
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fase")
def cli() -> None:
    """Run unmodified programs as if the CPU's FMA units computed in another number format."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status: 2 for a request that cannot be carried out, with one line saying why."""
    try:
        result = cli.main(arguments, prog_name="fase", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except (FaseError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        say(f"fase: error: {_printable(' '.join(text.split()))}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    return result if isinstance(result, int) else 0


def _printable(text: str) -> str:
    """With escapes for what a terminal would obey: names in files and arguments may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
