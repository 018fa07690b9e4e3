"""Waits that may never end are told of, once each, with the stacks of both sides; healthy ones never are."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.drive import Signal, poll, run, together
from support.engines import PATIENCE, Thread, checkpoint, eventually, script, threads_named
from support.shim_calls import call_of

from bridge import async_to_sync, sync_to_async
from bridge.engines import waiting_thread
from bridge.engines.running import running_port
from bridge.exceptions import LoopGone
from bridge.shim import reports, shared_thread, to_async
from bridge.shim.loop_call import LoopCall
from bridge.shim.reports import Silence, stack_of_task, stack_of_thread
from bridge.shim.shared_thread import SharedThread
from bridge.shim.thread_call import ThreadCall

UNUSUAL = 0.05
HERE = os.path.basename(__file__)


def nothing_is_watched() -> bool:
    return not threads_named("bridge-shim-watch")


@pytest.fixture(autouse=True)
def brief(single: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is unusual comes soon; the thread that all share is one of the test's own."""
    eventually(nothing_is_watched, "what other tests have had watched is done")
    monkeypatch.setattr(reports, "UNUSUAL", UNUSUAL)
    monkeypatch.setattr(reports, "_LOOK", 0.005)
    monkeypatch.setattr(waiting_thread, "LOOK", 0.005)
    yield
    eventually(nothing_is_watched, "the watcher has ended")


class Told(logging.Handler):
    """What was told."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.levels: list[int] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.levels.append(record.levelno)
        self.came.set()

    def wait(self) -> str:
        """Until something is told."""
        assert self.came.wait(PATIENCE), "nothing was told"
        return self.messages[0]

    def once(self) -> None:
        """Something was, and nothing more comes in a time in which it could."""
        self.wait()
        time.sleep(3 * UNUSUAL)
        assert len(self.messages) == 1, self.messages


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("bridge.shim")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class Clock:
    """Stands in for the module `time`, but for sleeping; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all who note or look for how long something lasts."""
    clock = Clock()
    for module in (reports, waiting_thread, shared_thread):
        monkeypatch.setattr(module, "time", clock)
    return clock


class Looks:
    """The looks of waiting threads, and of who watches the shared one.

    Attributes:
        number: how many there were.
    """

    def __init__(self) -> None:
        self.number = 0
        self.waiting: Callable[[], object] = list  # what waits for the shared thread

    async def more(self) -> None:
        """Let a thread have two looks from beginning to end."""
        until = self.number + 3
        await poll(lambda: self.number >= until)

    def wait(self) -> None:
        """Let who watches the shared thread look, if anything waits there."""
        until = self.number + 3
        eventually(lambda: self.number >= until or not self.waiting())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Counted looks; any loop is taken to have answered each, however busy the machine is."""
    looks = Looks()

    class Counted(Silence):
        def look(self) -> None:
            super().look()
            self._asked = 0.0
            looks.number += 1

    class Seen(SharedThread):
        def waiting(self) -> list[ThreadCall]:
            looks.number += 1
            return super().waiting()

    monkeypatch.setattr(reports, "Silence", Counted)
    seen = Seen()
    looks.waiting = super(Seen, seen).waiting
    monkeypatch.setattr(to_async, "shared_thread", seen)
    return looks


# -- a loop that runs nothing


def test_a_loop_that_is_blocked_by_the_thread_that_waits_for_it_is_told_of(told: Told) -> None:
    """The usual deadlock: the thread holds a lock, and async code waits for it as blocking code does."""
    lock = threading.Lock()

    async def takes_the_lock() -> str:
        blocking_line()
        return "ended"

    def blocking_line() -> None:
        assert lock.acquire(timeout=PATIENCE)

    def holds_and_lets_go() -> Any:
        lock.acquire()
        Thread(release)
        return async_to_sync(takes_the_lock, force_new_loop=True)()

    def release() -> None:
        told.once()
        lock.release()

    assert Thread(holds_and_lets_go).outcome() == "ended"
    message = told.wait()
    assert "a thread waits for" in message
    assert "takes_the_lock" in message.splitlines()[0]
    loops, waits = message.split("\nthe thread that waits (")
    assert "\nthe loop's thread (" in loops
    assert f'{HERE}", line' in loops
    assert "in blocking_line" in loops
    assert f'{HERE}", line' in waits
    assert "in holds_and_lets_go" in waits
    assert told.levels == [logging.WARNING]


