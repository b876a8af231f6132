"""`fase run` without the engine: an agent that does nothing, and children that write record files themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Result

Cli = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("idle_agent")

WRITER = """
import os, sys
sys.path[:0] = {paths!r}
import record_file
from pathlib import Path
directory = dict(line.split("=", 1) for line in os.environ["FASE_AGENT"].splitlines())["directory"]
record_file.write(Path(directory) / f"{{os.getpid()}}-1.faserec", pid=os.getpid(), segments=[{{"emulated": 3}}], blocks=[[7]])
print("to stdout")
sys.exit(5)
"""


@pytest.fixture
def writer(tmp_path: Path) -> list[str]:
    """A command that leaves a record of 21 FMAs, prints a line, and exits with status 5."""
    path = tmp_path / "writer.py"
    path.write_text(WRITER.format(paths=[p for p in sys.path if p]))
    return [sys.executable, str(path)]


def test_run_json_and_table(run_fase: Cli, writer: list[str], tmp_path: Path) -> None:
    result = run_fase("run", "-m", "mp", "-o", tmp_path / "out" / "deep", "--", *writer)
    assert result.status == 5
    assert result.out == "to stdout\n"
    assert result.err.startswith("fase: mp, scope math, ")
    assert "21" in result.err
    document = json.loads((tmp_path / "out" / "deep" / "run.json").read_text())
    assert document["mode"] == "mp"
    assert document["command"] == writer
    assert document["exit_status"] == 5
    assert document["totals"]["fma_executed"] == 21


def test_children_know_files_of_formats(run_fase: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["fase.formats.catalogue"], "_registered", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASE_FORMATS", "")
    Path("mine.toml").write_text("[steps]\nvalues = [0.0, 1.0, -1.0]\n")
    code = "import os, fase; os.chdir('/'); print(fase.round(0.75, 'steps'))"
    options = ("-m", "a=steps,b=steps", "--formats", "mine.toml", "-o", "out", "--", sys.executable, "-c", code)
    assert run_fase("run", *options).out == "1.0\n"
    assert json.loads(Path("out", "run.json").read_text())["mode"] == "a=steps,b=steps"
    monkeypatch.setattr(sys.modules["fase.formats.catalogue"], "_registered", {})
    assert "steps" in run_fase("operators", "--formats", "mine.toml", "steps").out
    Path("a:b").write_text("")
    assert "with colons" in run_fase("run", "--formats", "a:b", "--", "true").err


def test_globs_that_match_nothing(run_fase: Cli, writer: list[str]) -> None:
    """In a policy file an error; on the command line, which may be a script's for many programs, a warning."""
    result = run_fase("run", "--exclude", "nonsense_function*", "--exclude", "PyObject_*", "--rule", "no_such_gemm=fp32", "--", *writer)
    assert result.status == 5
    assert "WARNING: 'exclude nonsense_function*' matches nothing in python" in result.err
    assert "WARNING: 'routine no_such_gemm' matches nothing in python" in result.err
    assert "PyObject_" not in result.err.split("WARNING", 1)[1]


def test_quiet_says_nothing(run_fase: Cli, writer: list[str]) -> None:
    assert run_fase("run", "-q", "--", *writer) == Result(5, "to stdout\n", "")


def test_warns_when_nothing_ran(run_fase: Cli) -> None:
    result = run_fase("run", "--", "true")
    assert result.status == 0
    assert "WARNING: the agent started in no process" in result.err


