"""MKL 2019.0 of PyPI takes MKL_DEBUG_CPU_TYPE, and so runs its AVX-512 kernel on any vendor's CPU. Installed on first use, in a cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.unavailable import Unavailable

AVX512 = {"MKL_DEBUG_CPU_TYPE": "7"}
REQUIREMENTS = ("mkl==2019.0", "intel-openmp==2019.0")
INSTALL_SECONDS = 600


def folder() -> Path:
    """Where its shared libraries are. Unavailable: it cannot be installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fase" / "mkl-2019.0"
    if not (found := _libraries(cache)):
        _install(cache)
        found = _libraries(cache)
    if not found:
        raise Unavailable(f"{REQUIREMENTS[0]} holds no libmkl_rt.so")
    return found


def _libraries(cache: Path) -> Path | None:
    return next((p.parent for p in cache.rglob("libmkl_rt.so")), None)


def _install(cache: Path) -> None:
    """Unpacks the two wheels under `cache`; their libraries lie in the `data` part, which pip puts under the prefix."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command = [*pip, "--no-deps", "--ignore-installed", "--no-warn-script-location", "--prefix", str(cache), *REQUIREMENTS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{REQUIREMENTS[0]}: pip took more than {INSTALL_SECONDS} s") from None
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()[-1:]), f"status {done.returncode}")
        raise Unavailable(f"{REQUIREMENTS[0]} cannot be installed: {reason}")
