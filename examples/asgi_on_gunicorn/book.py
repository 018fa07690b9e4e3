"""The book: what a reading is, and the SQLite database with the readings. Nothing here knows of HTTP."""

from __future__ import annotations

import codecs
import csv
import math
import os
import queue
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, Concatenate, ParamSpec, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
)
from starlette.concurrency import run_in_threadpool

INSTANCE = Path(os.environ.get("FROST_INSTANCE") or Path(__file__).parent / "instance").resolve()

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[sqlite3.Connection, P], T]


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


# --- What a reading is. Pydantic refuses whatever does not fit, and says why.


def as_typed(number: object) -> object:
    """Take a number as people write it: with a decimal comma, with a real minus sign."""
    return number.replace(",", ".").replace("\N{MINUS SIGN}", "-") if isinstance(number, str) else number


def printable(text: str) -> str:
    if not text.isprintable() or "/" in text:
        raise ValueError("a name has printable characters, and no slash among them")
    return text


def in_the_past(at: datetime) -> datetime:
    """Return `at` in UTC; a thermometer whose clock is ahead would keep the page from moving on."""
    if at > now() + timedelta(minutes=1):
        raise ValueError("this has not happened yet")
    if at.year < 1970:
        raise ValueError("this was before there were such thermometers")
    return at.astimezone(timezone.utc).replace(microsecond=0)


Place = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(printable)
]
Celsius = Annotated[float, BeforeValidator(as_typed), Field(ge=-60, le=60, allow_inf_nan=False)]
Past = Annotated[AwareDatetime, AfterValidator(in_the_past)]


class NewReading(BaseModel):
    """What a thermometer sends. One without a clock leaves `at` out."""

    place: Place
    celsius: Celsius
    at: Annotated[Past, Field(default_factory=now)]


class Line(NewReading):
    """A line of an imported CSV file. Those are of the past, so each has to say when."""

    at: Past


class Reading(BaseModel):
    """What is in the book."""

    id: int
    at: datetime
    place: str
    celsius: float


class Summary(BaseModel):
    """How it is in one place, and how it was in the 24 hours before."""

    place: str
    latest: Reading
    coldest: float
    warmest: float


class Warned(BaseModel):
    """A warning, and what became of it: `pending`, `delivered`, `failed`, or `noted` without a webhook."""

    id: int
    at: datetime
    place: str
    celsius: float
    state: str


# --- The database: one SQLite file, a few connections to it.

SCHEMA = (
    # AUTOINCREMENT: no number is given twice, so that "what came after number 7" has an answer for ever.
    "CREATE TABLE readings (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, place TEXT NOT NULL,"
    " celsius REAL NOT NULL)",
    "CREATE INDEX readings_by_place ON readings (place, at)",
    "CREATE TABLE warnings (id INTEGER PRIMARY KEY, at TEXT NOT NULL, place TEXT NOT NULL,"
    " celsius REAL NOT NULL, state TEXT NOT NULL)",
    "CREATE TABLE processes (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL,"
    " ended TEXT)",
)
INSERT = "INSERT INTO readings (at, place, celsius) VALUES (?, ?, ?)"


def first_night() -> Iterator[NewReading]:
    """Yield the readings of a night that ends now, so that the first page has something to show."""
    start = now() - timedelta(hours=12)
    for step in range(49):
        hour = step / 4
        fall = math.cos(math.pi * (hour - 9) / 12)  # coldest three hours before the end
        at = start + timedelta(minutes=15 * step)
        for place, mean, swing in (("Greenhouse", 9, 3.5), ("Kräuterbeet", 3.5, 4), ("Pond", 5.5, 1.5)):
            celsius = round(mean - swing * fall + 0.3 * math.sin(3 * hour + mean), 1)
            yield NewReading(place=place, celsius=celsius, at=at)


