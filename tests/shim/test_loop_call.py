"""One async call for a thread that waits: where it runs, every way in which the wait can end."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import dis
import gc
import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio
from asgiref.local import Local
from support.drive import run
from support.engines import PATIENCE, FakePort, Thread, eventually, in_thread, script, threads_named
from support.shim_calls import PATIENT

from bridge import async_to_sync, sync_to_async
from bridge.engines import asgiref_notes
from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.home import enter, home
from bridge.engines.loop_thread import LoopThread
from bridge.engines.ports import Place
from bridge.engines.running import running_port
from bridge.engines.waiting_thread import WaitingThread
from bridge.exceptions import LoopGone, UnsuitableFunction, UsageError, WouldDeadlock
from bridge.shim import loop_call, persistent, to_sync
from bridge.shim.loop_call import LoopCall, find_loop

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Ended(BaseException):
    """What a server raises in a thread that it ends."""


pytestmark = pytest.mark.usefixtures("single")


def call(place: Place, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return LoopCall(function, args, kwargs, place).outcome()


def on(place: LoopThread, function: Callable[[], Any]) -> Any:
    """Call a function on the loop's thread."""
    over = threading.Event()
    outcome: list[Any] = []

    def run() -> None:
        outcome.append(function())
        over.set()

    place.submit(run)
    assert over.wait(PATIENCE)
    return outcome[0]


# -- which loop


async def nothing() -> None: ...


def test_a_thread_that_nobody_awaits_gets_the_loop_that_the_process_keeps() -> None:
    kept = persistent.persistent_loop()
    assert Thread(lambda: find_loop(nothing)).outcome() is kept


def test_a_loop_of_a_kind_that_was_chosen_is_kept_as_well() -> None:
    def factory() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    first = find_loop(nothing, factory=factory)
    assert find_loop(nothing, factory=factory) is first
    assert first is not find_loop(nothing)
    assert isinstance(first, LoopThread)
    first.release()
    assert first.join(PATIENCE)
    persistent._threads.pop(factory)


def test_a_new_loop_is_nobody_else_s() -> None:
    places = [find_loop(nothing, True) for _ in range(2)]
    assert places[0] is not places[1]
    for found in places:
        assert isinstance(found, LoopThread)
        assert found.alive()
        found.release()
        assert found.join(PATIENCE)


def test_the_loop_whose_task_waits_for_the_thread_comes_first(loop: str) -> None:
    async def main() -> None:
        port = running_port()

        def look() -> Place:
            enter(port)
            return find_loop(nothing)

        assert await in_thread(look) is port

    run(main, loop)


def test_the_loop_that_asgiref_has_noted_is_the_newer_one(place: LoopThread) -> None:
    """Our jobs leave both notes, asgiref's functions only theirs."""

    def look() -> Any:
        other: Any = FakePort()
        other.loop = object()
        home.port = other
        asgiref_notes.enter(place.port.loop)
        found = find_loop(nothing)
        home.port = None
        return found.port.loop

    assert Thread(look).outcome() is place.port.loop


@pytest.mark.parametrize("noted", ["ended", "another process's"])
def test_a_loop_that_does_not_run_is_not_waited_for(noted: str) -> None:
    """What threads were told stays when a loop ends; then the process's own loop is the place."""
    ended = asyncio.new_event_loop()
    ended.close()

    def look() -> Any:
        port = AsyncioPort(ended)
        enter(port)
        if noted == "another process's":
            asgiref_notes.restore_note((ended, os.getpid() + 1, None))
        return find_loop(nothing)

    assert Thread(look).outcome() is persistent.persistent_loop()


def test_a_dead_loop_that_asgiref_has_noted_does_not_hide_the_one_that_waits(place: LoopThread) -> None:
    """asgiref leaves its note in any thread in which one of its functions has run."""
    ended = asyncio.new_event_loop()
    ended.close()

    def look() -> Any:
        enter(place.port)
        asgiref_notes.restore_note((ended, os.getpid(), None))
        return find_loop(nothing)

    assert Thread(look).outcome() is place.port


def test_after_a_new_loop_in_a_job_the_job_s_own_loop_is_found_again(loop: str) -> None:
    """A call of asgiref's has run in the thread meanwhile, for the new loop."""
    from asgiref.sync import sync_to_async as theirs

    async def inner() -> None:
        await theirs(int)()

    async def where() -> Any:
        return running_port().loop, threading.get_ident()

    def job() -> Any:
        async_to_sync(inner, force_new_loop=True)()
        return async_to_sync(where)()

    async def main() -> None:
        expected = running_port().loop, threading.get_ident()
        for _ in range(2):
            assert await sync_to_async(job, thread_sensitive=False)() == expected

    run(main, loop)


