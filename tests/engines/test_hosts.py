"""Threads that wait, as places for work: which one gets it, what asgiref makes of them, who is refused."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.current_thread_executor import CurrentThreadExecutor
from support.engines import PATIENCE, Thread

from bridge.engines import asgiref_notes
from bridge.engines.hosts import (
    ForeignHost,
    Host,
    bound_call,
    innermost_host,
    offer,
    request_host,
    runs_below,
)
from bridge.engines.waiting_thread import WaitingThread
from bridge.exceptions import WouldDeadlock


@pytest.fixture(autouse=True)
def prepared() -> None:
    asgiref_notes.prepare()


class Noted:
    """A job that notes what becomes of it."""

    bound_to: object = None

    def __init__(self) -> None:
        self.fates: list[str] = []

    def run(self, worker: None, /) -> None:
        self.fates.append(f"run in {threading.current_thread().name}")

    def displaced(self) -> None:
        self.fates.append("displaced")

    def wanted(self) -> bool:
        return not self.fates


class Fake(Host):
    """A host that takes jobs or not, and notes that it was asked."""

    def __init__(
        self,
        asked: list[str],
        name: str,
        above: Host | None = None,
        *,
        takes: bool = True,
        over: bool | None = None,
        mine: bool = False,
    ) -> None:
        self._asked = asked
        self.name = name
        self.above = above
        self.takes = takes
        self._over = not takes if over is None else over
        self._mine = mine
        self.jobs: list[Any] = []

    def offer(self, job: Any) -> bool:
        self._asked.append(self.name)
        if self.takes:
            self.jobs.append(job)
        return self.takes

    def is_current(self) -> bool:
        return self._mine

    @property
    def over(self) -> bool:
        return self._over


def never() -> None:
    raise AssertionError("nothing to look for")


# -- offer: which of several gets the job


@pytest.mark.parametrize(
    ("takes", "asked", "taken"),
    [
        ("", [], False),
        ("y", ["0"], True),
        ("n", ["0"], False),
        ("yy", ["0"], True),
        ("ny", ["0", "1"], True),
        ("nny", ["0", "1", "2"], True),
        ("nyy", ["0", "1"], True),
        ("nnn", ["0", "1", "2"], False),
    ],
)
def test_the_nearest_that_still_waits_gets_the_job(takes: str, asked: list[str], taken: bool) -> None:
    seen: list[str] = []
    hosts: list[Fake] = []
    above: Host | None = None
    for number in reversed(range(len(takes))):
        above = Fake(seen, str(number), above, takes=takes[number] == "y")
        hosts.insert(0, above)
    job = Noted()
    assert offer(above, job) is taken
    assert seen == asked
    assert [given for host in hosts for given in host.jobs] == ([job] if taken else [])
    assert job.fates == [], "running it, or finding another place, is for others"


def test_the_caller_s_own_wait_is_refused_as_it_would_wait_for_itself() -> None:
    """A function that runs in the waiting thread has started a loop there, which awaits the call."""
    seen: list[str] = []
    host = Fake(seen, "mine", mine=True)
    with pytest.raises(WouldDeadlock, match="async_to_sync"):
        offer(host, Noted())
    assert seen == []


def test_the_caller_s_own_wait_above_others_that_are_over_is_refused_as_well() -> None:
    seen: list[str] = []
    mine = Fake(seen, "mine", mine=True)
    with pytest.raises(WouldDeadlock):
        offer(Fake(seen, "over", mine, takes=False), Noted())
    assert seen == ["over"]
    assert mine.jobs == []


def test_what_need_not_run_there_is_left_where_it_is_instead() -> None:
    """A call that waits in a pool's queue anyway."""
    seen: list[str] = []
    mine = Fake(seen, "mine", mine=True)
    assert not offer(mine, Noted(), must=False)
    assert seen == []


