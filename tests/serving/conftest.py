"""Fixtures of the tests of `bridge serve`: a folder of one's own, and imports that leave no trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        paths = [file] if file else list(getattr(sys.modules[name], "__path__", ()))
        if any(str(path).startswith(str(tmp_path)) for path in paths):
            del sys.modules[name]
    sys.path_importer_cache.clear()
