"""Where the calls of a facade run and how they end, without the facade: for that see test_async_facade.py."""

from __future__ import annotations

import gc
import threading
import types
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import pytest
from support.drive import LOOPS, Signal, run

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.exceptions import PoolClosed
from bridge.shim.facade_calls import (
    GONE,
    Entered,
    Held,
    OwnPlace,
    PendingAttribute,
    PendingCall,
    Place,
    PoolPlace,
)
from bridge.shim.own_thread import OwnThread


class Closable:
    """Tells that it was closed, and where."""

    def __init__(self) -> None:
        self.closed = Signal()
        self.ident = 0

    def close(self) -> None:
        self.ident = get_ident()
        self.closed.set()


def same(value: Any) -> Any:
    return value


def make_place(kind: str) -> Place:
    return OwnPlace(OwnThread(), owned=True) if kind == "own" else PoolPlace(ThreadPool(1))


everywhere = pytest.mark.parametrize("kind", ["own", "pool"])


def generator(log: list[Any]) -> Iterator[int]:
    try:
        yield 1
    finally:
        log.append(get_ident())


def test_the_end_of_what_is_held() -> None:
    log: list[Any] = []
    items = generator(log)
    next(items)
    opened, given = Closable(), Closable()
    for held in (Held(items), Held(opened, opened=True), Held(given)):
        held.end()
        assert held.obj is GONE
    assert log == [get_ident()]
    assert (opened.closed.is_set, given.closed.is_set) == (True, False)


@everywhere
def test_what_is_let_go_of_ends_in_another_thread_than_the_loops(kind: str) -> None:
    thing = Closable()

    async def main() -> None:
        place = make_place(kind)
        await place.call(int)
        place.let_go(Held(thing, opened=True))
        await thing.closed.come()
        await place.close()

    run(main)
    assert thing.ident not in (0, get_ident())


@everywhere
def test_closing_lets_go_of_all_and_raises_the_first_exception(kind: str) -> None:
    log: list[Any] = []

    def failing() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    async def main() -> None:
        place = make_place(kind)
        bad, good = failing(), generator(log)
        await place.call(lambda: (next(bad), next(good)))
        kept = [Held(bad), Held(good)]
        for held in kept:
            place.hold(held)
        with pytest.raises(ValueError, match="at the end"):
            await place.close()
        assert [held.obj for held in kept] == [GONE, GONE]
        assert len(log) == 1
        await place.close()
        with pytest.raises(PoolClosed):
            await place.call(int)

    run(main)


def test_a_thread_that_was_given_is_not_closed() -> None:
    thread = OwnThread()

    async def main() -> None:
        place = OwnPlace(thread, owned=False)
        await place.call(int)
        await place.close()
        assert await thread.call(int) == 0

    run(main)
    thread.close()


def test_a_facade_that_was_never_used_is_closed_without_a_thread() -> None:
    before = set(threading.enumerate())

    async def main() -> None:
        place = make_place("own")
        held = Held(object())
        place.hold(held)
        await place.close()
        assert held.obj is GONE

    run(main)
    assert not {thread for thread in set(threading.enumerate()) - before if thread.name == "bridge-facade"}


def test_an_exit_for_which_a_worker_of_the_same_full_pool_waits_is_no_deadlock() -> None:
    pool = ThreadPool(1)
    log: list[str] = []

    @contextmanager
    def scope() -> Iterator[None]:
        log.append("enter")
        yield
        log.append("leave")

    async def inner() -> None:
        entered = Entered(scope, PoolPlace(pool), same)
        await entered.enter()
        await entered.leave(None, None, None)

    async def main() -> None:
        await sync_to_async(async_to_sync(inner), thread_sensitive=False, pool=pool)()

    run(main)
    assert log == ["enter", "leave"]
    pool.close()


@pytest.mark.parametrize("loop", LOOPS)
@everywhere
def test_the_three_uses_of_a_call(loop: str, kind: str) -> None:
    idents: set[int] = set()

    @contextmanager
    def scope() -> Iterator[int]:
        idents.add(get_ident())
        yield 3

    def items() -> Iterator[int]:
        idents.add(get_ident())
        yield from range(3)

    async def main() -> None:
        place = make_place(kind)

        def call(function: Any) -> PendingCall[Any]:
            return PendingCall(function, "it", place, same, 0)

        assert await call(lambda: 5) == 5
        async with call(scope) as value:
            assert value == 3
        assert [n async for n in call(items)] == [0, 1, 2]
        call(int).close()
        await place.close()

    run(main, loop)
    assert get_ident() not in idents


@types.coroutine
def stepped(call: PendingCall[Any]) -> Generator[Any, Any, Any]:
    """Await a call by hand."""
    value = None
    while True:
        try:
            yielded = call.send(value)
        except StopIteration as ended:
            return ended.value
        value = yield yielded


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_can_be_stepped_as_a_coroutine(loop: str) -> None:
    async def main() -> None:
        place = make_place("own")
        assert await stepped(PendingCall(int, "it", place, same, 0)) == 0
        thrown = PendingCall[int](int, "it", place, same, 0)
        with pytest.raises(LookupError):
            thrown.throw(LookupError())
        await place.close()

    run(main, loop)


def test_an_attribute_can_be_awaited_or_called() -> None:
    async def main() -> None:
        place = make_place("own")

        def call(args: Any, kwargs: Any) -> PendingCall[Any]:
            return PendingCall(lambda: (args, kwargs), "it", place, same, 0)

        def attribute() -> PendingAttribute[Any]:
            return PendingAttribute(lambda: "value", "it", place, same, 0, call)

        assert await attribute() == "value"
        assert await attribute()(1, a=2) == ((1,), {"a": 2})
        attribute()  # nobody is told: it was not asked for
        await place.close()

    run(main)
    gc.collect()
