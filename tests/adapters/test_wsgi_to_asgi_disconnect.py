"""Clients that leave, servers that fail, requests that are cancelled, pools that are full."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.drive import (
    TIMEOUT,
    Exchange,
    Signal,
    checkpoint,
    disconnect,
    length,
    poll,
    post,
    requests,
    run,
    serve,
    together,
)
from support.scopes import http_scope
from support.wsgi_apps import Adapt, App, Watched, after, answer, echo, returning

from bridge import ThreadPool, WSGIToASGI
from bridge.engines import handoff
from bridge.exceptions import ClientDisconnected, LoopGone

TINY: dict[str, Any] = {"prebuffer": 1, "read_ahead": 1, "write_ahead": 1}


class Boom(Exception):
    """What the apps of these tests raise."""


def endless(chunk: Any = b"x") -> Watched:
    """An iterable that never ends by itself."""
    return Watched(itertools.repeat(chunk))


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await checkpoint()


# -- send() fails


@pytest.mark.req("W-24", "W-25")
@pytest.mark.parametrize("kind", [OSError, ConnectionResetError, BrokenPipeError])
@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_an_oserror_from_send_ends_a_stream_quietly(
    adapt: Adapt, loop: str, number: int, kind: type[OSError], caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is full when it fails, so the app's thread has to be freed."""
    body = endless()
    adapter = adapt(returning(lambda environ: body), **TINY)
    done = serve(adapter, loop=loop, fail_send={number: kind("gone")}).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1
    assert done.sends == number
    assert not done.complete
    assert caplog.records == []


@pytest.mark.req("W-25")
@pytest.mark.parametrize("number", [1, 2])
def test_an_oserror_from_send_ends_a_whole_response_quietly(adapt: Adapt, loop: str, number: int) -> None:
    closed = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(1)

    adapter = adapt(returning(lambda environ: Body([b"x"])))
    done = serve(adapter, loop=loop, fail_send={number: OSError("gone")}).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert (closed, done.sends, done.complete) == ([1], number, False)


@pytest.mark.req("W-24")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_error_from_send_propagates_and_frees_the_thread(
    adapt: Adapt, loop: str, number: int
) -> None:
    body = endless()
    error = RuntimeError("the server broke")
    adapter = adapt(returning(lambda environ: body), **TINY)
    done = serve(adapter, loop=loop, fail_send={number: error})
    assert done.error is error
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1


@pytest.mark.req("W-25")
def test_write_raises_once_send_has_failed(adapt: Adapt, loop: str) -> None:
    """An `OSError`, so code that guards its writes handles it as it stands."""
    errors = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        for _ in range(3):
            try:
                while True:
                    write(b"x")
            except OSError as error:
                errors.append(type(error))
        return []

    adapter = adapt(app, **TINY)
    serve(adapter, loop=loop, fail_send={3: OSError("gone")}).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert errors == [ClientDisconnected] * 3


# -- the client leaves


