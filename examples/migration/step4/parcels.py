"""Parcels, where they are, and when they arrive: SQLite, and the carrier's web service."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import httpx2

from bridge.shim import iterate_in_thread

from .database import Database, Execute

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
    """The book of parcels, for any number of tasks of one event loop."""

    def __init__(self, database: str, carrier: str) -> None:
        self._carrier = httpx2.AsyncClient(base_url=carrier)
        self._database = database
        self._db = Database(database)

    async def __aenter__(self) -> Parcels:
        await self._db.open(SCHEMA)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._carrier.aclose()
        await self._db.close()

    async def add(self, addressee: str) -> Parcel:
        """A new parcel; it is in the shop."""
        (row,) = await self._db.execute(
            "INSERT INTO parcels (addressee, place) VALUES (?, 'shop') RETURNING *", addressee
        )
        return Parcel(*row)

    async def get(self, number: int) -> Parcel:
        """A parcel.

        Raises:
            UnknownParcel: there is none.
        """
        return await self._get(self._db.execute, number)

    async def move(self, number: int, place: str) -> Parcel:
        """A parcel is somewhere else now, and the book knows whence it came."""
        async with self._db.transaction() as execute:
            before = await self._get(execute, number)
            await execute("INSERT INTO moves VALUES (?, ?, ?)", number, before.place, place)
            await execute("UPDATE parcels SET place = ? WHERE number = ?", place, number)
        return before._replace(place=place)

    async def moves(self) -> AsyncIterator[Move]:
        """All moves, oldest first; there may be many."""
        async for row in iterate_in_thread(self._rows("SELECT * FROM moves ORDER BY rowid")):
            yield Move(*row)

    async def arrival(self, number: int) -> str:
        """The day on which the carrier expects to bring a parcel."""
        answer = await self._carrier.get(f"/arrivals/{number}")
        return str(answer.raise_for_status().json()["day"])

    async def _get(self, execute: Execute, number: int) -> Parcel:
        rows = await execute("SELECT * FROM parcels WHERE number = ?", number)
        if not rows:
            raise UnknownParcel(number)
        return Parcel(*rows[0])

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """What a query finds, on a connection of its own; all in the thread that iterates."""
        with closing(sqlite3.connect(self._database, timeout=20)) as db:
            yield from db.execute(query)
