"""Fixtures of the adapters' tests: the three loops, and adapters that must leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.drive import LOOPS
from support.wsgi_apps import Adapt

from bridge import WSGIToASGI

# Threads on their way out get this long, in seconds.
_GRACE = 5.0


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each of the async libraries in turn."""
    return str(request.param)


@pytest.fixture
def adapt() -> Iterator[Adapt]:
    """`WSGIToASGI`; after the test, each adapter's pool must be at rest and its threads must end."""
    made: list[WSGIToASGI] = []
    before = set(threading.enumerate())  # other tests' pools are theirs to look after

    def make(app: Any, **options: Any) -> WSGIToASGI:
        adapter = WSGIToASGI(app, **options)
        made.append(adapter)
        return adapter

    yield make
    for adapter in made:
        assert adapter.pool.drain(_GRACE), f"workers are stuck:\n{adapter.pool.dump(0.0)}"
    for thread in threading.enumerate():
        if (
            thread not in before
            and thread.name.startswith("bridge-")
            and not thread.name.endswith("-governor")
        ):
            thread.join(_GRACE)
            assert not thread.is_alive(), f"{thread.name} outlived its pool"
