"""`fase vectors`: test vectors for hardware."""

from __future__ import annotations

from pathlib import Path

import click

from fase.cli.format_files import formats_option, load_all
from fase.errors import UsageError

SHOWN = 10
"""Mismatches printed."""


@click.command()
@click.option("-m", "--mode", "modes", multiple=True, help="Write vectors of this mode only. Repeatable. [default: the pack's operators]")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.")
@click.option(
    "--check", "checked", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Compare a file's results with the reference."
)
@formats_option
def vectors(modes: tuple[str, ...], output: Path | None, checked: tuple[Path, ...], files: tuple[Path, ...]) -> int:
    """Write operands and results of FMAs in hexadecimal, or check such a file: exit status 1 if a result differs.

    The format of the files is in docs/vectors.md. In --check, any NaN stands for any other.
    """
    from fase.vectors import pack

    load_all(files)
    if bool(output) == bool(checked):
        raise UsageError("give either -o DIR to write vectors, or --check FILE")
    if output:
        chosen = {_file_name(mode): mode for mode in modes} or pack.modes()
        written = pack.write(output, chosen)
        size = sum(path.stat().st_size for path in written)
        print(f"{len(written) - 1} operators, {size / 1024:.0f} KiB in {output}")
        return 0
    return max(_check(path) for path in checked)


def _check(path: Path) -> int:
    from fase.vectors import pack

    count, wrong = pack.check(path)
    print(f"{path}: {count - len(wrong)} of {count} vectors as the reference")
    for m in wrong[:SHOWN]:
        print(f"  line {m.line}: a {m.a:08x} b {m.b:08x} c {m.c:08x}: d {m.found:08x}, reference {m.expected:08x}")
    return 1 if wrong else 0


def _file_name(mode: str) -> str:
    return "".join(ch if ch.isalnum() or ch in "-_" else "_" for ch in mode.lower())
