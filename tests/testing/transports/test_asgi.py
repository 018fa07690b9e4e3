"""The ASGI server in process: responses, trailers, errors, closing early, what the app sees."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from support.asgi_apps import Ending, Lifespan, body, finish, http, no_complaints, no_loop_left, start
from support.drive import Signal
from support.engines import Thread
from support.leftovers import own_garbage

from bridge.exceptions import IncompleteResponse, InvalidMessage, UsageError
from bridge.testing.transports.asgi import ASGITransport


class Boom(Exception):
    """What the apps of these tests raise."""


class Sender:
    """Sends requests to apps, each through a transport of its own, all of which are closed at the end."""

    def __init__(self) -> None:
        self.transports: list[ASGITransport] = []

    def __call__(
        self, app: Any, method: str = "GET", *, raises: bool = True, **options: Any
    ) -> httpx2.Response:
        transport = ASGITransport(http(app), raise_app_exceptions=raises)
        self.transports.append(transport)
        request = httpx2.Request(method, "http://testserver/", **options)
        response = transport.handle_request(request)
        response.request = request
        return response


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    monkeypatch.setattr("bridge.testing.transports.asgi_host.DISCONNECT_GRACE", 0.01)
    monkeypatch.setattr("bridge.testing.transports.asgi_exchange.ERROR_FOLLOWS", 10.0)
    with no_complaints(), no_loop_left():
        sender = Sender()
        yield sender
        for transport in sender.transports:
            Thread(transport.close).outcome()


def test_status_and_headers_are_as_the_app_gave_them(send: Sender) -> None:
    headers = [(b"X-Kept", b"As It Is"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x", b"\xff")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(299, headers))
        await send(body(b"body"))

    response = send(app)
    assert (response.status_code, response.headers.raw, response.read()) == (299, headers, b"body")


def test_a_scope_can_be_had_without_a_request_being_sent() -> None:
    """As a WebSocket needs it, with its own copy of the lifespan's state."""

    async def keep(scope: Any) -> None:
        scope["state"]["db"] = "open"

    app = Lifespan(startup=keep)
    transport = ASGITransport(app, root_path="/app")
    transport.start()
    scopes = [transport.scope_of(httpx2.Request("GET", "http://testserver/x?y")) for _ in range(2)]
    transport.close()
    assert [scope["path"] for scope in scopes] == ["/app/x"] * 2
    assert [scope["state"] for scope in scopes] == [{"db": "open"}] * 2
    assert scopes[0]["state"] is not scopes[1]["state"]


def test_trailers(send: Sender) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.trailers" in scope["extensions"]
        await send(start(trailers=True))
        await send(body(b"body"))
        await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")]})

    response = send(app)
    response.read()
    assert response.extensions["bridge.trailers"] == [("X-Sum", "1")]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_responses_have_no_body(send: Sender, method: str, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(status, [(b"content-length", b"9")]))
        await send(body(b"not to be seen"))

    assert send(app, method).read() == b""


def raising(error: BaseException, *messages: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise error

    return app


ERRORS = pytest.mark.parametrize(
    "error", [Boom(), SystemExit(3), GeneratorExit()], ids=lambda each: type(each).__name__
)


@ERRORS
@pytest.mark.parametrize("messages", [[], [start()]], ids=["nothing sent", "start sent"])
def test_errors_before_the_response(send: Sender, error: BaseException, messages: list[Any]) -> None:
    with pytest.raises(type(error)) as raised:
        send(raising(error, *messages))
    assert raised.value is error
    response = send(raising(error, *messages), raises=False)
    assert (response.status_code, response.read()) == (500, b"Internal Server Error")


@ERRORS
def test_errors_within_the_response(send: Sender, error: BaseException) -> None:
    app = raising(error, start(), body(b"first", more=True))
    for raises, expected in ((True, type(error)), (False, httpx2.RemoteProtocolError)):
        pieces = send(app, raises=raises).iter_raw()
        assert next(pieces) == b"first"
        with pytest.raises(expected):
            next(pieces)


@pytest.mark.parametrize("raises", [True, False])
def test_a_keyboard_interrupt_is_for_the_caller(send: Sender, raises: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        send(raising(KeyboardInterrupt()), raises=raises)
    with pytest.raises(KeyboardInterrupt):
        send(raising(KeyboardInterrupt(), start(), body(b"a", more=True)), raises=raises).read()


def test_an_error_after_a_response_of_500_is_raised(send: Sender) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(500))
        await send(body(b"sorry"))
        for _ in range(20):  # as through the task groups of middleware
            await asyncio.sleep(0)
        raise Boom

    with pytest.raises(Boom):
        send(app)
    assert send(app, raises=False).read() == b"sorry"
    assert send(app, extensions={"bridge.exchange": True}).read() == b"sorry"


def test_an_error_right_after_a_response_is_raised(send: Sender) -> None:
    with pytest.raises(Boom):
        send(raising(Boom(), start(), body(b"fine")))
    assert send(raising(Boom(), start(), body(b"fine")), raises=False).read() == b"fine"


def test_what_breaks_the_specification_is_raised_in_the_app(send: Sender) -> None:
    with pytest.raises(InvalidMessage):
        send(raising(Boom(), body(b"before the start")))


def test_no_response_and_half_a_response(send: Sender) -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None: ...

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"half", more=True))

    with pytest.raises(IncompleteResponse):
        send(nothing)
    assert send(nothing, raises=False).status_code == 500
    for raises in (True, False):
        with pytest.raises(httpx2.RemoteProtocolError):
            send(half, raises=raises).read()