def test_a_thread_in_which_a_loop_runs_is_refused(loop: str) -> None:
    async def main() -> None:
        for options in ({}, {"force_new_loop": True}, {"factory": asyncio.new_event_loop}):
            with pytest.raises(WouldDeadlock, match=r"await nothing\(") as caught:
                find_loop(nothing, **options)
            assert "sync_to_async" in str(caught.value)
            assert isinstance(caught.value, RuntimeError), "as asgiref's is"

    run(main, loop)


def test_in_the_guest_mode_of_trio_both_are_refused() -> None:
    async def guest() -> None:
        with pytest.raises(WouldDeadlock):
            find_loop(nothing)

    async def host() -> None:
        event_loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = event_loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=event_loop.call_soon_threadsafe, done_callback=over.set_result
        )
        (await over).unwrap()

    asyncio.run(host())


def test_what_is_no_loop_is_refused() -> None:
    with pytest.raises(UsageError, match="loop_factory must return"):
        find_loop(nothing, force_new_loop=True, factory=object)  # type: ignore[arg-type]
    assert not threads_named("bridge-loop-last")


# -- what comes of it


def test_the_result_comes_back_from_the_loop_s_thread(place: LoopThread) -> None:
    async def use(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), threading.get_ident(), args, kwargs

    loop, ident, args, kwargs = call(place, use, 1, key=2)
    assert loop is place.port.loop
    assert ident not in (threading.get_ident(), 0)
    assert (args, kwargs) == ((1,), {"key": 2})


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a while"])
@pytest.mark.parametrize(
    "error",
    [
        LookupError("x"),
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopAsyncIteration(),
        Ended(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_comes_out_and_the_loop_runs_on(
    place: LoopThread, error: BaseException, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        if late:
            await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        call(place, fail)
    assert caught.value is error
    assert "fail" in "".join(traceback.format_tb(error.__traceback__))
    assert place.alive()
    assert call(place, returns_one) == 1
    assert caplog.records == []


async def returns_one() -> int:
    return 1


def test_on_trio_as_well(loop: str) -> None:
    async def fail() -> None:
        raise SystemExit("inside")

    async def main() -> None:
        port = running_port()

        def blocking() -> Any:
            with pytest.raises(SystemExit, match="inside"):
                call(port, fail)
            return call(port, returns_one)

        assert await in_thread(blocking) == 1

    run(main, loop)


def test_any_awaitable_will_do(place: LoopThread) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert call(place, Awaitable) == "awaited"
    assert call(place, lambda: asyncio.get_running_loop().create_task(returns_one())) == 1


def test_what_can_not_be_awaited_is_told(place: LoopThread) -> None:
    with pytest.raises(UnsuitableFunction, match="returned int, which cannot be awaited"):
        call(place, int)


def test_a_function_that_raises_before_it_is_async_is_told_like_any_other(place: LoopThread) -> None:
    def fail() -> Any:
        raise LookupError

    with pytest.raises(LookupError):
        call(place, fail)


def test_context_variables_go_in_and_come_back(place: LoopThread) -> None:
    local = Local()

    async def use() -> tuple[str, str]:
        found = variable.get(), local.value
        variable.set("by the coroutine")
        await asyncio.sleep(0)
        local.value = "by the coroutine"
        return found

    def check() -> None:
        variable.set("the caller's")
        local.value = "the caller's"
        assert call(place, use) == ("the caller's",) * 2
        assert (variable.get(), local.value) == ("by the coroutine",) * 2

    contextvars.Context().run(check)


def test_they_come_back_from_one_that_fails_too(place: LoopThread) -> None:
    async def fail() -> None:
        variable.set("by the coroutine")
        raise LookupError

    def check() -> None:
        with pytest.raises(LookupError):
            call(place, fail)
        assert variable.get() == "by the coroutine"

    contextvars.Context().run(check)


def test_the_note_of_the_wait_does_not_come_back(place: LoopThread) -> None:
    def check() -> None:
        before = asgiref_notes.waiting_thread()
        call(place, nothing)
        assert asgiref_notes.waiting_thread() is before

    contextvars.Context().run(check)


def test_the_coroutine_finds_the_exception_that_its_caller_handles(place: LoopThread) -> None:
    async def look() -> Any:
        found = sys.exc_info()[1]
        await asyncio.sleep(0)
        return found, sys.exc_info()[1]

    def check(error: LookupError) -> None:
        before = traceback.format_exception(type(error), error, error.__traceback__)
        assert call(place, look) == (error, error)
        assert traceback.format_exception(type(error), error, error.__traceback__) == before
        assert error.__context__ is None

    try:
        raise LookupError("handled")
    except LookupError as error:
        check(error)
    assert call(place, look) == (None, None)


# -- what runs in the thread meanwhile


def test_thread_sensitive_calls_run_in_the_thread_that_waits(loop: str) -> None:
    async def inner() -> int:
        return await sync_to_async(threading.get_ident)()

    async def main() -> None:
        port = running_port()

        def blocking() -> bool:
            found: bool = call(port, inner) == threading.get_ident()
            return found

        assert await in_thread(blocking)

    run(main, loop)


def test_the_innermost_wait_of_the_thread_is_noted(place: LoopThread) -> None:
    seen: list[Any] = []

    async def inner() -> None:
        await sync_to_async(lambda: seen.append(home.wait))()

    async def outer() -> None:
        def nested() -> None:
            seen.append(home.wait)
            async_to_sync(inner)()
            seen.append(home.wait)

        await sync_to_async(nested)()

    def check() -> None:
        call(place, outer)
        seen.append(home.wait)

    Thread(check).outcome()
    first, second, third, last = seen
    assert isinstance(first, LoopCall)
    assert second.outer is first
    assert third is first
    assert last is None
    assert first.outer is None


def test_the_wait_above_is_noted_no_more_if_it_ends_badly(place: LoopThread) -> None:
    async def fail() -> None:
        raise Ended

    def check() -> Any:
        with pytest.raises(Ended):
            call(place, fail)
        return home.wait

    assert Thread(check).outcome() is None


# -- every end of the wait that is not the coroutine's own


@pytest.mark.usefixtures("hasty")
def test_a_loop_that_is_stopped_ends_the_wait() -> None:
    """By somebody's `loop.stop()`, which cancels nothing."""
    loop = asyncio.new_event_loop()
    port = AsyncioPort(loop)
    began = threading.Event()

    async def waits() -> None:
        began.set()
        await asyncio.Event().wait()

    def blocking() -> None:
        with pytest.raises(LoopGone, match="waits has stopped"):
            call(port, waits)

    running = Thread(loop.run_forever)
    eventually(loop.is_running)
    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    port.call_soon(loop.stop)
    running.outcome()
    thread.outcome()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


@pytest.mark.usefixtures("hasty")
def test_a_loop_that_rests_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As between two calls of `run_until_complete`."""
    monkeypatch.setattr(loop_call, "_PATIENCE", 10**6)
    looks: list[bool] = []
    alive = AsyncioPort.alive

    def look(self: AsyncioPort) -> bool:
        looks.append(alive(self))
        return looks[-1]

    monkeypatch.setattr(AsyncioPort, "alive", look)
    loop = asyncio.new_event_loop()
    port = AsyncioPort(loop)
    event = asyncio.Event()
    began = threading.Event()

    async def waits() -> str:
        began.set()
        await event.wait()
        return "came"

    running = Thread(loop.run_forever)
    eventually(loop.is_running)
    thread = Thread(lambda: call(port, waits))
    assert began.wait(PATIENCE)
    port.call_soon(loop.stop)
    running.outcome()
    looked = len(looks)
    eventually(lambda: len(looks) > looked + 2 * 3, "the thread has looked at the loop that rests")
    running = Thread(loop.run_forever)
    port.call_soon(event.set)
    assert thread.outcome() == "came"
    port.call_soon(loop.stop)
    running.outcome()
    loop.close()


def test_a_loop_that_is_closed_is_told_at_once() -> None:
    loop = asyncio.new_event_loop()
    port = AsyncioPort(loop)
    loop.close()

    def check() -> Any:
        with pytest.raises(LoopGone):
            call(port, nothing)
        return home.wait

    assert Thread(check).outcome() is None


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_loop_that_ends_while_the_thread_waits_cancels_the_coroutine(kind: str) -> None:
    """`asyncio.run` and `trio.run` cancel what is left."""
    began = threading.Event()
    ended: list[str] = []
    threads: list[Thread] = []

    async def waits() -> None:
        began.set()
        try:
            await (trio.sleep_forever() if kind == "trio" else asyncio.Event().wait())
        finally:
            ended.append("cancelled")

    async def main() -> None:
        port = running_port()
        threads.append(Thread(lambda: call(port, waits)))
        await in_thread(lambda: began.wait(PATIENCE))

    if kind == "trio":
        trio.run(main)
    else:
        asyncio.run(main())
    with pytest.raises(trio.Cancelled if kind == "trio" else asyncio.CancelledError):
        threads[0].outcome()
    assert ended == ["cancelled"]


def test_a_coroutine_that_is_cancelled_ends_the_wait(place: LoopThread) -> None:
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        call(place, cancels_itself)


@pytest.mark.usefixtures("hasty")
def test_a_task_that_is_cancelled_before_its_first_step_ends_the_wait(place: LoopThread) -> None:
    """It never gets to say that it is over."""

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        task: Any = asyncio.Task(coroutine, loop=loop, **options)
        task.cancel()
        return task

    on(place, lambda: place.port.loop.set_task_factory(factory))
    began: list[int] = []

    async def begins() -> None:
        began.append(1)

    with pytest.raises(asyncio.CancelledError):
        call(place, begins)
    assert began == []
    on(place, lambda: place.port.loop.set_task_factory(None))


class Port(FakePort):
    """A port whose tasks begin, and are destroyed where they wait; or do not begin at all."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self._error = error

    @property
    def port(self) -> Port:
        return self

    def start(self, coroutine: Any, context: contextvars.Context) -> Any:
        if self._error is not None:
            raise self._error
        context.run(coroutine.send, None)
        context.run(coroutine.close)
        return self

    def done(self) -> bool:
        return True


class Pause:
    def __await__(self) -> Any:
        yield


def test_a_coroutine_that_is_destroyed_ends_the_wait() -> None:
    """By a loop that throws its tasks away."""
    ended: list[str] = []

    async def waits() -> None:
        try:
            await Pause()
        finally:
            ended.append("destroyed")

    port: Any = Port()
    with pytest.raises((LoopGone, GeneratorExit)):
        call(port, waits)
    assert ended == ["destroyed"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("no tasks today"), KeyboardInterrupt()], ids=repr
)
def test_a_task_that_can_not_be_made_ends_the_wait(error: BaseException) -> None:
    port: Any = Port(error)
    with pytest.raises(type(error)) as caught:
        call(port, nothing)
    assert caught.value is error


@pytest.mark.usefixtures("hasty")
def test_a_loop_without_a_turn_for_the_call_is_looked_at() -> None:
    """It was closed just when the call had been scheduled."""
    port: Any = Port()
    port.call_soon = lambda callback: None
    port.is_alive = False
    with pytest.raises(LoopGone):
        call(port, nothing)
    assert port.looks == loop_call._PATIENCE


# -- the thread itself is ended


def waits_at_its_gate(ident: int) -> bool:
    """Whether a thread is in the wait of a `LoopCall`."""
    frame = sys._current_frames().get(ident)
    return frame is not None and frame.f_code is WaitingThread.wait.__code__


def end_thread(ident: int, error: type[BaseException]) -> None:
    """As servers and debuggers do to a thread that is not the main one."""
    done = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))
    assert done == 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Ended])
