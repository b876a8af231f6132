"""Where and with what a result was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from fase._version import __version__
from fase.machine import cpu

REPOSITORY = Path(__file__).resolve().parent.parent


def description() -> dict[str, Any]:
    """CPU, kernel, versions, commit, and how busy the machine was (load averages over 1, 5 and 15 minutes)."""
    this = cpu()
    return {
        "cpu": this.model,
        "family_model": family(),
        "isa": this.isa,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "versions": {"fase": __version__, "python": platform.python_version(), **{name: _version(name) for name in ("torch", "numpy")}},
        "commit": _commit(),
    }


def slug(text: str) -> str:
    """A machine's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def family() -> str:
    fields = dict(re.findall(r"^(cpu family|model)\s*:\s*(\d+)$", Path("/proc/cpuinfo").read_text().split("\n\n")[0], re.MULTILINE))
    return f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit, with `+` after it when the sources differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--", "src", "native"], capture_output=True, text=True, check=False).stdout
    return head + "+" * bool(head and changed)
