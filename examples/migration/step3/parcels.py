"""Parcels, where they are, and when they arrive: SQLite, and the carrier's web service."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import httpx2

from bridge import async_to_sync
from bridge.shim import iterate_in_thread

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS parcels (number INTEGER PRIMARY KEY, addressee TEXT, place TEXT);
CREATE TABLE IF NOT EXISTS moves (number INTEGER, origin TEXT, place TEXT);
"""


class Parcel(NamedTuple):
    number: int
    addressee: str
    place: str


class Move(NamedTuple):
    number: int
    origin: str
    place: str


class UnknownParcel(LookupError):
    """There is no parcel with that number."""


class Parcels:
    """The book of parcels. It belongs to the thread that has opened it, as its connection does."""

    def __init__(self, database: str, carrier: str) -> None:
        self._carrier = httpx2.AsyncClient(base_url=carrier)
        self._database = database
        self._db = sqlite3.connect(database, timeout=20, isolation_level=None)
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        async_to_sync(self._carrier.aclose)()
        self._db.close()

    def add(self, addressee: str) -> Parcel:
        """A new parcel; it is in the shop."""
        row = self._db.execute(
            "INSERT INTO parcels (addressee, place) VALUES (?, 'shop') RETURNING *", (addressee,)
        ).fetchone()
        return Parcel(*row)

    def get(self, number: int) -> Parcel:
        """A parcel.

        Raises:
            UnknownParcel: there is none.
        """
        row = self._db.execute("SELECT * FROM parcels WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise UnknownParcel(number)
        return Parcel(*row)

    def move(self, number: int, place: str) -> Parcel:
        """A parcel is somewhere else now, and the book knows whence it came."""
        with self._transaction():
            before = self.get(number)
            self._db.execute("INSERT INTO moves VALUES (?, ?, ?)", (number, before.place, place))
            self._db.execute("UPDATE parcels SET place = ? WHERE number = ?", (place, number))
        return before._replace(place=place)

    async def moves(self) -> AsyncIterator[Move]:
        """All moves, oldest first; there may be many."""
        async for row in iterate_in_thread(self._rows("SELECT * FROM moves ORDER BY rowid")):
            yield Move(*row)

    async def arrival(self, number: int) -> str:
        """The day on which the carrier expects to bring a parcel."""
        answer = await self._carrier.get(f"/arrivals/{number}")
        return str(answer.raise_for_status().json()["day"])

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """What a query finds, on a connection of its own; all in the thread that iterates."""
        with closing(sqlite3.connect(self._database, timeout=20)) as db:
            yield from db.execute(query)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
