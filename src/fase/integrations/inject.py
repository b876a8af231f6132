"""What `fase run` gives a child so that its Python follows the policy: environment variables, written here and read in the child."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fase
from fase.policy import Dynamic, Policy, TorchRule, Where
from fase.policy.flags import mode_of
from fase.policy.rules import RUN

VARIABLE = "FASE_PYTHON"
SITE = Path(__file__).with_name("site")


@dataclass(frozen=True)
class Orders:
    """What the child is to do. `folder` is where it leaves its decisions and what its rules matched."""

    torch: tuple[TorchRule, ...]
    dynamic: Dynamic | None
    folder: Path

    def to_text(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {"torch": [_torch_row(r) for r in self.torch], "dynamic": _dynamic_row(self.dynamic), "folder": str(self.folder)},
        )

    @staticmethod
    def from_text(text: str) -> Orders:
        """What `to_text` wrote."""
        row = json.loads(text)
        torch = tuple(TorchRule(r["pattern"], tuple(r["phases"]), mode_of(r["mode"]), tuple(r["when"]), Where(r["where"])) for r in row["torch"])
        d = row["dynamic"]
        parameters = tuple((key, value) for key, value in d["parameters"]) if d else ()
        dynamic = Dynamic(tuple(d["modes"]), d["controller"], parameters, d["step"], Where(d["where"])) if d else None
        return Orders(torch, dynamic, Path(row["folder"]))


def child_environment(base: Mapping[str, str], policy: Policy, folder: Path) -> dict[str, str]:
    """`base`, with our start-up file first on PYTHONPATH where the policy needs it."""
    if not policy.needs_python:
        return {key: value for key, value in base.items() if key != VARIABLE}
    orders = Orders(policy.torch, policy.dynamic, folder.absolute())
    others = [p for p in base.get("PYTHONPATH", "").split(os.pathsep) if p and p != str(SITE)]
    return {
        **base,
        "PYTHONPATH": os.pathsep.join([str(SITE), *others]),
        "FASE_PACKAGE": str(Path(fase.__file__).parent),
        VARIABLE: orders.to_text(),
    }


def _torch_row(rule: TorchRule) -> dict[str, Any]:
    mode = rule.operator.full_name if rule.operator else RUN
    return {"pattern": rule.pattern, "phases": rule.phases, "mode": mode, "when": rule.when, "where": str(rule.where)}


def _dynamic_row(dynamic: Dynamic | None) -> dict[str, Any] | None:
    if dynamic is None:
        return None
    source, colon, name = dynamic.controller.rpartition(":")
    controller = f"{Path(source).absolute()}:{name}" if colon and source.endswith(".py") else dynamic.controller
    return {
        "modes": dynamic.modes, "controller": controller, "parameters": dynamic.parameters, "step": dynamic.step, "where": str(dynamic.where),
    }  # fmt: skip