def test_a_loop_that_answers_is_healthy_however_long_the_coroutine_takes(
    told: Told, loop: str, still: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Silence] = []

    class Noted(Silence):
        def _answer(self) -> None:
            super()._answer()
            answers.append(self)

    monkeypatch.setattr(reports, "Silence", Noted)

    async def takes_long() -> None:
        for number in range(20):
            await poll(lambda number=number: len(answers) > number)  # type: ignore[misc]
            still.now += UNUSUAL / 2

    async def main() -> None:
        await sync_to_async(async_to_sync(takes_long), thread_sensitive=False)()

    run(main, loop)
    assert told.messages == []


class Call:
    """As much of a `LoopCall` as its `Silence` looks at."""

    def __init__(self, outer: Any = None) -> None:
        self.name = "a call"
        self.ident = threading.get_ident()
        self.loop_ident = 0
        self.outer = outer
        self.place: Any = Place()


class Place:
    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []
        self.gone = False
        self.port = self
        self.loop = None

    def call_soon(self, callback: Callable[[], object]) -> None:
        if self.gone:
            raise LoopGone
        self.callbacks.append(callback)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reports, "time", clock)
    monkeypatch.setattr(reports, "UNUSUAL", 10.0)
    return clock


def silence(call: Call) -> Silence:
    return Silence(call)  # type: ignore[arg-type]


def test_the_loop_is_asked_for_one_sign_of_life_at_a_time(told: Told, clock: Clock) -> None:
    call = Call()
    looks = silence(call)
    for _ in range(9):
        looks.look()
        clock.now += 1
    assert len(call.place.callbacks) == 1
    assert told.messages == []
    call.place.callbacks.pop()()
    for _ in range(10):
        looks.look()
        clock.now += 1
    assert told.messages == [], "the time counts from the last question"
    assert len(call.place.callbacks) == 1
    looks.look()
    assert len(told.messages) == 1
    for _ in range(30):
        looks.look()
        clock.now += 1
    assert len(told.messages) == 1, "once for each wait"


def test_an_answer_that_comes_while_the_thread_looks_counts(told: Told, clock: Clock) -> None:
    """Between any two steps of the look."""

    class Answered(Silence):
        looks = 0

        @property
        def _asked(self) -> float:
            self.looks += 1
            return clock.now - 1 if self.looks == 1 else 0.0

        @_asked.setter
        def _asked(self, value: float) -> None: ...

    Answered(Call()).look()  # type: ignore[arg-type]
    assert told.messages == []


def test_a_loop_that_is_gone_is_the_thread_s_to_notice(told: Told, clock: Clock) -> None:
    call = Call()
    call.place.gone = True
    looks = silence(call)
    for _ in range(5):
        looks.look()
    assert told.messages == []


# -- a thread that others wait for


class Waits:
    """A wait further up, for which jobs wait."""

    def __init__(self, since: float | None, outer: Any = None) -> None:
        self.since = since
        self.outer = outer

    def first_waiting(self) -> Any:
        return None if self.since is None else (object(), self.since)


