"""Fixtures of the tests of commands: a folder with apps, imports that leave no trace, and no haste."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bridge_command import environment
from support.clock import Clock
from support.importing import importing_from

from bridge.commands import observing


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """No app is said to work on after its response, or to accept no WebSocket, as the machine is busy."""
    monkeypatch.setattr(observing, "time", Clock())
    monkeypatch.setattr(observing, "_HANDSHAKE", 30.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten after the test."""
    # Processes that a command starts find this `bridge`, though they start elsewhere.
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    with importing_from(tmp_path, monkeypatch):
        yield tmp_path
