"""Emulation in a running interpreter: scopes that nest and overlap, exceptions, threads, a notebook."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import fase
from fase.errors import FaseError
from fase.operators import Operator, parse
from fase.scopes import Scopes

SCOPES = """
import threading
import numpy as np
import fase

a = np.random.default_rng(0).random((64, 64), np.float32)
product = lambda: (a @ a).tobytes()
native = product()

@fase.emulate("bf16")
def decorated(depth):
    assert fase.get_mode() == "bf16"
    return decorated(depth - 1) if depth else product()

assert fase.get_mode() == OUTSIDE
rounded = decorated(2)
assert rounded != native and fase.get_mode() == OUTSIDE
try:
    with fase.emulate("bf16"):
        with fase.emulate("fp32"):
            assert product() == native
            raise KeyError
except KeyError:
    pass
assert fase.get_mode() == OUTSIDE and product() == native

# Blocks of two threads overlap; the later one decides, whoever ends first.
inside, leave = threading.Event(), threading.Event()
def other():
    with fase.emulate("bf16"):
        inside.set()
        leave.wait(20)
thread = threading.Thread(target=other)
with fase.emulate("fp32"):
    thread.start()
    inside.wait(20)
    assert fase.get_mode() == "bf16" and product() == rounded
leave_mode = fase.get_mode()
assert leave_mode == "bf16", leave_mode
leave.set()
thread.join()
assert fase.get_mode() == OUTSIDE and product() == native

