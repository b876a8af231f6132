"""`fase doctor`: what this machine has, and a self-test of the engine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console

from fase.doctor.checks import Check, checks
from fase.doctor.facts import facts


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json: bool) -> None:
    """Show what this machine has and test the engine; exit status 1 when something fails."""
    found = facts()
    out = Console(highlight=False, soft_wrap=True)
    if not as_json:
        for name, value in found.items():
            out.print(f"{name:18}{value}", markup=False)
    results = []
    for check in checks():
        results.append(check)
        if not as_json:
            _show(out, check)
    ok = all(r.ok for r in results)
    if as_json:
        print(json.dumps({"machine": found, "checks": [asdict(r) for r in results], "ok": ok}, indent=2))
    sys.exit(0 if ok else 1)


def _show(out: Console, check: Check) -> None:
    mark = "[green]ok    [/]" if check.ok else "[bold red]FAILED[/]"
    out.print(f"{mark} {check.name} ({check.detail})")
