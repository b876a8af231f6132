"""Switching programs that are not Python while they run: `fase mode`, the channel of `--control`, processes, threads, forks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, Builder, environment

from fase.control import file
from fase.control.processes import alive
from fase.operators import parse

FASE = [sys.executable, "-m", "fase"]
PATIENCE = 60.0


def fase(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [*FASE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def modes(out: Path) -> dict[int, str]:
    """Mode by process number, of the processes that have run FMAs."""
    return {p.pid: p.mode for p in alive(out / "records") if not p.is_untouched}


def shown(done: subprocess.CompletedProcess[str]) -> dict[int, str]:
    """The same, as `fase mode` prints it."""
    rows = (line.split()[:2] for line in done.stdout.splitlines())
    return {int(pid): mode for pid, mode in rows}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Steady:
    """tests/programs/steady.c under `fase run`, until `finish`."""

    def __init__(self, folder: Path, program: Path, processes: int, threads: int, options: tuple[object, ...]) -> None:
        self.out, self.file, self.processes = folder / "out", folder / "run-while-it-is-there", processes
        self.file.touch()
        command = [*FASE, "run", "-o", str(self.out), *map(str, options), "--", str(program), str(self.file), str(processes), str(threads)]
        self.launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        until(lambda: self.launcher.poll() is not None or len(modes(self.out)) == processes + 1)

    def finish(self) -> tuple[dict[str, int], dict[str, Any]]:
        """What the program printed, and run.json."""
        self.file.unlink(missing_ok=True)
        out, errors = self.launcher.communicate(timeout=PATIENCE)
        assert self.launcher.returncode == 0, out + errors
        printed = {name: int(n) for name, n in (line.split() for line in out.splitlines())}
        return printed, json.loads((self.out / "run.json").read_text())


@pytest.fixture
def steady(tmp_path: Path, build: Builder) -> Iterator[Callable[..., Steady]]:
    started: list[Steady] = []

    def start(processes: int, threads: int, *options: object) -> Steady:
        started.append(Steady(tmp_path, build.program("steady"), processes, threads, options))
        return started[-1]

    yield start
    for run in started:
        run.file.unlink(missing_ok=True)
        run.launcher.kill()
        run.launcher.communicate()


def check_sums(printed: dict[str, int], run_json: dict[str, Any]) -> None:
    """The program's values and the counters agree to the last FMA, mode by mode."""
    by_mode = run_json["totals"]["by_mode"]
    assert printed["other"] == 0
    assert run_json["totals"]["fma_executed"] == run_json["totals"]["fma_emulated"] == printed["fmas"]
    native = 8 * printed["exact"] + (8 if printed["units"] == 8 * 513 else 0)
    assert by_mode.get("fp32", 0) == native
    assert sum(n for mode, n in by_mode.items() if mode != "fp32") == printed["fmas"] - native


def test_layout_is_that_of_the_header(tmp_path: Path) -> None:
    """What Python writes, a C++ program reads through native/abi/control.h."""
    source = tmp_path / "layout.cpp"
    source.write_text(
        """#include "abi/control.h"
        #include <cstdio>
        #include <cstring>
        using namespace fase::abi;
        int main(int, char** argv) {
          ControlFile f;
          std::FILE* in = std::fopen(argv[1], "rb");
          bool whole = std::fread(&f, 1, sizeof f, in) == sizeof f && std::fgetc(in) == EOF && std::memcmp(f.magic, kControlMagic, 8) == 0;
          std::printf("%d %u %u %s %s %s", whole, f.sequence, f.options & kKeepThread, f.mode, f.operator_text, kControlName);
        }"""
    )
    subprocess.run(["g++", "-std=c++20", f"-I{REPOSITORY / 'native'}", "-o", tmp_path / "layout", source], check=True)
    path = file.create(tmp_path, file.KEEP_THREAD | file.FOLLOWS_TRAINING, "fp32")
    assert [file.request(tmp_path, parse(mode)) for mode in ("bf16", "mp-e4m3")] == [2, 4]
    found = subprocess.run([tmp_path / "layout", path], capture_output=True, text=True, check=True).stdout.split(" ")
    assert found == ["1", "4", "1", "mp-e4m3", parse("mp-e4m3").spec, path.name]