def test_output_is_replaced(run_fase: Cli, writer: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        run_fase("run", "-q", "-o", tmp_path, "--", *writer)
        assert json.loads((tmp_path / "run.json").read_text())["totals"]["fma_executed"] == 21
    run_fase("run", "-q", "-o", tmp_path, "--", "true")
    assert json.loads((tmp_path / "run.json").read_text())["processes"] == []


def test_folder_of_a_run_that_has_not_ended(run_fase: Cli, writer: list[str], tmp_path: Path) -> None:
    """Another run with the same folder would delete its records. Whoever kills a run with SIGKILL can use the folder again."""
    out = tmp_path / "out"
    script = "echo ready; read -r word; exit 0"
    command = [sys.executable, "-m", "fase", "run", "-q", "-o", str(out), "--", "sh", "-c", script]
    for end in ("kill", "wait"):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdin is not None
            assert first.stdout.readline() == "ready\n"
            before = sorted(out.rglob("*"))
            result = run_fase("run", "-o", out, "--", *writer)
            assert (result.status, result.out) == (2, "")
            assert result.err == f"fase: error: output folder '{out}' is that of a run that has not ended; give another one\n"
            assert sorted(out.rglob("*")) == before
            if end == "kill":
                first.kill()
            first.stdin.close()
            assert first.wait(timeout=60) == (-signal.SIGKILL if end == "kill" else 0)
        assert run_fase("run", "-q", "-o", out, "--", *writer).status == 5
        assert json.loads((out / "run.json").read_text())["totals"]["fma_executed"] == 21


def test_temporary_records_are_removed(run_fase: Cli, writer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    run_fase("run", "--", *writer)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_agent_and_options_reach_the_child(run_fase: Cli, idle_native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASE_MODE", "e8m10")
    monkeypatch.setenv("FASE_SCOPE", "all")
    monkeypatch.setenv("FASE_ISA", "avx2")
    monkeypatch.setenv("FASE_EXCLUDE", "a* b*")
    monkeypatch.setenv("FASE_QUIET", "1")
    monkeypatch.setenv("FASE_OUTPUT", str(tmp_path / "o"))
    monkeypatch.setenv("FASE_LIMITS", "fmas=1")
    result = run_fase("run", "--include", "c*", "sh", "-c", 'echo "$LD_PRELOAD"; echo "$FASE_AGENT"')
    assert result.out.split() == [
        f"{idle_native}/libfase_agent.so", "version=1", "mode=e8m10", "operator=e8m10,e8m10,e8m10,e8m10", "rounding=rne", "scope=all",
        "isa=avx2", "exclude=a*", "exclude=b*", "include=c*", f"directory={tmp_path}/o/records", "limit.fmas=1",
    ]  # fmt: skip
    assert result.err == ""


def test_policy_file_gives_the_mode(run_fase: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('mode = "mp"\nexclude = ["x"]')
    policy = str(tmp_path / "p.toml")
    show = ("sh", "-c", 'echo "$FASE_AGENT" | grep -E "mode|clude"')
    assert run_fase("run", "-q", "--policy", policy, "--", *show).out.split() == ["mode=mp", "exclude=x"]
    assert run_fase("run", "-q", "-m", "fp32", "--policy", policy, "--", *show).out.split() == ["mode=fp32", "exclude=x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "bf17", "true"], "did you mean 'bf16'"),
        (["-m", "e8m22,exact", "true"], "cannot run in the engine"),
        (["-m", "bf16;fp64=fp64", "--fp64", "fp32", "true"], "give one of them"),
        (["--scope", "some", "true"], "'some' is not one of 'math', 'all'"),
        (["--isa", "sse", "true"], "'sse' is not one of"),
        (["--exclude", "", "true"], "not a glob"),
        (["--rule", "f=fp32", "--rule", "f=mp", "true"], "has not matched before"),
        (["--torch", "*=fp32", "--torch", "Linear=mp", "true"], "has not matched before"),
        (["-m", "fp32", "--dynamic", "mp:bf16", "true"], "begins in mp"),
        (["-m", "", "true"], "--mode is empty"),
        (["--policy", "a\x1b[31mb", "true"], r"policy a\x1b[31mb: "),
        (["--policy", "", "true"], "--policy is empty"),
        (["--fp64", "", "true"], "--fp64 is empty"),
        (["--policy", "/none.toml", "true"], "No such file"),
        (["--nonsense", "true"], "No such option"),
        (["-o", "/dev/null/x", "true"], "cannot be written"),
    ],
)
def test_bad_options(run_fase: Cli, arguments: list[str], message: str) -> None:
    result = run_fase("run", *arguments)
    assert result.status == 2
    assert result.out == ""
    assert message in result.err
    assert result.err.count("\n") == 1


def test_bad_environment(run_fase: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASE_LIMITS", "x")
    assert "FASE_LIMITS" in run_fase("run", "true").err
    monkeypatch.delenv("FASE_LIMITS")
    monkeypatch.setenv("FASE_QUIET", "maybe")
    result = run_fase("run", "true")
    assert result.status == 2
    assert "FASE_QUIET" in result.err


def test_output_is_a_file(run_fase: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in run_fase("run", "-o", tmp_path / "file", "true").err


def test_agent_is_not_built(run_fase: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASE_NATIVE_DIR", str(tmp_path))
    result = run_fase("run", "true")
    assert (result.status, result.out) == (2, "")
    assert "holds no libfase_agent.so" in result.err


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)])
def test_exit_status_is_the_commands(run_fase: Cli, command: str, status: int) -> None:
    assert run_fase("run", "-q", "--", "sh", "-c", f"ulimit -c 0; {command}").status == status


@pytest.mark.parametrize("options", [("-m", "mp"), ("-q",), ("-m", "mp", "-o", "out")])
def test_a_full_disk_under_standard_error(options: tuple[str, ...], tmp_path: Path) -> None:
    """What we cannot say is lost; the program's status is not."""
    for command, status in (("true", 0), ("exit 7", 7)):
        with Path("/dev/full").open("w") as full:
            line = [sys.executable, "-m", "fase", "run", *options, "--", "sh", "-c", command]
            assert subprocess.run(line, stderr=full, check=False, timeout=60, cwd=tmp_path).returncode == status
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-m", "fase", "run", "-m", "nonsense", "true"], stderr=full, check=False, timeout=60).returncode == 2


def test_standard_input_is_the_commands() -> None:
    command = [sys.executable, "-m", "fase", "run", "-q", "cat"]
    assert subprocess.run(command, input=b"a\0b\n", capture_output=True, check=True, timeout=60).stdout == b"a\0b\n"


def test_options_after_the_command_belong_to_it(run_fase: Cli) -> None:
    assert run_fase("run", "-q", "echo", "-m", "x", "--", "-q").out == "-m x -- -q\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {number.value}; echo ready; while :; do sleep 0.05; done"
    # A shell in the background ignores SIGINT, and so would all that this test starts.
    heeding = ["env", f"--default-signal={number.value}"]
    with subprocess.Popen([*heeding, sys.executable, "-m", "fase", "run", "-q", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.stdout.read() == "got\n"
    assert child.returncode == 9


def test_stopped_and_continued() -> None:
    """Ctrl-Z and fg: a wait that is interrupted by them goes on."""
    command = [sys.executable, "-m", "fase", "run", "-q", "sh", "-c", "echo ready; sleep 2; exit 7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(2):
            child.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            child.send_signal(signal.SIGCONT)
        assert child.stderr.read() == ""
    assert child.returncode == 7


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forkpty, with NumPy's threads about
def test_interrupt_from_the_terminal_arrives_once() -> None:
    """A pseudo-terminal sends SIGINT to the whole group: the command must not get a second one from us."""
    script = "n=0; trap 'n=$((n+1))' INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; echo n=$n"
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "fase", "run", "-q", "sh", "-c", script])
    seen = b""
    deadline = time.monotonic() + 30
    while b"n=" not in seen and time.monotonic() < deadline:
        seen += os.read(terminal, 4096)
        if b"ready" in seen and b"^C" not in seen:
            os.write(terminal, b"\x03")
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"n=1" in seen


def test_starts_without_numpy() -> None:
    """NumPy's threads would take the signals that the launcher waits for; it must come after the child has ended."""
    code = "import sys; from fase.cli import run; print([m for m in ('numpy', 'rich', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
