"""The thread of an event loop: who shares it, what ends it and what does not, forks, and gevent."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio.to_thread
import pytest
from support.drive import LOOPS
from support.engines import PATIENCE, Thread, eventually, script, threads_named

from bridge.engines import loop_thread as loop_thread_module
from bridge.engines.loop_thread import LoopFactory, LoopThread
from bridge.exceptions import LoopGone, UsageError

T = TypeVar("T")

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(params=[name for name in LOOPS if name != "trio"])
def factory(request: pytest.FixtureRequest) -> LoopFactory:
    """Makes loops of each kind; a new one each time, so that no other test shares the thread."""
    return factory_of(request.param)


def factory_of(name: str = "asyncio") -> LoopFactory:
    if name == "uvloop":
        import uvloop

        return lambda: uvloop.new_event_loop()
    return lambda: asyncio.new_event_loop()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does, its loop threads are gone afterwards."""
    before = set(threads_named("bridge-"))
    yield
    eventually(lambda: set(threads_named("bridge-")) <= before, "the threads of loop and executor end")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last steps of a loop get little time."""
    monkeypatch.setattr(loop_thread_module, "_LAST_STEPS", 0.1)


def running(factory: LoopFactory) -> LoopThread:
    """A thread that has been started."""
    thread = LoopThread.shared(factory)
    thread.start()
    return thread


def end(thread: LoopThread) -> None:
    """Give it back, and wait for its end."""
    thread.release()
    assert thread.join(PATIENCE), "the loop does not end"


@pytest.fixture
def thread(factory: LoopFactory) -> Iterator[LoopThread]:
    thread = running(factory)
    yield thread
    end(thread)


def on_loop(thread: LoopThread, function: Callable[[], T]) -> T:
    """What the function returns on the loop's thread."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    thread.submit(run)
    return future.result(PATIENCE)


def await_on(thread: LoopThread, coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, thread.port.loop).result(PATIENCE)


class Blocked:
    """The loop is held up from beginning to end of the block."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._holds = threading.Event()
        self.free = threading.Event()

    def _hold(self) -> None:
        self._holds.set()
        assert self.free.wait(PATIENCE)

    def __enter__(self) -> Blocked:
        # Not by `submit`, whose callbacks would run in the same step.
        self._thread.port.loop.call_soon_threadsafe(self._hold)
        assert self._holds.wait(PATIENCE)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.free.set()


# -- sharing


@pytest.mark.req("A-01")
def test_users_of_the_same_factory_share_a_thread() -> None:
    one, other = factory_of(), factory_of()
    first = LoopThread.shared(one)
    assert LoopThread.shared(one) is first
    different = LoopThread.shared(other)
    assert different is not first
    for thread in (first, first, different):
        thread.release()


def test_nothing_is_started_before_the_start() -> None:
    calls: list[None] = []

    def factory() -> asyncio.AbstractEventLoop:
        calls.append(None)
        return asyncio.new_event_loop()

    before = set(threading.enumerate())
    thread = LoopThread.shared(factory)
    assert not thread.alive()
    assert not thread.started
    assert not thread.is_current()
    assert calls == []
    assert set(threading.enumerate()) <= before
    thread.release()
    assert not thread.alive()


@pytest.mark.req("A-01")
def test_the_last_user_ends_the_loop(factory: LoopFactory) -> None:
    thread = running(factory)
    assert LoopThread.shared(factory) is thread
    assert LoopThread.shared(factory) is thread
    for _ in range(2):
        thread.release()
        joined = Thread(lambda: thread.join(3600)).outcome()
        assert joined is False, "it has not been told to stop, so there is nothing to wait for"
        assert on_loop(thread, lambda: 1) == 1
    end(thread)
    assert not thread.alive()


def test_after_the_last_user_comes_another_thread(factory: LoopFactory) -> None:
    first = running(factory)
    first.release()
    second = LoopThread.shared(factory)  # while the first is ending, perhaps
    assert second is not first
    second.start()
    assert second.alive()
    assert first.join(PATIENCE)
    assert second.alive()
    end(second)


def test_users_that_have_never_started_it_may_leave() -> None:
    factory = factory_of()
    thread = LoopThread.shared(factory)
    thread.release()
    other = LoopThread.shared(factory)
    assert other is not thread
    other.release()


@pytest.mark.req("A-01")
def test_concurrent_users_start_one_loop(factory: LoopFactory) -> None:
    made: list[asyncio.AbstractEventLoop] = []
    barrier = threading.Barrier(20)

    def make() -> asyncio.AbstractEventLoop:
        made.append(factory())
        return made[-1]

    def use() -> tuple[LoopThread, int]:
        barrier.wait(PATIENCE)
        thread = LoopThread.shared(make)
        thread.start()
        assert thread.alive()
        return thread, on_loop(thread, threading.get_ident)

    users = [Thread(use) for _ in range(20)]
    outcomes = {user.outcome() for user in users}
    assert len(outcomes) == 1
    assert len(made) == 1
    [(thread, _)] = outcomes
    for _ in range(19):
        thread.release()
        assert thread.alive()
    end(thread)


def test_users_that_come_and_go_at_once_leave_nothing(factory: LoopFactory) -> None:
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait(PATIENCE)
        for _ in range(15):
            thread = LoopThread.shared(factory)
            thread.start()
            assert on_loop(thread, lambda: 1) == 1
            thread.release()

    for user in [Thread(use) for _ in range(8)]:
        user.outcome()
    assert not [key for key in LoopThread._shared if key[1] is factory]


# -- the start


@pytest.mark.req("A-01")
def test_the_loop_runs_in_a_daemon_thread_of_its_own(thread: LoopThread) -> None:
    where = on_loop(thread, threading.current_thread)
    assert where is not threading.current_thread()
    assert where.daemon
    assert where.name == "bridge-loop"
    assert thread.started
    assert thread.alive()
    assert on_loop(thread, asyncio.get_running_loop) is thread.port.loop
    assert on_loop(thread, thread.is_current)
    assert not thread.is_current()


def test_starting_again_does_nothing(thread: LoopThread) -> None:
    loop = thread.port.loop
    thread.start()
    assert on_loop(thread, lambda: thread.start()) is None
    assert thread.port.loop is loop


def test_the_loop_is_the_one_of_the_factory() -> None:
    loop = asyncio.new_event_loop()
    thread = running(lambda: loop)
    assert thread.port.loop is loop
    end(thread)


def test_the_loop_does_not_begin_in_its_first_users_context(factory: LoopFactory) -> None:
    """The first request would live as long as what runs there: a lifespan, and all the tasks it makes."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    token = variable.set("the first user's")
    thread = running(factory)
    try:
        seen: Future[str] = Future()
        thread.port.loop.call_soon_threadsafe(
            lambda: seen.set_result(variable.get()), context=contextvars.Context()
        )
        assert seen.result(PATIENCE) == "none"
        assert on_loop(thread, variable.get) == "none"
        # Nor has a callback that of whoever was the first to submit one.
        seen = Future()
        with Blocked(thread):
            thread.submit(lambda: None)
            Thread(lambda: thread.submit(lambda: seen.set_result(variable.get()))).outcome()
        assert seen.result(PATIENCE) == "none"
    finally:
        variable.reset(token)
        end(thread)


