"""Clients and databases as people have them: aiohttp, aiosqlite, SQLAlchemy of either kind.

What is kept from call to call (connections, pools, transactions) has to stay usable, from whichever
thread the calls come; what belongs to a thread has to stay in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import aiohttp
import aiosqlite
import pytest
import sqlalchemy.orm
from sqlalchemy import ForeignKey, create_engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from support.shim_upstream import Upstream

from bridge import async_to_sync, sync_to_async
from bridge.exceptions import WouldDeadlock
from bridge.shim import facade_call, iterate_in_thread, open_facade, sync_facade

pytestmark = pytest.mark.usefixtures("single_of_module")

THREADS = 8


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "parcels"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(unique=True)
    moves: Mapped[list[Move]] = relationship(back_populates="parcel")


class Move(Base):
    __tablename__ = "moves"

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str]
    parcel_id: Mapped[int] = mapped_column(ForeignKey("parcels.id"))
    parcel: Mapped[Parcel] = relationship(back_populates="moves")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three parcels, with a move each."""
    path = tmp_path / "parcels.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        for number in (1, 2, 3):
            session.add(Parcel(id=number, owner=f"owner {number}", moves=[Move(place="depot")]))
    engine.dispose()
    return path


@pytest.fixture
def engine(database: Path) -> Iterator[sqlalchemy.Engine]:
    """SQLAlchemy's blocking engine, whose connections know their threads."""
    engine = create_engine(f"sqlite:///{database}")
    yield engine
    engine.dispose()


@pytest.fixture
def async_engine(database: Path) -> Iterator[AsyncEngine]:
    """SQLAlchemy's async engine, with a pool whose connections belong to one loop."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}", pool_size=3)
    yield engine
    async_to_sync(engine.dispose)()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


# -- async clients in blocking code


async def session_of(url: str) -> aiohttp.ClientSession:
    """aiohttp's sessions have to be made on the loop that they are used on."""
    return aiohttp.ClientSession(url)


def test_a_session_of_aiohttp_keeps_its_connection_from_call_to_call(upstream: Upstream) -> None:
    session = async_to_sync(session_of)(upstream.url)

    @async_to_sync
    async def get(path: str) -> str:
        async with session.get(path) as response:
            return await response.text()

    try:
        assert [get(f"/{number}") for number in range(5)] == ["0", "1", "2", "3", "4"]
        with ThreadPoolExecutor(1) as other:
            assert other.submit(get, "/5").result() == "5"
        assert upstream.connections == 1
        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(get, [f"/{number}" for number in range(50)]))
        assert answers == [str(number) for number in range(50)]
        assert upstream.connections <= THREADS
    finally:
        async_to_sync(session.close)()


def test_a_session_of_aiohttp_as_blocking_object(upstream: Upstream) -> None:
    with sync_facade(async_to_sync(session_of)(upstream.url)) as session:
        for _ in range(3):
            with session.get("/abcdefgh") as response:
                assert response.status == 200
                assert response.text() == "abcdefgh"
        with session.get("/abcdefgh") as response:
            assert list(response.content.iter_chunked(3)) == [b"abc", b"def", b"gh"]
        assert not session.closed
    assert session.closed
    assert upstream.connections == 1


def test_a_connection_of_aiosqlite_serves_many_threads(tmp_path: Path) -> None:
    connection = async_to_sync(aiosqlite.connect)(tmp_path / "numbers.db")
    try:
        execute = async_to_sync(connection.execute)
        execute("CREATE TABLE numbers (number INTEGER)")
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda n: execute("INSERT INTO numbers VALUES (?)", (n,)), range(100)))
        rows = async_to_sync(connection.execute_fetchall)("SELECT COUNT(*), SUM(number) FROM numbers")
        assert list(rows) == [(100, 4950)]
    finally:
        async_to_sync(connection.close)()


