"""The ASGI server on the client's own loop: streaming, errors, time-outs, lifespan, what is left."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import trio
from support.asgi_apps import Ending, Lifespan, body, finish, http, respond, start
from support.drive import run

from bridge.exceptions import AdapterClosed, IncompleteResponse, StartupFailed, UsageError
from bridge.testing.transports import async_asgi
from bridge.testing.transports.app_side import AHEAD
from bridge.testing.transports.async_asgi import AsyncASGITransport


class Boom(Exception):
    """What apps and uploads of these tests raise."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_asgi, "DISCONNECT_GRACE", 0.01)


def request(method: str = "GET", *, timeout: float | None = 10, **options: Any) -> httpx2.Request:
    extensions = {"timeout": {"read": timeout}, **options.pop("extensions", {})}
    return httpx2.Request(method, "http://testserver/", extensions=extensions, **options)


def served(
    app: Any, main: Callable[[AsyncASGITransport], Awaitable[None]], loop: str = "asyncio", **options: Any
) -> None:
    """Run `main` with a transport to the app; nothing may be left on the loop at the end."""

    async def whole() -> None:
        transport = AsyncASGITransport(app, **options)
        try:
            await main(transport)
        finally:
            await transport.aclose()
            await transport.aclose()

    run(whole, loop)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_response(loop: str) -> None:
    headers = [(b"X-Kept", b"As It Is"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]

    async def main(transport: AsyncASGITransport) -> None:
        response = await transport.handle_async_request(request())
        assert (response.status_code, response.headers.raw) == (201, headers)
        assert [piece async for piece in response.aiter_raw()] == [b"a", b"b"]

    served(respond(b"a", b"b", status=201, headers=headers), main, loop)


def test_an_endless_response_streams_and_is_closed_early() -> None:
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            while True:
                await send(body(b"x" * 1024, more=True))

    async def main(transport: AsyncASGITransport) -> None:
        response = await transport.handle_async_request(request())
        pieces = response.aiter_raw()
        assert await pieces.__anext__() == b"x" * 1024
        (call,) = transport._calls
        assert call.put - call.taken <= AHEAD + 1024
        for _ in range(3 * AHEAD // 1024):
            await pieces.__anext__()
        await response.aclose()
        await ending.over.come()
        assert isinstance(ending.error, OSError)

    served(http(app), main)


def test_the_end_of_the_transport_tells_apps_whose_response_is_still_open() -> None:
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(body(b"first", more=True))
        received.append(await receive())

    async def main(transport: AsyncASGITransport) -> None:
        await transport.handle_async_request(request())

    served(http(app), main)
    assert received == [{"type": "http.disconnect"}]


def test_an_upload_is_read_on_demand_in_the_clients_task() -> None:
    events: list[str] = []
    tasks: set[Any] = set()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            tasks.add(asyncio.current_task())
            events.append(f"made {number}")
            yield b"%d" % number

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        while (message := await receive())["more_body"]:
            events.append("received " + message["body"].decode())
            await send(body(message["body"], more=True))
        await send(body())

    async def main(transport: AsyncASGITransport) -> None:
        response = await transport.handle_async_request(request("POST", content=pieces()))
        assert await response.aread() == b"012"
        assert tasks == {asyncio.current_task()}

    served(http(app), main)
    assert events == [f"{what} {number}" for number in range(3) for what in ("made", "received")]


def test_an_upload_that_fails() -> None:
    received: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise Boom

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            received.append((await receive())["type"])

    async def main(transport: AsyncASGITransport) -> None:
        with pytest.raises(Boom):
            await transport.handle_async_request(request("POST", content=pieces()))

    served(http(app), main)
    assert received == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_app_that_neither_answers_nor_ends(begun: bool) -> None:
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            if begun:
                await send(start())
                await send(body(b"first", more=True))
            await asyncio.Event().wait()

    async def main(transport: AsyncASGITransport) -> None:
        with pytest.raises(httpx2.ReadTimeout, match=r"within 0\.02 seconds"):
            await (await transport.handle_async_request(request(timeout=0.02))).aread()
        await ending.over.come()
        assert isinstance(ending.error, asyncio.CancelledError)

    served(http(app), main)


def test_a_client_that_is_cancelled_is_one_that_has_left() -> None:
    received: list[Any] = []
    waiting = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting.set()
        received.append(await receive())

    async def main(transport: AsyncASGITransport) -> None:
        task = asyncio.ensure_future(transport.handle_async_request(request()))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    served(http(app), main)
    assert received == [{"type": "http.disconnect"}]


def failing(*messages: Any, error: BaseException | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        await asyncio.sleep(0)
        if error is not None:
            raise error

    return http(app)


@pytest.mark.parametrize(
    ("app", "raised", "otherwise"),
    [
        (failing(error=Boom()), Boom, 500),
        (failing(start(), error=Boom()), Boom, 500),
        (failing(start(), body(b"a", more=True), error=Boom()), Boom, httpx2.RemoteProtocolError),
        (failing(start(500), body(b"a"), error=Boom()), Boom, 500),
        (failing(), IncompleteResponse, 500),
        (failing(start(), body(b"a", more=True)), httpx2.RemoteProtocolError, httpx2.RemoteProtocolError),
        (failing(error=asyncio.CancelledError()), IncompleteResponse, 500),
    ],
    ids=["before", "start", "within", "after 500", "nothing", "half", "cancelled"],
)
def test_errors(app: Any, raised: type[Exception], otherwise: Any) -> None:
    async def raising(transport: AsyncASGITransport) -> None:
        with pytest.raises(raised):
            await (await transport.handle_async_request(request())).aread()

    async def answering(transport: AsyncASGITransport) -> None:
        if isinstance(otherwise, int):
            response = await transport.handle_async_request(request())
            assert response.status_code == otherwise
        else:
            with pytest.raises(otherwise):
                await (await transport.handle_async_request(request())).aread()

    served(app, raising)
    served(app, answering, raise_app_exceptions=False)


def test_lifespan_and_state() -> None:
    async def keep(scope: Any) -> None:
        scope["state"]["seen"] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["seen"].append(scope["path"])
        await finish(send, b"%d" % len(scope["state"]["seen"]))

    lifespan = Lifespan(app, startup=keep)

    async def main(transport: AsyncASGITransport) -> None:
        both = await asyncio.gather(*(transport.handle_async_request(request()) for _ in range(2)))
        assert sorted([await response.aread() for response in both]) == [b"1", b"2"]
        assert lifespan.log == ["startup", "/", "/"]

    served(lifespan, main)
    assert lifespan.log[-2:] == ["shutdown", "left"]


async def fail(scope: Any) -> None:
    raise Boom


@pytest.mark.parametrize(
    ("app", "options"),
    [(Lifespan(startup=fail), {"lifespan": "on"}), (respond(b""), {"lifespan": "on"})],
    ids=["fails", "has none"],
)
def test_a_startup_that_fails(app: Any, options: Any) -> None:
    async def main(transport: AsyncASGITransport) -> None:
        for _ in range(2):
            with pytest.raises(StartupFailed):
                await transport.handle_async_request(request())

    served(app, main, **options)


def test_a_startup_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_asgi, "DEFAULT_STARTUP_TIMEOUT", 0.01)

    async def never(scope: Any) -> None:
        await asyncio.Event().wait()

    async def main(transport: AsyncASGITransport) -> None:
        with pytest.raises(StartupFailed, match=r"within 0\.01 seconds"):
            await transport.start()

    served(Lifespan(startup=never), main)


def test_work_after_a_response_goes_on_and_is_waited_for() -> None:
    done: list[str] = []
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"done")
        await go_on.wait()
        done.append("background")

    async def main(transport: AsyncASGITransport) -> None:
        response = await transport.handle_async_request(request())
        assert await response.aread() == b"done"
        await response.aclose()
        assert await transport.wait_idle(0.01) is False
        go_on.set()
        assert await transport.wait_idle(10) is True
        await transport.handle_async_request(request())

    served(http(app), main)
    assert done == ["background", "background"]


def test_work_that_does_not_end_is_cancelled_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_asgi, "SHUTDOWN_TIMEOUT", 0.01)
    ending = Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"done")
        async with ending:
            await asyncio.Event().wait()

    async def main(transport: AsyncASGITransport) -> None:
        await transport.handle_async_request(request())

    served(http(app), main)
    assert isinstance(ending.error, asyncio.CancelledError)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def test_the_app_runs_in_a_copy_of_the_callers_context() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, variable.get().encode())
        variable.set("theirs")

    async def main(transport: AsyncASGITransport) -> None:
        variable.set("mine")
        assert await (await transport.handle_async_request(request())).aread() == b"mine"
        assert variable.get() == "mine"

    served(http(app), main)


def test_it_belongs_to_one_loop_and_to_asyncio() -> None:
    transport = AsyncASGITransport(respond(b""))
    run(transport.start)
    with pytest.raises(UsageError, match="another event loop"):
        run(transport.start)
    with pytest.raises(UsageError, match="under trio"):
        trio.run(AsyncASGITransport(respond(b"")).start)


def test_a_closed_transport_sends_nothing() -> None:
    async def main(transport: AsyncASGITransport) -> None:
        await transport.aclose()
        with pytest.raises(AdapterClosed):
            await transport.handle_async_request(request())

    served(respond(b""), main)