@pytest.mark.parametrize("error", [ValueError("no loop"), OSError(24, "too many files")], ids=repr)
def test_a_factory_that_raises_is_a_misuse(error: Exception) -> None:
    def factory() -> asyncio.AbstractEventLoop:
        raise error

    thread = LoopThread.shared(factory)
    for _ in range(2):
        with pytest.raises(UsageError, match="loop_factory raised") as caught:
            thread.start()
        assert type(error).__name__ in str(caught.value)
        assert caught.value.__cause__ is error
    assert not thread.alive()
    assert thread.started
    assert not thread.is_current()
    assert LoopThread.shared(factory) is not thread, "another user tries again"
    thread.release()


def test_a_factory_that_raises_what_is_no_exception_is_reported_as_well() -> None:
    def factory() -> asyncio.AbstractEventLoop:
        raise SystemExit(3)

    thread = LoopThread.shared(factory)
    with pytest.raises(LoopGone, match="could not be started") as caught:
        thread.start()
    assert isinstance(caught.value.__cause__, SystemExit)
    thread.release()


@pytest.mark.parametrize("nonsense", [None, 5, "loop", asyncio.SelectorEventLoop, object()], ids=type)
def test_a_factory_that_makes_no_loop_is_a_misuse(nonsense: Any) -> None:
    thread = LoopThread.shared(lambda: nonsense)
    with pytest.raises(UsageError, match=f"returned {type(nonsense).__name__}"):
        thread.start()
    thread.release()


def test_a_factory_that_makes_a_closed_loop_is_refused() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    thread = LoopThread.shared(lambda: loop)
    with pytest.raises((UsageError, LoopGone), match="closed"):
        thread.start()
    assert not thread.alive()
    thread.release()


