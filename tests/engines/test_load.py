"""The load meter, on clocks that stand still: who burns CPU, how often it is asked, and what is stale."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.engines import Thread

from bridge.engines import load
from bridge.engines.load import WINDOW, LoadMeter


class Clocks:
    """Stands in for the module `time`, as far as CPU goes."""

    def __init__(self) -> None:
        self.process = 100.0
        self.threads: dict[int, float] = {}
        self.ended: set[int] = set()
        self.readings = 0

    def process_time(self) -> float:
        self.readings += 1
        return self.process

    def pthread_getcpuclockid(self, ident: int) -> int:
        return ident

    def clock_gettime(self, clock: int) -> float:
        if clock in self.ended:
            raise OSError("no such thread")
        return self.threads.get(clock, 0.0)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(load, "time", clocks)
    return clocks


class Bench:
    """A meter and the clocks that it reads, in the thread that submits."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self.meter = LoadMeter()
        self.now = 50.0
        self.submits()

    def submits(self) -> bool:
        return self.meter.burning(self.now, submitting=True)

    def passes(self, seconds: float, *, by_workers: float = 0.0, by_loop: float = 0.0) -> bool:
        """Let time pass, of which the threads use the given shares; what is the answer then?"""
        self.now += seconds
        self.clocks.process += seconds * (by_workers + by_loop)
        ident = threading.get_ident()
        self.clocks.threads[ident] = self.clocks.threads.get(ident, 0.0) + seconds * by_loop
        return self.meter.burning(self.now)


@pytest.fixture
def bench(clocks: Clocks) -> Bench:
    return Bench(clocks)


def test_nothing_burns_at_first(bench: Bench) -> None:
    assert not bench.meter.was_burning


@pytest.mark.parametrize(
    ("by_workers", "by_loop", "burning"),
    [
        (1.0, 0.0, True),
        (0.9, 0.1, True),
        (0.5, 0.5, True),
        (2.0, 0.0, True),
        (0.0, 1.0, False),
        (0.1, 0.9, False),
        (0.2, 0.2, False),
        (0.7, 0.0, False),
        (0.0, 0.0, False),
    ],
    ids=str,
)
def test_workers_burn_if_they_keep_the_interpreter_busy(
    bench: Bench, by_workers: float, by_loop: float, burning: bool
) -> None:
    """A busy event loop is not taken for them, nor is a process that has time left."""
    assert bench.passes(0.002, by_workers=by_workers, by_loop=by_loop) is burning
    assert bench.meter.was_burning is burning


def test_the_answer_follows_the_load(bench: Bench) -> None:
    assert bench.passes(0.002, by_workers=1.0)
    assert not bench.passes(0.002)
    assert bench.passes(0.002, by_workers=1.0)


def test_the_clocks_are_read_once_a_window(bench: Bench) -> None:
    """Each reading costs system calls, and every job asks."""
    readings = bench.clocks.readings
    assert bench.passes(WINDOW * 1.5, by_workers=1.0)
    assert bench.clocks.readings == readings + 1
    for _ in range(10):
        assert bench.passes(WINDOW / 20), "the last answer, since no new one is due"
    assert bench.clocks.readings == readings + 1


def test_a_reading_that_is_old_says_nothing(bench: Bench) -> None:
    """A burst after a pause must not find the workers guilty of what they did before it, or during it."""
    assert bench.passes(0.002, by_workers=1.0)
    assert not bench.passes(1.0, by_workers=1.0)
    assert bench.passes(0.002, by_workers=1.0)


def test_time_that_goes_backwards_is_no_new_reading(bench: Bench) -> None:
    """Several threads ask, each with a time of its own."""
    assert bench.passes(0.002, by_workers=1.0)
    assert bench.passes(-0.001)


def test_another_loop_begins_a_new_measurement(bench: Bench) -> None:
    assert bench.passes(0.002, by_workers=1.0)

    def elsewhere() -> bool:
        bench.now += 0.002
        bench.clocks.process += 0.002
        return bench.submits()

    assert Thread(elsewhere).outcome() is False
    assert bench.passes(0.002, by_workers=1.0)


def test_a_loop_whose_thread_has_ended_has_used_nothing(bench: Bench) -> None:
    bench.clocks.ended.add(threading.get_ident())
    assert bench.passes(0.002, by_workers=1.0) in (True, False)
    assert bench.passes(0.002, by_workers=1.0)
    bench.clocks.ended.clear()
    bench.now += 0.002
    bench.submits()
    assert not bench.passes(0.002, by_loop=1.0), "the same thread may come again"


@pytest.mark.parametrize(
    "get_clock", [None, lambda ident: (_ for _ in ()).throw(OSError())], ids=["missing", "failing"]
)
def test_without_the_clock_of_a_thread_all_cpu_counts_as_the_workers(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, get_clock: Callable[[int], Any] | None
) -> None:
    """macOS and Windows have none; a standstill of the queue wakes a worker there all the same."""
    if get_clock is None:
        monkeypatch.delattr(Clocks, "pthread_getcpuclockid")
    else:
        monkeypatch.setattr(Clocks, "pthread_getcpuclockid", staticmethod(get_clock))
    bench = Bench(clocks)
    assert bench.passes(0.002, by_workers=1.0)
    assert bench.passes(0.002, by_loop=1.0)
    assert not bench.passes(0.002)


def test_the_real_clocks_can_be_read_from_any_thread() -> None:
    meter = LoadMeter()
    meter.burning(10.0, submitting=True)
    assert Thread(lambda: meter.burning(10.01)).outcome() in (True, False)

    other = LoadMeter()
    Thread(lambda: other.burning(10.0, submitting=True)).outcome()
    assert other.burning(10.01) in (True, False), "the thread whose clock it was has ended"
