"""A folder to import from: an empty current directory whose modules are forgotten afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def importing_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder the current directory while the block lasts; what is imported from it leaves no trace."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    try:
        yield folder
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            paths = [file] if file else list(getattr(sys.modules[name], "__path__", ()))
            if any(Path(path).is_relative_to(folder) for path in paths):
                del sys.modules[name]
        sys.path_importer_cache.clear()
