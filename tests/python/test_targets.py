"""Programs that cannot be emulated are refused before anything runs, in one line, with status 2."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Result

from fase.errors import MachineError, TargetError
from fase.launch import elf, target
from fase.machine import Cpu, cpu, resolve_isa

Cli = Callable[..., Result]


def compiled(folder: Path, *flags: str) -> Path:
    """A C program that prints `ran`."""
    source, program = folder / "p.c", folder / "p"
    source.write_text('#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n')
    subprocess.run(["gcc", *flags, "-o", str(program), str(source)], check=True)
    return program


def script(folder: Path, first_line: str) -> Path:
    """An executable script with some first line."""
    path = folder / "script"
    path.write_text(f"{first_line}\necho ran\n")
    path.chmod(0o755)
    return path


def patched(program: Path, offset: int, value: bytes) -> Path:
    """The program with some bytes replaced."""
    content = bytearray(program.read_bytes())
    content[offset : offset + len(value)] = value
    program.write_bytes(content)
    return program


def refused(run_fase: Cli, *command: str | Path) -> str:
    """The one line with which `fase run -- COMMAND` is refused."""
    result = run_fase("run", "--", *command)
    assert result.status == 2
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fase: error: ")
    return lines[0]


def test_static(run_fase: Cli, tmp_path: Path) -> None:
    assert "statically linked" in refused(run_fase, compiled(tmp_path, "-static"))


def test_static_pie(run_fase: Cli, tmp_path: Path) -> None:
    assert "statically linked" in refused(run_fase, compiled(tmp_path, "-static-pie"))


def test_32_bit(run_fase: Cli, tmp_path: Path) -> None:
    program = patched(patched(compiled(tmp_path), 4, b"\x01"), 18, b"\x03\x00")
    assert "not an x86-64 program (32-bit, machine 3)" in refused(run_fase, program)


def test_other_machine(run_fase: Cli, tmp_path: Path) -> None:
    assert "machine 183" in refused(run_fase, patched(compiled(tmp_path), 18, b"\xb7\x00"))


def test_big_endian(run_fase: Cli, tmp_path: Path) -> None:
    assert "not an x86-64 program" in refused(run_fase, patched(compiled(tmp_path), 5, b"\x02"))


def test_musl(run_fase: Cli, tmp_path: Path) -> None:
    assert "musl" in refused(run_fase, compiled(tmp_path, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"))


def test_missing_dynamic_linker(run_fase: Cli, tmp_path: Path) -> None:
    assert "/none/ld.so, which does not exist" in refused(run_fase, compiled(tmp_path, "-Wl,--dynamic-linker=/none/ld.so"))


@pytest.mark.parametrize("bit", [stat.S_ISUID, stat.S_ISGID])
def test_setuid(run_fase: Cli, tmp_path: Path, bit: int) -> None:
    program = compiled(tmp_path)
    program.chmod(0o755 | bit)
    assert "setuid or setgid" in refused(run_fase, program)


def test_file_capabilities(run_fase: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listxattr", lambda _: ["security.capability"])
    assert "file capabilities" in refused(run_fase, compiled(tmp_path))


def test_cut_elf(run_fase: Cli, tmp_path: Path) -> None:
    program = tmp_path / "cut"
    program.write_bytes(elf.MAGIC + b"\x02\x01\x01")
    program.chmod(0o755)
    assert "not a valid ELF program" in refused(run_fase, program)


def test_program_is_missing(run_fase: Cli, tmp_path: Path) -> None:
    assert "no program 'no-such-program' in PATH" in refused(run_fase, "no-such-program")
    assert "no program" in refused(run_fase, tmp_path / "none")


def test_program_is_not_one(run_fase: Cli, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("hello")
    assert "is not executable" in refused(run_fase, tmp_path / "plain")
    assert "is a directory" in refused(run_fase, tmp_path)
    assert "shell built-in" in refused(run_fase, "cd", "/")
    (tmp_path / "plain").chmod(0o755)
    assert "neither an ELF program nor a script" in refused(run_fase, tmp_path / "plain")


def test_no_command(run_fase: Cli) -> None:
    assert "no command" in refused(run_fase)
    assert "no command" in refused(run_fase, "")


def test_scripts_are_followed_to_their_interpreter(run_fase: Cli, tmp_path: Path) -> None:
    static = compiled(tmp_path, "-static")
    assert "statically linked" in refused(run_fase, script(tmp_path, f"#!{static}"))
    assert "#! line that cannot run" in refused(run_fase, script(tmp_path, "#!/none/sh"))
    assert "no program 'nosuch' in PATH" in refused(run_fase, script(tmp_path, "#!/usr/bin/env -S nosuch -u"))
    assert "empty #! line" in refused(run_fase, script(tmp_path, "#!"))
    itself = tmp_path / "script"
    assert "too many scripts" in refused(run_fase, script(tmp_path, f"#!{itself}"))


def test_good_programs_are_found(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    assert target.resolve([str(program)]) == program
    assert target.resolve(["p", "x"], search=str(tmp_path)) == program
    assert target.resolve([str(script(tmp_path, "#!/usr/bin/env -S X=1 sh -e"))]) == tmp_path / "script"
    assert elf.read(program).interpreter.startswith("/lib64/ld-linux")


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert target.resolve(["./p"]) == tmp_path / "p"
    with pytest.raises(TargetError):
        target.resolve(["p"], search="/nowhere")


def test_cpu(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor: 0\nmodel name\t: Old CPU\nflags\t\t: sse2 avx\n\nprocessor: 1\nflags: avx2 fma\n")
    old = cpu(info)
    assert (old.model, old.isa) == ("Old CPU", "")
    with pytest.raises(MachineError, match=r"Old CPU.* no AVX2 and FMA"):
        resolve_isa("auto", old)
    middle = Cpu("M", frozenset({"avx2", "fma", "avx512f"}))
    assert resolve_isa("auto", middle) == "avx2"
    with pytest.raises(MachineError, match="--isa avx512"):
        resolve_isa("avx512", middle)
    new = Cpu("N", frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}))
    assert [resolve_isa(i, new) for i in ("auto", "avx2", "avx512")] == ["avx512", "avx2", "avx512"]
