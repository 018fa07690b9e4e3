"""`iterate_in_thread`: order, bounds, which thread, and every way in which an iteration may end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import random
from collections.abc import Iterator
from threading import get_ident
from typing import Any

import pytest
from support.drive import LOOPS, Signal, checkpoint, pause, poll, run, together
from support.engines import eventually, script, threads_named

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.engines import handoff
from bridge.exceptions import PoolClosed, PoolFull, UsageError
from bridge.shim import iterate_in_thread
from bridge.shim.iterate_in_thread import ThreadIterator
from bridge.shim.own_thread import OwnThread

PLACES = ("pool", "thread")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Where to iterate: in a pool, or on a thread of its own."""
    made: Any = ThreadPool(4) if request.param == "pool" else OwnThread()
    yield {request.param: made}
    made.close()


everywhere = pytest.mark.parametrize("place", PLACES, indirect=True)
on_all_loops = pytest.mark.parametrize("loop", LOOPS)


class Fatal(BaseException):
    """No `Exception`."""


class Source:
    """A generator that tells what it does, and where."""

    def __init__(self, count: int = 1000, error: BaseException | None = None) -> None:
        self.made = 0
        self.idents: set[int] = set()
        self.closed = Signal()
        self.count = count
        self.error = error
        self.at_close: BaseException | None = None

    def items(self) -> Iterator[int]:
        self.idents.add(get_ident())
        try:
            for number in range(self.count):
                self.idents.add(get_ident())
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.idents.add(get_ident())
            self.closed.set()
            if self.at_close is not None:
                raise self.at_close


@on_all_loops
@everywhere
@pytest.mark.parametrize("read_ahead", [0, 1, 2, 16])
def test_all_items_come_in_order_from_one_thread(place: dict[str, Any], loop: str, read_ahead: int) -> None:
    source = Source(50)

    async def main() -> None:
        found = [n async for n in iterate_in_thread(source.items(), read_ahead=read_ahead, **place)]
        assert found == list(range(50))

    run(main, loop)
    assert source.closed.is_set
    assert len(source.idents) == 1
    assert get_ident() not in source.idents


@pytest.mark.parametrize(
    "iterable", [[1, 2], (1, 2), {1: 0, 2: 0}, range(1, 3)], ids=lambda v: type(v).__name__
)
@everywhere
def test_any_iterable_will_do(place: dict[str, Any], iterable: Any) -> None:
    async def main() -> None:
        assert [n async for n in iterate_in_thread(iterable, **place)] == [1, 2]

    run(main)


@everywhere
@pytest.mark.parametrize("read_ahead", [0, 1, 3, 16])
def test_the_thread_is_never_further_ahead_than_allowed(place: dict[str, Any], read_ahead: int) -> None:
    """After each item the thread is given the time to do what it will; so it also gets that far."""
    source = Source()

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), read_ahead=read_ahead, **place)
        for asked in range(1, 20):
            assert await iterator.__anext__() == asked - 1
            if asked == 1:
                await poll(lambda: source.made >= (1 if not read_ahead else 1 + read_ahead // 2))
            await pause(0.002)
            assert asked <= source.made <= asked + read_ahead
        await iterator.aclose()

    run(main)


@everywhere
def test_nothing_begins_before_the_first_item_is_asked_for(place: dict[str, Any]) -> None:
    source = Source()

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), **place)
        await pause(0.005)
        assert not source.made
        await iterator.aclose()
        assert [n async for n in iterator] == []

    run(main)
    assert not source.made


# -- how it ends


@on_all_loops
@everywhere
@pytest.mark.parametrize("error", [ValueError("no"), KeyError(), Fatal()], ids=lambda e: type(e).__name__)
def test_an_exception_comes_after_the_items_before_it_and_once(
    place: dict[str, Any], loop: str, error: BaseException
) -> None:
    source = Source(5, error)
    found: list[int] = []

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), **place)

        async def consume() -> None:
            async for number in iterator:
                found.append(number)

        with pytest.raises(type(error)) as caught:
            await consume()
        assert caught.value is error
        assert [n async for n in iterator] == [], "it has ended"

    run(main, loop)
    assert found == [0, 1, 2, 3, 4]