def connect() -> sqlite3.Connection:
    # Different threads use the connection, one after the other, which SQLite has no objection to.
    db = sqlite3.connect(INSTANCE / "frost.sqlite3", timeout=10, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def make_database() -> None:
    """Make the database unless there is one. Several worker processes may get here at once."""
    INSTANCE.mkdir(parents=True, exist_ok=True)
    (INSTANCE / ".gitignore").write_text("*\n")  # what the app writes never gets into a repository
    with closing(connect()) as db, db:
        db.execute("BEGIN IMMEDIATE")  # the others wait here
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'readings'").fetchone():
            for statement in SCHEMA:
                db.execute(statement)
            for reading in first_night():
                write_down(db, reading)
            db.execute("UPDATE warnings SET state = 'noted'")


class Pool:
    """Connections that wait to be borrowed.

    SQLite blocks, so whoever works with a connection does so in a thread: `def` endpoints call `run`, which
    run in threads anyway, coroutines await `run_async`. A connection is borrowed and given back inside the
    thread. A request that is cancelled meanwhile therefore cannot give back one that is still in use.
    """

    SIZE = 4

    def __init__(self) -> None:
        self._free: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        for _ in range(self.SIZE):
            self._free.put(connect())

    def run(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(connection, …)`, as one transaction; what it raises undoes what it did."""
        db = self._free.get()
        try:
            with db:
                return work(db, *args, **kwargs)
        finally:
            self._free.put(db)

    async def run_async(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_in_threadpool(partial(self.run, work, *args, **kwargs))

    def close(self) -> None:
        for _ in range(self.SIZE):
            self._free.get(timeout=10).close()


def start_process(db: sqlite3.Connection, pid: int) -> int:
    """Enter that the app has started in a process; return the number of the entry."""
    number = db.execute(
        "INSERT INTO processes (pid, started) VALUES (?, ?)", (pid, now().isoformat())
    ).lastrowid
    assert number is not None  # an INSERT into a table with a key has one
    return number


def end_process(db: sqlite3.Connection, number: int) -> None:
    db.execute("UPDATE processes SET ended = ? WHERE id = ?", (now().isoformat(), number))


def rows_after(
    db: sqlite3.Connection, number: int, limit: int, place: str | None = None
) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT * FROM readings WHERE id > ? AND place = coalesce(?, place) ORDER BY id LIMIT ?",
        (number, place, limit),
    ).fetchall()


def readings_after(
    db: sqlite3.Connection, number: int, limit: int, place: str | None = None
) -> list[Reading]:
    return [Reading(**row) for row in rows_after(db, number, limit, place)]


def latest_readings(db: sqlite3.Connection, limit: int) -> list[Reading]:
    rows = db.execute("SELECT * FROM readings ORDER BY at DESC, id DESC LIMIT ?", (limit,))
    return [Reading(**row) for row in rows]


def newest_number(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM readings").fetchone()[0])


def summary(db: sqlite3.Connection, place: str) -> Summary | None:
    row = db.execute(
        "SELECT * FROM readings WHERE place = ? ORDER BY at DESC, id DESC LIMIT 1", (place,)
    ).fetchone()
    if row is None:
        return None
    latest = Reading(**row)
    since = (latest.at - timedelta(hours=24)).isoformat()
    coldest, warmest = db.execute(
        "SELECT min(celsius), max(celsius) FROM readings WHERE place = ? AND at >= ?", (place, since)
    ).fetchone()
    return Summary(place=place, latest=latest, coldest=coldest, warmest=warmest)


def summaries(db: sqlite3.Connection) -> list[Summary]:
    places = [row[0] for row in db.execute("SELECT DISTINCT place FROM readings ORDER BY place")]
    return [found for place in places if (found := summary(db, place))]


def latest_warnings(db: sqlite3.Connection, limit: int) -> list[Warned]:
    rows = db.execute("SELECT * FROM warnings ORDER BY id DESC LIMIT ?", (limit,))
    return [Warned(**row) for row in rows]


def write_down(db: sqlite3.Connection, new: NewReading) -> tuple[Reading, int | None]:
    """Enter a reading. Return it, and the number of the warning that it calls for, if any.

    A warning is due when it freezes and did not freeze at the same place before.
    """
    before = summary(db, new.place)
    number = db.execute(INSERT, (new.at.isoformat(), new.place, new.celsius)).lastrowid
    assert number is not None  # an INSERT into a table with a key has one
    reading = Reading(id=number, **new.model_dump())
    if reading.celsius > 0 or (before and (before.latest.celsius <= 0 or before.latest.at > reading.at)):
        return reading, None
    warning = db.execute(
        "INSERT INTO warnings (at, place, celsius, state) VALUES (?, ?, ?, 'pending')",
        (reading.at.isoformat(), reading.place, reading.celsius),
    ).lastrowid
    return reading, warning


def mark(db: sqlite3.Connection, warning: int, state: str) -> None:
    db.execute("UPDATE warnings SET state = ? WHERE id = ?", (state, warning))


def readings_since(db: sqlite3.Connection, since: datetime) -> list[tuple[str, datetime, float]]:
    rows = db.execute(
        "SELECT place, at, celsius FROM readings WHERE at >= ? ORDER BY at", (since.isoformat(),)
    )
    return [(place, datetime.fromisoformat(at), celsius) for place, at, celsius in rows]


def import_csv(db: sqlite3.Connection, file: IO[bytes]) -> tuple[int, int]:
    """Enter all lines of a CSV file, or none if one is wrong. Return how many, and the newest number.

    Raises:
        BadLine: a line is not as it should be.
    """
    file.seek(0)
    lines = ((line.at.isoformat(), line.place, line.celsius) for line in read_csv(file))
    return max(0, db.executemany(INSERT, lines).rowcount), newest_number(db)


class BadLine(ValueError):
    """A line of an imported file is wrong; `problems` says which and why, the way pydantic does."""

    def __init__(self, number: int, *problems: Mapping[str, Any]) -> None:
        super().__init__(number)
        self.problems = [
            {**problem, "loc": ("file", f"line {number}", *problem["loc"])} for problem in problems
        ]


def read_csv(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a CSV file.

    Raises:
        BadLine: one is not as it should be.
    """
    # A line has a limit, or one without an end would be in memory as a whole.
    text = codecs.iterdecode(iter(lambda: file.readline(1000), b""), "utf-8-sig")
    rows = csv.DictReader(text, restkey="more", strict=True)
    try:
        if missing := {"at", "place", "celsius"} - set(rows.fieldnames or ()):
            raise csv.Error(
                f"the first line has to name the columns; {', '.join(sorted(missing))} is missing"
            )
        for row in rows:
            yield Line.model_validate(row)
    except ValidationError as error:
        raise BadLine(rows.line_num, *error.errors(include_url=False, include_context=False)) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadLine(max(1, rows.line_num), {"type": "csv", "loc": (), "msg": str(error)}) from None
