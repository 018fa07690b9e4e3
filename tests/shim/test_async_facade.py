"""Async facades: what becomes of each member, where it runs, and how calls and facades end."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import functools
import gc
import inspect
import operator
import random
import sqlite3
import threading
import warnings
import weakref
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import get_ident
from typing import Any, Protocol, cast

import pytest
import trio
from support.drive import LOOPS, Signal, poll, run, together
from support.engines import eventually, script

from bridge import ThreadPool, async_to_sync
from bridge.exceptions import PoolClosed, UsageError, WouldDeadlock
from bridge.shim import async_facade, open_facade
from bridge.shim.async_facade import facade_call, facade_close
from bridge.shim.own_thread import OwnThread

on_all_loops = pytest.mark.parametrize("loop", LOOPS)


class Item:
    """Has no special abilities."""

    def __init__(self, repository: Repository, number: int) -> None:
        self.repository = repository
        self.number = number

    def ident(self) -> int:
        return get_ident()


class Repository:
    """A blocking object with one of each."""

    VERSION = 3
    Error = KeyError

    def __init__(self, count: int = 5) -> None:
        self.name = "plain"
        self.count = count
        self.log: list[Any] = []
        self.idents: set[int] = set()
        self.left: list[Any] = []
        self.go = Signal()
        self.began = Signal()

    def get(self, number: int, *, twice: bool = False) -> int:
        """Get a number."""
        self.idents.add(get_ident())
        if number < 0:
            raise self.Error(number)
        return 2 * number if twice else number

    @property
    def size(self) -> int:
        self.idents.add(get_ident())
        return self.count

    @size.setter
    def size(self, value: int) -> None:
        self.idents.add(get_ident())
        self.count = value

    @functools.cached_property
    def once(self) -> int:
        self.log.append("once")
        return get_ident()

    def rows(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.idents.add(get_ident())
                yield number
        finally:
            self.log.append(("closed", get_ident()))

    def listed(self) -> list[int]:
        return list(range(self.count))

    def item(self, number: int) -> Item:
        return Item(self, number)

    @contextmanager
    def transaction(self) -> Iterator[Repository]:
        self.idents.add(get_ident())
        self.log.append("begin")
        try:
            yield self
        except ValueError as error:
            self.left.append(error)
            self.log.append("suppressed")
        except BaseException as error:
            self.left.append(error)
            self.log.append("rollback")
            raise
        else:
            self.log.append("commit")
        finally:
            self.idents.add(get_ident())

    def slow_entry(self) -> SlowEntry:
        return SlowEntry(self)

    @contextmanager
    def slow_exit(self) -> Iterator[None]:
        yield
        self.began.set()
        self.go.wait()
        self.log.append("left")

    def hold(self) -> str:
        self.began.set()
        self.go.wait()
        return "held"

    def fluent(self) -> Repository:
        return self

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @staticmethod
    def static(value: int) -> int:
        return value + 1

    async def migrated(self, number: int) -> int:
        return number + (get_ident() << 1)

    def call_back(self, function: Callable[[], Awaitable[Any]]) -> Any:
        return async_to_sync(function)()

    def same(self, other: object) -> bool:
        return other is self

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int) -> int:
        return key * 10

    def __contains__(self, item: object) -> bool:
        return item == 1

    def __iter__(self) -> Iterator[int]:
        return self.rows()

    def __call__(self, value: str) -> str:
        return value.upper()

    def __setitem__(self, key: int, value: int) -> None:
        self.log.append((key, value))


class SlowEntry:
    """Is not left by the garbage collector."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def __enter__(self) -> None:
        self.repository.began.set()
        self.repository.go.wait()
        self.repository.log.append("entered")

    def __exit__(self, *exc_info: object) -> None:
        self.repository.log.append("left")


class AsyncRepository(Protocol):
    VERSION: int
    name: str

    async def get(self, number: int, *, twice: bool = False) -> int: ...
    @property
    def size(self) -> Awaitable[int]: ...
    def rows(self) -> AsyncIterator[int]: ...
    def transaction(self) -> AbstractAsyncContextManager[AsyncRepository]: ...
    async def migrated(self, number: int) -> int: ...
    def __aiter__(self) -> AsyncIterator[int]: ...