def test_a_job_knows_the_thread_that_it_was_given_to() -> None:
    job = Noted()
    host = Fake([], "takes")
    assert offer(host, job)
    assert job.bound_to is host
    assert not offer(Fake([], "over", takes=False), job)
    assert job.bound_to is None


def test_code_of_a_job_that_a_thread_runs_can_not_wait_for_that_thread() -> None:
    """Not even from another thread; once the job is done, it can."""

    class Call:
        bound_to: object = None
        done = False

    host, call = Fake([], "busy"), Call()
    call.bound_to = host

    def check() -> None:
        bound_call.set(call)
        assert runs_below(call, host)
        with pytest.raises(WouldDeadlock):
            offer(host, Noted())
        assert host.jobs == []
        call.done = True
        assert not runs_below(call, host)
        assert offer(host, Noted())

    in_new_context(check)
    assert not runs_below(None, host)


def test_a_wait_of_the_caller_s_thread_that_is_over_is_passed_over() -> None:
    """Its thread may have gone on to anything, a loop among it."""
    seen: list[str] = []
    other = Fake(seen, "other")
    mine = Fake(seen, "mine", other, takes=False, mine=True)
    assert offer(mine, Noted())
    assert other.jobs


def test_real_waits_hand_on_to_the_one_above_when_they_are_over() -> None:
    outer = WaitingThread(None)
    inner = WaitingThread(outer)
    inner.finish()
    inner.wait(never)
    job = Noted()

    def beside() -> None:
        assert offer(inner, job)
        outer.finish()

    thread = Thread(beside)
    outer.wait(never)
    thread.outcome()
    assert job.fates == [f"run in {threading.current_thread().name}"]
    assert Thread(lambda: offer(inner, Noted())).outcome() is False


# -- hosts as executors, as asgiref uses them


def waiting(use: Callable[[WaitingThread], object]) -> Any:
    """`use` a thread that waits, from another thread; return what it returns."""
    host = WaitingThread(None)

    def beside() -> object:
        try:
            return use(host)
        finally:
            host.finish()

    thread = Thread(beside)
    host.wait(lambda: None)
    return thread.outcome()


def submit(host: Host, function: Callable[..., Any], *args: Any) -> Future[Any]:
    """As from the loop's thread."""
    future: Future[Any] = Thread(lambda: host.submit(function, *args)).outcome()
    return future


def test_what_is_submitted_runs_in_the_waiting_thread() -> None:
    def use(host: WaitingThread) -> Any:
        def here(*args: Any, **kwargs: Any) -> Any:
            return threading.get_ident(), args, kwargs

        return host.submit(here, 1, key=2).result(PATIENCE)

    assert waiting(use) == (threading.get_ident(), (1,), {"key": 2})