class Odd:
    """An iterator that raises what the async protocol has another meaning for."""

    def __iter__(self) -> Odd:
        return self

    def __next__(self) -> int:
        raise StopAsyncIteration


@everywhere
def test_an_iterable_cannot_end_it_by_the_wrong_exception(place: dict[str, Any]) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            await iterate_in_thread(Odd(), **place).__anext__()

    run(main)


@on_all_loops
@everywhere
@pytest.mark.parametrize("read_ahead", [0, 16])
def test_aclose_closes_the_generator_in_its_thread_and_waits_for_it(
    place: dict[str, Any], loop: str, read_ahead: int
) -> None:
    source = Source()

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), read_ahead=read_ahead, **place)
        async with contextlib.aclosing(iterator):
            async for number in iterator:
                if number == 3:
                    break
        assert source.closed.is_set
        assert [n async for n in iterator] == []
        await iterator.aclose()

    run(main, loop)
    assert len(source.idents) == 1


@everywhere
def test_what_the_generator_raises_when_it_is_closed_is_raised_by_aclose(place: dict[str, Any]) -> None:
    source = Source()
    source.at_close = ValueError("at the end")

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), **place)
        await iterator.__anext__()
        with pytest.raises(ValueError, match="at the end"):
            await iterator.aclose()

    run(main)


@on_all_loops
@everywhere
def test_whoever_closes_waits_until_it_is_closed(place: dict[str, Any], loop: str) -> None:
    """Not only the first one."""
    closing, go = Signal(), Signal()
    noted: list[str] = []

    def slow_to_end() -> Iterator[int]:
        try:
            yield 1
        finally:
            closing.set()
            go.wait()
            noted.append("closed")

    async def main() -> None:
        iterator = iterate_in_thread(slow_to_end(), read_ahead=0, **place)
        await iterator.__anext__()

        async def close() -> None:
            await iterator.aclose()
            noted.append("told")

        async def let_go() -> None:
            await closing.come()
            for _ in range(5):
                await checkpoint()
            go.set()

        await together(close, close, let_go)

    run(main, loop)
    assert noted == ["closed", "told", "told"]


@on_all_loops
@everywhere
def test_the_end_of_the_last_reference_closes_the_generator_in_its_thread(
    place: dict[str, Any], loop: str
) -> None:
    source = Source()

    async def main() -> None:
        async for number in iterate_in_thread(source.items(), **place):
            if number == 3:
                break
        gc.collect()
        await source.closed.come()

    run(main, loop)
    assert len(source.idents) == 1


@on_all_loops
@everywhere
def test_cancelling_the_task_that_waits_for_an_item_closes_the_generator(
    place: dict[str, Any], loop: str
) -> None:
    import trio

    waits, go, closed = Signal(), Signal(), Signal()

    def stuck() -> Iterator[int]:
        try:
            yield 1
            waits.set()
            go.wait()
            yield 2
        finally:
            closed.set()

    async def main() -> None:
        iterator = iterate_in_thread(stuck(), **place)

        async def consume() -> None:
            async for _ in iterator:
                pass

        if loop == "trio":
            with trio.CancelScope() as scope:

                async def cancel() -> None:
                    await waits.come()
                    scope.cancel()

                await together(consume, cancel)
        else:
            task = asyncio.ensure_future(consume())
            await waits.come()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        go.set()
        await closed.come()
        assert [n async for n in iterator] == []

    run(main, loop)


