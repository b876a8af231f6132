"""Test programs are compiled once a session, and run natively once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from harness import Builder, Result, run_native


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def native() -> Callable[..., Result]:
    """Runs a command natively; the same command only once."""
    return cache(lambda *argv: run_native(argv))
