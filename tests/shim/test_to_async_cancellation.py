"""What cancelling a task that awaits `sync_to_async` does to what waits, runs, and is awaited in turn."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
import trio
from support.drive import TIMEOUT, Signal, checkpoint, poll, run
from support.engines import PATIENCE, eventually
from support.shim_calls import Blocker, Time

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.shim.shared_thread import shared_thread

since_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout, TaskGroup, uncancel")
ENDED = (asyncio.CancelledError, trio.Cancelled)


class Task:
    """A coroutine function in a task of its own, to be cancelled.

    Attributes:
        over: it has ended.
        result: what it returned.
        error: what it raised, but for a cancellation.
        cancelled: it was cancelled.
    """

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self._function = function
        self.over = Signal()
        self.result: Any = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.cancel: Callable[[], object] = lambda: None

    async def run(self) -> None:
        try:
            self.result = await self._function()
        except ENDED:
            self.cancelled = True
            raise
        except BaseException as error:
            self.error = error
        finally:
            self.over.set()

    async def end(self) -> Task:
        """Wait for its end."""
        await self.over.come()
        return self


@contextlib.asynccontextmanager
async def beside(*functions: Callable[[], Awaitable[Any]]) -> Any:
    """Run coroutine functions beside the block, each in a task that it may cancel."""
    tasks = [Task(function) for function in functions]
    if not trio.lowlevel.in_trio_task():
        made = [asyncio.ensure_future(task.run()) for task in tasks]
        for task, real in zip(tasks, made, strict=True):
            task.cancel = real.cancel
        try:
            yield tasks if len(tasks) > 1 else tasks[0]
        finally:
            await asyncio.wait(made, timeout=TIMEOUT)
        return

    async def in_scope(task: Task, scope: trio.CancelScope) -> None:
        with scope:
            await task.run()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            scope = trio.CancelScope()
            task.cancel = scope.cancel
            nursery.start_soon(in_scope, task, scope)
        yield tasks if len(tasks) > 1 else tasks[0]


class Where:
    """A place with one thread."""

    def __init__(self, options: dict[str, Any], waiting: Callable[[], int]) -> None:
        self.options = options
        self.waiting = waiting


@pytest.fixture
def places() -> Iterator[dict[str, Where]]:
    """Everything with one thread that calls may wait for, and how many wait there."""
    pool = ThreadPool(1, name="cancelling")
    executor = ThreadPoolExecutor(1, "cancelling")
    yield {
        "pool": Where({"thread_sensitive": False, "pool": pool}, lambda: pool.stats().queued),
        "executor": Where(
            {"thread_sensitive": False, "executor": executor}, lambda: executor._work_queue.qsize()
        ),
        "shared thread": Where({}, lambda: len(shared_thread.waiting())),
    }
    assert pool.close(PATIENCE)
    executor.shutdown()
    eventually(lambda: not shared_thread.waiting())


@pytest.fixture(params=["pool", "executor", "shared thread"])
def place(request: pytest.FixtureRequest, places: dict[str, Where]) -> Where:
    """Each of them in turn."""
    return places[request.param]


# -- what waits


def test_what_waits_never_begins(loop: str, place: Where) -> None:
    """The task ends at once; its turn comes, and it is not run; the one behind it is."""
    called: list[str] = []

    async def main() -> None:
        blocker = Blocker()
        first = sync_to_async(blocker, **place.options)
        second = sync_to_async(lambda: called.append("second"), **place.options)
        third = sync_to_async(lambda: called.append("third"), **place.options)
        async with beside(first) as running:
            await blocker.begun.come()
            async with beside(second) as waiting:
                await poll(lambda: place.waiting() == 1)
                async with beside(third) as behind:
                    await poll(lambda: place.waiting() == 2)
                    waiting.cancel()
                    await waiting.end()
                    assert waiting.cancelled
                    assert not blocker.ended.is_set
                    blocker.go.set()
                    await behind.end()
            await running.end()
        assert running.result == "done"

    run(main, loop)
    assert called == ["third"]


def test_what_waits_for_a_waiting_thread_never_begins(loop: str) -> None:
    """Of two sensitive calls below one `async_to_sync`, the second waits for the first."""
    called: list[str] = []

    async def below() -> None:
        blocker = Blocker()
        async with beside(sync_to_async(blocker)) as running:
            await blocker.begun.come()
            async with beside(sync_to_async(lambda: called.append("second"))) as waiting:
                await checkpoint()
                await checkpoint()
                waiting.cancel()
                await waiting.end()
                assert waiting.cancelled
            blocker.go.set()
            await running.end()
        assert running.result == "done"
        await sync_to_async(called.append)("after")

    async def main() -> None:
        await sync_to_async(async_to_sync(below))()

    run(main, loop)
    assert called == ["after"]


def test_a_task_that_is_cancelled_before_it_begins_calls_nothing(loop: str, place: Where) -> None:
    async def main() -> None:
        async with beside(sync_to_async(pytest.fail, **place.options)) as task:
            task.cancel()
        assert not task.error

    run(main, loop)


def test_what_never_begins_is_let_go_of_at_once(place: Where) -> None:
    """Its place in the queue is kept, but nothing of what it was given."""

    class Argument: ...

    async def main() -> None:
        blocker, argument = Blocker(), Argument()
        end = weakref.ref(argument)
        running = asyncio.ensure_future(sync_to_async(blocker, **place.options)())
        await blocker.begun.come()
        waiting = asyncio.ensure_future(sync_to_async(lambda it: None, **place.options)(argument))
        await poll(lambda: place.waiting() == 1)
        waiting.cancel()
        await asyncio.wait((waiting,))
        del argument, waiting
        assert end() is None
        blocker.go.set()
        assert await running == "done"

    run(main)


# -- what runs


def test_what_runs_is_abandoned(loop: str, place: Where) -> None:
    """The task ends at once; the function runs on, what it returns is dropped, and its thread is free."""

    async def main() -> None:
        blocker = Blocker()
        async with beside(sync_to_async(blocker, **place.options)) as task:
            await blocker.begun.come()
            task.cancel()
            await task.end()
            assert task.cancelled
            assert not blocker.ended.is_set
        blocker.go.set()
        await blocker.ended.come()
        assert await sync_to_async(lambda: "next", **place.options)() == "next"

    run(main, loop)


def test_what_runs_is_waited_for_if_that_is_asked(loop: str, place: Where) -> None:
    """Then the task is cancelled all the same."""

    async def main() -> None:
        blocker = Blocker()
        async with beside(sync_to_async(blocker, abandon_on_cancel=False, **place.options)) as task:
            await blocker.begun.come()
            task.cancel()
            for _ in range(20):
                await checkpoint()
            assert not task.over.is_set
            blocker.go.set()
            await task.end()
            assert blocker.ended.is_set
        assert task.cancelled

    run(main, loop)


def test_who_is_asked_to_wait_and_is_cancelled_again_waits_no_longer(place: Where) -> None:
    """On asyncio; a scope of trio's that is cancelled stays so."""

    async def main() -> None:
        blocker = Blocker()
        async with beside(sync_to_async(blocker, abandon_on_cancel=False, **place.options)) as task:
            await blocker.begun.come()
            task.cancel()
            for _ in range(20):
                await checkpoint()
            assert not task.over.is_set
            task.cancel()
            await task.end()
            assert task.cancelled
            assert not blocker.ended.is_set
            blocker.go.set()
        await blocker.ended.come()

    run(main)


