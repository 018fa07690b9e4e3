"""`with` blocks of blocking code over async context managers."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.engines import Thread, eventually
from support.shim_service import Service, strike, turns, variable

from bridge import sync_to_async
from bridge.exceptions import UsageError
from bridge.shim.sync_facade import sync_facade

pytestmark = pytest.mark.usefixtures("single")


# -- context managers


def test_a_context_manager_is_entered_and_left_in_one_task(facade: Any, service: Service) -> None:
    with facade.transaction("one") as session:
        assert session.execute("select") == "one: select"
        assert service.log == ["begin"]
        assert variable.get() == "one", "what it has set holds for the block"
    assert service.log == ["begin", "commit"]
    assert variable.get() == "unset"


def test_an_exception_of_the_block_reaches_the_context_manager(facade: Any, service: Service) -> None:
    with facade.transaction():
        strike(ValueError("dealt with"))
    with pytest.raises(KeyError), facade.transaction():
        strike(KeyError("not dealt with"))
    assert service.log == ["begin", "rollback", "begin"]


def test_what_entering_or_leaving_raises_comes_out() -> None:
    class Failing:
        def __init__(self, where: str) -> None:
            self.where = where

        async def __aenter__(self) -> None:
            if self.where == "enter":
                raise ValueError(self.where)

        async def __aexit__(self, *exc_info: object) -> None:
            raise ValueError(self.where)

    for where in ("enter", "exit"):
        with pytest.raises(ValueError, match=where), sync_facade(Failing(where)):
            pass


def test_one_that_gives_itself_gives_the_facade() -> None:
    class Client:
        async def __aenter__(self) -> Client:
            return self

        async def __aexit__(self, *exc_info: object) -> None: ...

    facade = sync_facade(Client())
    with facade as client:
        assert client is facade


def test_plain_data_that_it_gives_is_given_as_it_is() -> None:
    @asynccontextmanager
    async def number() -> AsyncIterator[int]:
        yield 3

    with sync_facade(number()) as given:
        assert given == 3


def test_plain_context_managers_are_entered_on_the_loop_s_thread() -> None:
    seen = []

    class Plain:
        def __enter__(self) -> str:
            seen.append(asyncio.current_task())
            return "in"

        def __exit__(self, *exc_info: object) -> bool:
            seen.append(asyncio.current_task())
            return exc_info[0] is ValueError

    with sync_facade(Plain()) as given:
        assert given == "in"
        strike(ValueError())
    assert len(set(seen)) == 1


def test_a_lock_is_taken_by_one_thread_after_the_other() -> None:
    lock = sync_facade(asyncio.Lock())
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [Thread(work) for _ in range(4)]
    for thread in threads:
        thread.outcome()
    assert max(most) == 1
    assert len(most) == 80


def test_with_blocks_of_one_facade_may_be_nested() -> None:
    """Each is left for the one that it entered."""
    log: list[str] = []

    class Nesting:
        depth = 0

        async def __aenter__(self) -> int:
            self.depth += 1
            return self.depth

        async def __aexit__(self, *exc_info: object) -> None:
            log.append(f"left {self.depth}")
            self.depth -= 1

    facade = sync_facade(Nesting())
    with facade as one, facade as two:
        assert (one, two) == (1, 2)
    assert log == ["left 2", "left 1"]
    with pytest.raises(UsageError, match="left already"):
        facade.__exit__(None, None, None)


def test_a_block_that_ends_in_another_thread_is_left_all_the_same(facade: Any, service: Service) -> None:
    manager = facade.transaction()
    Thread(manager.__enter__).outcome()
    manager.__exit__(None, None, None)
    assert service.log == ["begin", "commit"]


def test_task_groups_and_cancel_scopes_span_the_block() -> None:
    anyio = pytest.importorskip("anyio")

    class Group:
        def __init__(self) -> None:
            self.done: list[str] = []

        async def __aenter__(self) -> Group:
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
            return self

        async def __aexit__(self, *exc_info: Any) -> Any:
            return await self._group.__aexit__(*exc_info)

        def start(self, name: str) -> None:
            self._group.start_soon(self._work, name)

        async def _work(self, name: str) -> None:
            await asyncio.sleep(0)
            if name == "bad":
                raise ValueError(name)
            self.done.append(name)

    with sync_facade(Group()) as group:
        group.start("one")
        group.start("two")
    assert group.done == ["one", "two"]

    def failing() -> None:
        with sync_facade(Group()) as group:
            group.start("bad")
            turns()

    with pytest.raises(BaseException, match="TaskGroup") as caught:
        failing()
    inner: Any = caught.value
    assert [type(each) for each in inner.exceptions] == [ValueError]


def test_thread_sensitive_calls_of_background_tasks_run_while_the_block_does() -> None:
    """The thread that has entered does not wait, so they are not kept for it."""

    class Worker:
        async def __aenter__(self) -> Worker:
            self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self.may = asyncio.Event()
            self.task = asyncio.ensure_future(self._work())
            return self

        async def _work(self) -> None:
            await self.may.wait()
            self.result.set_result(await sync_to_async(lambda: threading.current_thread().name)())

        async def wait(self) -> str:
            self.may.set()
            return await self.result

        async def __aexit__(self, *exc_info: object) -> None:
            await self.task

    with sync_facade(Worker()) as worker:
        assert worker.wait().startswith("single")


# -- what can be awaited and entered


class Acquire:
    """What `pool.acquire()` of asyncpg returns."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._acquire().__await__()

    async def _acquire(self) -> Connection:
        await asyncio.sleep(0)
        if self.pool.broken:
            raise ConnectionError("broken")
        self.connection = self.pool.free.pop()
        return self.connection

    async def __aenter__(self) -> Connection:
        return await self._acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.sleep(0)
        if self.connection not in self.pool.free:
            self.pool.free.append(self.connection)


