"""Clients that leave, and server threads that leave in other ways than by `close()`."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from support.asgi_apps import (
    DISCONNECT,
    LAST_OF_NONE,
    Ending,
    Lifespan,
    ask,
    body,
    bridged,
    finish,
    http,
    in_progress,
    read_messages,
    respond,
    start,
)
from support.drive import Signal
from support.engines import Thread, eventually, script
from support.scopes import ABSENT
from support.wsgi_drive import ClosingInput, Exchange, drive, make_environ

from bridge.adapters import asgi_call
from bridge.exceptions import ClientDisconnected, InvalidMessage

LONG = 1000.0
"""A grace that no test waits for."""


class Boom(Exception):
    """What the apps of these tests raise."""


class BaseBoom(BaseException):
    """What some servers raise in a waiting thread, as gevent's time-outs are."""


def begin(status: str, headers: list[Any]) -> Any:
    """A `start_response` that takes everything."""


def endless(ending: Ending, *, chunk: bytes = b"x" * 1000) -> Any:
    """An app that sends chunks until it is stopped."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            while True:
                await send(body(chunk, more=True))
                await asyncio.sleep(0)

    return app


def waiting(ending: Ending, *, chunk: bytes = b"x") -> Any:
    """An app that sends one chunk and then waits for something that never comes."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send(body(chunk, more=True))
            await asyncio.Event().wait()

    return app


# -- close() before the end


@pytest.mark.req("A-12", "A-24", "A-29")
@pytest.mark.parametrize("pulls", [0, 1])
def test_the_app_is_told_that_the_client_is_gone(pulls: int, caplog: pytest.LogCaptureFixture) -> None:
    """A waiting `receive()` gets the disconnect, every further one as well; `send()` raises."""
    seen: list[Any] = []
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            seen.append(await receive())
            await send(start())
            await send(body(b"first", more=True))
            seen.append(await receive())
            seen.append(await receive())
            seen.append(await receive())
            for message in (body(b"x", more=True), body(), start(), {"type": "http.response.pathsend"}):
                with pytest.raises(ClientDisconnected):
                    await send(message)
            await send(body(b"x"))

    with bridged(app, disconnect_grace=LONG) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
            for _ in range(pulls):
                assert exchange.next() == b"first"
            assert not ending.over.is_set
            exchange.close()
            exchange.close()
        ending.over.wait()
    assert seen == [LAST_OF_NONE, DISCONNECT, DISCONNECT, DISCONNECT]
    assert isinstance(ending.error, ClientDisconnected)
    assert isinstance(ending.error, OSError)
    assert caplog.records == []


@pytest.mark.req("A-24", "A-29")
@pytest.mark.parametrize("pulls", [0, 3])
def test_a_send_that_waits_for_room_is_woken(pulls: int, caplog: pytest.LogCaptureFixture) -> None:
    ending = Ending()
    with bridged(endless(ending), write_ahead=5000, disconnect_grace=LONG) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
            for _ in range(pulls):
                exchange.next()
        ending.over.wait()
    assert isinstance(ending.error, ClientDisconnected)
    assert caplog.records == []


@pytest.mark.req("A-29")
def test_an_app_that_takes_no_notice_is_cancelled_after_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    """And awaited: what it does in `finally` runs to its end."""
    ending = Ending()
    done: list[str] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await waiting(ending)(scope, receive, send)
        finally:
            await asyncio.sleep(0)
            await asyncio.to_thread(int)
            done.append("finally")

    with bridged(app, disconnect_grace=0.02) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
        eventually(lambda: done)
        assert isinstance(ending.error, asyncio.CancelledError)
        eventually(lambda: not in_progress(wsgi))
    assert caplog.records == []


@pytest.mark.req("A-29")
def test_a_grace_of_zero_tells_and_cancels_at_once() -> None:
    ending = Ending()
    with bridged(waiting(ending), disconnect_grace=0) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
        ending.over.wait()
    assert isinstance(ending.error, asyncio.CancelledError)


