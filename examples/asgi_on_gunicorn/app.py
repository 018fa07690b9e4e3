"""Frost watch: the temperatures of a garden, and a warning when it freezes. An ordinary FastAPI app.

Thermometers post what they measure; a page shows it as it comes in. `book.py` beside this file keeps the
readings. Nothing in either needs a WSGI server: `uvicorn app:app` runs them as well. `wsgi.py` makes a WSGI
application of them. README.md is the guide.

Settings, all optional, all environment variables:

    FROST_INSTANCE   folder for the database (default: `instance` beside this file)
    FROST_WEBHOOK    address that each warning is posted to as JSON (default: none, it is only written down)
    FROST_BEAT       seconds after which a silent event stream sends a sign of life (default: 5)
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import math
import os
import platform
import re
import sqlite3
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from contextvars import ContextVar
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Annotated, Any, TypedDict

import anyio
import httpcore2  # noqa: F401 - httpx2 would load it in the loop's thread, and trio with it: gevent forbids that
import httpx2
from fastapi import BackgroundTasks, Depends, FastAPI, Form, Header, HTTPException, Query, Request, UploadFile
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if __package__:
    from . import book
else:  # started in this folder, which makes `book` a module of its own
    import book  # type: ignore[import-not-found,no-redef]

HERE = Path(__file__).resolve().parent
WEBHOOK = os.environ.get("FROST_WEBHOOK")
BEAT = float(os.environ.get("FROST_BEAT") or 5)

log = logging.getLogger("frost")


# --- What lives as long as the process: made when the app starts, ended when it stops.


class Newest:
    """The number of the newest reading, and a way to wait for a newer one.

    It belongs to an event loop, like all that `lifespan` makes. Every request runs on that same loop.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._moved = asyncio.Event()

    def announce(self, number: int) -> None:
        if number > self.number:
            self.number = number
            self._moved.set()
            self._moved = asyncio.Event()

    async def wait_beyond(self, number: int, seconds: float) -> None:
        """Return when there is a newer reading than `number`, and after some seconds in any case."""
        if self.number <= number:
            with anyio.move_on_after(seconds):
                await self._moved.wait()


class State(TypedDict):
    """What `lifespan` gives to every request, as `request.state`."""

    pool: book.Pool
    client: httpx2.AsyncClient
    newest: Newest
    counts: Counter[str]


async def watch(pool: book.Pool, newest: Newest) -> None:
    """See what other processes write down. What this one does is announced without waiting for this."""
    while True:
        await asyncio.sleep(1)
        try:
            newest.announce(await pool.run_async(book.newest_number))
        except sqlite3.Error:
            log.exception("could not look for new readings; trying again")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    # Before the `yield` and after it nothing is being served, so it does no harm here that SQLite blocks.
    book.make_database()
    with closing(book.Pool()) as pool:
        entry = pool.run(book.start_process, os.getpid())
        async with httpx2.AsyncClient(timeout=10) as client, anyio.create_task_group() as tasks:
            newest = Newest(pool.run(book.newest_number))
            tasks.start_soon(watch, pool, newest)
            yield {"pool": pool, "client": client, "newest": newest, "counts": Counter()}
            tasks.cancel_scope.cancel()
        pool.run(book.end_process, entry)


# --- A middleware: a number for each request, and how long its answer took to begin.

request_id: ContextVar[str] = ContextVar("request_id", default="-")
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Adds `X-Request-ID` and `Server-Timing` to each response; an id that came with the request is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        came = Headers(scope=scope).get("x-request-id", "")
        number = came if PLAIN.fullmatch(came) else uuid.uuid4().hex[:12]
        request_id.set(number)  # for this request and for what it leaves behind, background tasks included
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = number
                headers["Server-Timing"] = f"app;dur={(time.perf_counter() - began) * 1000:.1f}"
            await send(message)

        await self.app(scope, receive, send_with_headers)


app = FastAPI(title="Frost watch", description=(__doc__ or "").partition("\n")[0], lifespan=lifespan)
app.add_middleware(RequestId)
app.state.stopping = False  # set by gunicorn.conf.py when its worker is told to stop; event streams end then
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


# --- Dependencies: what endpoints ask for.


def get_pool(request: Request) -> book.Pool:
    pool: book.Pool = request.state.pool
    return pool


