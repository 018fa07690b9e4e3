"""The WSGI server behind an async client: one thread for each request, streaming, and that all waits end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
import trio
from support.drive import Signal, run
from support.engines import eventually
from support.leftovers import no_thread_left, own_garbage
from support.wsgi_apps import answer, echo

from bridge.exceptions import ClientDisconnected, UsageError
from bridge.testing.transports import async_wsgi
from bridge.testing.transports.async_wsgi import AsyncWSGITransport


class Boom(Exception):
    """What apps and uploads of these tests raise."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


def request(method: str = "GET", *, timeout: float | None = 10, **options: Any) -> httpx2.Request:
    return httpx2.Request(method, "http://testserver/", extensions={"timeout": {"read": timeout}}, **options)


def served(app: Any, main: Callable[[AsyncWSGITransport], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        transport = AsyncWSGITransport(app, **options)
        try:
            await transport.start()
            await main(transport)
            assert await transport.wait_idle(0)
        finally:
            await transport.aclose()

    run(whole)


def test_a_response() -> None:
    headers = [("X-Kept", "As It Is"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]

    async def main(transport: AsyncWSGITransport) -> None:
        response = await transport.handle_async_request(request())
        assert (response.status_code, response.reason_phrase) == (200, "Fine")
        assert response.headers.raw == [(name.encode(), value.encode()) for name, value in headers]
        assert [piece async for piece in response.aiter_raw()] == [b"a", b"b"]

    served(answer(b"a", b"b", status="200 Fine", headers=headers), main)


def test_all_of_a_request_runs_in_one_thread_and_a_copy_of_the_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[tuple[str, threading.Thread, str]] = []

    def note(what: str) -> None:
        seen.append((what, threading.current_thread(), variable.get()))

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            for piece in (b"a", b"b"):
                note("piece")
                yield piece

        def close(self) -> None:
            note("close")

    def app(environ: Any, start_response: Any) -> Body:
        note("call")
        start_response("200 OK", [])
        return Body()

    async def main(transport: AsyncWSGITransport) -> None:
        variable.set("the caller's")
        assert await (await transport.handle_async_request(request())).aread() == b"ab"

    served(app, main)
    assert [what for what, _, _ in seen] == ["call", "piece", "piece", "close"]
    assert len({thread for _, thread, _ in seen}) == 1
    assert seen[0][1] is not threading.current_thread()
    assert {value for _, _, value in seen} == {"the caller's"}


@pytest.mark.parametrize("how", ["closed", "dropped", "never read", "transport", "iterator"])
@own_garbage()
def test_an_endless_response_streams_and_is_closed_early(how: str) -> None:
    closed = Signal()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    async def main(transport: AsyncWSGITransport) -> None:
        response = await transport.handle_async_request(request())
        pieces = response.aiter_raw()
        if how != "never read":
            assert [await pieces.__anext__() for _ in range(3)] == [b"x"] * 3
        assert not closed.is_set
        if how == "closed":
            await response.aclose()
        elif how == "transport":
            await transport.aclose()
        elif how == "iterator":
            await pieces.aclose()
        else:
            del pieces, response
            gc.collect()
        await closed.come()

    served(app, main)


@pytest.mark.parametrize("content", [b"", b"abc"], ids=["none", "bytes"])
def test_bodies_in_memory(content: bytes) -> None:
    async def main(transport: AsyncWSGITransport) -> None:
        response = await transport.handle_async_request(request("POST", content=content))
        assert await response.aread() == content

    served(echo, main)


async def upload() -> AsyncIterator[bytes]:
    yield b"ab"
    await asyncio.sleep(0)
    yield b"c"


async def broken_upload() -> AsyncIterator[bytes]:
    yield b"half"
    raise Boom


def test_an_upload_is_read_on_the_loop() -> None:
    async def main(transport: AsyncWSGITransport) -> None:
        response = await transport.handle_async_request(request("POST", content=upload()))
        assert await response.aread() == b"abc"
        with pytest.raises(Boom):
            await transport.handle_async_request(request("POST", content=broken_upload()))

    served(echo, main)


def test_the_end_of_the_loop_ends_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_wsgi, "_LOOK", 0.01)
    asked = Signal()
    errors: list[BaseException] = []

    async def never() -> AsyncIterator[bytes]:
        asked.set()
        await asyncio.Event().wait()
        yield b""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
        start_response("200 OK", [])
        return []

    loop = asyncio.new_event_loop()
    transport = AsyncWSGITransport(app)
    task = loop.create_task(transport.handle_async_request(request("POST", content=never())))
    loop.run_until_complete(asked.come())
    eventually(lambda: errors, "the end of the upload")
    assert isinstance(errors[0], ClientDisconnected)
    task.cancel()
    for left in asyncio.all_tasks(loop):
        left.cancel()
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_an_app_that_does_not_answer_is_a_read_timeout() -> None:
    go_on, ended = Signal(), Signal()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        go_on.wait()
        start_response("200 OK", [])
        try:
            yield b"late"
        finally:
            ended.set()

    async def main(transport: AsyncWSGITransport) -> None:
        with pytest.raises(httpx2.ReadTimeout):
            await transport.handle_async_request(request(timeout=0.02))
        go_on.set()
        await ended.come()  # the response that nobody wants is closed

    served(app, main)


def test_an_app_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(async_wsgi, "_CLOSE_TIMEOUT", 0.01)
    go_on = Signal()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        go_on.wait()
        start_response("200 OK", [])
        return []

    async def main(transport: AsyncWSGITransport) -> None:
        with pytest.raises(httpx2.ReadTimeout):
            await transport.handle_async_request(request(timeout=0.02))

    served(app, main)
    assert "does not come to an end" in caplog.text
    go_on.set()


def raising(error: BaseException, *pieces: bytes) -> Any:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        if pieces:
            start_response("200 OK", [])
            yield from pieces
        raise error

    return app


@pytest.mark.parametrize(
    ("app", "raised", "otherwise"),
    [(raising(Boom()), Boom, 500), (raising(Boom(), b"a"), Boom, httpx2.RemoteProtocolError)],
    ids=["before", "within"],
)
def test_errors(app: Any, raised: type[Exception], otherwise: Any) -> None:
    async def main(transport: AsyncWSGITransport) -> None:
        with pytest.raises(raised):
            await (await transport.handle_async_request(request())).aread()

    async def answering(transport: AsyncWSGITransport) -> None:
        if otherwise == 500:
            assert (await transport.handle_async_request(request())).status_code == 500
        else:
            with pytest.raises(otherwise):
                await (await transport.handle_async_request(request())).aread()

    served(app, main)
    served(app, answering, raise_app_exceptions=False)


def test_stop_iteration_of_an_app_is_an_error_not_the_end() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise StopIteration

    async def main(transport: AsyncWSGITransport) -> None:
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await transport.handle_async_request(request())

    served(app, main)


def test_requests_run_at_the_same_time() -> None:
    count = 8
    barrier = threading.Barrier(count, timeout=10)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        barrier.wait()
        start_response("200 OK", [])
        return [b"ok"]

    async def main(transport: AsyncWSGITransport) -> None:
        responses = await asyncio.gather(*(transport.handle_async_request(request()) for _ in range(count)))
        assert [await response.aread() for response in responses] == [b"ok"] * count

    served(app, main)


def test_it_wants_asyncio() -> None:
    with pytest.raises(UsageError, match="under trio"):
        trio.run(AsyncWSGITransport(answer(b"")).start)