@everywhere
def test_a_coroutine_that_the_generator_waits_for_is_cancelled_with_the_iteration(
    place: dict[str, Any],
) -> None:
    waits = Signal()
    seen: list[str] = []

    async def forever() -> None:
        waits.set()
        await asyncio.Event().wait()

    def waiting() -> Iterator[int]:
        yield 1
        try:
            async_to_sync(forever)()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        iterator = iterate_in_thread(waiting(), read_ahead=0, **place)
        assert await iterator.__anext__() == 1
        task = asyncio.ensure_future(anext(iterator))
        await waits.come()
        await iterator.aclose()
        with pytest.raises(StopAsyncIteration):
            await task

    run(main)
    assert seen == ["cancelled"]


def test_an_iterator_that_is_no_generator_is_left_open() -> None:
    class Lines:
        closed = False

        def __iter__(self) -> Lines:
            return self

        def __next__(self) -> int:
            return 1

        def close(self) -> None:
            self.closed = True

    lines = Lines()

    async def main() -> None:
        iterator = iterate_in_thread(lines)
        await iterator.__anext__()
        await iterator.aclose()

    run(main)
    assert not lines.closed


def test_the_thread_of_a_loop_that_has_ended_closes_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "LIVENESS", 0.02)
    source = Source()
    pool = ThreadPool(1)
    kept: list[Any] = []

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), pool=pool)
        await iterator.__anext__()
        kept.append(iterator)

    asyncio.run(main())
    source.closed.wait()
    assert pool.close()


# -- what surrounds it


@everywhere
def test_one_context_for_the_whole_iteration(place: dict[str, Any]) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    def counting() -> Iterator[int]:
        for _ in range(40):
            variable.set(variable.get() + 1)
            yield variable.get()

    async def main() -> None:
        variable.set(10)
        found = [n async for n in iterate_in_thread(counting(), read_ahead=2, **place)]
        assert found == list(range(11, 51))
        assert variable.get() == 10

    run(main)


@everywhere
def test_async_to_sync_in_a_generator_runs_on_the_loop_of_the_task(place: dict[str, Any]) -> None:
    async def ident() -> int:
        return get_ident()

    def asking() -> Iterator[int]:
        for _ in range(5):
            yield async_to_sync(ident)()

    async def main() -> None:
        assert {n async for n in iterate_in_thread(asking(), **place)} == {get_ident()}

    run(main)


def test_a_worker_that_waits_for_its_task_lends_its_slot() -> None:
    pool = ThreadPool(1, streams=1)

    async def main() -> None:
        iterator = iterate_in_thread(itertools.count(), pool=pool, read_ahead=2)
        await iterator.__anext__()
        await poll(lambda: pool.stats().streaming == 1)
        assert await sync_to_async(lambda: "served", thread_sensitive=False, pool=pool)() == "served"
        await iterator.aclose()

    run(main)
    assert pool.close()


def test_an_iteration_for_which_a_worker_of_the_same_full_pool_waits_is_no_deadlock() -> None:
    pool = ThreadPool(1)

    async def inner() -> list[int]:
        found = []
        async for number in iterate_in_thread(range(40), pool=pool):
            found.append(number)
        return found

    async def main() -> None:
        outer = sync_to_async(async_to_sync(inner), thread_sensitive=False, pool=pool)
        assert await outer() == list(range(40))

    run(main)
    assert pool.close()


def test_an_iteration_in_a_loop_that_a_worker_of_the_same_full_pool_runs_is_no_deadlock() -> None:
    pool = ThreadPool(1)

    async def inner() -> list[int]:
        return [number async for number in iterate_in_thread(range(40), pool=pool)]

    async def main() -> None:
        outer = sync_to_async(lambda: asyncio.run(inner()), thread_sensitive=False, pool=pool)
        assert await outer() == list(range(40))

    run(main)
    assert pool.close()


