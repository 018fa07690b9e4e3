"""Long bodies inside one process: many small chunks, and many large ones both ways.

A slice is one whole response or upload. Memory is measured elsewhere, see memory.py.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import WrongAnswer
from benchmarks.bodies import CHUNKS, MIB, PIECE, Pattern, fresh, repeated, small_chunks
from benchmarks.clients import reason, settle
from benchmarks.eventloop import run
from benchmarks.measure import Case, Progress, Result, Series, Settings, Slice, shuffled
from benchmarks.wsgi_under_asgi import adapters, apps
from benchmarks.wsgi_under_asgi.exchange import BodyExchange

TRANSFER_TIMEOUT = 60.0

LINE = b"%07d," + b"field," * 15 + b"ok"
LINES = b"".join(LINE % number + b"\n" for number in range(MIB // 100))
"""About one MiB of lines of 101 bytes; no piece boundary falls between lines, save by chance."""
LINE_COUNT = LINES.count(b"\n")


class PatternBody:
    """The client's side of a download: takes the pattern, as fast as it comes or at a reader's pace."""

    def __init__(self, size: int, pause_a_mib: float = 0.0) -> None:
        self._size = size
        self._pattern = Pattern()
        self._pause = pause_a_mib
        self._pause_at = MIB

    async def take(self, piece: bytes) -> None:
        self._pattern.take(piece)
        if self._pause:
            while self._pattern.size >= self._pause_at:
                self._pause_at += MIB
                await asyncio.sleep(self._pause)

    def check(self) -> None:
        self._pattern.check(self._size)


class WholeBody:
    """The client's side of a response that is small enough to be kept and compared at the end."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._pieces: list[bytes] = []

    async def take(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def check(self) -> None:
        if b"".join(self._pieces) != self._expected:
            raise WrongAnswer("not the expected body")


def downloader(mebibytes: int, copies: bool = False) -> Any:
    """A WSGI app that sends the pattern in 64 KiB pieces, without a Content-Length."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return fresh(repeated(mebibytes)) if copies else repeated(mebibytes)

    return app


DOWNLOAD_HEADERS = [(b"content-type", b"application/octet-stream")]
CHUNK_HEADERS = [(b"content-type", b"text/plain")]


def uploader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A WSGI app that reads the pattern in 64 KiB pieces and says how much it was."""
    pattern = Pattern()
    read = environ["wsgi.input"].read
    while piece := read(PIECE):
        pattern.take(piece)
    return _told(start_response, pattern.told())


def slow_uploader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """As `uploader`, but the app takes a rest of 10 ms after each MiB."""
    pattern = Pattern()
    read = environ["wsgi.input"].read
    while piece := read(PIECE):
        pattern.take(piece)
        if pattern.size % MIB == 0:
            time.sleep(0.01)
    return _told(start_response, pattern.told())


def line_reader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A WSGI app that reads lines, checks where each begins and ends, and says how many there were."""
    readline = environ["wsgi.input"].readline
    count = 0
    while line := readline():
        if len(line) != 101 or line[-3:] != b"ok\n":
            break
        count += 1
    return _told(start_response, str(count))


def _told(start_response: Any, text: str) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


def _told_headers(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]


def chunk_source(count: int) -> tuple[Any, bytes]:
    """A WSGI app that yields `count` chunks of 100 bytes, and what they are together."""
    chunks = small_chunks(count)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter(chunks)

    return app, b"".join(chunks)


def _scope(size: int | None = None) -> dict[str, Any]:
    scope = apps.hello_scope()
    if size is not None:
        scope["method"] = "POST"
        scope["headers"] = [*scope["headers"], (b"content-length", b"%d" % size)]
    return scope


@dataclass
class Transfer:
    """One request about to be made: what the client sends, and what it must be answered."""

    scope: dict[str, Any]
    exchange: BodyExchange
    headers: list[tuple[bytes, bytes]]

    async def make(self, app: Any) -> float:
        """Make it and check the answer; the seconds it took, the checks at its end not included."""
        begun = time.perf_counter()
        call = app(self.scope, self.exchange.receive, self.exchange.send)
        await asyncio.wait_for(call, TRANSFER_TIMEOUT)
        seconds = time.perf_counter() - begun
        self.exchange.check(200, self.headers)
        return seconds


def download(size: int, pause: float = 0.0) -> Transfer:
    """A GET answered with the pattern; `pause`: seconds that the reader rests after each MiB."""
    return Transfer(_scope(), BodyExchange((), PatternBody(size, pause)), DOWNLOAD_HEADERS)


def upload(pieces: Iterable[bytes], size: int, told: str) -> Transfer:
    """A POST of `pieces`, answered with the text `told`."""
    answer = told.encode()
    return Transfer(_scope(size), BodyExchange(pieces, WholeBody(answer)), _told_headers(answer))


@dataclass(frozen=True)
class Scenario:
    """One kind of body."""

    name: str
    title: str
    case: str
    unit: str
    rounds: int
    size: int
    """In `unit`s without the "/s"."""
    smoke_size: int
    sizes: dict[str, int]
    """Smaller sizes for contenders that would take minutes, with a note in the report."""


SCENARIOS = (
    Scenario("chunks", "A stream of 100-byte chunks in process", "100 bytes", "chunks/s", 5, CHUNKS, 200, {}),
    Scenario("down", "200 MiB down in process", "64 KiB pieces", "MiB/s", 9, 200, 1, {}),
    Scenario("up", "200 MiB up in process", "64 KiB pieces", "MiB/s", 9, 200, 1, {"starlette": 16}),
    Scenario(
        "readline",
        "32 MiB up in process, read line by line (101 bytes)",
        "64 KiB pieces",
        "MiB/s",
        9,
        32,
        1,
        {"starlette": 16},
    ),
)


def _app_and_begin(name: str, size: int) -> tuple[Any, Callable[[], Transfer]]:
    """The WSGI app of a scenario, and a function that prepares one transfer of `size`."""
    if name == "chunks":
        app, whole = chunk_source(size)
        return app, lambda: Transfer(_scope(), BodyExchange((), WholeBody(whole)), CHUNK_HEADERS)
    if name == "down":
        return downloader(size), lambda: download(size * MIB)
    if name == "up":
        return uploader, lambda: upload(repeated(size), size * MIB, str(size * MIB))
    told = str(size * LINE_COUNT)
    return line_reader, lambda: upload(_cut_lines(size), size * len(LINES), told)


def _cut_lines(mebibytes: int) -> Iterator[bytes]:
    for _ in range(mebibytes):
        for start in range(0, len(LINES), PIECE):
            yield LINES[start : start + PIECE]


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    return run(_measure(scenario, settings), settings.loop)


async def _measure(scenario: Scenario, settings: Settings) -> Result:
    result = Result(scenario.name, f"{scenario.title} ({settings.loop})", scenario.unit, reference="a2wsgi")
    case = Case(scenario.case)
    result.cases.append(case)
    built = {}
    for contender in adapters.available():
        series = case.series[contender.name] = Series()
        size = scenario.smoke_size if settings.smoke else scenario.sizes.get(contender.name, scenario.size)
        if not settings.smoke and contender.name in scenario.sizes:
            series.note = f"{size} MiB only: its time grows with the square of the size"
        app, begin = _app_and_begin(scenario.name, size)
        built[contender.name] = (contender.build(app, None), begin, size)
    gc.freeze()
    rounds = settings.rounds_or(scenario.rounds)
    said = Progress(scenario.name, rounds)
    try:
        # Round -1 starts threads and fills caches; it does not count.
        for number in range(-1, rounds):
            for name in shuffled(list(built), number):
                app, begin, size = built[name]
                settle()
                slice_ = await _one(app, begin, size)
                if number >= 0:
                    case.series[name].add(slice_)
            said.round_done(number)
    finally:
        gc.unfreeze()
        for app, _, _ in built.values():
            adapters.close(app)
    return result


async def _one(app: Any, begin: Callable[[], Transfer], size: int) -> Slice:
    try:
        return Slice(size / await begin().make(app), answers=1)
    except Exception as exc:
        return Slice(None, failures=1, failure=reason(exc))
