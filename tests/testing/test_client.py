"""The client through each way: exact requests, streaming, exchanges, errors, cookies, redirects, life."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from support.asgi_apps import Lifespan, body, finish, http, no_complaints, no_loop_left, respond, start
from support.drive import Signal
from support.engines import Thread, eventually, threads_named
from support.leftovers import no_longer_there, no_thread_left, own_garbage
from support.wsgi_apps import answer

from bridge import ASGIToWSGI
from bridge.exceptions import IncompleteResponse, StartupFailed, UsageError
from bridge.testing import Client, Request
from bridge.testing.validation.asgi import ASGIValidator
from bridge.testing.validation.wsgi import WSGIValidator
from bridge.testing.ways import Via


class Boom(Exception):
    """What the apps of these tests raise."""


# -- the same app, written for both interfaces


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise Boom
    if path == "/half":
        start_response("200 OK", [])
        return wsgi_half()
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return wsgi_events()
    if path == "/echo":
        start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [environ["wsgi.input"].read()]
    if path == "/move":
        start_response("302 Found", [("Location", "/seen?moved"), ("Set-Cookie", "been=there; Path=/")])
        return [b"moved"]
    if path == "/loop":
        start_response("302 Found", [("Location", "/loop")])
        return []
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": path,
        "query": environ["QUERY_STRING"],
        "target": environ["REQUEST_URI"],
        "x": environ.get("HTTP_X_SEEN"),
        "cookie": environ.get("HTTP_COOKIE"),
        "root": environ["SCRIPT_NAME"],
        "client": environ.get("REMOTE_ADDR"),
        "extra": environ.get("bridge.extra"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


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
    if path == "/half":
        await send(start())
        await send(body(b"half", more=True))
        raise Boom
    if path == "/events":
        await send(start(200, [(b"Content-Type", b"text/event-stream")]))
        while True:
            await send(body(b"data: x\n\n", more=True))
            await asyncio.sleep(0)
    if path == "/echo":
        pieces = []
        more = True
        while more:
            message = await receive()
            pieces.append(message["body"])
            more = message["more_body"]
        await send(start(200, [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]))
        await send(body(b"".join(pieces)))
        return
    if path == "/move":
        headers = [(b"Location", b"/seen?moved"), (b"Set-Cookie", b"been=there; Path=/")]
        await send(start(302, headers))
        await send(body(b"moved"))
        return
    if path == "/loop":
        await send(start(302, [(b"Location", b"/loop")]))
        await send(body())
        return
    values: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name, []).append(value.decode("latin-1"))
    query = scope["query_string"].decode("latin-1")
    seen = {
        "method": scope["method"],
        "path": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "query": query,
        "target": scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        "x": ",".join(values[b"x-seen"]) if b"x-seen" in values else None,
        "cookie": "; ".join(values[b"cookie"]) if b"cookie" in values else None,
        "root": scope["root_path"],
        "client": (scope["client"] or [None])[0],
        "extra": scope.get("bridge.extra"),
    }
    await send(start(200, [(b"Content-Type", b"application/json")]))
    await send(body(json.dumps(seen).encode()))


VIAS: list[Via] = ["native", "asgi", "wsgi", "roundtrip"]
WAYS = [
    pytest.param(app, via, id=f"{name}-{via}")
    for name, app in (("wsgi", wsgi_app), ("asgi", asgi_app))
    for via in VIAS
]
every_way = pytest.mark.parametrize(("app", "via"), WAYS)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bridge.testing.transports.asgi_host.DISCONNECT_GRACE", 0.01)
    with no_complaints(), no_loop_left():
        yield


# -- requests as they were meant

TARGETS = [
    ("/", "/", ""),
    ("/a/b?c=d&e", "/a/b", "c=d&e"),
    ("/%C3%A9", "/\xc3\xa9", ""),
    ("/a%2Fb", "/a/b", ""),
    ("//a//b/", "//a//b/", ""),
    ("/a/../b/./c", "/a/../b/./c", ""),
    ("/a;p=1", "/a;p=1", ""),
    ("/a+b%20c", "/a+b c", ""),
    ("/%2541", "/%41", ""),
    ("/?a?b=%26", "/", "a?b=%26"),
    ("/%", "/%", ""),
]


@every_way
def test_exchange_sends_every_target_as_it_is(app: Any, via: Via) -> None:
    with Client(app, via=via, base_url="http://testserver/not/this") as client:
        for target, path, query in TARGETS:
            seen = json.loads(client.exchange(target).body)
            assert (seen["target"], seen["path"], seen["query"]) == (target, path, query)
        # Bytes that are no UTF-8 cannot be told from each other in an ASGI path.
        seen = json.loads(client.exchange("/%ff").body)
        assert seen["target"] == "/%ff"
        assert seen["path"] == ("/\xef\xbf\xbd" if app is asgi_app else "/\xff")


@every_way
def test_headers_are_repeated_and_exact_in_both_directions(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        request = Request("POST", "/echo", (("X-Seen", "1"), ("x-seen", "2")), b"body")
        response = client.exchange(request)
        assert response.all("set-cookie") == ["a=1", "b=2"]
        assert response.body == b"body"
        seen = json.loads(client.exchange(Request("GET", "/", (("X-Seen", "1"), ("X-seen", "2")))).body)
        assert seen["x"] == "1,2"


@every_way
def test_what_the_library_offers_works(app: Any, via: Via) -> None:
    with Client(app, via=via, params={"q": "1"}, headers={"X-Seen": "always"}) as client:
        assert client.get("/n\u00f6tes").json()["path"] == "/n\xc3\xb6tes"
        assert client.get("/").json()["query"] == "q=1"
        assert client.get("/").json()["x"] == "always"
        assert client.post("/echo", json={"a": 1}).json() == {"a": 1}
        assert b'filename="f.txt"' in client.post("/echo", files={"f": ("f.txt", b"content")}).content
        assert client.post("/echo", data={"a": "b c"}).text == "a=b+c"
        assert client.head("/").content == b""
        assert client.put("/").json()["method"] == "PUT"


@every_way
def test_root_client_and_further_keys(app: Any, via: Via) -> None:
    with Client(app, via=via, root_path="/app", client=("10.0.0.1", 1), extra={"bridge.extra": 7}) as client:
        seen = client.get("/app/x").json()
        assert (seen["root"], seen["client"]) == ("/app", "10.0.0.1")
        if via == "native":
            assert seen["extra"] == 7


# -- streaming


@every_way
def test_the_first_event_of_an_endless_response_comes_and_closing_ends_it(app: Any, via: Via) -> None:
    with Client(app, via=via) as client, client.stream("GET", "/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert next(response.iter_lines()) == "data: x"


@every_way
def test_uploads_stream(app: Any, via: Via) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(50):
            yield b"%d" % (number % 10) * 5000

    with Client(app, via=via) as client:
        assert client.post("/echo", content=pieces()).content == b"".join(pieces())


# -- errors


@every_way
def test_what_the_app_raises_before_its_response(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        with pytest.raises(Boom):
            client.get("/boom")
        response = client.exchange("/boom")
        assert (response.status, type(response.error), response.complete) == (0, Boom, False)
        assert client.get("/").status_code == 200
    with Client(app, via=via, raise_app_exceptions=False) as client:
        assert client.get("/boom").status_code == 500
        response = client.exchange("/boom")
        assert (response.status, response.error) == (500, None)


@every_way
def test_what_the_app_raises_within_its_response(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        with pytest.raises(Boom):
            client.get("/half")
        response = client.exchange("/half")
        assert (response.status, response.body, type(response.error)) == (200, b"half", Boom)
        assert not response.complete
    with Client(app, via=via, raise_app_exceptions=False) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get("/half")
        assert isinstance(client.exchange("/half").error, httpx2.RemoteProtocolError)


@pytest.mark.parametrize("via", ["native", "asgi"])
def test_a_time_out_is_a_result_of_an_exchange(via: Via) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    with Client(app, via=via, timeout=0.05) as client:
        assert isinstance(client.exchange("/").error, httpx2.ReadTimeout)
        with pytest.raises(httpx2.ReadTimeout):
            client.get("/")


@pytest.mark.parametrize("via", ["native", "wsgi"])
def test_an_app_without_an_answer(via: Via) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with Client(app, via=via) as client, pytest.raises(IncompleteResponse):
        client.get("/")


@every_way
def test_an_interrupt_is_never_an_answer(app: Any, via: Via) -> None:
    """The user's Ctrl-C, wherever the main thread happens to be."""

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with Client(app, via=via) as client, pytest.raises(KeyboardInterrupt):
        client.post("/echo", content=pieces())


