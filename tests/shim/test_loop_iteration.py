"""One iteration that a task makes for threads: what is made when, who is woken how often, how it ends.

The loops are of this module's own. What users see is in test_iterate_on_loop.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from support.engines import PATIENCE, FakePort, Thread, eventually, script

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.engines import waiting_thread
from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import LoopGone, UsageError, WouldDeadlock
from bridge.shim import loop_call, loop_iteration
from bridge.shim.iterate_on_loop import LoopIterator, iterate_on_loop

pytestmark = pytest.mark.usefixtures("single")


class Ended(BaseException):
    """What a server raises in a thread that it ends."""


def over(place: Any, iterable: Any, read_ahead: int = 16, patient: bool = True) -> LoopIterator[Any]:
    """An iteration at a place."""
    return LoopIterator(iterable, read_ahead, lambda _: place, patient)


def turns(place: LoopThread, count: int = 20) -> None:
    """Let the loop turn so often that everything has happened that needs nobody else."""
    done = threading.Event()

    async def turn() -> None:
        for _ in range(count):
            await asyncio.sleep(0)
        done.set()

    place.submit(lambda: asyncio.ensure_future(turn()))
    assert done.wait(PATIENCE)


class Source:
    """Numbers from 0.

    Args:
        count: how many.
        pauses: it suspends its task before each.

    Attributes:
        made: how many there have been so far.
        ended: what its `yield` has ended by, if not by going on.
        tasks: all tasks that its code has run in.
    """

    def __init__(self, count: int = 100, pauses: bool = False) -> None:
        self.count = count
        self.pauses = pauses
        self.made = 0
        self.ended: BaseException | None = None
        self.tasks: set[object] = set()

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                self.tasks.add(asyncio.current_task())
                if self.pauses:
                    await asyncio.sleep(0)
                self.made += 1
                yield number
        except BaseException as error:
            self.ended = error
            raise
        finally:
            await asyncio.sleep(0)
            self.tasks.add(asyncio.current_task())


async def stuck(begun: Callable[[], object] = lambda: None) -> AsyncIterator[int]:
    """Gives one item, then waits for ever."""
    yield 0
    begun()
    await asyncio.Event().wait()


# -- what is made when

PAUSES = pytest.mark.parametrize("pauses", [False, True], ids=["at once", "pausing"])


@PAUSES
@pytest.mark.parametrize("read_ahead", [0, 1, 2, 3, 16, 1000])
def test_all_items_come_in_order(place: LoopThread, read_ahead: int, pauses: bool) -> None:
    source = Source(100, pauses)
    assert list(over(place, source.items(), read_ahead)) == list(range(100))
    assert source.ended is None
    assert len(source.tasks) == 1, "from the first step to the last it is one task"


@PAUSES
@pytest.mark.parametrize("read_ahead", [0, 1, 2, 3, 16])
def test_no_more_is_made_than_was_allowed(place: LoopThread, read_ahead: int, pauses: bool) -> None:
    source = Source(100, pauses)
    with over(place, source.items(), read_ahead) as items:
        for taken in range(1, 40):
            next(items)
            turns(place)
            # After a pause the task goes on when half of it is used up, so it may be as far behind.
            assert taken <= source.made <= taken + read_ahead
            if taken == 1:
                assert source.made == 1 + read_ahead


def test_nothing_happens_before_the_first_item(place: LoopThread) -> None:
    source = Source()
    items = over(place, source.items())
    turns(place)
    assert source.made == 0
    items.close()
    assert list(items) == []
    assert source.tasks == set()


@pytest.mark.parametrize("consumer", ["fast", "slow"])
def test_many_items_cross_at_a_time(
    place: LoopThread, monkeypatch: pytest.MonkeyPatch, consumer: str
) -> None:
    """In either direction, a side is woken for half of what may be read ahead, not for each item."""
    woken: dict[str, int] = {"task": 0, "thread": 0}
    wake, begin = AsyncioPort.wake, loop_iteration.Iteration.open

    def counted_wake(self: Any, flag: Any) -> None:
        woken["task"] += self is place.port
        wake(self, flag)

    def counted_open(self: Any) -> None:
        woken["thread"] += self.place is place
        begin(self)

    monkeypatch.setattr(AsyncioPort, "wake", counted_wake)
    monkeypatch.setattr(loop_iteration.Iteration, "open", counted_open)
    count = 0
    for _ in over(place, Source(1600).items(), 16):
        count += 1
        if consumer == "slow":
            turns(place, 2)
    assert count == 1600
    assert woken["task"] <= 1600 / 8 + 2
    assert woken["thread"] <= 1600 / 8 + 2 if consumer == "fast" else woken["thread"] <= 4


def test_an_item_does_not_wait_for_others(place: LoopThread) -> None:
    """What comes slowly is handed over one by one."""
    go_on = threading.Event()

    async def slow() -> AsyncIterator[int]:
        yield 1
        while not go_on.is_set():
            await asyncio.sleep(0)
        yield 2

    items = over(place, slow())
    assert next(items) == 1
    go_on.set()
    assert list(items) == [2]


def test_items_are_not_kept_by_the_iteration(place: LoopThread, no_collector: None) -> None:
    class Item:
        pass

    async def some() -> AsyncIterator[Item]:
        for _ in range(3):
            yield Item()

    items = over(place, some(), 0)
    found = [weakref.ref(next(items)) for _ in range(3)]
    assert list(items) == []
    turns(place)
    eventually(lambda: [each() for each in found] == [None] * 3)


# -- errors


@pytest.mark.parametrize("kind", [ValueError, Ended, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("read_ahead", [0, 16])
def test_an_exception_comes_after_the_items_before_it(
    place: LoopThread, kind: type[BaseException], read_ahead: int
) -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise kind("now")

    items = over(place, failing(), read_ahead)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(kind, match="now"):
        next(items)
    assert next(items, "none") == "none", "then it is at its end"
    assert place.alive()
    assert list(over(place, Source(3).items())) == [0, 1, 2], "and the loop runs on"


def test_the_traceback_names_the_line_that_raised(place: LoopThread) -> None:
    async def failing() -> AsyncIterator[int]:
        for number in range(0):
            yield number
        raise ValueError("here")

    with pytest.raises(ValueError, match="here") as caught:
        next(over(place, failing()))
    assert "failing" in {entry.name for entry in caught.traceback}


def test_a_stop_iteration_ends_nothing_silently(place: LoopThread) -> None:
    class Wrong:
        def __aiter__(self) -> Wrong:
            return self

        def __anext__(self) -> Any:
            raise StopIteration("in an async iterator")

    with pytest.raises(RuntimeError, match="StopIteration"):
        next(over(place, Wrong()))


@pytest.mark.parametrize("what", ["aiter", "anext"])
def test_an_iterator_that_breaks_the_protocol_is_an_error(place: LoopThread, what: str) -> None:
    class Wrong:
        def __aiter__(self) -> Any:
            return self if what == "anext" else 3

        def __anext__(self) -> Any:
            return 3

    with pytest.raises(TypeError):
        next(over(place, Wrong()))


# -- closing


@pytest.mark.parametrize("read_ahead", [0, 1, 16])
def test_closing_ends_a_generator_at_its_yield_in_its_task(place: LoopThread, read_ahead: int) -> None:
    source = Source()
    items = over(place, source.items(), read_ahead)
    next(items)
    turns(place)
    items.close()
    assert isinstance(source.ended, GeneratorExit)
    assert len(source.tasks) == 1
    assert list(items) == [], "what was made ahead is dropped"
    items.close()


def test_closing_cancels_what_the_generator_waits_for(place: LoopThread) -> None:
    begun = threading.Event()
    noted: list[object] = []

    async def waiting() -> AsyncIterator[int]:
        task = asyncio.current_task()
        yield 1
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            noted.append(type(error))
            raise
        finally:
            await asyncio.sleep(0)
            noted.append(asyncio.current_task() is task)

    with over(place, waiting()) as items:
        next(items)
        assert begun.wait(PATIENCE)
    assert noted == [asyncio.CancelledError, True]


def test_closing_waits_for_the_end_of_the_generator(place: LoopThread) -> None:
    may_end, at_end = threading.Event(), threading.Event()
    noted: list[str] = []

    async def slow_to_end() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            at_end.set()
            while not may_end.is_set():
                await asyncio.sleep(0)
            noted.append("ended")

    def close() -> None:
        items.close()
        noted.append("closed")

    items = over(place, slow_to_end(), 0)
    next(items)
    closing = Thread(close)
    assert at_end.wait(PATIENCE)
    assert noted == []
    may_end.set()
    closing.outcome()
    assert noted == ["ended", "closed"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout")
def test_a_generator_that_was_cancelled_to_be_closed_may_use_time_outs(place: LoopThread) -> None:
    """The cancellation does not count for what its cleaning up awaits."""
    begun = threading.Event()
    noted: list[object] = []

    async def waiting() -> AsyncIterator[int]:
        yield 1
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield 2  # goes on, and gets GeneratorExit here
        finally:
            timeout: Any = getattr(asyncio, "timeout")  # noqa: B009 - not in Python 3.10
            task: Any = asyncio.current_task()
            noted.append(task.cancelling())
            with pytest.raises(TimeoutError):
                async with timeout(0.001):
                    await asyncio.Event().wait()
            noted.append("timed out")

    with over(place, waiting()) as items:
        next(items)
        assert begun.wait(PATIENCE)
    assert noted == [0, "timed out"]


@pytest.mark.parametrize("how", ["raises", "goes on"])
def test_what_closing_raises_comes_out_of_close(place: LoopThread, how: str) -> None:
    async def unwilling() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            if how == "raises":
                raise ValueError("in finally")
            yield 2

    items = over(place, unwilling(), 0)
    next(items)
    with pytest.raises(ValueError if how == "raises" else RuntimeError):
        items.close()
    assert list(items) == []


class Stream:
    """An async iterator that is no generator."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> int:
        return 1

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


