"""`sync_facade`: async objects of all sorts in the hands of blocking code."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import pytest
from support.drive import LOOPS, run
from support.engines import PATIENCE, Thread, eventually, script

from bridge import sync_to_async
from bridge.engines import asgiref_notes
from bridge.engines.loop_thread import LoopThread
from bridge.engines.running import running_port
from bridge.exceptions import UsageError, WouldDeadlock
from bridge.shim import persistent
from bridge.shim.async_facade import async_facade
from bridge.shim.iterate_on_loop import LoopIterator
from bridge.shim.sync_facade import SyncFacade, sync_facade


class Ended(BaseException):
    """No `Exception`."""


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each of the async libraries in turn."""
    return str(request.param)


@pytest.fixture(autouse=True)
def single(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The thread that thread-sensitive code shares: one of this test's own."""
    asgiref_notes.prepare()
    with ThreadPoolExecutor(1, thread_name_prefix="single") as executor:
        monkeypatch.setattr(asgiref_notes.SyncToAsync, "single_thread_executor", executor)
        yield


def turns(count: int = 20) -> None:
    """Let the loop that the process keeps turn so often that what is due has happened."""
    sync_facade(Turner()).turn(count)


class Turner:
    async def turn(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


def strike(error: BaseException) -> None:
    """Raise it."""
    raise error


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Service:
    """What a client, a repository, a queue may have.

    Attributes:
        log: what has happened.
    """

    kind = "service"

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.retries = 3
        self._level = 1
        self.items = {"a": 1}

    async def get(self, key: str, *, default: int = 0) -> int:
        """Get it."""
        await asyncio.sleep(0)
        return self.items.get(key, default)

    async def fail(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    def plain(self, number: int = 1) -> object:
        """A plain method."""
        return running_port().loop, threading.get_ident(), number

    def later(self) -> asyncio.Future[int]:
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, 7)
        return future

    async def me(self) -> Service:
        return self

    async def rows(self, count: int = 3) -> AsyncIterator[int]:
        """The rows."""
        task = asyncio.current_task()
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            self.log.append("rows closed" if asyncio.current_task() is task else "elsewhere")

    async def set_variable(self, value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    async def cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def thread_of_sensitive_code(self) -> int:
        return await sync_to_async(threading.get_ident)()

    @property
    def level(self) -> object:
        return self._level, threading.get_ident()

    @level.setter
    def level(self, value: int) -> None:
        self.log.append(threading.get_ident())
        self._level = value

    @property
    async def version(self) -> str:
        """An async property."""
        await asyncio.sleep(0)
        return "1.0"

    @functools.cached_property
    def expensive(self) -> int:
        self.log.append("computed")
        return 5

    @staticmethod
    async def helper(number: int) -> int:
        return number + 1

    @classmethod
    async def made(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @asynccontextmanager
    async def transaction(self, name: str = "t") -> AsyncIterator[Session]:
        task, token = asyncio.current_task(), variable.set(name)
        self.log.append("begin")
        try:
            yield Session(name)
        except ValueError:
            self.log.append("rollback")
        else:
            self.log.append("commit")
        finally:
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            variable.reset(token)

    def __len__(self) -> int:
        asyncio.get_running_loop()
        return len(self.items)

    def __contains__(self, key: str) -> bool:
        asyncio.get_running_loop()
        return key in self.items

    def __getitem__(self, key: str) -> int:
        asyncio.get_running_loop()
        return self.items[key]

    def __setitem__(self, key: str, value: int) -> None:
        asyncio.get_running_loop()
        self.items[key] = value

    def __delitem__(self, key: str) -> None:
        asyncio.get_running_loop()
        del self.items[key]

    async def __call__(self, number: int) -> int:
        return number * 2

    def __aiter__(self) -> AsyncIterator[int]:
        return self.rows()


class Session:
    """What a context manager gives."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def execute(self, text: str) -> str:
        return f"{self.name}: {text}"


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def facade(service: Service) -> Any:
    return sync_facade(service)


# -- methods


def test_methods_block_and_return(facade: Any) -> None:
    assert facade.get("a") == 1
    assert facade.get("b", default=9) == 9
    assert facade.helper(1) == 2
    assert facade.made(3) == "Service 3"


def test_plain_methods_run_on_the_loop_s_thread(facade: Any) -> None:
    kept = persistent.persistent_loop().port.loop
    found_loop, ident, number = facade.plain(number=4)
    assert (found_loop, number) == (kept, 4)
    assert ident != threading.get_ident()


def test_what_a_plain_method_returns_is_waited_for_if_it_is_an_awaitable(facade: Any) -> None:
    assert facade.later() == 7


def test_what_returns_the_object_itself_gives_a_facade_only_if_asked_for(service: Service) -> None:
    """A service that is iterable counts as an iterator; see `wrap` for others."""
    found = sync_facade(service).me()
    assert isinstance(found, SyncFacade)
    assert found.get("a") == 1


def test_methods_look_like_those_of_the_object(facade: Any, service: Service) -> None:
    assert facade.get.__name__ == "get"
    assert facade.get.__doc__ == "Get it."
    assert inspect.signature(facade.get) == inspect.signature(service.get)
    assert not inspect.iscoroutinefunction(facade.get)
    assert facade.rows.__doc__ == "The rows."
    assert not inspect.isasyncgenfunction(facade.rows)
    assert {"get", "rows", "retries", "version"} <= set(dir(facade))
    assert repr(facade) == "<sync_facade of Service>"
    assert type(facade).__doc__ == Service.__doc__


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction")
def test_a_marked_function_is_no_coroutine_function_behind_the_facade() -> None:
    class Marked:
        @staticmethod
        def get() -> Any:
            return Service().get("a")

    mark: Any = getattr(inspect, "markcoroutinefunction")  # noqa: B009 - not before Python 3.12
    mark(Marked.get)
    assert sync_facade(Marked()).get() == 1
    assert not inspect.iscoroutinefunction(sync_facade(Marked()).get)


@pytest.mark.parametrize("error", [ValueError("x"), Ended("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_exceptions_come_out_as_they_are(facade: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        facade.fail(error)
    assert caught.value is error
    assert facade.get("a") == 1, "and the loop runs on"


def test_a_cancellation_from_inside_comes_out(facade: Any) -> None:
    with pytest.raises(asyncio.CancelledError):
        facade.cancel_itself()


def test_context_variables_go_in_and_come_back(facade: Any) -> None:
    def check() -> None:
        variable.set("mine")
        assert facade.set_variable("theirs") == "mine"
        assert variable.get() == "theirs"

    contextvars.copy_context().run(check)


def test_thread_sensitive_code_runs_in_the_thread_that_waits(facade: Any) -> None:
    assert facade.thread_of_sensitive_code() == threading.get_ident()


def test_wrong_arguments_are_errors_of_the_method(facade: Any) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        facade.get("a", nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        facade.rows(nonsense=1)


def test_facades_that_are_given_are_what_they_stand_for(facade: Any, service: Service) -> None:
    given: list[Any] = []

    class Other:
        async def take(self, *args: Any, **kwargs: Any) -> None:
            given.extend([*args, *kwargs.values()])

        async def items(self, source: Any) -> AsyncIterator[Any]:
            yield source is service

    other = sync_facade(Other())
    other.take(facade, keyword=facade)
    assert given == [service, service]
    assert list(other.items(facade)) == [True]


# -- attributes


def test_plain_attributes_are_read_and_set_directly(facade: Any, service: Service) -> None:
    assert (facade.retries, facade.kind) == (3, "service")
    assert facade.log is service.log
    facade.retries = 5
    facade.fresh = 1
    assert (service.retries, service.fresh) == (5, 1)  # type: ignore[attr-defined]
    del facade.fresh
    assert not hasattr(service, "fresh")


def test_properties_are_read_and_set_on_the_loop_s_thread(facade: Any, service: Service) -> None:
    thread = facade.plain()[1]
    assert facade.level == (1, thread)
    facade.level = 2
    assert facade.level == (2, thread)
    assert service.log == [thread]


def test_an_async_property_is_waited_for(facade: Any) -> None:
    assert facade.version == "1.0"


def test_a_cached_property_is_computed_once(facade: Any, service: Service) -> None:
    assert (facade.expensive, facade.expensive, service.log) == (5, 5, ["computed"])


def test_what_is_not_there_is_an_attribute_error(facade: Any) -> None:
    with pytest.raises(AttributeError, match="'Service' object has no attribute 'nothing'"):
        _ = facade.nothing
    assert not hasattr(facade, "__fspath__")


def test_attributes_that_are_found_dynamically() -> None:
    class Dynamic:
        def __getattr__(self, name: str) -> Any:
            asyncio.get_running_loop()
            if name == "number":
                return 3
            if name == "method":
                return lambda value: asyncio.sleep(0, value)
            raise AttributeError(name)

    facade = sync_facade(Dynamic())
    assert facade.number == 3
    assert facade.method("x") == "x"
    assert not hasattr(facade, "other")


def test_an_attribute_that_can_be_called_has_its_own_attributes_too() -> None:
    class Command:
        name = "c"

        async def __call__(self, number: int) -> int:
            return number

    class Client:
        command = Command()

        def __init__(self) -> None:
            self.lock = asyncio.Lock()

    client = sync_facade(Client())
    assert (client.command(4), client.command.name) == (4, "c")
    with client.lock:
        assert client.lock.locked()
    assert not client.lock.locked()


def test_an_object_that_sets_attributes_its_own_way_does_so_on_the_loop() -> None:
    class Own:
        def __setattr__(self, name: str, value: object) -> None:
            asyncio.get_running_loop()
            object.__setattr__(self, name, value)

    own = Own()
    sync_facade(own).x = 1
    assert own.x == 1  # type: ignore[attr-defined]


# -- special methods


def test_special_methods_run_on_the_loop_s_thread(facade: Any, service: Service) -> None:
    assert len(facade) == 1
    assert "a" in facade
    assert "b" not in facade
    assert facade["a"] == 1
    facade["b"] = 2
    assert service.items == {"a": 1, "b": 2}
    del facade["a"], facade["b"]
    assert not facade, "it is empty"
    assert facade(21) == 42
    with pytest.raises(KeyError):
        facade["a"]


def test_a_facade_can_do_no_more_than_its_object() -> None:
    facade = sync_facade(Session("s"))
    for use in (len, iter, lambda each: each["a"], lambda each: each(), lambda each: 1 in each):
        with pytest.raises(TypeError):
            use(facade)
    with pytest.raises((TypeError, AttributeError)), facade:
        pass
    assert facade


def test_async_special_methods_may_be_awaited() -> None:
    class Remote:
        async def __getitem__(self, key: str) -> str:
            return key * 2

    assert sync_facade(Remote())["a"] == "aa"


def test_facades_are_not_copied() -> None:
    import copy

    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.copy(sync_facade(Session("s")))


# -- iteration


def test_async_generators_are_iterators_with_close(facade: Any, service: Service) -> None:
    rows = facade.rows(4)
    assert isinstance(rows, LoopIterator)
    assert list(rows) == [0, 1, 2, 3]
    assert service.log == ["rows closed"]
    with facade.rows(100) as rows:
        assert next(rows) == 0
    assert service.log == ["rows closed", "rows closed"]


def test_an_async_iterable_is_iterable(facade: Any) -> None:
    assert [list(facade), list(facade)] == [[0, 1, 2], [0, 1, 2]]


def test_an_object_that_is_its_own_iterator_loses_nothing() -> None:
    """Whoever stops halfway reads on by another method, and the object is not closed."""

    class Reader:
        def __init__(self) -> None:
            self.lines = [b"1", b"2", b"3"]

        def __aiter__(self) -> Reader:
            return self

        async def __anext__(self) -> bytes:
            if not self.lines:
                raise StopAsyncIteration
            return self.lines.pop(0)

        async def read(self) -> bytes:
            return self.lines.pop(0)

        async def aclose(self) -> None:
            raise AssertionError("not by us")

    reader = sync_facade(Reader())
    for line in reader:
        assert line == b"1"
        break
    assert reader.read() == b"2"
    assert list(reader) == [b"3"]
    assert next(reader, "end") == "end"


def test_plain_iteration_works_on_the_loop_s_thread() -> None:
    class Bag:
        def __iter__(self) -> Iterator[int]:
            asyncio.get_running_loop()
            return iter([1, 2])

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def __iter__(self) -> Counter:
            return self

        def __next__(self) -> int:
            asyncio.get_running_loop()
            self.count += 1
            if self.count > 2:
                raise StopIteration
            return self.count

    assert list(sync_facade(Bag())) == [1, 2]
    assert list(sync_facade(Counter())) == [1, 2]


def test_items_come_back_as_results_do() -> None:
    class Source:
        async def sessions(self) -> AsyncIterator[Session]:
            yield Session("one")

    (plain,) = sync_facade(Source()).sessions()
    (wrapped,) = sync_facade(Source(), wrap=Session).sessions()
    assert isinstance(plain, Session)
    assert wrapped.execute("x") == "one: x"


def test_read_ahead_is_that_of_all_its_iterators(service: Service) -> None:
    made = []

    class Source:
        async def numbers(self) -> AsyncIterator[int]:
            for number in range(10):
                made.append(number)
                yield number

    with sync_facade(Source(), read_ahead=0).numbers() as numbers:
        next(numbers)
        turns()
        assert made == [0]


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


# -- loops


def test_one_facade_stays_on_one_loop_whichever_thread_uses_it() -> None:
    """Also where async_to_sync would choose another one: connections live where they were made."""
    facade = sync_facade(Service())
    kept = facade.plain()[0]

    async def main() -> None:
        for thread_sensitive in (True, False):
            found = await sync_to_async(facade.plain, thread_sensitive=thread_sensitive)()
            assert found[0] is kept
        assert asyncio.get_running_loop() is not kept

    asyncio.run(main())
    assert Thread(facade.plain).outcome()[0] is kept


def test_a_facade_that_is_first_used_in_a_bridged_thread_uses_that_loop(loop: str) -> None:
    class Where:
        async def port(self) -> Any:
            return running_port()

    facade = sync_facade(Where())

    async def main() -> None:
        port = await sync_to_async(facade.port, thread_sensitive=False)()
        assert port.is_current()

    run(main, loop)
    run(main, loop)  # the first loop is gone, so the facade goes to the next one


def test_a_loop_may_be_chosen() -> None:
    def factory() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    try:
        found = sync_facade(Service(), loop_factory=factory).plain()[0]
        assert found is persistent.persistent_loop(factory).port.loop
    finally:
        thread: LoopThread | None = persistent._threads.pop(factory, None)
        if thread is not None:
            thread.release()
            assert thread.join(PATIENCE)


USES: dict[str, Callable[[Any], object]] = {
    "method": lambda facade: facade.get("a"),
    "plain method": lambda facade: facade.plain(),
    "property": lambda facade: facade.level,
    "iteration": lambda facade: next(facade.rows()),
    "with": lambda facade: facade.transaction().__enter__(),
    "len": len,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_refused_where_a_loop_runs(use: Callable[[Any], object], facade: Any, loop: str) -> None:
    facade.get("a")

    async def main() -> None:
        with pytest.raises(WouldDeadlock):
            use(facade)

    run(main, loop)


# -- real objects


def test_a_facade_of_an_async_facade_is_the_blocking_object_again() -> None:
    """As in a migration: what still blocks gets what is async already by way of a facade."""

    class Repository:
        def __init__(self) -> None:
            self.closed = False

        def get(self, number: int) -> int:
            return number * 2

        def rows(self) -> Iterator[int]:
            yield from range(3)

        async def fetch(self, number: int) -> int:
            return number

        @contextmanager
        def transaction(self) -> Iterator[int]:
            yield threading.get_ident()
            self.closed = True

    repository = Repository()
    facade = sync_facade(async_facade(repository))
    assert (facade.get(2), facade.fetch(3)) == (4, 3)
    assert list(facade.rows()) == [0, 1, 2]
    with facade.transaction() as ident:
        assert ident != threading.get_ident()
    assert repository.closed


def test_a_queue_of_asyncio_works_between_threads() -> None:
    queue = sync_facade(asyncio.Queue(maxsize=2))
    got: list[int] = []
    reader = Thread(lambda: got.extend(queue.get() for _ in range(10)))
    for number in range(10):
        queue.put(number)
    reader.outcome()
    assert got == list(range(10))
    assert (queue.qsize(), queue.empty(), queue.maxsize) == (0, True, 2)
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)


async def asgi_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_an_http_client_keeps_its_session_between_calls() -> None:
    httpx2 = pytest.importorskip("httpx2")
    client = sync_facade(
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asgi_app), base_url="http://testserver")
    )
    with client as same:
        assert same is client
        for path in ("/one", "/two"):
            response = client.get(path)
            assert type(response) is httpx2.Response
            assert response.text == f"012{path}"
        client.headers["x-own"] = "1"
        assert client.headers["x-own"] == "1"
        with client.stream("GET", "/stream") as streamed:
            assert streamed.status_code == 200
            assert b"".join(streamed.aiter_bytes()) == b"012/stream"
        with client.stream("GET", "/stream") as streamed:
            next(streamed.aiter_bytes())
        assert streamed.is_closed
    assert client.is_closed


def test_ctrl_c_ends_a_call_that_waits() -> None:
    out = script(
        """
import asyncio, os, signal
from bridge.shim.sync_facade import sync_facade

class Slow:
    async def wait(self):
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)

    async def __aenter__(self):
        return 1

    async def __aexit__(self, *raised):
        print("left", raised[0].__name__, flush=True)

slow = sync_facade(Slow())
try:
    with slow:
        slow.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    )
    assert out.split("\n")[:3] == ["cancelled", "left KeyboardInterrupt", "interrupted"]


# -- what it is given


class Repository(Protocol):
    """What blocking code knows."""

    retries: int

    def get(self, key: str, *, default: int = 0) -> int: ...

    def rows(self, count: int = 3) -> Iterator[int]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[int]: ...


def test_a_protocol_is_checked(service: Service) -> None:
    repository = sync_facade(service, Repository)
    assert repository.get("a") == 1
    assert list(repository.rows(1)) == [0]
    assert len(repository) == 1


class Differs(Protocol):
    def get(self, key: str, other: int) -> int: ...

    def put(self, key: str) -> None: ...


class StillAsync(Protocol):
    async def get(self, key: str) -> int: ...


class AsyncWith(Protocol):
    async def __aenter__(self) -> Any: ...


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Differs, r"(?s)get.*put: the object has no such method"),
        (StillAsync, "write `def` instead of `async def` for get"),
        (AsyncWith, "__aenter__: a facade cannot have it"),
        ("Repository", "protocol must be a class"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(service: Service, protocol: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(service, protocol)


async def some_coroutine() -> None: ...


async def some_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: sync_facade(Service()), "a facade already"),
        (lambda: Service, "the class Service; give an instance"),
        (some_coroutine, "a coroutine; give what it returns"),
        (some_generator, "an async generator; use iterate_on_loop"),
        (lambda: some_coroutine, "use async_to_sync"),
    ],
    ids=["facade", "class", "coroutine", "generator", "function"],
)
def test_what_a_facade_is_no_use_for_is_refused_with_a_remedy(given: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(given())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrap": "Session"}, "wrap must be a class, or some classes"),
        ({"wrap": (Session, 3)}, "wrap must be a class, or some classes"),
        ({"wrap": 3}, "wrap must be a class, or some classes"),
        ({"read_ahead": -1}, "read_ahead must be a number of items"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(Service(), **options)


def test_many_threads_may_use_one_facade(facade: Any) -> None:
    barrier = threading.Barrier(8)

    def work() -> list[int]:
        barrier.wait(PATIENCE)
        return [facade.get("a") + len(list(facade.rows(2))) for _ in range(10)]

    threads = [Thread(work) for _ in range(8)]
    assert [thread.outcome() for thread in threads] == [[3] * 10] * 8