@pytest.mark.req("A-29")
def test_within_the_grace_an_app_may_finish() -> None:
    ending, may_end = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await send(start())
            await send(body(b"x", more=True))
            assert await receive() == DISCONNECT
            await may_end.come()

    with bridged(app, disconnect_grace=LONG) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
        # Others are served meanwhile.
        with Exchange(wsgi) as exchange:
            exchange.call()
        may_end.set()
        ending.over.wait()
    assert ending.error is None


@pytest.mark.req("A-29")
def test_fifty_departures_leave_no_task() -> None:
    """Neither pending ones nor destroyed ones, of which asyncio complains."""
    endings: list[Ending] = []
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/count":
            tasks.append({task.get_name() for task in asyncio.all_tasks()} - {"bridge-loop"})
            await finish(send)
            return
        endings.append(Ending())
        await endings[-1].__aenter__()
        await endless(endings[-1])(scope, receive, send)

    # A loop of its own, as the ordinary one may be in use by a fixture of another module.
    own = bridged(http(app), write_ahead=10_000, loop_factory=lambda: asyncio.new_event_loop())
    with own as wsgi:
        for _ in range(50):
            with Exchange(wsgi) as exchange:
                exchange.call()
                exchange.next()
        for ending in endings:
            ending.over.wait()
        eventually(lambda: not in_progress(wsgi))
        drive(wsgi, path="/count")
    assert len(endings) == 50
    assert [len(found) for found in tasks] == [1], tasks


@pytest.mark.req("A-28", "A-29")
def test_close_before_the_first_next_of_a_complete_response_is_no_departure() -> None:
    """The app has sent all; its work goes on undisturbed."""
    ending, may_end = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await finish(send, b"whole")
            await may_end.come()

    with bridged(app, disconnect_grace=0) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
            assert exchange.next() == b"whole"
        drive(wsgi, path="/another")  # the loop has turned
        assert not ending.over.is_set
        may_end.set()
        ending.over.wait()
    assert ending.error is None


@pytest.mark.req("A-24")
@pytest.mark.parametrize(
    "error", [OSError("broken pipe"), ConnectionResetError(), asyncio.CancelledError()], ids=repr
)
def test_what_tells_of_a_departure_is_not_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await send(start())
            await send(body(b"x", more=True))
            await receive()
            raise error

    with bridged(app) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
        ending.over.wait()
    assert caplog.records == []


@pytest.mark.req("A-24")
def test_other_errors_after_a_departure_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(body(b"x", more=True))
        await receive()
        raise Boom

    with bridged(app) as wsgi, Exchange(wsgi, path="/a%0Ab?token=secret") as exchange:
        exchange.call()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.asgi", "ERROR")
    assert r"GET '/a\nb'" in record.getMessage()
    assert "secret" not in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom


@pytest.mark.req("A-12", "A-20", "A-29")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_app_that_streams_on_after_all_that_can_be_sent_is_told(method: str) -> None:
    """For HEAD, and when Content-Length is reached, the client has all before the app has said so."""
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await send(start(headers=[(b"content-length", b"1")]))
            await send(body(b"x", more=True))
            assert await receive() == DISCONNECT
            assert await receive() == DISCONNECT

    with bridged(app, disconnect_grace=0.1, shutdown_timeout=1) as wsgi:
        assert drive(wsgi, method=method).body == (b"x" if method == "GET" else b"")
        eventually(lambda: ending.over.is_set, "the app is told")
    assert ending.error is None


# -- other ways to leave


@pytest.mark.req("A-29")
@pytest.mark.parametrize("pulls", [0, 1])
def test_a_server_that_drops_the_body_without_close(pulls: int) -> None:
    ending = Ending()
    with bridged(waiting(ending), disconnect_grace=0) as wsgi:
        iterable: Any = wsgi(make_environ(), begin)
        for _ in range(pulls):
            assert next(iterable) == b"x"
        assert not ending.over.is_set
        del iterable
        ending.over.wait()


