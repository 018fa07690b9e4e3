"""The async client through each way: exchanges, streaming, errors, redirects, lifespan, real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
import trio
from support.asgi_apps import Lifespan, body, finish, http, no_complaints, no_loop_left, respond, start
from support.drive import Signal, run
from support.leftovers import no_thread_left
from support.wsgi_apps import answer

from bridge.exceptions import StartupFailed, UsageError
from bridge.testing import AsyncClient, Request
from bridge.testing.ways import Via


class Boom(Exception):
    """What the apps of these tests raise."""


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise Boom
    if path == "/move":
        start_response("302 Found", [("Location", "/seen?moved"), ("Set-Cookie", "been=there; Path=/")])
        return [b"moved"]
    start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    if path == "/half":
        return wsgi_half()
    if path == "/events":
        return wsgi_events()
    if path == "/echo":
        return [environ["wsgi.input"].read()]
    return [json.dumps([environ["REQUEST_URI"], environ.get("HTTP_COOKIE")]).encode()]


def wsgi_half() -> Iterator[bytes]:
    yield b"half"
    raise Boom


def wsgi_events() -> Iterator[bytes]:
    while True:
        yield b"data: x\n\n"


@http
async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path == "/boom":
        raise Boom
    if path == "/move":
        headers = [(b"Location", b"/seen?moved"), (b"Set-Cookie", b"been=there; Path=/")]
        await send(start(302, headers))
        await send(body(b"moved"))
        return
    headers = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
    if path == "/half":
        await send(start(200, headers))
        await send(body(b"half", more=True))
        raise Boom
    if path == "/events":
        await send(start(200, headers))
        while True:
            await send(body(b"data: x\n\n", more=True))
            await asyncio.sleep(0)
    if path == "/echo":
        content = b""
        more = True
        while more:
            message = await receive()
            content += message["body"]
            more = message["more_body"]
        await send(start(200, headers))
        await send(body(content))
        return
    target = scope["raw_path"].decode()
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode()
    cookie = dict(scope["headers"]).get(b"cookie", b"").decode() or None
    await send(start(200, headers))
    await send(body(json.dumps([target, cookie]).encode()))


VIAS: list[Via] = ["native", "asgi", "wsgi", "roundtrip"]
WAYS = [
    pytest.param(app, via, id=f"{name}-{via}")
    for name, app in (("wsgi", wsgi_app), ("asgi", asgi_app))
    for via in VIAS
]
every_way = pytest.mark.parametrize(("app", "via"), WAYS)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bridge.testing.transports.async_asgi.DISCONNECT_GRACE", 0.01)
    with no_complaints(), no_loop_left():
        yield


def with_client(app: Any, main: Callable[[AsyncClient], Awaitable[None]], **options: Any) -> None:
    """Run `main` with a client; nothing may be left on the loop at the end."""

    async def whole() -> None:
        async with AsyncClient(app, **options) as client:
            await main(client)

    run(whole)


@every_way
def test_exchanges_are_exact(app: Any, via: Via) -> None:
    async def main(client: AsyncClient) -> None:
        for target in ("/", "/%C3%A9?a=b&c", "//a//b/", "/a/../b", "/a%2Fb", "/%"):
            response = await client.exchange(target)
            assert json.loads(response.body)[0] == target
            assert response.all("set-cookie") == ["a=1", "b=2"]
        client.cookies.clear()
        response = await client.exchange(Request("POST", "/echo", (), (b"a", b"b")))
        assert (response.status, response.body, response.complete) == (200, b"ab", True)

    with_client(app, main, via=via)


@every_way
def test_what_the_library_offers_works(app: Any, via: Via) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"%d" % (number % 10) * 5000

    async def main(client: AsyncClient) -> None:
        assert (await client.get("/n\u00f6tes")).json()[0] == "/n%C3%B6tes"
        assert (await client.post("/echo", json={"a": 1})).json() == {"a": 1}
        assert b'filename="f"' in (await client.post("/echo", files={"f": ("f", b"content")})).content
        assert len((await client.post("/echo", content=pieces())).content) == 250_000
        async with client.stream("GET", "/events") as response:
            async for line in response.aiter_lines():
                assert line == "data: x"
                break

    with_client(app, main, via=via)


@every_way
def test_errors(app: Any, via: Via) -> None:
    async def main(client: AsyncClient) -> None:
        with pytest.raises(Boom):
            await client.get("/boom")
        with pytest.raises(Boom):
            await client.get("/half")
        before, within = await client.exchange("/boom"), await client.exchange("/half")
        assert (before.status, type(before.error)) == (0, Boom)
        assert (within.status, within.body, type(within.error)) == (200, b"half", Boom)

    async def answering(client: AsyncClient) -> None:
        assert (await client.get("/boom")).status_code == 500
        assert (await client.exchange("/boom")).error is None
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/half")

    with_client(app, main, via=via)
    with_client(app, answering, via=via, raise_app_exceptions=False)


@every_way
def test_cookies_and_redirects(app: Any, via: Via) -> None:
    async def main(client: AsyncClient) -> None:
        response = await client.exchange("/move", follow_redirects=True)
        target, cookie = json.loads(response.body)
        assert target == "/seen?moved"
        assert "been=there" in cookie
        assert [each.status for each in response.history] == [302]
        assert (await client.exchange("/move")).status == 302
        followed = await client.get("/move", follow_redirects=True)
        assert followed.json()[0] == "/seen?moved"

    with_client(app, main, via=via)


def test_a_ring_of_redirects_has_an_end() -> None:
    async def main(client: AsyncClient) -> None:
        response = await client.exchange("/", follow_redirects=True)
        assert isinstance(response.error, httpx2.TooManyRedirects)

    with_client(answer(status="302 Found", headers=[("Location", "/")]), main, max_redirects=3)


@pytest.mark.parametrize("via", VIAS)
def test_lifespan(via: Via) -> None:
    async def keep(scope: Any) -> None:
        scope["state"]["db"] = "open"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, scope["state"]["db"].encode())

    lifespan = Lifespan(app, startup=keep)

    async def main(client: AsyncClient) -> None:
        assert lifespan.log == ["startup"]
        assert (await client.get("/x")).text == "open"

    with_client(lifespan, main, via=via)
    assert lifespan.log == ["startup", "/x", "shutdown", "left"]


@pytest.mark.parametrize("via", VIAS)
def test_a_startup_that_fails_is_raised_and_leaves_nothing(via: Via) -> None:
    async def fail(scope: Any) -> None:
        raise Boom

    async def main(client: AsyncClient) -> None:
        raise AssertionError

    with pytest.raises(StartupFailed):
        with_client(Lifespan(startup=fail), main, via=via, lifespan="on")


@pytest.mark.parametrize("via", ["native", "wsgi"])
def test_work_after_a_response_can_be_waited_for(via: Via) -> None:
    go_on, done = Signal(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"done")
        await go_on.come()
        done.set()

    async def main(client: AsyncClient) -> None:
        assert (await client.get("/")).text == "done"
        assert await client.wait_for_background(0.01) is False
        go_on.set()
        assert await client.wait_for_background() is True
        assert done.is_set

    with_client(app, main, via=via)


def test_requests_run_at_the_same_time_on_one_loop() -> None:
    loops: set[Any] = set()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        loops.add(asyncio.get_running_loop())
        if len(arrived) == 7:
            together.set()
        arrived.append(scope["path"])
        await together.come()
        await finish(send, scope["path"].encode())

    arrived: list[str] = []
    together = Signal()

    async def main(client: AsyncClient) -> None:
        answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(8)))
        assert [each.text for each in answers] == [f"/{number}" for number in range(8)]
        assert loops == {asyncio.get_running_loop()}

    with_client(app, main)


def test_an_exchange_that_is_cancelled_is_cancelled() -> None:
    waiting = Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def main(client: AsyncClient) -> None:
        task = asyncio.ensure_future(client.exchange("/"))
        await waiting.come()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_client(app, main)


def test_websockets() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] + scope["path"]})

    async def main(client: AsyncClient) -> None:
        async with client.websocket_connect("/ws", ["chat"]) as session:
            await session.send_text("hello ")
            assert await session.receive_text() == "hello /ws"

    with_client(app, main)


@pytest.mark.parametrize(("app", "via"), [(wsgi_app, "native"), (asgi_app, "wsgi"), (asgi_app, "roundtrip")])
def test_websockets_do_not_pass_through_wsgi(app: Any, via: Via) -> None:
    async def main(client: AsyncClient) -> None:
        with pytest.raises(UsageError, match="do not pass through WSGI"):
            async with client.websocket_connect("/ws"):
                raise AssertionError

    with_client(app, main, via=via)


def test_no_websocket_goes_to_a_real_server() -> None:
    async def main() -> None:
        async with AsyncClient.served(wsgi_app, "wsgiref") as client:
            with pytest.raises(UsageError, match="a real server"):
                async with client.websocket_connect("/ws"):
                    raise AssertionError

    run(main)


def test_under_trio_it_says_what_to_do() -> None:
    async def main() -> None:
        async with AsyncClient(respond(b"ok")):
            raise AssertionError

    with pytest.raises(UsageError, match="under trio, use a Client"):
        trio.run(main)


def test_a_closed_client_sends_nothing() -> None:
    async def main() -> None:
        client = AsyncClient(respond(b"ok"))
        await client.aclose()
        await client.aclose()
        with pytest.raises(UsageError, match="has been closed"):
            await client.exchange("/")

    run(main)


@pytest.mark.parametrize("run_loop", [run, trio.run], ids=["asyncio", "trio"])
@no_thread_left(daemons=False)
def test_served(run_loop: Any) -> None:
    async def main() -> None:
        async with AsyncClient.served(asgi_app) as client:
            response = await client.exchange("/a/../%C3%A9?b")
            assert json.loads(response.body)[0] == "/a/../%C3%A9?b"
            assert response.reason == "OK"

    run_loop(main)
