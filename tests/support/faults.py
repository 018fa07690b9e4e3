"""Many threads call one `ASGIToWSGI` with requests of which most go wrong, by a seed; and what that leaves.

Used by tests/adapters/test_asgi_faults.py (short) and tests/adapters/soak_asgi.py (long, a command).

A seed names what each thread does, one request after the other. What the threads do to each other is
up to the system.
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge import ASGIToWSGI
from bridge.exceptions import ApplicationError, ClientDisconnected

# A request that has not ended after this long (seconds) hangs; they take milliseconds.
HANGS = 30.0
BODY = bytes(range(256)) * 40


class Planned(Exception):
    """What apps, servers and inputs raise on purpose."""


class Killed(BaseException):
    """What ends a server's thread in the middle of a request: a time-out, a killed greenlet."""


ALLOWED = (Planned, Killed, ApplicationError, ClientDisconnected, OSError)


async def _all(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left")
        body += message["body"]
        if not message["more_body"]:
            return body


async def _start(send: Any, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})


async def _body(send: Any, body: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def make_app(folder: str) -> Any:
    """An ASGI app that does what its path says."""
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(BODY)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind = scope["path"]
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif kind == "/hello":
            await _start(send, (b"content-length", b"5"))
            await _body(send, b"hello")
        elif kind == "/echo":
            body = await _all(receive)
            await _start(send)
            await _body(send, body)
        elif kind == "/echo-as-it-comes":
            await _start(send)
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                more = message["more_body"]
                await _body(send, message["body"], more)
        elif kind == "/pieces":
            await _start(send)
            for _ in range(60):
                await _body(send, b"p" * 100, True)
            await _body(send, b"")
        elif kind == "/slow-pieces":
            await _start(send)
            for _ in range(5):
                await asyncio.sleep(0.001)
                await _body(send, b"p" * 100, True)
            await _body(send, b"")
        elif kind == "/endless":
            await _start(send)
            try:
                while True:
                    await _body(send, b"e" * 1000, True)
            finally:
                await asyncio.sleep(0)
        elif kind == "/waits":
            await _start(send)
            await _body(send, b"begun", True)
            await _all(receive)
            await receive()
        elif kind == "/error":
            raise Planned
        elif kind == "/late-error":
            await _start(send)
            await _body(send, b"begun", True)
            raise Planned
        elif kind == "/nothing":
            return
        elif kind == "/only-start":
            await _start(send)
        elif kind == "/cancelled":
            raise asyncio.CancelledError
        elif kind == "/exit":
            raise SystemExit(3)
        elif kind == "/short":
            await _start(send, (b"content-length", b"9"))
            await _body(send, b"short")
        elif kind == "/long":
            await _start(send, (b"content-length", b"4"))
            await _body(send, b"too long")
        elif kind == "/bad-message":
            await send({"type": "http.response.nonsense"})
        elif kind == "/bad-header":
            await _start(send, (b"x", b"a\r\nb"))
        elif kind == "/file":
            await _start(send)
            await send({"type": "http.response.pathsend", "path": path})
        elif kind == "/no-file":
            await _start(send)
            await send({"type": "http.response.pathsend", "path": path + "-not"})
        elif kind == "/background":
            await _start(send)
            await _body(send, b"done")
            await asyncio.sleep(0.002)
        elif kind == "/background-error":
            await _start(send)
            await _body(send, b"done")
            raise Planned
        elif kind == "/task":
            tasks.add(asyncio.create_task(asyncio.sleep(0.001)))
            tasks.difference_update([task for task in tasks if task.done()])
            await _start(send)
            await _body(send, b"done")
        else:
            await _start(send, status=404)
            await _body(send, b"")

    tasks: set[asyncio.Task[None]] = set()
    return app


# By path: what a request that meets no other fault gets: the whole body, or how it fails.
WHOLE: dict[str, bytes | None] = {
    "/hello": b"hello",
    "/echo": None,  # the body that was sent
    "/echo-as-it-comes": None,
    "/pieces": b"p" * 6000,
    "/slow-pieces": b"p" * 500,
    "/long": b"too ",
    "/file": BODY,
    "/background": b"done",
    "/background-error": b"done",
    "/task": b"done",
}
FAILS_FIRST = (
    "/error",
    "/nothing",
    "/only-start",
    "/cancelled",
    "/exit",
    "/bad-message",
    "/bad-header",
    "/no-file",
)
FAILS_LATE = ("/late-error", "/short")
NEVER_ENDS = ("/endless", "/waits")


class Input:
    """A `wsgi.input` that gives what there is in pieces, and then ends or breaks."""

    def __init__(self, body: bytes, fault: BaseException | None, pieces: random.Random) -> None:
        self._stream = io.BytesIO(body)
        self._fault = fault
        self._pieces = pieces

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._pieces.choice((1, 100, 5000))))
        if not data and self._fault is not None:
            # A new one each time: one that is raised again and again collects tracebacks.
            raise type(self._fault)(*self._fault.args)
        return data