def answered(call: Call, looks: Silence, clock: Clock, seconds: int) -> None:
    """Let time pass, with a loop that runs."""
    for _ in range(seconds):
        looks.look()
        while call.place.callbacks:
            call.place.callbacks.pop()()
        clock.now += 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_job_that_waits_for_a_thread_that_waits_deeper_is_told_of(
    told: Told, clock: Clock, depth: int
) -> None:
    outer: Any = Waits(clock.now)
    for _ in range(depth - 1):
        outer = Waits(None, outer)
    call = Call(outer)
    looks = silence(call)
    answered(call, looks, clock, 10)
    assert told.messages == []
    answered(call, looks, clock, 20)
    assert len(told.messages) == 1
    assert "has waited for its thread for 10 seconds" in told.messages[0]


def test_jobs_that_are_not_wanted_do_not_wait(told: Told, clock: Clock) -> None:
    call = Call(Waits(None))
    answered(call, silence(call), clock, 30)
    assert told.messages == []


@pytest.mark.usefixtures("looks")
def test_a_call_that_waits_for_a_thread_which_waits_for_it_is_told_of(told: Told) -> None:
    """The thread runs `nested`, which waits for a queue that only the other call of the same thread fills."""
    released: list[Any] = []

    async def waits_for_the_other() -> str:
        event = asyncio.Event()
        released.append((asyncio.get_running_loop(), event))
        await event.wait()
        return "ended"

    def nested() -> str:
        return async_to_sync(waits_for_the_other)()

    async def awaits_the_other() -> None:
        await sync_to_async(print_nothing)()

    def print_nothing() -> None: ...

    async def main() -> str:
        task = asyncio.ensure_future(sync_to_async(nested)())
        while not released:
            await asyncio.sleep(0.001)
        other = asyncio.ensure_future(awaits_the_other())
        other.set_name("the other")
        result = await task
        await other
        return result

    def release() -> None:
        told.once()
        event_loop, event = released[0]
        event_loop.call_soon_threadsafe(event.set)

    releases = Thread(release)

    def holds() -> str:
        return async_to_sync(main)()

    assert Thread(holds).outcome() == "ended"
    releases.outcome()
    message = told.wait()
    first = message.splitlines()[0]
    assert "print_nothing" in first
    assert "waits_for_the_other" in first
    thread, task = message.split("the task that awaits the call")
    for name in ("holds", "nested"):
        assert f"in {name}" in thread
    assert "(the other)" in task
    assert "in awaits_the_other" in task
    assert f'{HERE}", line' in thread
    assert f'{HERE}", line' in task


def test_a_call_that_was_cancelled_while_it_waited_is_not_told_of(
    told: Told, still: Clock, looks: Looks
) -> None:
    began, cancelled = Signal(), Signal()

    async def takes_long() -> None:
        began.set()
        await cancelled.come()
        still.now += 4 * UNUSUAL
        await looks.more()

    def nested() -> None:
        async_to_sync(takes_long)()

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(nested)())
        await began.come()
        other = asyncio.ensure_future(sync_to_async(int)())
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait((other,))
        assert other.cancelled()
        cancelled.set()
        await task

    async_to_sync(main)()
    assert told.messages == []


def test_a_call_that_a_worker_has_taken_meanwhile_is_not_told_of(
    told: Told, still: Clock, looks: Looks
) -> None:
    """It was offered to the thread as well, since the pool was full at the moment."""
    from bridge import ThreadPool

    free, held, began, ended = Signal(), Signal(), Signal(), Signal()

    def hold() -> None:
        held.set()
        free.wait()

    async def takes_long() -> None:
        began.set()
        await ended.come()
        still.now += 4 * UNUSUAL
        await looks.more()

    def nested() -> None:
        async_to_sync(takes_long)()

    with ThreadPool(1) as pool:

        async def main() -> None:
            busy = asyncio.ensure_future(sync_to_async(hold, thread_sensitive=False, pool=pool)())
            task = asyncio.ensure_future(sync_to_async(nested)())
            await held.come()
            await began.come()
            other = asyncio.ensure_future(sync_to_async(int, thread_sensitive=False, pool=pool)())
            await asyncio.sleep(0)
            free.set()
            assert await other == 0
            ended.set()
            await asyncio.gather(busy, task)

        async_to_sync(main)()
    assert told.messages == []


