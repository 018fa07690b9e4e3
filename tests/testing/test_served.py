"""An app on real servers: the same requests get the same answers as in process; start, end and errors."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.leftovers import no_thread_left
from support.served import reserve_port

import bridge
from bridge.adapters.asgi_to_wsgi import ASGIToWSGI
from bridge.exceptions import StartupFailed, UsageError
from bridge.serving.servers import SERVERS
from bridge.testing import served
from bridge.testing.client import Client
from bridge.testing.exchange import Request, Response
from bridge.testing.served import IN_PROCESS, IN_THREAD, start

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """A test of a server that is not installed is skipped."""
    callspec = getattr(request.node, "callspec", None)
    server = "" if callspec is None else callspec.params.get("server", "")
    if server:
        pytest.importorskip(server)


class Site:
    """An app in both interfaces; `left` is set when an endless response has lost its client."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        path = scope["path"]
        if path == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await self._endlessly(receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if path == "/error":
            raise ValueError("on purpose")
        names = [(name.decode().lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        answer = self.answer(path, scope["query_string"].decode(), scope["method"], dict(names), body)
        headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        headers.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        # Of a response to HEAD, no server but an ASGI one drops the body.
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer})

    async def _endlessly(self, receive: Any, send: Any) -> None:
        # Servers tell of a client that has left by either of: a message, and an error of send().
        gone = asyncio.ensure_future(self._disconnect(receive))
        piece = b"first"
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = b"more" * 4096
                await asyncio.sleep(0.01)
        except OSError:
            pass
        finally:
            gone.cancel()
            self.left.set()

    async def _disconnect(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"].encode("latin-1").decode()
        if path == "/endless":
            start_response("200 OK", [])
            return self._endless()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path == "/error":
            raise ValueError("on purpose")
        headers = {key[5:].lower().replace("_", "-"): environ[key] for key in environ if key[:5] == "HTTP_"}
        answer = self.answer(path, environ["QUERY_STRING"], environ["REQUEST_METHOD"], headers, body)
        pairs = [("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("201 Created", [*pairs, ("Content-Length", str(len(answer)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer]

    def _endless(self) -> Iterator[bytes]:
        try:
            yield b"first"
            while True:
                time.sleep(0.01)
                yield b"more" * 4096
        finally:
            self.left.set()

    @staticmethod
    def answer(path: str, query: str, method: str, headers: dict[str, str], body: bytes) -> bytes:
        """What both interfaces answer with."""
        seen = {name: headers.get(name) for name in ("host", "x-one", "x-text", "cookie")}
        seen["host"] = str(seen["host"]).partition(":")[0]
        return json.dumps([path, query, method, seen, len(body), sum(body)]).encode()


REQUESTS = {
    "plain": Request("GET", "/"),
    "path-and-query": Request("GET", "/caf\u00e9/%F0%9F%90%8D/a+b?q=%C3%A9&q=2&empty"),
    "headers": Request("GET", "/", (("X-One", "1"), ("X-Text", "caf\xe9"), ("Cookie", "k=v"))),
    "upload": Request("POST", "/upload", (), bytes(range(256)) * 1000),
    "head": Request("HEAD", "/"),
    "delete": Request("DELETE", "/thing"),
    # Cheroot closes the connection after it, and does not say so.
    "error": Request("GET", "/error", (("Connection", "close"),)),
}


def essence(response: Response) -> tuple[Any, ...]:
    """What must not depend on the server."""
    if response.status == 500:
        return (500,)  # the page is the server's own
    length = response.header("content-length")
    return response.status, response.body, response.header("content-type"), response.all("set-cookie"), length


@pytest.fixture(scope="module", params=[(s, i) for s in IN_THREAD for i in ("asgi", "wsgi")], ids="-".join)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Client, Client]]:
    """A site, a client of it in process and a client of it on a server."""
    server, interface = request.param
    pytest.importorskip(server)
    site = Site()
    app = getattr(site, interface)
    # "localhost" and not "testserver": Host is part of the answer.
    with (
        Client(app, raise_app_exceptions=False, base_url="http://127.0.0.1") as inside,
        Client.served(app, server) as outside,
    ):
        yield site, inside, outside


@pytest.mark.xdist_group("served")
class TestSameAnswers:
    """By each server that runs in a thread, for an app of each interface."""

    @pytest.mark.parametrize("name", REQUESTS)
    def test_a_server_answers_as_in_process(self, pair: tuple[Site, Client, Client], name: str) -> None:
        _, inside, outside = pair
        for client in (inside, outside):
            client.cookies.clear()  # which other tests have been given
        expected = essence(inside.exchange(REQUESTS[name]))
        assert expected[0] == (500 if name == "error" else 201)
        assert essence(outside.exchange(REQUESTS[name])) == expected

    def test_the_first_piece_of_an_endless_response_arrives(self, pair: tuple[Site, Client, Client]) -> None:
        """And the app learns that its client has left."""
        site, _, outside = pair
        site.left.clear()
        with outside.stream("GET", "/endless") as response:
            assert next(response.iter_raw()).startswith(b"first")
        assert site.left.wait(PATIENCE)
        assert outside.get("/").status_code == 201


def greet(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI app that tells by what it was called."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["SERVER_SOFTWARE"].encode() if "SERVER_SOFTWARE" in environ else b"bridge"]


class Life:
    """An ASGI app with a lifespan that notes what happens to it, in which thread."""

    def __init__(self, failure: str | None = None) -> None:
        self.events: list[str] = []
        self.threads: set[str] = set()
        self._failure = failure

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.threads.add(threading.current_thread().name)
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                if self._failure is not None:
                    await send({"type": f"{kind}.failed", "message": f"Traceback\n  ...\n{self._failure}"})
                    return
                self.events.append(kind)
                scope["state"]["greeting"] = b"hello"
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        self.events.append(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["state"]["greeting"]})


@pytest.mark.parametrize("server", IN_THREAD)
def test_the_lifespan_runs_around_the_requests(server: str) -> None:
    app = Life()
    with start(app, server) as running:
        assert running.server == server
        assert running.url.startswith("http://127.0.0.1:")
        assert running.output == ""
        assert app.events == ["lifespan.startup"]
        with Client(None, transport=_direct(), base_url=running.url) as client:
            assert client.get("/").content == b"hello"
    assert app.events == ["lifespan.startup", "http", "lifespan.shutdown"]


def _direct() -> httpx2.HTTPTransport:
    return httpx2.HTTPTransport()


@pytest.mark.parametrize("server", IN_THREAD)
def test_a_lifespan_that_fails_is_an_error_at_once(server: str) -> None:
    """It carries the last line of what the app said, and nothing is left."""
    with no_thread_left(), pytest.raises(StartupFailed, match="startup failed: no database"):
        start(Life("no database"), server)


@pytest.mark.parametrize("server", IN_THREAD)
def test_a_port_that_is_taken_is_an_error_at_once(server: str) -> None:
    with start(greet, "wsgiref") as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(UsageError, match="cannot listen"):
            start(greet, server, port=port)


@pytest.mark.parametrize("server", IN_THREAD)
@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_nothing_is_left_after_the_end(server: str, app: str) -> None:
    """No thread, and nobody listens there; closing again does nothing."""
    # Nobody else is given the port meanwhile; not every system lets a server listen there nevertheless.
    with reserve_port() as reservation:
        reserved = reservation.getsockname()[1] if sys.platform == "linux" else 0
        with no_thread_left():
            running = start(getattr(Site(), app), server, port=reserved)
            with Client(None, transport=_direct(), base_url=running.url) as client:
                assert client.get("/").status_code == 201
                running.close()  # with a connection that is kept alive
                running.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))


