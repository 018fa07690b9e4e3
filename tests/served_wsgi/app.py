"""The ASGI application that the real WSGI servers run in these tests, and its adapters.

It is a plain ASGI callable; each path is one probe. What happens in a probe that cannot be seen in
its own response (a stream whose client left) is noted in a ledger under the key that the client
chose. Tests read the ledger, and open the gates that probes wait at, over a socket that the app
itself opens on its event loop: some of the servers handle one request at a time, so that a second
request could not reach the app while a first one waits.

What has to be known of a process that has ended goes to a file: see `record`.

Three targets: `application` for ordinary probes, `impatient`, whose shutdown does not wait long, and
`observed`, with middleware that looks at what the adapter does as a WSGI application.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from served.content import PIECE
from support.served import HOST, die_with_parent

from bridge import ASGIToWSGI
from bridge.types import Environ, Message, Receive, Scope, Send, StartResponse

# Servers with worker processes start them with this module as payload; they must not outlive a test
# run that was killed.
die_with_parent()

DIRECTORY = Path(os.environ["PROBE_DIRECTORY"])
"""Where processes say where they listen, and what happened in them."""

# No wait in the app is longer than this, so that a failed test leaves nothing behind for long.
PATIENCE = 30.0
# Between two looks at a gate from a thread (seconds).
PAUSE = 0.05


def record(event: str) -> None:
    """Append a line to the file of all processes."""
    with (DIRECTORY / "record").open("a") as file:
        file.write(f"{os.getpid()} {event}\n")


class Deliberate(Exception):
    """Raised on purpose by the app."""


class Ledger:
    """What happened in each probe, as counts and values by key; for the event loop's thread only."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        self._gates: dict[str, asyncio.Event] = {}

    def count(self, key: str, name: str, amount: int = 1) -> None:
        entry = self._entries.setdefault(key, {})
        entry[name] = entry.get(name, 0) + amount

    def note(self, key: str, name: str, value: Any) -> None:
        self._entries.setdefault(key, {})[name] = value

    def read(self, key: str) -> dict[str, Any]:
        return self._entries.get(key, {})

    def gate(self, key: str) -> asyncio.Event:
        return self._gates.setdefault(key, asyncio.Event())

    async def wait(self, key: str) -> None:
        """Wait at a gate until a test opens it."""
        await asyncio.wait_for(self.gate(key).wait(), PATIENCE)


LEDGER = Ledger()


class Control:
    """Where the tests read the ledger and open gates, in each process: a port named by a file."""

    def __init__(self) -> None:
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        listener = socket.create_server((HOST, 0))
        self._server = await asyncio.start_server(self._answer, sock=listener)
        draft = DIRECTORY / f"draft-{os.getpid()}"
        draft.write_text(str(listener.getsockname()[1]))
        draft.rename(DIRECTORY / f"process-{os.getpid()}")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            command, key = json.loads(await reader.readline())
            if command == "release":
                LEDGER.gate(key).set()
            writer.write(json.dumps(LEDGER.read(key)).encode())
            await writer.drain()
        finally:
            writer.close()

    def close(self) -> None:
        (DIRECTORY / f"process-{os.getpid()}").unlink()
        if self._server is not None:
            self._server.close()


CONTROL = Control()


