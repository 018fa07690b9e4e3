"""A little of what an async driver does, for SQLite: one connection, in a thread of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from bridge import sync_to_async

P = ParamSpec("P")
R = TypeVar("R")


class Execute(Protocol):
    """Runs a statement, and returns all rows."""

    async def __call__(self, sql: str, *values: object) -> list[Any]: ...


class Database:
    """One connection, for many tasks: one statement at a time, or one transaction."""

    _connection: sqlite3.Connection

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "database")
        self._lock = asyncio.Lock()

    async def open(self, schema: str) -> None:
        self._connection = await self._call(sqlite3.connect, self._path, timeout=20, isolation_level=None)
        await self._call(self._connection.executescript, schema)

    async def close(self) -> None:
        await self._call(self._connection.close)
        self._thread.shutdown()

    async def execute(self, sql: str, *values: object) -> list[Any]:
        """Run a statement by itself."""
        async with self._lock:
            return await self._execute(sql, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Execute]:
        """Run some together. Other tasks have to wait, or their statements would be part of it."""
        async with self._lock:
            try:
                await self._execute("BEGIN IMMEDIATE")
                yield self._execute
                await self._execute("COMMIT")
            except BaseException:
                # Not awaited, since the task may be cancelled. What others ask for comes behind it.
                self._thread.submit(self._connection.rollback)
                raise

    async def _execute(self, sql: str, *values: object) -> list[Any]:
        return await self._call(lambda: self._connection.execute(sql, values).fetchall())

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the connection's thread."""
        call = sync_to_async(function, thread_sensitive=False, executor=self._thread)
        return await call(*args, **kwargs)
