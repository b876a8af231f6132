"""Facts about this machine that decide whether and how the engine runs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from fase.agent.locate import AGENT, library
from fase.errors import AgentMissingError
from fase.machine import Cpu, cpu

_BF16 = {"avx512_bf16": "AVX512_BF16", "avx_ne_convert": "AVX-NE-CONVERT", "amx_bf16": "AMX-BF16"}
"""Linux's flags for the CPU's own BF16 instructions."""

_TORCH = "import torch; print(next((w for w in torch.__config__.show().replace(',', ' ').split() if w.startswith('BLAS_INFO=')), ''))"


def facts() -> dict[str, str]:
    """Name and value of each fact, as text, in the order to show them."""
    this = cpu()
    return {
        "CPU": f"{this.model}, {os.cpu_count()} cores",
        "instruction sets": _isas(this),
        "kernel": platform.release(),
        "C library": os.confstr("CS_GNU_LIBC_VERSION") or "not glibc",
        "vm.max_map_count": _read(Path("/proc/sys/vm/max_map_count")),
        "agent": _agent(),
        "Python": f"{platform.python_version()} ({sys.executable})",
        "NumPy": _numpy(),
        "PyTorch": _torch(),
    }


def _isas(this: Cpu) -> str:
    found = {"avx512": "AVX2 + FMA, AVX-512", "avx2": "AVX2 + FMA"}.get(this.isa, "no AVX2 + FMA")
    own = [name for flag, name in _BF16.items() if flag in this.flags]
    return ", ".join([found, *own]) if own else f"{found}; no BF16 instructions of its own"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        return f"unknown ({error.strerror})"


def _agent() -> str:
    try:
        return str(library(AGENT))
    except AgentMissingError as error:
        return str(error)


def _numpy() -> str:
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"] if isinstance(config, dict) else {}
    return f"{np.__version__}, BLAS {blas.get('name', '?')} {blas.get('version', '')}".strip()


def _torch() -> str:
    """Version and BLAS; asked in a child, so that the self-test does not carry PyTorch."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed"
    child = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, check=False)
    return f"{version}, BLAS {child.stdout.strip().removeprefix('BLAS_INFO=') or '?'}"