def get_newest(request: Request) -> Newest:
    newest: Newest = request.state.newest
    return newest


def get_client(request: Request) -> httpx2.AsyncClient:
    client: httpx2.AsyncClient = request.state.client
    return client


def get_counts(request: Request) -> Counter[str]:
    counts: Counter[str] = request.state.counts
    return counts


AnyPool = Annotated[book.Pool, Depends(get_pool)]
AnyNewest = Annotated[Newest, Depends(get_newest)]
AnyClient = Annotated[httpx2.AsyncClient, Depends(get_client)]
AnyCounts = Annotated[Counter[str], Depends(get_counts)]


class Page(BaseModel):
    """Which readings: those after number `after`, at most `limit`."""

    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def known_place(place: str, pool: AnyPool) -> book.Summary:
    """The place in the address, or 404. A `def`: FastAPI calls it in a thread."""
    found = pool.run(book.summary, place)
    if found is None:
        raise HTTPException(404, f"Nothing was ever measured at {place!r}.")
    return found


def from_this_site(sec_fetch_site: Annotated[str | None, Header()] = None) -> None:
    """Refuse what somebody else's page made a browser send. Thermometers send no such header."""
    if sec_fetch_site not in (None, "none", "same-origin"):
        raise HTTPException(403, "This was sent by a page of another site.")


async def watched(counts: AnyCounts) -> AsyncIterator[None]:
    """Count an event stream as open. FastAPI runs what follows `yield` when the stream has ended."""
    counts["streams opened"] += 1
    try:
        yield
    finally:
        counts["streams closed"] += 1


class Keeper:
    """Notes readings and sends warnings. It asks for what it needs as an endpoint does."""

    def __init__(
        self, pool: AnyPool, newest: AnyNewest, client: AnyClient, background: BackgroundTasks
    ) -> None:
        self._pool = pool
        self._newest = newest
        self._client = client
        self._background = background

    async def note(self, new: book.NewReading) -> book.Reading:
        reading, warning = await self._pool.run_async(book.write_down, new)
        self._newest.announce(reading.id)
        if warning is not None:
            self._background.add_task(self._warn, warning, reading)
        return reading

    async def _warn(self, warning: int, reading: book.Reading) -> None:
        """Send a warning and write down what became of it. The response is already with the client."""
        log.warning("frost: %.1f °C, %s (request %s)", reading.celsius, reading.place, request_id.get())
        state = "noted"
        if WEBHOOK:
            try:
                answer = await self._client.post(WEBHOOK, json=reading.model_dump(mode="json"))
                answer.raise_for_status()
                state = "delivered"
            except httpx2.HTTPError as error:
                log.warning("the warning could not be delivered: %r (request %s)", error, request_id.get())
                state = "failed"
        await self._pool.run_async(book.mark, warning, state)


AnyKeeper = Annotated[Keeper, Depends()]


# --- Readings as JSON.


@app.post("/readings", status_code=201, dependencies=[Depends(from_this_site)])
async def add_reading(new: book.NewReading, keeper: AnyKeeper) -> book.Reading:
    """Note a reading. The thermometer has its answer at once; a warning is sent behind its back."""
    return await keeper.note(new)


@app.get("/readings")
async def list_readings(
    pool: AnyPool, page: Annotated[Page, Query()], place: str | None = None
) -> list[book.Reading]:
    return await pool.run_async(book.readings_after, page.after, page.limit, place)


@app.get("/places/{place}")
def show_place(found: Annotated[book.Summary, Depends(known_place)]) -> book.Summary:
    return found