# -- members


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_each_kind_of_member_is_used_as_documented(loop: str, affinity: Any) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(
            repository, affinity=affinity, pool=ThreadPool(2) if affinity == "call" else None
        )
        assert await facade.get(3) == 3
        assert await facade.get(3, twice=True) == 6
        with pytest.raises(KeyError):
            await facade.get(-1)
        assert (facade.name, facade.VERSION, facade.Error) == ("plain", 3, KeyError)
        facade.name = "changed"
        facade.added = 1
        assert (repository.name, repository.added) == ("changed", 1)  # type: ignore[attr-defined]
        del facade.added
        assert not hasattr(repository, "added")
        assert await facade.size == 5
        assert await facade.once == await facade.once != get_ident()
        assert await facade.of_class() == "Repository"
        assert await facade.static(1) == 2
        assert await facade.migrated(0) == get_ident() << 1, "async already: on the loop"
        assert [n async for n in facade.rows()] == [0, 1, 2, 3, 4]
        assert [n async for n in facade.listed()] == await facade.listed()
        assert [n async for n in facade] == [0, 1, 2, 3, 4]
        async with facade.transaction() as transaction:
            assert transaction is facade
        assert await facade.fluent() is facade
        assert await facade[4] == 40
        assert await facade("up") == "UP"
        assert await facade_call(facade, len) == 5
        assert await facade_call(facade, operator.contains, 1) is True
        await facade_call(facade, setattr, "size", 7)
        assert repository.count == 7
        await facade_close(facade)

    run(main, loop)
    assert repository.log[0] == "once"
    assert repository.log.count("once") == 1
    assert get_ident() not in repository.idents
    if affinity == "facade":
        assert len(repository.idents) == 1


def test_a_method_keeps_its_name_its_docstring_and_its_signature() -> None:
    facade = async_facade(Repository())
    method = facade.get
    assert (method.__name__, method.__doc__, method.__module__) == ("get", "Get a number.", __name__)
    assert inspect.signature(method) == inspect.signature(Repository().get)
    is_coroutine_function: Any = getattr(asyncio, "iscoroutinefunction", inspect.iscoroutinefunction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert is_coroutine_function(method)
    assert {"get", "rows", "name", "VERSION"} <= set(dir(facade))


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (len, r"facade_call\(facade, len\)"),
        (bool, r"facade_call\(facade, bool\)"),
        (list, "async for item in facade"),
        (lambda facade: 1 in facade, "operator.contains"),
        (lambda facade: operator.setitem(facade, 1, 2), "operator.setitem"),
        (lambda facade: setattr(facade, "size", 2), "facade_call\\(facade, setattr, 'size', value\\)"),
        (lambda facade: setattr(facade, "get", 2), "facade_call\\(facade, setattr, 'get', value\\)"),
        (lambda facade: delattr(facade, "size"), "facade_call\\(facade, delattr, 'size'\\)"),
        (lambda facade: bool(facade.size), "write `await` before it"),
    ],
    ids=[
        "len",
        "bool",
        "iter",
        "in",
        "setitem",
        "set property",
        "set method",
        "del property",
        "forgotten await",
    ],
)
def test_what_cannot_be_awaited_is_refused_with_what_to_write(
    use: Callable[[Any], Any], instead: str
) -> None:
    with pytest.raises(UsageError, match=instead):
        use(async_facade(Repository()))


def test_what_the_object_does_not_have_the_facade_does_not_have() -> None:
    facade: Any = async_facade(object())
    with pytest.raises(AttributeError, match="'object' object has no attribute 'nothing'"):
        facade.nothing  # noqa: B018
    for use in (len, iter, operator.methodcaller("__call__"), operator.itemgetter(0)):
        with pytest.raises((TypeError, AttributeError)):
            use(facade)
    assert bool(facade) is True


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