@pytest.mark.req("A-29")
@pytest.mark.parametrize("error", [Boom(), BaseBoom(), AssertionError("of a validator")], ids=repr)
def test_a_start_response_that_raises(error: BaseException) -> None:
    """The server gets its own error, the app a disconnect."""
    ending = Ending()

    def refuse(status: str, headers: list[Any]) -> None:
        raise error

    with bridged(endless(ending), write_ahead=5000) as wsgi:
        with pytest.raises(type(error)) as caught:
            wsgi(make_environ(), refuse)
        assert caught.value is error
        ending.over.wait()
        assert isinstance(ending.error, ClientDisconnected)


@pytest.mark.parametrize("length", ["bad", "5"], ids=["400", "500"])
def test_a_start_response_that_raises_for_an_answer_of_our_own(length: str) -> None:
    def refuse(status: str, headers: list[Any]) -> None:
        raise Boom(status)

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    with bridged(app) as wsgi, pytest.raises(Boom, match=r"[45]00"):
        wsgi(make_environ("POST", CONTENT_LENGTH=length), refuse)


@pytest.mark.req("A-29")
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), BaseBoom()], ids=repr)
@pytest.mark.parametrize("begun", [False, True], ids=["before output", "during output"])
def test_a_read_of_the_body_that_ends_the_thread(error: BaseException, begun: bool) -> None:
    """A server's time-out, for one. It propagates as it is, and the app is told."""
    seen: list[Any] = []
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            if begun:
                await send(start())
                await send(body(b"first", more=True))
            seen.append(await receive())
            seen.append(await receive())
            with pytest.raises(ClientDisconnected):
                await send(start() if not begun else body())

    upload: dict[str, Any] = {"wsgi.input": ClosingInput(b"ab", error), "CONTENT_LENGTH": "10"}
    with bridged(app, disconnect_grace=LONG) as wsgi:
        answer = drive(wsgi, method="POST", **upload)
        assert answer.error is error
        ending.over.wait()
    assert ending.error is None
    assert answer.body == (b"first" if begun else b"")
    assert seen == [{"type": "http.request", "body": b"ab", "more_body": True}, DISCONNECT]


@pytest.mark.req("A-29", "X-02")
def test_early_hints_that_end_the_thread() -> None:
    """An ordinary error of the server's is only logged, since the final response can still come."""
    ending = Ending()

    def hints(headers: Any) -> None:
        raise BaseBoom

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
            await asyncio.Event().wait()

    with bridged(app, disconnect_grace=0) as wsgi:
        with pytest.raises(BaseBoom):
            wsgi({**make_environ(), "wsgi.early_hints": hints}, begin)
        ending.over.wait()
    assert isinstance(ending.error, asyncio.CancelledError)


@pytest.mark.req("X-06")
def test_a_file_that_opens_after_the_thread_has_left_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened in another thread, since a file system may be slow."""
    opening, may_open, ending = Signal(), Signal(), Ending()
    files: list[Any] = []

    def slow_open(path: str) -> tuple[Any, int]:
        opening.set()
        may_open.wait()
        files.append(io.BytesIO(b"content"))
        return files[0], 7

    def hints(headers: Any) -> None:
        opening.wait()
        raise BaseBoom

    monkeypatch.setattr(asgi_call, "_open", slow_open)

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
            await send({"type": "http.response.pathsend", "path": __file__})

    with bridged(app, disconnect_grace=LONG) as wsgi:
        with pytest.raises(BaseBoom):
            wsgi({**make_environ(), "wsgi.early_hints": hints}, begin)
        may_open.set()
        ending.over.wait()
    assert isinstance(ending.error, ClientDisconnected)
    assert files[0].closed


SIGNALS = """
import asyncio, io, os, signal, sys, threading
from bridge import ASGIToWSGI

