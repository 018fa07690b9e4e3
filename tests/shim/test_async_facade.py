"""Async facades as a whole: nesting and misuse, how facades end, real objects, and order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sqlite3
import weakref
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import get_ident
from typing import Any, Protocol, cast

import pytest
from support.drive import LOOPS, Signal, checkpoint, pause, poll, run, together
from support.engines import eventually, script
from support.shim_repository import Repository, cancelled_when, threads

from bridge import ThreadPool
from bridge.exceptions import PoolClosed, UsageError, WouldDeadlock
from bridge.shim import async_facade, open_facade
from bridge.shim.async_facade import facade_call, facade_close
from bridge.shim.own_thread import OwnThread

on_all_loops = pytest.mark.parametrize("loop", LOOPS)


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


def test_what_has_yet_to_be_opened_says_how() -> None:
    """Its methods are the facade's, which is made when it is awaited or entered."""
    opening = open_facade(Repository)
    with pytest.raises(AttributeError, match=r"'get' was asked of open_facade.*`async with open_facade"):
        opening.get(1)
    assert not hasattr(opening, "__len__")

    async def main() -> None:
        async with opening as facade:
            assert await facade.get(1) == 1

    run(main)


# -- the end of a facade


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


@on_all_loops
@pytest.mark.parametrize("how", ["closed", "dropped"])
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_generator_that_is_at_work_is_closed_once_it_has_come_to_a_yield(
    affinity: Any, how: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading ahead, in another thread than the one that closes it, if each call goes to any worker."""
    at_work, go, closed = Signal(), Signal(), Signal()

    def numbers() -> Iterator[int]:
        try:
            yield 0
            at_work.set()
            go.wait()
            yield 1
            yield 2
        finally:
            closed.set()

    async def main() -> None:
        facade = async_facade([numbers()], affinity=affinity)
        rows = await facade.pop()
        assert await anext(rows) == 0
        await at_work.come()
        if how == "closed":

            async def let_go() -> None:
                await checkpoint()
                assert not closed.is_set
                go.set()

            await together(lambda: facade_close(facade), let_go)
            assert closed.is_set
        else:
            del rows, facade
            gc.collect()
            await pause(0.01)  # whoever might close it too early has the time for it
            go.set()
            await closed.come()

    run(main, loop)
    assert not caplog.records


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