def test_dynamic_attributes_are_methods_and_values() -> None:
    class Client:
        def __getattr__(self, name: str) -> Any:
            if name == "wrong":
                raise AttributeError(name)
            return (lambda *args: (name, args, get_ident())) if name.startswith("call") else name

    async def main() -> None:
        facade = async_facade(Client())
        name, args, ident = await facade.call_it(1, 2)
        assert (name, args) == ("call_it", (1, 2))
        assert ident != get_ident()
        assert await facade.value == "value"
        with pytest.raises(AttributeError):
            await facade.wrong
        assert not hasattr(facade, "__html__")

    run(main)


def test_a_module_can_be_behind_a_facade(tmp_path: Path) -> None:
    import shutil

    (tmp_path / "a").write_text("text")

    async def main() -> None:
        facade = async_facade(shutil)
        await facade.copyfile(tmp_path / "a", tmp_path / "b")
        assert facade.Error is shutil.Error

    run(main)
    assert (tmp_path / "b").read_text() == "text"


# -- results


def test_results_that_would_block_come_back_as_facades_on_the_same_thread() -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository, wrap=[Item])
        item = await facade.item(3)
        assert item.number == 3
        assert await item.ident() == await facade_call(facade, lambda obj: get_ident())
        rows = await facade.rows()
        assert [await anext(rows), await anext(rows)] == [0, 1]
        assert [n async for n in rows] == [2, 3, 4]
        plain = await async_facade(repository).item(3)
        assert type(plain) is Item
        async for one in facade_call(facade, lambda obj: [obj.item(1)]):
            assert await one.ident() != get_ident()
        async with facade_call(facade, lambda obj: contextlib.nullcontext(obj.item(2))) as entered:
            assert await entered.ident() != get_ident()

    run(main)


def test_a_facade_as_an_argument_is_its_object_if_it_belongs_to_the_same_thread() -> None:
    async def main() -> None:
        thread = OwnThread()
        one, two = async_facade(Repository(), thread=thread), async_facade(Repository(), thread=thread)
        assert await one.same(one) is True
        assert await one.same(two) is False
        with pytest.raises(UsageError, match=r"async_facade\(..., thread=OwnThread\(\)\)"):
            await one.same(async_facade(Repository()))
        assert await one.same(async_facade(Repository(), affinity="call")) is False
        await facade_close(one)
        assert await two.get(1) == 1, "the thread was given, so it is its giver's"
        thread.close()

    run(main)


# -- context managers


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


async def cancelled_when(signal: Signal, function: Callable[[], Awaitable[Any]], loop: str) -> None:
    """Run a coroutine function, and cancel it once the signal has come."""
    if loop == "trio":
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await signal.come()
                scope.cancel()

            await together(function, cancel)
        assert scope.cancelled_caught
        return
    task = asyncio.ensure_future(function())
    await signal.come()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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
        timer.start()
        await cancelled_when(repository.began, leave, loop)
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


def test_what_is_no_context_manager_cannot_be_entered() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="await the call"):
            async with async_facade(Repository()).get(1):
                pass

    run(main)


def test_a_facade_of_what_is_no_context_manager_is_closed_by_async_with() -> None:
    async def main() -> None:
        async with async_facade(Repository()) as facade:
            assert await facade.get(1) == 1
        with pytest.raises(PoolClosed, match="make a new one"):
            facade.get(1)
        with pytest.raises(PoolClosed):
            facade.name  # noqa: B018

    run(main)


# -- nesting and misuse


@on_all_loops
def test_a_call_from_a_coroutine_that_a_method_waits_for_runs_in_the_waiting_thread(loop: str) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository)

        async def nested() -> list[int]:
            assert await facade.size == 5
            async with facade.transaction():
                return [n async for n in facade.rows()]

        assert await facade.call_back(nested) == [0, 1, 2, 3, 4]

    run(main, loop)
    assert len(repository.idents) == 1


def test_a_facade_may_be_closed_by_what_its_own_method_waits_for() -> None:
    async def main() -> None:
        facade = async_facade(Repository())
        await facade.call_back(lambda: facade_close(facade))
        with pytest.raises(PoolClosed):
            facade.get(1)

    run(main)


