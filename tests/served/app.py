"""The WSGI application that the real servers run in these tests, and its adapters.

Most of it is raw WSGI inside `wsgiref.validate`, so an environ or a call that PEP 3333 forbids is an
error of the request. Each path is one probe; what happens in a probe that cannot be seen in its own
response (a generator closed after its client left) is noted in a ledger under the key that the
client chose, and read through `/probe`.

Three targets: `application` for ordinary probes, `few` with four threads for those on scarcity, and
`impatient`, whose shutdown does not wait long for requests that cannot end.
"""

from __future__ import annotations

import contextvars
import json
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from served.content import PIECE
from support.served import die_with_parent

from bridge import WSGIToASGI
from bridge.types import Environ, Message, Receive, Scope, Send, WSGIApp

# Servers with worker processes start them with this module as payload; they must not outlive a test
# run that was killed.
die_with_parent()

# No wait in the app is longer than this, so that a failed test leaves no thread behind for long.
PATIENCE = 30.0

Body = Iterable[bytes]
Start = Callable[..., Any]


class Ledger:
    """What happened in each probe, as counts and values by key; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        self._gates: dict[str, threading.Event] = {}
        self._barriers: dict[str, threading.Barrier] = {}

    def count(self, key: str, name: str, amount: int = 1) -> None:
        with self._lock:
            entry = self._entries.setdefault(key, {})
            entry[name] = entry.get(name, 0) + amount

    def note(self, key: str, name: str, value: Any) -> None:
        with self._lock:
            self._entries.setdefault(key, {})[name] = value

    def read(self, key: str) -> dict[str, Any]:
        with self._lock:
            return dict(self._entries.get(key, {}))

    def gate(self, key: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(key, threading.Event())

    def barrier(self, key: str, parties: int) -> threading.Barrier:
        with self._lock:
            return self._barriers.setdefault(key, threading.Barrier(parties))


LEDGER = Ledger()


class Stream:
    """A response body that notes how it is used: pieces made, `close()` calls, and by which thread."""

    def __init__(self, key: str, piece: bytes, count: int | None, pause: float) -> None:
        self._key = key
        self._piece = piece
        self._left = count
        self._pause = pause
        self._thread = threading.get_ident()
        LEDGER.count(key, "started")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._left is not None:
            if self._left == 0:
                LEDGER.count(self._key, "exhausted")
                raise StopIteration
            self._left -= 1
        if self._pause:
            time.sleep(self._pause)
        LEDGER.count(self._key, "bytes", len(self._piece))
        return self._piece

    def close(self) -> None:
        LEDGER.count(self._key, "closed")
        if threading.get_ident() != self._thread:
            LEDGER.count(self._key, "closed_elsewhere")


class Query(dict[str, str]):
    """The query string of a request, one value a name."""

    def __init__(self, environ: Environ) -> None:
        super().__init__(parse_qsl(environ["QUERY_STRING"], encoding="latin-1"))

    def number(self, name: str, default: int) -> int:
        return int(self.get(name, default))


def text(start_response: Start, body: str = "", status: str = "200 OK", headers: Body | Any = ()) -> Body:
    """A whole response of one chunk."""
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [body.encode()]


def as_json(start_response: Start, value: Any) -> Body:
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def hello(environ: Environ, start_response: Start) -> Body:
    return text(start_response, "hello")


def show_environ(environ: Environ, start_response: Start) -> Body:
    """Every string and flag of the environ, as it came."""
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    while environ["wsgi.input"].read(65536):
        pass
    return as_json(start_response, shown)


def status_only(environ: Environ, start_response: Start) -> Body:
    """`/status/204`: a status that has no body, from an app that returns no chunk."""
    status = environ["PATH_INFO"].rpartition("/")[2]
    typed = [] if status in ("204", "304") else [("Content-Type", "text/plain")]
    start_response(f"{status} Some Reason", [("ETag", '"v1"'), *typed])
    return []


def cookies(environ: Environ, start_response: Start) -> Body:
    return text(start_response, headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")])


def many_headers(environ: Environ, start_response: Start) -> Body:
    """Two headers of one name, one in latin-1, and one of `size` bytes."""
    size = Query(environ).number("size", 4000)
    repeated = [("X-Many", "1"), ("X-Many", "2")]
    return text(start_response, headers=[*repeated, ("X-Latin", "caf\xe9"), ("X-Large", "v" * size)])


def written(environ: Environ, start_response: Start) -> Body:
    """Uses the `write()` callable, then an iterable."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    write(b"and ")
    return [b"returned"]


