"""Long bodies inside one process: many small chunks, and many large ones both ways.

A slice is one whole response or upload, made by one calling thread. Memory is measured elsewhere, see
memory.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import HeaderPairs, WrongAnswer
from benchmarks.asgi_under_wsgi import adapters
from benchmarks.asgi_under_wsgi.exchange import Body, get_environ, post_environ, transfer
from benchmarks.bodies import CHUNKS, MIB, PIECE, Pattern, fresh, repeated, small_chunks
from benchmarks.clients import in_thread, reason, settle
from benchmarks.contenders import on_loop
from benchmarks.measure import Case, Progress, Result, Series, Settings, Slice, shuffled

TRANSFER_TIMEOUT = 60.0

DOWNLOAD_HEADERS = [(b"content-type", b"application/octet-stream")]
CHUNK_HEADERS = [(b"content-type", b"text/plain")]


class PatternBody:
    """The client's side of a download: takes the pattern, as fast as it comes or at a reader's pace."""

    def __init__(self, size: int, pause_a_mib: float = 0.0) -> None:
        self._size = size
        self._pattern = Pattern()
        self._pause = pause_a_mib
        self._pause_at = MIB

    def take(self, piece: bytes) -> None:
        self._pattern.take(piece)
        if self._pause:
            while self._pattern.size >= self._pause_at:
                self._pause_at += MIB
                time.sleep(self._pause)

    def check(self) -> None:
        self._pattern.check(self._size)


class WholeBody:
    """The client's side of a response that is small enough to be kept and compared at the end."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._pieces: list[bytes] = []
        self.take = self._pieces.append

    def check(self) -> None:
        if b"".join(self._pieces) != self._expected:
            raise WrongAnswer("not the expected body")


class Input:
    """`wsgi.input` over an iterator of pieces: what a server would read from its socket.

    Args:
        pieces: the request body, of `PIECE` bytes each.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end, as PEP 3333 has it."""
        if size == PIECE and not self._left:
            return next(self._pieces, b"")
        if size is None or size < 0:
            size = 1 << 62
        parts = [self._left]
        held = len(self._left)
        while held < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            held += len(piece)
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]

    def readline(self, size: int | None = -1) -> bytes:
        raise WrongAnswer("the body read by lines")

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        raise WrongAnswer("the body read by lines")

    def __iter__(self) -> Input:
        return self

    def __next__(self) -> bytes:
        raise WrongAnswer("the body read by lines")


def _require_http(scope: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])


def downloader(mebibytes: int, copies: bool = False) -> Any:
    """An ASGI app that sends the pattern in 64 KiB pieces, without a Content-Length."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        _require_http(scope)
        await send({"type": "http.response.start", "status": 200, "headers": DOWNLOAD_HEADERS})
        for piece in fresh(repeated(mebibytes)) if copies else repeated(mebibytes):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    return app


def uploader(pause_a_mib: float = 0.0) -> Any:
    """An ASGI app that receives the pattern and says how much it was; it may rest after each MiB."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        _require_http(scope)
        pattern = Pattern()
        rest_at = MIB
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            pattern.take(message.get("body", b""))
            more = message.get("more_body", False)
            while pause_a_mib and pattern.size >= rest_at:
                rest_at += MIB
                await asyncio.sleep(pause_a_mib)
        body = pattern.told().encode()
        await send({"type": "http.response.start", "status": 200, "headers": told_headers(body)})
        await send({"type": "http.response.body", "body": body})

    return app


def chunk_source(count: int) -> tuple[Any, bytes]:
    """An ASGI app that sends `count` chunks of 100 bytes, and what they are together."""
    chunks = small_chunks(count)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        _require_http(scope)
        await send({"type": "http.response.start", "status": 200, "headers": CHUNK_HEADERS})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    return app, b"".join(chunks)


def told_headers(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]


@dataclass
class Transfer:
    """One request about to be made: what the client sends, and what it must be answered."""

    environ: dict[str, Any]
    body: Body
    headers: HeaderPairs

    def make(self, app: Any) -> float:
        """Make it and check the answer; the seconds it took."""
        begun = time.perf_counter()
        transfer(app, self.environ, self.body, self.headers)
        return time.perf_counter() - begun


def download(size: int, pause: float = 0.0) -> Transfer:
    """A GET answered with the pattern; `pause`: seconds that the reader rests after each MiB."""
    return Transfer(get_environ(), PatternBody(size, pause), DOWNLOAD_HEADERS)


def upload(pieces: Iterable[bytes], size: int) -> Transfer:
    """A POST of `pieces`, answered with their size."""
    answer = str(size).encode()
    return Transfer(post_environ(Input(pieces), size), WholeBody(answer), told_headers(answer))


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
    prepare: Callable[[int], tuple[Any, Callable[[], Transfer]]]
    """Given a size: the ASGI app, and a function that prepares one transfer."""


def _chunks(size: int) -> tuple[Any, Callable[[], Transfer]]:
    app, whole = chunk_source(size)
    return app, lambda: Transfer(get_environ(), WholeBody(whole), CHUNK_HEADERS)


def _down(size: int) -> tuple[Any, Callable[[], Transfer]]:
    return downloader(size), lambda: download(size * MIB)


def _up(size: int) -> tuple[Any, Callable[[], Transfer]]:
    return uploader(), lambda: upload(repeated(size), size * MIB)


SCENARIOS = (
    Scenario(
        "asgi-chunks",
        "A stream of 100-byte chunks from an ASGI app in process",
        "100 bytes",
        "chunks/s",
        5,
        CHUNKS,
        200,
        _chunks,
    ),
    Scenario(
        "asgi-down",
        "200 MiB down from an ASGI app in process",
        "64 KiB pieces",
        "MiB/s",
        9,
        200,
        1,
        _down,
    ),
    Scenario("asgi-up", "200 MiB up to an ASGI app in process", "64 KiB pieces", "MiB/s", 9, 200, 1, _up),
)


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    result = Result(scenario.name, scenario.title, scenario.unit, reference="a2wsgi")
    case = Case(scenario.case)
    result.cases.append(case)
    size = scenario.smoke_size if settings.smoke else scenario.size
    app, begin = scenario.prepare(size)
    served = {}
    with contextlib.ExitStack() as stack:
        for loop in settings.loops:
            for contender in adapters.available():
                name = on_loop(contender.name, adapters.mark(loop))
                served[name] = contender.build(app, loop)
                stack.callback(served[name].close)
                case.series[name] = Series()
        result.labels = adapters.labels(list(served))
        rounds = settings.rounds_or(scenario.rounds)
        said = Progress(scenario.name, rounds)
        gc.freeze()
        stack.callback(gc.unfreeze)
        # Round -1 starts threads and fills caches; it does not count.
        for number in range(-1, rounds):
            for name in shuffled(list(served), number):
                settle()
                slice_ = _one(served[name].app, begin, size)
                if number >= 0:
                    case.series[name].add(slice_)
            said.round_done(number)
    return result


def _one(app: Any, begin: Callable[[], Transfer], size: int) -> Slice:
    try:
        seconds = in_thread(lambda: begin().make(app), TRANSFER_TIMEOUT)
    except Exception as exc:
        return Slice(None, failures=1, failure=reason(exc))
    return Slice(size / seconds, answers=1)