def say(what):
    os.write(1, f"{what}\\n".encode())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    try:
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await asyncio.to_thread(first_taken.wait)
        await receive()
        os.kill(os.getpid(), signal.SIGALRM)
        say((await receive())["type"])
    finally:
        say("finally")

def server_timeout(*args):
    raise SystemExit(7)

signal.signal(signal.SIGALRM, server_timeout)
first_taken = threading.Event()
wsgi = ASGIToWSGI(app)
for path in ("/", "/stream"):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO()}
    try:
        for chunk in wsgi(environ, lambda status, headers: None):
            say(chunk)
            first_taken.set()
    except SystemExit as timeout:
        say("timeout")
        if path == "/stream":
            raise
"""


@pytest.mark.req("A-29", "L-10")
def test_a_server_whose_timeout_raises_in_the_waiting_thread() -> None:
    """In a signal handler, as Gunicorn's worker is killed: before the response, and while it streams."""
    lines = script(SIGNALS, expect=7, timeout=20).splitlines()
    assert lines.count("timeout") == lines.count("finally") == lines.count("http.disconnect") == 2
    assert lines.count("b'first'") == 1
    assert lines[-1] == "shutdown"


def test_an_iterable_may_move_between_threads() -> None:
    """Servers with a pool for writing do that."""
    ending = Ending()
    with bridged(endless(ending, chunk=b"x" * 70_000), write_ahead=1) as wsgi:
        iterable = Thread(lambda: wsgi(make_environ(), begin)).outcome()
        chunks = [Thread(lambda: next(iterable)).outcome() for _ in range(5)]
        Thread(iterable.close).outcome()
        ending.over.wait()
    assert chunks == [b"x" * 70_000] * 5


# -- receive() beside send()


@pytest.mark.req("A-11", "A-12")
@pytest.mark.parametrize("data", [b"", b"abc"], ids=["no body", "body"])
def test_after_the_body_receive_waits_while_send_goes_on(data: bytes) -> None:
    """Until the response is complete, without a thread of the server's; then it is a disconnect, always."""
    seen: list[Any] = []
    pulled, ending = Signal(), Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await read_messages(receive)
            watcher = asyncio.create_task(receive())
            await send(start())
            await send(body(b"one", more=True))
            await pulled.come()
            await send(body(b"two", more=True))
            await asyncio.sleep(0)
            seen.append(watcher.done())
            await send(body(b"three"))
            seen.append(await watcher)
            seen.append(await receive())
            seen.append(await receive())

    with bridged(app) as wsgi:
        with Exchange(wsgi, method="POST", body=data) as exchange:
            exchange.call()
            assert exchange.next() == b"one"
            pulled.set()
            assert exchange.rest() == b"twothree"
        ending.over.wait()
    assert ending.error is None
    assert seen == [False, DISCONNECT, DISCONNECT, DISCONNECT]


@pytest.mark.req("A-11")
def test_several_tasks_may_receive_at_a_time() -> None:
    ending = Ending()
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            watchers = [asyncio.create_task(receive()) for _ in range(3)]
            await finish(send)
            seen.extend(await asyncio.gather(*watchers))

    with bridged(app) as wsgi:
        drive(wsgi)
        ending.over.wait()
    assert seen == [DISCONNECT] * 3