class Connection:
    def __init__(self, loop: object) -> None:
        self.loop = loop

    async def fetch(self, number: int) -> list[int]:
        assert asyncio.get_running_loop() is self.loop, "a pool lives on one loop"
        return list(range(number))


class Pool:
    def __init__(self) -> None:
        self.free: list[Connection] = []
        self.broken = False

    async def open(self) -> None:
        self.free = [Connection(asyncio.get_running_loop()) for _ in range(2)]

    def acquire(self) -> Acquire:
        return Acquire(self)

    async def release(self, connection: Connection) -> None:
        assert type(connection) is Connection
        self.free.append(connection)


@pytest.fixture
def pool() -> Pool:
    pool = Pool()
    sync_facade(pool).open()
    return pool


def test_a_connection_is_acquired_by_with_and_given_back_at_its_end(pool: Pool) -> None:
    facade = sync_facade(pool)
    for _ in range(5):
        with facade.acquire() as connection:
            assert connection.fetch(2) == [0, 1]
            assert len(pool.free) == 1
        assert len(pool.free) == 2
    with pytest.raises(ValueError, match="block"), facade.acquire():
        raise ValueError("block")
    assert len(pool.free) == 2


def test_a_connection_may_be_acquired_without_with(pool: Pool) -> None:
    facade = sync_facade(pool)
    connection = facade.acquire()
    assert connection.fetch(1) == [0]
    assert len(pool.free) == 1
    facade.release(connection)
    assert len(pool.free) == 2
    del connection
    turns()
    assert len(pool.free) == 2


def test_a_connection_that_is_dropped_is_given_back(pool: Pool) -> None:
    connection = sync_facade(pool).acquire()
    assert len(pool.free) == 1
    method = connection.fetch
    del connection
    turns()
    assert method(1) == [0], "the method still has it"
    del method
    eventually(lambda: len(pool.free) == 2)


def test_a_generator_with_an_open_block_that_is_dropped_leaves_it(pool: Pool) -> None:
    def rows() -> Generator[int, None, None]:
        with sync_facade(pool).acquire():
            yield 1

    generator = rows()
    next(generator)
    assert len(pool.free) == 1
    del generator
    gc.collect()
    assert len(pool.free) == 2


def test_a_block_that_is_never_left_is_left_when_nobody_has_the_facade(pool: Pool) -> None:
    connection = sync_facade(pool).acquire()
    connection.__enter__()
    del connection
    gc.collect()
    eventually(lambda: len(pool.free) == 2)


def test_a_call_is_made_even_if_nobody_looks_at_what_it_returns(pool: Pool) -> None:
    """As with `await db.execute(...)` of aiosqlite: its errors come out at once."""
    pool.broken = True
    with pytest.raises(ConnectionError):
        sync_facade(pool).acquire()


def test_plain_data_from_what_can_be_awaited_and_entered_is_just_given() -> None:
    left: list[object] = []

    class Value:
        def __await__(self) -> Generator[Any, None, int]:
            return asyncio.sleep(0, 3).__await__()

        async def __aenter__(self) -> int:
            return 3

        async def __aexit__(self, *exc_info: object) -> None:
            left.append(exc_info)

    class Client:
        def value(self) -> Value:
            return Value()

    assert sync_facade(Client()).value() == 3
    turns()
    assert left == []