@pytest.mark.parametrize("error", [LookupError("no"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_it_raises_is_the_future_s(error: BaseException) -> None:
    """The waiting thread goes on, whatever it was."""

    def fail() -> None:
        raise error

    def use(host: WaitingThread) -> Any:
        first = host.submit(fail).exception(PATIENCE)
        return first, host.submit(int).result(PATIENCE)

    assert waiting(use) == (error, 0)


def test_a_future_that_was_cancelled_does_not_run() -> None:
    host = WaitingThread(None)
    ran: list[int] = []
    future = submit(host, ran.append, 1)
    assert future.cancel()
    host.finish()
    host.wait(never)
    assert ran == []
    with pytest.raises(CancelledError):
        future.result(0)


def test_what_was_submitted_is_wanted_until_it_runs_or_is_cancelled() -> None:
    host = WaitingThread(None)
    seen: list[bool] = []
    submit(host, lambda: seen.append(host.first_waiting() is not None))
    assert host.first_waiting() is not None
    cancelled = submit(host, int)
    cancelled.cancel()
    host.finish()
    host.wait(never)
    assert seen == [False]


def test_an_error_of_what_was_submitted_forms_no_cycle() -> None:
    class Error(Exception):
        pass

    def fail() -> None:
        raise Error

    host = WaitingThread(None)
    gc.collect()
    gc.disable()
    try:
        future = submit(host, fail)
        host.finish()
        host.wait(never)
        alive = weakref.ref(future.exception())
        assert alive() is not None
        del future
        assert alive() is None
    finally:
        gc.enable()


def test_asgiref_s_note_of_the_loop_is_left_as_it_was_by_what_was_submitted() -> None:
    """asgiref's functions leave theirs, which would be taken for the loop that awaits the thread."""
    host = WaitingThread(None)
    before = asgiref_notes.note_of_loop()

    def leave(loop: str) -> None:
        asgiref_notes.restore_note((loop, 1, ["asgiref's"]))
        if loop == "second":
            raise LookupError

    futures = [submit(host, leave, loop) for loop in ("first", "second")]
    host.finish()
    host.wait(never)
    assert asgiref_notes.note_of_loop() == before
    assert futures[0].exception() is None
    assert isinstance(futures[1].exception(), LookupError)


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Any:
    """asgiref's single thread: one of this test's own."""
    with ThreadPoolExecutor(1, thread_name_prefix="single") as executor:
        monkeypatch.setattr(asgiref_notes.SyncToAsync, "single_thread_executor", executor)
        yield executor


def name_of_thread() -> str:
    return threading.current_thread().name


def test_what_is_submitted_when_nobody_waits_goes_to_asgiref_s_single_thread(single: Any) -> None:
    host = WaitingThread(None)
    host.leave()
    assert host.submit(name_of_thread).result(PATIENCE).startswith("single")


def test_what_was_submitted_and_is_displaced_goes_to_asgiref_s_single_thread(single: Any) -> None:
    host = WaitingThread(None)
    future = submit(host, name_of_thread)
    host.leave()
    assert future.result(PATIENCE).startswith("single")


def test_what_is_submitted_goes_to_the_wait_above_first(single: Any) -> None:
    outer = WaitingThread(None)
    inner = WaitingThread(outer)
    inner.leave()
    future = submit(inner, name_of_thread)
    outer.finish()
    outer.wait(never)
    assert future.result(0) == name_of_thread()


def test_at_the_interpreter_s_exit_what_was_submitted_fails(single: Any) -> None:
    """The single thread takes nothing then; who awaits it must not wait for ever."""
    host = WaitingThread(None)
    future, cancelled = submit(host, int), submit(host, int)
    cancelled.cancel()
    single.shutdown()
    host.leave()
    assert isinstance(future.exception(PATIENCE), RuntimeError)
    assert cancelled.cancelled()


# -- asgiref's own executor under or above one of ours


def test_asgiref_s_wait_under_ours_hands_on_to_ours_when_it_is_over() -> None:
    """It looks into the one above it, as if that were one of its own."""

    def use(host: WaitingThread) -> Any:
        executor = CurrentThreadExecutor(host)  # type: ignore[arg-type]
        over: Future[Any] = Future()
        over.set_result(None)
        executor.run_until_future(over)
        return Thread(lambda: executor.submit(threading.get_ident)).outcome().result(PATIENCE)

    assert waiting(use) == threading.get_ident()


def test_asgiref_s_wait_looks_beyond_ours_if_that_is_over_too() -> None:
    ours = WaitingThread(None)
    top = CurrentThreadExecutor(None)
    ours.above = ForeignHost(top)
    ours.leave()
    bottom = CurrentThreadExecutor(ours)  # type: ignore[arg-type]
    over: Future[Any] = Future()
    over.set_result(None)
    bottom.run_until_future(over)
    future = Thread(lambda: bottom.submit(threading.get_ident)).outcome()
    top.run_until_future(over)
    assert future.result(0) == threading.get_ident()


def test_a_job_of_asgiref_that_comes_as_our_wait_ends_is_run_all_the_same(single: Any) -> None:
    """It has looked whether the wait lasts, and appends its item when that is over."""
    host = WaitingThread(None)
    assert not host._broken
    future: Future[str] = Future()

    class Item:
        def run(self) -> None:
            future.set_result(name_of_thread())

    with host._work_ready:
        host.leave()
        host._work_items.append(Item())
        host._work_ready.notify()
    assert future.result(PATIENCE).startswith("single")


def test_a_host_looks_to_asgiref_like_one_of_its_executors() -> None:
    above = WaitingThread(None)
    host = WaitingThread(above)
    seen: list[object] = [above._old_executor, host._old_executor, host._broken]
    executor = CurrentThreadExecutor(None)
    host.above = ForeignHost(executor)
    host.leave()
    seen += [host._old_executor, host._broken]
    assert seen == [None, above, False, executor, True]


# -- a thread that waits in asgiref's async_to_sync


def test_asgiref_s_waiting_thread_runs_our_jobs() -> None:
    executor = CurrentThreadExecutor(None)
    host = ForeignHost(executor)
    assert host.is_current()
    assert not Thread(host.is_current).outcome()
    states = [host.over]
    job = Noted()
    assert Thread(lambda: offer(host, job)).outcome() is True
    over: Future[Any] = Future()
    over.set_result(None)
    executor.run_until_future(over)
    assert job.fates == [f"run in {name_of_thread()}"]
    states.append(host.over)
    assert states == [False, True]
    assert Thread(lambda: offer(host, Noted())).outcome() is False


def test_asgiref_s_waiting_thread_is_refused_to_itself() -> None:
    host = ForeignHost(CurrentThreadExecutor(None))
    with pytest.raises(WouldDeadlock):
        offer(host, Noted())


def test_an_executor_that_tells_nothing_about_itself_is_taken_as_it_is() -> None:
    """Of another version of asgiref."""
    with ThreadPoolExecutor(1) as executor:
        host = ForeignHost(executor)
        assert not host.is_current()
        assert not host.over
        job = Noted()
        assert offer(host, job)
    assert len(job.fates) == 1
    assert not offer(host, Noted())


# -- which is the nearest


def in_new_context(function: Callable[[], Any]) -> Any:
    return contextvars.Context().run(function)


def test_without_any_note_nobody_waits() -> None:
    assert in_new_context(innermost_host) is None


def test_the_thread_of_a_request_waits_where_nothing_else_is_noted() -> None:
    host = WaitingThread(None)

    def look() -> Any:
        request_host.set(host)
        return innermost_host()

    assert in_new_context(look) is host


def test_the_wait_that_is_noted_comes_before_the_request_s() -> None:
    request, nearer = WaitingThread(None), WaitingThread(None)

    def look() -> Any:
        request_host.set(request)
        asgiref_notes.note_waiting_thread(nearer)
        return innermost_host()

    assert in_new_context(look) is nearer


def test_a_note_that_nobody_waits_hides_the_request_s_thread() -> None:
    """asgiref's ThreadSensitiveContext with an executor leaves such a one."""

    def look() -> Any:
        request_host.set(WaitingThread(None))
        asgiref_notes.note_waiting_thread(None)
        return innermost_host()

    assert in_new_context(look) is None


def test_asgiref_s_waiting_thread_is_found_as_ours_are() -> None:
    executor = CurrentThreadExecutor(None)

    def look() -> Any:
        asgiref_notes.note_waiting_thread(executor)
        return innermost_host()

    found = in_new_context(look)
    assert isinstance(found, ForeignHost)
    assert found.executor is executor


def test_before_asgiref_is_looked_at_the_request_s_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    host = WaitingThread(None)
    monkeypatch.setattr(asgiref_notes, "variable", None)
    monkeypatch.setattr(asgiref_notes, "_executors", None)

    def look() -> Any:
        request_host.set(host)
        return innermost_host()

    assert in_new_context(look) is host