def as_spec(version: str, app: Any) -> Any:
    """The app, told that the server follows this version of the specification."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "asgi": {"version": "3.0", "spec_version": version}}
        await app(scope, receive, send)

    return wrapped


SPECS = pytest.mark.parametrize("spec", ["2.0", "2.3", "2.4", "2.5"])
"""Below 2.4, Starlette watches `receive()` beside its stream; from then on it relies on `OSError`."""


@pytest.mark.req("A-11")
@SPECS
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_starlettes_streams_are_whole(spec: str, method: str) -> None:
    """Also when nobody reads the request's body but its watcher."""

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(20):
            yield b"%d," % number
            await asyncio.sleep(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(chunks())(scope, receive, send)

    with bridged(as_spec(spec, http(app))) as wsgi:
        answer = drive(wsgi, method=method, body=b"x" * 200_000 if method == "POST" else b"")
    assert answer.unwrap().body == b"".join(b"%d," % number for number in range(20))


@pytest.mark.req("A-11", "A-24", "A-29")
@SPECS
@pytest.mark.parametrize("middleware", [False, True], ids=["plain", "middleware"])
def test_starlettes_streams_end_with_their_client(
    spec: str, middleware: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, long before the grace, and nothing is logged: nothing is wrong."""
    ending = Ending()

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick"
            await asyncio.sleep(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await StreamingResponse(chunks())(scope, receive, send)

    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    wrapped = BaseHTTPMiddleware(app, pass_on) if middleware else app
    with bridged(as_spec(spec, http(wrapped)), disconnect_grace=LONG) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
            exchange.next()
        ending.over.wait()
    assert [record.getMessage() for record in caplog.records] == []


# -- what goes on beside a client that has left


@pytest.mark.req("A-01", "A-29")
def test_departures_do_not_disturb_other_requests() -> None:
    """Streams leave at random beside requests that must be whole."""
    endings = [Ending() for _ in range(10)]
    streams = iter(endings)
    lock = threading.Lock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stream":
            with lock:
                ending = next(streams)
            await endless(ending)(scope, receive, send)
            return
        messages = await read_messages(receive)
        await finish(send, b"".join(message["body"] for message in messages))

    def leave() -> None:
        with Exchange(wsgi, path="/stream") as exchange:
            exchange.call()
            exchange.next()

    def upload(data: bytes) -> None:
        assert drive(wsgi, method="POST", body=data).unwrap().body == data

    with bridged(Lifespan(http(app)), write_ahead=4000, disconnect_grace=LONG) as wsgi:
        threads = [
            Thread(leave) if number % 2 else Thread(lambda: upload(b"y" * 100_000)) for number in range(20)
        ]
        for thread in threads:
            thread.outcome()
        for ending in endings:
            ending.over.wait()


@pytest.mark.req("A-10", "A-29")
def test_a_truncated_upload_during_a_response_raises_in_the_iterator() -> None:
    """The app is told in `receive()`, and the server aborts the connection."""
    ending = Ending()
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send(body(b"progress", more=True))
            seen.append(await receive())
            seen.append(await receive())
            await send(body(b"more", more=True))

    upload: dict[str, Any] = {"wsgi.input": ClosingInput(b"abc"), "CONTENT_LENGTH": "10"}
    with bridged(app, disconnect_grace=LONG) as wsgi:
        answer = drive(wsgi, method="POST", **upload)
        ending.over.wait()
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert isinstance(ending.error, ClientDisconnected)
    assert isinstance(answer.error, ClientDisconnected)
    assert answer.body == b"progress"


def test_an_app_may_answer_without_the_body_that_will_never_come() -> None:
    """It is not read for the sake of reading."""
    source = ClosingInput(b"abc", Boom("was read"))
    upload: dict[str, Any] = {"wsgi.input": source, "CONTENT_LENGTH": "10"}
    answer = ask(respond(b"no thanks", status=403), method="POST", **upload)
    assert (answer.status, answer.body) == (403, b"no thanks")
    assert source.asked == []


def test_a_scope_that_the_app_changes_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Middleware takes things out, or rewrites them; the log and `send()` know the request all the same."""
    errors: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.clear()
        scope["path"] = "/rewritten"
        for message in ({"type": "unknown"}, {"type": "http.response.pathsend", "path": ""}):
            try:
                await send(message)
            except Exception as error:
                errors.append(error)
        raise Boom

    with bridged(app) as wsgi:
        assert drive(wsgi, path="/original", RAW_URI=ABSENT).status == 500
    gc.collect()  # asyncio tells of errors in logging when it collects the task: here, not in some other test
    assert [type(error) for error in errors] == [InvalidMessage] * 2
    (record,) = caplog.records
    assert "GET '/original'" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom
