"""The thread pool: order, bounds, slots, governor, refusals, what may be seen, ends and forks.

Tests that depend on time run on a clock that stands still (`clock`), and those that depend on the
machine's load on a meter that says what the test wants (`meter`).
"""

from __future__ import annotations

import gc
import logging
import os
import random
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.engines import (
    PATIENCE,
    Clock,
    FixedMeter,
    Log,
    MakePool,
    Task,
    Thread,
    eventually,
    fill,
    script,
    threads_named,
)

from bridge import PoolStats, ThreadPool
from bridge.engines import thread_pool
from bridge.engines.thread_pool import Job, Worker
from bridge.exceptions import PoolClosed, PoolError, PoolFull, QueueTimeout, UsageError

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Starts:
    """Stands in for `start_thread`: threads start when the test says so, or not at all."""

    def __init__(self) -> None:
        self.asked: list[tuple[Callable[[Any], object], Any, str | None]] = []
        self.error: BaseException | None = None
        self.hold = True
        self.real = thread_pool.start_thread

    def __call__(self, target: Callable[[Any], object], argument: Any, name: str | None = None) -> None:
        if self.error is not None:
            raise self.error
        if self.hold:
            self.asked.append((target, argument, name))
        else:
            self.real(target, argument, name)

    def let_one_start(self) -> None:
        self.real(*self.asked.pop(0))


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    starts = Starts()
    monkeypatch.setattr(thread_pool, "start_thread", starts)
    return starts


# -- threads


def test_construction_starts_no_thread(make_pool: MakePool) -> None:
    pool = make_pool(8, name="unused")
    assert threads_named("unused") == []
    assert pool.stats() == PoolStats(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0)


def test_threads_are_daemons_and_bear_the_name_of_the_pool(make_pool: MakePool) -> None:
    """A thread that is no daemon would hold up the interpreter's exit."""
    tasks = fill(make_pool(3, name="shop"), 3)
    assert [task.thread is not None and task.thread.daemon for task in tasks] == [True] * 3
    assert {task.thread.name for task in tasks if task.thread} == {"shop-1", "shop-2", "shop-3"}
    for task in tasks:
        task.let_go()


def test_one_thread_serves_jobs_that_come_one_after_another(make_pool: MakePool) -> None:
    pool = make_pool(8)
    for _ in range(20):
        task = Task()
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().threads == 1


def test_the_worker_that_went_idle_last_is_woken_first(make_pool: MakePool) -> None:
    """Its stack and caches are warm, and the others may be paged out."""
    pool = make_pool(3)
    tasks = fill(pool, 3)
    for task in tasks:
        task.let_go()
        eventually(lambda task=task: pool.stats().idle == tasks.index(task) + 1)  # type: ignore[misc]
    last = Task()
    pool.submit(last)
    last.wait()
    assert last.thread is tasks[2].thread


