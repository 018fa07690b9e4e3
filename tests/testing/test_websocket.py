"""WebSocket sessions with whole apps, bare ones and of frameworks; in a thread and on a loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from starlette.websockets import WebSocketDisconnect as StarletteDisconnect

import bridge
from bridge.exceptions import (
    ApplicationExit,
    ClientDisconnected,
    IncompleteResponse,
    InvalidMessage,
    LoopGone,
    UsageError,
    WebSocketDenied,
    WebSocketDisconnect,
)
from bridge.testing import websocket
from bridge.testing.async_client import AsyncClient
from bridge.testing.client import Client
from bridge.testing.websocket import AsyncWebSocketSession, WebSocketSession, websocket_scope
from bridge.testing.websocket_session import Session

PATIENCE = 20.0
# How long it is waited for what does not come.
SOON = 0.2

ACCEPT = {"type": "websocket.accept"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that does not get on for a moment is not taken for one that is blocked."""
    monkeypatch.setattr(websocket, "_ASK", PATIENCE)
    monkeypatch.setattr(websocket, "_CANCEL", PATIENCE)


@contextmanager
def in_a_hurry(session: Session) -> Iterator[None]:
    """Have an open session wait no longer than `SOON`, where a test means it to wait in vain.

    As the time-out of the whole session this would hold for what a busy machine may need longer for.
    """
    patience, session._timeout = session._timeout, SOON
    try:
        yield
    finally:
        session._timeout = patience


class Bare:
    """A bare ASGI app: after the acceptance it does what `then` does, and notes how it ended.

    Args:
        then: awaited with scope, receive and send, after `websocket.connect` has been received.
        accepts: it accepts before that.
    """

    def __init__(self, then: Callable[[Any, Any, Any], Any], *, accepts: bool = True) -> None:
        self._then = then
        self._accepts = accepts
        self.ended = threading.Event()
        self.raised: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                scope["state"]["shared"] = "from startup"
                await send({"type": f"{kind}.complete"})
            return
        try:
            assert await receive() == {"type": "websocket.connect"}
            if self._accepts:
                await send(ACCEPT)
            await self._then(scope, receive, send)
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.ended.set()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Sends everything back, until the client leaves."""
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def wait_for_ever(scope: Any, receive: Any, send: Any) -> None:
    """Where hanging apps hang."""
    await asyncio.Event().wait()


async def no_more(scope: Any, receive: Any, send: Any) -> None:
    """Ends."""


# -- what is exchanged


def test_messages_go_to_and_fro() -> None:
    """Text, bytes, JSON of both kinds, empty ones, and raw messages."""
    with Client(Bare(echo)) as client, client.websocket_connect("/") as session:
        for text in ("ping", "", "\u00e9\U0001f40d"):
            session.send_text(text)
            assert session.receive_text() == text
        for data in (b"\x00\xff", b""):
            session.send_bytes(data)
            assert session.receive_bytes() == data
        session.send_json({"a": ["\u00e9"]})
        assert session.receive_text() == '{"a":["\u00e9"]}'
        session.send_json([1], mode="binary")
        assert session.receive_bytes() == b"[1]"
        session.send_text("[2]")
        assert session.receive_json() == [2]
        session.send_bytes(b"[3]")
        assert session.receive_json(mode="binary") == [3]
        session.send({"type": "websocket.receive", "text": "raw"})
        assert session.receive() == {"type": "websocket.send", "text": "raw"}


def test_the_scope_is_that_of_a_handshake() -> None:
    """ASGI WebSocket 2.5, "Websocket Connection Scope"; the rest is the client's own."""
    client = Client(
        Bare(echo),
        root_path="/root",
        client=("192.0.2.7", 1234),
        extra={"x.extra": 1},
        cookies={"k": "v"},
        headers={"X-Of-Client": "1"},
        base_url="https://shop.example/base",
    )
    with client:
        session = client.websocket_connect(
            "/caf\u00e9/%2F?q=%C3%A9",
            ["chat", "news"],
            headers={"Origin": "https://shop.example"},
            params={"p": "1"},
        )
    scope = session.scope
    headers = scope.pop("headers")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "wss",
        "path": "/root/base/caf\u00e9//",
        "raw_path": b"/root/base/caf%C3%A9/%2F",
        "query_string": b"p=1",
        "root_path": "/root",
        "client": ("192.0.2.7", 1234),
        "server": ("shop.example", 443),
        "subprotocols": ["chat", "news"],
        "state": {"shared": "from startup"},
        "extensions": {"websocket.http.response": {}},
        "x.extra": 1,
    }
    assert headers[0] == (b"host", b"shop.example")
    assert {
        (b"cookie", b"k=v"),
        (b"origin", b"https://shop.example"),
        (b"x-of-client", b"1"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"chat, news"),
    } <= set(headers)
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("url", "scheme", "server"),
    [
        ("ws://other/x", "ws", ("other", 80)),
        ("wss://other/x", "wss", ("other", 443)),
        ("http://other:81/x", "ws", ("other", 81)),
        ("/x", "ws", ("testserver", 80)),
    ],
)
def test_urls_of_either_scheme_and_relative_ones(url: str, scheme: str, server: Any) -> None:
    with Client(Bare(echo)) as client:
        scope = client.websocket_connect(url).scope
    assert (scope["scheme"], scope["server"], scope["path"]) == (scheme, server, "/x")