@app.get("/warnings")
async def list_warnings(
    pool: AnyPool, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[book.Warned]:
    return await pool.run_async(book.latest_warnings, limit)


# --- Events: each reading as it comes in.


@app.get("/events", response_class=EventSourceResponse, dependencies=[Depends(watched)])
async def events(
    request: Request,
    newest: AnyNewest,
    pool: AnyPool,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send every new reading. A browser that was cut off says which it saw last and misses none."""
    seen = newest.number if last_event_id is None else last_event_id
    yield ServerSentEvent(event="hello", data={"newest": newest.number}, retry=2000)
    while not request.app.state.stopping:
        await newest.wait_beyond(seen, BEAT)
        readings = await pool.run_async(book.readings_after, seen, 100)
        for reading in readings:
            yield ServerSentEvent(event="reading", data=reading, id=str(reading.id))
            seen = reading.id
        if not readings:
            # Most WSGI servers learn that a client has left from nothing but a write that fails.
            yield ServerSentEvent(comment="nothing new")


# --- The whole book as CSV, out and in. Neither way is it in memory as a whole.


@app.get("/readings.csv")
async def export(pool: AnyPool, counts: AnyCounts) -> StreamingResponse:
    return StreamingResponse(
        csv_lines(pool, counts),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": "attachment; filename=readings.csv"},
    )


async def csv_lines(pool: book.Pool, counts: Counter[str]) -> AsyncIterator[str]:
    """Yield the readings, five hundred at a time, as fast as the client takes them.

    Between two pieces no connection is held, so a slow client stands in nobody's way.
    """
    counts["exports opened"] += 1
    try:
        yield "at,place,celsius\n"
        number = 0
        while rows := await pool.run_async(book.rows_after, number, 500):
            buffer = io.StringIO()
            csv.writer(buffer, lineterminator="\n").writerows(
                (row["at"], row["place"], row["celsius"]) for row in rows
            )
            counts["rows exported"] += len(rows)
            yield buffer.getvalue()
            number = rows[-1]["id"]
    finally:
        counts["exports closed"] += 1


class Imported(BaseModel):
    imported: int


@app.put("/readings.csv", dependencies=[Depends(from_this_site)])
async def import_raw(request: Request, pool: AnyPool, newest: AnyNewest) -> Imported:
    """Take a CSV file as it is, as `curl -T` sends it. It goes to disk while it arrives.

    If the client leaves half-way, `request.stream()` raises, and nothing of it is kept.
    """
    with tempfile.NamedTemporaryFile(dir=book.INSTANCE, prefix="import-") as file:
        async for piece in request.stream():
            await run_in_threadpool(file.write, piece)
        return await enter(file.file, pool, newest)


@app.post("/import", response_class=RedirectResponse, dependencies=[Depends(from_this_site)])
async def import_form(
    file: UploadFile, request: Request, pool: AnyPool, newest: AnyNewest
) -> RedirectResponse:
    """Take a CSV file from the form. FastAPI has put it on disk meanwhile, if it is large."""
    done = await enter(file.file, pool, newest)
    return back_to_the_page(request, imported=done.imported)


async def enter(file: IO[bytes], pool: book.Pool, newest: Newest) -> Imported:
    try:
        count, number = await pool.run_async(book.import_csv, file)
    except book.BadLine as error:
        raise RequestValidationError(error.problems) from None
    newest.announce(number)
    return Imported(imported=count)


# --- The page.

templates = Jinja2Templates(directory=HERE / "templates")


def path_for(request: Request, name: str, **parameters: str) -> str:
    """The path of an endpoint, wherever the app is mounted; no scheme and host, which a proxy may hide."""
    return request.url_for(name, **parameters).path


def minus(number: float) -> str:
    """A number with one decimal and a real minus sign."""
    return f"{number:.1f}".replace("-", "\N{MINUS SIGN}")


def clock(at: datetime) -> str:
    return at.strftime("%H:%M" if book.now() - at < timedelta(hours=24) else "%Y-%m-%d %H:%M")


templates.env.globals["path_for"] = path_for
templates.env.filters.update(minus=minus, clock=clock)


@app.get("/", include_in_schema=False)
async def page(request: Request, noted: int | None = None, imported: int | None = None) -> Response:
    return await show_page(request, noted=noted, imported=imported)


async def show_page(request: Request, status: int = 200, **more: Any) -> Response:
    pool = get_pool(request)

    def look_up(db: sqlite3.Connection) -> dict[str, Any]:
        return {
            "places": book.summaries(db),
            "readings": book.latest_readings(db, 12),
            "warnings": book.latest_warnings(db, 5),
            "newest": book.newest_number(db),
        }

    shown = {**await pool.run_async(look_up), "facts": await facts(request), "typed": {}, **more}
    response = templates.TemplateResponse(request, "index.html", shown, status_code=status)
    response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    return response


@app.post("/", include_in_schema=False, dependencies=[Depends(from_this_site)])
async def add_by_form(
    new: Annotated[book.NewReading, Form()], request: Request, keeper: AnyKeeper
) -> RedirectResponse:
    reading = await keeper.note(new)
    return back_to_the_page(request, noted=reading.id)


def back_to_the_page(request: Request, **said: int) -> RedirectResponse:
    return RedirectResponse(f"{path_for(request, 'page')}?{httpx2.QueryParams(said)}", 303)


@app.exception_handler(RequestValidationError)
async def explain(request: Request, error: RequestValidationError) -> Response:
    """Answer a browser's form with the page, filled in as it came; anything else with FastAPI's JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return await request_validation_exception_handler(request, error)
    problems = [
        ", ".join(str(part) for part in problem["loc"] if part != "body")
        + f": {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    ]
    typed = error.body if kind == "application/x-www-form-urlencoded" else {}
    return await show_page(request, 422, problems=problems, typed=typed)


# --- The chart. Drawing takes a while and awaits nothing: a `def`, which FastAPI calls in a thread.

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300, 40, 110, 16, 34  # the last four are margins


@app.get("/chart.svg", response_class=Response)
def chart(
    pool: AnyPool,
    hours: Annotated[int, Query(ge=1, le=168)] = 12,
    width: Annotated[int, Query(ge=300, le=2000)] = 720,
) -> Response:
    right = width - RIGHT
    end = book.now()
    lines: dict[str, list[tuple[float, float]]] = {}  # (hours from now, degrees)
    for place, at, celsius in pool.run(book.readings_since, end - timedelta(hours=hours)):
        lines.setdefault(place, []).append(((at - end).total_seconds() / 3600, celsius))
    degrees = [celsius for line in lines.values() for _, celsius in line] or [0]
    low, high = math.floor(min(degrees) / 5) * 5, math.ceil(max(degrees) / 5) * 5
    high = max(high, low + 5)

    def x(hour: float) -> float:
        return round(right + hour / hours * (right - LEFT), 1)

    def y(celsius: float) -> float:
        return round(TOP + (high - celsius) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    drawing = templates.get_template("chart.xml").render(
        width=width,
        height=HEIGHT,
        left=LEFT,
        right=right,
        bottom=y(low),
        freezing=y(min(0, high)) if low < 0 else None,
        degrees=[(celsius, y(celsius)) for celsius in range(low, high + 1, 5 if high - low <= 30 else 10)],
        hours=[(-hours * part / 4, x(-hours * part / 4)) for part in range(4, -1, -1)],
        lines={place: [(x(hour), y(celsius)) for hour, celsius in lines[place]] for place in sorted(lines)},
        labels=spread({place: y(line[-1][1]) for place, line in lines.items()}, 16),
    )
    return Response(drawing, media_type="image/svg+xml", headers={"Cache-Control": "no-cache"})


def spread(heights: Mapping[str, float], least: float) -> dict[str, float]:
    """Move labels down until none is closer than `least` to the one above it."""
    moved: dict[str, float] = {}
    above = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        above = moved[name] = max(height, above + least)
    return moved


# --- How all this is served.


def thread_of_a_def() -> str:
    """FastAPI calls a dependency that is a `def` in the same threads as endpoints that are one."""
    return threading.current_thread().name


async def facts(request: Request) -> dict[str, str]:
    """Tell which server, process, loop and threads are at work."""
    # bridge puts the WSGI environ into the scope; an ASGI server has none.
    environ = request.scope.get("wsgi_environ", {})
    loop = asyncio.get_running_loop()
    return {
        "server": environ.get("SERVER_SOFTWARE", "does not tell"),
        "interface": "WSGI" if environ else "ASGI",
        "process": str(os.getpid()),
        "loop": f"{type(loop).__module__}.{type(loop).__qualname__} {id(loop):#x}",
        "loop thread": threading.current_thread().name,
        "def thread": await run_in_threadpool(thread_of_a_def),
        "python": platform.python_version(),
        "several at once": "yes" if environ.get("wsgi.multithread", True) else "no",
    }


COUNTED = ("streams opened", "streams closed", "exports opened", "exports closed", "rows exported")


@app.get("/served")
async def served(
    request: Request, counts: AnyCounts, thread: Annotated[str, Depends(thread_of_a_def)]
) -> dict[str, str | int]:
    counted = {name: counts[name] for name in COUNTED}
    return {**await facts(request), "dependency thread": thread, **counted}
