"""What is particular to the port on asyncio and uvloop; what all ports share is in `test_ports`."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from support.drive import LOOPS, run
from support.engines import PATIENCE, Thread, checkpoint

from bridge.engines import asyncio_port
from bridge.engines.asyncio_port import AsyncioPort, start_task
from bridge.exceptions import LoopGone


@pytest.fixture(params=[name for name in LOOPS if name != "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    """The loops that this port is for."""
    return str(request.param)


class Spy:
    """A loop whose calls are noted, and may fail."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.wakes = 0
        self.timers = 0
        self.error: BaseException | None = None
        self.interruption: Callable[[], object] | None = None  # once, before the wake-up is made

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:
        self.wakes += 1
        if self.error is not None:
            raise self.error
        if self.interruption is not None:
            interruption, self.interruption = self.interruption, None
            interruption()
        return self._loop.call_soon_threadsafe(*args, **options)

    def call_later(self, *args: Any) -> Any:
        self.timers += 1
        return self._loop.call_later(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def spied() -> tuple[Spy, AsyncioPort]:
    spy = Spy(asyncio.get_running_loop())
    return spy, AsyncioPort(spy)  # type: ignore[arg-type]


def test_flags_that_wait_together_cost_one_wake_up(loop: str) -> None:
    async def main() -> None:
        spy, port = spied()
        flags = [port.flag() for _ in range(100)]

        def wake_all() -> None:
            for flag in flags:
                port.wake(flag)

        Thread(wake_all).outcome()
        assert spy.wakes == 1
        for flag in flags:
            await flag
        last = port.flag()
        Thread(lambda: port.wake(last)).outcome()
        await last
        assert spy.wakes == 2

    run(main, loop)


@pytest.mark.parametrize("what", ["flag", "callback"])
def test_who_interrupts_a_thread_that_is_about_to_wake_the_loop_does_not_rely_on_it(
    loop: str, what: str
) -> None:
    """A signal handler, or a finalizer, that waits for the loop: the thread goes on only after that."""

    async def main() -> None:
        spy, port = spied()
        first, second = port.flag(), port.flag()
        come = threading.Event()

        def wait_for_the_loop() -> None:
            if what == "flag":
                port.wake(second)
            else:
                port.call_soon(lambda: port.raise_flag(second))
            assert come.wait(PATIENCE), "the interrupted thread was relied on"

        spy.interruption = wait_for_the_loop
        thread = Thread(lambda: port.wake(first))
        await second
        come.set()
        thread.outcome()
        assert first.done()
        assert spy.wakes == 2
        # Afterwards all is as before.
        again = port.flag()
        Thread(lambda: port.wake(again)).outcome()
        await again
        assert spy.wakes == 3

    run(main, loop)


@pytest.mark.usefixtures("preemptive")
def test_no_flag_is_lost_between_two_wake_ups(loop: str) -> None:
    """Threads wake the loop at the very moment when it begins to raise what is due."""

    async def main() -> None:
        _, port = spied()
        flags: list[asyncio.Future[None]] = [port.flag() for _ in range(8 * 500)]

        def wake(number: int) -> None:
            for flag in flags[number::8]:
                port.wake(flag)

        threads = [Thread(lambda number=number: wake(number)) for number in range(8)]  # type: ignore[misc]
        for flag in flags:
            await flag
        for thread in threads:
            thread.outcome()

    run(main, loop)


def test_a_flag_that_comes_when_the_last_one_has_just_been_raised_is_not_lost(loop: str) -> None:
    """The thread comes between the loop's look, which finds nothing more, and the end of the emptying."""
    port: Any = None
    late: list[Any] = []

    class Due(deque[Any]):
        def __bool__(self) -> bool:
            more = len(self) > 0
            if not more and late:
                port.wake(late.pop())
            return more

    async def main() -> None:
        nonlocal port
        _, port = spied()
        port._due = Due()
        first, second = port.flag(), port.flag()
        late.append(second)
        Thread(lambda: port.wake(first)).outcome()
        await first
        await second

    run(main, loop)


def test_cancelled_flags_among_those_due_are_passed_over(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        cancelled, waited = port.flag(), port.flag()
        Thread(lambda: [port.wake(flag) for flag in (cancelled, waited)]).outcome()  # type: ignore[func-returns-value]
        cancelled.cancel()
        await waited
        port.raise_flag(cancelled)
        assert cancelled.cancelled()

    run(main, loop)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), RecursionError()], ids=repr)
def test_a_wake_up_that_fails_does_not_silence_the_next(loop: str, error: BaseException) -> None:
    async def main() -> None:
        spy, port = spied()
        first, second = port.flag(), port.flag()
        spy.error = error
        with pytest.raises(type(error)):
            port.wake(first)
        spy.error = None
        port.wake(second)
        await first
        await second

    run(main, loop)