def test_what_an_abandoned_function_raises_is_dropped(loop: str, place: Where) -> None:
    async def main() -> None:
        blocker = Blocker()

        def raises() -> None:
            blocker()
            raise SystemExit(7)

        async with beside(sync_to_async(raises, **place.options)) as task:
            await blocker.begun.come()
            task.cancel()
            await task.end()
        blocker.go.set()
        await blocker.ended.come()
        assert await sync_to_async(lambda: "next", **place.options)() == "next"

    run(main, loop)


@pytest.mark.usefixtures("no_collector")
def test_what_an_abandoned_function_raises_keeps_nothing(place: Where) -> None:
    class Argument: ...

    async def main() -> None:
        blocker, argument = Blocker(), Argument()
        end = weakref.ref(argument)

        def raises(argument: Argument) -> None:
            blocker()
            raise ValueError

        task = asyncio.ensure_future(sync_to_async(raises, **place.options)(argument))
        await blocker.begun.come()
        task.cancel()
        await asyncio.wait((task,))
        del argument, task
        blocker.go.set()
        await poll(lambda: end() is None)

    run(main)


def test_an_abandoned_function_may_go_on_to_call_async_code(loop: str) -> None:
    """Its loop runs, so its coroutine does."""

    async def main() -> None:
        blocker, results = Blocker(), list[str]()
        finished = Signal()

        async def coroutine() -> str:
            await checkpoint()
            return "from the coroutine"

        def function() -> None:
            blocker()
            results.append(async_to_sync(coroutine)())
            finished.set()

        async with beside(sync_to_async(function, thread_sensitive=False)) as task:
            await blocker.begun.come()
            task.cancel()
            await task.end()
        blocker.go.set()
        await finished.come()
        assert results == ["from the coroutine"]

    run(main, loop)