@pytest.mark.parametrize("server", IN_THREAD)
def test_signals_and_logging_are_left_alone(
    server: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers of signals, of the root logger and of the server's own loggers; nothing is printed."""
    names = ["", *logging.root.manager.loggerDict]
    for name in names[1:]:  # what other tests have left would print
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])

    def state() -> Any:
        handlers = [(name, list(logging.getLogger(name).handlers)) for name in names]
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), handlers

    before = state()
    with (
        start(Site().wsgi, server) as running,
        Client(None, transport=_direct(), base_url=running.url) as client,
    ):
        client.get("/")
        assert state() == before
    assert state() == before
    new = [name for name in logging.root.manager.loggerDict if name not in names]
    assert [name for name in new if logging.getLogger(name).handlers] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("via", "inside"),
    [
        ("native", "uvicorn"),
        ("asgi", "uvicorn"),
        ("wsgi", "WSGI"),
        ("roundtrip", "WSGI"),
        (ASGIToWSGI, "WSGI"),
    ],
    ids=["native", "asgi", "wsgi", "roundtrip", "function"],
)
def test_an_app_takes_the_way_that_is_asked_for(
    via: Any, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Uvicorn, an ASGI app that is called through WSGI runs on another loop than Uvicorn's."""
    threads: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("none")
        threads.append(threading.get_ident())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    loops: list[int] = []

    def outermost(wrapped: Any) -> Any:
        async def noted(scope: Any, receive: Any, send: Any) -> None:
            loops.append(threading.get_ident())
            await wrapped(scope, receive, send)

        return noted

    original = served._ASGI["uvicorn"]
    monkeypatch.setitem(served._ASGI, "uvicorn", lambda app, **options: original(outermost(app), **options))
    with Client.served(app, "uvicorn", via=via) as client:
        assert client.get("/").content == b"ok"
    assert (threads[0] != loops[-1]) == (inside == "WSGI")


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "gunicorn": (
        lambda: start(greet, "gunicorn"),
        r"forks its workers.*target string.*start\(\"shop.web:app\", \"gunicorn\"\)",
    ),
    "uwsgi": (lambda: start(greet, "uwsgi"), "embeds the interpreter"),
    "daphne": (lambda: start(greet, "daphne"), "reactor"),
    "granian": (lambda: start(greet, "granian"), "logging"),
    "unknown": (lambda: start(greet, "apache"), "one of uvicorn, hypercorn, waitress.*got 'apache'"),
    "unknown-for-target": (lambda: start("a:b", "werkzeug"), "one of uvicorn, gunicorn.*got 'werkzeug'"),
    "via-for-target": (lambda: start("a:b", via="wsgi"), "import the app"),
    "no-app": (lambda: start(12), "expected an app"),
    "via": (lambda: start(greet, via="sideways"), "via is one of"),  # type: ignore[arg-type]
    "address": (lambda: start(greet, host="192.0.2.1"), "cannot listen on 192.0.2.1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_a_remedy(case: str) -> None:
    call, words = REFUSED[case]
    with pytest.raises(UsageError, match=f"(?s){words}"):
        call()


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "uvicorn-unknown": ({"server": "uvicorn", "colour": "blue"}, "uvicorn refuses.*colour"),
    "uvicorn-own": ({"server": "uvicorn", "workers": 2}, "workers is for bridge"),
    "hypercorn-unknown": ({"server": "hypercorn", "colour": "blue"}, "no setting 'colour'"),
    "hypercorn-own": ({"server": "hypercorn", "bind": "x"}, "bind is for bridge"),
    "waitress-unknown": ({"server": "waitress", "colour": "blue"}, "waitress refuses.*colour"),
    "waitress-own": ({"server": "waitress", "listen": "x"}, "listen is for bridge"),
    "cheroot-unknown": ({"server": "cheroot", "colour": "blue"}, "cheroot refuses.*colour"),
    "cheroot-own": ({"server": "cheroot", "bind_addr": "x"}, "bind_addr is for bridge"),
    "werkzeug": ({"server": "werkzeug", "colour": "blue"}, "passthrough_errors, ssl_context; got colour"),
    "wsgiref": ({"server": "wsgiref", "colour": "blue"}, "no options; got colour"),
    "process-own": ({"app": "x:y", "uds": "/tmp/x"}, "uds is for bridge"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_a_server_does_not_take_are_refused(case: str) -> None:
    options, words = OPTIONS[case]
    pytest.importorskip(options.get("server", "uvicorn"))
    with pytest.raises(UsageError, match=words):
        start(**{"app": greet, **options})


GOOD_OPTIONS: dict[str, dict[str, Any]] = {
    "uvicorn": {"root_path": "/root"},
    "hypercorn": {"root_path": "/root"},
    "waitress": {"url_prefix": "/root"},
    "cheroot": {"server_name": "named"},
}


@pytest.mark.parametrize("server", GOOD_OPTIONS)
def test_options_reach_the_server(server: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['SCRIPT_NAME']} {environ['SERVER_NAME']}".encode()]

    with Client.served(app, server, **GOOD_OPTIONS[server]) as client:
        # Uvicorn takes the root path as a prefix that a proxy has cut, Waitress as one to be cut.
        answer = client.get("/root/x").text
    assert ("/root" in answer) or ("named" in answer)


def test_a_server_that_was_not_closed_does_not_keep_the_interpreter(tmp_path: Path) -> None:
    """Of each kind, one whose app blocks for ever among them; lifespans are shut down at exit."""
    script = tmp_path / "unclosed.py"
    script.write_text(
        "import threading, urllib.request\n"
        "from bridge.testing.served import start\n"
        "from bridge.testing.servers import wsgi_servers\n"
        "wsgi_servers._FORCED = 0.05\n"
        "entered = threading.Event()\n"
        "async def app(scope, receive, send):\n"
        "    while True:\n"
        "        kind = (await receive())['type']\n"
        "        await send({'type': kind + '.complete'})\n"
        "        if kind == 'lifespan.shutdown':\n"
        "            print('shut down', flush=True)\n"
        "            return\n"
        "def stuck(environ, start_response):\n"
        "    entered.set()\n"
        "    threading.Event().wait()\n"
        "def get(url):\n"
        "    try:\n"
        "        urllib.request.urlopen(url)\n"
        "    except Exception:\n"
        "        pass\n"
        "keep = [start(app, 'uvicorn'), start(app, 'werkzeug'), start('unclosed_target:app')]\n"
        "last = start(stuck, 'wsgiref', grace=0.1)\n"
        "threading.Thread(target=get, args=(last.url,), daemon=True).start()\n"
        "entered.wait()\n"
        "print('end of main', flush=True)\n"
    )
    (tmp_path / "unclosed_target.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']\n"
    )
    package = str(Path(str(bridge.__file__)).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([package, str(tmp_path)])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["end of main", "shut down", "shut down"]


def test_the_names_of_the_servers() -> None:
    """What serves a target is what `bridge serve` has."""
    assert set(IN_PROCESS) == set(SERVERS)
