"""The environment that makes a program and its children start with the agent in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fase.agent.config import Config
from fase.errors import UsageError


def child_environment(base: Mapping[str, str], agent: Path, config: Config) -> dict[str, str]:
    """`base` with the agent first in LD_PRELOAD, whatever was there kept behind it, and its options in FASE_AGENT."""
    if any(c in str(agent) for c in " :\t\n"):
        raise UsageError(f"LD_PRELOAD cannot name a path with spaces or colons: {agent}; set FASE_NATIVE_DIR to a copy elsewhere")
    others = [p for p in base.get("LD_PRELOAD", "").replace(" ", ":").split(":") if p and Path(p).name != agent.name]
    return {**base, "LD_PRELOAD": ":".join([str(agent), *others]), "FASE_AGENT": config.to_text()}