def test_a_connection_of_aiosqlite_as_blocking_object(tmp_path: Path) -> None:
    """It is used as sqlite3's would be: its errors, cursors and `with` blocks are the same."""
    with sync_facade(aiosqlite.connect(tmp_path / "numbers.db")) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE)")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(5)])
        connection.commit()
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO numbers VALUES (1)")
        connection.rollback()
        with connection.execute("SELECT number FROM numbers") as cursor:
            assert cursor.fetchone() == (0,)
            assert [number for (number,) in cursor] == [1, 2, 3, 4]


def test_an_async_engine_of_sqlalchemy_keeps_its_pool(async_engine: AsyncEngine) -> None:
    """More threads than connections: all go through the one pool, and so on one loop."""
    connected: list[object] = []
    sqlalchemy.event.listen(async_engine.sync_engine, "connect", lambda *_: connected.append(None))

    @async_to_sync
    async def add(number: int) -> int:
        async with AsyncSession(async_engine) as session, session.begin():
            session.add(Parcel(id=number, owner=f"owner {number}"))
        return threading.get_ident()

    @async_to_sync
    async def count() -> int | None:
        async with AsyncSession(async_engine) as session:
            return await session.scalar(select(func.count()).select_from(Parcel))

    with ThreadPoolExecutor(THREADS) as threads:
        ran_in = set(threads.map(add, range(10, 40)))
    assert count() == 33
    assert len(ran_in) == 1, "each call had a loop of its own"
    assert len(connected) <= 3 + 10, "the pool and its overflow"


def test_an_error_of_sqlalchemy_comes_out_and_the_transaction_is_undone(async_engine: AsyncEngine) -> None:
    @async_to_sync
    async def add(*owners: str) -> None:
        async with AsyncSession(async_engine) as session, session.begin():
            for owner in owners:
                session.add(Parcel(owner=owner))
                await session.flush()

    with pytest.raises(IntegrityError):
        add("somebody new", "owner 1")

    @async_to_sync
    async def owners() -> list[str]:
        async with AsyncSession(async_engine) as session:
            return list(await session.scalars(select(Parcel.owner).order_by(Parcel.id)))

    assert owners() == ["owner 1", "owner 2", "owner 3"]


def test_an_async_session_of_sqlalchemy_as_blocking_object(async_engine: AsyncEngine) -> None:
    with sync_facade(AsyncSession(async_engine)) as session:
        parcel = session.get(Parcel, 2)
        assert type(parcel) is Parcel, "rows are data, not to be wrapped"
        assert parcel.owner == "owner 2"
        session.refresh(parcel, ["moves"])
        assert [move.place for move in parcel.moves] == ["depot"]
        streamed = session.stream_scalars(select(Parcel.id).order_by(Parcel.id))
        assert list(streamed) == [1, 2, 3]
        with session.begin_nested():
            session.add(Parcel(id=9, owner="owner 9"))
        session.commit()
        assert session.scalar(select(func.count()).select_from(Parcel)) == 4


def test_blocking_code_that_sqlalchemy_runs_on_the_loop_is_told_that_it_cannot_wait(
    async_engine: AsyncEngine,
) -> None:
    """`run_sync` runs a function in a greenlet of the loop's own thread; waiting there would stop it."""

    async def nothing() -> None: ...

    @async_to_sync
    async def main() -> None:
        async with AsyncSession(async_engine) as session:
            await session.run_sync(lambda _: async_to_sync(nothing)())

    with pytest.raises(WouldDeadlock, match=r"await nothing\(\.\.\.\)"):
        main()


def test_an_async_session_stays_open_while_blocking_code_runs(
    async_engine: AsyncEngine,
) -> None:
    here = threading.get_ident()

    @async_to_sync
    async def main() -> tuple[str, int]:
        async with AsyncSession(async_engine) as session, session.begin():
            parcel = await session.get_one(Parcel, 1)
            parcel.owner = await sync_to_async(str.upper)(parcel.owner)
            return parcel.owner, await sync_to_async(threading.get_ident)()

    assert main() == ("OWNER 1", here)


# -- blocking clients in async code