# -- the coroutine that the function waits for


class Inner:
    """A coroutine function that waits for ever, and cleans up when it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cleaning, self.go = Signal(), Signal(), Signal()
        self.cleaned = False
        self.in_function: list[str] = []

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await Signal().come()
        finally:
            self.cleaning.set()
            if trio.lowlevel.in_trio_task():
                with trio.CancelScope(shield=True):
                    await self.go.come()
            else:
                await self.go.come()
            self.cleaned = True

    def function(self) -> None:
        """A blocking function that waits for it."""
        try:
            async_to_sync(self)()
        except BaseException as error:
            self.in_function.append(type(error).__name__)
            raise
        finally:
            self.in_function.append("ended")


@pytest.mark.parametrize("options", [{}, {"thread_sensitive": False}], ids=["sensitive", "pool"])
def test_the_coroutine_inside_is_cancelled_and_its_clean_up_awaited(
    loop: str, options: dict[str, Any]
) -> None:
    """The function gets the cancellation from its call, and ends before the task does."""

    async def main() -> None:
        inner = Inner()
        async with beside(sync_to_async(inner.function, **options)) as task:
            await inner.begun.come()
            task.cancel()
            await inner.cleaning.come()
            assert not task.over.is_set
            inner.go.set()
            await task.end()
            assert inner.cleaned
            assert inner.in_function == ["Cancelled" if loop == "trio" else "CancelledError", "ended"]
        assert task.cancelled

    run(main, loop)


def test_it_is_reached_through_several_levels(loop: str) -> None:
    async def main() -> None:
        inner = Inner()
        inner.go.set()
        levels: Callable[[], Awaitable[None]] = sync_to_async(inner.function, thread_sensitive=False)
        for number in range(4):
            levels = sync_to_async(async_to_sync(levels), thread_sensitive=bool(number % 2))
        async with beside(levels) as task:
            await inner.begun.come()
            task.cancel()
            await task.end()
            assert inner.cleaned
            assert inner.in_function[-1] == "ended"
        assert task.cancelled

    run(main, loop)


def test_cancelled_again_the_task_leaves_at_once() -> None:
    """On asyncio; the clean-up inside goes on."""

    async def main() -> None:
        inner = Inner()
        async with beside(sync_to_async(inner.function)) as task:
            await inner.begun.come()
            task.cancel()
            await inner.cleaning.come()
            task.cancel()
            await task.end()
            assert task.cancelled
            assert not inner.cleaned
            inner.go.set()
        await poll(lambda: inner.in_function[-1:] == ["ended"])

    run(main)


def test_what_the_function_makes_of_it_is_the_outcome() -> None:
    """As in asgiref: a function that handles the cancellation returns, and its task goes on."""

    async def main() -> None:
        begun = Signal()

        async def coroutine() -> str:
            begun.set()
            try:
                await Signal().come()
            except asyncio.CancelledError:
                return "saved"
            return "never"

        async with beside(sync_to_async(async_to_sync(coroutine))) as task:
            await begun.come()
            task.cancel()
            await task.end()
        assert (task.result, task.cancelled) == ("saved", False)

    run(main)


def test_an_error_of_the_clean_up_is_the_outcome(loop: str) -> None:
    async def main() -> None:
        begun = Signal()

        async def coroutine() -> None:
            begun.set()
            try:
                await Signal().come()
            finally:
                raise ValueError("while cleaning up")

        async with beside(sync_to_async(async_to_sync(coroutine))) as task:
            await begun.come()
            task.cancel()
            await task.end()
        assert isinstance(task.error, ValueError)

    run(main, loop)


def test_what_the_coroutine_shields_runs_on() -> None:
    async def main() -> None:
        begun, go = Signal(), Signal()
        saved: list[str] = []

        async def save() -> None:
            begun.set()
            await go.come()
            saved.append("saved")

        kept: list[asyncio.Future[None]] = []

        async def coroutine() -> None:
            kept.append(asyncio.ensure_future(save()))
            await asyncio.shield(kept[0])

        async with beside(sync_to_async(async_to_sync(coroutine))) as task:
            await begun.come()
            task.cancel()
            await task.end()
            assert task.cancelled
            go.set()
            await kept[0]
        assert saved == ["saved"]

    run(main)


def test_a_shielded_call_sees_nothing_of_it() -> None:
    async def main() -> None:
        blocker = Blocker()
        call = asyncio.ensure_future(sync_to_async(blocker)())

        async def shielded() -> None:
            await asyncio.shield(call)

        async with beside(shielded) as task:
            await blocker.begun.come()
            task.cancel()
            await task.end()
            assert task.cancelled
            blocker.go.set()
        assert await call == "done"

    run(main)


def test_the_calls_beside_it_are_left_alone(loop: str) -> None:
    """Two tasks, each with a coroutine inside; one is cancelled."""

    async def main() -> None:
        go, begun = Signal(), [Signal(), Signal()]

        def caller(number: int) -> Callable[[], Awaitable[str]]:
            async def coroutine() -> str:
                begun[number].set()
                await go.come()
                return "done"

            return sync_to_async(async_to_sync(coroutine), thread_sensitive=False)

        async with beside(caller(0), caller(1)) as (first, second):
            for signal in begun:
                await signal.come()
            first.cancel()
            await first.end()
            assert first.cancelled
            go.set()
        assert second.result == "done"

    run(main, loop)


# -- by what users write


def test_wait_for() -> None:
    async def main() -> None:
        blocker, inner, time = Blocker(), Inner(), Time()
        inner.go.set()
        async with beside(lambda: time.passes(4, blocker.begun), lambda: time.passes(4, inner.begun)):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sync_to_async(blocker, thread_sensitive=False)(), 3)
            assert not blocker.ended.is_set
            blocker.go.set()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sync_to_async(inner.function)(), 3)
            assert inner.in_function == ["CancelledError", "ended"]

    run(main)


@since_3_11
@pytest.mark.parametrize("with_coroutine", [False, True], ids=["function", "coroutine inside"])
def test_asyncio_timeout(with_coroutine: bool) -> None:
    """The time-out is raised, and no request for cancellation is left on the task."""

    async def main() -> None:
        blocker, inner, time = Blocker(), Inner(), Time()
        inner.go.set()
        timeout: Any = asyncio.timeout  # type: ignore[attr-defined]
        async with beside(lambda: time.passes(4, (inner if with_coroutine else blocker).begun)):
            with pytest.raises(TimeoutError):
                async with timeout(3):
                    await sync_to_async(inner.function if with_coroutine else blocker)()
        task: Any = asyncio.current_task()
        assert task.cancelling() == 0
        blocker.go.set()
        assert await sync_to_async(lambda: "next")() == "next"

    run(main)


@since_3_11
def test_task_group() -> None:
    """One member fails: the others are cancelled, with what they wait for."""

    async def main() -> None:
        inner = Inner()
        inner.go.set()

        async def fails() -> None:
            await inner.begun.come()
            raise ValueError

        task_group: Any = asyncio.TaskGroup  # type: ignore[attr-defined]
        with pytest.raises(BaseException) as caught:  # noqa: PT012 - groups have no name before 3.11
            async with task_group() as tasks:
                tasks.create_task(sync_to_async(inner.function)())
                tasks.create_task(fails())
        group: Any = caught.value
        assert [type(error) for error in group.exceptions] == [ValueError]
        assert inner.cleaned

    run(main)


@since_3_11
def test_requests_for_cancellation_are_counted_as_asgiref_leaves_them() -> None:
    """Neither takes a request back for a function that has handled it."""
    from asgiref.sync import async_to_sync as asgirefs_to_sync
    from asgiref.sync import sync_to_async as asgirefs_to_async

    async def counted(to_async: Any, to_sync: Any) -> tuple[object, int]:
        begun = asyncio.Event()

        async def coroutine() -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "saved"
            return "never"

        async def caller() -> tuple[object, int]:
            result = await to_async(to_sync(coroutine))()
            task: Any = asyncio.current_task()
            return result, task.cancelling()

        task = asyncio.ensure_future(caller())
        await begun.wait()
        task.cancel()
        return await task

    assert asyncio.run(counted(sync_to_async, async_to_sync)) == asyncio.run(
        counted(asgirefs_to_async, asgirefs_to_sync)
    )


@pytest.mark.parametrize("levels", [1, 3])
def test_anyios_scopes_know_their_cancellation_when_it_has_gone_through_a_coroutine_inside(
    loop: str, levels: int
) -> None:
    """On asyncio they know it by its message."""

    async def main() -> None:
        inner = Inner()
        inner.go.set()
        call: Callable[[], Awaitable[None]] = sync_to_async(inner.function)
        for _ in range(levels - 1):
            call = sync_to_async(async_to_sync(call))
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    await inner.begun.come()
                    scope.cancel()

                tasks.start_soon(cancel)
                await call()
            assert scope.cancelled_caught
        assert inner.in_function[-1] == "ended"

    run(main, loop)


def test_trio_time_outs() -> None:
    async def main() -> None:
        blocker, inner = Blocker(), Inner()
        inner.go.set()

        async def time_is_up(scope: trio.CancelScope, after: Signal) -> None:
            await after.come()
            scope.deadline = trio.current_time()

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1000) as scope:
                nursery.start_soon(time_is_up, scope, blocker.begun)
                await sync_to_async(blocker, thread_sensitive=False)()
            assert scope.cancelled_caught
            assert not blocker.ended.is_set
            blocker.go.set()
            with pytest.raises(trio.TooSlowError), trio.fail_after(1000) as scope:  # noqa: PT012
                nursery.start_soon(time_is_up, scope, inner.begun)
                await sync_to_async(inner.function)()
            assert inner.in_function == ["Cancelled", "ended"]

    run(main, "trio")


def test_a_trio_nursery_whose_member_fails() -> None:
    async def main() -> None:
        inner = Inner()
        inner.go.set()

        async def fails() -> None:
            await inner.begun.come()
            raise ValueError

        with pytest.raises(BaseException) as caught:  # noqa: PT012
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sync_to_async(inner.function))
                nursery.start_soon(fails)
        group: Any = caught.value
        assert [type(error) for error in group.exceptions] == [ValueError]
        assert inner.cleaned

    run(main, "trio")


def test_trios_shield_keeps_the_coroutine_inside() -> None:
    async def main() -> None:
        begun, go = Signal(), Signal()

        async def coroutine() -> str:
            with trio.CancelScope(shield=True):
                begun.set()
                await go.come()
            return "saved"

        async with beside(sync_to_async(async_to_sync(coroutine))) as task:
            await begun.come()
            task.cancel()
            for _ in range(20):
                await checkpoint()
            assert not task.over.is_set
            go.set()
        assert task.result == "saved" or task.cancelled

    run(main, "trio")


# -- the end of the loop


def test_asyncio_run_ends_although_a_function_runs(place: Where) -> None:
    """Its tasks are cancelled; the function is nobody's then."""
    blocker = Blocker()

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(blocker, **place.options)())
        await blocker.begun.come()
        assert not task.done()

    asyncio.run(main())
    assert not blocker.ended.is_set
    blocker.go.set()
    blocker.ended.wait()


