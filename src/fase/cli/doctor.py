"""`fase doctor`: what this machine has, and a self-test of the engine."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json: bool) -> None:
    """Show what this machine has and test the engine; exit status 1 when something fails."""
