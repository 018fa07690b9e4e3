"""Many requests of every kind through one adapter, and what the process holds before and after.

Used by tests/adapters/test_soak.py (short) and tests/adapters/soak.py (long, a command).
"""

from __future__ import annotations

import contextvars
import gc
import io
import itertools
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync

from bridge import WSGIToASGI
from support.drive import Exchange, checkpoint, disconnect, pause, poll, post, requests, run, together
from support.scopes import http_scope
from support.wsgi_apps import Watched

# So many requests are under way at a time.
AT_A_TIME = 8

_variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")


class SoakError(Exception):
    """What some of the requests raise, on purpose."""


class Figures(NamedTuple):
    """What the process holds at a moment of rest."""

    traced: int
    """Bytes allocated by Python, as tracemalloc counts them; 0 if it does not run."""
    resident: int
    """Bytes of resident memory; 0 where /proc does not tell. Blunt, as threads have arenas of their own."""
    objects: int
    """Objects that the garbage collector knows."""
    garbage: int
    """Objects that the collector could not free."""
    threads: int
    """Threads alive."""
    descriptors: int
    """Open file descriptors; 0 where /proc does not tell."""


async def _coroutine() -> bytes:
    await checkpoint()
    return b"by a coroutine"


def _tail() -> Any:
    yield b"begun"
    raise SoakError


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """Does what the path says."""
    kind = environ["PATH_INFO"]
    _variable.set(environ)  # a Context that outlived its request would hold its environ
    if kind == "/error":
        raise SoakError
    if kind == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]
    if kind == "/lines":
        lines = list(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Watched(lines)
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("X-Kind", kind)])
    if kind == "/write":
        for _ in range(5):
            write(b"w" * 1000)
        return []
    if kind == "/stream":
        return Watched([b"s" * 1000] * 30)
    if kind == "/endless":
        return Watched(itertools.repeat(b"e" * 1000))
    if kind == "/late-error":
        return _tail()
    if kind == "/file":
        return environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 100_000), 8192)
    if kind == "/async":
        return [async_to_sync(_coroutine)()]
    return [b"hello"]


def _upload() -> list[dict[str, Any]]:
    return requests(*[b"u" * 3999 + b"\n"] * 10)


async def _leave(exchange: Exchange) -> None:
    await exchange.until_body(1)
    exchange.feed(disconnect())


async def _cancel(exchange: Exchange) -> None:
    await exchange.until_body(1)
    exchange.cancel()


@dataclass(frozen=True)
class Kind:
    """One kind of request: how it is made, and whether it went as it should."""

    make: Callable[[WSGIToASGI], Exchange]
    right: Callable[[Exchange], bool]
    beside: Any = None


def _ok(exchange: Exchange) -> bool:
    return exchange.status == 200 and exchange.complete and exchange.error is None


def _path(kind: str, **options: Any) -> Callable[[WSGIToASGI], Exchange]:
    return lambda adapter: Exchange(adapter, http_scope(path=kind), **options)


KINDS: list[Kind] = [
    Kind(_path("/hello"), _ok),
    Kind(lambda adapter: Exchange(adapter, http_scope(method="HEAD")), _ok),
    Kind(lambda adapter: Exchange(adapter, post(path="/echo"), requests(b"body")), _ok),
    Kind(lambda adapter: Exchange(adapter, post(path="/echo"), _upload()), _ok),
    Kind(
        lambda adapter: Exchange(adapter, post((b"expect", b"100-continue"), path="/lines"), _upload()), _ok
    ),
    Kind(lambda adapter: Exchange(adapter, post(path="/hello"), _upload()), _ok),
    Kind(_path("/write"), _ok),
    Kind(_path("/stream", turns=1), _ok),
    Kind(_path("/file"), _ok),
    Kind(_path("/async"), _ok),
    Kind(_path("/endless"), lambda exchange: not exchange.complete and exchange.error is None, _leave),
    Kind(_path("/endless"), lambda exchange: exchange.cancelled, _cancel),
    Kind(
        # A new error each: one that is raised again and again collects tracebacks.
        lambda adapter: Exchange(adapter, http_scope(path="/endless"), fail_send={5: OSError("gone")}),
        lambda exchange: exchange.error is None,
    ),
    Kind(_path("/error"), lambda exchange: isinstance(exchange.error, SoakError)),
    Kind(_path("/late-error"), lambda exchange: isinstance(exchange.error, SoakError)),
    Kind(
        lambda adapter: Exchange(adapter, post(path="/echo"), [*_upload()[:3], disconnect()]),
        lambda exchange: exchange.sent == [],
    ),
    Kind(
        lambda adapter: Exchange(adapter, post(path="/echo"), requests(*[b"x" * 60_000] * 4)),
        lambda exchange: exchange.status == 413,
    ),
    Kind(
        lambda adapter: Exchange(adapter, http_scope(headers=[(b"host", b"a"), (b"host", b"b")])),
        lambda exchange: exchange.status == 400,
    ),
]


