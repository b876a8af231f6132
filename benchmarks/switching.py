"""How long a mode switch takes when 50,000 sites are live: that many FMAs in a row, made at run time, executed in both modes; then to and fro.

As a program (`python -m benchmarks.switching`, under `fase run`) it prints what it measured; `measure_switch` starts it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import subprocess
import sys
import time
from typing import Any

from benchmarks.figures import summary
from benchmarks.machine import REPOSITORY
from benchmarks.worker import WorkerError, clean_environment, under

SITES = 50_000
SWITCHES = 400
MODES = ("mp", "bf16")
FMA = bytes.fromhex("c4e271b8c2")  # vfmadd231ps xmm0, xmm1, xmm2
RETURN = b"\xc3"


def measure_switch() -> dict[str, Any]:
    """Sites of the process, FMAs it emulated, and microseconds a `fase.set_mode` takes, seen from Python."""
    command = under(MODES[0], [sys.executable, "-m", "benchmarks.switching"])
    done = subprocess.run(command, cwd=REPOSITORY, env=clean_environment(1, {}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkerError(f"mode switch: status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints one line of JSON."""
    import fase

    code = FMA * SITES + RETURN
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared code is not emulated
    memory = mmap.mmap(-1, len(code), flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    run = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    operators = [fase.operators.parse(mode) for mode in MODES]
    for operator in operators:  # both have their regions
        fase.set_mode(operator)
        run()
    taken = []
    for number in range(SWITCHES):
        start = time.perf_counter()
        fase.set_mode(operators[number % len(operators)])
        taken.append(1e6 * (time.perf_counter() - start))
    totals = fase.counters()
    print(json.dumps({"sites": totals["sites"], "fma_emulated": totals["fma_emulated"], "switches": SWITCHES, "microseconds": summary(taken)}))


if __name__ == "__main__":
    main()