# -- the thread that thread-sensitive code shares


def test_calls_behind_a_long_one_in_the_shared_thread_are_told_of(told: Told, loop: str) -> None:
    began, free = threading.Event(), threading.Event()

    def runs_long() -> None:
        began.set()
        assert free.wait(PATIENCE)

    def quick() -> None: ...

    async def awaits_the_long_one() -> None:
        await sync_to_async(runs_long)()

    async def awaits_the_quick_one() -> None:
        while not began.is_set():
            await checkpoint()
        await sync_to_async(quick)()

    def release() -> None:
        told.once()
        free.set()

    async def main() -> None:
        releases = Thread(release)
        await together(awaits_the_long_one, awaits_the_quick_one, awaits_the_quick_one)
        releases.outcome()

    run(main, loop)
    message = told.wait()
    first = message.splitlines()[0]
    assert first.startswith("2 thread-sensitive calls wait")
    assert "runs_long" in first
    assert "thread_sensitive=False" in first
    thread, task = message.split("the task that awaits", 1)
    assert "in runs_long" in thread
    assert f'{HERE}", line' in thread
    assert "quick" in task.splitlines()[0]
    if loop == "trio":
        assert "no stack" in task
    else:
        assert "in awaits_the_quick_one" in task


def test_a_long_call_behind_which_nothing_waits_is_healthy(told: Told) -> None:
    async def main() -> None:
        await sync_to_async(time.sleep)(3 * UNUSUAL)

    asyncio.run(main())
    assert told.messages == []
    assert nothing_is_watched(), "nothing is watched where nothing waits"


def test_many_calls_one_after_the_other_are_healthy_however_long_they_take_together(
    told: Told, still: Clock, looks: Looks
) -> None:
    """Each one takes half of what is unusual, and is looked at."""

    def takes_a_while() -> None:
        for _ in range(2):
            looks.wait()
            still.now += UNUSUAL / 4

    async def main() -> None:
        await asyncio.gather(*[sync_to_async(takes_a_while)() for _ in range(10)])

    asyncio.run(main())
    assert told.messages == []


def test_a_call_that_was_given_up_does_not_wait(told: Told, still: Clock, looks: Looks) -> None:
    began, cancelled = Signal(), Signal()

    def takes_long() -> None:
        began.set()
        cancelled.wait()
        still.now += 3 * UNUSUAL
        eventually(nothing_is_watched, "the watcher has looked, and found nothing that waits")

    async def main() -> None:
        long = asyncio.ensure_future(sync_to_async(takes_long)())
        await began.come()
        other = asyncio.ensure_future(sync_to_async(int)())
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait((other,))
        cancelled.set()
        await long

    asyncio.run(main())
    assert told.messages == []


def held_call(free: threading.Event) -> ThreadCall:
    def runs_long() -> None:
        assert free.wait(PATIENCE)

    return call_of(runs_long)


def test_each_long_call_is_told_of_once(told: Told) -> None:
    shared = SharedThread()
    for number in range(1, 4):
        free = threading.Event()
        long, behind = held_call(free), call_of(int)
        shared.submit(long)
        shared.submit(behind)
        eventually(lambda number=number: len(told.messages) == number)  # type: ignore[misc]
        time.sleep(2 * UNUSUAL)
        assert len(told.messages) == number
        free.set()
        assert behind.flag.wait(PATIENCE)


