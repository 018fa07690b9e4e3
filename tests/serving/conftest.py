"""Fixtures of the tests of `bridge serve`: a folder of one's own, and imports that leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.importing import importing_from


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten after the test."""
    with importing_from(tmp_path, monkeypatch):
        yield tmp_path