def test_a_loop_that_is_closed_says_so_each_time(loop: str) -> None:
    async def main() -> tuple[AsyncioPort, Any]:
        _, port = spied()
        return port, port.flag()

    port, flag = run(main, loop)
    for _ in range(3):
        with pytest.raises(LoopGone):
            port.wake(flag)


def test_a_loop_is_alive_while_it_runs_only() -> None:
    event_loop = asyncio.new_event_loop()
    port = AsyncioPort(event_loop)
    assert not port.alive()

    async def main() -> None:
        assert port.alive()

    event_loop.run_until_complete(main())
    assert not port.alive()
    event_loop.close()
    assert not port.alive()


def test_one_timer_minds_all_flags_and_none_when_there_is_nothing_to_mind(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer for each request would cost more than the rest of the wait."""
    monkeypatch.setattr(asyncio_port, "BRIEFLY", 0.02)

    async def main() -> None:
        spy, port = spied()
        began = time.monotonic()
        for _ in range(200):
            flag = port.flag()
            minded = port.mind(flag)
            port.raise_flag(flag)
            await flag
            minded.discard(flag)
        assert spy.timers <= 3 + (time.monotonic() - began) / 0.02, "one at a time"
        flag = port.flag()
        port.mind(flag)
        await flag
        timers = spy.timers
        while port._ticking:
            await asyncio.sleep(0.001)
        assert spy.timers <= timers + 1
        assert not port._young
        assert not port._old

    run(main, loop)


def test_a_companion_that_will_not_end_is_left_after_a_while(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio_port, "_COMPANION_GRACE", 0.01)

    async def main() -> None:
        _, port = spied()
        free = port.flag()
        steps: list[str] = []

        async def stubborn() -> None:
            while not free.done():
                try:
                    await asyncio.shield(free)
                except asyncio.CancelledError:
                    steps.append("refused")
            steps.append("ended")

        await port.run_beside(checkpoint, stubborn)
        assert steps == ["refused"]
        port.raise_flag(free)
        while steps[-1] != "ended":
            await checkpoint()

    run(main, loop)


def test_a_second_cancellation_does_not_wait_for_the_companion(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        free = port.flag()
        over = threading.Event()

        async def slow_to_end() -> None:
            try:
                await port.flag()
            finally:
                await asyncio.shield(free)
                over.set()

        async def wait() -> None:
            await port.flag()

        task = asyncio.ensure_future(port.run_beside(wait, slow_to_end))
        await checkpoint(5)
        task.cancel()
        await checkpoint(5)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        port.raise_flag(free)
        while not over.is_set():
            await checkpoint()

    run(main, loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_change_nothing() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        _, port = spied()
        steps: list[str] = []

        async def companion() -> None:
            steps.append("companion")
            await port.flag()

        async def main_one() -> None:
            steps.append("main")

        await port.run_beside(main_one, companion)
        assert steps == ["companion", "main"]

    asyncio.run(main())


def test_debug_mode_has_nothing_to_complain_about() -> None:
    async def main() -> None:
        _, port = spied()
        flag = port.flag()
        port.mind(flag)
        Thread(lambda: port.wake(flag)).outcome()
        await flag

    asyncio.run(main(), debug=True)


# -- tasks that begin at once


def outside_of_tasks(function: Callable[[], Any]) -> Any:
    """Call a function on the running loop's thread in no task, as callbacks from other threads are."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    asyncio.get_running_loop().call_soon(call)
    return outcome


def plain_factory(loop: Any, coroutine: Any, **options: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop, **options)


@pytest.mark.parametrize("factory", [None, plain_factory], ids=["plain", "with a task factory"])
def test_a_task_is_started_in_its_context_and_is_its_own(loop: str, factory: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[Any] = []

    async def job() -> None:
        seen.append((asyncio.current_task(), variable.get()))
        await asyncio.sleep(0)
        seen.append((asyncio.current_task(), variable.get()))
        variable.set("by the job")

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        event_loop.set_task_factory(factory)
        context = contextvars.Context()
        context.run(variable.set, "own")
        task, outside = await outside_of_tasks(
            lambda: (start_task(event_loop, job(), context), asyncio.current_task())
        )
        await asyncio.wait((task,))
        assert seen == [(task, "own"), (task, "own")]
        assert outside is None
        assert task.exception() is None
        assert variable.get() == "none"
        if sys.version_info >= (3, 11):
            assert context[variable] == "by the job", "it is this very context, not a copy"

    run(main, loop)


def test_the_first_step_is_taken_at_once_on_asyncio() -> None:
    seen: list[str] = []

    async def job() -> None:
        seen.append("first")
        await asyncio.sleep(0)
        seen.append("second")

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        task, at_return = await outside_of_tasks(
            lambda: (start_task(event_loop, job(), contextvars.Context()), list(seen))
        )
        assert at_return == ["first"]
        await asyncio.wait((task,))
        assert seen == ["first", "second"]

    run(main)


def test_a_loop_that_keeps_its_queue_elsewhere_takes_the_step_in_its_turn() -> None:
    class OtherLoop(asyncio.SelectorEventLoop):
        def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> Any:  # type: ignore[override]
            handle = super().call_soon(callback, *arguments, context=context)
            super().call_soon(int)  # so that the last in the queue is somebody else's
            return handle

    seen: list[str] = []

    async def job() -> None:
        seen.append("done")

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        task = await outside_of_tasks(lambda: start_task(event_loop, job(), contextvars.Context()))
        await asyncio.wait((task,))
        assert seen == ["done"]

    event_loop = OtherLoop()
    event_loop.run_until_complete(main())
    event_loop.close()


def test_a_task_that_is_over_at_its_first_step_is_a_task_that_is_over(loop: str) -> None:
    async def job() -> None:
        return None

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        task = await outside_of_tasks(lambda: start_task(event_loop, job(), contextvars.Context()))
        await asyncio.wait((task,))
        assert task.done()
        assert task.exception() is None

    run(main, loop)


def test_a_task_that_fails_is_like_any_other_that_does(loop: str) -> None:
    async def job() -> None:
        raise LookupError("of the job")

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        task = await outside_of_tasks(lambda: start_task(event_loop, job(), contextvars.Context()))
        with pytest.raises(LookupError, match="of the job"):
            await task

    run(main, loop)


# -- callbacks


def test_callbacks_and_flags_that_come_together_cost_one_wake_up(loop: str) -> None:
    async def main() -> None:
        spy, port = spied()
        flags = [port.flag() for _ in range(10)]
        order: list[int] = []

        def call_all() -> None:
            for number, flag in enumerate(flags):
                port.call_soon(lambda number=number: order.append(number))  # type: ignore[misc]
                port.wake(flag)

        Thread(call_all).outcome()
        assert spy.wakes == 1
        for flag in flags:
            await flag
        await checkpoint()
        assert order == list(range(10))

    run(main, loop)


@pytest.mark.usefixtures("preemptive")
def test_no_callback_is_lost_between_two_wake_ups(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        ran: list[int] = []
        over = port.flag()
        count = 8 * 500

        def note(number: int) -> None:
            ran.append(number)
            if len(ran) == count:
                port.raise_flag(over)

        def call(first: int) -> None:
            for number in range(first, count, 8):
                port.call_soon(lambda number=number: note(number))  # type: ignore[misc]

        threads = [Thread(lambda number=number: call(number)) for number in range(8)]  # type: ignore[misc]
        await over
        for thread in threads:
            thread.outcome()
        assert sorted(ran) == list(range(count))

    run(main, loop)


def test_a_callback_that_raises_is_logged_and_costs_the_others_nothing(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        _, port = spied()
        over = port.flag()

        def fail() -> None:
            raise SystemExit("of a callback")

        def call_all() -> None:
            port.call_soon(fail)
            port.call_soon(lambda: port.raise_flag(over))

        Thread(call_all).outcome()
        await over

    run(main, loop)
    assert "of a callback" in caplog.text
    assert [record.name for record in caplog.records] == ["bridge.loop"]


def test_a_callback_may_call_for_another_one(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        over = port.flag()
        port.call_soon(lambda: port.call_soon(lambda: port.raise_flag(over)))
        await over

    run(main, loop)


def test_what_was_to_run_when_the_loop_was_closed_is_told_to_the_next_who_asks(loop: str) -> None:
    """The wake-up that was on its way never comes; that there is one does not count then."""

    async def main() -> AsyncioPort:
        _, port = spied()
        return port

    port = run(main, loop)
    port._scheduled = True
    for _ in range(2):
        with pytest.raises(LoopGone):
            port.call_soon(lambda: None)
    assert not port._callbacks


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), RecursionError()], ids=repr)
def test_a_callback_whose_wake_up_fails_runs_with_the_next(loop: str, error: BaseException) -> None:
    async def main() -> None:
        spy, port = spied()
        ran: list[str] = []
        spy.error = error
        with pytest.raises(type(error)):
            port.call_soon(lambda: ran.append("first"))
        spy.error = None
        port.call_soon(lambda: ran.append("second"))
        await checkpoint(2)
        assert ran[-1] == "second"
        assert ran.count("first") <= 1

    run(main, loop)


def test_a_port_is_a_place_of_its_own(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        assert port.port is port

    run(main, loop)


# -- a task that waits although it was cancelled


def test_a_second_cancellation_ends_a_shielded_wait(loop: str) -> None:
    async def main() -> None:
        _, port = spied()
        steps: list[str] = []

        async def wait() -> None:
            try:
                await port.flag()
            except asyncio.CancelledError:
                steps.append("cancelled")
                await port.shielded(port.flag())

        task = asyncio.ensure_future(wait())
        await checkpoint()
        task.cancel()
        await checkpoint(2)
        assert (steps, task.done()) == (["cancelled"], False)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()

    run(main, loop)