class Request:
    """One request, and short ways to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        query = scope["query_string"].decode("latin-1")
        self.query: dict[str, str] = dict(parse_qsl(query, encoding="latin-1"))
        self.key = self.query.get("key", "")

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))

    @property
    def last(self) -> str:
        """The last segment of the path."""
        return str(self.scope["path"]).rpartition("/")[2]

    async def start(self, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, data: bytes = b"", more: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(
        self, data: bytes = b"", status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """A whole response of announced length."""
        length = (b"content-length", b"%d" % len(data))
        await self.start(status, [(b"content-type", b"text/plain; charset=utf-8"), length, *headers])
        await self.body(data)

    async def answer_json(self, value: Any) -> None:
        await self.answer(json.dumps(value).encode())

    async def read(self, on_piece: Callable[[bytes], object]) -> str:
        """Receive the request body, piece by piece; the type of the event that ended it."""
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                return str(message["type"])
            on_piece(message["body"])
            if not message["more_body"]:
                return "http.request"


Probe = Callable[[Request], Awaitable[None]]


async def hello(request: Request) -> None:
    await request.answer(b"hello")


async def show_scope(request: Request) -> None:
    """The scope as it came, bytes as latin-1, and the request body."""
    body = bytearray()
    await request.read(body.extend)
    scope = request.scope
    shown: dict[str, Any] = {
        name: value for name, value in scope.items() if isinstance(value, (str, dict, list, tuple))
    }
    shown["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    for name in ("raw_path", "query_string"):
        shown[name] = scope[name].decode("latin-1")
    shown["extensions"] = sorted(scope["extensions"])
    shown["state"] = sorted(scope["state"])
    del shown["wsgi_environ"]
    shown["body"] = body.decode("latin-1")
    await request.answer_json(shown)


async def status_only(request: Request) -> None:
    """`/status/204`: a status, and a body that must not go out if the status has none."""
    data = b"some content"
    await request.start(int(request.last), [(b"etag", b'"v1"'), (b"content-length", b"%d" % len(data))])
    await request.body(data)


async def cookies(request: Request) -> None:
    await request.answer(headers=[(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; Path=/")])


async def many_headers(request: Request) -> None:
    """Two headers of one name, one in latin-1, and one of `size` bytes."""
    large = b"v" * request.number("size", 4000)
    repeated = [(b"x-many", b"1"), (b"x-many", b"2")]
    await request.answer(headers=[*repeated, (b"x-latin", b"caf\xe9"), (b"x-large", large)])


async def upload(request: Request) -> None:
    """Reads the body, once its gate is open if it is `gated`; answers its size and checksum.

    Notes its end, or what came instead.
    """
    key = request.key
    size = checksum = 0

    def add(piece: bytes) -> None:
        nonlocal size, checksum
        size += len(piece)
        checksum = zlib.crc32(piece, checksum)
        LEDGER.note(key, "received", size)

    LEDGER.count(key, "started")
    if "gated" in request.query:
        await LEDGER.wait(key)
    LEDGER.note(key, "end", await request.read(add))
    if LEDGER.read(key)["end"] == "http.disconnect":
        LEDGER.note(key, "again", (await request.receive())["type"])
        return
    await request.answer_json({"size": size, "crc": checksum})


async def unread(request: Request) -> None:
    """Refuses a request without looking at its body."""
    await request.answer(b"no", 401)


async def stream(request: Request) -> None:
    """Pieces of 64 KiB (`size`), `count` of them or for ever, `pause` milliseconds apart.

    With `quiet`, the app waits at its gate after the first piece.
    """
    key = request.key
    piece = PIECE[: request.number("size", len(PIECE))]
    left = request.number("count", 0) or None
    pause = request.number("pause", 0) / 1000
    headers = [(b"content-type", b"application/octet-stream")]
    if "length" in request.query and left:
        headers.append((b"content-length", b"%d" % (left * len(piece))))
    LEDGER.count(key, "started")
    try:
        await request.start(200, headers)
        while left is None or left > 0:
            await request.body(piece, more=True)
            LEDGER.count(key, "bytes", len(piece))
            if left is not None:
                left -= 1
            if "quiet" in request.query:
                await LEDGER.wait(key)
            await asyncio.sleep(pause)
        await request.body()
        LEDGER.count(key, "exhausted")
    except OSError:
        LEDGER.count(key, "refused")
        raise
    finally:
        LEDGER.count(key, "closed")


async def watch(request: Request) -> None:
    """Events go out while `receive` waits for the end of the client, as frameworks do it."""
    key = request.key
    pause = request.number("pause", 10) / 1000
    await request.read(lambda _: None)

    async def tick() -> None:
        await request.start(200, [(b"content-type", b"text/event-stream")])
        while True:
            await request.body(b"data: tick\n\n", more=True)
            LEDGER.count(key, "ticks")
            await asyncio.sleep(pause)

    ticking = asyncio.ensure_future(tick())
    try:
        LEDGER.note(key, "told", (await request.receive())["type"])
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        LEDGER.count(key, "closed")


async def events(request: Request) -> None:
    """Server-sent events: the first at once, the last when the gate is opened."""
    await request.start(200, [(b"content-type", b"text/event-stream")])
    await request.body(b"data: first\n\n", more=True)
    await LEDGER.wait(request.key)
    await request.body(b"data: last\n\n", more=True)
    await request.body()


async def hold(request: Request) -> None:
    """Says that it runs, and answers when its gate is opened."""
    LEDGER.count(request.key, "started")
    record(f"holds {request.key}")
    await LEDGER.wait(request.key)
    await request.answer(b"released")


async def background(request: Request) -> None:
    """Answers at once and works on until its gate is opened, as background tasks of frameworks do."""
    await request.answer(b"answered")
    key = request.key
    LEDGER.count(key, "working")
    try:
        await LEDGER.wait(key)
        LEDGER.count(key, "done")
        record(f"background ends {key}")
    except asyncio.CancelledError:
        record(f"background is cancelled {key}")
        raise


TASKS: set[asyncio.Task[None]] = set()


async def spawn(request: Request) -> None:
    """Leaves a task behind, and ends."""
    key = request.key

    async def work() -> None:
        LEDGER.count(key, "working")
        await LEDGER.wait(key)
        LEDGER.count(key, "done")

    task = asyncio.create_task(work())
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)
    await request.answer(b"spawned")
    LEDGER.count(key, "returned")


async def where(request: Request) -> None:
    """Which loop, thread and process serve this request, and what the lifespan has left; after `pause` ms."""
    await asyncio.sleep(request.number("pause", 0) / 1000)
    await request.answer_json(
        {
            "loop": id(asyncio.get_running_loop()),
            "lifespan_loop": request.scope["state"]["loop"],
            "thread": threading.get_ident(),
            "pid": os.getpid(),
        }
    )


async def together(request: Request) -> None:
    """Answers once `parties` requests are in here at the same time."""
    LEDGER.count(request.key, "present")
    if LEDGER.read(request.key)["present"] == request.number("parties", 0):
        LEDGER.gate(request.key).set()
    await LEDGER.wait(request.key)
    await request.answer(b"together")


async def slow(request: Request) -> None:
    """Waits at its gate: on the loop, or asleep in a thread as `def` endpoints of frameworks are."""
    key = request.key
    loop = asyncio.get_running_loop()
    gate = LEDGER.gate(key)

    def sleep_before_it() -> None:
        loop.call_soon_threadsafe(LEDGER.count, key, "asleep")
        until = time.monotonic() + PATIENCE
        while not gate.is_set() and time.monotonic() < until:
            time.sleep(PAUSE)

    if request.last == "thread":
        await loop.run_in_executor(request.scope["state"]["pool"], sleep_before_it)
    else:
        LEDGER.count(key, "asleep")
        await LEDGER.wait(key)
    await request.answer(b"slow")


async def file(request: Request) -> None:
    """A file response by path."""
    path = Path(request.query["path"])
    length = (b"content-length", b"%d" % path.stat().st_size)
    await request.start(200, [(b"content-type", b"application/octet-stream"), length])
    await request.send({"type": "http.response.pathsend", "path": str(path)})


async def surplus(request: Request) -> None:
    """More bytes than announced, in two pieces."""
    await request.start(200, [(b"content-type", b"text/plain"), (b"content-length", b"10")])
    await request.body(b"01234", more=True)
    await request.body(b"56789HTTP/1.1 200 OK\r\n")


async def fail(request: Request) -> None:
    """`/fail/...`: fails at the point that the path names."""
    moment = request.last
    if moment == "before":
        raise Deliberate(moment)
    if moment == "silent":
        return
    length = [(b"content-length", b"100000")] if moment in ("after-length", "short") else []
    await request.start(200, [(b"content-type", b"text/plain"), *length])
    if moment == "started":
        raise Deliberate(moment)
    if moment == "started-silent":
        return
    await request.body(PIECE[:1000], more=True)
    # The client must have seen the response begin, or the server could still make a 500 of it.
    await LEDGER.wait(request.key)
    LEDGER.count(request.key, "failing")
    if moment == "short":
        await request.body()
    elif moment != "unfinished":
        raise Deliberate(moment)


PROBES: dict[str, Probe] = {
    "hello": hello,
    "scope": show_scope,
    "status": status_only,
    "cookies": cookies,
    "headers": many_headers,
    "upload": upload,
    "unread": unread,
    "stream": stream,
    "watch": watch,
    "events": events,
    "hold": hold,
    "background": background,
    "spawn": spawn,
    "where": where,
    "together": together,
    "slow": slow,
    "file": file,
    "surplus": surplus,
    "fail": fail,
}


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Opens the tests' way in; records its startup and shutdown."""
    message: Message = await receive()
    assert message["type"] == "lifespan.startup", message
    LEDGER.count("lifespan", "startup")
    # Requests have to wait for this.
    await asyncio.sleep(0.05)
    scope["state"]["loop"] = id(asyncio.get_running_loop())
    # The loop's own has fewer threads than the tests have requests at a time. It is not made at import:
    # with a preloaded app that is before gevent has patched what it is made of.
    scope["state"]["pool"] = pool = ThreadPoolExecutor(64)
    await CONTROL.open()
    record("startup")
    await send({"type": "lifespan.startup.complete"})
    message = await receive()
    assert message["type"] == "lifespan.shutdown", message
    # Shutdowns of frameworks may need a thread; there has to be one.
    await asyncio.get_running_loop().run_in_executor(pool, record, "shutdown")
    pool.shutdown()
    CONTROL.close()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The probe that the first segment of the path names."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    if "loop" not in scope["state"]:
        raise AssertionError("a request came before the startup was complete")
    LEDGER.count("requests", "all")
    if LEDGER.read("requests")["all"] == 1:
        record("first request")
    request = Request(scope, receive, send)
    segment = scope["path"][len(scope["root_path"]) :].split("/")[1]
    await PROBES[segment](request)