def test_a_blocking_session_of_sqlalchemy_stays_in_one_thread(engine: sqlalchemy.Engine) -> None:
    """SQLite's connections refuse any other one."""

    async def main() -> None:
        async with open_facade(Session, engine) as session:
            parcel = await session.get(Parcel, 2)
            assert type(parcel) is Parcel, "rows are data, not to be wrapped"
            parcel.owner = "somebody else"
            assert parcel in await facade_call(session, lambda plain: list(plain.dirty))
            await session.commit()
            owners = await (await session.scalars(select(Parcel.owner).order_by(Parcel.id))).all()
            assert owners == ["owner 1", "somebody else", "owner 3"]
            await session.rollback()
            with pytest.raises(IntegrityError):
                async with session.begin():
                    await session.execute(sqlalchemy.insert(Parcel).values(owner="owner 1"))
            async with session.begin() as transaction:
                await session.execute(sqlalchemy.delete(Move))
                await transaction.rollback()
            assert await session.scalar(select(func.count()).select_from(Move)) == 3

    asyncio.run(main())


def test_rows_are_fetched_in_the_thread_as_they_are_asked_for(engine: sqlalchemy.Engine) -> None:
    async def main() -> None:
        async with open_facade(Session, engine) as session:
            found = await session.execute(select(Parcel.id, Parcel.owner).order_by(Parcel.id))
            async for number, owner in found:
                assert owner == f"owner {number}"
                if number == 2:
                    break
            assert await found.fetchone() == (3, "owner 3"), "no row was read ahead"

    asyncio.run(main())


def test_rows_are_streamed_from_a_generator(engine: sqlalchemy.Engine) -> None:
    """The session of a generator ends in the thread that it began in, also if nobody wants the rest."""
    threads = set()

    def owners() -> Iterator[str]:
        threads.add(threading.get_ident())
        with Session(engine) as session:
            yield from session.scalars(
                select(Parcel.owner).order_by(Parcel.id).execution_options(yield_per=1)
            )
        threads.add(threading.get_ident())

    async def main() -> None:
        assert [owner async for owner in iterate_in_thread(owners())] == ["owner 1", "owner 2", "owner 3"]
        assert len(threads) == 1
        async with aclosing(iterate_in_thread(owners())) as streamed:
            assert await anext(streamed) == "owner 1"

    asyncio.run(main())
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_queries_run_side_by_side_in_workers(engine: sqlalchemy.Engine) -> None:
    """A session for each call needs no thread of its own."""
    meeting = threading.Barrier(3, timeout=10.0)

    @sync_to_async(thread_sensitive=False)
    def owner_of(number: int) -> str:
        with Session(engine) as session:
            meeting.wait()
            return session.get_one(Parcel, number).owner

    async def main() -> list[str]:
        return await asyncio.gather(*(owner_of(number) for number in (1, 2, 3)))

    assert asyncio.run(main()) == ["owner 1", "owner 2", "owner 3"]


def test_a_scoped_session_is_the_same_for_all_thread_sensitive_calls(engine: sqlalchemy.Engine) -> None:
    """It belongs to a thread, so what one call has begun the next one finds."""
    scoped = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(engine))

    async def main() -> None:
        parcel = await sync_to_async(scoped.get_one)(Parcel, 1)
        parcel.owner = "somebody else"
        assert await sync_to_async(lambda: parcel in scoped.dirty)()
        await sync_to_async(scoped.commit)()
        await sync_to_async(scoped.remove)()

    asyncio.run(main())
    with Session(engine) as session:
        assert session.get_one(Parcel, 1).owner == "somebody else"


def test_a_connection_of_sqlite3_stays_in_its_thread(database: Path) -> None:
    async def main() -> None:
        async with open_facade(sqlite3.connect, database) as connection:
            rows: Any = await (await connection.execute("SELECT owner FROM parcels ORDER BY id")).fetchall()
            assert rows == [("owner 1",), ("owner 2",), ("owner 3",)]

    asyncio.run(main())
    with closing(sqlite3.connect(database)) as free:
        free.execute("DELETE FROM moves")  # nothing holds a lock any more
