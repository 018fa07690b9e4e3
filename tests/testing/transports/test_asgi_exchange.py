"""The client's side in its thread: every wait has an end, and what was put before the end is not lost."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from support.asgi_apps import Ending, body, http, no_complaints, no_loop_left, start
from support.drive import Signal
from support.engines import Clock, Thread, eventually

from bridge.exceptions import IncompleteResponse, LoopGone
from bridge.testing.transports import asgi_exchange
from bridge.testing.transports.app_side import AHEAD
from bridge.testing.transports.asgi_exchange import ASGIExchange
from bridge.testing.transports.asgi_host import ASGIHost


class Boom(Exception):
    """What apps and uploads of these tests raise."""


class Hosts:
    """Makes exchanges, each on a host of its own."""

    def __init__(self) -> None:
        self.hosts: list[ASGIHost] = []

    def __call__(
        self,
        app: Any,
        method: str = "GET",
        *,
        timeout: float | None = 10,
        before: Callable[[ASGIHost], object] | None = None,
        **options: Any,
    ) -> ASGIExchange:
        host = ASGIHost(http(app))
        self.hosts.append(host)
        host.start()
        if before is not None:
            host.submit(lambda: before(host))
        extensions = {"timeout": {"read": timeout}}
        request = httpx2.Request(method, "http://testserver/", extensions=extensions, **options)
        made = ASGIExchange(host, {"type": "http"}, request)
        made.start(contextvars.copy_context())
        return made


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Makes exchanges; their hosts are closed at the end, and nothing of them may be left."""
    monkeypatch.setattr("bridge.testing.transports.asgi_host.DISCONNECT_GRACE", 0.01)
    with no_complaints(), no_loop_left():
        hosts = Hosts()
        yield hosts
        for host in hosts.hosts:
            Thread(host.close).outcome()


def test_a_response(exchange: Hosts) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(201))
        await send(body(b"a", more=True))
        await send(body(b"b"))

    made = exchange(app)
    made.arrive()
    assert made.response.status == 201
    assert list(made.pieces()) == [b"a", b"b"]
    assert list(made.pieces()) == []


def test_each_piece_comes_when_it_is_sent(exchange: Hosts) -> None:
    go_on = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more=True))
        await go_on.come()
        await send(body(b"second"))

    made = exchange(app)
    made.arrive()
    pieces = made.pieces()
    assert next(pieces) == b"first"
    go_on.set()
    assert list(pieces) == [b"second"]