# The same object in many threads at once.
threads = [threading.Thread(target=decorated, args=(1,)) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert fase.get_mode() == OUTSIDE and product() == native

with fase.emulate("bf16"):
    fase.set_mode("mp")
    assert fase.get_mode() == "mp"
    with fase.emulate("fp32"):
        pass
    assert fase.get_mode() == "mp"
assert fase.get_mode() == OUTSIDE
for wrong in (lambda: fase.emulate("nonsense"), lambda: fase.emulate(exclude=[""])):
    try:
        wrong()
    except fase.FaseError:
        pass
    else:
        raise AssertionError
by_mode = fase.counters()["by_mode"]
assert by_mode["bf16"] > 0 and by_mode.get("mp", 0) == 0, by_mode
assert "torch" not in __import__("sys").modules
"""


@pytest.mark.parametrize("launcher", [(), ("-m", "fase", "run", "-q", "-m", "fp32", "--", sys.executable)])
def test_scopes(launcher: tuple[str, ...]) -> None:
    outside = '"fp32"' if launcher else "None"
    command = [sys.executable, *launcher, "-W", "error", "-c", SCOPES.replace("OUTSIDE", outside)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


CHILD = """
import sys, tempfile
import fase
if "early" in sys.argv:
    with fase.emulate("mp"):
        pass  # before NumPy is loaded
import numpy as np
a = np.random.default_rng(0).random((64, 64), np.float32)
native = (a @ a).tobytes()
for i in range(3):
    before = fase.counters()["fma_emulated"]
    with fase.emulate("bf16", output=None if "early" in sys.argv or i else tempfile.mkdtemp()):
        assert fase.get_mode() == "bf16"
        assert (a @ a).tobytes() != native, i
    assert fase.counters()["fma_emulated"] - before >= 64**3 // 16
    assert fase.get_mode() is None and (a @ a).tobytes() == native
try:
    fase.set_mode("mp")
except fase.FaseError as error:
    assert "no emulation is running" in str(error)
else:
    raise AssertionError
"""

PARENT = """
import subprocess, sys
import fase
def children():
    for arguments in ([], ["early"]):
        subprocess.run([sys.executable, "-c", CHILD, *arguments], check=True)
with fase.emulate("bf16"):
    children()
children()
"""


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_children_of_a_process_that_has_emulated_are_fresh() -> None:
    run_python(f"CHILD = {CHILD!r}\n{PARENT}")


OTHER_THREAD = """
import threading
import fase

def in_thread(what):
    errors = []
    def run():
        try:
            what()
        except BaseException as error:
            errors.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors, errors

def generator():
    with fase.emulate("bf16"):
        yield

begun = generator()
next(begun)
assert fase.get_mode() == "bf16"
in_thread(begun.close)
assert fase.get_mode() is None

# One object, entered here and in a thread: each leaves its own first.
with fase.emulate("fp32"):
    block = fase.emulate("mp")
    in_thread(block.__enter__)
    with fase.emulate("bf16"), block:
        pass
    assert fase.get_mode() == "mp"
    block.__exit__(None, None, None)
    assert fase.get_mode() == "fp32"
    try:
        block.__exit__(None, None, None)
    except fase.FaseError as error:
        assert "has ended already" in str(error)
    else:
        raise AssertionError
    assert fase.get_mode() == "fp32"
assert fase.get_mode() is None
"""


def test_blocks_end_in_other_threads() -> None:
    run_python(OTHER_THREAD)


FORKS = """
import os, signal, sys, threading, time
import fase
with fase.emulate("bf16"):
    pass  # before NumPy is loaded
import numpy as np
a = np.random.default_rng(0).random((64, 64), np.float32)
product = lambda: (a @ a).tobytes()
native = product()
with fase.emulate("bf16"):
    rounded = product()

stop = threading.Event()
def spin():
    while not stop.is_set():
        with fase.emulate("bf16"):
            pass

def child():
    for mode, expected in (("bf16", rounded), ("fp32", native)):
        with fase.emulate(mode):
            if fase.get_mode() != mode or product() != expected:
                return 3
    return 0

def ends(pid):
    for _ in range(2000):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"

def fork():
    pid = os.fork()
    if not pid:
        try:
            os._exit(child())
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(4)
    return pid

threads = [threading.Thread(target=spin) for _ in range(3)]
for thread in threads: thread.start()
statuses = [ends(fork()) for _ in range(25)]
stop.set()
for thread in threads: thread.join()
assert not any(statuses), statuses
assert fase.get_mode() is None and product() == native
"""


def test_forks_while_threads_enter_and_leave() -> None:
    run_python(FORKS)


SWITCHED = """
import os, subprocess, sys
import numpy as np
import fase

a = np.random.default_rng(0).random((64, 64), np.float32)
product = lambda: (a @ a).tobytes()
expected = {}
for mode in ("fp32", "bf16", "mp", "fp16"):
    with fase.emulate(mode):
        expected[mode] = product()

def outside(mode):
    subprocess.run([sys.executable, "-m", "fase", "mode", str(os.getpid()), mode], check=True, stdout=subprocess.DEVNULL)

def runs(mode):
    assert product() == expected[mode], mode

for look in (lambda: None, fase.get_mode):
    with fase.emulate("bf16"):
        outside("mp")
        look()
        runs("mp")
    runs("fp32")
    with fase.emulate("bf16"):
        outside("fp32")  # as around the block
        look()
        with fase.emulate("mp"):
            runs("mp")
        runs("fp32")
        outside("mp")
        look()
        outside("bf16")  # as the block began
        look()
    runs("fp32")
    outside("fp16")
    look()
    with fase.emulate("mp"):
        look()
    runs("fp16")
    outside("fp32")
    runs("fp32")
"""


def test_switched_from_outside_in_a_block() -> None:
    launcher = ["-m", "fase", "run", "-q", "--switchable", "-m", "fp32", "--", sys.executable]
    done = subprocess.run([sys.executable, *launcher, "-c", SWITCHED], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


async def coroutine() -> None:
    pass


def generator() -> Iterator[None]:
    yield


async def async_generator() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
def test_functions_that_run_later_are_not_decorated(function: Callable[..., object]) -> None:
    with pytest.raises(FaseError, match=f"{function.__name__} is async or a generator"):
        fase.emulate("bf16")(function)


def test_no_torch() -> None:
    code = "import sys, fase; fase.parse = fase.operators.parse; import fase.session, fase.policy; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def applied() -> list[str]:
    return []


@pytest.fixture
def scopes(applied: list[str]) -> Scopes:
    return Scopes(lambda operator, policy: applied.append(operator.name if policy is None else f"{operator.name} {' '.join(policy)}"))


def test_order_of_ends_does_not_matter(scopes: Scopes, applied: list[str]) -> None:
    scopes.adopt(parse("fp32"))
    a, b = scopes.enter(parse("bf16")), scopes.enter(parse("mp"))
    scopes.leave(a)
    scopes.leave(a)
    assert applied == ["bf16", "mp"]
    scopes.leave(b)
    assert applied == ["bf16", "mp", "fp32"]


def test_hooks_stay_when_the_base_changes(scopes: Scopes, applied: list[str]) -> None:
    scopes.adopt(parse("mp"))
    layer = scopes.enter(parse("fp32"), hook=True)
    scopes.replace(parse("bf16"))
    assert applied == ["fp32"]
    inner = scopes.enter(None, hook=True)
    assert applied == ["fp32", "bf16"]
    scopes.leave(inner)
    scopes.leave(layer)
    assert applied == ["fp32", "bf16", "fp32", "bf16"]


def test_refusal_changes_nothing() -> None:
    def refuse(operator: Operator, _policy: object) -> None:
        if operator.name == "mp":
            raise ValueError

    scopes = Scopes(refuse)
    scopes.adopt(parse("fp32"))
    steps: list[Callable[[], object]] = [lambda: scopes.enter(parse("mp")), lambda: scopes.replace(parse("mp"))]
    for step in steps:
        with pytest.raises(ValueError):  # noqa: PT011
            step()
        assert scopes.current == parse("fp32")
        assert len(scopes) == 1