def test_a_scope_is_made_without_changing_that_of_the_request() -> None:
    http = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "headers": [(b"connection", b"x")],
        "path": "/",
    }
    before = dict(http)
    assert websocket_scope(http)["subprotocols"] == []
    assert http == before
    assert [name for name, _ in websocket_scope(http)["headers"]].count(b"connection") == 1


def test_the_choice_of_the_app_is_seen() -> None:
    """Its subprotocol, and the headers of its acceptance."""

    async def chosen(scope: Any, receive: Any, send: Any) -> None:
        await send({**ACCEPT, "subprotocol": scope["subprotocols"][-1], "headers": [(b"x-one", b"1")]})
        await echo(scope, receive, send)

    with (
        Client(Bare(chosen, accepts=False)) as client,
        client.websocket_connect("/", ["chat", "news"]) as session,
    ):
        assert session.accepted_subprotocol == "news"
        assert session.extra_headers == [(b"x-one", b"1")]


def test_a_session_sees_the_context_of_the_test() -> None:
    """A copy of it at the time of the connection."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": variable.get()})

    with Client(Bare(tell)) as client:
        variable.set("the test's")
        with client.websocket_connect("/") as session:
            assert session.receive_text() == "the test's"


# -- the end


def test_leaving_the_block_closes_and_waits_for_the_app() -> None:
    """Which may take its time over the end."""
    seen: list[Any] = []
    go = threading.Event()

    async def then(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        while not go.is_set():
            await asyncio.sleep(0.001)
        seen.append("cleaned up")

    with Client(Bare(then)) as client:
        with client.websocket_connect("/"):
            threading.Timer(0.02, go.set).start()
        assert seen == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}, "cleaned up"]


@pytest.mark.parametrize("how", ["close", "message"])
def test_the_test_closes(how: str) -> None:
    """The app gets code and reason, after what was sent before; nothing can be sent after."""
    seen: list[Any] = []

    async def then(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive()])

    with Client(Bare(then)) as client, client.websocket_connect("/") as session:
        session.send_text("last words")
        if how == "close":
            session.close(4002, "enough")
            session.close()  # does nothing
        else:
            session.send({"type": "websocket.disconnect", "code": 4002, "reason": "enough"})
        with pytest.raises(UsageError, match="after this test had closed"):
            session.send_text("more")
        with pytest.raises(WebSocketDisconnect, match="this test closed the WebSocket with 4002") as caught:
            session.receive_text()
        assert (caught.value.code, caught.value.reason) == (4002, "enough")
    bye = {"type": "websocket.disconnect", "code": 4002, "reason": "enough"}
    assert seen == [{"type": "websocket.receive", "text": "last words"}, bye]


def test_the_app_closes() -> None:
    """What it sent before comes before; after that every call says that it has closed."""

    async def then(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "last words"})
        await send({"type": "websocket.close", "code": 4003, "reason": "why"})

    with Client(Bare(then)) as client, client.websocket_connect("/") as session:
        assert session.receive_text() == "last words"
        calls: list[Callable[[], Any]] = [
            session.receive_text,
            session.receive_bytes,
            session.receive_json,
            session.receive,
            lambda: session.send_text("x"),
        ]
        for call in calls:
            with pytest.raises(WebSocketDisconnect, match="the app closed the WebSocket with 4003") as caught:
                call()
            assert (caught.value.code, caught.value.reason) == (4003, "why")
        session.close()


def test_the_close_of_the_app_is_a_message_for_receive() -> None:
    async def then(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    with Client(Bare(then)) as client, client.websocket_connect("/") as session:
        assert session.receive() == {"type": "websocket.close", "code": 1000, "reason": ""}
        with pytest.raises(WebSocketDisconnect):
            session.receive()


def test_what_is_sent_to_an_app_that_has_closed_is_lost() -> None:
    """As on a socket, until the test has been told."""

    async def then(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    app = Bare(then)
    with Client(app) as client, client.websocket_connect("/") as session:
        assert app.ended.wait(PATIENCE)
        session.send_text("lost")
        with pytest.raises(WebSocketDisconnect):
            session.receive_text()


@pytest.mark.parametrize(("code", "regular"), [(1000, True), (1001, True), (1011, False)])
def test_iteration_ends_with_the_conversation(code: int, regular: bool) -> None:
    async def then(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "one"})
        await send({"type": "websocket.send", "bytes": b"two"})
        await send({"type": "websocket.close", "code": code})

    got: list[Any] = []
    with Client(Bare(then)) as client, client.websocket_connect("/") as session:
        try:
            got.extend(each for each in session)
        except WebSocketDisconnect as closed:
            got.append(closed.code)
    assert got == ["one", b"two", *([] if regular else [code])]


def test_an_app_that_ends_without_closing_is_a_lost_connection() -> None:
    with Client(Bare(no_more)) as client, client.websocket_connect("/") as session:
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect, match="ended without closing") as caught:
                session.receive_text()
            assert caught.value.code == 1006


def test_a_session_that_is_left_open_ends_with_its_client() -> None:
    """The app sees a lost connection, and the loop ends."""
    seen: list[Any] = []

    async def then(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())

    with Client(Bare(then)) as client:
        session = client.websocket_connect("/").__enter__()
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert session.receive()["code"] == 1006
    with pytest.raises(LoopGone):
        client.host.submit(lambda: None)  # type: ignore[union-attr]


# -- denials


def test_a_close_before_the_acceptance_is_a_403() -> None:
    """And the app, if it asks, is told of a lost connection."""
    seen: list[Any] = []

    async def then(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4001})
        seen.append(await receive())

    app = Bare(then, accepts=False)
    with Client(app) as client, pytest.raises(WebSocketDenied) as caught, client.websocket_connect("/"):
        raise AssertionError("it is not entered")
    assert caught.value.response.status == 403
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_denial_has_the_response_of_the_app() -> None:
    """Extension "Websocket Denial Response"; the body may stream."""

    async def then(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"WWW-Authenticate", b"Basic")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        for piece in (b"who are", b" you?"):
            await send({"type": "websocket.http.response.body", "body": piece, "more_body": True})
        await send({"type": "websocket.http.response.body"})

    with (
        Client(Bare(then, accepts=False)) as client,
        pytest.raises(WebSocketDenied, match="401") as caught,
        client.websocket_connect("/"),
    ):
        raise AssertionError("it is not entered")
    response = caught.value.response
    assert (response.status, response.body, response.chunks) == (401, b"who are you?", (b"who are", b" you?"))
    assert response.header("www-authenticate") == "Basic"


@pytest.mark.parametrize("answer", ["close", "response"])
def test_starlette_denies(answer: str) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        if answer == "close":
            await websocket.close(4001)
        else:
            await websocket.send_denial_response(PlainTextResponse("no", 418))

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    with Client(app) as client:
        for path, status in (("/ws", 403 if answer == "close" else 418), ("/nothing", 403)):
            with pytest.raises(WebSocketDenied) as caught, client.websocket_connect(path):
                raise AssertionError("it is not entered")
            assert caught.value.response.status == status


# -- exceptions of the app


class Trouble(Exception):
    """What apps raise here."""


async def trouble(scope: Any, receive: Any, send: Any) -> None:
    """Raises."""
    raise Trouble("on purpose")


@pytest.mark.parametrize("kind", ["bare", "starlette", "fastapi"])
@pytest.mark.parametrize("accepts", [False, True], ids=["before", "after"])
def test_an_exception_of_the_app_is_raised_in_the_test(kind: str, accepts: bool) -> None:
    """Before its acceptance by entering, after it by whoever waits; once."""

    async def endpoint(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()
        raise Trouble("on purpose")

    app: Any = Bare(trouble, accepts=accepts)
    if kind == "starlette":
        app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    elif kind == "fastapi":
        app = fastapi.FastAPI()
        app.websocket("/")(endpoint)
    with Client(app) as client:
        if accepts:
            with client.websocket_connect("/") as session:
                for _ in range(2):
                    with pytest.raises(Trouble, match="on purpose"):
                        session.receive_text()
            # Nobody received: then it is raised at the end.
            with pytest.raises(Trouble), client.websocket_connect("/"):
                pass
        else:
            with pytest.raises(Trouble), client.websocket_connect("/"):
                raise AssertionError("it is not entered")


def test_without_exceptions_of_the_app_there_is_what_a_server_makes_of_them() -> None:
    with Client(Bare(trouble, accepts=False), raise_app_exceptions=False) as client:
        with pytest.raises(WebSocketDenied) as denied, client.websocket_connect("/"):
            raise AssertionError("it is not entered")
        assert denied.value.response.status == 500
    with (
        Client(Bare(trouble), raise_app_exceptions=False) as client,
        client.websocket_connect("/") as session,
    ):
        with pytest.raises(WebSocketDisconnect) as closed:
            session.receive_text()
        assert closed.value.code == 1011


def test_the_tests_own_exception_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    """The app's is logged."""

    async def then(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise Trouble("in its cleaning up")

    with (
        Client(Bare(then)) as client,
        pytest.raises(AssertionError, match="the test's"),
        client.websocket_connect("/"),
    ):
        raise AssertionError("the test's")
    assert "in its cleaning up" in caplog.text


def test_an_app_that_just_ends_has_given_no_answer() -> None:
    with (
        Client(Bare(no_more, accepts=False)) as client,
        pytest.raises(IncompleteResponse, match="without accepting"),
        client.websocket_connect("/"),
    ):
        raise AssertionError("it is not entered")


def test_an_app_that_exits_does_not_end_the_runner() -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit(3)

    with (
        Client(Bare(leave)) as client,
        client.websocket_connect("/") as session,
        pytest.raises(ApplicationExit, match=r"SystemExit\(3\) left the app"),
    ):
        session.receive_text()


WRONG: dict[str, tuple[bool, Any, str]] = {
    "send-before-accept": (False, {"type": "websocket.send", "text": "x"}, "before it accepted"),
    "accept-twice": (True, ACCEPT, "after it had accepted"),
    "both": (True, {"type": "websocket.send", "text": "x", "bytes": b"x"}, "got both"),
    "deny-after-accept": (
        True,
        {"type": "websocket.http.response.start", "status": 401},
        "after it had accepted",
    ),
    "subprotocol": (False, {**ACCEPT, "subprotocol": "chat"}, "did not offer"),
}


@pytest.mark.parametrize("forgives", [False, True], ids=["raised", "caught"])
@pytest.mark.parametrize("case", WRONG)
def test_a_broken_rule_is_raised_in_the_app_and_in_the_test(case: str, forgives: bool) -> None:
    """Also if the app catches it."""
    accepts, message, words = WRONG[case]

    async def then(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(message)
        except InvalidMessage:
            if not forgives:
                raise
            if not accepts:
                await send(ACCEPT)

    app = Bare(then, accepts=accepts)
    with Client(app) as client, pytest.raises(InvalidMessage, match=words), client.websocket_connect("/"):
        # Raised by entering, or by leaving.
        assert app.ended.wait(PATIENCE)


# -- a client that leaves


@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
def test_an_endpoint_that_does_not_expect_the_disconnect_is_no_failure(kind: str) -> None:
    """It ends by the framework's own exception, which servers take as the end of it."""
    raised: list[BaseException] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except BaseException as error:
            raised.append(error)
            raise

    app: Any
    if kind == "starlette":
        app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    else:
        app = fastapi.FastAPI()
        app.websocket("/ws")(endpoint)
    with Client(app) as client, client.websocket_connect("/ws") as session:
        session.send_text("ping")
        assert session.receive_text() == "pong".replace("o", "i")
    assert [type(error) for error in raised] == [StarletteDisconnect]


def test_an_app_that_sends_for_ever_ends_when_the_test_leaves() -> None:
    """It runs ahead within bounds, and sending raises once its client has gone."""
    count = 0

    async def then(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 1000})
            count += 1

    app = Bare(then)
    with Client(app) as client, client.websocket_connect("/") as session:
        for _ in range(1000):
            assert len(session.receive_bytes()) == 1000
    assert 1000 <= count < 1600
    assert isinstance(app.raised, ClientDisconnected)


# -- apps that hang


def test_an_app_that_does_not_answer_the_handshake() -> None:
    """It is cancelled, and the error says where it was."""
    app = Bare(wait_for_ever, accepts=False)
    with (
        Client(app) as client,
        pytest.raises(TimeoutError, match=r"(?s)did not answer the handshake within 0\.2.*in wait_for_ever"),
        client.websocket_connect("/", timeout=SOON),
    ):
        raise AssertionError("it is not entered")
    assert isinstance(app.raised, asyncio.CancelledError)


def test_a_message_that_does_not_come() -> None:
    """The error says what the app waits for; the session goes on, and so does the app."""
    with Client(Bare(echo)) as client, client.websocket_connect("/") as session:
        words = r"(?s)no message came within 0\.2.*waits in receive\(\).*in echo"
        with in_a_hurry(session), pytest.raises(TimeoutError, match=words):
            session.receive_text()
        session.send_text("now")
        assert session.receive_text() == "now"


def test_an_app_that_does_not_end() -> None:
    """It is cancelled, and the test fails; the client goes on."""
    app = Bare(wait_for_ever)
    with Client(app) as client:
        session = client.websocket_connect("/")
        words = r"(?s)did not end after the WebSocket was closed.*in wait_for_ever"
        with pytest.raises(TimeoutError, match=words), session:
            session._timeout = SOON
        assert app.ended.is_set()
        assert isinstance(app.raised, asyncio.CancelledError)


class DeadHost:
    """A host whose loop has died without a word."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Is never called."""

    def run(self, function: Any, **options: Any) -> Any:
        """Runs nothing."""

    def submit(self, callback: Any) -> None:
        """Takes nothing."""
        raise LoopGone("the loop is gone")

    def alive(self) -> bool:
        """It is not."""
        return False


def test_a_loop_that_has_died_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the time-out, and leaving the block does not wait for it either."""
    monkeypatch.setattr(websocket, "_LOOK", 0.01)
    host: Any = DeadHost()
    with pytest.raises(LoopGone, match="ended during the session"):
        WebSocketSession(host, {"subprotocols": []}, timeout=PATIENCE * 10).__enter__()


def test_an_app_that_refuses_to_be_cancelled_does_not_hang_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_CANCEL", SOON)
    stubborn = threading.Event()

    async def then(scope: Any, receive: Any, send: Any) -> None:
        while not stubborn.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                pass

    with Client(Bare(then)) as client:
        with pytest.raises(TimeoutError, match="did not end"), client.websocket_connect("/") as session:
            session._timeout = SOON
        stubborn.set()


def test_an_app_that_blocks_the_loop_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_ASK", SOON)
    blocked, go = threading.Event(), threading.Event()

    async def then(scope: Any, receive: Any, send: Any) -> None:
        block_the_loop(blocked, go)
        await echo(scope, receive, send)

    with Client(Bare(then)) as client, client.websocket_connect("/") as session:
        assert blocked.wait(PATIENCE)
        words = r"(?s)blocks the event loop at\n.*in block_the_loop"
        with in_a_hurry(session), pytest.raises(TimeoutError, match=words):
            session.receive_text()
        go.set()
        session.send_text("back")
        assert session.receive_text() == "back"


def block_the_loop(blocked: threading.Event, go: threading.Event) -> None:
    """Where the app of the test above blocks."""
    blocked.set()
    go.wait(PATIENCE)


# -- concurrency


def room() -> Starlette:
    """A chat room: each message goes to all who are in it."""
    members: list[WebSocket] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"topic": "news"}

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        members.append(websocket)
        await websocket.send_text(f"welcome to {websocket.state.topic}")
        try:
            async for text in websocket.iter_text():
                for member in members:
                    await member.send_text(text)
        finally:
            members.remove(websocket)

    return Starlette(routes=[WebSocketRoute("/room", endpoint)], lifespan=lifespan)


def test_two_sessions_at_a_time_talk_to_each_other() -> None:
    with (
        Client(room()) as client,
        client.websocket_connect("/room") as ann,
        client.websocket_connect("/room") as ben,
    ):
        assert [each.receive_text() for each in (ann, ben)] == ["welcome to news"] * 2
        ann.send_text("hello")
        assert [each.receive_text() for each in (ann, ben)] == ["hello"] * 2
        ben.send_text("bye")
        ben.close()
        assert ann.receive_text() == "bye"


def test_sessions_in_many_threads() -> None:
    """Each gets its own answers, in order."""
    results: dict[int, list[str]] = {}

    def talk(number: int, client: Client) -> None:
        with client.websocket_connect("/") as session:
            for turn in range(20):
                session.send_text(f"{number}-{turn}")
            results[number] = [session.receive_text() for _ in range(20)]

    with Client(Bare(echo)) as client:
        threads = [threading.Thread(target=talk, args=(number, client)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert results == {number: [f"{number}-{turn}" for turn in range(20)] for number in range(8)}


# -- what does not work, and what is misused


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI app."""
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize(
    ("app", "via"),
    [(wsgi, "native"), (wsgi, "asgi"), (Bare(echo), "wsgi"), (Bare(echo), "roundtrip")],
    ids=["wsgi", "wsgi-as-asgi", "asgi-as-wsgi", "roundtrip"],
)
def test_no_websocket_passes_through_wsgi(app: Any, via: Any) -> None:
    with Client(app, via=via) as client, pytest.raises(UsageError, match="do not pass through WSGI"):
        client.websocket_connect("/")


def test_no_websocket_goes_to_a_real_server() -> None:
    with Client.served(wsgi, "wsgiref") as client, pytest.raises(UsageError, match="a real server"):
        client.websocket_connect("/")


def test_misuse_is_refused() -> None:
    with Client(Bare(echo)) as client:
        with pytest.raises(UsageError, match="headers, params, cookies and timeout; got auth, data"):
            client.websocket_connect("/", data={}, auth=("a", "b"))
        with pytest.raises(UsageError, match=r"subprotocols is a sequence of text"):
            client.websocket_connect("/", [b"chat"])  # type: ignore[list-item]
        with pytest.raises(UsageError, match=r"subprotocols is a sequence of text.*got 'chat'"):
            client.websocket_connect("/", "chat")
        session = client.websocket_connect("/")
        with pytest.raises(UsageError, match="needs an open session"):
            session.receive()
        with pytest.raises(UsageError, match="needs an open session"):
            session.send_text("x")
        with session, pytest.raises(UsageError, match="the code 1006, which no Close frame may carry"):
            session.close(1006)
        with pytest.raises(UsageError, match="entered once"), session:
            pass


CHANNELS = """
import django.conf
django.conf.settings.configure(
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ALLOWED_HOSTS=["testserver"],
)
import django
django.setup()
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path
from bridge.exceptions import WebSocketDenied
from bridge.testing.client import Client

class Room(AsyncJsonWebsocketConsumer):
    groups = ["room"]
    async def receive_json(self, content):
        await self.channel_layer.group_send("room", {"type": "said", "text": content["say"]})
    async def said(self, event):
        await self.send_json({"said": event["text"]})
    async def disconnect(self, code):
        print("disconnected", code)

class Sync(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data.upper())
        self.close(4001)

routes = URLRouter([path("room/", Room.as_asgi()), path("sync/", Sync.as_asgi())])
app = ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(routes)})
origin = {"Origin": "http://testserver"}
with Client(app) as client:
    with client.websocket_connect("/room/", headers=origin) as ann:
        with client.websocket_connect("/room/", headers=origin) as ben:
            ann.send_json({"say": "hello"})
            print(ann.receive_json(), ben.receive_json())
            ben.close(3000)
    with client.websocket_connect("/sync/", headers=origin) as session:
        session.send_text("loud")
        print(list(map(session.receive, ())), session.receive_text(), session.receive())
    try:
        with client.websocket_connect("/room/", headers={"Origin": "http://evil"}):
            print("let in")
    except WebSocketDenied as denied:
        print(denied.response.status)
"""


def test_channels(tmp_path: Path) -> None:
    """In a process of its own, for Django's settings: groups, a consumer in threads, and a refused origin."""
    pytest.importorskip("channels")
    done = subprocess.run(
        [sys.executable, "-c", CHANNELS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(str(bridge.__file__)).resolve().parent.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'said': 'hello'} {'said': 'hello'}",
        "disconnected 3000",
        "disconnected 1000",
        "[] LOUD {'type': 'websocket.close', 'code': 4001, 'reason': ''}",
        "403",
    ]


# -- on the loop of the test


def on_a_loop(main: Callable[[], Any]) -> Any:
    """Run a coroutine function, within bounds."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main(), PATIENCE)

    return asyncio.run(bounded())


def test_async_messages_go_to_and_fro() -> None:
    async def main() -> None:
        async with AsyncClient(Bare(echo)) as client, client.websocket_connect("/", ["chat"]) as session:
            assert isinstance(session, AsyncWebSocketSession)
            assert session.accepted_subprotocol is None
            await session.send_text("ping")
            assert await session.receive_text() == "ping"
            await session.send_bytes(b"\xff")
            assert await session.receive_bytes() == b"\xff"
            await session.send_json({"a": 1})
            assert await session.receive_json() == {"a": 1}
            await session.send({"type": "websocket.receive", "text": "raw"})
            assert await session.receive() == {"type": "websocket.send", "text": "raw"}
            await session.send_text("kept")
            with pytest.raises(UsageError, match="receive it by receive_text"):
                await session.receive_bytes()
            assert await session.receive_text() == "kept"

    on_a_loop(main)


def test_async_ends() -> None:
    """By the test, by the app, by its end, by an exception; and an iteration."""

    async def main() -> None:
        seen: list[Any] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await receive())

        async def close(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.send", "text": "one"})
            await send({"type": "websocket.close", "code": int(scope["path"][1:])})

        async with AsyncClient(Bare(note)) as client:
            async with client.websocket_connect("/") as session:
                await session.close(4001, "why")
                with pytest.raises(WebSocketDisconnect, match="this test closed"):
                    await session.receive_text()
            async with client.websocket_connect("/"):
                pass
        assert [(each["code"], each["reason"]) for each in seen] == [(4001, "why"), (1000, "")]

        async with AsyncClient(Bare(close)) as client:
            async with client.websocket_connect("/1000") as session:
                assert [content async for content in session] == ["one"]
            async with client.websocket_connect("/4002") as session:
                with pytest.raises(WebSocketDisconnect, match="4002"):
                    assert [content async for content in session] == []
        async with AsyncClient(Bare(no_more)) as client, client.websocket_connect("/") as session:
            with pytest.raises(WebSocketDisconnect, match="without closing"):
                await session.receive_text()
        async with AsyncClient(Bare(trouble)) as client:
            async with client.websocket_connect("/") as session:
                with pytest.raises(Trouble):
                    await session.receive_text()
            with pytest.raises(Trouble):
                async with client.websocket_connect("/"):
                    pass

    on_a_loop(main)


def test_async_denials() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def main() -> None:
        for then, kind in ((refuse, WebSocketDenied), (no_more, IncompleteResponse), (trouble, Trouble)):
            async with AsyncClient(Bare(then, accepts=False)) as client:
                with pytest.raises(kind):
                    async with client.websocket_connect("/"):
                        raise AssertionError("it is not entered")

    on_a_loop(main)


def test_async_misuse_is_refused_as_in_a_thread() -> None:
    async def main() -> None:
        async with AsyncClient(Bare(echo)) as client:
            with pytest.raises(UsageError, match="headers, params, cookies and timeout; got auth, data"):
                async with client.websocket_connect("/", data={}, auth=("a", "b")):
                    pass
            with pytest.raises(UsageError, match=r"subprotocols is a sequence of text.*got 'chat'"):
                async with client.websocket_connect("/", "chat"):
                    pass

    on_a_loop(main)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 7.0), ({"timeout": None}, None), ({"timeout": 3.0}, 3.0)],
    ids=["default", "None", "seconds"],
)
def test_the_time_out_of_a_session_is_the_clients_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], expected: float | None
) -> None:
    """`None` means without limit; the same in a thread and on a loop."""
    bounds: list[float | None] = []

    def note(self: Any, app: Any, scope: Any, timeout: float | None, raises: bool) -> None:
        bounds.append(timeout)
        made(self, app, scope, timeout, raises)

    made = Session.__init__
    monkeypatch.setattr(Session, "__init__", note)

    async def main() -> None:
        async with AsyncClient(Bare(echo), timeout=7.0) as client, client.websocket_connect("/", **given):
            pass

    with Client(Bare(echo), timeout=7.0) as client:
        client.websocket_connect("/", **given)
    on_a_loop(main)
    assert bounds == [expected, expected]


def test_async_urls_of_either_scheme_and_relative_ones() -> None:
    async def main() -> None:
        async with AsyncClient(Bare(echo)) as client:
            for url, scheme in (("wss://other/x", "wss"), ("https://other/x", "wss"), ("/x", "ws")):
                async with client.websocket_connect(url) as session:
                    assert (session.scope["scheme"], session.scope["path"]) == (scheme, "/x")

    on_a_loop(main)


def test_async_apps_that_hang() -> None:
    """Each wait says where the app is; at the end it is cancelled."""

    async def main() -> None:
        app = Bare(wait_for_ever, accepts=False)
        async with AsyncClient(app) as client:
            with pytest.raises(TimeoutError, match=r"(?s)the handshake within.*in wait_for_ever"):
                async with client.websocket_connect("/", timeout=SOON):
                    raise AssertionError("it is not entered")
        assert isinstance(app.raised, asyncio.CancelledError)
        async with AsyncClient(Bare(echo)) as client, client.websocket_connect("/") as session:
            words = r"(?s)no message came.*waits in receive\(\)"
            with in_a_hurry(session), pytest.raises(TimeoutError, match=words):
                await session.receive()
            await session.send_text("now")
            assert await session.receive_text() == "now"
        app = Bare(wait_for_ever)
        async with AsyncClient(app) as client:
            with pytest.raises(TimeoutError, match=r"(?s)did not end.*in wait_for_ever"):
                async with client.websocket_connect("/") as session:
                    session._timeout = SOON
        assert isinstance(app.raised, asyncio.CancelledError)

    on_a_loop(main)


def test_async_back_pressure() -> None:
    """An app that sends for ever runs ahead within bounds, and ends with its client."""
    count = 0

    async def then(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 1000})
            count += 1

    async def main() -> None:
        app = Bare(then)
        async with AsyncClient(app) as client, client.websocket_connect("/") as session:
            for _ in range(1000):
                assert len(await session.receive_bytes()) == 1000
        assert 1000 <= count < 1600
        assert isinstance(app.raised, ClientDisconnected)

    on_a_loop(main)


def test_an_async_test_that_is_cancelled_cancels_the_app() -> None:
    """And does not wait for it."""

    async def main() -> None:
        app = Bare(wait_for_ever)
        entered = asyncio.Event()

        async def test() -> None:
            async with AsyncClient(app) as client, client.websocket_connect("/"):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(test())
        await entered.wait()
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Much less than the session's time-out.
        assert time.monotonic() - began < PATIENCE / 2
        assert isinstance(app.raised, asyncio.CancelledError)

    on_a_loop(main)


def test_an_async_test_that_is_cancelled_while_it_leaves_cancels_the_app() -> None:
    """It waits for the app then, which is about to hang."""

    async def main() -> None:
        left = asyncio.Event()

        async def then(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            left.set()
            await asyncio.Event().wait()

        app = Bare(then)
        async with AsyncClient(app) as client:

            async def test() -> None:
                async with client.websocket_connect("/"):
                    pass

            task = asyncio.ensure_future(test())
            await left.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            assert isinstance(app.raised, asyncio.CancelledError)

    on_a_loop(main)


def test_two_async_sessions_talk_to_each_other() -> None:
    async def main() -> None:
        async with (
            AsyncClient(room()) as client,
            client.websocket_connect("/room") as ann,
            client.websocket_connect("/room") as ben,
        ):
            assert [await each.receive_text() for each in (ann, ben)] == ["welcome to news"] * 2
            await ann.send_text("hello")
            assert [await each.receive_text() for each in (ann, ben)] == ["hello"] * 2

    on_a_loop(main)


def test_the_types_of_sessions() -> None:
    with Client(Bare(echo)) as client:
        assert isinstance(client.websocket_connect("/"), WebSocketSession)