def test_if_the_thread_is_ended_while_it_waits_the_coroutine_is_cancelled(
    place: LoopThread, error: type[BaseException]
) -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cancelled.set()
            raise

    seen: list[Any] = []

    def blocking() -> None:
        seen.append(threading.get_ident())
        try:
            call(place, waits)
        except error:
            seen.append((cancelled.is_set(), home.wait))

    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    eventually(lambda: waits_at_its_gate(seen[0]))
    end_thread(seen[0], error)
    thread.outcome()
    assert seen[1:] == [(True, None)], "the thread has waited until the coroutine had ended"
    assert call(place, returns_one) == 1


@pytest.mark.usefixtures("hasty")
def test_on_trio_the_coroutine_is_cancelled_too() -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def waits() -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    seen: list[int] = []

    async def main() -> None:
        port = running_port()

        def blocking() -> bool:
            seen.append(threading.get_ident())
            try:
                call(port, waits)
            except Ended:
                return cancelled.is_set()
            return False

        def end() -> None:
            assert began.wait(PATIENCE)
            eventually(lambda: waits_at_its_gate(seen[0]))
            end_thread(seen[0], Ended)

        ends = Thread(end)
        assert await in_thread(blocking)
        ends.outcome()

    run(main, "trio")


@pytest.mark.usefixtures("hasty")
def test_a_coroutine_that_will_not_be_cancelled_is_left_after_a_while(
    place: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_call, "_CANCEL_GRACE", 0.05)
    began, free = threading.Event(), asyncio.Event()

    async def stubborn() -> None:
        began.set()
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                pass

    idents: list[int] = []

    def blocking() -> None:
        idents.append(threading.get_ident())
        with pytest.raises(Ended):
            call(place, stubborn)

    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    eventually(lambda: waits_at_its_gate(idents[0]))
    end_thread(idents[0], Ended)
    thread.outcome()
    on(place, free.set)