def test_a_large_response_passes_through_little_memory(exchange: Hosts) -> None:
    most: list[int] = []
    made_known = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await made_known.come()
        await send(start())
        for _ in range(64):
            await send(body(b"x" * (AHEAD // 4), more=True))
            most.append(made.put - made.taken)
        await send(body())

    made = exchange(app)
    made_known.set()
    made.arrive()
    assert sum(len(piece) for piece in made.pieces()) == 16 * AHEAD
    assert max(most) <= AHEAD + AHEAD // 4


def test_the_upload_is_read_in_the_clients_thread_when_the_app_asks_for_it(exchange: Hosts) -> None:
    events: list[str] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            events.append(f"made {number}")
            yield b"%d" % number

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        while (message := await receive())["more_body"]:
            events.append("received " + message["body"].decode())
            await send(body(message["body"], more=True))
        await send(body())

    made = exchange(app, "POST", content=pieces())
    made.arrive()
    assert list(made.pieces()) == [b"0", b"1", b"2"]
    assert events == [f"{what} {number}" for number in range(3) for what in ("made", "received")]


def test_an_upload_that_fails_is_raised_and_the_app_sees_a_disconnect(exchange: Hosts) -> None:
    received: list[Any] = []
    over = Signal()

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise Boom

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            received.append((await receive())["type"])
        over.set()

    made = exchange(app, "POST", content=pieces())
    with pytest.raises(Boom):
        made.arrive()
    made.leave()
    over.wait()
    assert received == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_app_that_neither_answers_nor_ends_is_a_read_timeout(exchange: Hosts, begun: bool) -> None:
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            if begun:
                await send(start())
                await send(body(b"first", more=True))
            await asyncio.Event().wait()

    made = exchange(app, timeout=10 if begun else 0.02)
    if begun:
        made.arrive()
        pieces = made.pieces()
        assert next(pieces) == b"first"
        made._timeout = 0.02
        with pytest.raises(httpx2.ReadTimeout, match=r"within 0\.02 seconds"):
            next(pieces)
    else:
        with pytest.raises(httpx2.ReadTimeout):
            made.arrive()
    made.leave()
    ending.over.wait()
    assert isinstance(ending.error, asyncio.CancelledError)


def test_the_time_that_the_client_takes_for_its_upload_is_not_the_apps(
    exchange: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(asgi_exchange, "time", clock)

    def pieces() -> Iterator[bytes]:
        clock.now += 100.0
        yield b"late"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        # So that the client waits once more, with what is left of its patience.
        await asyncio.sleep(0.02)
        await send(start())
        await send(body(message["body"]))

    made = exchange(app, "POST", content=pieces(), timeout=10)
    made.arrive()
    assert list(made.pieces()) == [b"late"]


def test_what_the_app_raises_ends_the_wait(exchange: Hosts) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Boom

    made = exchange(app, timeout=None)
    with pytest.raises(Boom):
        made.arrive()


def test_pieces_that_were_sent_before_an_error_come_before_it(exchange: Hosts) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for _ in range(3):
            await send(body(b"x", more=True))
        raise Boom

    made = exchange(app)
    made.arrive()
    eventually(lambda: made.ended)
    pieces = made.pieces()
    assert [next(pieces) for _ in range(3)] == [b"x"] * 3
    with pytest.raises(Boom):
        next(pieces)


def test_an_app_without_an_answer(exchange: Hosts) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(IncompleteResponse, match=r"it sent no http\.response\.start"):
        exchange(app).arrive()


@pytest.mark.parametrize("end", ["stopped", "vanished"])
@pytest.mark.parametrize("begun", [False, True])
def test_the_end_of_the_loop_ends_the_wait(
    exchange: Hosts, begun: bool, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_exchange, "_LOOK", 0.01)
    stuck = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(start())
            await send(body(b"first", more=True))
        stuck.set()
        await asyncio.Event().wait()

    made = exchange(app, timeout=None)

    def receive_all() -> None:
        made.arrive()
        list(made.pieces())

    client = Thread(receive_all)
    stuck.wait()
    if end == "stopped":  # its tasks are cancelled, and say so
        made._host.loop_thread.release()
        expected: type[Exception] = httpx2.RemoteProtocolError if begun else IncompleteResponse
        words = "cancelled before its response was complete"
    else:
        monkeypatch.setattr(made._host, "alive", lambda: False)
        expected, words = LoopGone, "has ended during the request"
    with pytest.raises(expected, match=words):
        client.outcome()
    if end == "stopped":  # by and by; a close() that comes meanwhile would ask it for new tasks
        eventually(lambda: not made._host.alive(), "the end of the loop")


def test_a_task_that_is_cancelled_before_its_first_step_ends_the_wait(
    exchange: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_exchange, "_LOOK", 0.01)
    loop_goes_on = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("never called")

    def hold_up(host: ASGIHost) -> None:
        # A task factory of any kind keeps tasks from starting at once.
        host.loop_thread.port.loop.set_task_factory(
            lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop, **options)
        )
        loop_goes_on.wait()

    made = exchange(app, timeout=None, before=hold_up)
    assert made._run is not None
    made._run.cancel_soon()
    loop_goes_on.set()
    with pytest.raises(IncompleteResponse, match="cancelled before"):
        made.arrive()
    eventually(lambda: not made._host._calls)


def test_leaving_early_ends_the_app(exchange: Hosts) -> None:
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            while True:
                await send(body(b"x", more=True))
                await asyncio.sleep(0)

    made = exchange(app)
    made.arrive()
    assert next(made.pieces()) == b"x"
    made.leave()
    made.leave()
    ending.over.wait()
    assert isinstance(ending.error, OSError)


def test_settle_waits_for_what_follows_a_response_but_not_for_ever(
    exchange: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_exchange, "ERROR_FOLLOWS", 0.02)
    go_on = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(500))
        await send(body())
        await go_on.come()
        raise Boom

    made = exchange(app)
    made.arrive()
    made.settle()
    assert made.raised is None
    monkeypatch.setattr(asgi_exchange, "ERROR_FOLLOWS", 10)
    settling = Thread(made.settle)
    go_on.set()
    settling.outcome()
    assert isinstance(made.raised, Boom)
