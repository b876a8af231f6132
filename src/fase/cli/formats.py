"""`fase formats`: the number formats."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def formats(name: str | None, as_json: bool) -> None:
    """List the formats and presets, or describe the format NAME."""