@pytest.mark.usefixtures("hasty")
def test_if_the_thread_is_ended_before_the_loop_has_a_turn_the_call_does_not_begin(place: LoopThread) -> None:
    held, free = threading.Event(), threading.Event()
    began: list[int] = []
    idents: list[int] = []

    def hold() -> None:
        held.set()
        free.wait(PATIENCE)

    async def begins() -> None:
        began.append(1)

    place.submit(hold)
    assert held.wait(PATIENCE)

    def blocking() -> None:
        idents.append(threading.get_ident())
        wait = LoopCall(begins, (), {}, place)
        waits.append(wait)
        with pytest.raises(Ended):
            wait.outcome()

    waits: list[LoopCall] = []
    thread = Thread(blocking)
    eventually(lambda: waits_at_its_gate(idents[0]))
    end_thread(idents[0], Ended)
    eventually(lambda: waits[0].over)
    free.set()
    thread.outcome()
    assert call(place, returns_one) == 1
    assert began == []


@pytest.mark.usefixtures("hasty")
def test_calls_that_wait_for_a_thread_that_is_ended_run_elsewhere(place: LoopThread) -> None:
    """The cleanup of a coroutine may call blocking code, too."""
    began = threading.Event()
    ran: list[int] = []

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ran.append(await sync_to_async(threading.get_ident)())

    idents: list[int] = []

    def blocking() -> None:
        idents.append(threading.get_ident())
        with pytest.raises(Ended):
            call(place, waits)

    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    eventually(lambda: waits_at_its_gate(idents[0]))
    end_thread(idents[0], Ended)
    thread.outcome()
    eventually(lambda: len(ran) == 1, "the clean-up has ended")
    assert ran[0] != idents[0]