def test_a_factory_that_makes_a_loop_that_runs_elsewhere_is_refused() -> None:
    """A mistake that is easily made: that is what the option `loop` is for."""
    script(
        """
import asyncio, logging, os, threading
from bridge.engines import loop_thread
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import UsageError
logging.disable()   # lest a thread that tries again and again fills the memory
loop_thread.START_TIMEOUT = 2
loop = asyncio.new_event_loop()
runs = threading.Event()
loop.call_soon(runs.set)
threading.Thread(target=loop.run_forever, daemon=True).start()
assert runs.wait(10)
thread = LoopThread.shared(lambda: loop)
status = 1
try:
    thread.start()
except UsageError as error:
    assert "run" in str(error), error
    assert not thread.alive()
    went_on = threading.Event()
    loop.call_soon_threadsafe(went_on.set)
    status = 0 if went_on.wait(10) else 2
finally:
    os._exit(status)
"""
    )


def test_all_wait_for_a_factory_that_is_slow() -> None:
    called, may_return = threading.Event(), threading.Event()

    def factory() -> asyncio.AbstractEventLoop:
        called.set()
        assert may_return.wait(PATIENCE)
        return asyncio.new_event_loop()

    thread = LoopThread.shared(factory)
    users = [Thread(thread.start) for _ in range(5)]
    assert called.wait(PATIENCE)
    eventually(lambda: len(thread._started._gates) == 5, "all wait")
    assert not thread.started
    assert not thread.alive()
    assert not any(user.over for user in users)
    may_return.set()
    for user in users:
        user.outcome()
    assert thread.alive()
    end(thread)


def test_a_start_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_thread_module, "START_TIMEOUT", 0.02)
    may_return = threading.Event()

    def factory() -> asyncio.AbstractEventLoop:
        assert may_return.wait(PATIENCE)
        return asyncio.new_event_loop()

    thread = LoopThread.shared(factory)
    with pytest.raises(LoopGone, match="did not begin within"):
        thread.start()
    monkeypatch.setattr(loop_thread_module, "START_TIMEOUT", PATIENCE)
    may_return.set()
    thread.start()
    assert thread.alive(), "it has come after all"
    end(thread)


def test_a_thread_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loop_thread_module, "start_native_thread", refuse)
    factory = factory_of()
    thread = LoopThread.shared(factory)
    for _ in range(2):
        with pytest.raises(LoopGone, match="can't start new thread"):
            thread.start()
    assert not thread.alive()
    monkeypatch.undo()
    another = running(factory)
    assert another is not thread, "another user tries again"
    end(another)
    thread.release()


def test_a_loop_that_has_ended_cannot_be_started_again(factory: LoopFactory) -> None:
    thread = running(factory)
    end(thread)
    with pytest.raises(LoopGone):
        thread.start()


def test_its_state_is_shown() -> None:
    factory = factory_of()
    thread = LoopThread.shared(factory)
    shown = [repr(thread)]
    thread.start()
    shown.append(repr(thread))
    end(thread)
    shown.append(repr(thread))
    assert shown == ["<LoopThread not started>", "<LoopThread alive>", "<LoopThread ended>"]


# -- what is submitted


def test_callbacks_run_in_order_each_once(thread: LoopThread) -> None:
    ran: list[int] = []
    for number in range(200):
        thread.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
    on_loop(thread, lambda: None)
    assert ran == list(range(200))


def test_a_callback_may_submit_another(thread: LoopThread) -> None:
    ran: list[str] = []
    over = threading.Event()

    def first() -> None:
        thread.submit(second)
        ran.append("first")

    def second() -> None:
        ran.append("second")
        over.set()

    thread.submit(first)
    assert over.wait(PATIENCE)
    assert ran == ["first", "second"]


@pytest.mark.usefixtures("preemptive")
def test_callbacks_of_many_threads_run_each_once(thread: LoopThread) -> None:
    ran: list[tuple[int, int]] = []

    def submit(name: int) -> None:
        for number in range(300):
            thread.submit(lambda number=number: ran.append((name, number)))  # type: ignore[misc]
            if number % 50 == 0:
                on_loop(thread, lambda: None)

    for user in [Thread(lambda name=name: submit(name)) for name in range(8)]:  # type: ignore[misc]
        user.outcome()
    on_loop(thread, lambda: None)
    for name in range(8):
        assert [number for who, number in ran if who == name] == list(range(300))
    assert len(ran) == 8 * 300


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often it is woken from other threads; fails on request."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0
        self.error: BaseException | None = None

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        self.wakes += 1
        if self.error is not None:
            raise self.error
        return super().call_soon_threadsafe(*args, **options)