def test_work_after_the_response_holds_nobody_up(send: Sender) -> None:
    go_on, done = Signal(), Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"done")
        await go_on.come()
        done.set()

    response = send(app)
    assert response.read() == b"done"
    response.close()
    go_on.set()
    done.wait()


@pytest.mark.parametrize("how", ["closed", "dropped", "never read", "transport"])
@own_garbage()
def test_a_response_that_is_left_early_tells_the_app(send: Sender, how: str) -> None:
    ending = Ending()
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await send(start())
            await send(body(b"first", more=True))
            received.append(await receive())

    response = send(app)
    pieces = response.iter_raw()
    if how != "never read":
        assert next(pieces) == b"first"
    assert not ending.over.is_set
    if how == "closed":
        response.close()
    elif how in ("dropped", "never read"):
        del pieces, response
        gc.collect()
    else:
        send.transports[0].close()
    ending.over.wait()
    assert (received, ending.error) == ([{"type": "http.disconnect"}], None)


def test_a_request_that_fails_on_the_clients_side_tells_the_app(send: Sender) -> None:
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await receive()

    with pytest.raises(httpx2.ReadTimeout):
        send(app, extensions={"timeout": {"read": 0.01}})
    ending.over.wait()
    assert ending.error is None


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def test_the_app_sees_the_callers_context_at_the_time_of_the_request(send: Sender) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, variable.get().encode())
        variable.set("theirs")

    token = variable.set("mine")
    try:
        assert send(app).read() == b"mine"
        assert variable.get() == "mine"
    finally:
        variable.reset(token)


def test_state_is_a_shallow_copy_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(scope: Any) -> None:
        scope["state"].update(shared=[], name="lifespan")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["shared"].append(scope["state"]["name"])
        scope["state"]["name"] = "request"
        await finish(send, repr(scope["state"]["shared"]).encode())

    with no_loop_left():
        transport = ASGITransport(Lifespan(app, startup=keep))
        request = httpx2.Request("GET", "http://testserver/")
        for expected in (b"['lifespan']", b"['lifespan', 'lifespan']"):
            assert transport.handle_request(request).read() == expected
        transport.close()


def test_many_threads_at_a_time() -> None:
    """Each gets its own answer, while all of them wait for each other inside of the app."""
    count = 16
    all_there = Signal()
    arrived: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        arrived.append(scope["path"])
        if len(arrived) == count:
            all_there.set()
        await all_there.come()
        await finish(send, scope["path"].encode())

    with no_complaints(), no_loop_left():
        transport = ASGITransport(http(app))

        def ask(number: int) -> bytes:
            request = httpx2.Request("GET", f"http://testserver/{number}")
            return transport.handle_request(request).read()

        threads = [Thread(lambda number=number: ask(number)) for number in range(count)]  # type: ignore[misc]
        assert [thread.outcome() for thread in threads] == [b"/%d" % number for number in range(count)]
        transport.close()


def test_it_refuses_to_be_used_on_the_apps_own_loop(send: Sender) -> None:
    async def app(scope: Any, receive: Any, inner_send: Any) -> None:
        send.transports[0].handle_request(httpx2.Request("GET", "http://testserver/"))

    with pytest.raises(UsageError, match="use an AsyncClient there"):
        send(app)


def test_the_app_runs_in_a_thread_of_its_own(send: Sender) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, threading.current_thread().name.encode())

    assert send(app).read() != threading.current_thread().name.encode()