class Strike:
    """Ends the thread that it traces at the n-th place where Python may do so, on its way into the wait."""

    PLACES = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD")
    WHERE = ("outcome", "call_soon", "submit", "_schedule", "wait")

    def __init__(self, number: int) -> None:
        self._left = number
        self._last: dict[Any, int] = {}
        self.struck = ""

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_name not in self.WHERE or f"{os.sep}bridge{os.sep}" not in code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.struck:
            last = self._last.get(frame)
            self._last[frame] = frame.f_lasti
            if last is not None and dis.opname[code.co_code[last]].startswith(self.PLACES):
                if self._left == 0:
                    self.struck = code.co_name
                    raise Ended
                self._left -= 1
        return self


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("how", ["by its port", "by its thread"])
def test_wherever_the_thread_is_ended_the_coroutine_is_cancelled_or_never_begins(
    place: LoopThread, how: str
) -> None:
    """An exception of a signal comes between any two steps."""
    states: list[str] = []

    async def waits() -> None:
        states.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("ended")

    struck: list[str] = []
    while struck.count("wait") < 3:
        strike = Strike(len(struck))
        wait = LoopCall(waits, (), {}, place.port if how == "by its port" else place)
        wait.ident = -1  # the thread below makes it its own

        def blocking(strike: Strike = strike, wait: LoopCall = wait) -> None:
            wait.ident = threading.get_ident()
            sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it beforehand
            sys.settrace(strike)
            try:
                wait.outcome()
            finally:
                sys.settrace(None)

        states.clear()
        thread = Thread(blocking)
        with pytest.raises(Ended):
            thread.outcome()
        struck.append(strike.struck)
        on(place, int)  # what was scheduled has had its turn
        on(place, int)
        eventually(lambda: states in ([], ["began", "ended"]), f"struck in {strike.struck}: {states}")
    assert "outcome" in struck