def test_a_loop_in_the_thread_of_the_facade_cannot_call_it() -> None:
    async def main() -> None:
        facade = async_facade(Repository())

        async def inner() -> None:
            with pytest.raises(WouldDeadlock):
                await facade.get(1)

        await facade_call(facade, lambda obj: asyncio.run(inner()))

    run(main)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: async_facade(Repository), "see open_facade"),
        (lambda: async_facade(async_facade(Repository())), "a facade already"),
        (lambda: async_facade(Repository(), affinity=cast(Any, "thread")), 'must be "facade" or "call"'),
        (lambda: async_facade(Repository(), pool=ThreadPool(1)), 'only for affinity="call"'),
        (
            lambda: async_facade(Repository(), affinity="call", thread=OwnThread()),
            'only for affinity="facade"',
        ),
        (lambda: async_facade(Repository(), read_ahead=-1), "read_ahead must be"),
        (lambda: async_facade(Repository(), wrap=cast(Any, ["Item"])), "wrap must be classes"),
        (lambda: open_facade(cast(Any, 3)), "expects what makes the object"),
        (lambda: facade_call(Repository(), len), "expected a facade"),
        (lambda: facade_close(Repository()), "expected a facade"),
        (lambda: async_facade(Repository(), Closable), "close: the object has no such method"),
    ],
    ids=[
        "class",
        "facade",
        "affinity",
        "pool",
        "thread",
        "read_ahead",
        "wrap",
        "open",
        "call",
        "close",
        "protocol",
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


class Closable(Protocol):
    async def close(self) -> None: ...


def test_a_protocol_gives_the_type_and_is_checked() -> None:
    facade: AsyncRepository = async_facade(Repository(), AsyncRepository)

    async def main() -> None:
        assert await facade.get(1, twice=True) == 2
        assert await facade.size == 5
        assert [n async for n in facade] == [0, 1, 2, 3, 4]
        with pytest.raises(UsageError, match="close: the object has no such method"):
            await open_facade(Repository, protocol=Closable)

    run(main)


def test_a_protocol_cannot_ask_for_what_python_wants_at_once() -> None:
    class Sized(Protocol):
        def __len__(self) -> int: ...

    with pytest.raises(UsageError, match="__len__: a facade cannot have it"):
        async_facade(Repository(), Sized)


# -- the end of a facade


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "bridge-facade"}


@on_all_loops
def test_a_facade_that_nobody_refers_to_lets_its_thread_end_and_its_generators_close(loop: str) -> None:
    before = threads()
    repository = Repository(1000)

    async def main() -> None:
        facade = async_facade(repository)
        rows = await facade.rows()
        assert await anext(rows) == 0
        assert len(threads() - before) == 1
        del facade, rows

    run(main, loop)
    gc.collect()
    eventually(lambda: not threads() - before)
    (ident,) = repository.idents
    assert repository.log == [("closed", ident)]


def test_an_object_ends_in_the_thread_of_its_facade() -> None:
    ended: list[int] = []

    class Thing:
        def __del__(self) -> None:
            ended.append(get_ident())

        def ident(self) -> int:
            return get_ident()

    async def main() -> None:
        for ending in ("closed", "garbage"):
            facade = await open_facade(Thing)
            ident = await facade.ident()
            if ending == "closed":
                await facade_close(facade)
                assert ended == [ident]
            ended.clear()
            del facade
            gc.collect()
        await poll(lambda: ended == [ident])

    run(main)


@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_closing_refuses_what_waits_and_closes_generators(affinity: Any) -> None:
    repository = Repository(1000)

    async def main() -> None:
        facade = async_facade(repository, affinity=affinity)
        rows = await facade.rows()
        await anext(rows)
        held = asyncio.ensure_future(facade.hold())
        await repository.began.come()
        if affinity == "facade":
            waits = asyncio.ensure_future(facade.get(1))
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(facade_close(facade))
        await asyncio.sleep(0)
        if affinity == "facade":
            with pytest.raises(PoolClosed):
                await waits
        repository.go.set()
        assert await held == "held"
        await closing
        await facade_close(facade)
        assert [entry[0] for entry in repository.log] == ["closed"]

    run(main)


def test_what_came_from_a_facade_cannot_be_closed_alone() -> None:
    async def main() -> None:
        facade = async_facade(Repository())
        rows = await facade.rows()
        with pytest.raises(UsageError, match="close that one"):
            await facade_close(rows)
        await rows.aclose()
        assert [n async for n in rows] == []

    run(main)