# -- cookies and redirects


@every_way
def test_cookies_are_kept_and_sent(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        client.get("/move")
        assert client.cookies["been"] == "there"
        assert client.get("/").json()["cookie"] == "been=there"
        client.cookies.clear()
        client.exchange("/move")
        assert json.loads(client.exchange("/").body)["cookie"] == "been=there"


@every_way
def test_redirects_are_followed_when_asked_for(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        assert client.get("/move").status_code == 302
        followed = client.get("/move", follow_redirects=True)
        assert (followed.json()["query"], len(followed.history)) == ("moved", 1)
        assert client.exchange("/move").status == 302
        response = client.exchange("/move", follow_redirects=True)
        assert json.loads(response.body)["target"] == "/seen?moved"
        (first,) = response.history
        assert (first.status, first.body, first.header("location")) == (302, b"moved", "/seen?moved")


@pytest.mark.parametrize("app", [wsgi_app, asgi_app], ids=["wsgi", "asgi"])
def test_a_ring_of_redirects_has_an_end(app: Any) -> None:
    with Client(app, max_redirects=3) as client:
        response = client.exchange("/loop", follow_redirects=True)
        assert isinstance(response.error, httpx2.TooManyRedirects)
        assert len(response.history) == 4
        with pytest.raises(httpx2.TooManyRedirects):
            client.get("/loop", follow_redirects=True)


def test_a_body_that_is_encoded_stays_so_in_an_exchange() -> None:
    import gzip

    encoded = gzip.compress(b"hello")
    app = answer(encoded, headers=[("Content-Encoding", "gzip")])
    with Client(app) as client:
        assert client.exchange("/").body == encoded
        assert client.get("/").content == b"hello"


def test_trailers_come_with_an_exchange() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(trailers=True))
        await send(body(b"body"))
        await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")]})

    with Client(app) as client:
        assert client.exchange("/").trailers == (("X-Sum", "1"),)


def test_an_exchange_has_the_reason_where_there_is_one() -> None:
    with Client(answer(status="404 Not Here")) as client:
        assert client.exchange("/").reason == "Not Here"
    with Client(respond(b"")) as client:
        assert client.exchange("/").reason == ""


def test_event_hooks_and_authentication_hold_for_exchanges() -> None:
    seen: list[str] = []
    hooks: dict[str, list[Any]] = {"request": [lambda request: seen.append(request.headers["Authorization"])]}
    with Client(wsgi_app, auth=("ada", "secret"), event_hooks=hooks) as client:
        assert client.exchange("/").status == 200
    assert seen == ["Basic YWRhOnNlY3JldA=="]


# -- life


LIFESPAN_WAYS = pytest.mark.parametrize("via", VIAS)


@LIFESPAN_WAYS
def test_lifespan_starts_at_entry_and_ends_with_the_client(via: Via) -> None:
    async def keep(scope: Any) -> None:
        scope["state"]["db"] = "open"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, scope["state"]["db"].encode())

    lifespan = Lifespan(app, startup=keep)
    with Client(lifespan, via=via) as client:
        assert lifespan.log == ["startup"]
        assert client.get("/x").text == "open"
    assert lifespan.log == ["startup", "/x", "shutdown", "left"]