def test_ctrl_c_in_the_main_thread_cancels_the_coroutine() -> None:
    out = script(
        PATIENT
        + """
import asyncio, os, signal
from bridge import async_to_sync
async def waits():
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)
try:
    async_to_sync(waits)()
except KeyboardInterrupt:
    print("interrupted", flush=True)
async def one(): return 1
print(async_to_sync(one)())
"""
    )
    assert out.split() == ["cancelled", "interrupted", "1"]


# -- loops of one call


def loop_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads of loops and of their executors that have come since."""
    return [each for name in ("bridge-loop", "bridge-executor") for each in set(threads_named(name)) - before]


def test_a_loop_of_one_call_leaves_no_thread_and_is_closed() -> None:
    before = set(threading.enumerate())
    loops: list[Any] = []

    async def use() -> None:
        loops.append(asyncio.get_running_loop())
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        await asyncio.get_running_loop().run_in_executor(None, int)

    for fails in (False, True):

        async def main(fails: bool = fails) -> None:
            await use()
            if fails:
                raise LookupError

        try:
            async_to_sync(main, force_new_loop=True)()
        except LookupError:
            assert fails
    assert loops[0] is not loops[1]
    eventually(lambda: all(loop.is_closed() for loop in loops), "they are closed")
    eventually(lambda: not loop_threads(before), "their threads have ended")


@pytest.mark.usefixtures("hasty")
def test_a_loop_of_one_call_ends_with_a_thread_that_is_ended() -> None:
    before = set(threading.enumerate())
    began = threading.Event()
    idents: list[int] = []

    async def waits() -> None:
        began.set()
        await asyncio.sleep(60)

    def blocking() -> None:
        idents.append(threading.get_ident())
        with pytest.raises(Ended):
            async_to_sync(waits, force_new_loop=True)()

    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    eventually(lambda: waits_at_its_gate(idents[0]))
    end_thread(idents[0], Ended)
    thread.outcome()
    eventually(lambda: not loop_threads(before), "its thread has ended")


# -- forks


@forks
def test_a_job_that_forks_can_end_in_the_child_and_the_wait_ends_there() -> None:
    """The child has the thread that waits, and no loop; in the parent nothing has happened."""
    out = script(
        """
import asyncio, os, sys
from bridge import async_to_sync, sync_to_async
from bridge.engines import waiting_thread
from bridge.exceptions import LoopGone
waiting_thread.LOOK = 0.02
parent = os.getpid()
def fork():
    return os.fork()
async def main():
    pid = await sync_to_async(fork)()
    await asyncio.sleep(0)
    return pid
async def one(): return 1
try:
    pid = async_to_sync(main)()
except LoopGone:
    assert os.getpid() != parent
    print("child", async_to_sync(one)(), flush=True)
    os._exit(7)
assert os.getpid() == parent
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("parent", async_to_sync(one)())
"""
    )
    assert out.splitlines() == ["child 1", "parent 1"]


@forks
def test_a_child_of_another_thread_has_loops_of_its_own() -> None:
    """As a server that forks its workers after it has used the loop."""
    out = script(
        """
import asyncio, os, threading
from bridge import async_to_sync, sync_to_async
async def where():
    return id(asyncio.get_running_loop()), os.getpid(), await sync_to_async(threading.get_ident)()
began, free = threading.Event(), None
async def waits():
    began.set()
    await asyncio.sleep(60)
threading.Thread(target=lambda: async_to_sync(waits)(), daemon=True).start()
began.wait(10)
async_to_sync(where)()
pid = os.fork()
if not pid:
    loop, process, thread = async_to_sync(where)()
    assert process == os.getpid()
    assert thread == threading.get_ident()
    assert asyncio.run(sync_to_async(os.getpid)()) == os.getpid()
    assert asyncio.run(sync_to_async(os.getpid, thread_sensitive=False)()) == os.getpid()
    print("child", flush=True)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert async_to_sync(where)()[1] == os.getpid()
print("parent")
"""
    )
    assert out.splitlines() == ["child", "parent"]


@forks
def test_children_of_multiprocessing_have_their_own_too() -> None:
    out = script(
        """
import asyncio, multiprocessing, os
from bridge import async_to_sync, sync_to_async
async def both(): return os.getpid(), await sync_to_async(os.getpid)()
def child(queue):
    queue.put((os.getpid(), async_to_sync(both)(), asyncio.run(sync_to_async(os.getpid)())))