def test_a_running_call_keeps_nothing_of_a_facade_that_was_cancelled() -> None:
    repository = Repository()
    before = threads()

    async def main() -> None:
        facade = async_facade(repository)
        await cancelled_when(repository.began, facade.hold, "asyncio")
        del facade

    run(main)
    repository.go.set()
    eventually(lambda: gc.collect() >= 0 and not threads() - before)


@on_all_loops
def test_an_object_that_is_made_for_a_task_that_was_cancelled_is_closed(loop: str) -> None:
    began, go, closed = Signal(), Signal(), Signal()
    before = threads()

    class Connection:
        def __init__(self) -> None:
            began.set()
            go.wait()

        def close(self) -> None:
            closed.set()

    async def main() -> None:
        async def connect() -> None:
            await open_facade(Connection)

        await cancelled_when(began, connect, loop)
        go.set()
        await closed.come()

    run(main, loop)
    gc.collect()
    eventually(lambda: not threads() - before)


def test_an_object_that_was_handed_over_is_not_closed_behind_the_back_of_its_user() -> None:
    closed: list[Any] = []

    class Connection:
        def close(self) -> None:
            closed.append(self)

    async def main() -> None:
        facade = await open_facade(Connection)
        await facade_close(facade)
        assert not closed
        async with open_facade(Connection):
            assert not closed
        assert len(closed) == 1

    run(main)


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_an_iterator_behind_a_facade_goes_on_after_a_task_that_waited_was_cancelled(
    loop: str, affinity: Any
) -> None:
    waits, go = Signal(), Signal()

    def numbers() -> Iterator[int]:
        yield 0
        waits.set()
        go.wait()
        yield 1
        yield 2

    async def main() -> None:
        facade = async_facade(numbers(), affinity=affinity, read_ahead=0)
        assert await anext(facade) == 0
        await cancelled_when(waits, lambda: facade.__anext__(), loop)
        go.set()
        assert [n async for n in facade] == [1, 2], "nothing is lost"
        await facade_close(facade)

    run(main, loop)


def test_a_generator_can_be_sent_to_unless_it_has_gone_on() -> None:
    def echo() -> Iterator[Any]:
        got: Any = "begin"
        while True:
            got = yield got

    async def main() -> None:
        exact, ahead = async_facade(echo(), read_ahead=0), async_facade(echo())
        assert await ahead.send(None) == "begin"
        assert await ahead.send(1) == 1
        for facade in (exact, ahead):
            await anext(facade)
        assert await exact.send(2) == 2
        with pytest.raises(UsageError, match="read_ahead=0"):
            await ahead.send(2)
        for facade in (exact, ahead):
            await facade_close(facade)

    run(main)


def test_a_stuck_method_does_not_hold_up_the_exit_of_the_interpreter() -> None:
    printed = script("""
import asyncio, threading
from bridge.shim import async_facade
class Stuck:
    def __init__(self):
        self.began = threading.Event()
    def method(self):
        self.began.set()
        threading.Event().wait()
async def main():
    stuck = Stuck()
    facade = async_facade(stuck)
    task = asyncio.create_task(facade.method())
    await asyncio.to_thread(stuck.began.wait)
    task.cancel()
    print("exits")
asyncio.run(main())
""")
    assert printed == "exits\n"


# -- real objects


async def delete_and_fail(connection: Any) -> None:
    async with connection:
        await connection.execute("DELETE FROM numbers")
        raise LookupError