@LIFESPAN_WAYS
def test_lifespan_starts_with_the_first_request_without_a_context(via: Via) -> None:
    lifespan = Lifespan()
    client = Client(lifespan, via=via)
    assert lifespan.log == []
    assert client.get("/").text == "ok"
    client.close()
    client.close()
    assert lifespan.log == ["startup", "/", "shutdown", "left"]


@LIFESPAN_WAYS
def test_a_startup_that_fails_is_raised_and_leaves_nothing(via: Via) -> None:
    async def fail(scope: Any) -> None:
        raise Boom

    client = Client(Lifespan(startup=fail), via=via, lifespan="on")
    with pytest.raises(StartupFailed), client:
        raise AssertionError
    assert client.is_closed
    client = Client(Lifespan(startup=fail), via=via, lifespan="on")
    with pytest.raises(StartupFailed):
        client.exchange("/")
    client.close()


@LIFESPAN_WAYS
def test_the_lifespan_can_be_left_out(via: Via) -> None:
    lifespan = Lifespan()
    with Client(lifespan, via=via, lifespan="off") as client:
        assert client.get("/").text == "ok"
    assert lifespan.log == ["/"]


def test_the_loop_can_be_chosen() -> None:
    uvloop = pytest.importorskip("uvloop")
    made: list[Any] = []

    def factory() -> Any:
        made.append(uvloop.new_event_loop())
        return made[-1]

    for via in VIAS:
        with Client(asgi_app, via=via, loop_factory=factory) as client:
            assert client.get("/").status_code == 200
    assert len(made) == 5  # two for the way through both adapters