def test_at_the_end_of_a_with_block_the_generator_has_been_closed() -> None:
    closed_in: list[int] = []
    begun_in: list[int] = []

    def numbers() -> Iterator[int]:
        begun_in.append(get_ident())
        try:
            yield from range(1000)
        finally:
            closed_in.append(get_ident())

    async def fail_within(iterator: ThreadIterator[int]) -> None:
        async with iterator:
            assert await iterator.__anext__() == 0
            raise ZeroDivisionError

    async def main() -> None:
        async with iterate_in_thread(numbers()) as iterator:
            assert await iterator.__anext__() == 0
        assert closed_in == begun_in
        iterator = iterate_in_thread(numbers())
        with pytest.raises(ZeroDivisionError):
            await fail_within(iterator)
        assert len(closed_in) == 2
        async with iterate_in_thread(numbers()):
            pass  # not begun
        assert len(begun_in) == 2

    run(main)


def test_other_calls_of_the_thread_run_between_the_items() -> None:
    thread = OwnThread()
    log: list[Any] = []

    def rows() -> Iterator[int]:
        for number in range(3):
            log.append(number)
            yield number

    async def main() -> None:
        async for number in iterate_in_thread(rows(), thread=thread, read_ahead=0):
            await thread.call(log.append, f"after {number}")

    run(main)
    assert log == [0, "after 0", 1, "after 1", 2, "after 2"]
    thread.close()


def test_an_endless_iteration_that_nobody_takes_from_does_not_keep_the_thread() -> None:
    thread = OwnThread()

    async def main() -> None:
        iterator = iterate_in_thread(itertools.count(), thread=thread)
        await iterator.__anext__()
        for _ in range(5):
            assert await thread.call(int) == 0
        await iterator.aclose()

    run(main)
    thread.close()


def test_two_generators_of_one_thread_take_turns() -> None:
    thread = OwnThread()

    async def main() -> None:
        async def consume() -> None:
            assert [n async for n in iterate_in_thread(iter(range(200)), thread=thread)] == list(range(200))

        await together(consume, consume, consume)

    run(main)
    thread.close()


def test_closing_the_thread_ends_the_iteration_with_an_error() -> None:
    thread = OwnThread()

    async def main() -> None:
        iterator = iterate_in_thread(range(100), thread=thread, read_ahead=0)
        await iterator.__anext__()
        thread.close()
        with pytest.raises(PoolClosed):
            await iterator.__anext__()
        await iterator.aclose()

    run(main)


def test_what_was_made_before_the_thread_was_closed_is_not_lost() -> None:
    thread = OwnThread()
    source = Source()
    found: list[int] = []

    async def main() -> None:
        iterator = iterate_in_thread(source.items(), thread=thread)
        found.append(await iterator.__anext__())
        await poll(lambda: source.made > 16)
        thread.close()

        async def rest() -> None:
            async for number in iterator:
                found.append(number)

        with pytest.raises(PoolClosed):
            await rest()

    run(main)
    assert found == list(range(source.made))


def test_a_pool_that_takes_no_jobs_refuses_the_iteration() -> None:
    pool = ThreadPool(1, queue=0)
    go, began = Signal(), Signal()

    def hold_thread() -> None:
        began.set()
        go.wait()

    async def main() -> None:
        async def hold() -> None:
            await sync_to_async(hold_thread, thread_sensitive=False, pool=pool)()

        async def ask() -> None:
            await began.come()
            with pytest.raises(PoolFull):
                await iterate_in_thread([1], pool=pool).__anext__()
            go.set()

        await together(hold, ask)

    run(main)
    pool.close()

    async def closed() -> None:
        with pytest.raises(PoolClosed):
            await iterate_in_thread([1], pool=pool).__anext__()

    run(closed)