@on_all_loops
def test_a_connection_of_sqlite_that_checks_its_thread(loop: str) -> None:
    async def main() -> None:
        async with open_facade(sqlite3.connect, ":memory:") as connection:
            await connection.execute("CREATE TABLE numbers (n INTEGER)")
            async with connection:
                await connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(100)])
            with pytest.raises(LookupError):
                await delete_and_fail(connection)
            assert await connection.total_changes == 200
            cursor = await connection.execute("SELECT n FROM numbers ORDER BY n")
            assert await cursor.fetchone() == (0,)
            async for (n,) in cursor:
                if n == 10:
                    break
            assert await cursor.fetchmany(2) == [(11,), (12,)], "nothing was read ahead"
            assert [n async for (n,) in cursor] == list(range(13, 100))
            rows = [n async for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]
            assert rows == list(range(100))
            connection.row_factory = sqlite3.Row
            await facade_call(connection, setattr, "isolation_level", None)
            row = await (await connection.execute("SELECT 1 AS one")).fetchone()
            assert row["one"] == 1
            with pytest.raises(connection.OperationalError):
                await connection.execute("SELECT * FROM nowhere")
        with pytest.raises(PoolClosed):
            connection.execute("SELECT 1")

    run(main, loop)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"

    async def main() -> None:
        async with open_facade(open, path, "w+", encoding="utf-8") as file:
            assert await file.write("a\nb\nc\nd\n") == 8
            await file.seek(0)
            async for line in file:
                if line == "b\n":
                    break
            assert await file.readline() == "c\n", "nothing was read ahead"
            assert [line async for line in file] == ["d\n"]
            assert file.name == path if isinstance(file.name, Path) else True
            assert await file.closed is False
        async with await open_facade(open, path) as file:
            assert await file.read() == "a\nb\nc\nd\n"

    run(main)


def test_a_zip_file_and_a_temporary_directory() -> None:
    async def main() -> None:
        async with open_facade(TemporaryDirectory) as directory:
            async with directory as name:
                path = Path(name) / "archive.zip"
                async with open_facade(zipfile.ZipFile, path, "w") as archive:
                    await archive.writestr("member", b"first\nsecond\n")
                async with open_facade(zipfile.ZipFile, path) as archive:
                    assert await archive.namelist() == ["member"]
                    async with archive.open("member") as member:
                        assert [line async for line in member] == [b"first\n", b"second\n"]
                    assert (await archive.getinfo("member")).file_size == 13
            assert not path.exists()

    run(main)


class Response:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.status_code = 200
        self.closed = False

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closed = True

    @property
    def text(self) -> str:
        return f"text in {get_ident()}"

    def iter_content(self, size: int) -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * size

    def __bool__(self) -> bool:
        return self.status_code < 400