def test_a_closed_client_sends_nothing() -> None:
    client = Client(wsgi_app)
    client.close()
    with pytest.raises(UsageError, match="has been closed"):
        client.exchange("/")
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/")


@every_way
@no_thread_left()
def test_no_thread_is_left(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:
        client.get("/")
        with client.stream("GET", "/events"):
            pass


@pytest.mark.parametrize(
    ("app", "via"),
    [(asgi_app, "native"), (asgi_app, "wsgi"), (asgi_app, "roundtrip"), (wsgi_app, "asgi")],
    ids=["native", "wsgi", "roundtrip", "asgi"],
)
@own_garbage()
def test_a_client_that_was_forgotten_leaves_no_loop(app: Any, via: Via) -> None:
    before = set(threads_named("bridge-loop"))  # other modules' apps may be at work
    client = Client(app, via=via)
    client.get("/")
    gone = weakref.ref(client)
    del client
    no_longer_there(gone)
    # What is behind a loop may be garbage only when the loop has ended.
    eventually(
        lambda: gc.collect() >= 0 and set(threads_named("bridge-loop")) <= before, "the end of the loop"
    )


@every_way
def test_many_threads_share_a_client(app: Any, via: Via) -> None:
    with Client(app, via=via) as client:

        def ask(number: int) -> list[Any]:
            return [client.get(f"/{number}/{again}").json()["path"] for again in range(5)]

        threads = [Thread(lambda number=number: ask(number)) for number in range(8)]  # type: ignore[misc]
        for number, thread in enumerate(threads):
            assert thread.outcome() == [f"/{number}/{again}" for again in range(5)]


@pytest.mark.parametrize("via", ["native", "asgi", "wsgi"])
def test_work_after_a_response_goes_on_and_can_be_waited_for(via: Via) -> None:
    go_on, done = Signal(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"done")
        await go_on.come()
        done.set()

    with Client(app, via=via) as client:
        assert client.get("/").text == "done"
        assert client.wait_for_background(0.01) is False
        go_on.set()
        assert client.wait_for_background() is True
        assert done.is_set


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("app", "expected"), [(wsgi_app, 0), (asgi_app, 3)], ids=["wsgi", "asgi"])
def test_in_a_forked_child(app: Any, expected: int) -> None:
    """A WSGI app is called as before; the loop of an ASGI app is not there, and the client says so."""
    with Client(app) as client:
        client.get("/")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if client.get("/").status_code == 200 else 2
            except UsageError:
                code = 3
            finally:
                client.close()
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == expected
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("raises", [True, False])
def test_the_validators_find_nothing_wrong_with_the_server(raises: bool) -> None:
    asgi = ASGIValidator(asgi_app, on_violation="collect")
    wsgi = WSGIValidator(wsgi_app, on_violation="collect")
    for app in (asgi, wsgi):
        with Client(app, raise_app_exceptions=raises) as client:
            for target, _, _ in [*TARGETS, ("/%ff", "", ""), ("/boom", "", ""), ("/half", "", "")]:
                client.exchange(target)
            client.exchange("/move", follow_redirects=True)
            client.post("/echo", content=iter([b"a", b"b"]))
            client.post("/echo", content=b"abc" * 100_000)
            client.head("/")
            with client.stream("GET", "/events") as response:
                next(response.iter_raw())
        assert [each for each in app.violations if each.side == "server"] == []