def test_without_a_thread_to_watch_calls_run_all_the_same(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(reports, "start_thread", fail)
    free = threading.Event()
    shared = SharedThread()
    calls = [held_call(free), call_of(int), call_of(int)]
    for call in calls:
        shared.submit(call)
    free.set()
    for call in calls:
        assert call.flag.wait(PATIENCE)
    assert told.messages == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_watched_as_well() -> None:
    """Also if the parent's watcher was at work when it was forked."""
    out = script(
        """
import asyncio, logging, os, threading
from bridge import sync_to_async
from bridge.shim import reports
reports.UNUSUAL, reports._LOOK = 0.05, 0.005
def behind(told):
    free = threading.Event()
    class Handler(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage().splitlines()[0])
            free.set()
    handler = Handler()
    logging.getLogger("bridge.shim").addHandler(handler)
    async def main():
        await asyncio.gather(sync_to_async(free.wait)(20), sync_to_async(int)())
    asyncio.run(main())
    logging.getLogger("bridge.shim").removeHandler(handler)
told = []
behind(told)
held, free = threading.Event(), threading.Event()
async def busy():
    def hold():
        held.set()
        free.wait(20)
    await asyncio.gather(sync_to_async(hold)(), sync_to_async(int)())
logging.getLogger("bridge.shim").addHandler(logging.NullHandler())
thread = threading.Thread(target=lambda: asyncio.run(busy()))
thread.start()
held.wait(20)
pid = os.fork()
if not pid:
    found = []
    behind(found)
    os._exit(7 if len(found) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
free.set()
thread.join(20)
print(len(told))
"""
    )
    assert out.strip() == "1"


# -- stacks


def test_the_stack_of_a_thread_has_its_functions() -> None:
    text = stack_of_thread(threading.get_ident(), "this thread")
    assert text.startswith(f"this thread ({threading.current_thread().name}):\n")
    assert "test_the_stack_of_a_thread_has_its_functions" in text


@pytest.mark.parametrize("ident", [0, -1, 12345])
def test_a_thread_that_is_not_there_has_none(ident: int) -> None:
    assert stack_of_thread(ident, "it") == "it: no stack"


def test_the_stack_of_a_task_has_all_that_it_awaits() -> None:
    async def inner(call: ThreadCall) -> None:
        await call.flag

    async def middle(call: ThreadCall) -> None:
        await inner(call)

    async def through_a_generator(call: ThreadCall) -> None:
        async def generator() -> Any:
            await call.flag
            yield 1

        async for _ in generator():
            pass

    async def main() -> None:
        for function, names in (
            (middle, ["middle", "inner"]),
            (through_a_generator, ["through_a_generator"]),
        ):
            call = ThreadCall(int, (), {}, contextvars.copy_context(), running_port())
            task = asyncio.ensure_future(function(call))
            task.set_name("mine")
            await asyncio.sleep(0)
            text = stack_of_task(call, "the task")
            assert text.startswith("the task (mine):\n")
            order = [text.index(f"in {name}") for name in names]
            assert order == sorted(order)
            running_port().raise_flag(call.flag)
            await task
            assert stack_of_task(call, "the task") == "the task: no stack"

    asyncio.run(main())


@pytest.mark.parametrize("call", [object(), None])
def test_what_is_no_call_has_no_task(call: Any) -> None:
    assert stack_of_task(call, "it") == "it: no stack"


def test_a_call_of_a_loop_that_is_gone_has_no_task() -> None:
    async def main() -> ThreadCall:
        return ThreadCall(int, (), {}, contextvars.copy_context(), running_port())

    assert stack_of_task(asyncio.run(main()), "it") == "it: no stack"


def test_a_wait_that_has_come_to_look_has_one_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is remembered from look to look."""
    made: list[Any] = []

    class Noted(Silence):
        def __init__(self, call: LoopCall) -> None:
            super().__init__(call)
            made.append(self)

    monkeypatch.setattr(reports, "Silence", Noted)

    looked: list[Any] = []
    look = Silence.look

    def noted(self: Silence) -> None:
        looked.append(self)
        look(self)

    monkeypatch.setattr(Silence, "look", noted)

    async def takes_a_while() -> None:
        await poll(lambda: len(looked) > 5)

    Thread(lambda: async_to_sync(takes_a_while)()).outcome()
    assert len(made) == 1