@pytest.mark.req("W-24", "W-26")
@pytest.mark.parametrize("chunk", [b"x", b""], ids=["data", "empty chunks"])
@pytest.mark.parametrize("options", [{}, TINY], ids=["default", "tiny"])
def test_a_disconnect_stops_a_streamed_get(adapt: Adapt, loop: str, chunk: bytes, options: Any) -> None:
    """Without any error from `send()`, which servers do not raise; empty chunks send nothing at all."""
    body = endless(chunk)
    adapter = adapt(returning(lambda environ: body), **options)

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(1)
        exchange.feed(disconnect())

    done = serve(adapter, loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1
    assert not done.complete
    assert done.receives == 1


@pytest.mark.req("W-26")
@pytest.mark.parametrize("headers", [[], [length(2)]], ids=["chunked", "length"])
@pytest.mark.parametrize("options", [{}, TINY], ids=["default", "tiny"])
def test_a_disconnect_stops_a_stream_after_an_upload(
    adapt: Adapt, loop: str, headers: Any, options: Any
) -> None:
    body = endless()

    def app(environ: dict[str, Any], start_response: Any) -> Watched:
        assert environ["wsgi.input"].read() == b"ab"
        start_response("200 OK", [])
        return body

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(disconnect())

    adapter = adapt(app, **options)
    serve(adapter, post(*headers), requests(b"a", b"b"), loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1


@pytest.mark.req("W-26")
def test_after_a_disconnect_no_further_chunk_is_asked_for(adapt: Adapt, loop: str) -> None:
    """The one that is being made is the last."""
    gone = Signal()
    body = Watched([b"first", after(gone, b"second"), b"never", b"never"])
    adapter = adapt(returning(lambda environ: body))

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(5)
        exchange.feed(disconnect())
        await exchange.until(lambda: disconnect() in exchange.received)
        await turns()
        gone.set()

    done = serve(adapter, loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert (body.pulled, body.closed) == (2, 1)
    assert done.body == b"first"


@pytest.mark.req("W-26")
def test_a_disconnect_wakes_a_writer_that_waits_for_room(adapt: Adapt, loop: str) -> None:
    """The server's `send()` is still blocked then."""
    errors = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            for _ in itertools.count():
                write(b"x" * 100)
        except OSError as error:
            errors.append(error)
            raise
        return []

    adapter = adapt(app, write_ahead=1000)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        exchange.feed(disconnect())
        await poll(lambda: adapter.pool.stats().completed == 1)
        exchange.release()

    serve(adapter, loop=loop, beside=beside).unwrap()
    assert [type(error) for error in errors] == [ClientDisconnected]


@pytest.mark.req("W-26")
def test_a_request_ends_when_its_client_leaves_though_the_app_blocks(adapt: Adapt, loop: str) -> None:
    """What the app says later is dropped, and no error."""
    entered, released = Signal(), Signal()
    results = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        entered.set()
        released.wait()
        write = start_response("200 OK", [])
        try:
            write(b"too late")
        except OSError as error:
            results.append(type(error))
        return [b"as well"]

    async def beside(exchange: Exchange) -> None:
        await entered.come()
        await exchange.receiving(1)
        exchange.feed(disconnect())
        await exchange.until_end()
        released.set()

    adapter = adapt(app)
    done = serve(adapter, loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert done.sent == []
    assert results == [ClientDisconnected]


@pytest.mark.req("W-24", "W-26")
def test_the_request_ends_after_its_iterable_was_closed(adapt: Adapt, loop: str) -> None:
    """If `close()` is quick: servers may count a connection as free then."""
    body = endless()

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(disconnect())
        await exchange.until_end()
        assert body.closed == 1

    serve(adapt(returning(lambda environ: body)), loop=loop, beside=beside).unwrap()


def test_a_client_that_left_in_mid_upload_still_gets_the_app_called(adapt: Adapt, loop: str) -> None:
    """It finds out by reading, and may want to note it; nothing can be sent."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(OSError):
            environ["wsgi.input"].read()
        seen.append(environ["PATH_INFO"])
        start_response("400 Bad Request", [])
        return [b"nobody reads this"]

    adapter = adapt(app)
    done = serve(adapter, post(path="/up"), [*requests(b"a", more=True), disconnect()], loop=loop).unwrap()
    assert seen == ["/up"]
    assert done.sent == []


@pytest.mark.parametrize("kind", [Boom, SystemExit])
def test_an_error_after_the_client_has_left_is_logged(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    """Nobody else would tell of it."""
    gone = Signal()

    def fail() -> bytes:
        gone.wait()
        raise kind

    adapter = adapt(returning(lambda environ: Watched([b"x", fail])))

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(disconnect())
        await exchange.until(lambda: disconnect() in exchange.received)
        await turns()
        gone.set()

    serve(adapter, loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, kind) or isinstance(error.__cause__, kind)  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["disconnect", "send", "cancel"])
def test_an_error_that_came_before_the_client_left_is_not_lost(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """The app has failed while its chunk stood before a client that did not read."""
    adapter = adapt(returning(lambda environ: Watched([b"x", Boom()])))

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await exchange.sending(1)
        await poll(lambda: adapter.pool.stats().completed == 1)
        if way == "cancel":
            exchange.cancel()
        if way == "disconnect":
            await exchange.receiving(1)
            exchange.feed(disconnect())
            await turns()
        exchange.release()

    fail_send = {2: OSError("gone")} if way == "send" else {}
    serve(adapter, loop=loop, beside=beside, fail_send=fail_send).unwrap()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom


@pytest.mark.req("W-26")
def test_the_end_of_the_response_is_not_taken_for_a_disconnect(adapt: Adapt, loop: str) -> None:
    """Servers answer `receive()` by `http.disconnect` once the response is complete, even before
    `send()` returns: the request is whole all the same, and its context and errors count."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    watched, complete = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        watched.wait()
        yield b"b"
        complete.wait()
        variable.set("late")
        raise Boom

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(1)
        watched.set()
        await exchange.until(lambda: exchange.complete)
        await turns()
        complete.set()

    done = serve(adapt(app), loop=loop, beside=beside, turns=10)
    assert done.complete
    assert type(done.error) is Boom
    assert done.context[variable] == "late"


@pytest.mark.req("W-26")
def test_an_error_of_the_watching_receive_fails_the_request(adapt: Adapt, loop: str) -> None:
    """It is the server's; the app's iterable is closed."""
    body = endless()
    error = RuntimeError("the server broke")

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(error)

    adapter = adapt(returning(lambda environ: body))
    done = serve(adapter, loop=loop, beside=beside)
    assert done.error is error
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1


@pytest.mark.req("W-26")
def test_an_oserror_of_the_watching_receive_is_a_disconnect(adapt: Adapt, loop: str) -> None:
    body = endless()

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(ConnectionResetError("gone"))

    adapter = adapt(returning(lambda environ: body))
    serve(adapter, loop=loop, beside=beside).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1


# -- the request is cancelled


class Blocked:
    """An app that waits for its client in one of three ways, and tells how the wait ended."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.errors: list[BaseException] = []
        self.body = endless(b"x" * 100)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [])
        try:
            if self._where == "read":
                environ["wsgi.input"].read()
            elif self._where == "write":
                while True:
                    write(b"x" * 100)
        except BaseException as error:
            self.errors.append(error)
            raise
        return self.body


@pytest.mark.req("W-24", "W-27")
@pytest.mark.parametrize("where", ["read", "write", "iterate"])
def test_cancelling_the_request_frees_the_worker(adapt: Adapt, loop: str, where: str) -> None:
    """The wait ends with an exception, `close()` runs, and the cancellation comes out."""
    app = Blocked(where)
    adapter = adapt(app, prebuffer=1, read_ahead=1, write_ahead=1000)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        exchange.cancel()

    done = serve(adapter, post(), requests(b"a", more=True), loop=loop, beside=beside)
    assert done.cancelled
    assert adapter.pool.drain(TIMEOUT)
    if where == "iterate":
        assert app.body.closed == 1
    else:
        assert [isinstance(error, OSError) for error in app.errors] == [True]
    assert not done.complete


def whole(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def streaming(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    return iter([b"x", environ["wsgi.input"].readline(), b"y" * 100, b"z"])


def writing(environ: dict[str, Any], start_response: Any) -> Any:
    write = start_response("200 OK", [])
    for _ in range(3):
        write(b"w")
    write(environ["wsgi.input"].read())
    return []


@pytest.mark.req("W-24", "W-27")
@pytest.mark.parametrize("options", [{}, TINY], ids=["default", "tiny"])
@pytest.mark.parametrize("app", [whole, streaming, writing])
@pytest.mark.parametrize("headers", [[], [(b"expect", b"100-continue")]], ids=["plain", "expect"])
def test_a_request_may_be_cancelled_at_every_await(
    adapt: Adapt, loop: str, app: App, headers: Any, options: Any
) -> None:
    """Each time, the iterable that was returned is closed once, and the pool comes to rest."""
    bodies: list[Watched] = []

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        bodies.append(Watched(app(environ, start_response)))
        return bodies[-1]

    adapter = adapt(watched, **options)
    for number in itertools.count(1):
        exchange = Exchange(adapter, post(*headers), requests(b"a", b"b", b"c"), turns=2, cancel_at=number)
        run(exchange.go, loop)
        assert adapter.pool.drain(TIMEOUT)
        assert [body.closed for body in bodies] == [1] * len(bodies)
        bodies.clear()
        if exchange.awaits < number:
            break
        assert exchange.error is None
        assert exchange.cancelled or exchange.complete
    assert number > 4
    assert exchange.complete


@pytest.mark.req("W-27", "W-29")
def test_a_request_that_is_cancelled_while_it_waits_never_runs(adapt: Adapt, loop: str) -> None:
    ran = []
    entered, released = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        entered.set()
        released.wait()
        start_response("200 OK", [])
        return [b"x"]

    adapter = adapt(app, threads=1)
    exchanges = [Exchange(adapter, http_scope(path=f"/{number}")) for number in range(6)]

    async def client() -> None:
        await entered.come()
        await poll(lambda: adapter.pool.stats().queued == 5)
        for exchange in exchanges[1::2]:
            exchange.cancel()
            await exchange.until_end()
        assert adapter.pool.stats().queued == 2
        assert adapter.pool.stats().threads == 1
        released.set()

    async def main() -> None:
        await together(exchanges[0].go, *(in_turn(exchange) for exchange in exchanges[1:]), client)

    def in_turn(exchange: Exchange) -> Callable[[], Any]:
        async def go() -> None:
            await entered.come()
            await exchange.go()

        return go

    run(main, loop)
    assert sorted(ran) == ["/0", "/2", "/4"]
    assert [exchange.cancelled for exchange in exchanges] == [False, True] * 3
    assert [exchange.complete for exchange in exchanges] == [True, False] * 3


@pytest.mark.req("W-26", "W-29")
def test_a_request_whose_client_leaves_while_it_waits_never_runs(adapt: Adapt, loop: str) -> None:
    ran = []
    entered, released = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        entered.set()
        released.wait()
        start_response("200 OK", [])
        return [b"x"]

    adapter = adapt(app, threads=1)
    first, second = Exchange(adapter, http_scope(path="/1")), Exchange(adapter, http_scope(path="/2"))

    async def client() -> None:
        await entered.come()
        await second.receiving(1)
        second.feed(disconnect())
        await second.until_end()
        released.set()

    async def after_first() -> None:
        await entered.come()
        await second.go()

    async def main() -> None:
        await together(first.go, after_first, client)

    run(main, loop)
    assert (ran, second.sent, second.error) == (["/1"], [], None)


@pytest.mark.req("W-29")
def test_surplus_requests_wait_without_a_thread_each(adapt: Adapt, loop: str) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        start_response("200 OK", [])
        with lock:
            running -= 1
        return [b"x"]

    adapter = adapt(app, threads=3)
    exchanges = [Exchange(adapter) for _ in range(200)]

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges))

    run(main, loop)
    assert all(exchange.unwrap().complete for exchange in exchanges)
    assert most <= 3
    assert adapter.pool.stats().threads <= 3


# -- the pool refuses


def check_503(exchange: Exchange) -> None:
    exchange.unwrap()
    assert exchange.status == 503
    assert int(exchange.header(b"retry-after") or b"") > 0
    assert exchange.complete


@pytest.mark.req("W-29")
def test_a_full_pool_is_answered_by_503(adapt: Adapt, loop: str) -> None:
    """At once, without the app."""
    ran = []
    entered, released = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        entered.set()
        released.wait()
        start_response("200 OK", [])
        return [b"x"]

    adapter = adapt(app, pool=ThreadPool(1, queue=0))
    first, second = Exchange(adapter), Exchange(adapter, post(), requests(b"body"))

    async def beside(exchange: Exchange) -> None:
        await entered.come()
        check_503(await second.go())
        released.set()

    async def main() -> None:
        await first.go(beside)

    run(main, loop)
    assert first.unwrap().status == 200
    assert len(ran) == 1
    assert adapter.pool.stats().rejected == 1


@pytest.mark.req("W-29")
def test_a_request_that_waited_too_long_is_answered_by_503(adapt: Adapt, loop: str) -> None:
    ran = []
    entered, released = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        entered.set()
        released.wait()
        start_response("200 OK", [])
        return [b"x"]

    pool = ThreadPool(1, queue_timeout=60)
    adapter = adapt(app, pool=pool, **TINY)
    first = Exchange(adapter)
    others = [Exchange(adapter), Exchange(adapter, post(), requests(b"a", b"b"))]

    async def beside(exchange: Exchange) -> None:
        await entered.come()
        pool._core.queue_timeout = 0.01  # not before: the first one has to wait for its thread, too
        await together(*(other.go for other in others))
        released.set()

    async def main() -> None:
        await first.go(beside)

    run(main, loop)
    assert first.unwrap().status == 200
    for other in others:
        check_503(other)
    assert len(ran) == 1


@pytest.mark.req("W-29")
def test_a_closed_pool_is_answered_by_503(adapt: Adapt, loop: str) -> None:
    pool = ThreadPool(1)
    pool.close()
    check_503(serve(adapt(answer(b"x"), pool=pool), loop=loop))


@pytest.mark.req("W-22", "W-29")
def test_503_to_head_has_no_body(adapt: Adapt) -> None:
    pool = ThreadPool(1)
    pool.close()
    done = serve(adapt(answer(b"x"), pool=pool), http_scope(method="HEAD"))
    check_503(done)
    assert done.chunks == [b""]


def test_a_client_gone_before_503_is_no_error(adapt: Adapt, loop: str) -> None:
    pool = ThreadPool(1)
    pool.close()
    serve(adapt(answer(b"x"), pool=pool), loop=loop, fail_send={1: OSError("gone")}).unwrap()


# -- the loop ends


def test_a_worker_does_not_outlive_a_loop_that_was_stopped(
    adapt: Adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped for good, without a cancellation: the worker looks now and then, and gives up."""
    monkeypatch.setattr(handoff, "LIVENESS", 0.01)
    errors = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            for _ in itertools.count():
                write(b"x")
        except OSError as error:
            errors.append(type(error))
            raise
        return []

    adapter = adapt(app, write_ahead=1)
    loop = asyncio.new_event_loop()
    exchange = Exchange(adapter)
    exchange.hold()
    task = loop.create_task(exchange.go())
    loop.run_until_complete(poll(lambda: adapter.pool.stats().streaming == 1))
    assert adapter.pool.drain(TIMEOUT)
    assert errors == [LoopGone]
    # Only now: what the request's task left must not trouble the next test.
    task.cancel()
    loop.run_until_complete(asyncio.wait((task,)))
    loop.close()


def test_a_loop_that_is_closed_wakes_its_workers(adapt: Adapt) -> None:
    """`asyncio.run` cancels what is left; the worker learns of it."""
    body = endless()
    adapter = adapt(returning(lambda environ: body), write_ahead=1)

    async def main() -> None:
        exchange = Exchange(adapter)
        exchange.hold()
        task = asyncio.create_task(exchange.go())
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert not task.done()

    asyncio.run(main())
    assert adapter.pool.drain(TIMEOUT)
    assert body.closed == 1


@pytest.mark.req("W-30")
def test_one_adapter_serves_several_loops_in_turn(adapt: Adapt) -> None:
    adapter = adapt(echo, threads=1)
    for loop in ("asyncio", "trio", "uvloop", "asyncio", "trio", "asyncio"):
        assert serve(adapter, post(), requests(b"hi"), loop=loop).unwrap().body == b"hi"
        assert serve(adapter, post(), requests(b"h", b"i"), loop=loop).unwrap().body == b"hi"


@pytest.mark.req("W-30")
def test_one_adapter_serves_several_loops_at_a_time(adapt: Adapt) -> None:
    adapter = adapt(echo, threads=2, **TINY)
    results: list[bytes] = []

    def client(loop: str) -> None:
        for _ in range(20):
            results.append(serve(adapter, post(), requests(b"a", b"b"), loop=loop).unwrap().body)

    threads = [threading.Thread(target=client, args=(loop,)) for loop in ("asyncio", "asyncio", "trio")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"ab"] * 60


def test_a_pool_may_be_shared(adapt: Adapt, loop: str) -> None:
    pool = ThreadPool(1)
    adapters: list[WSGIToASGI] = [adapt(answer(b"%d" % number), pool=pool) for number in range(3)]
    for number, adapter in enumerate(adapters):
        assert serve(adapter, loop=loop).unwrap().body == b"%d" % number
    assert pool.stats().started == 3