class Session:
    """As an HTTP client's: responses are context managers with streams."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.responses: list[Response] = []

    def get(self, url: str) -> Response:
        self.responses.append(Response(self))
        return self.responses[-1]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.headers.clear()


@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_session_of_an_http_client(affinity: Any) -> None:
    session = Session()

    async def main() -> None:
        async with async_facade(session, affinity=affinity) as client:
            client.headers["accept"] = "*/*"
            async with client.get("/stream") as response:
                assert response.status_code == 200
                assert [part async for part in response.iter_content(2)] == [b"xx"] * 3
            assert session.responses[0].closed
            response = await client.get("/page")
            assert "text in" in await response.text
        assert not session.headers

    run(main)


# -- a facade compared with its object


class Machine:
    """Its state tells the order of all that was done to it."""

    def __init__(self) -> None:
        self.state = 1
        self.history: list[Any] = []

    def note(self, *what: Any) -> Any:
        self.history.append(what)
        self.state = (self.state * 31 + len(repr(what))) % 1009
        return self.state

    def add(self, number: int, *, scale: int = 1) -> Any:
        return self.note("add", number * scale)

    def fail(self, number: int) -> Any:
        self.note("fail", number)
        raise (ValueError, KeyError, LookupError)[number % 3](number)

    @property
    def doubled(self) -> Any:
        return self.note("doubled") * 2

    def count(self, to: int) -> Iterator[int]:
        self.note("open", to)
        try:
            for number in range(to):
                self.note("next", number)
                yield number
                if number == 7:
                    raise ArithmeticError("seven")
        finally:
            self.note("close", to)

    @contextmanager
    def scope(self, suppresses: bool) -> Iterator[Machine]:
        self.note("enter")
        try:
            yield self
        except LookupError:
            self.note("error")
            if not suppresses:
                raise
        finally:
            self.note("leave")

    def __getitem__(self, key: int) -> Any:
        return self.note("item", key)

    def __len__(self) -> int:
        return int(self.note("len"))


def plan(chance: random.Random, depth: int = 0) -> list[tuple[Any, ...]]:
    """Random things to do, nested in scopes and loops."""
    steps: list[tuple[Any, ...]] = []
    for _ in range(chance.randrange(1, 7)):
        kind = chance.choice(["add", "fail", "doubled", "item", "len", "state", "for", "with", "generator"])
        steps.append(
            (
                kind,
                chance.randrange(12),
                chance.randrange(12),
                plan(chance, depth + 1) if kind in ("for", "with") and depth < 2 else [],
            )
        )
    return steps


def do(machine: Machine, steps: list[tuple[Any, ...]], seen: list[Any]) -> None:
    for kind, a, b, inner in steps:
        try:
            if kind == "add":
                seen.append(machine.add(a, scale=b))
            elif kind == "fail":
                seen.append(machine.fail(a))
            elif kind == "doubled":
                seen.append(machine.doubled)
            elif kind == "item":
                seen.append(machine[a])
            elif kind == "len":
                seen.append(len(machine))
            elif kind == "state":
                seen.append(machine.state)
                machine.state = b
            elif kind == "for":
                with contextlib.closing(machine.count(a)) as numbers:  # type: ignore[type-var]
                    for number in numbers:
                        seen.append(number)
                        do(machine, inner, seen)
                        if number == b:
                            break
            elif kind == "with":
                with machine.scope(a % 2 == 0) as same:
                    assert same is machine
                    do(machine, inner, seen)
                    if b % 3 == 0:
                        raise LookupError(b)
            else:
                generator: Any = machine.count(a)
                for _ in range(b):
                    seen.append(next(generator, "end"))
                generator.close()
        except (ValueError, LookupError, ArithmeticError) as error:
            seen.append(repr(error))


async def do_async(machine: Any, steps: list[tuple[Any, ...]], seen: list[Any]) -> None:
    for kind, a, b, inner in steps:
        try:
            if kind == "add":
                seen.append(await machine.add(a, scale=b))
            elif kind == "fail":
                seen.append(await machine.fail(a))
            elif kind == "doubled":
                seen.append(await machine.doubled)
            elif kind == "item":
                seen.append(await machine[a])
            elif kind == "len":
                seen.append(await facade_call(machine, len))
            elif kind == "state":
                seen.append(machine.state)
                machine.state = b
            elif kind == "for":
                async with contextlib.aclosing(aiter(machine.count(a))) as numbers:
                    async for number in numbers:
                        seen.append(number)
                        await do_async(machine, inner, seen)
                        if number == b:
                            break
            elif kind == "with":
                async with machine.scope(a % 2 == 0) as same:
                    assert same is machine
                    await do_async(machine, inner, seen)
                    if b % 3 == 0:
                        raise LookupError(b)
            else:
                generator = await machine.count(a)
                for _ in range(b):
                    seen.append(await anext(generator, "end"))
                await generator.close()
        except (ValueError, LookupError, ArithmeticError) as error:
            seen.append(repr(error))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("seed", range(15))
def test_a_facade_does_what_its_object_does_in_the_same_order(seed: int, loop: str) -> None:
    """With `read_ahead=0` nothing is done earlier than the object alone would have it done."""
    steps = plan(random.Random(seed))
    direct, behind = Machine(), Machine()
    expected: list[Any] = []
    seen: list[Any] = []
    do(direct, steps, expected)

    async def main() -> None:
        facade = async_facade(behind, read_ahead=0)
        await do_async(facade, steps, seen)
        await facade_close(facade)

    run(main, loop)
    assert seen == expected
    assert behind.history == direct.history


def test_a_facade_keeps_no_more_than_its_object() -> None:
    """Without the garbage collector: a facade, its calls and what comes of them are no reference cycle."""
    gc.disable()
    try:

        async def main() -> None:
            facade = async_facade(Repository())
            await facade.get(1)
            rows = await facade.rows()
            await anext(rows)
            async with facade.transaction():
                pass
            reference = weakref.ref(facade)
            cursor = weakref.ref(rows)
            del facade, rows
            assert reference() is None
            assert cursor() is None

        before = threads()
        run(main)
        eventually(lambda: not threads() - before)
    finally:
        gc.enable()
