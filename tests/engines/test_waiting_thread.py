"""A thread that waits and runs what is handed back: order, every kind of end, nothing lost or twice."""

from __future__ import annotations

import dis
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.engines import PATIENCE, ScriptedGate, Thread, eventually

from bridge.engines import waiting_thread
from bridge.engines.waiting_thread import WaitingThread


class Ended(BaseException):
    """What a server raises in a thread that it ends."""


class Noted:
    """A job that notes what becomes of it."""

    bound_to: object = None

    def __init__(self, run: Callable[[], object] = lambda: None) -> None:
        self.fates: list[str] = []
        self.ident = 0
        self._run = run
        self.is_wanted = True

    def run(self, worker: None, /) -> None:
        self.ident = threading.get_ident()
        self.fates.append("run")
        self._run()

    def displaced(self) -> None:
        self.fates.append("displaced")

    def wanted(self) -> bool:
        return self.is_wanted


def never() -> None:
    raise AssertionError("nothing to look for")


def fail() -> None:
    raise Ended


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_thread, "LOOK", 0.002)


# -- what it does


def test_it_belongs_to_the_thread_that_made_it() -> None:
    above = WaitingThread(None)
    wait = WaitingThread(above)
    assert wait.ident == threading.get_ident()
    assert wait.is_current()
    assert not Thread(wait.is_current).outcome()
    assert wait.above is above
    assert not wait.over
    assert not wait.done


def test_a_wait_for_what_has_come_already_ends_at_once() -> None:
    wait = WaitingThread(None)
    wait.finish()
    wait.wait(never)
    assert wait.done
    assert wait.over


def test_jobs_run_in_the_waiting_thread_in_the_order_in_which_they_came() -> None:
    wait = WaitingThread(None)
    seen: list[int] = []
    jobs = [Noted(lambda number=number: seen.append(number)) for number in range(20)]  # type: ignore[misc]

    def beside() -> None:
        assert all(wait.offer(job) for job in jobs)
        wait.finish()

    thread = Thread(beside)
    wait.wait(never)
    thread.outcome()
    assert seen == list(range(20))
    assert {job.ident for job in jobs} == {threading.get_ident()}
    assert all(job.fates == ["run"] for job in jobs)


def test_what_was_offered_before_the_end_runs_before_the_wait_ends() -> None:
    """Also what a job offers in its turn."""
    wait = WaitingThread(None)
    last = Noted()
    first = Noted(lambda: wait.offer(last))
    wait.offer(first)
    wait.finish()
    wait.wait(never)
    assert (first.fates, last.fates) == (["run"], ["run"])


def test_the_end_may_come_while_a_job_runs() -> None:
    wait = WaitingThread(None)
    job = Noted(wait.finish)
    wait.offer(job)
    wait.wait(never)
    assert job.fates == ["run"]


def test_what_comes_just_when_the_wait_is_to_end_runs_before_it_ends() -> None:
    """After the thread has seen that there is nothing to run, and that the end has come."""
    late = Noted()

    class Wait(WaitingThread):
        __slots__ = ()

        def close_if_idle(self) -> bool:
            if not late.fates:
                assert self.offer(late)
            return super().close_if_idle()

    wait = Wait(None)
    wait.finish()
    wait.wait(never)
    assert late.fates == ["run"]
    assert wait.over


def test_a_wait_that_is_over_takes_nothing() -> None:
    wait = WaitingThread(None)
    wait.finish()
    wait.wait(never)
    job = Noted()
    assert not wait.offer(job)
    assert job.fates == []


@pytest.mark.usefixtures("hasty")
def test_it_looks_again_and_again_while_nothing_comes() -> None:
    wait = WaitingThread(None)
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            wait.finish()

    wait.wait(look)
    assert len(looks) == 3


def test_it_looks_about_once_a_second_and_not_when_something_has_come() -> None:
    wait = WaitingThread(None)
    looks: list[int] = []
    gate = ScriptedGate(lambda: None, lambda: wait.offer(Noted()), lambda: None, wait.finish)
    wait._gate = gate
    wait.wait(lambda: looks.append(len(gate.waits)))
    assert looks == [1, 3], "it did not look at the first and the third wait, which had run out"
    assert set(gate.waits) == {1.0}


def test_a_job_is_let_go_of_before_the_thread_waits_again() -> None:
    """A result may be a connection that somebody waits to get back."""
    wait = WaitingThread(None)

    class Weak(Noted):
        pass

    job = Weak()
    alive = weakref.ref(job)
    wait.offer(job)
    del job
    gone: list[bool] = []

    def beside() -> None:
        eventually(lambda: alive() is None, "the job is gone")
        gone.append(True)
        wait.finish()

    gc.disable()
    try:
        thread = Thread(beside)
        wait.wait(never)
        thread.outcome()
    finally:
        gc.enable()
    assert gone == [True]


