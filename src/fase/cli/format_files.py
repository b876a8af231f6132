"""`--formats FILE`: files of formats of a user's own, which several commands take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from fase.errors import UsageError
from fase.formats import load
from fase.formats.catalogue import VARIABLE

formats_option = click.option(
    "--formats", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help=f"TOML file of formats of your own. Repeatable; {VARIABLE} does the same, with colons between files.",
)  # fmt: skip


def load_all(files: Iterable[Path]) -> None:
    """Makes the formats of the files known here. FormatError if there is anything wrong with one."""
    for path in files:
        load(path)


def with_formats(base: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """The environment of a program whose FASE knows the formats too. UsageError for a path that the variable cannot hold."""
    paths = [base[VARIABLE]] if base.get(VARIABLE) else []
    for path in files:
        if os.pathsep in str(path.absolute()):
            raise UsageError(f"--formats '{path}': {VARIABLE} cannot name a path with colons; give the file another name")
        paths.append(str(path.absolute()))
    return {**base, VARIABLE: os.pathsep.join(paths)} if paths else dict(base)