class Soak:
    """Sends requests of every kind in turn through one adapter on one loop.

    Args:
        loop: `asyncio`, `uvloop` or `trio`.
        trace: have tracemalloc count; it makes everything about three times as slow.
    """

    def __init__(self, loop: str = "asyncio", *, trace: bool = True) -> None:
        self._loop = loop
        self._trace = trace
        self._kinds = itertools.cycle(KINDS)

    def run(
        self, count: int, warm_up: int, *, say: Callable[[str], object] = lambda line: None
    ) -> tuple[Figures, Figures]:
        """Send `warm_up` requests, look, send `count` more, look again; return both looks.

        Args:
            say: is told now and then how far it is.

        Raises:
            AssertionError: a request did not go as its kind should.
        """
        gc.collect()
        if self._trace:
            tracemalloc.start()
        try:
            return run(lambda: self._run(count, warm_up, say), self._loop, timeout=3600)
        finally:
            tracemalloc.stop()

    async def _run(self, count: int, warm_up: int, say: Callable[[str], object]) -> tuple[Figures, Figures]:
        adapter = WSGIToASGI(
            app, threads=4, prebuffer=2000, read_ahead=2000, write_ahead=2000, max_body=100_000
        )
        await self._send(adapter, warm_up)
        before = after = await self._look(adapter)
        say(f"after {warm_up} requests: {before}")
        started = time.perf_counter()
        sent = 0
        while sent < count:
            batch = min(10_000, count - sent)
            await self._send(adapter, batch)
            sent += batch
            after = await self._look(adapter)
            say(f"after {warm_up + sent} requests, {time.perf_counter() - started:.0f} s: {after}")
        return before, after

    async def _send(self, adapter: WSGIToASGI, count: int) -> None:
        left = count

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                kind = next(self._kinds)
                exchange = kind.make(adapter)
                await exchange.go(kind.beside)
                assert kind.right(exchange), exchange

        await together(*[client] * AT_A_TIME)

    async def _look(self, adapter: WSGIToASGI) -> Figures:
        await poll(lambda: adapter.pool.stats().busy == adapter.pool.stats().streaming == 0)
        # Timers that were cancelled stay with an asyncio loop, and their Contexts with them, until
        # they would have been due: one second, for those of a request.
        await pause(1.1)
        for _ in range(3):
            await checkpoint()
            gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        return Figures(
            traced=traced,
            resident=_resident(),
            objects=len(gc.get_objects()),
            garbage=len(gc.garbage),
            threads=threading.active_count(),
            descriptors=_descriptors(),
        )


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


# What may differ between two looks, whatever the number of requests: allocator noise and caches.
# Resident memory moves by some 12 MiB either way once it has found its level; objects hardly differ, so
# that a single one left by each request of a kind shows after a thousand requests.
_MAY_GROW = Figures(
    traced=128 * 1024, resident=24 * 1024 * 1024, objects=40, garbage=0, threads=1, descriptors=1
)


def growth(before: Figures, after: Figures) -> list[str]:
    """What has grown by more than noise, a line each.

    Resident memory counts only if tracemalloc does not run, which needs a good deal of it itself.
    """
    return [
        f"{name} grew from {first} to {second}, which is more than {allowed}"
        for name, first, second, allowed in zip(Figures._fields, before, after, _MAY_GROW, strict=True)
        if second - first > allowed and not (name == "resident" and before.traced)
    ]
