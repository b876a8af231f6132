"""In the child, right after `import torch`: does what the orders of `fase run` say."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from fase import session
from fase.errors import FaseError
from fase.integrations.inject import Orders
from fase.integrations.startup_names import MATCHES, PARTIAL

if TYPE_CHECKING:
    from fase.integrations.torch_loss import Follower
    from fase.integrations.torch_rules import Rules


def torch_is_here(text: str) -> None:
    """Sets up hooks and the dynamic run, if this process is emulated at all. A mistake ends the program in one line, as `fase run` would."""
    try:
        _set_up(text)
    except FaseError as error:
        sys.stderr.write(f"fase: error: {error}\n")
        raise SystemExit(error.exit_code) from None


def _set_up(text: str) -> None:
    orders = Orders.from_text(text)
    if session.get_mode() is None:
        return
    report = _Report(orders)
    report.write()
    if orders.torch:
        from fase.integrations.torch_hooks import install_rules

        report.rules = install_rules(orders.torch, report.write)
    if orders.dynamic:
        from fase.integrations.torch_loss import follow

        report.follower = follow(orders.dynamic, orders.folder, report.write)


class _Report:
    """What the rules of this process have matched so far, for `fase run`: written whenever that is news, since the process may end at any moment."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.rules: Rules | None = None
        self.follower: Follower | None = None

    def write(self) -> None:
        """Writes it, whole or not at all: a process may be killed."""
        folder = self._orders.folder
        if not folder.is_dir():
            return
        matched = {str(rule.where): n for rule, n in zip(self._orders.torch, self.rules.matched, strict=True)} if self.rules else {}
        backward = self.follower.passes if self.follower else 0
        partial = folder / f"{MATCHES}{os.getpid()}{PARTIAL}"
        with suppress(OSError):
            partial.write_text(json.dumps({"torch": matched, "backward": backward}), encoding="utf-8")
            partial.replace(folder / f"{MATCHES}{os.getpid()}.json")