def counting() -> tuple[LoopThread, CountingLoop]:
    loops: list[CountingLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        loops.append(CountingLoop())
        return loops[-1]

    thread = running(factory)
    return thread, loops[0]


def test_the_loop_is_woken_once_for_all_that_waits() -> None:
    """Each wake-up costs a system call there, and a turn of the loop here."""
    thread, loop = counting()
    ran: list[int] = []
    with Blocked(thread):
        before = loop.wakes
        for number in range(100):
            thread.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
        assert loop.wakes == before + 1
    on_loop(thread, lambda: None)
    assert ran == list(range(100))
    before = loop.wakes
    on_loop(thread, lambda: None)
    assert loop.wakes == before + 1, "a later one wakes it again"
    end(thread)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()], ids=repr)
def test_a_wake_up_that_failed_does_not_disturb_the_next(error: BaseException) -> None:
    thread, loop = counting()
    ran: list[str] = []
    loop.error = error
    with pytest.raises(type(error)):
        thread.submit(lambda: ran.append("first"))
    loop.error = None
    on_loop(thread, lambda: ran.append("second"))
    assert ran[-1] == "second"
    end(thread)


def test_a_callback_that_raises_is_logged_and_the_others_run(
    thread: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    def fail() -> None:
        raise ValueError("why")

    with Blocked(thread):
        thread.submit(fail)
        thread.submit(lambda: ran.append(1))
        thread.submit(fail)
        thread.submit(lambda: ran.append(2))
    on_loop(thread, lambda: None)
    assert ran == [1, 2]
    records = [record for record in caplog.records if record.name == "bridge.loop"]
    assert [record.levelname for record in records] == ["ERROR", "ERROR"]
    assert all(record.exc_info and isinstance(record.exc_info[1], ValueError) for record in records)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_callback_that_raises_what_is_no_exception_does_not_keep_the_others(
    thread: LoopThread, error: type[BaseException]
) -> None:
    ran = threading.Event()

    def fail() -> None:
        raise error

    with Blocked(thread):
        thread.submit(fail)
        thread.submit(ran.set)
    assert ran.wait(PATIENCE), "it would wait until somebody submits something else"
    assert thread.alive()


def test_a_callback_is_not_kept(thread: LoopThread) -> None:
    class Held:
        def __call__(self) -> None:
            pass

    held = Held()
    alive = weakref.ref(held)
    thread.submit(held)
    del held
    on_loop(thread, lambda: None)
    eventually(lambda: alive() is None)


def test_nothing_can_be_submitted_after_the_end(factory: LoopFactory) -> None:
    thread = running(factory)
    end(thread)
    for _ in range(3):
        with pytest.raises(LoopGone):
            thread.submit(lambda: None)


def test_what_comes_just_before_the_loop_is_closed_does_not_hide_that_it_is() -> None:
    """It will not run any more, and whoever comes later has to be told."""

    class LateLoop(asyncio.SelectorEventLoop):
        def close(self) -> None:
            if not self.is_closed():
                Thread(lambda: late.submit(lambda: None)).outcome()
            super().close()

    late = running(lambda: LateLoop())
    end(late)
    for _ in range(3):
        with pytest.raises(LoopGone):
            late.submit(lambda: None)


# -- what does not end the loop


@pytest.mark.req("A-01")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_task_that_asks_the_interpreter_to_exit_does_not_end_the_loop(
    thread: LoopThread, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise error

    for _ in range(3):
        task = on_loop(thread, lambda: thread.port.loop.create_task(fail()))
        eventually(task.done)
        assert task.exception() is error
        assert on_loop(thread, lambda: 1) == 1
    assert thread.alive()
    eventually(lambda: len([record for record in caplog.records if record.name == "bridge.loop"]) == 3)


@pytest.mark.req("A-01")
def test_somebodys_stop_does_not_end_the_loop(thread: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = on_loop(thread, lambda: thread.port.loop.create_task(tick()))
    for number in range(3):
        on_loop(thread, thread.port.loop.stop)
        assert on_loop(thread, lambda: 1) == 1
        seen = ticks
        eventually(lambda seen=seen: ticks > seen, "other tasks go on")  # type: ignore[misc]
        eventually(
            lambda number=number: len([r for r in caplog.records if r.name == "bridge.loop"]) == number + 1  # type: ignore[misc]
        )
    assert thread.alive()
    assert not ticking.done()


@pytest.mark.req("A-01")
def test_somebody_who_cancels_all_tasks_does_not_end_the_loop(
    thread: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait() -> None:
        await asyncio.sleep(PATIENCE)

    async def cancel_all() -> int:
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        return len(others)

    for _ in range(3):
        task = on_loop(thread, lambda: thread.port.loop.create_task(wait()))
        assert await_on(thread, cancel_all()) >= 1
        eventually(task.cancelled)
        assert on_loop(thread, lambda: 1) == 1
    assert thread.alive()
    for _ in range(20):
        assert on_loop(thread, lambda: 1) == 1
    interruptions = [record for record in caplog.records if record.name == "bridge.loop"]
    assert len(interruptions) <= 3, "it waits again, and does not try in vain at each turn"


def test_somebodys_close_ends_it_and_all_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """What runs cannot be closed, but between two runs of it there is a moment."""

    class ClosingLoop(asyncio.SelectorEventLoop):
        closes = False

        def run_forever(self) -> None:
            super().run_forever()
            if self.closes:
                self.close()

    factory: LoopFactory = lambda: ClosingLoop()  # noqa: E731
    thread = running(factory)
    loop = thread.port.loop
    assert isinstance(loop, ClosingLoop)

    def close() -> None:
        loop.closes = True
        loop.stop()

    on_loop(thread, close)
    eventually(lambda: not thread.alive())
    with pytest.raises(LoopGone):
        thread.submit(lambda: None)
    eventually(lambda: "closed by somebody else" in caplog.text)
    another = running(factory)
    assert another is not thread
    end(another)
    thread.release()
    assert thread.join(PATIENCE)
    gc.collect()


def test_worker_threads_of_anyio_outlive_the_task_that_they_were_started_for(thread: LoopThread) -> None:
    """Frameworks run blocking functions there; a thread for each would cost as much as all the rest."""

    async def request() -> int:
        return await anyio.to_thread.run_sync(threading.get_ident)

    assert len({await_on(thread, request()) for _ in range(5)}) == 1


# -- the end


def descriptors() -> set[tuple[str, str]]:
    """The file descriptors of this process, and what each is open on."""
    found = set()
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        with contextlib.suppress(OSError):  # closed meanwhile, as the listing's own
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


@pytest.mark.req("L-09")
def test_the_end_leaves_nothing_behind(factory: LoopFactory) -> None:
    end(running(factory))  # whatever is set up once
    gc.collect()
    before = descriptors()
    executors = set(threads_named("bridge-executor"))  # of other modules' fixtures
    for _ in range(3):
        thread = running(factory)
        loop = thread.port.loop
        await_on(thread, work_in_executor())
        where = on_loop(thread, threading.current_thread)
        end(thread)
        assert loop.is_closed()
        where.join(PATIENCE)
        assert not where.is_alive()
    eventually(lambda: set(threads_named("bridge-executor")) <= executors)
    gc.collect()  # a loop or socket that was not closed would warn now, which is an error
    eventually(lambda: descriptors() <= before)


async def work_in_executor() -> int:
    return await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)


def test_what_was_submitted_before_the_end_runs(factory: LoopFactory) -> None:
    thread = running(factory)
    ran: list[int] = []
    with Blocked(thread):
        for number in range(5):
            thread.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
        thread.release()
    assert thread.join(PATIENCE)
    assert ran == list(range(5))


@pytest.mark.req("L-09")
def test_tasks_are_cancelled_at_the_end_and_may_clean_up(factory: LoopFactory) -> None:
    cleaned: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            await asyncio.get_running_loop().run_in_executor(None, cleaned.append, "task")

    thread = running(factory)
    task = on_loop(thread, lambda: thread.port.loop.create_task(wait()))
    on_loop(thread, lambda: None)
    end(thread)
    assert task.cancelled()
    assert cleaned == ["task"]


def test_generators_are_closed_at_the_end(factory: LoopFactory) -> None:
    cleaned: list[str] = []

    async def count() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append("generator")

    thread = running(factory)
    generator = count()

    async def begin() -> int:
        return await generator.__anext__()

    assert await_on(thread, begin()) == 1
    end(thread)
    assert cleaned == ["generator"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.req("L-09")
def test_a_thread_of_the_executor_that_is_stuck_does_not_hold_up_the_end(
    factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threads_named("bridge-executor"))
    begun, free = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert free.wait(PATIENCE)

    thread = running(factory)
    loop = thread.port.loop
    on_loop(thread, lambda: loop.run_in_executor(None, block))
    assert begun.wait(PATIENCE)
    try:
        end(thread)
        assert loop.is_closed()
        assert "closing the event loop" in caplog.text
    finally:
        free.set()
    eventually(lambda: set(threads_named("bridge-executor")) <= before, "nor does it wake a closed loop")


@pytest.mark.req("L-09")
def test_a_task_that_refuses_to_end_does_not_hold_up_the_end(
    factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of it is waited for; but on a busy machine the task has to have its turn in it.
    monkeypatch.setattr(loop_thread_module, "_LAST_STEPS", 0.7)
    refusals = 0

    async def refuse() -> None:
        nonlocal refusals
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                refusals += 1

    thread = running(factory)
    loop = thread.port.loop
    loop.set_exception_handler(lambda *args: None)  # it complains when the task is freed
    on_loop(thread, lambda: loop.create_task(refuse()))
    await_on(thread, asyncio.sleep(0))
    end(thread)
    assert loop.is_closed()
    assert refusals == 1
    gc.collect()


@pytest.mark.req("L-09")
def test_a_loop_that_does_not_turn_is_waited_for_as_long_as_was_said(factory: LoopFactory) -> None:
    thread = running(factory)
    with Blocked(thread) as blocked:
        thread.release()
        assert not thread.join(0.05)
        assert thread.alive()
        another = running(factory)
        assert another is not thread
        blocked.free.set()
    assert thread.join(PATIENCE)
    end(another)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_task_that_asks_to_exit_when_it_is_cancelled_does_not_keep_others_from_ending(
    factory: LoopFactory, error: BaseException
) -> None:
    cleaned: list[str] = []
    before = set(threads_named("bridge-executor"))

    async def fail() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise error from None

    async def wait(name: str) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            cleaned.append(name)

    thread = running(factory)

    def begin() -> list[asyncio.Task[None]]:
        loop = thread.port.loop
        return [loop.create_task(wait("a")), loop.create_task(fail()), loop.create_task(wait("b"))]

    tasks = on_loop(thread, begin)
    await_on(thread, work_in_executor())
    end(thread)
    assert tasks[1].done()
    assert tasks[1].exception() is error
    assert sorted(cleaned) == ["a", "b"]
    eventually(lambda: set(threads_named("bridge-executor")) <= before)


def test_a_task_that_cancels_all_others_when_it_is_cancelled_does_not_spoil_the_end(
    factory: LoopFactory,
) -> None:
    cleaned: list[str] = []

    async def cancel_all() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    async def count() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            cleaned.append("generator")

    thread = running(factory)
    generator = count()

    async def begin() -> int:
        return await generator.__anext__()

    await_on(thread, begin())
    await_on(thread, work_in_executor())
    on_loop(thread, lambda: thread.port.loop.create_task(cancel_all()))
    await_on(thread, asyncio.sleep(0))
    end(thread)
    assert thread.port.loop.is_closed()
    assert cleaned == ["generator"]


def test_the_loop_may_give_itself_back(factory: LoopFactory) -> None:
    thread = running(factory)

    def give_back() -> bool:
        thread.release()
        return thread.join(PATIENCE)

    assert on_loop(thread, give_back) is False, "it cannot wait for itself"
    assert thread.join(PATIENCE)


@pytest.mark.parametrize("moment", ["factory", "first turn"])
def test_a_loop_that_is_given_back_while_it_starts_ends(moment: str) -> None:
    """Whoever has started it gave up waiting: interrupted, or out of patience."""

    class EarlyLoop(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            if moment == "first turn" and not early.started:
                Thread(early.release).outcome()
            super().run_forever()

    def factory() -> asyncio.AbstractEventLoop:
        if moment == "factory":
            Thread(early.release).outcome()
        return EarlyLoop()

    early = LoopThread.shared(factory)
    with contextlib.suppress(LoopGone):
        early.start()
    assert early.join(PATIENCE)
    assert early.port.loop.is_closed()


def test_a_process_exits_while_the_loop_runs() -> None:
    script(
        """
import asyncio, threading
from bridge.engines.loop_thread import LoopThread
thread = LoopThread.shared(asyncio.new_event_loop)
thread.start()
ran = threading.Event()
async def wait():
    ran.set()
    while True:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            pass
thread.submit(lambda: thread.port.loop.create_task(wait()))
assert ran.wait(10)
""",
        timeout=20,
    )


# -- a loop that runs already


def test_a_loop_of_somebody_else_is_used_and_left_alone(factory: LoopFactory) -> None:
    owner = running(factory)
    thread = LoopThread(running=owner.port.loop)
    thread.start()
    assert thread.started
    assert thread.alive()
    assert on_loop(thread, threading.get_ident) == on_loop(owner, threading.get_ident)
    assert on_loop(thread, thread.is_current)
    assert not thread.is_current()
    for _ in range(2):
        thread.release()
        assert Thread(lambda: thread.join(3600)).outcome() is False, "there is nothing to wait for"
    assert on_loop(thread, lambda: 1) == 1
    assert owner.alive()
    end(owner)
    assert not thread.alive()
    with pytest.raises(LoopGone):
        thread.submit(lambda: None)


def test_a_loop_of_somebody_else_that_does_not_run_is_not_alive() -> None:
    loop = asyncio.new_event_loop()
    thread = LoopThread(running=loop)
    thread.start()
    assert not thread.alive()
    loop.close()
    assert not thread.alive()
    with pytest.raises(LoopGone):
        thread.submit(lambda: None)


def test_what_waits_in_a_loop_of_somebody_else_does_not_hide_that_it_is_closed() -> None:
    loop = asyncio.new_event_loop()
    thread = LoopThread(running=loop)
    thread.submit(lambda: None)  # its owner has stopped it, and closes it
    loop.close()
    for _ in range(3):
        with pytest.raises(LoopGone):
            thread.submit(lambda: None)


def test_users_of_one_loop_of_somebody_else_are_each_served() -> None:
    owner = running(factory_of())
    threads = [LoopThread(running=owner.port.loop) for _ in range(3)]
    assert [on_loop(thread, lambda: 1) for thread in threads] == [1, 1, 1]
    end(owner)


# -- forks

FORK = """
import asyncio, ctypes, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)   # forking beside threads is what is tested
from concurrent.futures import Future
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import LoopGone

def call(thread, function=threading.get_ident):
    future = Future()
    thread.submit(lambda: future.set_result(function()))
    return future.result(20)

def new_loop():
    if NAME == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def in_child(function, fork=os.fork):
    '''The child's exit status; 97 if it raised.'''
    pid = fork()
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

def silent_fork():
    '''As a server in C forks: Python is not told, and none of its hooks runs.

    So the child's interpreter is sound only if no other thread is about to take its lock.
    '''
    me, state = str(threading.get_native_id()), "R"
    while state != "S":
        time.sleep(0.05)
        state = "S"
        for task in os.listdir("/proc/self/task"):
            if task != me:
                with open(f"/proc/self/task/{task}/stat") as stat:
                    state = max(state, stat.read().rpartition(")")[2].split()[0], key=lambda s: s != "S")
    return ctypes.PyDLL(None).fork()

def use_anew():
    assert not parents.alive(), "its thread is not here"
    assert not parents.is_current()
    thread = LoopThread.shared(new_loop)
    assert thread is not parents
    assert list(LoopThread._shared.values()) == [thread]
    assert parents in LoopThread._inherited, "it must not be freed here"
    thread.start()
    assert thread.alive()
    assert thread.port.loop is not parents.port.loop
    call(thread)
    async def sleep():
        await asyncio.sleep(0.001)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 5)
    assert asyncio.run_coroutine_threadsafe(sleep(), thread.port.loop).result(20) == 5
    thread.release()
    assert thread.join(20)
    parents.release()   # what is not this process's is left alone
    assert not parents.join(0.01)
    assert not parents.port.loop.is_closed()
"""


HOW_TO_FORK = ["os.fork", "silent_fork"] if sys.platform == "linux" else ["os.fork"]


@forks
@pytest.mark.req("A-02")
@pytest.mark.parametrize("how", HOW_TO_FORK)
@pytest.mark.parametrize("name", [name for name in LOOPS if name != "trio"])
def test_a_forked_child_has_a_thread_of_its_own_and_does_not_disturb_the_parents(name: str, how: str) -> None:
    script(
        f"NAME = {name!r}"
        + FORK
        + f"""
parents = LoopThread.shared(new_loop)
parents.start()
call(parents)
async def tick():
    for number in range(20):
        await asyncio.sleep(0.001)
    return number
ticking = asyncio.run_coroutine_threadsafe(tick(), parents.port.loop)
assert ticking.result(20) == 19
for _ in range(3):
    assert in_child(use_anew, {how}) == 0
    # The child has made, used and closed a loop: this one still polls what it polled.
    before = call(parents)
    assert asyncio.run_coroutine_threadsafe(tick(), parents.port.loop).result(20) == 19
    assert call(parents) == before
    assert parents.alive()
parents.release()
assert parents.join(20)
"""
    )


@forks
@pytest.mark.req("A-02")
def test_a_child_of_a_child_has_a_thread_of_its_own() -> None:
    script(
        "NAME = 'asyncio'"
        + FORK
        + """
parents = LoopThread.shared(new_loop)
parents.start()

def child():
    global parents
    mine = LoopThread.shared(new_loop)
    mine.start()
    call(mine)
    parents = mine
    assert in_child(use_anew) == 0
    call(mine)
    mine.release()
    assert mine.join(20)

assert in_child(child) == 0
call(parents)
"""
    )


@forks
@pytest.mark.req("A-02")
@pytest.mark.parametrize("how", HOW_TO_FORK)
def test_a_fork_in_the_middle_of_somebody_elses_call_does_not_lock_the_child(how: str) -> None:
    """Locks that a thread of the parent holds at that moment stay held in the child."""
    script(
        "NAME = 'asyncio'"
        + FORK
        + f"""
parents = LoopThread.shared(new_loop)
parents.start()
held, free = threading.Event(), threading.Event()
def hold():
    with LoopThread._registry_lock(), parents._lock:
        held.set()
        free.wait(20)
thread = threading.Thread(target=hold)
thread.start()
assert held.wait(20)
assert in_child(use_anew, {how}) == 0
free.set()
thread.join(20)
call(parents)
"""
    )


@forks
@pytest.mark.req("A-02")
def test_a_fork_on_the_loop_itself_leaves_no_loop_in_the_child() -> None:
    """An app may start a process of `multiprocessing` from a coroutine."""
    script(
        "NAME = 'asyncio'"
        + FORK
        + """
parents = LoopThread.shared(new_loop)
parents.start()
assert call(parents, lambda: in_child(use_anew)) == 0
call(parents)
parents.release()
assert parents.join(20)
"""
    )


@forks
@pytest.mark.req("A-02")
def test_a_thread_that_was_to_be_started_when_the_process_forked_is_started_in_the_child() -> None:
    script(
        "NAME = 'asyncio'"
        + FORK
        + """
parents = LoopThread.shared(new_loop)

def child():
    thread = LoopThread.shared(new_loop)
    assert thread is not parents, "it belongs to the parent"
    thread.start()
    call(thread)
    thread.release()
    assert thread.join(20)

assert in_child(child) == 0
parents.start()
call(parents)
parents.release()
assert parents.join(20)
"""
    )


# -- gevent

GEVENT = """
from gevent import monkey
monkey.patch_all()
import asyncio, threading, time
import _thread, gevent
from concurrent.futures import Future
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import UsageError
native_id = _thread.get_native_id

def call(thread, function):
    result = []
    thread.submit(lambda: result.append(function()))
    with gevent.Timeout(10):
        while not result:
            gevent.sleep(0.001)
    return result[0]
"""


@pytest.mark.req("A-03")
def test_under_gevent_the_loop_runs_in_a_real_thread() -> None:
    script(
        GEVENT
        + """
thread = LoopThread.shared(asyncio.new_event_loop)
waits = threading.Event()
ticks = []
def tick():
    while not waits.is_set():
        ticks.append(None)
        gevent.sleep(0.001)
ticking = gevent.spawn(tick)
gevent.spawn(thread.start).get(timeout=10)
assert thread.alive()
assert call(thread, native_id) != native_id()
assert call(thread, thread.is_current)
assert not thread.is_current()

# The loop is held up: the greenlets are not.
free = monkey.get_original("_thread", "allocate_lock")()
free.acquire()
entered = []
def hold():
    entered.append(None)
    free.acquire(True, 10)
thread.submit(hold)
while not entered:
    gevent.sleep(0.001)
seen = len(ticks)
while len(ticks) < seen + 10:
    gevent.sleep(0.001)
free.release()
waits.set()
ticking.join(10)

# Nor does waiting for the end hold them up.
thread.release()
assert gevent.spawn(thread.join, 10).get(timeout=10)
"""
    )


@pytest.mark.req("A-03")
def test_under_gevent_blocking_functions_run_in_the_executor() -> None:
    script(
        GEVENT
        + """
thread = LoopThread.shared(asyncio.new_event_loop)
thread.start()
def block(seconds):
    time.sleep(seconds)
    return seconds

async def request():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.001)
    first = await loop.run_in_executor(None, block, 0.01)
    others = await asyncio.gather(*[asyncio.to_thread(block, 0.01) for _ in range(5)])
    return [first, *others]

results = []
async def keep():
    results.append(await request())
for _ in range(3):
    call(thread, lambda: thread.port.loop.create_task(keep()))
with gevent.Timeout(10):
    while len(results) < 3:
        gevent.sleep(0.001)
assert results == [[0.01] * 6] * 3
thread.release()
assert thread.join(10)
"""
    )


@pytest.mark.skipif("uvloop" not in LOOPS, reason="there is no uvloop here")
@pytest.mark.req("A-03")
def test_under_gevent_uvloop_is_refused() -> None:
    script(
        GEVENT
        + """
import uvloop
thread = LoopThread.shared(uvloop.new_event_loop)
for _ in range(2):
    try:
        thread.start()
    except UsageError as error:
        assert "uvloop" in str(error) and "gevent" in str(error)
    else:
        raise AssertionError("it was not refused")
assert not thread.alive()
"""
    )


def test_gevent_that_has_been_imported_but_not_patched_anything_changes_nothing() -> None:
    script(
        """
import asyncio, gevent, gevent.monkey, threading, uvloop
from bridge.engines.loop_thread import LoopThread
for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
    thread = LoopThread.shared(factory)
    thread.start()
    assert thread.alive()
    thread.release()
    assert thread.join(10)
"""
        if "uvloop" in LOOPS
        else ""
    )