def test_asyncio_run_ends_with_what_a_function_waits_for(place: Where) -> None:
    """The coroutine inside is one of its tasks: it is cancelled, and the function gets that."""
    inner = Inner()
    inner.go.set()

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(inner.function, **place.options)())
        await inner.begun.come()
        assert not task.done()

    asyncio.run(main())
    eventually(lambda: inner.in_function[-1:] == ["ended"])
    assert inner.cleaned


@pytest.mark.parametrize("abandon", [True, False])
@pytest.mark.parametrize("with_coroutine", [False, True], ids=["function", "coroutine inside"])
def test_a_coroutine_that_is_destroyed_while_its_function_runs_waits_for_nothing(
    place: Where, with_coroutine: bool, abandon: bool
) -> None:
    """As by a loop that is thrown away with its tasks: Python forbids to await anything then."""
    blocker, inner = Blocker(), Inner()
    inner.go.set()

    async def main() -> None:
        before = asyncio.all_tasks()
        function: Callable[[], Any] = inner.function if with_coroutine else blocker
        coroutine = sync_to_async(function, abandon_on_cancel=abandon, **place.options)()
        coroutine.send(None)
        await (inner if with_coroutine else blocker).begun.come()
        coroutine.close()
        blocker.go.set()
        for task in asyncio.all_tasks() - before:
            task.cancel()

    run(main)


