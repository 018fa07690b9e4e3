"""What is seen of an app from outside, with apps that do one thing each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from support.clock import Clock

from bridge.commands import observing
from bridge.commands.observing import (
    AFTERWARDS,
    Notes,
    accepts_websocket,
    note_exchange,
    note_lifespan,
    note_websockets,
    observed,
    told,
)
from bridge.commands.server_limits import Use
from bridge.testing.client import Client
from bridge.testing.exchange import Request, Response

CLOCK = Clock()
"""The apps advance it."""


def start(*, trailers: bool = False) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [], "trailers": trailers}


async def plain(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body"})


async def with_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send(start(trailers=True))
    await send({"type": "http.response.body", "body": b"x"})
    CLOCK.now += 2 * AFTERWARDS  # not afterwards: there is more to come
    await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})


async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    CLOCK.now += 2 * AFTERWARDS
    raise RuntimeError("half-way")


async def goes_on(scope: Any, receive: Any, send: Any) -> None:
    await plain(scope, receive, send)
    CLOCK.now += 2 * AFTERWARDS


def eager(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"x"]


def late(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"x"


@pytest.mark.parametrize(
    ("app", "seen"),
    [
        (plain, {}),
        (with_trailers, {Use.TRAILERS: "GET /a"}),
        (breaks_off, {}),
        (goes_on, {Use.AFTERWARDS: "GET /a"}),
        (eager, {}),
        (late, {Use.LATE_START: "GET /a"}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_an_app_does(app: Any, seen: dict[Use, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "time", CLOCK)
    notes = Notes()
    interface = "wsgi" if app in (eager, late) else "asgi"
    with Client(observed(app, interface, notes)) as client:
        assert client.exchange("/a").body == b"x"
    assert notes.seen == seen


def test_other_scopes_pass_through() -> None:
    scopes: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope["type"])
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    with Client(observed(app, "asgi", Notes()), lifespan="on"):
        pass
    assert scopes == ["lifespan"]


def test_the_first_place_is_kept_and_the_order_is_that_of_uses() -> None:
    notes = Notes()
    for use, where in ((Use.STREAM, "/a"), (Use.LIFESPAN, "/b"), (Use.STREAM, "/c")):
        notes.add(use, where)
    assert list(notes.seen.items()) == [(Use.LIFESPAN, "/b"), (Use.STREAM, "/a")]


EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)


@pytest.mark.parametrize(
    ("request_", "response", "seen"),
    [
        (Request(), Response(200, chunks=(b"one",)), {}),
        (Request(), Response(200, chunks=(b"one", b"")), {}),
        (Request(), Response(200, chunks=(b"one", b"two")), {Use.STREAM: "GET /: 2 pieces"}),
        (Request(), Response(200, headers=EVENTS), {Use.EVENT_STREAM: "GET /"}),
        (Request("POST", body=b"x"), Response(200), {Use.UPLOAD: "POST /"}),
        (
            Request("POST", body=(b"x", b"y")),
            Response(200),
            {Use.UPLOAD: "POST /", Use.CHUNKED_UPLOAD: "POST /"},
        ),
        (Request(target="/a%2Fb"), Response(200), {Use.ENCODED_SLASH: "GET /a%2Fb"}),
        (Request(target="/a%2fb"), Response(200), {Use.ENCODED_SLASH: "GET /a%2fb"}),
        (Request(target="/?a=%2F"), Response(200), {}),
        (Request(headers=(("A", "1"), ("a", "2"))), Response(200), {Use.REPEATED_HEADERS: "GET /"}),
        (Request(headers=(("Cookie", "1"), ("cookie", "2"))), Response(200), {}),
        (Request(), Response(200, error=OSError("x")), {Use.BREAK_OFF: "GET /: OSError"}),
        (Request(), Response(0, error=OSError("x")), {}),
    ],
)
def test_what_an_exchange_shows(request_: Request, response: Response, seen: dict[Use, str]) -> None:
    notes = Notes()
    note_exchange(request_, response, notes)
    assert notes.seen == seen


@pytest.mark.parametrize(
    ("without", "answer", "seen"),
    [
        (None, Response(200), None),
        (Response(200), Response(200), None),
        (Response(500), Response(200), "GET / answers 500 without it, and answers 200 with it"),
        (
            Response(0, error=KeyError("db")),
            Response(200),
            "GET / raises KeyError without it, and answers 200 with it",
        ),
    ],
)
def test_whether_the_lifespan_matters(without: Response | None, answer: Response, seen: str | None) -> None:
    notes = Notes()
    note_lifespan(Request(), without, answer, notes)
    assert notes.seen == ({} if seen is None else {Use.LIFESPAN: seen})


def test_an_outcome_in_words() -> None:
    assert told(Response(404)) == "answers 404"
    assert told(Response(200, error=ValueError("x"))) == "raises ValueError"


async def accepting(socket: Any) -> None:
    await socket.accept()
    await socket.close()


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("x")


def sockets(*routes: Any) -> Callable[[], dict[Use, str]]:
    """What is noted of a Starlette app with these routes, which is asked for / and /live."""

    def look() -> dict[Use, str]:
        app, notes = Starlette(routes=list(routes)), Notes()
        with Client(app) as client:
            note_websockets(app, client, [Request(), Request(target="/live?x=1")], notes)
        return notes.seen

    return look


@pytest.mark.parametrize(
    ("look", "seen"),
    [
        (sockets(Route("/", page)), {}),
        (sockets(WebSocketRoute("/ws", accepting)), {Use.WEBSOCKET: "/ws"}),
        (sockets(Mount("/in", routes=[WebSocketRoute("/ws", accepting)])), {Use.WEBSOCKET: "/in/ws"}),
        (sockets(WebSocketRoute("/{path:path}", accepting)), {Use.WEBSOCKET: "/"}),
        (sockets(Route("/", page), WebSocketRoute("/live", accepting)), {Use.WEBSOCKET: "/live"}),
        (sockets(WebSocketRoute("/room/{name}", accepting)), {}),
    ],
    ids=["none", "route", "mounted", "anything", "at-a-request", "with-a-parameter"],
)
def test_where_websockets_are_accepted(look: Callable[[], dict[Use, str]], seen: dict[Use, str]) -> None:
    assert look() == seen


def test_a_protocol_router_says_so_itself() -> None:
    """As that of Channels does, whose routes are not listed."""
    channels = pytest.importorskip("channels.routing")
    app, notes = channels.ProtocolTypeRouter({"http": plain, "websocket": plain}), Notes()
    with Client(plain) as client:
        note_websockets(app, client, [], notes)
    assert notes.seen == {Use.WEBSOCKET: "its protocol router has them"}


def test_an_app_that_fails_at_a_handshake_accepts_none() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    with Client(app, lifespan="off") as client:
        assert not accepts_websocket(client, "/")