@dataclass
class Result:
    """What a run has seen."""

    requests: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


class Storm:
    """Threads that send faulty requests.

    Args:
        threads: how many.
        seed: names what they do.
    """

    def __init__(self, threads: int, seed: int, loop_factory: Any = None) -> None:
        self._threads = threads
        self._seed = seed
        self._loop_factory = loop_factory
        self.result = Result()
        self._lock = threading.Lock()

    def run(self, *, seconds: float | None = None, requests: int | None = None) -> Result:
        """Send requests for so long, or so many from each thread; close the adapter; look at what is left."""
        result = self.result
        with tempfile.TemporaryDirectory() as folder:
            # Once beforehand, for what a process opens with its first loop and keeps (uvloop).
            with ASGIToWSGI(make_app(folder), loop_factory=self._loop_factory):
                pass
            before = Figures.look()
            adapter = ASGIToWSGI(
                make_app(folder),
                read_ahead=3000,
                write_ahead=3000,
                max_body=2 * len(BODY),
                disconnect_grace=0.05,
                shutdown_timeout=5.0,
                loop_factory=self._loop_factory,
            )
            started = time.perf_counter()
            until = None if seconds is None else started + seconds
            workers = [
                threading.Thread(target=self._worker, args=(adapter, number, until, requests), daemon=True)
                for number in range(self._threads)
            ]
            for worker in workers:
                worker.start()
            deadline = time.monotonic() + (seconds or 0.0) + HANGS
            for worker in workers:
                worker.join(max(0.0, deadline - time.monotonic()))
            result.seconds = time.perf_counter() - started
            stuck = sum(worker.is_alive() for worker in workers)
            if stuck:
                result.faults.append(f"{stuck} threads hang (seed {self._seed})")
            closing = time.perf_counter()
            adapter.close()
            if time.perf_counter() - closing > HANGS / 2:
                result.faults.append("close() took too long")
            del adapter
        result.faults += _left_behind(before)
        return result

    def _worker(self, adapter: ASGIToWSGI, number: int, until: float | None, requests: int | None) -> None:
        chance = random.Random(f"{self._seed}-{number}")
        count = 0
        kinds: Counter[str] = Counter()
        try:
            while (until is None or time.perf_counter() < until) and (requests is None or count < requests):
                count += 1
                kind = self._request(adapter, chance)
                kinds[kind] += 1
        except BaseException as error:
            with self._lock:
                self.result.faults.append(f"seed {self._seed}, thread {number}, request {count}: {error!r}")
        with self._lock:
            self.result.requests += count
            self.result.kinds += kinds

    def _request(self, adapter: ASGIToWSGI, chance: random.Random) -> str:
        """One request; raises AssertionError if it did not go as it should."""
        path = chance.choice([*WHOLE, *FAILS_FIRST, *FAILS_LATE, *NEVER_ENDS])
        body = BODY[: chance.choice((0, 1, 700, len(BODY)))]
        way = chance.choice(("plain", "plain", "plain", "short", "broken", "killed", "too-large", "chunked"))
        server = chance.choice(("whole", "whole", "whole", "leaves", "drops", "start-fails", "head"))
        if path in NEVER_ENDS and server not in ("leaves", "drops", "start-fails"):
            server = "leaves"
        fault: BaseException | None = {
            "broken": OSError("reset"),
            "killed": Killed(),
        }.get(way)
        length: int | None = len(body)
        sent = body
        if way in ("short", "broken", "killed"):
            length = len(body) + 10
        elif way == "too-large":
            sent, length = body + BODY * 3, len(body) + 3 * len(BODY)
        elif way == "chunked":
            length = None
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "HEAD" if server == "head" else "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": Input(sent, fault, chance),
            "wsgi.input_terminated": True,
        }
        if length is not None:
            environ["CONTENT_LENGTH"] = str(length)
        seen: list[str] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
            seen.append(status)
            if server == "start-fails":
                raise Planned
            return lambda data: None

        got = b""
        error: BaseException | None = None
        body_of = None
        try:
            body_of = adapter(environ, start_response)
            if server != "drops":
                for piece in body_of:
                    got += piece
                    if server == "leaves" and (path in NEVER_ENDS or chance.random() < 0.5):
                        break
        except BaseException as raised:
            error = raised
        if body_of is not None and server != "drops" and hasattr(body_of, "close"):
            body_of.close()
        assert error is None or isinstance(error, ALLOWED), (path, way, server, error)
        if server == "whole" and way in ("plain", "chunked"):
            self._check(path, body, seen, got, error)
        elif path in ("/echo", "/echo-as-it-comes") and way == "short" and body and server == "whole":
            # A truncated upload must not come back as if it were whole.
            assert error is not None or seen == ["400 Bad Request"], (path, way, seen, got[:40])
        if way == "too-large":
            assert seen in ([], ["413 Request Entity Too Large"], ["413 Content Too Large"]), seen
        del error
        return f"{path} {way} {server}"

    def _check(
        self, path: str, body: bytes, seen: list[str], got: bytes, error: BaseException | None
    ) -> None:
        if path in WHOLE:
            wanted = WHOLE[path]
            assert error is None, (path, error)
            assert seen == ["200 OK"], (path, seen)
            assert got == (body if wanted is None else wanted), (path, len(got))
        elif path in FAILS_FIRST:
            assert error is None, (path, error)
            assert seen == ["500 Internal Server Error"], (path, seen)
        else:
            assert error is not None, path
            assert seen == ["200 OK"], (path, seen)


def _left_behind(before: Figures) -> list[str]:
    """What has grown, a line each; threads that are on their way out have time to end."""
    deadline = time.monotonic() + HANGS / 2
    while (growth := Figures.look().growth(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return growth


@dataclass(frozen=True)
class Figures:
    """What the process holds at a moment of rest."""

    threads: int
    descriptors: int
    tasks: int
    files: int

    @classmethod
    def look(cls) -> Figures:
        for _ in range(3):
            gc.collect()
        things = gc.get_objects()
        return cls(
            # But for those that the process keeps for calls of any adapter.
            threads=sum(not thread.name.startswith("bridge-call") for thread in threading.enumerate()),
            descriptors=len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
            tasks=sum(isinstance(thing, asyncio.Task) and not thing.done() for thing in things),
            files=sum(isinstance(thing, io.BufferedReader) and not thing.closed for thing in things),
        )

    def growth(self, before: Figures) -> list[str]:
        """What has grown, a line each."""
        return [
            f"{name} grew from {getattr(before, name)} to {getattr(self, name)}"
            for name in ("threads", "descriptors", "tasks", "files")
            if getattr(self, name) > getattr(before, name)
        ]