def upload(environ: Environ, start_response: Start) -> Body:
    """Reads the body in pieces, once its gate is open if it is `gated`; answers its size and checksum.

    Notes its end or its error.
    """
    query = Query(environ)
    key = query.get("key", "upload")
    LEDGER.count(key, "started")
    if "gated" in query:
        LEDGER.gate(key).wait(PATIENCE)
    size = checksum = 0
    stream = environ["wsgi.input"]
    try:
        while piece := stream.read(65536):
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
            LEDGER.note(key, "received", size)
    except OSError as error:
        LEDGER.note(key, "received", size)
        LEDGER.count(key, f"failed:{type(error).__name__}")
        raise
    LEDGER.count(key, "complete")
    return as_json(start_response, {"size": size, "crc": checksum})


def unread(environ: Environ, start_response: Start) -> Body:
    """Refuses a request without looking at its body."""
    return text(start_response, "no", "401 Unauthorized")


def stream(environ: Environ, start_response: Start) -> Body:
    """Pieces of 64 KiB (`size`), `count` of them or for ever, `pause` milliseconds apart."""
    query = Query(environ)
    piece = PIECE[: query.number("size", len(PIECE))]
    count = query.number("count", 0) or None
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in query and count:
        headers.append(("Content-Length", str(count * len(piece))))
    start_response("200 OK", headers)
    return Stream(query["key"], piece, count, query.number("pause", 0) / 1000)


def events(environ: Environ, start_response: Start) -> Iterator[bytes]:
    """Server-sent events: the first at once, the last when the gate `key` is opened."""
    gate = LEDGER.gate(Query(environ)["key"])
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    yield b"data: first\n\n"
    yield b"data: last\n\n" if gate.wait(PATIENCE) else b"data: never released\n\n"


def release(environ: Environ, start_response: Start) -> Body:
    LEDGER.gate(Query(environ)["key"]).set()
    return text(start_response)


def probe(environ: Environ, start_response: Start) -> Body:
    return as_json(start_response, LEDGER.read(Query(environ)["key"]))


def pools(environ: Environ, start_response: Start) -> Body:
    """What the pools are doing, this request included."""
    return as_json(
        start_response,
        {name: adapter.pool.stats()._asdict() for name, adapter in ADAPTERS.items()}
        | {"alive": threading.active_count()},
    )


def together(environ: Environ, start_response: Start) -> Body:
    """Answers once `parties` requests are in here at the same time."""
    query = Query(environ)
    LEDGER.barrier(query["key"], query.number("parties", 0)).wait(PATIENCE)
    return text(start_response, "together")


def call_home(environ: Environ, start_response: Start) -> Body:
    """Tells a listener on `port` that it runs, and answers when that says so."""
    with socket.create_connection(("127.0.0.1", Query(environ).number("port", 0)), PATIENCE) as home:
        home.sendall(b"running")
        answer = home.recv(1)
    return text(start_response, "released" if answer else "abandoned")


VISITED: contextvars.ContextVar[str] = contextvars.ContextVar("VISITED", default="nobody")


def context(environ: Environ, start_response: Start) -> Iterator[bytes]:
    """Answers who has set a context variable before, and sets it; bodies only make the way longer."""
    query = Query(environ)
    before = VISITED.get()
    VISITED.set(query["name"])
    while environ["wsgi.input"].read(65536):
        pass
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Before", before)])
    yield b"x"
    for _ in range(query.number("pieces", 0)):
        yield PIECE
    if VISITED.get() != query["name"]:
        raise AssertionError("the iterable runs in another context than the call")