application = ASGIToWSGI(app)
impatient = ASGIToWSGI(app, shutdown_timeout=1.5)  # enough for a busy machine

validated: Any = validator(cast(Any, impatient))


def observed(environ: Environ, start_response: StartResponse) -> Any:
    """The adapter inside `wsgiref.validate`; under `/bare`, without it, but with a look at what it returns.

    The validator would hide the type of what comes back, by which servers recognise a file response.
    """
    script, path = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    if not path.startswith("/bare/"):
        # Werkzeug has an int there, which the validator would take for the application's fault.
        port = {"REMOTE_PORT": str(environ["REMOTE_PORT"])} if "REMOTE_PORT" in environ else {}
        return validated({**environ, **port}, start_response)
    environ = {**environ, "SCRIPT_NAME": script + "/bare", "PATH_INFO": path[len("/bare") :]}
    result = impatient(environ, start_response)
    wrapper = environ.get("wsgi.file_wrapper")
    # A class, as in Gunicorn, or a function, as in uWSGI; then the response is of no type of ours.
    foreign = not type(result).__module__.startswith("bridge.")
    kind = isinstance(result, wrapper) if isinstance(wrapper, type) else foreign
    record(f"response {type(result).__name__} by the server's file wrapper: {wrapper is not None and kind}")
    return result