async_to_sync(both)()
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=child, args=(queue,))
process.start()
pid, found, alone = queue.get()
process.join(20)
assert found == (pid, pid) and alone == pid and process.exitcode == 0, (pid, found, alone, process.exitcode)
print("well")
"""
    )
    assert out.strip() == "well"


# -- what is let go of


class Weak:
    pass


class Error(Exception):
    pass


@pytest.mark.usefixtures("no_collector")
def test_arguments_results_and_errors_go_with_the_last_who_uses_them(place: LoopThread) -> None:
    async def use(argument: Weak) -> Weak:
        await asyncio.sleep(0)
        return Weak()

    async def fail(argument: Weak) -> None:
        raise Error

    def check() -> list[Any]:
        first, second = Weak(), Weak()
        ends: list[Any] = [weakref.ref(first), weakref.ref(second), weakref.ref(call(place, use, first))]
        try:
            call(place, fail, second)
        except Error as error:
            ends.append(weakref.ref(error))
        return ends

    ends = check()
    eventually(lambda: [end() for end in ends] == [None] * 4, "they are gone")


@pytest.mark.usefixtures("no_collector")
def test_a_task_that_outlives_the_call_does_not_keep_its_result(place: LoopThread) -> None:
    """Its context has the note of the wait."""
    tasks: list[Any] = []

    async def use() -> Weak:
        tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))
        return Weak()

    end = weakref.ref(call(place, use))
    eventually(lambda: end() is None, "it is gone")
    on(place, tasks[0].cancel)


@pytest.mark.usefixtures("hasty", "no_collector")
@pytest.mark.parametrize("grace", [PATIENCE, 0.01], ids=["in time", "late"])
def test_a_thread_that_was_ended_leaves_nothing_of_its_call(
    place: LoopThread, monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    """Whether the coroutine ends while it waits, or afterwards."""
    monkeypatch.setattr(loop_call, "_CANCEL_GRACE", grace)
    began, free = threading.Event(), asyncio.Event()
    if grace == PATIENCE:
        free.set()

    async def waits(argument: Weak) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await free.wait()

    idents: list[int] = []
    ends: list[Any] = []

    def blocking() -> None:
        idents.append(threading.get_ident())
        argument = Weak()
        ends.append(weakref.ref(argument))
        with pytest.raises(Ended):
            call(place, waits, argument)

    thread = Thread(blocking)
    assert began.wait(PATIENCE)
    eventually(lambda: waits_at_its_gate(idents[0]))
    end_thread(idents[0], Ended)
    thread.outcome()
    on(place, free.set)
    eventually(lambda: ends[0]() is None, "its argument is gone")


@pytest.mark.usefixtures("no_collector")
def test_the_values_of_its_context_go_with_the_caller_s(place: LoopThread) -> None:
    own: contextvars.ContextVar[Any] = contextvars.ContextVar("own")

    async def use() -> None:
        own.set(Weak())
        await asyncio.sleep(0)

    def check() -> Any:
        call(place, use)
        return weakref.ref(own.get())

    end = contextvars.Context().run(check)
    eventually(lambda: end() is None, "it is gone")


def test_a_chain_of_tasks_that_outlive_their_calls_keeps_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that blocking code starts, which calls blocking code that starts the next one, and so on."""
    generations = 30
    alive: list[int] = []
    made: list[weakref.ref[Any]] = []

    class Seen(LoopCall):
        """One whose end can be seen."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(to_sync, "LoopCall", Seen)

    async def main() -> None:
        over = asyncio.Event()
        tasks: list[Any] = []

        async def generation(number: int) -> None:
            if number == generations:
                gc.collect()
                alive.append(sum(call() is not None for call in made))
                over.set()
                return

            # Or it would run in the wait of the call that has made it, which so would go on.
            while made and not getattr(made[-1](), "over", True):
                await asyncio.sleep(0.001)

            async def start_next() -> None:
                tasks[:] = [asyncio.get_running_loop().create_task(generation(number + 1))]

            await sync_to_async(lambda: async_to_sync(start_next)())()

        tasks.append(asyncio.get_running_loop().create_task(generation(0)))
        await asyncio.wait_for(over.wait(), PATIENCE)

    asyncio.run(main())
    assert len(made) == generations
    assert alive[0] < generations // 2