def surplus(environ: Environ, start_response: Start) -> Body:
    """More bytes than announced, in two pieces."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"01234", b"56789HTTP/1.1 200 OK\r\n"]


class Deliberate(Exception):
    """Raised on purpose by the app."""


def fail(environ: Environ, start_response: Start) -> Body:
    """`/fail/…`: raises at the point that the path names."""
    moment = environ["PATH_INFO"].rpartition("/")[2]
    key = Query(environ).get("key", "fail")
    if moment == "before":
        raise Deliberate(moment)
    headers = [("Content-Type", "text/plain")]
    if moment == "replaced":
        # What frameworks do whose view fails after start_response: the error page takes its place.
        start_response("200 OK", [*headers, ("X-First", "yes")])
        try:
            raise Deliberate(moment)
        except Deliberate:
            start_response("500 Oh No", headers, sys.exc_info())
        return [b"the error page"]
    if moment in ("after-length", "short"):
        headers.append(("Content-Length", "100000"))
    start_response("200 OK", headers)
    if moment == "started":
        raise Deliberate(moment)
    return Failing(key, PIECE[:1000] if moment != "first-chunk" else None, short=moment == "short")


class Failing:
    """A body that gives one piece or none, then raises; or ends short of its length."""

    def __init__(self, key: str, piece: bytes | None, short: bool) -> None:
        self._key = key
        self._pieces = [piece] if piece else []
        self._short = short

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        if self._short:
            raise StopIteration
        # The client must have seen the response begin, or the server could still make a 500 of it.
        LEDGER.gate(self._key).wait(PATIENCE)
        raise Deliberate("while iterating")

    def close(self) -> None:
        LEDGER.count(self._key, "closed")


PROBES: dict[str, WSGIApp] = {
    "hello": hello,
    "env": show_environ,
    "status": status_only,
    "cookies": cookies,
    "headers": many_headers,
    "written": written,
    "upload": upload,
    "unread": unread,
    "stream": stream,
    "events": events,
    "release": release,
    "probe": probe,
    "pools": pools,
    "together": together,
    "call-home": call_home,
    "context": context,
    "fail": fail,
    "surplus": surplus,
}


def raw(environ: Environ, start_response: Start) -> Body:
    """The probe that the first segment of the path names."""
    chosen = PROBES.get(environ["PATH_INFO"].split("/")[1])
    if chosen is None:
        return text(start_response, "no such probe", "404 Not Found")
    return chosen(environ, start_response)


def flask(environ: Environ, start_response: Start) -> Body:
    """The same for Flask, which is loaded when it is asked for: most of these servers never are."""
    from served.flask_site import flask_app

    return flask_app(environ, start_response)


# Flask stays outside the validator: Werkzeug calls `read()`, and the validator insists on a size, though
# PEP 3333 lets the app leave it out ("Input and Error Streams"). `/bare` is for what depends on the type
# of the iterable, which the validator hides.
MOUNTED: dict[str, WSGIApp] = {"/flask": flask, "/bare": raw}
validated: WSGIApp = validator(raw)


def everything(environ: Environ, start_response: Start) -> Body:
    """A mounted app, or the probes inside the validator."""
    path = environ["PATH_INFO"]
    for prefix, mounted in MOUNTED.items():
        if path.startswith(prefix + "/"):
            environ["SCRIPT_NAME"] += prefix
            environ["PATH_INFO"] = path[len(prefix) :]
            return mounted(environ, start_response)
    return validated(environ, start_response)


def on_startup() -> None:
    LEDGER.count("lifespan", "startup")


def on_shutdown() -> None:
    print("the shutdown hook ran", flush=True)


# More threads than the fifty requests that wait for each other.
application = WSGIToASGI(everything, threads=64, on_startup=[on_startup], on_shutdown=[on_shutdown])
impatient = WSGIToASGI(everything, threads=64, shutdown_timeout=1.0)
four_threads = WSGIToASGI(everything, threads=4)
one_thread = WSGIToASGI(everything, threads=1)

ADAPTERS = {"application": application, "few": four_threads, "one": one_thread}


class SendFails(Exception):
    """Raised by the middleware below instead of sending."""


async def few(scope: Scope, receive: Receive, send: Send) -> None:
    """Four threads; under `/send-fails/N/`, one thread and a middleware whose N-th `send` raises."""
    if scope["type"] != "http" or not scope["path"].startswith("/send-fails/"):
        await four_threads(scope, receive, send)
        return
    _, _, nth, rest = scope["path"].split("/", 3)
    left = int(nth)

    async def failing_send(message: Message) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise SendFails(scope["path"])
        await send(message)

    inner = {**scope, "path": "/" + rest, "raw_path": None}
    await one_thread(inner, receive, failing_send)
