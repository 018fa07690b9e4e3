"""Fixtures of the engines' tests: pools that must leave nothing behind, clocks, the three loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.drive import LOOPS
from support.engines import PATIENCE, Clock, FixedMeter, MakePool, eventually, let_all_go

from bridge import ThreadPool
from bridge.engines import thread_pool


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each of the async libraries in turn."""
    return str(request.param)


@pytest.fixture
def make_pool(request: pytest.FixtureRequest) -> Iterator[MakePool]:
    """`ThreadPool`; after the test each pool must come to rest with all its counters at zero."""
    made: list[ThreadPool] = []

    def make(threads: int = 2, **options: Any) -> ThreadPool:
        pool = ThreadPool(threads, **options)
        made.append(pool)
        return pool

    yield make
    let_all_go()
    for pool in made:
        assert pool.close(PATIENCE), f"workers are stuck:\n{pool.dump(0.0)}"
        stats = pool.stats()
        assert (stats.busy, stats.streaming, stats.idle, stats.queued) == (0, 0, 0, 0), stats
        eventually(lambda pool=pool: pool.stats().threads == 0, "all workers are gone")  # type: ignore[misc]
        assert stats.started == stats.completed, stats


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of the pool and its governor."""
    clock = Clock()
    monkeypatch.setattr(thread_pool, "time", clock)
    yield clock
    clock.release()


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> FixedMeter:
    """What new pools are told about their workers' load."""
    meter = FixedMeter()
    monkeypatch.setattr(thread_pool, "LoadMeter", lambda: meter)
    return meter