def test_all_processes_switch(steady: Callable[..., Steady]) -> None:
    """Two processes of three threads each in hot loops: each command returns when every process runs in the new mode."""
    run = steady(1, 3, "-m", "fp32", "--switchable")
    assert list(shown(fase("mode", run.out)).values()) == ["fp32"] * 2
    for mode in ("bf16", "fp32", "mp"):
        done = fase("mode", run.out, mode)
        assert shown(done) == modes(run.out)
        assert list(modes(run.out).values()) == [mode] * 2
        time.sleep(0.1)
    printed, run_json = run.finish()
    check_sums(printed, run_json)
    by_mode = run_json["totals"]["by_mode"]
    assert all(by_mode[mode] > 8000 for mode in ("fp32", "bf16", "mp")), by_mode
    assert [s["mode"] for s in run_json["switches"]] == ["bf16", "fp32", "mp"]
    assert [s["time"] for s in run_json["switches"]] == sorted(s["time"] for s in run_json["switches"])
    assert len(run_json["processes"]) == 2


def test_many_switches_lose_nothing(steady: Callable[..., Steady]) -> None:
    run = steady(2, 2, "-m", "fp32", "--switchable")
    for _ in range(50):
        for mode in ("bf16", "fp32", "e8m5", "mp"):
            file.request(run.out / "records", parse(mode))
            time.sleep(0.001)
    printed, run_json = run.finish()
    check_sums(printed, run_json)


@pytest.mark.parametrize("name", ["launcher", "child", "run.json", "record"])
def test_names_of_a_run(name: str, steady: Callable[..., Steady]) -> None:
    run = steady(1, 1, "-m", "fp32", "--switchable")
    child = max(modes(run.out))
    names = {"launcher": run.launcher.pid, "child": child, "run.json": run.out, "record": next((run.out / "records").glob("*.faserec"))}
    fase("mode", names[name], "mp")
    assert set(modes(run.out).values()) == {"mp"}
    check_sums(*run.finish())


