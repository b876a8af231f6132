"""Dynamic precision said in the program: a plain loop, and the callbacks of frameworks that need not be installed for this."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOP = """
import json, sys, tempfile, types
from pathlib import Path
import numpy as np
import fase
from fase.dynamic import Dynamic, keras_callback, lightning_callback
from fase.errors import UsageError

a = np.random.default_rng(0).random((64, 64), np.float32)
FAST = dict(num_batches_mp=1, num_batches_bf16=2, ema_n=1, ema_threshold=0.1, alpha=1.0)
LOSSES = [9, 9, 8, 8, 8, 8]
MODES = ["mp", "mp", "mp", "bf16", "bf16", "mp"]  # in which the batches run

record = Path(tempfile.mkdtemp()) / "trace.jsonl"
seen = []
with Dynamic("mp:bf16", record=record, **FAST) as dynamic:
    for loss in LOSSES:
        seen.append(fase.get_mode())
        a @ a
        dynamic.step(np.float32(loss))
assert seen == MODES, seen
assert fase.get_mode() is None
rows = [json.loads(line) for line in record.read_text().splitlines()]
assert [row["mode"] for row in rows] == MODES
assert all(row["fmas"].get(row["mode"], 0) > 10_000 for row in rows), rows

class Mine:
    def update(self, loss):
        return "bf16" if loss > 8 else "fp32"

with fase.emulate("mp"), Dynamic(Mine()) as dynamic:
    assert fase.get_mode() == "mp"
    assert (dynamic.step(9), dynamic.step(1)) == ("bf16", "fp32")
    assert fase.get_mode() == "fp32"
try:
    Dynamic("mp:bf16").step(1)
except UsageError as error:
    assert "has not been started" in str(error)

for wrong in ("lightning", "keras"):
    sys.modules[wrong] = None  # not installed
for make in (lightning_callback, keras_callback):
    try:
        make()
    except UsageError as error:
        assert "is not installed" in str(error)
    else:
        raise AssertionError

class Callback:
    pass

for name in ("lightning", "lightning.pytorch", "lightning.pytorch.callbacks", "keras", "keras.callbacks"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].Callback = Callback

seen = []
callback = lightning_callback("mp:bf16", **FAST)
assert isinstance(callback, Callback)
callback.on_train_start(None, None)
for loss in LOSSES:
    seen.append(fase.get_mode())
    callback.on_train_batch_end(None, None, {"loss": loss}, None, 0)
callback.on_train_end(None, None)
assert seen == MODES and fase.get_mode() is None

seen, total = [], 0
callback = keras_callback("mp:bf16", **FAST)
callback.on_train_begin()
callback.on_epoch_begin(0)
for batch, loss in enumerate(LOSSES):
    seen.append(fase.get_mode())
    total += loss
    callback.on_train_batch_end(batch, {"loss": total / (batch + 1)})  # Keras: the mean so far
callback.on_train_end()
assert seen == MODES and fase.get_mode() is None
"""


@pytest.mark.parametrize("library", ["numpy"])
def test_callbacks(library: str) -> None:
    pytest.importorskip(library)
    done = subprocess.run([sys.executable, "-W", "error", "-c", LOOP], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


REFUSED = """
import sys, tempfile
from pathlib import Path
import fase
from fase.dynamic import Dynamic

def refused(start, message):
    try:
        start()
    except fase.FaseError as error:
        assert message in str(error), error
    else:
        raise AssertionError
    assert fase.get_mode() == OUTSIDE, fase.get_mode()

def enter(record):
    with Dynamic("mp:bf16", record=record):
        pass

refused(lambda: enter("/nosuch/x"), "record '/nosuch/x' cannot be written: No such file or directory")
refused(lambda: enter(tempfile.gettempdir()), "Is a directory")
with fase.emulate("fp16"):
    OUTSIDE, outer = "fp16", OUTSIDE
    refused(lambda: enter("/nosuch/x"), "cannot be written")
    OUTSIDE = outer
assert fase.get_mode() == OUTSIDE
with Dynamic("mp:bf16") as dynamic:
    try:
        dynamic.start()
    except fase.FaseError as error:
        assert "has been started already" in str(error)
    else:
        raise AssertionError
    assert fase.get_mode() == "mp"
assert fase.get_mode() == OUTSIDE

class Mine:
    ema = None
    def __init__(self, answer):
        self.answer = answer
    def update(self, loss):
        return self.answer if loss < 2 else "mp"

def train(controller, record=None):
    with Dynamic(controller, record=record) as dynamic:
        dynamic.step(3)
        dynamic.step(1)

refused(lambda: train(Mine(None)), "controller Mine, step 1: update(loss) returned None: mode is a string")
refused(lambda: train(Mine(5)), "controller Mine, step 1: update(loss) returned 5")
refused(lambda: train(Mine("bf61")), "controller Mine, step 1: update(loss) returned 'bf61': mode 'bf61': unknown format")
wrong = Mine("bf16")
wrong.ema = "low"
refused(lambda: train(wrong, Path(tempfile.mkdtemp()) / "trace.jsonl"), "controller Mine, step 0: ema is a number, not 'low'")
with dynamic:  # once more
    dynamic.step(1)
    for wrong in (None, "x", [1, 2]):
        try:
            dynamic.step(wrong)
        except fase.FaseError as error:
            assert "loss is a number or a tensor of one element" in str(error)
        else:
            raise AssertionError
assert fase.get_mode() == OUTSIDE
"""


@pytest.mark.parametrize("launcher", [(), ("-m", "fase", "run", "-q", "-m", "fp32", "--", sys.executable)])
def test_a_refused_start_changes_nothing(launcher: tuple[str, ...]) -> None:
    code = f"OUTSIDE = {'fp32' if launcher else None!r}\n{REFUSED}"
    done = subprocess.run([sys.executable, *launcher, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
