"""Checks a command before anything runs: a program that cannot be emulated is refused, never run silently in FP32."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from fase.errors import TargetError
from fase.launch import elf

_BUILTINS = ". : alias bg cd command eval exec exit export fg hash jobs read set shift source trap type ulimit umask unset wait"
_MAX_SCRIPTS = 4
"""Linux follows this many interpreter lines."""


def resolve(command: Sequence[str], search: str | None = None) -> Path:
    """The file that `command` starts, found as execvp would (`search`: a PATH), after all checks. TargetError in one line."""
    if not command or not command[0]:
        raise TargetError("no command: say `fase run [options] -- CMD ARG...`")
    path = _find(command[0], search)
    _check(path, search, _MAX_SCRIPTS)
    return path


def _find(name: str, search: str | None) -> Path:
    found = shutil.which(name, path=search)
    if found:
        return Path(found).absolute()
    if "/" not in name:
        if name in _BUILTINS.split():
            raise TargetError(f"'{name}' is a shell built-in, not a program; run `bash -c '{name} ...'`")
        raise TargetError(f"no program '{name}' in PATH")
    path = Path(name)
    if path.is_dir():
        raise TargetError(f"'{name}' is a directory, not a program")
    raise TargetError(f"'{name}' is not executable" if path.exists() else f"no program '{name}'")


def _check(path: Path, search: str | None, scripts_left: int) -> None:
    _check_privileges(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise TargetError(f"'{path}' cannot be read to check it: {error.strerror}") from None
    if head.startswith(b"#!"):
        if not scripts_left:
            raise TargetError(f"'{path}': too many scripts that interpret scripts")
        _check(_interpreter(path, head, search), search, scripts_left - 1)
    elif head.startswith(elf.MAGIC):
        _check_elf(path)
    else:
        raise TargetError(f"'{path}' is neither an ELF program nor a script with a #! line")


def _check_privileges(path: Path) -> None:
    if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise TargetError(f"'{path}' is setuid or setgid: the dynamic linker would ignore the agent")
    try:
        privileged = "security.capability" in os.listxattr(path)
    except OSError:
        privileged = False
    if privileged:
        raise TargetError(f"'{path}' has file capabilities: the dynamic linker would ignore the agent")


def _check_elf(path: Path) -> None:
    try:
        program = elf.read(path)
    except ValueError as error:
        raise TargetError(f"'{path}' is not a valid ELF program: {error}") from None
    if not program.is_x86_64:
        raise TargetError(f"'{path}' is not an x86-64 program ({program.bits}-bit, machine {program.machine})")
    if not program.interpreter:
        raise TargetError(f"'{path}' is statically linked: the agent cannot be loaded into it; link it dynamically")
    if "musl" in program.interpreter:
        raise TargetError(f"'{path}' is linked with musl: the engine needs glibc")
    if not Path(program.interpreter).exists():
        raise TargetError(f"'{path}' asks for the dynamic linker {program.interpreter}, which does not exist")


def _interpreter(script: Path, head: bytes, search: str | None) -> Path:
    """The program a `#!` line starts; looks through `/usr/bin/env`."""
    words = os.fsdecode(head[2:].split(b"\n", 1)[0]).split()
    if not words:
        raise TargetError(f"'{script}' has an empty #! line")
    if Path(words[0]).name == "env":
        rest = [w for w in words[1:] if not w.startswith("-") and "=" not in w]
        words = rest or words
    try:
        return _find(words[0], search)
    except TargetError as error:
        raise TargetError(f"'{script}' has a #! line that cannot run: {error}") from None