def test_websockets() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] + scope["path"]})

    with Client(app) as client, client.websocket_connect("/ws", ["chat"]) as session:
        session.send_text("hello ")
        assert session.receive_text() == "hello /ws"
    with Client(wsgi_app) as client, pytest.raises(UsageError):
        client.websocket_connect("/ws")


# -- options


@pytest.mark.parametrize(
    ("app", "options", "words"),
    [
        (object(), {}, "expected an app"),
        (wsgi_app, {"via": "both"}, "via is one of"),
        (wsgi_app, {"root_path": "app"}, "begins with a slash"),
        (asgi_app, {"lifespan": "yes"}, "lifespan is one of"),
        (asgi_app, {"client": "10.0.0.1"}, "pair of address and port"),
    ],
)
def test_options_that_are_not_usable(app: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Client(app, **options)


def test_what_it_says_of_itself() -> None:
    with Client(wsgi_app, via="asgi") as client:
        assert (client.app, client.via, client.interface) == (wsgi_app, "asgi", "asgi")


def test_any_function_can_be_the_way() -> None:
    with Client(asgi_app, via=lambda app: ASGIToWSGI(app)) as client:
        assert client.interface == "wsgi"
        assert client.get("/x").json()["path"] == "/x"


def test_requests_may_be_given_in_short() -> None:
    with Client(wsgi_app) as client:
        assert json.loads(client.exchange("PATCH /x").body)["method"] == "PATCH"
        assert client.exchange({"url": "/echo", "method": "POST", "json": [1]}).body == b"[1]"
        with pytest.raises(UsageError):
            client.exchange(5)  # type: ignore[arg-type]


# -- a real server


@pytest.mark.parametrize(
    ("app", "server"), [(wsgi_app, "waitress"), (asgi_app, "uvicorn")], ids=["waitress", "uvicorn"]
)
@no_thread_left(daemons=False)
def test_served(app: Any, server: str) -> None:
    pytest.importorskip(server)
    with Client.served(app, server, headers={"X-Seen": "always"}) as client:
        for target, path, query in TARGETS:
            if "//" in target and server == "waitress":
                continue  # it takes what follows for a host, and strips it
            seen = json.loads(client.exchange(target).body)
            assert (seen["target"].partition("?")[0], seen["path"], seen["query"]) == (
                target.partition("?")[0],
                path,
                query,
            )
        response = client.exchange(Request("POST", "/echo", (), (b"a", b"b")))
        assert (response.status, response.reason, response.body) == (200, "OK", b"ab")
        assert response.all("set-cookie") == ["a=1", "b=2"]
        assert json.loads(client.exchange("/").body)["x"] == "always"
        assert client.get("/move", follow_redirects=True).json()["query"] == "moved"
        assert client.exchange("/half").body == b"half"
        assert isinstance(client.exchange("/half").error, httpx2.RemoteProtocolError)
