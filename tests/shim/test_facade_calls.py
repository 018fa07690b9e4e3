"""Calls of what is behind a facade: awaited, entered, iterated over, cancelled."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import threading
import types
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident
from typing import Any

import pytest
import trio
from support.drive import LOOPS, Signal, poll, run
from support.shim_repository import Repository, cancelled_when

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.exceptions import UsageError
from bridge.shim import async_facade
from bridge.shim.facade_calls import Entered, PendingAttribute, PendingCall
from bridge.shim.facade_places import OwnPlace, Place, PoolPlace
from bridge.shim.own_thread import OwnThread


class Behind:
    """What is behind a facade, without the facade."""

    ahead = 0

    def __init__(self, place: Place) -> None:
        self.place = place

    def obj(self) -> Behind:
        return self

    def convert(self, value: Any) -> Any:
        return value

    def name_of(self, name: str) -> str:
        return f"It.{name}"


def make_place(kind: str) -> Place:
    return OwnPlace(OwnThread(), owned=True) if kind == "own" else PoolPlace(ThreadPool(1))


everywhere = pytest.mark.parametrize("kind", ["own", "pool"])


def test_an_exit_for_which_a_worker_of_the_same_full_pool_waits_is_no_deadlock() -> None:
    pool = ThreadPool(1)
    log: list[str] = []

    @contextmanager
    def scope() -> Iterator[None]:
        log.append("enter")
        yield
        log.append("leave")

    async def inner() -> None:
        entered = Entered(scope, Behind(PoolPlace(pool)))
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
            return PendingCall(Behind(place), lambda thing, *args: function(*args), "it")

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
        ran: list[Any] = []
        assert await stepped(PendingCall(Behind(place), lambda thing: 0, "it")) == 0
        thrown: PendingCall[Any] = PendingCall(Behind(place), ran.append, "it")
        with pytest.raises(LookupError):
            thrown.throw(LookupError())
        await stepped(PendingCall(Behind(place), id, "it"))
        assert not ran, "it was ended before it had begun"
        await place.close()

    run(main, loop)


def test_an_attribute_can_be_awaited_or_called() -> None:
    async def main() -> None:
        place = make_place("own")

        def call(*args: Any, **kwargs: Any) -> PendingCall[Any]:
            return PendingCall(Behind(place), lambda thing: (args, kwargs), "it")

        def attribute() -> PendingAttribute[Any]:
            return PendingAttribute(Behind(place), "ahead", call)

        assert await attribute() == 0
        assert await attribute()(1, a=2) == ((1,), {"a": 2})
        attribute()  # nobody is told: it was not asked for
        await place.close()

    run(main)
    gc.collect()


# -- by way of a facade


on_all_loops = pytest.mark.parametrize("loop", LOOPS)


def test_a_call_that_is_never_used_is_told_of() -> None:
    facade = async_facade(Repository())
    with pytest.warns(RuntimeWarning, match=r"the call of Repository.get was never awaited"):
        facade.get(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facade.size  # noqa: B018 - somebody may just look whether it is there
        facade.get(1).close()


@on_all_loops
def test_a_call_is_a_coroutine_and_can_be_used_once(loop: str) -> None:
    async def main() -> None:
        facade = async_facade(Repository())
        call = facade.get(1)
        assert isinstance(call, collections.abc.Coroutine)
        assert await call == 1
        with pytest.raises(RuntimeError, match="used already"):
            await call
        if loop == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(facade.get, 2)
        else:
            assert await asyncio.create_task(facade.get(2)) == 2
            assert list(await asyncio.gather(facade.get(3), facade.get(4))) == [3, 4]
            assert await asyncio.wait_for(facade.get(5), 10) == 5

    run(main, loop)


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_body_that_raises_is_told_to_the_context_manager(loop: str, affinity: Any) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository, affinity=affinity)
        suppressed, passed = ValueError(), LookupError()

        async def raising(error: Exception) -> None:
            async with facade.transaction():
                raise error

        await raising(suppressed)
        with pytest.raises(LookupError) as caught:
            await raising(passed)
        assert caught.value is passed
        assert repository.left == [suppressed, passed]
        async with facade.transaction():
            pass

    run(main, loop)
    assert repository.log == ["begin", "suppressed", "begin", "rollback", "begin", "commit"]


@on_all_loops
def test_a_body_that_is_cancelled_is_rolled_back_before_the_task_ends(loop: str) -> None:
    repository = Repository()
    inside = Signal()

    async def body() -> None:
        async with async_facade(repository).transaction():
            inside.set()
            await Signal().come()

    run(lambda: cancelled_when(inside, body, loop), loop)
    assert repository.log == ["begin", "rollback"]
    assert len(repository.idents) == 1


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_what_was_entered_for_a_task_that_is_cancelled_meanwhile_is_left_again(
    loop: str, affinity: Any
) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository, affinity=affinity)

        async def enter() -> None:
            async with facade.slow_entry():
                raise AssertionError("entered")

        await cancelled_when(repository.began, enter, loop)
        assert repository.log == []
        repository.go.set()
        await poll(lambda: len(repository.log) == 2)

    run(main, loop)
    assert repository.log == ["entered", "left"]


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_task_that_is_cancelled_while_it_leaves_has_left_when_it_ends(loop: str, affinity: Any) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository, affinity=affinity)

        async def leave() -> None:
            try:
                async with facade.slow_exit():
                    pass
            finally:
                repository.log.append("task")

        timer = threading.Timer(0.05, repository.go.set)
        # Only once the task was cancelled: or it might have left before.
        await cancelled_when(repository.began, leave, loop, timer.start)
        timer.join()

    run(main, loop)
    assert repository.log == ["left", "task"]


def test_an_exit_that_waits_in_the_queue_is_run_though_its_task_is_cancelled() -> None:
    repository = Repository()
    inside = Signal()

    async def main() -> None:
        facade = async_facade(repository)

        async def body() -> None:
            async with facade.transaction():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(body())
        await inside.come()
        held = asyncio.ensure_future(facade.hold())
        await repository.began.come()
        # The body; then the wait for `__exit__`; then the wait for it nevertheless.
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert repository.log == ["begin"]
        repository.go.set()
        await held
        await facade.get(1)
        assert repository.log == ["begin", "rollback"]

    run(main)


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_context_manager_may_reset_the_context_variables_that_it_has_set(loop: str, affinity: Any) -> None:
    """It is left in the Context that it was entered in, or the tokens would be of no use."""
    variable: ContextVar[str] = ContextVar("variable")
    other: ContextVar[str] = ContextVar("other")

    class Tracer:
        @contextmanager
        def span(self) -> Iterator[None]:
            token = variable.set("span")
            try:
                yield
            finally:
                assert other.get() == "body"
                other.set("left")
                variable.reset(token)

        def both(self) -> tuple[str, str]:
            return variable.get(), other.get()

    async def main() -> None:
        variable.set("task")
        other.set("task")
        facade = async_facade(Tracer(), affinity=affinity)
        async with facade.span():
            assert await facade.both() == ("span", "task")
            other.set("body")
        assert (variable.get(), other.get()) == ("task", "left")
        async with await facade.span():
            assert variable.get() == "span"
            other.set("body")
        assert (variable.get(), other.get()) == ("task", "left")

    run(main, loop)


def test_what_is_no_context_manager_cannot_be_entered() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="await the call"):
            async with async_facade(Repository()).get(1):
                pass

    run(main)
