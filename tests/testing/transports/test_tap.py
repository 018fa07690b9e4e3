"""What an app raised behind `ASGIToWSGI` comes to the client: before, within and after its response."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.asgi_apps import Lifespan, body, finish, http, no_complaints, no_loop_left, start
from support.drive import Signal, run
from support.engines import Thread

from bridge import ASGIToWSGI
from bridge.exceptions import IncompleteResponse
from bridge.testing.transports.async_wsgi import AsyncWSGITransport
from bridge.testing.transports.tap import AsyncTappedTransport, Tap, TappedTransport
from bridge.testing.transports.wsgi import WSGITransport


class Boom(Exception):
    """What the apps of these tests raise."""


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bridge.testing.transports.tap.ERROR_FOLLOWS", 10.0)
    with no_complaints(), no_loop_left():
        yield


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fetch(kind: str, app: Any, *, raises: bool = True, **options: Any) -> tuple[int, list[bytes]]:
    """Status and pieces of the response of an app that is behind a tap and `ASGIToWSGI`."""
    request = httpx2.Request("GET", "http://testserver/", **options)
    with ASGIToWSGI(Tap(http(app))) as adapter:
        if kind == "sync":
            transport = TappedTransport(WSGITransport(adapter, raise_app_exceptions=raises), raises)
            response = transport.handle_request(request)
            pieces = list(response.iter_raw())
            transport.close()
            return response.status_code, pieces

        async def main() -> tuple[int, list[bytes]]:
            inner = AsyncWSGITransport(adapter, raise_app_exceptions=raises)
            transport = AsyncTappedTransport(inner, raises)
            try:
                response = await transport.handle_async_request(request)
                return response.status_code, [piece async for piece in response.aiter_raw()]
            finally:
                await transport.aclose()

        return run(main)


def raising(*messages: Any, turns: int = 0) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        for _ in range(turns):
            await asyncio.sleep(0)
        raise Boom

    return app


def test_an_ordinary_response_is_not_changed(kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"fine")

    assert fetch(kind, app) == (200, [b"fine"])


def test_a_file_is_a_response(kind: str) -> None:
    """The adapter offers to send files by their path, and Starlette's file responses do."""

    async def by_path(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send({"type": "http.response.pathsend", "path": __file__})

    async def by_descriptor(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with open(__file__, "rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file.fileno()})

    source = Path(__file__).read_bytes()
    for app in (by_path, by_descriptor):
        status, pieces = fetch(kind, app)
        assert (status, b"".join(pieces)) == (200, source)


@pytest.mark.parametrize(
    "app",
    [
        raising(),
        raising(start()),
        raising(start(), body(b"a", more=True)),
        raising(start(500), body(b"a"), turns=9),
    ],
    ids=["before", "after the start", "within", "after 500"],
)
def test_the_apps_own_exception_is_raised(kind: str, app: Any) -> None:
    with pytest.raises(Boom):
        fetch(kind, app)


@pytest.mark.parametrize(
    ("app", "expected"),
    [(raising(), (500, b"500 Internal Server Error\n")), (raising(start(503), body(b"a")), (503, b"a"))],
    ids=["before", "after 503"],
)
def test_without_raising_it_is_as_the_adapter_makes_it(
    kind: str, app: Any, expected: tuple[int, bytes]
) -> None:
    status, pieces = fetch(kind, app, raises=False)
    assert (status, b"".join(pieces)) == expected


def test_within_a_response_that_is_not_to_raise_it_is_broken(kind: str) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        fetch(kind, raising(start(), body(b"a", more=True)), raises=False)


def test_an_exchange_gets_a_complete_response_whatever_comes_after(kind: str) -> None:
    app = raising(start(500), body(b"a"))
    assert fetch(kind, app, extensions={"bridge.exchange": True}) == (500, [b"a"])


def test_an_app_without_an_answer(kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(IncompleteResponse):
        fetch(kind, app)


def test_a_response_that_gives_way_to_an_exception_is_closed() -> None:
    closed: list[str] = []

    class Stream(httpx2.SyncByteStream):
        def close(self) -> None:
            closed.append("closed")

    class Inner(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            with pytest.raises(Boom):
                asyncio.run(Tap(raising())({"type": "http"}, None, None))  # type: ignore[arg-type]
            return httpx2.Response(500, stream=Stream())

    with pytest.raises(Boom):
        TappedTransport(Inner(), True).handle_request(httpx2.Request("GET", "http://testserver/"))
    assert closed == ["closed"]


def test_a_tap_lets_everything_else_through() -> None:
    app = Lifespan()
    tap = Tap(app)
    with ASGIToWSGI(tap):
        assert app.log == ["startup"]
    assert "Tap of" in repr(tap)


def test_calls_that_run_at_the_same_time_do_not_see_each_others_outcome() -> None:
    both = [Signal(), Signal()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = int(scope["path"][1:])
        both[number].set()
        await both[1 - number].come()
        if number:
            raise Boom
        await finish(send, b"fine")

    with ASGIToWSGI(Tap(http(app))) as adapter:
        transport = TappedTransport(WSGITransport(adapter), True)

        def ask(number: int) -> Any:
            request = httpx2.Request("GET", f"http://testserver/{number}")
            return transport.handle_request(request).read()

        threads = [Thread(lambda: ask(0)), Thread(lambda: ask(1))]
        assert threads[0].outcome() == b"fine"
        with pytest.raises(Boom):
            threads[1].outcome()


def test_wait_idle() -> None:
    go_on = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"fine")
        await go_on.come()

    tap = Tap(http(app))
    with ASGIToWSGI(tap) as adapter:
        transport = TappedTransport(WSGITransport(adapter), True)
        assert transport.handle_request(httpx2.Request("GET", "http://testserver/")).read() == b"fine"
        assert tap.wait_idle(0.01) is False
        go_on.set()
        assert tap.wait_idle(10) is True