@pytest.mark.parametrize(
    "arguments",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": "4"},
        {"threads": True},
        {"threads": None},
        {"streams": -1},
        {"streams": "many"},
        {"queue": -1},
        {"queue": 2.0},
        {"queue_timeout": 0},
        {"queue_timeout": -1.0},
        {"queue_timeout": float("nan")},
        {"queue_timeout": "5"},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused_at_construction(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(UsageError, match=name):
        ThreadPool(**arguments)


# -- order and bounds


@pytest.mark.req("W-29")
def test_jobs_start_in_the_order_in_which_they_came(make_pool: MakePool) -> None:
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    log = Log()
    tasks = [Task(log, number) for number in range(50)]
    for task in tasks:
        pool.submit(task)
    first.let_go()
    for task in tasks:
        task.wait()
    assert log.names() == list(range(50))


@pytest.mark.req("W-29")
def test_no_more_jobs_run_at_a_time_than_there_are_threads(make_pool: MakePool) -> None:
    log = Log()
    pool = make_pool(3)
    tasks = [Task(log, number, held=True) for number in range(10)]
    for task in tasks:
        pool.submit(task)
    for number, task in enumerate(tasks):
        task.wait_begin()
        assert log.names()[: number + 1] == list(range(number + 1))
        if number >= 2:
            assert (pool.stats().threads, pool.stats().busy, log.running) == (3, 3, 3)
            tasks[number - 2].let_go()
    for task in tasks:
        task.let_go()
        task.wait()
    assert log.most_running == 3


def test_submitting_does_not_wait_for_the_workers(make_pool: MakePool, starts: Starts) -> None:
    """A thread for each job that waits would be as bad: what waits takes a place in a queue."""
    pool = make_pool(2)
    log = Log()
    for number in range(100):
        pool.submit(Task(log, number))
    assert log.entries == []
    assert len(starts.asked) == 1
    starts.hold = False
    starts.let_one_start()
    eventually(lambda: len(log.entries) == 100)


def test_one_worker_is_woken_at_a_time_and_wakes_the_next(make_pool: MakePool, starts: Starts) -> None:
    """Ten woken at once would queue for the GIL, and the event loop behind them."""
    pool = make_pool(4)
    tasks = [Task(name=number, held=True) for number in range(6)]
    for task in tasks:
        pool.submit(task)
    for number in range(4):
        assert len(starts.asked) == 1, "one is being woken, whatever waits"
        starts.let_one_start()
        tasks[number].wait_begin()
        if number < 3:
            eventually(lambda: starts.asked, "it wakes the next before it runs its job")
    eventually(lambda: starts.asked)
    assert [name for _, _, name in starts.asked] == ["bridge-governor"], "all slots are taken"
    starts.hold = False
    for task in tasks:
        task.let_go()
        task.wait()


def test_idle_workers_are_woken_one_at_a_time_as_well(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(6)
    core = pool._core
    most = 0
    wake = core._wake

    def watched() -> Worker | None:
        nonlocal most
        worker = wake()
        most = max(most, sum(1 for each in core.workers if each.woken))
        return worker

    monkeypatch.setattr(core, "_wake", watched)
    for _ in range(30):
        tasks = [Task(name=number, held=True) for number in range(6)]
        for task in tasks:
            pool.submit(task)
        for task in tasks:
            task.wait_begin()
        for task in tasks:
            task.let_go()
            task.wait()
    assert most == 1


# -- taking jobs back


@pytest.mark.req("W-29")
def test_a_job_that_was_cancelled_while_it_waited_never_runs(make_pool: MakePool) -> None:
    log = Log()
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    tasks = [Task(log, number) for number in range(5)]
    for task in tasks:
        pool.submit(task)
    assert pool.cancel(tasks[1])
    assert pool.cancel(tasks[3])
    assert pool.stats().queued == 3
    first.let_go()
    tasks[4].wait()
    assert log.entries == [("run", 0), ("run", 2), ("run", 4)], "neither run nor refused"
    assert tasks[1].state == tasks[3].state == Job.CANCELLED


def test_a_job_that_runs_or_is_over_cannot_be_cancelled(make_pool: MakePool) -> None:
    pool = make_pool(1)
    (task,) = fill(pool, 1)
    assert not pool.cancel(task)
    task.let_go()
    eventually(lambda: task.state == Job.DONE)
    assert not pool.cancel(task)


def test_a_job_can_be_cancelled_once(make_pool: MakePool) -> None:
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    task = Task()
    pool.submit(task)
    assert pool.cancel(task)
    assert not pool.cancel(task)
    assert pool.stats().queued == 0
    first.let_go()


def test_cancelling_a_job_that_the_pool_does_not_hold_changes_no_count(make_pool: MakePool) -> None:
    """A caller may cancel in a `finally`, also when the pool did not take the job."""
    pool = make_pool(1, queue=0)
    (first,) = fill(pool, 1)
    refused = Task()
    with pytest.raises(PoolFull):
        pool.submit(refused)
    pool.cancel(refused)
    pool.cancel(Task())
    assert pool.stats().queued == 0
    first.let_go()
    pool.close()
    late = Task()
    with pytest.raises(PoolClosed):
        pool.submit(late)
    pool.cancel(late)
    assert pool.stats().queued == 0


def test_cancelled_jobs_are_let_go_of_while_the_workers_are_stuck(make_pool: MakePool) -> None:
    """Each holds a request, and clients that give up may do so by the thousand."""
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    alive = []
    for _ in range(1000):
        task = Task()
        alive.append(weakref.ref(task))
        pool.submit(task)
        pool.cancel(task)
    del task
    assert sum(1 for reference in alive if reference() is not None) <= 66
    first.let_go()


# -- a bounded queue


@pytest.mark.req("W-29")
@pytest.mark.parametrize(("threads", "queue"), [(1, 0), (1, 1), (1, 5), (2, 0), (3, 2), (5, 0)])
def test_a_burst_fills_all_threads_and_the_queue_before_jobs_are_refused(
    make_pool: MakePool, starts: Starts, threads: int, queue: int
) -> None:
    """Also while no worker has had the time to take a job yet, as in a burst on the event loop."""
    pool = make_pool(threads, queue=queue)
    tasks = [Task(name=number, held=True) for number in range(threads + queue + 3)]
    accepted = 0
    for task in tasks:
        try:
            pool.submit(task)
        except PoolFull:
            continue
        accepted += 1
    assert accepted == threads + queue
    assert pool.stats().rejected == 3
    starts.hold = False
    starts.let_one_start()
    for task in tasks[:accepted]:
        task.let_go()
        task.wait()
    assert tasks[-1].error is None, "submit() raised, so it is not refused as well"


def test_the_bound_of_the_queue_is_exact_while_all_threads_are_busy(make_pool: MakePool) -> None:
    pool = make_pool(2, queue=3)
    running = fill(pool, 2)
    waiting = [Task() for _ in range(3)]
    for task in waiting:
        pool.submit(task)
    with pytest.raises(PoolFull, match=r"all threads \(2\) are busy, and as many jobs wait as may \(3\)"):
        pool.submit(Task())
    assert pool.cancel(waiting[0]), "which makes room for one"
    waiting[0] = Task()
    pool.submit(waiting[0])
    with pytest.raises(PoolFull):
        pool.submit(Task())
    assert pool.stats().rejected == 2
    for task in running:
        task.let_go()
    for task in waiting:
        task.wait()


# -- a limit to the wait


def test_a_job_that_waits_too_long_is_refused_once(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, queue_timeout=5.0)
    (first,) = fill(pool, 1)
    log = Log()
    early, late = Task(log, "early"), Task(log, "late")
    pool.submit(early)
    clock.wait_for_sleeper()
    clock.step(3.0)
    pool.submit(late)
    clock.step(1.9)
    assert log.entries == []
    clock.step(0.2)
    assert log.entries == [("refuse", "early")]
    assert isinstance(early.error, QueueTimeout)
    assert (pool.stats().queued, pool.stats().rejected) == (1, 1)
    assert not pool.cancel(early), "it was refused already"
    first.let_go()
    late.wait()
    clock.step(100.0, at_rest=lambda: pool._core.governor_rests)
    assert log.entries == [("refuse", "early"), ("run", "late")]


def test_cancelled_jobs_before_an_expired_one_do_not_hide_it(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, queue_timeout=5.0)
    (first,) = fill(pool, 1)
    cancelled, expired = Task(), Task()
    pool.submit(cancelled)
    pool.submit(expired)
    pool.cancel(cancelled)
    clock.step(5.1, at_rest=lambda: pool._core.governor_rests)
    assert cancelled.error is None
    assert isinstance(expired.error, QueueTimeout)
    assert pool.stats().queued == 0
    first.let_go()


def test_a_refusal_that_raises_stops_neither_the_governor_nor_the_other_refusals(
    make_pool: MakePool, clock: Clock, meter: FixedMeter, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Task):
        def refuse(self, error: PoolError) -> None:
            super().refuse(error)
            raise ValueError("refused to be refused")

    pool = make_pool(1, queue_timeout=1.0)
    (first,) = fill(pool, 1)
    tasks = [Faulty(), Task(), Faulty()]
    for task in tasks:
        pool.submit(task)
    clock.step(1.1, at_rest=lambda: pool._core.governor_rests)
    again = Task()
    pool.submit(again)
    clock.step(1.1, at_rest=lambda: pool._core.governor_rests)
    assert all(isinstance(task.error, QueueTimeout) for task in [*tasks, again])
    assert caplog.text.count("ValueError: refused to be refused") == 2
    first.let_go()


def test_closing_refuses_every_waiting_job_though_a_refusal_raises(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Task):
        def refuse(self, error: PoolError) -> None:
            super().refuse(error)
            raise SystemExit("refused to be refused")

    pool = make_pool(1)
    (first,) = fill(pool, 1)
    tasks = [Faulty(), Task()]
    for task in tasks:
        pool.submit(task)
    assert not pool.close(0)
    assert all(isinstance(task.error, PoolClosed) for task in tasks)
    assert "refused to be refused" in caplog.text
    first.let_go()


# -- slots


class Lender(Task):
    """Lends its slot when it may, at once unless it is held, and goes on until it is let go."""

    __slots__ = ("asked", "free", "may")

    def __init__(self, log: Log | None = None, name: object = "lender", *, held: bool = False) -> None:
        super().__init__(log, name, self._lend)
        self.may = threading.Event()
        if not held:
            self.may.set()
        self.asked = threading.Event()
        self.free = threading.Event()

    def _lend(self, worker: Worker) -> None:
        assert self.may.wait(PATIENCE)
        worker.lend_slot()
        worker.lend_slot()
        self.asked.set()
        assert self.free.wait(PATIENCE)

    def let_go(self) -> None:
        self.may.set()
        self.free.set()


def test_a_worker_that_lends_its_slot_lets_another_job_run(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    """At once: the clock stands still, so no governor looks."""
    pool = make_pool(2)
    lender, running, waiting = Lender(held=True), Task(held=True), Task(held=True)
    for task in (lender, running):
        pool.submit(task)
        task.wait_begin()
    pool.submit(waiting)
    assert not waiting.began.is_set()
    lender.may.set()
    waiting.wait_begin()
    assert lender.asked.wait(PATIENCE)
    stats = pool.stats()
    assert (stats.threads, stats.busy, stats.streaming) == (3, 2, 1), "lending twice counts once"
    for task in (lender, running, waiting):
        task.let_go()
        task.wait()
    eventually(lambda: pool.stats().streaming == 0)


def test_lending_wakes_no_second_worker_while_one_is_waking_up(
    make_pool: MakePool, starts: Starts, meter: FixedMeter
) -> None:
    pool = make_pool(3)
    lender = Lender(held=True)
    pool.submit(lender)
    starts.let_one_start()
    lender.wait_begin()
    tasks = [Task(), Task(), Task()]
    for task in tasks:
        pool.submit(task)
    assert len(starts.asked) == 1
    lender.may.set()
    assert lender.asked.wait(PATIENCE)
    assert len(starts.asked) == 1
    starts.hold = False
    starts.let_one_start()
    for task in [*tasks, lender]:
        task.let_go()
        task.wait()


def test_no_more_slots_are_lent_than_streams_are_allowed(make_pool: MakePool) -> None:
    pool = make_pool(2, streams=3)
    lenders = [Lender() for _ in range(6)]
    for lender in lenders[:5]:
        pool.submit(lender)
        assert lender.asked.wait(PATIENCE)
    stats = pool.stats()
    assert (stats.streaming, stats.busy, stats.threads) == (3, 2, 5), "the last two keep their slots"
    pool.submit(lenders[5])
    assert pool.stats().queued == 1
    lenders[0].let_go()
    eventually(lambda: pool.stats().streaming == 2)
    assert pool.stats().queued == 1, "those who asked in vain still hold their slots"
    lenders[4].let_go()
    assert lenders[5].asked.wait(PATIENCE)
    eventually(lambda: pool.stats().streaming == 3)
    for lender in lenders:
        lender.let_go()
        lender.wait()


@pytest.mark.req("E-05", "W-29")
def test_a_single_thread_lends_nothing_unless_it_is_told_to(make_pool: MakePool) -> None:
    """An app that asks for one thread may not bear a second."""
    pool = make_pool(1)
    assert not pool.multithread
    log = Log()
    lenders = [Lender(log, 0), Lender(log, 1)]
    for lender in lenders:
        pool.submit(lender)
    assert lenders[0].asked.wait(PATIENCE)
    assert (pool.stats().streaming, pool.stats().queued) == (0, 1)
    for lender in lenders:
        lender.let_go()
        lender.wait()
    assert log.most_running == 1

    assert make_pool(1, streams=1).multithread
    assert make_pool(2).multithread
    assert make_pool(1, streams=None).multithread


def test_streams_without_a_limit_lend_every_slot(make_pool: MakePool) -> None:
    pool = make_pool(1, streams=None)
    lenders = [Lender() for _ in range(20)]
    for lender in lenders:
        pool.submit(lender)
        assert lender.asked.wait(PATIENCE)
    assert pool.stats().streaming == 20
    for lender in lenders:
        lender.let_go()
        lender.wait()


def test_a_worker_takes_its_slot_back_if_it_is_free_and_ends_if_it_is_not(make_pool: MakePool) -> None:
    pool = make_pool(1, streams=4)
    lender = Lender()
    pool.submit(lender)
    assert lender.asked.wait(PATIENCE)
    lender.let_go()
    eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().threads == 1

    lender = Lender()
    pool.submit(lender)
    assert lender.asked.wait(PATIENCE)
    (other,) = fill(pool, 1)
    assert pool.stats().threads == 2
    lender.let_go()
    eventually(lambda: pool.stats().threads == 1, "the one too many is gone")
    other.let_go()


def test_more_threads_do_not_stay_than_there_are_slots(make_pool: MakePool) -> None:
    pool = make_pool(2, streams=20)
    lenders = [Lender() for _ in range(20)]
    for lender in lenders:
        pool.submit(lender)
        assert lender.asked.wait(PATIENCE)
    for lender in lenders:
        lender.let_go()
    eventually(lambda: pool.stats().busy == pool.stats().streaming == 0)
    eventually(lambda: pool.stats().threads <= 2)


class Stream(Lender):
    """Sends a response in pieces until it is let go."""

    def _lend(self, worker: Worker) -> None:
        worker.note_streaming()
        worker.note_streaming()
        self.asked.set()
        assert self.free.wait(PATIENCE)


def test_a_long_stream_lends_its_slot_once_others_wait(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(2)
    streams = [Stream(), Stream()]
    for stream in streams:
        pool.submit(stream)
        assert stream.asked.wait(PATIENCE)
    clock.now += 100.0
    assert pool.stats().streaming == 0, "nobody waits, so there is no need"
    tasks = [Task(name=number, held=True) for number in range(3)]
    for task in tasks:
        pool.submit(task)
    clock.step(0.01)
    tasks[0].wait_begin()
    assert pool.stats().streaming == 1, "one for each worker that can be woken"
    clock.step(0.01)
    tasks[1].wait_begin()
    stats = pool.stats()
    assert (stats.streaming, stats.busy, stats.queued, stats.threads) == (2, 2, 1, 4)
    for task in [*streams, *tasks]:
        task.let_go()
        task.wait()
    eventually(lambda: pool.stats().streaming == 0)


def test_long_streams_lend_no_more_slots_than_are_allowed(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(2, streams=1)
    streams = [Stream(), Stream()]
    for stream in streams:
        pool.submit(stream)
        assert stream.asked.wait(PATIENCE)
    tasks = [Task(held=True), Task(held=True)]
    for task in tasks:
        pool.submit(task)
    clock.step(100.0)
    tasks[0].wait_begin()
    clock.step(100.0)
    stats = pool.stats()
    assert (stats.streaming, stats.busy, stats.queued) == (1, 2, 1)
    for task in [*streams, *tasks]:
        task.let_go()
        task.wait()


def test_a_short_stream_keeps_its_slot(make_pool: MakePool, clock: Clock, meter: FixedMeter) -> None:
    pool = make_pool(1, streams=1)
    stream = Stream()
    pool.submit(stream)
    assert stream.asked.wait(PATIENCE)
    task = Task()
    pool.submit(task)
    clock.step(thread_pool.STREAMING_LONG - 0.01)
    assert (pool.stats().streaming, pool.stats().queued) == (0, 1)
    clock.step(0.02)
    task.wait()
    assert pool.stats().streaming == 1
    stream.let_go()


def test_a_stream_does_not_count_for_the_next_job_of_its_worker(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, streams=1)
    stream = Stream()
    pool.submit(stream)
    assert stream.asked.wait(PATIENCE)
    stream.let_go()
    eventually(lambda: pool.stats().idle == 1)
    (ordinary,) = fill(pool, 1)
    assert ordinary.thread is stream.thread
    waiting = Task()
    pool.submit(waiting)
    clock.step(100.0)
    assert (pool.stats().streaming, pool.stats().queued) == (0, 1)
    ordinary.let_go()
    waiting.wait()


# -- the governor


def test_jobs_that_wait_get_all_threads_at_once(make_pool: MakePool) -> None:
    """With the real meter: workers that are blocked do not burn CPU."""
    pool = make_pool(40)
    began = time.monotonic()
    tasks = fill(pool, 40)
    assert time.monotonic() - began < PATIENCE, "one after the other, with growing waits, takes longer"
    for task in tasks:
        task.let_go()


def test_while_workers_burn_cpu_no_further_one_is_woken_until_the_queue_stands_still(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(8)
    tasks = [Task(name=number, held=True) for number in range(6)]
    pool.submit(tasks[0])
    tasks[0].wait_begin()
    meter.was_burning = True
    for task in tasks[1:]:
        pool.submit(task)
    clock.step(0.015)
    assert pool.stats().busy == 1
    clock.step(0.006)
    tasks[1].wait_begin()
    assert pool.stats().busy == 2
    clock.step(0.035)
    assert pool.stats().busy == 2, "each further one takes a longer standstill"
    clock.step(0.006)
    tasks[2].wait_begin()
    assert pool.stats().busy == 3
    for task in tasks:
        task.let_go()
        task.wait()
    assert pool.stats().threads == 3


def test_a_queue_that_moves_gets_no_further_worker_while_cpu_burns(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(8)
    log = Log()
    tasks = [Task(log, number, held=True) for number in range(10)]
    pool.submit(tasks[0])
    tasks[0].wait_begin()
    meter.was_burning = True
    for task in tasks[1:]:
        pool.submit(task)
    for number in range(9):
        clock.step(0.015)
        tasks[number].let_go()
        tasks[number + 1].wait_begin()
    assert pool.stats().threads == log.most_running == 1
    tasks[9].let_go()


def test_a_stuck_burner_does_not_keep_others_waiting_for_seconds(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    """However many burn, a job that waits beside a free slot gets it within a bounded time."""
    pool = make_pool(40)
    tasks = [Task(name=number, held=True) for number in range(30)]
    pool.submit(tasks[0])
    tasks[0].wait_begin()
    meter.was_burning = True
    for number, task in enumerate(tasks[1:], 1):
        pool.submit(task)
        waited = 0.0
        while not task.began.is_set() and waited < 60.0:
            clock.step(0.02)
            waited += 0.02
            if pool.stats().queued == 0:
                task.wait_begin()
        assert waited <= 1.1, f"job {number} waited {waited:.2f} s beside {40 - number} free slots"
    for task in tasks:
        task.let_go()
        task.wait()


def test_a_queue_that_begins_to_wait_does_not_stand_still_at_once(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    """However long ago a job was last taken: nobody waited since."""
    pool = make_pool(4)
    (first,) = fill(pool, 1)
    meter.was_burning = True
    clock.now += 100.0
    task = Task()
    pool.submit(task)
    clock.step(0.015)
    assert pool.stats().queued == 1
    clock.step(0.006)
    task.wait()
    first.let_go()


def test_of_workers_that_burn_cpu_one_goes_on_while_the_queue_moves(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    """Several only take turns, and the event loop waits for all of them."""
    pool = make_pool(4)
    log = Log()
    stuck, first, second = fill(pool, 3)
    meter.was_burning = True
    tasks = [Task(log, number, held=True) for number in range(3)]
    for task in tasks:
        pool.submit(task)
    first.let_go()
    eventually(lambda: pool.stats().idle == 1)
    assert (pool.stats().busy, pool.stats().queued) == (2, 3), "another one took a job last"
    second.let_go()
    for task in tasks:
        task.wait_begin()
        assert task.thread is second.thread
        task.let_go()
    assert log.most_running == 1
    stuck.let_go()


def test_the_only_worker_goes_on_whoever_took_a_job_last(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(3)
    first, second = fill(pool, 2)
    second.let_go()
    eventually(lambda: pool.stats().idle == 1)
    meter.was_burning = True
    task = Task()
    pool.submit(task)
    first.let_go()
    task.wait()
    assert task.thread is first.thread


def test_workers_go_on_that_are_the_last_or_that_do_not_burn_cpu(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(3)
    first, second, third = fill(pool, 3)
    tasks = [Task(held=True) for _ in range(3)]
    for task in tasks:
        pool.submit(task)
    first.let_go()
    tasks[0].wait_begin()
    assert tasks[0].thread is first.thread
    meter.was_burning = True
    clock.now += 0.5
    second.let_go()
    tasks[1].wait_begin()
    assert tasks[1].thread is second.thread, "the queue stood still"
    for task in [third, *tasks]:
        task.let_go()
        task.wait()


def test_a_stream_that_took_an_hour_is_no_usual_job(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    """After it, a queue must not be taken for a moving one because jobs seem to take so long."""
    pool = make_pool(4)
    stream = Stream()
    pool.submit(stream)
    assert stream.asked.wait(PATIENCE)
    others = fill(pool, 3)
    clock.now += 3600.0
    tasks = [Task(), Task(held=True)]
    for task in tasks:
        pool.submit(task)
    stream.let_go()
    tasks[1].wait_begin()
    meter.was_burning = True
    last = Task()
    pool.submit(last)
    clock.step(1.1, at_rest=lambda: pool._core.governor_rests)
    others[0].let_go()
    last.wait()
    for task in [*others, *tasks]:
        task.let_go()


def test_after_a_long_job_that_burned_cpu_a_worker_lets_the_loop_have_its_turn(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1)
    breaths: list[int] = []
    for duration, burning in ((0.1, False), (0.001, True), (0.1, True)):

        def work(worker: Worker, duration: float = duration) -> None:
            clock.now += duration

        meter.was_burning = burning
        task = Task(work=work)
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
        breaths.append(len(clock.breaths))
    assert breaths == [0, 0, 1]
    assert 0 < clock.breaths[0] < 0.001


def test_once_workers_stop_burning_the_rest_is_woken(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(4)
    tasks = [Task(name=number, held=True) for number in range(4)]
    pool.submit(tasks[0])
    tasks[0].wait_begin()
    meter.was_burning = True
    for task in tasks[1:]:
        pool.submit(task)
    clock.step(0.002)
    assert pool.stats().busy == 1
    meter.was_burning = False
    clock.step(0.002)
    for task in tasks:
        task.wait_begin()
        task.let_go()


def test_the_governor_exists_only_while_it_is_needed(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_pool, "_GOVERNOR_REST", 0.01)
    pool = make_pool(1, name="rests")
    for _ in range(3):
        (first,) = fill(pool, 1)
        assert threads_named("rests-governor") == []
        waiting = Task()
        pool.submit(waiting)
        eventually(lambda: threads_named("rests-governor"))
        assert [thread.daemon for thread in threads_named("rests-governor")] == [True]
        first.let_go()
        waiting.wait()
        eventually(lambda: not threads_named("rests-governor"))


def test_one_governor_watches_however_often_it_is_armed(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, name="once")
    for _ in range(20):
        (first,) = fill(pool, 1)
        tasks = [Task() for _ in range(5)]
        for task in tasks:
            pool.submit(task)
        assert len(threads_named("once-governor")) == 1
        first.let_go()
        for task in tasks:
            task.wait()
        clock.step(0.01, at_rest=lambda: pool._core.governor_rests)


def test_a_governor_that_is_armed_at_the_moment_at_which_it_gives_up_goes_on(make_pool: MakePool) -> None:
    class Gate:
        """Nobody opens it in time, and then somebody does."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.lock.acquire()

        def acquire(self, timeout: float = -1) -> bool:
            if timeout < 0:
                return self.lock.acquire(timeout=PATIENCE)
            with core.lock:
                core._arm_governor()
            return False

        def release(self) -> None:
            self.lock.release()

    core = make_pool(1)._core
    core.governor_alive = core.governor_rests = True
    gate = Gate()
    core.governor_gate = gate
    assert core._rest()
    assert core.governor_alive
    assert not core.governor_rests
    assert gate.lock.locked(), "or the next rest would be none"


def test_a_closed_pool_keeps_no_governor(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests for seconds otherwise, and a test suite closes many pools."""
    monkeypatch.setattr(thread_pool, "_GOVERNOR_REST", 1000.0)
    pool = make_pool(1, name="closing")
    (first,) = fill(pool, 1)
    waiting = Task()
    pool.submit(waiting)
    first.let_go()
    waiting.wait()
    eventually(lambda: pool._core.governor_rests)
    pool.close()
    eventually(lambda: not threads_named("closing-governor"))


@pytest.mark.parametrize("rest", [0.0, 0.0002])
def test_arming_a_governor_that_goes_to_rest_or_ends_loses_no_job(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, meter: FixedMeter, rest: float
) -> None:
    """Jobs wait beside free slots here, so only the governor can get them to run."""
    monkeypatch.setattr(thread_pool, "_GOVERNOR_REST", rest)
    monkeypatch.setattr(thread_pool, "_FIRST_LOOK", 0.0001)
    monkeypatch.setattr(thread_pool, "_SLOWEST_LOOK", 0.0003)
    monkeypatch.setattr(thread_pool, "_STANDSTILL", 0.0)
    meter.was_burning = True
    pool = make_pool(3)
    (first,) = fill(pool, 1)
    chance = random.Random(7)
    for _ in range(400):
        tasks = [Task() for _ in range(chance.randrange(1, 4))]
        for task in tasks:
            pool.submit(task)
        for task in tasks:
            task.wait()
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.001)
    first.let_go()


# -- what can be seen


def test_the_counts_follow_the_jobs(make_pool: MakePool, clock: Clock, meter: FixedMeter) -> None:
    pool = make_pool(1, queue=1)
    (first,) = fill(pool, 1)
    clock.now += 4.0
    waiting = Task()
    pool.submit(waiting)
    with pytest.raises(PoolFull):
        pool.submit(Task())
    clock.now += 2.0
    assert pool.stats() == PoolStats(
        threads=1,
        busy=1,
        streaming=0,
        idle=0,
        queued=1,
        started=1,
        completed=0,
        rejected=1,
        queue_wait=0.0,
        oldest_wait=2.0,
    )
    first.let_go()
    waiting.wait()
    eventually(lambda: pool.stats().idle == 1)
    stats = pool.stats()
    assert (stats.started, stats.completed, stats.queued, stats.oldest_wait) == (2, 2, 0, 0.0)
    assert stats.queue_wait == pytest.approx(2.0 * thread_pool._AVERAGE)


def test_the_oldest_wait_passes_over_cancelled_jobs(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    cancelled, waiting = Task(), Task()
    pool.submit(cancelled)
    clock.now += 5.0
    pool.submit(waiting)
    clock.now += 1.0
    pool.cancel(cancelled)
    assert pool.stats().oldest_wait == pytest.approx(1.0)
    first.let_go()
    waiting.wait()


def test_a_pool_shows_itself(make_pool: MakePool) -> None:
    pool = make_pool(2, name="shop")
    assert repr(pool) == "<ThreadPool 'shop': 0 of 2 threads busy, 0 streaming, 0 queued>"


def a_function_in_which_the_worker_is_stuck(began: threading.Event, free: threading.Event) -> None:
    began.set()
    assert free.wait(PATIENCE)


def test_the_dump_tells_what_stuck_workers_do(make_pool: MakePool) -> None:
    pool = make_pool(3, name="shop")
    began, free = threading.Event(), threading.Event()
    stuck = Task(name="42", work=lambda worker: a_function_in_which_the_worker_is_stuck(began, free))
    lender = Lender(name="upload")
    assert pool.dump(0.0) == ""
    pool.submit(stuck)
    assert began.wait(PATIENCE)
    pool.submit(lender)
    assert lender.asked.wait(PATIENCE)
    dump = pool.dump(older_than=0.0)
    first, second = dump.split("\n\n") if "\n\n" in dump else dump.split("\nshop-2", 1)
    assert re.match(r"shop-1: task 42, for \d+\.\d s", first)
    assert "in a_function_in_which_the_worker_is_stuck" in first
    assert "free.wait(PATIENCE)" in first
    assert "slot lent" in second
    assert "slot lent" not in first
    assert pool.dump(older_than=1000.0) == ""
    free.set()
    lender.let_go()
    stuck.wait()
    lender.wait()
    eventually(lambda: pool.stats().idle == 2)
    assert pool.dump(0.0) == "", "idle workers are of no interest"


def test_the_dump_counts_from_the_start_of_the_job(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1)
    (task,) = fill(pool, 1)
    clock.now += 3.0
    assert pool.dump(older_than=3.1) == ""
    assert "for 3.0 s" in pool.dump(older_than=2.9)
    task.let_go()


def test_a_dump_by_a_worker_keeps_nothing_alive(make_pool: MakePool) -> None:
    """A frame that holds itself would keep the whole request until the next garbage collection."""
    pool = make_pool(1)

    class Held:
        pass

    alive: list[weakref.ref[Held]] = []

    def look(worker: Worker) -> None:
        held = Held()
        alive.append(weakref.ref(held))
        assert "in look" in pool.dump(0.0)

    gc.disable()
    try:
        task = Task(work=look)
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
        assert alive[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_signal_handler_may_ask_for_the_dump_whatever_it_interrupts(make_pool: MakePool) -> None:
    """The natural way to look at a server that is stuck; the handler may interrupt the pool itself."""
    pool = make_pool(1)
    (task,) = fill(pool, 1)
    dumps: list[str] = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: dumps.append(pool.dump(0.0)))
    try:
        with pool._core.lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert "task held 0" in dumps[0]
    task.let_go()


# -- jobs that fail


class Odd(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        Odd("x"),
        SystemExit("x"),
        KeyboardInterrupt("x"),
        StopIteration("x"),
        GeneratorExit("x"),
    ],
)
def test_a_job_that_raises_costs_no_thread(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(worker: Worker) -> None:
        raise error

    pool = make_pool(1)
    failing, next_ = Task(work=fail), Task()
    pool.submit(failing)
    pool.submit(next_)
    next_.wait()
    assert next_.thread is failing.thread
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error
    eventually(lambda: pool.stats().completed == 2)
    assert pool.stats().busy == 0


def test_a_lent_slot_comes_back_from_a_job_that_raises(make_pool: MakePool) -> None:
    def fail(worker: Worker) -> None:
        worker.lend_slot()
        raise ValueError

    pool = make_pool(1, streams=1)
    for _ in range(3):
        task = Task(work=fail)
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
        assert (pool.stats().busy, pool.stats().streaming) == (0, 0)


# -- threads that cannot be started


def test_jobs_are_refused_if_no_thread_can_be_started_at_all(make_pool: MakePool, starts: Starts) -> None:
    pool = make_pool(2)
    starts.error = RuntimeError("can't start new thread")
    task = Task()
    pool.submit(task)
    assert type(task.error) is PoolError
    assert "can't start new thread" in str(task.error)
    stats = pool.stats()
    assert (stats.threads, stats.busy, stats.queued, stats.rejected) == (0, 0, 0, 1)
    starts.error, starts.hold = None, False
    again = Task()
    pool.submit(again)
    again.wait()
    assert again.error is None, "the pool has recovered"


def test_jobs_wait_for_a_running_worker_if_no_second_can_be_started(
    make_pool: MakePool, starts: Starts
) -> None:
    pool = make_pool(4)
    starts.hold = False
    (first,) = fill(pool, 1)
    starts.error = RuntimeError("can't start new thread")
    log = Log()
    tasks = [Task(log, number) for number in range(3)]
    for task in tasks:
        pool.submit(task)
    assert pool.stats().queued == 3
    first.let_go()
    for task in tasks:
        task.wait()
    assert log.names() == [0, 1, 2]


def test_a_worker_that_cannot_wake_the_next_runs_its_own_job(make_pool: MakePool, starts: Starts) -> None:
    pool = make_pool(4)
    log = Log()
    tasks = [Task(log, number) for number in range(3)]
    for task in tasks:
        pool.submit(task)
    starts.error = RuntimeError("can't start new thread")
    starts.real(*starts.asked.pop())
    for task in tasks:
        task.wait()
    assert log.names() == [0, 1, 2]
    starts.error, starts.hold = None, False


def test_the_governor_tries_again_and_expires_jobs_when_a_thread_could_not_be_started(
    make_pool: MakePool, clock: Clock, meter: FixedMeter, starts: Starts
) -> None:
    """A stuck worker and a momentary lack of threads must not leave a job without anybody who watches."""
    pool = make_pool(4, queue_timeout=5.0)
    starts.hold = False
    (first,) = fill(pool, 1)

    def no_workers(target: Callable[[Any], object], argument: Any, name: str | None = None) -> None:
        if isinstance(argument, Worker):
            raise RuntimeError("can't start new thread")
        real(target, argument, name)

    real = starts.real
    starts.real = no_workers
    expires, runs = Task(), Task()
    pool.submit(expires)
    clock.step(5.1, at_rest=lambda: pool._core.governor_rests)
    assert isinstance(expires.error, QueueTimeout)
    pool.submit(runs)
    clock.step(0.01)
    assert not runs.over.is_set()
    starts.real = real
    clock.step(0.01)
    runs.wait()
    assert runs.error is None
    first.let_go()


def test_jobs_run_without_a_governor_if_that_cannot_be_started(
    make_pool: MakePool, meter: FixedMeter, starts: Starts
) -> None:
    pool = make_pool(2)
    starts.hold = False
    tasks = fill(pool, 2)
    for task in tasks:
        task.let_go()
    eventually(lambda: pool.stats().idle == 2)
    meter.was_burning = True
    starts.error = RuntimeError("can't start new thread")
    (first,) = fill(pool, 1)
    other = Task()
    pool.submit(other)
    other.wait()
    assert other.thread is not first.thread, "an idle worker is there, and nobody would wake it later"
    first.let_go()


def test_a_worker_wakes_the_next_itself_if_no_governor_can_be_started(
    make_pool: MakePool, meter: FixedMeter, starts: Starts
) -> None:
    pool = make_pool(2)
    tasks = [Task(held=True), Task(held=True)]
    for task in tasks:
        pool.submit(task)
    meter.was_burning = True
    real = starts.real

    def no_governor(target: Callable[[Any], object], argument: Any, name: str | None = None) -> None:
        if not isinstance(argument, Worker):
            raise RuntimeError("can't start new thread")
        real(target, argument, name)

    starts.real, starts.hold = no_governor, False
    starts.let_one_start()
    for task in tasks:
        task.wait_begin()
    for task in tasks:
        task.let_go()


# -- the end


def test_drain_waits_for_running_and_waiting_jobs_and_ends_the_threads(make_pool: MakePool) -> None:
    pool = make_pool(2, name="drained")
    running = fill(pool, 2)
    waiting = Task(held=True)
    pool.submit(waiting)
    drained = Thread(lambda: pool.drain(PATIENCE))
    eventually(lambda: pool._core.quiet)
    running[0].let_go()
    waiting.wait_begin()
    running[1].let_go()
    eventually(lambda: pool.stats().idle == 1)
    assert not drained.over
    waiting.let_go()
    assert drained.outcome()
    eventually(lambda: not [each for each in threads_named("drained-") if "governor" not in each.name])

    again = Task()
    pool.submit(again)
    again.wait()
    assert again.error is None, "the pool stays usable"


def test_drain_gives_up_on_a_stuck_worker(make_pool: MakePool) -> None:
    pool = make_pool(3)
    stuck, *others = fill(pool, 3)
    for task in others:
        task.let_go()
    assert not pool.drain(0.01)
    assert not pool.drain(0)
    assert not pool.drain(-5)
    eventually(lambda: pool.stats().threads == 1, "the others' threads end all the same")
    assert pool._core.quiet == [], "who gave up is not told later"
    stuck.let_go()
    assert pool.drain(PATIENCE)


def test_drain_counts_lent_slots_as_running(make_pool: MakePool) -> None:
    pool = make_pool(2)
    lender = Lender()
    pool.submit(lender)
    assert lender.asked.wait(PATIENCE)
    assert not pool.drain(0.01)
    (busy,) = fill(pool, 1)
    drained = Thread(lambda: pool.drain(PATIENCE))
    eventually(lambda: pool._core.quiet)
    busy.let_go()
    eventually(lambda: pool.stats().idle == 1)
    assert pool._core.quiet, "one job still runs"
    lender.let_go()
    assert drained.outcome()


def test_drain_ends_when_the_last_waiting_job_is_cancelled_or_expires(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, queue_timeout=1.0)
    (first,) = fill(pool, 1)
    waiting = Task()
    pool.submit(waiting)
    drained = Thread(lambda: pool.drain(PATIENCE))
    eventually(lambda: pool._core.quiet)
    clock.step(1.1, at_rest=lambda: pool._core.governor_rests)
    waiting.wait()
    first.let_go()
    assert drained.outcome()


@pytest.mark.parametrize("timeout", [float("inf"), 1e30, None])
def test_drain_takes_any_number_of_seconds(make_pool: MakePool, timeout: float | None) -> None:
    pool = make_pool(1)
    (task,) = fill(pool, 1)
    drained = Thread(lambda: pool.drain(timeout))
    eventually(lambda: pool._core.quiet)
    task.let_go()
    assert drained.outcome()


def test_several_may_drain_at_once(make_pool: MakePool) -> None:
    pool = make_pool(1)
    (task,) = fill(pool, 1)
    drained = [Thread(lambda: pool.drain(PATIENCE)) for _ in range(4)]
    eventually(lambda: len(pool._core.quiet) == 4)
    task.let_go()
    assert [thread.outcome() for thread in drained] == [True] * 4


def test_closing_refuses_what_waits_and_what_comes_but_lets_running_jobs_end(make_pool: MakePool) -> None:
    pool = make_pool(1)
    (running,) = fill(pool, 1)
    waiting = [Task(), Task()]
    for task in waiting:
        pool.submit(task)
    assert not pool.close(0)
    assert all(isinstance(task.error, PoolClosed) for task in waiting)
    with pytest.raises(PoolClosed):
        pool.submit(Task())
    assert pool.stats().rejected == 2
    running.let_go()
    assert pool.close(PATIENCE)
    assert running.error is None
    eventually(lambda: pool.stats().threads == 0)


def test_a_pool_is_a_context_manager(make_pool: MakePool) -> None:
    with make_pool(1) as pool:
        task = Task()
        pool.submit(task)
    assert task.over.is_set()
    with pytest.raises(PoolClosed):
        pool.submit(Task())


def test_a_worker_woken_for_a_job_that_is_gone_goes_idle(make_pool: MakePool, starts: Starts) -> None:
    pool = make_pool(2)
    task = Task()
    pool.submit(task)
    assert pool.cancel(task)
    starts.hold = False
    starts.let_one_start()
    eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().busy == 0
    again = Task()
    pool.submit(again)
    again.wait()


def test_a_worker_that_is_being_woken_while_the_pool_closes_ends(make_pool: MakePool, starts: Starts) -> None:
    pool = make_pool(2)
    task = Task()
    pool.submit(task)
    assert not pool.close(0)
    assert isinstance(task.error, PoolClosed)
    starts.hold = False
    starts.let_one_start()
    eventually(lambda: pool.stats().threads == 0)
    assert pool.close(0)


def test_a_pool_that_is_dropped_ends_its_idle_threads() -> None:
    pool = ThreadPool(2, name="dropped")
    core = pool._core
    for task in fill(pool, 2):
        task.let_go()
    eventually(lambda: len(core.idle) == 2)
    del pool
    eventually(lambda: not threads_named("dropped-"))


def test_a_pool_that_is_dropped_lets_running_jobs_end() -> None:
    pool = ThreadPool(1, name="dropped-busy")
    (running,) = fill(pool, 1)
    waiting = Task()
    pool.submit(waiting)
    del pool
    waiting.wait()
    assert isinstance(waiting.error, PoolClosed)
    assert threads_named("dropped-busy-1")
    running.let_go()
    running.wait()
    assert running.error is None
    eventually(lambda: not threads_named("dropped-busy-1"))


def test_a_pool_may_be_collected_in_the_middle_of_its_own_bookkeeping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The garbage collector runs wherever memory is asked for, the pool's lock held or not."""
    pool = ThreadPool(2, name="collected")
    core = pool._core
    tasks = fill(pool, 2)
    tasks[1].let_go()
    eventually(lambda: core.idle)
    cycle: list[Any] = [pool]
    cycle.append(cycle)
    collected = threading.Event()
    pop = core._pop

    def collecting() -> Job | None:
        gc.collect()
        collected.set()
        return pop()

    monkeypatch.setattr(core, "_pop", collecting)
    del pool, cycle
    tasks[0].let_go()
    assert collected.wait(PATIENCE)
    eventually(lambda: not threads_named("collected-"))
    assert core.closed


# -- nothing of a request outlives it


def test_an_idle_worker_keeps_no_job_alive(make_pool: MakePool) -> None:
    pool = make_pool(2)
    gc.disable()
    try:
        task = Task()
        alive = weakref.ref(task)
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
        del task
        assert alive() is None
    finally:
        gc.enable()


def test_an_idle_worker_keeps_no_job_alive_that_raised(make_pool: MakePool) -> None:
    pool = make_pool(1)
    logging.getLogger("bridge.pool").addFilter(silent := lambda record: False)
    gc.disable()
    try:
        task = Task(work=lambda worker: 1 / 0)
        alive = weakref.ref(task)
        pool.submit(task)
        task.wait()
        eventually(lambda: pool.stats().idle == 1)
        del task
        assert alive() is None
    finally:
        gc.enable()
        logging.getLogger("bridge.pool").removeFilter(silent)


def test_a_resting_governor_keeps_no_refused_job_alive(
    make_pool: MakePool, clock: Clock, meter: FixedMeter
) -> None:
    pool = make_pool(1, queue_timeout=1.0)
    (first,) = fill(pool, 1)
    gc.disable()
    try:
        task = Task()
        alive = weakref.ref(task)
        pool.submit(task)
        clock.step(1.1, at_rest=lambda: pool._core.governor_rests)
        task.wait()
        del task
        eventually(lambda: alive() is None)
    finally:
        gc.enable()
    first.let_go()


# -- forks


FORK = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)   # forking beside threads is what is tested
from bridge import ThreadPool
from bridge.engines.thread_pool import Job

class Call(Job):
    def __init__(self, function):
        super().__init__()
        self.function, self.over, self.error = function, threading.Event(), None
    def run(self, worker):
        try:
            self.function(worker)
        finally:
            self.over.set()
    def refuse(self, error):
        self.error = error
        self.over.set()

def call(pool, function=lambda worker: None):
    job = Call(function)
    pool.submit(job)
    assert job.over.wait(20), "the job did not run"
    assert job.error is None, job.error

def in_child(function):
    '''The child's exit status; 97 if it raised.'''
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 97
    try:
        status = function() or 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
"""


@forks
def test_a_forked_child_begins_anew() -> None:
    """Idle, busy and waiting: none of the parent's threads exists in the child, and no job is run twice."""
    script(
        FORK
        + """
pool = ThreadPool(2)
free = threading.Event()
ran = []
busy = [Call(lambda worker: free.wait(20)) for _ in range(2)]
for job in busy:
    pool.submit(job)
waiting = Call(lambda worker: ran.append(os.getpid()))
pool.submit(waiting)

def child():
    stats = pool.stats()
    assert stats[:8] == (0,) * 8, stats
    assert not pool.cancel(waiting), "it is the parent's"
    assert pool.drain(0), "there is nothing to wait for"
    for _ in range(5):
        call(pool)
    assert pool.stats().busy <= 1 and pool.stats().queued == 0, pool.stats()
    assert pool.close(20)
    assert ran == []

assert in_child(child) == 0
free.set()
assert waiting.over.wait(20)
assert pool.drain(20)
assert ran == [os.getpid()]
"""
    )


@forks
def test_a_fork_while_the_lock_is_held_does_not_lock_the_child() -> None:
    script(
        FORK
        + """
pool = ThreadPool(2)
call(pool)
held, free = threading.Event(), threading.Event()
def hold():
    with pool._core.lock:
        held.set()
        free.wait(20)
thread = threading.Thread(target=hold)
thread.start()
assert held.wait(20)
assert in_child(lambda: call(pool)) == 0
free.set()
thread.join()
"""
    )


@forks
@pytest.mark.parametrize("lend", [False, True], ids=["", "lent"])
def test_a_job_that_forks_leaves_sound_counts_in_the_child(lend: bool) -> None:
    """The child goes on in the job, in the only thread it has."""
    script(
        FORK
        + f"""
lend = {lend}
pool = ThreadPool(2)
results = []

def job(worker):
    if lend:
        worker.lend_slot()
    def child():
        worker.lend_slot()
        worker.note_streaming()
        stats = pool.stats()
        assert stats[:8] == (0,) * 8, stats
        call(pool)
        assert pool.drain(20), pool.stats()
        stats = pool.stats()
        assert (stats.busy, stats.streaming, stats.queued) == (0, 0, 0), stats
    results.append(in_child(child))

call(pool, job)
assert results == [0], results
assert pool.drain(20)
"""
    )


@forks
@pytest.mark.parametrize("lend", [False, True], ids=["", "lent"])
def test_a_child_that_returns_from_the_job_in_which_it_was_forked_ends(lend: bool) -> None:
    """It must not go on as a worker beside its parent, whatever its pool looks like."""
    script(
        FORK
        + f"""
lend = {lend}
import time
pool = ThreadPool(2)
read, write = os.pipe()
pids = []

def job(worker):
    if lend:
        worker.lend_slot()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        pids.append(pid)
        return
    # What the only thread leaves behind when it ends cannot be asked from within it. So look from
    # another one, which ends the process.
    def look(core=pool._core):
        time.sleep(0.2)
        stats = (core.busy, core.lent, core.waiting, core.started, core.completed, len(core.workers))
        os.write(write, repr(stats).encode())
        os._exit(0)
    threading.Thread(target=look, daemon=True).start()

call(pool, job)
os.waitpid(pids[0], 0)
assert os.read(read, 100) == b"(0, 0, 0, 0, 0, 0)", "the child's counts drifted"
assert pool.drain(20)
"""
    )


@forks
def test_a_closed_pool_stays_closed_in_a_child() -> None:
    script(
        FORK
        + """
from bridge.exceptions import PoolClosed
pool = ThreadPool(2)
call(pool)
pool.close()
def child():
    try:
        call(pool)
    except PoolClosed:
        return 0
    return 1
assert in_child(child) == 0
"""
    )


@forks
def test_a_fork_while_the_governor_runs_or_rests_leaves_the_child_able_to_have_one() -> None:
    script(
        FORK
        + """
import time
def saturate():
    jobs = [Call(lambda worker: time.sleep(0.005)) for _ in range(20)]
    for job in jobs:
        pool.submit(job)
    return jobs
pool = ThreadPool(1, queue_timeout=0.03)
def child():
    free = threading.Event()
    held = []
    while not held:  # it may have to wait too long itself
        job = Call(lambda worker: held.append(1) or free.wait(20))
        pool.submit(job)
        while not held and job.error is None:
            time.sleep(0.001)
    expired = Call(None)
    pool.submit(expired)
    assert expired.over.wait(20), "no governor watches"
    assert "free within" in str(expired.error)
    free.set()
    assert pool.drain(20)
jobs = saturate()
assert in_child(child) == 0
for job in jobs:
    assert job.over.wait(20)
while not pool._core.governor_rests:
    time.sleep(0.001)
assert in_child(child) == 0
"""
    )


# -- the interpreter's exit


EXIT = """
import threading, time
from bridge import ThreadPool
from bridge.engines.thread_pool import Job

class Call(Job):
    def __init__(self, function=lambda worker: None):
        super().__init__()
        self.function, self.began = function, threading.Event()
    def run(self, worker):
        self.began.set()
        self.function(worker)
    def refuse(self, error):
        pass

stuck = threading.Event()
pool = ThreadPool(2)
"""


@pytest.mark.parametrize(
    "situation",
    [
        "job = Call(lambda worker: stuck.wait()); pool.submit(job); job.began.wait(20)",
        "job = Call(); pool.submit(job); job.began.wait(20)",
        "for _ in range(9): pool.submit(Call(lambda worker: stuck.wait()))\ntime.sleep(0.05)",
        "job = Call(lambda worker: (worker.lend_slot(), stuck.wait())); pool.submit(job); job.began.wait(20)",
        "job = Call(lambda worker: pool.drain()); pool.submit(job); job.began.wait(20)",
        "import atexit; atexit.register(lambda: pool.submit(Call(lambda worker: stuck.wait())))",
        "import atexit; atexit.register(pool.close, 0.1); pool.submit(Call(lambda worker: stuck.wait()))",
        "for _ in range(200): pool.submit(Call(lambda worker: sum(range(1000))))",
    ],
    ids=[
        "stuck worker",
        "idle worker",
        "waiting jobs and governor",
        "lent slot",
        "a worker that drains its own pool",
        "job submitted at exit",
        "closed at exit",
        "busy pool",
    ],
)
def test_nothing_in_the_pool_holds_up_the_exit(situation: str) -> None:
    assert script(f"{EXIT}\n{situation}\nprint('end')", timeout=20) == "end\n"


# -- everything at once


@pytest.mark.req("W-29")
@pytest.mark.parametrize("seed", range(4))
def test_every_job_has_exactly_one_fate(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Several threads submit, cancel, lend, stream and fail at random, against a time-out and a bound."""
    monkeypatch.setattr(thread_pool, "_FIRST_LOOK", 0.0001)
    monkeypatch.setattr(thread_pool, "_SLOWEST_LOOK", 0.001)
    monkeypatch.setattr(thread_pool, "_GOVERNOR_REST", 0.002)
    monkeypatch.setattr(thread_pool, "STREAMING_LONG", 0.001)
    logging.getLogger("bridge.pool").addFilter(silent := lambda record: False)
    pool = make_pool(3, streams=2, queue=9, queue_timeout=0.02)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    fates: list[list[tuple[Task, str]]] = [[] for _ in range(4)]
    wrong: list[PoolStats] = []

    def client(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        outstanding: list[Task] = []
        for _ in range(250):
            kind = chance.choice(["quick", "quick", "lend", "stream", "fail", "sleep"])
            if chance.random() < 0.01:
                kind = "long"

            def work(worker: Worker, kind: str = kind) -> None:
                if kind == "lend":
                    worker.lend_slot()
                elif kind == "stream":
                    worker.note_streaming()
                    time.sleep(0.003)
                elif kind == "fail":
                    raise Odd
                elif kind == "sleep":
                    time.sleep(0.001)
                elif kind == "long":
                    time.sleep(0.05)

            task = Task(Log(), kind, work)
            try:
                pool.submit(task)
            except PoolFull:
                fates[number].append((task, "full"))
                if outstanding:
                    outstanding.pop(0).wait()
                continue
            if chance.random() < 0.3:
                if chance.random() < 0.5:
                    time.sleep(0.0005)
                if pool.cancel(task):
                    fates[number].append((task, "cancelled"))
                    continue
            fates[number].append((task, "taken"))
            outstanding.append(task)
            if len(outstanding) > chance.randrange(5):
                outstanding.pop(0).wait()
            stats = pool.stats()
            if not (
                0 <= stats.busy <= 3
                and 0 <= stats.streaming <= 2
                and stats.queued >= 0
                and 0 <= stats.idle <= 3
                and stats.completed <= stats.started
            ):
                wrong.append(stats)

    try:
        clients = [Thread(lambda number=number: client(number)) for number in range(4)]  # type: ignore[misc]
        for each_client in clients:
            each_client.outcome()
        for each in fates:
            for task, fate in each:
                if fate == "taken":
                    task.wait()
        assert pool.drain(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
        logging.getLogger("bridge.pool").removeFilter(silent)
    assert wrong == []
    counted = {"full": 0, "cancelled": 0, "run": 0, "refuse": 0}
    for each in fates:
        for task, fate in each:
            entries = [what for what, _ in task._log.entries]
            if fate == "taken":
                assert entries in (["run"], ["refuse"])
                counted[entries[0]] += 1
            else:
                assert entries == []
                counted[fate] += 1
    stats = pool.stats()
    assert stats.started == stats.completed == counted["run"]
    assert stats.rejected == counted["full"] + counted["refuse"]
    # How many of each depends on the machine.
    assert 0 not in (counted["run"], counted["cancelled"]), f"the test has lost its variety: {counted}"


# -- whether a job has to wait for the end of another one


def test_a_pool_knows_its_workers(make_pool: MakePool) -> None:
    pool, other = make_pool(1), make_pool(1)
    assert None not in pool
    seen: list[bool] = []
    task = Task(work=lambda worker: seen.extend((worker in pool, worker in other)))
    pool.submit(task)
    task.wait()
    assert seen == [True, False]


def test_a_pool_is_saturated_while_jobs_wait_for_the_end_of_others(make_pool: MakePool) -> None:
    pool = make_pool(2)
    seen = [pool.saturated]
    first = fill(pool, 1)
    seen.append(pool.saturated)
    second = fill(pool, 1)
    seen.append(pool.saturated)
    waiting = Task()
    pool.submit(waiting)
    seen.append(pool.saturated)
    assert pool.cancel(waiting)
    seen.append(pool.saturated)
    again = Task()
    pool.submit(again)
    seen.append(pool.saturated)
    first[0].let_go()
    again.wait()
    seen.append(pool.saturated)
    second[0].let_go()
    assert seen == [False, False, False, True, False, True, False]


def test_a_job_for_which_a_worker_is_being_woken_saturates_nothing(
    make_pool: MakePool, starts: Starts
) -> None:
    """Its slot has been taken for it already, though it still waits."""
    pool = make_pool(2)
    first = Task(held=True)
    pool.submit(first)
    assert len(starts.asked) == 1
    seen = [pool.saturated]
    second = Task(held=True)
    pool.submit(second)
    seen.append(pool.saturated)  # one slot is being taken, one is free: both find a place
    third = Task()
    pool.submit(third)
    seen.append(pool.saturated)
    assert seen == [False, False, True]
    starts.hold = False
    for target, argument, name in starts.asked:
        starts.real(target, argument, name)
    for task in (first, second, third):
        task.let_go()
        task.wait()
    assert not pool.saturated


def test_a_slot_that_was_lent_is_free_for_another_job(make_pool: MakePool) -> None:
    pool = make_pool(1, streams=1)
    lent = threading.Event()

    def lend(worker: Worker) -> None:
        worker.lend_slot()
        lent.set()
        assert go_on.wait(PATIENCE)

    go_on = threading.Event()
    stream = Task(work=lend)
    pool.submit(stream)
    assert lent.wait(PATIENCE)
    (busy,) = fill(pool, 1)
    seen = [pool.saturated]
    waiting = Task()
    pool.submit(waiting)
    seen.append(pool.saturated)
    busy.let_go()
    go_on.set()
    waiting.wait()
    assert seen == [False, True]


def test_nesting_on_a_pool_of_one_is_always_noticed(make_pool: MakePool) -> None:
    """Each job, from inside, queues the next one: that one has to wait, and the pool says so."""
    pool = make_pool(1)
    seen: list[bool] = []

    def nest(worker: Worker) -> None:
        inner = Task()
        pool.submit(inner)
        seen.append(pool.saturated)
        assert pool.cancel(inner)

    for _ in range(50):
        outer = Task(work=nest)
        pool.submit(outer)
        outer.wait()
    assert seen == [True] * 50