# -- what waits longest


def test_the_job_that_waits_longest_can_be_told_and_since_when() -> None:
    wait = WaitingThread(None)
    assert wait.first_waiting() is None
    before = time.monotonic()
    first, second = Noted(), Noted()
    wait.offer(first)
    between = time.monotonic()
    wait.offer(second)
    told = wait.first_waiting()
    assert told is not None
    assert told[0] is first
    assert before <= told[1] <= between
    wait.finish()
    wait.wait(never)
    assert wait.first_waiting() is None


def test_a_job_that_nobody_wants_any_more_does_not_wait() -> None:
    """As a call whose task was cancelled, or that a worker of a pool has taken meanwhile."""
    wait = WaitingThread(None)
    first, second = Noted(), Noted()
    wait.offer(first)
    between = time.monotonic()
    wait.offer(second)
    first.is_wanted = False
    told = wait.first_waiting()
    assert told is not None
    assert told[0] is second
    assert told[1] >= between
    second.is_wanted = False
    assert wait.first_waiting() is None


def test_while_a_job_runs_the_next_one_is_the_one_that_waits() -> None:
    wait = WaitingThread(None)
    seen: list[Any] = []
    second = Noted(lambda: seen.append(wait.first_waiting()))
    first = Noted(lambda: seen.append(wait.first_waiting()))
    wait.offer(first)
    wait.offer(second)
    wait.finish()
    wait.wait(never)
    assert seen[0][0] is second
    assert seen[1] is None


