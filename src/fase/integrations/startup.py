"""In the child, right after `import torch`: does what the orders of `fase run` say."""

from __future__ import annotations

import atexit
import json
import os
import sys
from typing import TYPE_CHECKING

from fase import session
from fase.errors import FaseError
from fase.integrations.inject import Orders
from fase.integrations.startup_names import MATCHES

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
    rules, follower = None, None
    if orders.torch:
        from fase.integrations.torch_hooks import install_rules

        rules = install_rules(orders.torch)
    if orders.dynamic:
        from fase.integrations.torch_loss import follow

        follower = follow(orders.dynamic, orders.folder)
    atexit.register(_report, orders, rules, follower, os.getpid())


def _report(orders: Orders, rules: Rules | None, follower: Follower | None, pid: int) -> None:
    if os.getpid() != pid or not orders.folder.is_dir():
        return
    matched = {str(rule.where): n for rule, n in zip(orders.torch, rules.matched, strict=True)} if rules else {}
    backward = follower.passes if follower else 0
    (orders.folder / f"{MATCHES}{pid}.json").write_text(json.dumps({"torch": matched, "backward": backward}), encoding="utf-8")