def test_a_coroutine_that_is_destroyed_while_its_function_waits_has_it_never_begin(place: Where) -> None:
    called: list[str] = []

    async def main() -> None:
        blocker = Blocker()
        async with beside(sync_to_async(blocker, **place.options)) as running:
            await blocker.begun.come()
            coroutine = sync_to_async(called.append, **place.options)("ran")
            coroutine.send(None)
            assert place.waiting() == 1
            coroutine.close()
            blocker.go.set()
            await running.end()
        await sync_to_async(called.append, **place.options)("after")

    run(main)
    assert called == ["after"]


def test_many_are_cancelled_at_random_steps(loop: str) -> None:
    """Each function has begun and ended, or never began; and every task has ended."""
    begun: list[int] = []
    ended: list[int] = []
    pool = ThreadPool(2)

    def function(number: int) -> None:
        begun.append(number)
        threading.Event().wait(0.0001)
        ended.append(number)

    async def main() -> None:
        def caller(number: int) -> Callable[[], Awaitable[None]]:
            async def call() -> None:
                await sync_to_async(function, thread_sensitive=False, pool=pool)(number)

            return call

        async with beside(*(caller(number) for number in range(100))) as tasks:
            for number, task in enumerate(tasks):
                if number % 3 == 0:
                    await checkpoint()
                task.cancel()
        assert all(task.over.is_set or not task.result for task in tasks)

    run(main, loop)
    assert pool.close(PATIENCE)
    assert sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun)