# -- every end of the wait


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("error", [Ended, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_out_of_look_ends_the_wait_and_what_comes_later_is_not_taken(
    error: type[BaseException],
) -> None:
    wait = WaitingThread(None)

    def look() -> None:
        raise error

    with pytest.raises(error):
        wait.wait(look)
    assert wait.over
    assert not wait.done
    job = Noted()
    assert not wait.offer(job)
    assert job.fates == []


@pytest.mark.parametrize("error", [Ended, KeyboardInterrupt, SystemExit])
def test_jobs_that_wait_when_the_thread_is_ended_at_its_gate_are_displaced(
    error: type[BaseException],
) -> None:
    wait = WaitingThread(None)
    jobs = [Noted() for _ in range(3)]

    def end() -> None:
        for job in jobs:
            assert wait.offer(job)
        raise error

    wait._gate = ScriptedGate(end)
    with pytest.raises(error):
        wait.wait(never)
    assert [job.fates for job in jobs] == [["displaced"]] * 3
    assert wait.over


def test_jobs_that_wait_behind_one_in_which_the_thread_is_ended_are_displaced() -> None:
    wait = WaitingThread(None)
    first, second = Noted(fail), Noted()
    wait.offer(first)
    wait.offer(second)
    with pytest.raises(Ended):
        wait.wait(never)
    assert first.fates[0] == "run"
    assert second.fates == ["displaced"]
    assert not wait.offer(Noted())


class Opcodes:
    """Ends the calling thread at the n-th place where Python may do so in the functions named.

    Exceptions of signals and of `PyThreadState_SetAsyncExc` come when a function begins, after a call
    and when a loop turns; so no `with` block is entered and left without its exit.
    """

    PLACES = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD")

    def __init__(self, number: int, *names: str) -> None:
        self._left = number
        self._names = names
        self._last: dict[Any, int] = {}
        self.struck = False

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_name not in self._names or not code.co_filename.endswith("waiting_thread.py"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.struck:
            last = self._last.get(frame)
            self._last[frame] = frame.f_lasti
            if last is None or dis.opname[code.co_code[last]].startswith(self.PLACES):
                if self._left == 0:
                    self.struck = True
                    raise Ended
                self._left -= 1
        return self

    def __enter__(self) -> Opcodes:
        self._old = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it beforehand
        sys.settrace(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._old)
        self._last.clear()


def test_wherever_the_thread_is_ended_no_job_is_lost() -> None:
    """Each has run or has been displaced once the wait has been left; see `LoopCall.outcome` for `leave`."""
    lost: list[int] = []
    number = 0
    while True:
        wait = WaitingThread(None)
        jobs = [Noted(), Noted()]
        for job in jobs:
            wait.offer(job)
        wait.finish()
        opcodes = Opcodes(number, "wait", "run_jobs")
        try:
            with opcodes:
                wait.wait(never)
        except Ended:
            wait.leave()  # as whoever waits does
        if not all(job.fates for job in jobs):
            lost.append(number)
        assert all(job.fates.count("run") <= 1 for job in jobs)
        if not opcodes.struck:
            break
        number += 1
    assert number > 5, "it was never struck"
    assert lost == [], "the places at which a job is lost"


def test_what_is_offered_while_jobs_are_displaced_finds_the_wait_over() -> None:
    """A job that is displaced looks for another place at once, perhaps here."""
    wait = WaitingThread(None)
    found: list[bool] = []

    class Seeks(Noted):
        def displaced(self) -> None:
            super().displaced()
            found.append(wait.offer(Noted()))

    job = Seeks()
    wait.offer(job)
    wait.leave()
    wait.leave()
    assert found == [False]
    assert job.fates == ["displaced"]


# -- after it was left


def test_the_end_of_what_was_left_can_be_waited_for() -> None:
    wait = WaitingThread(None)
    wait.leave()
    thread = Thread(wait.finish)
    assert wait.wait_for_end(PATIENCE)
    thread.outcome()
    assert wait.wait_for_end(0.0)


def test_it_is_not_waited_for_longer_than_asked() -> None:
    wait = WaitingThread(None)
    wait.leave()
    wait.open()  # somebody has opened the gate for another reason
    began = time.monotonic()
    assert not wait.wait_for_end(0.02)
    assert 0.015 < time.monotonic() - began < PATIENCE


# -- waits in waits


def test_a_wait_inside_a_job_has_jobs_of_its_own() -> None:
    """So a job that holds a transaction open is not interrupted by those that wait for the thread."""
    outer = WaitingThread(None)
    inner: list[WaitingThread] = []
    order: list[str] = []

    def nested() -> None:
        wait = WaitingThread(outer)
        inner.append(wait)
        outer.offer(Noted(lambda: order.append("for the outer one")))

        def beside() -> None:
            assert wait.offer(Noted(lambda: order.append("for the inner one")))
            wait.finish()

        thread = Thread(beside)
        wait.wait(never)
        thread.outcome()
        order.append("inner over")

    outer.offer(Noted(nested))
    outer.finish()
    outer.wait(never)
    assert order == ["for the inner one", "inner over", "for the outer one"]
    assert inner[0].over


def test_an_exception_that_ends_the_inner_wait_ends_the_outer_one_as_well() -> None:
    """Neither loses its jobs."""
    outer = WaitingThread(None)
    at_inner, at_outer = Noted(), Noted()

    def nested() -> None:
        wait = WaitingThread(outer)
        wait.offer(Noted(fail))
        wait.offer(at_inner)
        wait.wait(never)

    outer.offer(Noted(nested))
    outer.offer(at_outer)
    with pytest.raises(Ended):
        outer.wait(never)
    assert (at_inner.fates, at_outer.fates) == (["displaced"], ["displaced"])


# -- many at once


@pytest.mark.usefixtures("preemptive")
@pytest.mark.parametrize("end", ["finished", "ended"])
def test_an_offer_that_races_with_the_end_is_taken_and_run_or_refused(end: str) -> None:
    """Whoever offers knows whether it was taken; what was taken has one fate."""
    rounds = 1500  # or as many as a busy machine gets done in half of the time for which one waits
    offering = threading.Barrier(3)
    current: list[Any] = [None]
    jobs: list[list[tuple[Noted, bool]]] = [[], []]

    def offers(number: int) -> None:
        while True:
            offering.wait(PATIENCE)
            if current[0] is None:
                return
            job = Noted()
            jobs[number].append((job, current[0].offer(job)))
            offering.wait(PATIENCE)

    threads = [Thread(lambda number=number: offers(number)) for number in range(2)]  # type: ignore[misc]
    deadline = time.monotonic() + PATIENCE / 2
    taken = 0
    while rounds and time.monotonic() < deadline:
        rounds -= 1
        wait = current[0] = WaitingThread(None)
        if end == "finished":
            wait.finish()
        offering.wait(PATIENCE)
        if end == "finished":
            wait.wait(never)
        else:
            wait.leave()
        offering.wait(PATIENCE)
        for mine in jobs:
            job, was_taken = mine.pop()
            taken += was_taken
            assert len(job.fates) == was_taken, (was_taken, job.fates)
    current[0] = None
    offering.wait(PATIENCE)
    for thread in threads:
        thread.outcome()
    assert taken > 0, "no offer ever came in time, so nothing was raced"


@pytest.mark.usefixtures("preemptive")
def test_no_job_among_thousands_from_many_threads_is_lost_or_run_twice() -> None:
    wait = WaitingThread(None)
    jobs = [[Noted() for _ in range(500)] for _ in range(6)]
    left = [len(jobs)]
    lock = threading.Lock()

    def offers(mine: list[Noted]) -> None:
        for job in mine:
            assert wait.offer(job)
        with lock:
            left[0] -= 1
            last = not left[0]
        if last:
            wait.finish()

    threads = [Thread(lambda mine=mine: offers(mine)) for mine in jobs]  # type: ignore[misc]
    wait.wait(lambda: None)
    for thread in threads:
        thread.outcome()
    assert all(job.fates == ["run"] for mine in jobs for job in mine)
    assert wait.first_waiting() is None
