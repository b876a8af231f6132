"""A sweep over more modes than the record can name: refused when it comes to that, and nothing else is lost."""

from __future__ import annotations

import sys

from harness import run_native

SWEEP = """
import numpy as np
import fase
from fase.records import MAX_MODES
a = np.random.default_rng(0).random((16, 16), np.float32)
native = (a @ a).tobytes()
modes = [f"e{e}m{m},rounding={r}" for e in (8, 7, 6, 5) for m in range(1, 23) for r in ("rne", "rtz", "rup", "rdn")]
assert len(modes) > MAX_MODES
refused = []
for mode in modes:
    try:
        with fase.emulate(mode):
            assert (a @ a).tobytes() != native, mode
    except fase.FaseError as error:
        refused.append(str(error))
assert len(refused) >= len(modes) - MAX_MODES, len(refused)
assert all(f"{MAX_MODES} different modes" in line and "\\n" not in line for line in refused), refused[0]
assert fase.get_mode() is None and (a @ a).tobytes() == native
with fase.emulate(modes[0]):  # one that is known is still to be had
    assert (a @ a).tobytes() != native
    try:
        fase.set_mode("bf16")
    except fase.FaseError:
        assert fase.get_mode() == modes[0]
    else:
        raise AssertionError
print("whole")
"""


def test_sweep_over_many_modes() -> None:
    result = run_native([sys.executable, "-c", SWEEP])
    assert (result.returncode, result.stdout) == (0, "whole\n"), result.stderr
