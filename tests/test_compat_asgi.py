"""bridge.compat.ASGIMiddleware: a2wsgi's signature, and what each of its options comes to."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import a2wsgi
import pytest
from support.drive import TIMEOUT, Signal
from support.wsgi_drive import ClosingInput, Exchange, drive, make_environ

from bridge import ASGIToWSGI
from bridge.compat import ASGIMiddleware
from bridge.exceptions import UsageError

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]}
END: dict[str, Any] = {"type": "http.response.body", "body": b"hello"}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send(START)
    await send(END)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread, as an application has that brings its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        loop.close()


def test_the_signature_is_that_of_the_original() -> None:
    def shape(cls: Any) -> list[tuple[str, Any, Any]]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(cls).parameters.values()]

    theirs: Any = a2wsgi.ASGIMiddleware
    assert shape(ASGIMiddleware) == shape(theirs)


def test_it_is_the_adapter() -> None:
    adapter = ASGIMiddleware(hello)
    assert isinstance(adapter, ASGIToWSGI)
    assert (adapter.app, adapter.wait_time) == (hello, None)
    with adapter:
        answer = drive(adapter).unwrap()
    assert (answer.status, answer.headers, answer.body) == (200, [("x-a", "b")], b"hello")


def test_the_answer_is_that_of_the_original() -> None:
    """Of an app that keeps the rules, and a server that takes what a2wsgi gives."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        for piece in (scope["path"].encode(), b"?", scope["query_string"], b"\n", body):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with running_loop() as loop, ASGIMiddleware(echo) as ours:
        theirs: Any = a2wsgi.ASGIMiddleware(echo, loop=loop)
        request: dict[str, Any] = {"method": "POST", "path": "/caf%C3%A9?x=%201", "body": b"x" * 100_000}
        answers = [drive(app, strict=False, **request).unwrap() for app in (ours, theirs)]
    assert answers[0].body == answers[1].body == "/café?x=%201\n".encode() + b"x" * 100_000
    assert answers[0].headers == answers[1].headers
    assert answers[0].status == answers[1].status == 201


# -- loop


@pytest.mark.req("A-01")
def test_the_app_runs_on_the_given_loop_which_stays_its_owners() -> None:
    loops = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loops.append(asyncio.get_running_loop())
        await hello(scope, receive, send)

    with running_loop() as loop:
        adapter = ASGIMiddleware(app, loop=loop)
        assert drive(adapter).unwrap().body == b"hello"
        adapter.close()
        assert loop.is_running()
        # Another adapter may have the same one.
        with ASGIMiddleware(app, None, loop) as other:
            assert drive(other).unwrap().body == b"hello"
        assert loop.is_running()
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "still here"), loop).result(TIMEOUT)
    assert set(loops) == {loop}


def test_a_loop_that_is_none_is_refused() -> None:
    loop: Any = object()
    with pytest.raises(UsageError, match="loop"):
        ASGIMiddleware(hello, loop=loop)


@pytest.mark.req("A-02")
def test_no_thread_is_started_by_making_one() -> None:
    """a2wsgi starts one, which a server that forks afterwards loses, and which nobody ends."""
    before = set(threading.enumerate())
    adapters = [ASGIMiddleware(hello) for _ in range(20)]
    # Those of other tests may end meanwhile.
    assert set(threading.enumerate()) <= before
    del adapters


# -- wait_time


class Worker:
    """An app that works on after its response until it is let go, and a little longer."""

    def __init__(self) -> None:
        self.go = Signal()
        self.done = Signal()
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        try:
            await self.go.come()
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.done.set()


@pytest.mark.req("A-30")
def test_without_a_wait_time_the_end_waits_for_the_app() -> None:
    """The client has its whole response by then."""
    worker = Worker()
    with ASGIMiddleware(worker) as adapter, Exchange(adapter) as exchange:
        exchange.call()
        assert exchange.next() == b"hello"
        assert not worker.done.is_set
        worker.go.set()
        assert exchange.next() is None
        exchange.close()
        worker.done.wait(0)
    assert not worker.cancelled


@pytest.mark.req("A-30")
@pytest.mark.parametrize("wait_time", [0, 0.05])
def test_work_goes_on_after_the_wait_time(wait_time: float) -> None:
    """a2wsgi cancels it."""
    worker = Worker()
    with ASGIMiddleware(worker, wait_time) as adapter:
        answer = drive(adapter).unwrap()
        assert answer.body == b"hello"
        assert not worker.done.is_set
        worker.go.set()
        worker.done.wait()
    assert not worker.cancelled


@pytest.mark.parametrize("wait_time", [-1, "1"])
def test_a_wait_time_that_is_none_is_refused(wait_time: Any) -> None:
    with pytest.raises(UsageError):
        ASGIMiddleware(hello, wait_time)


# -- what changes for those who come from a2wsgi


def test_the_environ_is_where_it_was() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        seen.append(scope["wsgi_environ"])

    environ = make_environ()
    environ["tests.key"] = "value"
    with ASGIMiddleware(app) as adapter:
        drive(adapter, environ).unwrap()
    assert seen == [environ]


@pytest.mark.req("L-04", "S-16")
def test_the_lifespan_is_run() -> None:
    events = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            events.append(scope["state"]["opened"])
            await hello(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            events.append(kind)
            scope["state"]["opened"] = "opened"
            await send({"type": f"lifespan.{kind}.complete"})

    with ASGIMiddleware(app) as adapter:
        drive(adapter).unwrap()
    assert events == ["startup", "opened", "shutdown"]


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        if not message["more_body"]:
            break
    await hello(scope, receive, send)


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError


async def starts_only(scope: Any, receive: Any, send: Any) -> None:
    await says_nothing(scope, receive, send)
    await send(START)


async def exits(scope: Any, receive: Any, send: Any) -> None:
    await says_nothing(scope, receive, send)
    raise SystemExit


@pytest.mark.req("A-10", "A-27")
@pytest.mark.parametrize("app", [read_all, says_nothing, starts_only, exits])
def test_what_hangs_there_ends_here(app: Any) -> None:
    """An upload that breaks off, an app without an answer, one without a body, one that exits."""
    body: dict[str, Any] = {"wsgi.input": ClosingInput(b"abc"), "CONTENT_LENGTH": "100"}
    with ASGIMiddleware(app) as adapter:
        answer = drive(adapter, method="POST", **body)
        assert answer.status in (0, 400, 500)
        assert b"hello" not in answer.body
        assert drive(adapter, path="/next").status in (200, 500)