def test_processes_that_start_later_begin_in_the_new_mode(tmp_path: Path, build: Builder) -> None:
    """A shell runs no FMA: what it starts after the switch does."""
    go = tmp_path / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.02; done; {build.program('loop')} xmm 1000"
    command = [*FASE, "run", "-q", "-m", "fp32", "-o", str(tmp_path / "out"), "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as launcher:
        until(lambda: bool(alive(tmp_path / "out" / "records")))
        fase("mode", tmp_path / "out", "mp")
        go.touch()
        launcher.communicate(timeout=PATIENCE)
    by_mode = json.loads((tmp_path / "out" / "run.json").read_text())["totals"]["by_mode"]
    assert set(by_mode) == {"mp"}


def test_without_a_thread_a_program_switches_when_it_enters_the_engine(steady: Callable[..., Steady]) -> None:
    run = steady(0, 1, "-m", "fp32")
    done = fase("mode", run.out, "bf16", "--timeout", "0.3", status=1)
    assert "has not switched within 0.3 s" in done.stderr
    assert "--switchable" in done.stderr
    assert done.stderr.count("\n") == 1
    printed, run_json = run.finish()
    check_sums(printed, run_json)


def test_no_thread_unless_asked_for(steady: Callable[..., Steady]) -> None:
    def threads(run: Steady) -> int:
        return len(list(Path(f"/proc/{min(modes(run.out))}/task").iterdir()))

    plain = steady(0, 1, "-m", "fp32")
    assert threads(plain) == 2
    plain.finish()
    assert threads(steady(0, 1, "-m", "fp32", "--switchable")) == 3


@pytest.mark.parametrize(
    ("mode", "message"),
    [("bf17", "did you mean 'bf16'"), ("paper-mp", "is a policy"), ("e8m22,exact", "cannot run in the engine"), ("", "mode is empty")],
)
def test_bad_modes_touch_nothing(mode: str, message: str, steady: Callable[..., Steady]) -> None:
    run = steady(0, 1, "-m", "fp32", "--switchable")
    before = (run.out / "records" / "control").read_bytes()
    done = fase("mode", run.out, mode, status=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (run.out / "records" / "control").read_bytes() == before
    assert set(modes(run.out).values()) == {"fp32"}


def test_a_run_that_has_ended(steady: Callable[..., Steady]) -> None:
    run = steady(1, 1, "-m", "fp32", "--switchable")
    run.finish()
    assert "is alive" in fase("mode", run.out, status=2).stderr
    assert "is alive" in fase("mode", run.out, "mp", status=2).stderr
    assert "does not run under" in fase("mode", os.getpid(), status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "mp"), "no run 'none'"),
        (("x" * 5000,), "no run 'xxx"),
        (("9" * 5000,), "no process 999"),
        (("--timeout", "nan", ".", "mp"), "nan"),
        (("/dev/null",), "not the folder of a run"),
    ],
)
def test_no_run(arguments: tuple[str, ...], message: str) -> None:
    done = fase("mode", *arguments, status=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 300


def test_who_started_a_run_is_no_part_of_it(steady: Callable[..., Steady]) -> None:
    """But its `fase run` is: a process above could have started several."""
    run = steady(1, 1, "-m", "fp32", "--switchable")
    assert "does not run under" in fase("mode", os.getpid(), status=2).stderr
    assert "does not run under" in fase("mode", os.getpid(), "mp", status=2).stderr
    assert shown(fase("mode", run.launcher.pid)) == modes(run.out)
    assert set(modes(run.out).values()) == {"fp32"}


def test_a_process_that_was_killed_is_no_obstacle(steady: Callable[..., Steady]) -> None:
    run = steady(1, 1, "-m", "fp32", "--switchable")
    child = max(modes(run.out))
    os.kill(child, signal.SIGKILL)
    until(lambda: len(modes(run.out)) == 1)
    assert len(fase("mode", run.out, "bf16").stdout.splitlines()) == 1
    run.finish()


@pytest.mark.parametrize("how", ["title", "leave"])
def test_processes_that_hide(how: str, tmp_path: Path, build: Builder) -> None:
    """One that has overwritten its environment, and one whose main thread has ended, are found and waited for."""
    run_while_there = tmp_path / "run-while-it-is-there"
    run_while_there.touch()
    out = tmp_path / "out"
    command = [*FASE, "run", "-q", "--switchable", "-m", "fp32", "-o", str(out), "--", str(build.program("disguised")), str(run_while_there), how]
    with subprocess.Popen(command, env=environment()) as launcher:
        until(lambda: bool(modes(out)))
        pid = min(modes(out))
        hidden = "environ" if how == "title" else "maps"
        try:
            until(lambda: not Path(f"/proc/{pid}/{hidden}").read_bytes().strip(b"\0").removeprefix(b"busy"))
            assert shown(fase("mode", out, "bf16")) == shown(fase("mode", pid)) == {pid: "bf16"}
            os.kill(pid, signal.SIGSTOP)
            assert re.search(rf"process {pid} .*is stopped", fase("mode", "--timeout", "0.3", out, "mp", status=1).stderr)
        finally:
            os.kill(pid, signal.SIGCONT)
            run_while_there.unlink()
        assert launcher.wait(PATIENCE) == 0


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_channel_fifo(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """The channel of the original tool, with names for letters."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run = steady(1, 1, "-m", "fp32", "--control", fifo)
    with closing(os.open(fifo, os.O_WRONLY)) as writer:
        os.write(writer, b"nonsense\nbf1")
        os.write(writer, b"6\n")
    until(lambda: set(modes(run.out).values()) == {"bf16"})
    run.file.unlink()
    out, errors = run.launcher.communicate(timeout=PATIENCE)
    assert f"fase: --control {fifo}: mode 'nonsense'" in errors
    assert run.launcher.returncode == 0, out


def test_channel_file(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """A file is made when there is none; rewriting and appending both work."""
    channel = tmp_path / "channel"
    run = steady(0, 1, "-m", "fp32", "--control", channel)
    channel.write_text("bf16\n")
    until(lambda: set(modes(run.out).values()) == {"bf16"})
    with channel.open("a") as stream:
        stream.write("mp\n")
    until(lambda: set(modes(run.out).values()) == {"mp"})
    printed, run_json = run.finish()
    check_sums(printed, run_json)
    assert [s["mode"] for s in run_json["switches"]] == ["bf16", "mp"]


def test_channel_keeps_double_precision(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """As `fase mode` does: a mode says nothing of double precision unless it names it."""
    channel = tmp_path / "channel"
    run = steady(1, 1, "-m", "fp32", "--fp64", "mp-bf16", "--control", channel)
    for line, now in (("bf16", "bf16;fp64=mp-bf16"), ("mp;fp64=fp32", "mp;fp64=fp32"), ("bf16", "bf16;fp64=fp32")):
        channel.write_text(line + "\n")
        until(lambda now=now: set(modes(run.out).values()) == {now})  # type: ignore[misc]
    _, run_json = run.finish()
    assert [s["mode"] for s in run_json["switches"]] == ["bf16;fp64=mp-bf16", "mp;fp64=fp32", "bf16;fp64=fp32"]


def test_channel_refuses_what_fase_mode_refuses(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    channel = tmp_path / "channel"
    os.mkfifo(channel)
    run = steady(0, 1, "-m", "fp32", "--control", channel)
    with closing(os.open(channel, os.O_WRONLY)) as writer:
        os.write(writer, b"bf16;fp64=mp-bf16\npaper-mp\ne8m22,exact\nmp\n")
        until(lambda: set(modes(run.out).values()) == {"mp"})
    run.file.unlink()
    _, errors = run.launcher.communicate(timeout=PATIENCE)
    said = [line.partition(f"--control {channel}: ")[2] for line in errors.splitlines() if "--control" in line]
    assert len(said) == 3, errors
    assert "started with --fp64" in said[0]
    assert "is a policy" in said[1]
    assert "cannot run in the engine" in said[2]
    assert [s["mode"] for s in json.loads((run.out / "run.json").read_text())["switches"]] == ["mp"]


def test_refusals_of_the_engine_are_said_and_are_no_switches(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """Only the engine knows that VDPBF16PS, which is to follow the mode, cannot be in this one."""
    channel = tmp_path / "channel"
    run = steady(1, 1, "-m", "fp32", "--bf16-instructions", "run", "--control", channel)
    channel.write_text("bf16-2_2-3\n")
    errors = run.launcher.stderr
    assert errors is not None
    said = next(line for line in errors if "--control" in line)
    assert said.startswith(f"fase: --control {channel}: processes ")
    assert "refused mode 'bf16-2_2-3'" in said
    assert "refused mode" in fase("mode", run.out, "bf16-2_2-3", status=1).stderr
    channel.write_text("mp\n")
    until(lambda: set(modes(run.out).values()) == {"mp"})
    assert [s["mode"] for s in run.finish()[1]["switches"]] == ["mp"]


def test_every_line_of_the_channel_is_a_request(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """Also one that is the last one asked for: the program may have switched itself since."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run = steady(0, 1, "-m", "fp32", "--control", fifo)
    with closing(os.open(fifo, os.O_WRONLY)) as writer:
        for number in (1, 2):
            os.write(writer, b"bf16\n")
            until(lambda number=number: len(file.switches(run.out / "records")) == number)  # type: ignore[misc]
    assert [s["mode"] for s in run.finish()[1]["switches"]] == ["bf16", "bf16"]


def test_lines_that_wait_when_the_program_ends_are_left(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run = steady(0, 1, "-m", "fp32", "--control", fifo)
    lines = 7000
    with closing(os.open(fifo, os.O_WRONLY)) as writer:
        assert os.write(writer, b"bf16\nmp\n" * (lines // 2)) == 4 * lines
        until(lambda: bool(file.switches(run.out / "records")))
    _, run_json = run.finish()
    assert len(run_json["switches"]) < lines


def test_channel_that_is_made_again(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    """A FIFO in place of the first, then a file without the end of its line: both are followed, and nobody who writes hangs."""
    channel = tmp_path / "channel"
    os.mkfifo(channel)
    run = steady(0, 1, "-m", "fp32", "--control", channel)
    channel.unlink()
    os.mkfifo(channel)
    subprocess.run(["sh", "-c", f"echo bf16 > {channel}"], check=True, timeout=PATIENCE)
    until(lambda: set(modes(run.out).values()) == {"bf16"})
    channel.unlink()
    channel.write_text("mp")
    until(lambda: set(modes(run.out).values()) == {"mp"})
    with channel.open("a") as stream:
        stream.write("\ne8m")
        stream.flush()
        stream.write("5\n")
    until(lambda: set(modes(run.out).values()) == {"e8m5"})
    assert [s["mode"] for s in run.finish()[1]["switches"]] == ["bf16", "mp", "e8m5"]


def test_garbage_in_the_channel_is_cut(tmp_path: Path, steady: Callable[..., Steady]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    run = steady(0, 1, "-m", "fp32", "--control", fifo)
    with closing(os.open(fifo, os.O_WRONLY)) as writer:
        for _ in range(10):
            os.write(writer, b"\x1bx" * 30_000)
        os.write(writer, b"\nbf16\n")
        until(lambda: set(modes(run.out).values()) == {"bf16"})
    run.file.unlink()
    _, errors = run.launcher.communicate(timeout=PATIENCE)
    said = [line for line in errors.splitlines() if "--control" in line]
    assert len(said) == 1, said
    assert "is no mode" in said[0]
    assert len(said[0]) < 300
    assert "\x1b" not in said[0]


def test_script_of_the_documentation(tmp_path: Path, build: Builder) -> None:
    """A shell script adapts the precision of a solver to the residuals that it prints: as in docs/dynamic.md, word for word."""
    text = (REPOSITORY / "docs" / "dynamic.md").read_text()
    script = text.split("```bash\n", 1)[1].split("```", 1)[0]
    (tmp_path / "solve").symlink_to(build.program("solve", "-lm"))
    (tmp_path / "fase").write_text(f'#!/bin/sh\nexec {sys.executable} -m fase "$@"\n')
    (tmp_path / "fase").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment({"PATH": path}), timeout=PATIENCE)
    assert not done.stderr
    *residuals, fmas = (float(line.split()[1]) for line in done.stdout.splitlines())
    run_json = json.loads((tmp_path / "out" / "run.json").read_text())
    by_mode = run_json["totals"]["by_mode"]
    assert sum(by_mode.values()) == fmas
    assert min(by_mode["bf16"], by_mode["mp"]) > fmas / 10
    assert {s["mode"] for s in run_json["switches"]} == {"mp"}
    all_bf16 = fase("run", "-q", "-m", "bf16", "--", tmp_path / "solve", 40, 0).stdout.splitlines()
    assert residuals[-1] < float(all_bf16[-2].split()[1]) / 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--control", "/dev/null"), "neither a FIFO nor a file"),
        (("--control", "/none/x"), "cannot be opened"),
        (("--control", "x", "--dynamic", "mp:bf16"), "switches by itself"),
    ],
)
def test_bad_channels(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = subprocess.run([*FASE, "run", *options, "true"], capture_output=True, text=True, check=False, env=environment(), cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
