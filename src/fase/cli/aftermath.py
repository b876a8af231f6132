"""After `fase run`: what the hooks in Python left behind goes into the result, and exclusion lists are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fase.errors import FaseError
from fase.integrations.aftermath import forget_reports, warnings
from fase.policy import Policy
from fase.policy.lists import write_list
from fase.policy.names import functions_that_ran
from fase.report import Run


def after_hooks(run: Run, policy: Policy, folder: Path) -> Run:
    """The run with warnings for rules that had no effect; removes what these are known from."""
    found = replace(run, problems=(*run.problems, *warnings(policy, folder)))
    forget_reports(folder)
    return found


def write_exclusions(run: Run, path: Path) -> None:
    """Writes the functions that a run emulated as an exclusion list."""
    pairs = ((name, library) for record in run.records for name, library, _ in functions_that_ran(record))
    try:
        path.write_text(write_list(pairs), encoding="utf-8")
    except OSError as error:
        raise FaseError(f"cannot write {path}: {error.strerror}") from None
