"""`iterate_on_loop` as its users see it: where it runs, what it refuses.

How it works is in test_loop_iteration.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support.drive import run, serve
from support.engines import PATIENCE, Thread
from support.scopes import http_scope

from bridge import WSGIToASGI, async_to_sync, sync_to_async
from bridge.engines.running import running_port
from bridge.exceptions import UnsuitableFunction, UsageError, WouldDeadlock
from bridge.shim import persistent
from bridge.shim.iterate_on_loop import LoopIterator, iterate_on_loop

pytestmark = pytest.mark.usefixtures("single")


@pytest.fixture
def factory() -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """A factory that nobody else uses, so its loop is this test's."""

    def new_loop() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    yield new_loop
    thread = persistent._threads.pop(new_loop, None)
    if thread is not None:
        thread.release()
        assert thread.join(PATIENCE)


async def numbers(count: int = 3) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def places() -> AsyncIterator[tuple[object, int]]:
    """Which loop runs it, and in which thread."""
    for _ in range(2):
        yield running_port().loop, threading.get_ident()


async def place() -> object:
    return running_port().loop, threading.get_ident()


def test_it_is_an_iterator() -> None:
    items = iterate_on_loop(numbers())
    assert iter(items) is items
    assert isinstance(items, LoopIterator)
    assert [number * 2 for number in items] == [0, 2, 4]
    assert next(items, None) is None


def test_any_async_iterable_will_do() -> None:
    class Table:
        def __aiter__(self) -> AsyncIterator[int]:
            return numbers(2)

    assert list(iterate_on_loop(Table())) == [0, 1]


def test_with_closes_it_however_the_block_ends() -> None:
    closed: list[type[BaseException]] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        except BaseException as error:
            closed.append(type(error))
            raise

    with iterate_on_loop(endless()) as items:
        assert next(items) == 1
    with pytest.raises(StopIteration), iterate_on_loop(endless()) as items:
        next(iter([next(items)][1:]))
    assert closed == [GeneratorExit, GeneratorExit]


def test_leaving_a_for_loop_halfway_closes_what_nobody_else_has() -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in iterate_on_loop(endless()):
        break
    assert closed.wait(PATIENCE)


def test_outside_of_any_loop_it_runs_where_async_to_sync_does() -> None:
    assert set(iterate_on_loop(places())) == {async_to_sync(place)()}


def test_in_a_thread_that_a_task_waits_for_it_runs_on_that_loop(loop: str) -> None:
    async def main() -> None:
        here = await place()
        for thread_sensitive in (True, False):
            found = await sync_to_async(
                lambda: list(iterate_on_loop(places())), thread_sensitive=thread_sensitive
            )()
            assert found == [here, here]

    run(main, loop)


def test_in_a_worker_of_anyio_it_runs_on_the_loop_that_has_lent_it(loop: str) -> None:
    to_thread = pytest.importorskip("anyio.to_thread")

    async def main() -> None:
        here = await place()
        assert await to_thread.run_sync(lambda: list(iterate_on_loop(places()))) == [here, here]

    run(main, loop)


def test_a_loop_may_be_chosen(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    chosen = set(iterate_on_loop(places(), loop_factory=factory))
    assert {loop for loop, _ in chosen} == {persistent.persistent_loop(factory).port.loop}
    assert chosen.isdisjoint(iterate_on_loop(places()))


def test_a_streaming_view_under_an_asgi_server_runs_on_the_server_s_loop() -> None:
    """The rows of an async cursor, streamed by a WSGI app."""
    seen: list[object] = []

    async def rows() -> AsyncIterator[bytes]:
        for number in range(5):
            seen.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            yield b"%d" % number

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iterate_on_loop(rows())  # the server closes it

    exchange = serve(WSGIToASGI(app), http_scope())
    assert exchange.body == b"01234"
    assert len(set(seen)) == 1
    assert seen[0] is not persistent.persistent_loop().port.loop


def test_it_is_refused_where_a_loop_runs_and_serves_elsewhere_afterwards(loop: str) -> None:
    """It may be made in a task, for a thread."""

    async def main() -> list[int]:
        items = iterate_on_loop(numbers())
        with pytest.raises(WouldDeadlock, match="async for"):
            next(items)
        return await sync_to_async(lambda: list(items), thread_sensitive=False)()

    assert run(main, loop) == [0, 1, 2]


def test_closing_is_refused_where_a_loop_runs_unless_nothing_has_begun() -> None:
    items = iterate_on_loop(numbers(100))
    next(items)

    async def main() -> None:
        with pytest.raises(WouldDeadlock):
            items.close()
        fresh = iterate_on_loop(numbers())
        fresh.close()
        assert list(fresh) == []

    asyncio.run(main())
    assert next(items) == 1
    items.close()


def test_threads_that_begin_together_get_each_item_once() -> None:
    items = iterate_on_loop(numbers(1))
    barrier = threading.Barrier(4)

    def take() -> Any:
        barrier.wait(PATIENCE)
        try:
            return next(items, "none")
        except UsageError:
            return "refused"

    threads = [Thread(take) for _ in range(4)]
    found = [thread.outcome() for thread in threads]
    assert [each for each in found if each not in ("none", "refused")] == [0]


def async_function() -> Any:
    async def something() -> None: ...

    return something()


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (numbers, UnsuitableFunction, "call it"),
        (async_function, UsageError, "something with __aiter__"),
        ([1, 2], UsageError, "go through it directly"),
        (3, UsageError, "got int"),
        (None, UsageError, "got NoneType"),
    ],
    ids=["generator function", "function", "list", "int", "None"],
)
def test_what_cannot_be_iterated_is_refused_with_a_remedy(
    given: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        iterate_on_loop(given)


def test_a_coroutine_is_refused_without_a_second_complaint() -> None:
    with pytest.raises(UsageError, match="got a coroutine"):
        iterate_on_loop(async_function())


@pytest.mark.parametrize("read_ahead", [-1, 1.5, None, "3", True])
def test_read_ahead_is_a_number_of_items(read_ahead: Any) -> None:
    with pytest.raises(UsageError, match="read_ahead must be a number of items"):
        iterate_on_loop(numbers(), read_ahead=read_ahead)


def test_its_repr_tells_how_far_it_is() -> None:
    items = iterate_on_loop(numbers())
    assert repr(items) == "<iterate_on_loop: not begun>"
    next(items)
    assert "numbers" in repr(items)
    list(items)
    assert repr(items).endswith("numbers: ended>")
    closed = iterate_on_loop(numbers())
    closed.close()
    assert repr(closed) == "<iterate_on_loop: closed>"