def test_whatever_has_aclose_is_closed(place: LoopThread) -> None:
    stream = Stream()
    with over(place, stream) as items:
        assert next(items) == 1
    assert stream.closed == 1


def test_what_is_dropped_is_closed_in_its_task(place: LoopThread, no_collector: None) -> None:
    source = Source()
    items = over(place, source.items())
    next(items)
    del items
    eventually(lambda: source.ended)
    turns(place)
    assert isinstance(source.ended, GeneratorExit)
    assert len(source.tasks) == 1


def test_what_is_dropped_while_it_waits_is_cancelled(place: LoopThread) -> None:
    begun = threading.Event()
    generator = stuck(begun.set)
    items = over(place, generator)
    next(items)
    assert begun.wait(PATIENCE)
    del items
    eventually(lambda: getattr(generator, "ag_frame", 0) is None)


def test_what_the_closing_of_a_dropped_iterator_raises_is_logged(
    place: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    async def unwilling() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("in finally")

    with caplog.at_level(logging.ERROR, "bridge.shim"):
        items = over(place, unwilling(), 0)
        next(items)
        del items
        eventually(lambda: "unwilling" in caplog.text, "it is logged")
    assert "in finally" in caplog.text


def test_an_error_that_reading_ahead_has_met_is_no_affair_of_who_stops_before(place: LoopThread) -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ValueError("too far")

    items = over(place, failing())
    next(items)
    turns(place)
    items.close()


# -- cancel scopes and the like


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout")
def test_a_time_out_around_a_yield_times_out(place: LoopThread) -> None:
    """Although it is not the generator but its consumer that takes so long."""

    async def limited() -> AsyncIterator[int]:
        timeout: Any = getattr(asyncio, "timeout")  # noqa: B009 - not in Python 3.10
        try:
            async with timeout(0.001):
                yield 1
        except TimeoutError:
            yield 2

    items = over(place, limited(), 0)
    assert next(items) == 1
    eventually(lambda: not isinstance(items, int) and _second_is_made(items))
    assert list(items) == [2]


def _second_is_made(items: LoopIterator[Any]) -> bool:
    return bool(items._iteration is not None and items._iteration._items)


def test_cancel_scopes_of_anyio_work_across_yields(place: LoopThread) -> None:
    anyio = pytest.importorskip("anyio")
    noted: list[str] = []

    async def background() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            noted.append("background ended")

    async def working() -> AsyncIterator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(background)
            with anyio.CancelScope():
                yield 1
                yield 2
            group.cancel_scope.cancel()
        noted.append("over")

    assert list(over(place, working(), 0)) == [1, 2]
    assert noted == ["background ended", "over"]
    noted.clear()
    with over(place, working(), 0) as items:
        next(items)
    assert noted == ["background ended"]


def test_a_cancelled_task_lets_the_generator_see_it(place: LoopThread) -> None:
    """At its `yield`: what it makes of that is what comes."""

    async def brave() -> AsyncIterator[Any]:
        try:
            yield asyncio.current_task()
        except asyncio.CancelledError:
            yield "cancelled"

    items = over(place, brave(), 0)
    task = next(items)
    place.submit(task.cancel)
    turns(place)
    assert list(items) == ["cancelled"]


@pytest.mark.parametrize("where", ["at its yield", "inside"])
def test_the_cancellation_of_the_task_comes_to_the_thread(place: LoopThread, where: str) -> None:
    async def timid() -> AsyncIterator[Any]:
        yield asyncio.current_task()
        await asyncio.Event().wait()

    items = over(place, timid(), 0 if where == "at its yield" else 1)
    task = next(items)
    turns(place)
    place.submit(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        next(items)
    assert list(items) == []


# -- threads


def test_one_thread_after_the_other_may_take_items(place: LoopThread) -> None:
    items = over(place, Source(6, pauses=True).items(), 1)
    found = []
    for _ in range(3):
        found += [Thread(lambda: next(items)).outcome(), next(items)]
    assert found == list(range(6))


def test_a_second_thread_that_would_wait_is_refused(place: LoopThread) -> None:
    begun = threading.Event()
    items = over(place, stuck(begun.set))
    next(items)
    first = Thread(lambda: next(items, "none"))
    assert begun.wait(PATIENCE)
    eventually(lambda: items._iteration is not None and items._iteration._inside)
    with pytest.raises(UsageError, match="another thread waits for the next item"):
        next(items)
    items.close()
    assert first.outcome() == "none", "closing ends the wait of the other one"


@pytest.mark.parametrize("where", ["at its yield", "inside"])
def test_closing_in_two_threads_closes_once(place: LoopThread, where: str) -> None:
    """Wherever the generator is, its cleaning up is not cancelled by the second one."""
    may_end, at_end, inside = threading.Event(), threading.Event(), threading.Event()
    noted: list[str] = []

    async def slow_to_end() -> AsyncIterator[int]:
        try:
            yield 1
            inside.set()
            await asyncio.Event().wait()
        finally:
            at_end.set()
            while not may_end.is_set():
                await asyncio.sleep(0)
            noted.append("ended")

    items = over(place, slow_to_end(), 0 if where == "at its yield" else 1)
    next(items)
    if where == "inside":
        assert inside.wait(PATIENCE)
    first = Thread(items.close)
    assert at_end.wait(PATIENCE)
    second = Thread(items.close)
    assert next(items, "none") == "none", "there is nothing to wait for any more"
    turns(place)
    may_end.set()
    first.outcome()
    second.outcome()
    assert noted == ["ended"]


@pytest.mark.parametrize("what", ["next", "close"])
def test_the_generator_s_own_code_cannot_wait_for_the_generator(place: LoopThread, what: str) -> None:
    async def circular() -> AsyncIterator[Any]:
        yield 1
        with pytest.raises(WouldDeadlock, match="waits for an item"):
            await sync_to_async(lambda: next(items) if what == "next" else items.close())()
        yield 2

    items = over(place, circular(), 0)
    assert list(items) == [1, 2]


def test_what_closing_raises_is_for_the_thread_that_closes(place: LoopThread) -> None:
    begun = threading.Event()

    async def unwilling() -> AsyncIterator[int]:
        yield 1
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in finally")

    items = over(place, unwilling(), 0)
    next(items)
    waiting = Thread(lambda: next(items, "none"))
    assert begun.wait(PATIENCE)
    with pytest.raises(ValueError, match="in finally"):
        items.close()
    assert waiting.outcome() == "none"


def test_closing_before_the_first_item_is_asked_for_ends_it(place: LoopThread) -> None:
    """By one thread, when another is just about to ask."""
    source = Source()
    items = over(place, source.items())
    iteration = items._begin()
    Thread(items.close).outcome()
    with pytest.raises(StopIteration):
        iteration.take()
    assert source.tasks == set()


def test_closing_after_the_end_drops_what_was_made_ahead(place: LoopThread) -> None:
    items = over(place, Source(3).items())
    next(items)
    turns(place)
    items.close()
    assert list(items) == []


# -- thread-sensitive calls of the generator's code


def idents(read_ahead: int, place: LoopThread) -> Any:
    async def calling() -> AsyncIterator[int]:
        for _ in range(3):
            yield await sync_to_async(threading.get_ident)()

    return over(place, calling(), read_ahead)


@pytest.mark.parametrize("read_ahead", [0, 16])
def test_they_run_in_the_thread_that_waits(place: LoopThread, read_ahead: int) -> None:
    assert set(idents(read_ahead, place)) == {threading.get_ident()}


def test_they_follow_the_thread_that_waits(place: LoopThread) -> None:
    items = idents(0, place)
    assert next(items) == threading.get_ident()
    other = Thread(lambda: (next(items), threading.get_ident())).outcome()
    assert other[0] == other[1] != threading.get_ident()
    assert next(items) == threading.get_ident()
    assert list(items) == []


def test_those_of_asgiref_do_so_too(place: LoopThread) -> None:
    from asgiref.sync import sync_to_async as asgiref_sync_to_async

    async def calling() -> AsyncIterator[int]:
        for _ in range(3):
            yield await asgiref_sync_to_async(threading.get_ident)()

    assert set(over(place, calling())) == {threading.get_ident()}


@pytest.mark.parametrize("then", ["next", "close"])
def test_they_wait_until_the_thread_waits(place: LoopThread, then: str) -> None:
    noted: list[int] = []

    async def calling() -> AsyncIterator[int]:
        try:
            yield 1
            await sync_to_async(lambda: noted.append(threading.get_ident()))()
            yield 2
        finally:
            if then == "close":
                await sync_to_async(lambda: noted.append(threading.get_ident()))()

    items = over(place, calling(), 0 if then == "close" else 16)
    next(items)
    turns(place)
    assert noted == []
    if then == "next":
        assert list(items) == [2]
    else:
        items.close()
    assert noted == [threading.get_ident()]


def test_they_go_elsewhere_when_nobody_has_the_iterator_any_more(place: LoopThread) -> None:
    noted: list[str] = []

    async def calling() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await sync_to_async(lambda: noted.append(threading.current_thread().name))()

    items = over(place, calling(), 0)
    next(items)
    del items
    eventually(lambda: noted)
    assert noted[0].startswith("single")


def test_of_an_impatient_iteration_they_go_elsewhere_while_no_thread_waits(place: LoopThread) -> None:
    noted: list[str] = []
    called, go_on = threading.Event(), threading.Event()

    async def calling() -> AsyncIterator[int]:
        noted.append(await sync_to_async(lambda: threading.current_thread().name)())
        task = asyncio.ensure_future(beside())
        yield 1
        await task

    async def beside() -> None:
        while not go_on.is_set():
            await asyncio.sleep(0)
        noted.append(await sync_to_async(lambda: threading.current_thread().name)())
        called.set()

    items = over(place, calling(), 0, patient=False)
    next(items)
    go_on.set()
    assert called.wait(PATIENCE)
    assert noted[0] == threading.current_thread().name
    assert noted[1].startswith("single")
    assert list(items) == []


def test_those_of_a_task_that_was_left_behind_go_elsewhere_after_the_end(place: LoopThread) -> None:
    noted: list[str] = []
    ended = threading.Event()

    async def beside() -> None:
        while not ended.is_set():
            await asyncio.sleep(0)
        noted.append(await sync_to_async(lambda: threading.current_thread().name)())

    async def leaving() -> AsyncIterator[asyncio.Task[None]]:
        yield asyncio.ensure_future(beside())

    items = over(place, leaving())
    kept = next(items)
    turns(place)  # now it is at its end, which the thread has not asked for
    ended.set()
    eventually(lambda: noted)
    assert noted[0].startswith("single")
    eventually(kept.done)
    assert list(items) == []


def test_those_of_a_dropped_generator_wait_for_the_thread_further_up() -> None:
    """Although that still runs the call in which the iterator was dropped: it does not wait for them."""
    noted: list[int] = []

    async def main() -> None:
        over_and_done = asyncio.Event()

        async def calling() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                noted.append(await sync_to_async(threading.get_ident)())
                over_and_done.set()

        def drop() -> None:
            items = iterate_on_loop(calling(), read_ahead=0)
            next(items)
            del items
            for _ in range(10):
                async_to_sync(asyncio.sleep)(0)
            assert noted == []

        await sync_to_async(drop)()
        await asyncio.wait_for(over_and_done.wait(), PATIENCE)

    async_to_sync(main)()
    assert noted == [threading.get_ident()]


def test_nesting_does_not_exhaust_a_pool() -> None:
    pool = ThreadPool(1)

    def depths(depth: int) -> list[int]:
        return list(iterate_on_loop(below(depth))) if depth else [0]

    async def below(depth: int) -> AsyncIterator[int]:
        for each in await sync_to_async(depths, thread_sensitive=False, pool=pool)(depth - 1):
            yield each + 1

    assert depths(8) == [8]
    assert asyncio.run(sync_to_async(depths, thread_sensitive=False, pool=pool)(8)) == [8]
    pool.close()


def test_a_nested_iteration_is_served_by_the_same_thread(place: LoopThread) -> None:
    """Down four times, with read-ahead at every level, it is always the one thread that waits."""

    def numbers(depth: int) -> list[int]:
        return [threading.get_ident(), *over(place, below(depth))] if depth else [threading.get_ident()]

    async def below(depth: int) -> AsyncIterator[int]:
        for each in await sync_to_async(numbers)(depth - 1):
            yield each

    assert set(Thread(lambda: numbers(4)).outcome()) != {threading.get_ident()}
    found = numbers(4)
    assert (len(found), set(found)) == (5, {threading.get_ident()})


# -- context variables

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
other: contextvars.ContextVar[str] = contextvars.ContextVar("other")


def in_a_context(function: Callable[[], None]) -> None:
    contextvars.Context().run(function)


def test_context_variables_go_in_and_come_back_at_the_end(place: LoopThread) -> None:
    async def setting() -> AsyncIterator[str]:
        yield variable.get()
        variable.set("theirs")
        yield variable.get()

    def check() -> None:
        variable.set("mine")
        items = over(place, setting())
        assert next(items) == "mine"
        other.set("mine")
        turns(place)
        assert variable.get() == "mine"
        assert list(items) == ["theirs"]
        assert (variable.get(), other.get()) == ("theirs", "mine")

    in_a_context(check)


def test_what_the_thread_has_set_meanwhile_is_not_undone(place: LoopThread) -> None:
    def check() -> None:
        variable.set("before")
        items = over(place, Source(3).items())
        next(items)
        variable.set("after")
        assert list(items) == [1, 2]
        assert variable.get() == "after"

    in_a_context(check)


def test_without_reading_ahead_they_come_back_with_each_item(place: LoopThread) -> None:
    async def setting() -> AsyncIterator[int]:
        token = variable.set("first")
        yield 1
        other.set("second")
        yield 2
        variable.reset(token)  # possible, as it is the same Context

    def check() -> None:
        items = over(place, setting(), 0)
        next(items)
        assert variable.get() == "first"
        next(items)
        assert other.get() == "second"
        assert list(items) == []
        assert variable.get("unset") == "unset"

    in_a_context(check)


# -- ends that nobody wants


class Dead(FakePort):
    """A place whose loop runs nothing."""

    @property
    def port(self) -> Any:
        return self

    def call_soon(self, callback: Callable[[], object]) -> None:
        if self.is_closed:
            raise LoopGone("the event loop is closed")


@pytest.mark.parametrize("what", ["next", "close"])
def test_a_loop_that_has_stopped_ends_the_wait(hasty: None, what: str) -> None:
    dead = Dead()
    items = over(dead, Source().items())
    dead.on_look = lambda: setattr(dead, "is_alive", False)
    with pytest.raises(LoopGone, match="has stopped"):
        next(items)
    assert list(items) == []
    items.close()


def test_closing_on_a_loop_that_stops_meanwhile_ends(place: LoopThread, hasty: None) -> None:
    begun = threading.Event()
    items = over(place, stuck(begun.set))
    next(items)
    assert begun.wait(PATIENCE)
    dead = Dead()
    dead.is_alive = False
    assert items._iteration is not None
    items._iteration.place = dead
    items.close()
    assert dead.looks >= 2
    del items
    place.submit(
        lambda: [task.cancel() for task in asyncio.all_tasks(place.port.loop) if "Iteration" in str(task)]
    )


def test_a_closed_loop_is_told_at_once() -> None:
    dead = Dead()
    dead.is_closed = True
    items = over(dead, Source().items())
    with pytest.raises(LoopGone):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("destroyed", [True, False], ids=["destroyed", "forgotten"])
def test_a_task_that_is_left_by_its_loop_ends_the_wait(
    destroyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # If the task is destroyed, that alone ends the wait, and not a look at the loop, which is closed before.
    monkeypatch.setattr(waiting_thread, "LOOK", PATIENCE if destroyed else 0.01)
    loop = asyncio.new_event_loop()
    begun = threading.Event()
    waiting = threading.Event()

    def drive() -> None:
        loop.call_soon(begun.set)
        loop.run_forever()
        (task,) = asyncio.all_tasks(loop)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        if destroyed:
            coroutine: Any = task.get_coro()
            coroutine.close()  # as its finalizer does

    driver = Thread(drive)
    assert begun.wait(PATIENCE)
    port = AsyncioPort(loop)
    items = over(port, stuck(waiting.set))
    assert next(items) == 0
    assert waiting.wait(PATIENCE)
    thread = Thread(lambda: next(items))
    eventually(lambda: items._iteration is not None and items._iteration._inside)
    loop.call_soon_threadsafe(loop.stop)
    driver.outcome()
    with pytest.raises(LoopGone, match="has ended" if destroyed else "has stopped"):
        thread.outcome()
    assert list(items) == []


def test_a_thread_that_is_ended_has_its_task_cancelled(place: LoopThread) -> None:
    """By whatever a server raises in it; here, out of its gate."""
    noted: list[type[BaseException]] = []

    async def waiting() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            noted.append(type(error))
            raise

    items = over(place, waiting(), 0)
    next(items)
    iteration: Any = items._iteration

    class Striking:
        def acquire(self, *args: Any) -> bool:
            turns(place)
            iteration._gate = gate
            raise Ended

        def release(self) -> None: ...

    gate, iteration._gate = iteration._gate, Striking()
    with pytest.raises(Ended):
        next(items)
    assert noted == [asyncio.CancelledError]
    assert list(items) == []


def test_a_thread_that_is_ended_waits_for_a_bounded_time(
    place: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_call, "_CANCEL_GRACE", 0.01)
    let_go = threading.Event()

    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            while not let_go.is_set():
                try:
                    await asyncio.sleep(0.001)
                except asyncio.CancelledError:
                    pass

    items = over(place, stubborn(), 0)
    next(items)
    iteration: Any = items._iteration

    class Striking:
        def acquire(self, *args: Any) -> bool:
            iteration._gate = gate
            raise Ended

        def release(self) -> None: ...

    gate, iteration._gate = iteration._gate, Striking()
    with pytest.raises(Ended):
        items.close()
    let_go.set()
    eventually(lambda: iteration.done)


def test_ctrl_c_ends_a_thread_that_waits_for_an_item() -> None:
    out = script(
        """
import asyncio, os, signal
from bridge.shim import iterate_on_loop, loop_call
loop_call._CANCEL_GRACE = 20.0  # however busy the machine is

async def events():
    try:
        yield 1
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)

items = iterate_on_loop(events(), read_ahead=0)
try:
    for item in items:
        print(item, flush=True)
except KeyboardInterrupt:
    print("interrupted", list(items), flush=True)
"""
    )
    assert out.split("\n")[:3] == ["1", "closed", "interrupted []"]


@pytest.mark.skipif(sys.platform == "win32", reason="this system cannot fork")
def test_a_forked_child_is_told_that_it_has_no_such_loop() -> None:
    out = script(
        """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from bridge.engines import waiting_thread
from bridge.shim import iterate_on_loop
from bridge.exceptions import LoopGone

async def numbers():
    for number in range(100):
        yield number

items, others = iterate_on_loop(numbers()), iterate_on_loop(numbers())
next(items), next(others)
pid = os.fork()
if pid == 0:
    look, waiting_thread.LOOK = waiting_thread.LOOK, 1000.0
    others.close()  # at once: it does not look for the loop of the parent, or this would hang
    waiting_thread.LOOK = look
    try:
        next(items)
    except LoopGone:
        print("gone", list(items), list(others), list(iterate_on_loop(numbers()))[-1], flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("parent", len(list(items)), len(list(others)))
"""
    )
    assert out.splitlines() == ["gone [] [] 99", "parent 99 99"]


@pytest.mark.skipif(sys.platform == "win32", reason="this system cannot fork")
@pytest.mark.parametrize("end", ["return", "raise ValueError('at the end')"], ids=["ends", "raises"])
def test_a_forked_child_has_what_was_made_of_an_iteration_that_is_over(end: str) -> None:
    """It was read ahead, so nothing of it is lost."""
    out = script(
        f"""
import os, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from bridge.shim import iterate_on_loop

async def numbers():
    yield 0
    yield 1
    yield 2
    {end}

def rest():
    try:
        yield from items
    except ValueError as error:
        yield error.args[0]

items = iterate_on_loop(numbers())
next(items)
while not items._iteration.done:
    time.sleep(0.001)
pid = os.fork()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
print(*rest(), *rest(), flush=True)
if not pid:
    os._exit(0)
"""
    )
    assert out.splitlines() == ["1 2" if end == "return" else "1 2 at the end"] * 2


def test_an_interpreter_exits_although_iterations_are_open() -> None:
    out = script(
        """
import asyncio, threading
from bridge.shim import iterate_on_loop

async def events():
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)

kept = iterate_on_loop(events())
next(kept)
other = iterate_on_loop(events())
begun = threading.Event()
def wait():
    next(other)
    begun.set()
    next(other)
threading.Thread(target=wait, daemon=True).start()
begun.wait(10)
"""
    )
    assert out.split() == ["closed", "closed"]


# -- the loop's owner


def test_cancelling_the_task_that_waits_for_the_thread_cancels_the_generator() -> None:
    noted: list[str] = []
    begun = threading.Event()

    async def waiting() -> AsyncIterator[int]:
        yield 1
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            noted.append("generator")

    def consume() -> None:
        try:
            for _ in iterate_on_loop(waiting()):
                pass
        except asyncio.CancelledError:
            noted.append("thread")
            raise

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(consume, thread_sensitive=False)())
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert noted == ["generator", "thread"]


def test_on_trio_it_is_all_the_same() -> None:
    noted: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        task = trio.lowlevel.current_task()
        try:
            for number in range(100):
                if number % 7 == 0:
                    await trio.sleep(0)
                yield number
        finally:
            noted.append("closed" if trio.lowlevel.current_task() is task else "elsewhere")

    async def endless() -> AsyncIterator[int]:
        yield 1
        try:
            await trio.sleep_forever()
        finally:
            noted.append("cancelled")

    def consume() -> list[int]:
        with iterate_on_loop(numbers()) as items:
            next(items)
        with iterate_on_loop(endless()) as items:
            next(items)
            async_to_sync(trio.sleep)(0.001)
        return list(iterate_on_loop(numbers()))

    async def main() -> list[int]:
        with trio.fail_after(PATIENCE):
            return await sync_to_async(consume, thread_sensitive=False)()

    assert trio.run(main) == list(range(100))
    assert noted == ["closed", "cancelled", "closed"]
