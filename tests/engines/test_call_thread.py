"""A request's own thread: one for all its jobs, given back at the end, kept for the next request."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.engines import PATIENCE, eventually, script

from bridge.engines import call_thread
from bridge.engines.call_thread import CallThread


class Task:
    """A job that runs a function, and tells where."""

    bound_to: object = None

    def __init__(self, function: Callable[[], object] = lambda: None) -> None:
        self.function = function
        self.ident = 0
        self.done = threading.Event()

    def run(self, worker: None, /) -> None:
        self.ident = threading.get_ident()
        try:
            self.function()
        finally:
            self.done.set()

    def displaced(self) -> None:
        raise AssertionError("what was taken is run")

    def wanted(self) -> bool:
        return not self.done.is_set()

    def wait(self) -> int:
        assert self.done.wait(PATIENCE)
        return self.ident


@pytest.fixture(autouse=True)
def no_idle_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins without idle threads, and ends when its own are idle or gone."""
    monkeypatch.setattr(call_thread, "_idle_of", {})
    before = set(threading.enumerate())
    yield

    def all_idle() -> bool:
        mine = [found for found in set(threading.enumerate()) - before if found.name == "bridge-call"]
        return len(mine) <= idle()

    eventually(all_idle, "each thread is given back")


def idle() -> int:
    return len(call_thread._idle())


def test_there_is_no_thread_before_the_first_job() -> None:
    before = set(threading.enumerate())
    thread = CallThread()
    thread.close()
    assert set(threading.enumerate()) <= before
    assert thread.ident == 0


def test_jobs_run_in_order_in_one_thread_that_is_a_daemon() -> None:
    seen: list[int] = []
    daemons: list[bool] = []
    thread = CallThread()
    tasks = [Task(lambda n=n: seen.append(n)) for n in range(20)]  # type: ignore[misc]
    tasks.append(Task(lambda: daemons.append(threading.current_thread().daemon)))
    assert all(thread.offer(task) for task in tasks)
    assert len({task.wait() for task in tasks}) == 1
    assert tasks[0].ident == thread.ident != threading.get_ident()
    assert seen == list(range(20))
    assert daemons == [True]
    thread.close()


def test_two_requests_have_two_threads_at_a_time() -> None:
    barrier = threading.Barrier(2)
    threads = [CallThread(), CallThread()]
    tasks = [Task(lambda: barrier.wait(PATIENCE)) for _ in threads]
    for thread, task in zip(threads, tasks, strict=True):
        assert thread.offer(task)
    assert len({task.wait() for task in tasks}) == 2
    for thread in threads:
        thread.close()


def test_the_next_request_has_the_thread_of_the_one_that_is_over() -> None:
    """So what code keeps for each thread survives."""
    idents = []
    for _ in range(3):
        thread, task = CallThread(), Task()
        assert thread.offer(task)
        idents.append(task.wait())
        thread.close()
        eventually(lambda: idle() == 1, "the thread is given back")
    assert len(set(idents)) == 1


def test_a_thread_is_not_given_back_before_the_end() -> None:
    first, task = CallThread(), Task()
    assert first.offer(task)
    task.wait()
    second, other = CallThread(), Task()
    assert second.offer(other)
    assert other.wait() != task.ident
    first.close()
    second.close()


def test_what_was_taken_before_the_end_is_run_and_nothing_is_taken_after() -> None:
    goes_on = threading.Event()
    thread = CallThread()
    blocks, waits = Task(lambda: goes_on.wait(PATIENCE)), Task()
    assert thread.offer(blocks)
    assert thread.offer(waits)
    thread.close()
    assert not thread.offer(Task())
    goes_on.set()
    assert waits.wait() == blocks.ident


def test_offers_that_race_with_the_end_are_run_or_refused() -> None:
    for _ in range(300):
        thread = CallThread()
        barrier = threading.Barrier(2)
        tasks = [Task() for _ in range(5)]
        taken: list[Task] = []

        def offers(thread: CallThread = thread, tasks: list[Task] = tasks, taken: list[Task] = taken) -> None:
            barrier.wait(PATIENCE)  # noqa: B023
            taken += [task for task in tasks if thread.offer(task)]

        other = threading.Thread(target=offers)
        other.start()
        barrier.wait(PATIENCE)
        thread.close()
        other.join(PATIENCE)
        for task in taken:
            task.wait()


def test_a_job_that_raises_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise SystemExit("inside")

    thread, after = CallThread(), Task()
    assert thread.offer(Task(fails))
    assert thread.offer(after)
    after.wait()
    thread.close()
    assert "a job of a request's thread raised" in caplog.text


def test_an_idle_thread_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_thread, "IDLE", 0.02)
    thread, task = CallThread(), Task()
    assert thread.offer(task)
    ident = task.wait()
    thread.close()
    eventually(lambda: not any(found.ident == ident for found in threading.enumerate()), "it ends")
    assert idle() == 0


def test_threads_taken_in_the_moment_in_which_they_end_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_thread, "IDLE", 0.0005)
    for _ in range(300):
        thread, task = CallThread(), Task()
        assert thread.offer(task)
        task.wait()
        thread.close()


def test_without_threads_to_be_had_jobs_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(call_thread, "start_native_thread", refuse)
    thread = CallThread()
    assert not thread.offer(Task())
    monkeypatch.undo()
    task = Task()
    assert thread.offer(task)
    task.wait()
    thread.close()


def test_nothing_of_a_request_is_kept_with_its_idle_thread() -> None:
    class Thing:
        def __call__(self) -> None: ...

    thing = Thing()
    gone = weakref.ref(thing)
    thread, task = CallThread(), Task(thing)
    assert thread.offer(task)
    task.wait()
    owner = weakref.ref(task)
    thread.close()
    eventually(lambda: idle() == 1, "the thread is given back")
    del thing, task, thread
    eventually(lambda: gone() is None and owner() is None, "nothing refers to them")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    script(
        """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
from bridge.engines import call_thread

class Task:
    def __init__(self):
        self.done = threading.Event()
    def run(self, worker):
        self.done.set()

def use():
    thread, task = call_thread.CallThread(), Task()
    assert thread.offer(task)
    assert task.done.wait(20)
    thread.close()

use()
while not call_thread._idle():
    pass
pid = os.fork()
if not pid:
    status = 97
    try:
        assert not call_thread._idle()
        use()
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
use()
"""
    )