def test_a_pool_that_is_closed_while_the_iteration_waits_refuses_it() -> None:
    pool = ThreadPool(1)
    go, began = Signal(), Signal()

    def hold_thread() -> None:
        began.set()
        go.wait()

    async def main() -> None:
        async def hold() -> None:
            await sync_to_async(hold_thread, thread_sensitive=False, pool=pool)()

        async def ask() -> None:
            await began.come()
            task = asyncio.ensure_future(anext(iterate_in_thread([1], pool=pool)))
            await asyncio.sleep(0)
            pool._core.close()
            with pytest.raises(PoolClosed):
                await task
            go.set()

        await together(hold, ask)

    run(main)


# -- misuse


async def _nothing() -> Any:
    yield 1


def _few() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3,), {}, "expects an iterable; got int"),
        ((_nothing(),), {}, "iterate over it by `async for`"),
        ((_few,), {}, "test_iterate_in_thread._few is a function that makes one; call it"),
        (([],), {"read_ahead": -1}, "0 or more; got -1"),
        (([],), {"read_ahead": True}, "0 or more; got True"),
        (([],), {"read_ahead": 1.5}, "0 or more; got 1.5"),
        (([],), {"pool": ThreadPool(1), "thread": OwnThread()}, "got both"),
    ],
    ids=["no iterable", "async", "a generator's function", "negative", "bool", "float", "pool and thread"],
)
def test_what_cannot_work_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        iterate_in_thread(*arguments, **options)


def test_two_tasks_at_once_are_refused() -> None:
    go = Signal()

    def slow() -> Iterator[int]:
        go.wait()
        yield 1

    async def main() -> None:
        iterator = iterate_in_thread(slow())
        first = asyncio.ensure_future(anext(iterator))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="one task at a time"):
            await anext(iterator)
        go.set()
        assert await first == 1
        await iterator.aclose()

    run(main)


def test_another_loop_cannot_go_on_with_an_iteration() -> None:
    thread = OwnThread()
    iterator = iterate_in_thread(itertools.count(), thread=thread)

    async def begin() -> None:
        assert await anext(iterator) == 0

    async def go_on() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await anext(iterator)
        with pytest.raises(UsageError, match="another event loop"):
            await iterator.aclose()

    run(begin)
    run(go_on)
    thread.close()


def test_an_iteration_that_is_stuck_does_not_hold_up_the_exit_of_the_interpreter() -> None:
    assert (
        script("""
import asyncio, threading
from bridge.shim import iterate_in_thread
def stuck():
    yield 1
    threading.Event().wait()
async def main():
    iterator = iterate_in_thread(stuck())
    print(await anext(iterator))
    try:
        await asyncio.wait_for(anext(iterator), 0.05)
    except asyncio.TimeoutError:
        print("exits")
asyncio.run(main())
""")
        == "1\nexits\n"
    )


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_of_iterations_calls_and_ends_gives_the_right_items(seed: int) -> None:
    """Random sizes, bounds and early ends, at the same time, on one thread and in a small pool."""
    chance = random.Random(seed)
    thread, pool = OwnThread("mixture-own"), ThreadPool(2, name="mixture")

    async def one() -> None:
        count, stop, read_ahead = chance.randrange(60), chance.randrange(80), chance.choice([0, 1, 2, 5, 16])
        where: Any = chance.choice([{"thread": thread}, {"pool": pool}])
        source = Source(count)
        iterator = iterate_in_thread(source.items(), read_ahead=read_ahead, **where)
        found = []
        async for number in iterator:
            found.append(number)
            if len(found) >= stop:
                break
            if chance.random() < 0.2:
                await (thread.call(int) if chance.random() < 0.5 else asyncio.sleep(0))
        assert found == list(range(min(count, max(stop, 1))))
        await iterator.aclose()
        assert source.closed.is_set
        assert len(source.idents) == 1

    async def main() -> None:
        for _ in range(4):
            await together(*[one] * 8)

    run(main)
    thread.close()
    pool.close()
    # But for the pool's governor, which rests for a while.
    left = {"mixture-governor"}
    eventually(lambda: {thread.name for thread in threads_named("mixture")} <= left, "threads are left")
