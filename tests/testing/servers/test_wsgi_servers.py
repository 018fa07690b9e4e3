"""The WSGI servers in threads: concurrency, the end of what is in progress, stuck apps, missing libraries."""

from __future__ import annotations

import http.client
import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.served import wait_until

from bridge.exceptions import MissingDependency
from bridge.testing.served import start
from bridge.testing.servers import running as running_module
from bridge.testing.servers import wsgi_servers

PATIENCE = 20.0
SERVERS = ["waitress", "cheroot", "werkzeug", "wsgiref"]


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """A test of a server that is not installed is skipped."""
    callspec = getattr(request.node, "callspec", None)
    server = "" if callspec is None else callspec.params.get("server", "")
    if server:
        pytest.importorskip(server)


def connected(url: str) -> http.client.HTTPConnection:
    """A connection to the server at `url`."""
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)


class Waiting:
    """An app whose requests to /wait wait for `go`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            self.entered.set()
            self.go.wait()
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_does_not_wait_for_another(server: str) -> None:
    app = Waiting()
    with start(app, server) as running:
        slow, fast = connected(running.url), connected(running.url)
        slow.request("GET", "/wait")
        assert app.entered.wait(PATIENCE)
        fast.request("GET", "/")
        assert fast.getresponse().read() == b"done"
        app.go.set()
        assert slow.getresponse().read() == b"done"
        slow.close()
        fast.close()


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_in_progress_may_end_before_the_server_does(server: str) -> None:
    """While a connection that is kept alive without one does not keep the server."""
    app = Waiting()
    running = start(app, server, grace=PATIENCE)
    busy, idle = connected(running.url), connected(running.url)
    idle.request("GET", "/")
    idle.getresponse().read()
    busy.request("GET", "/wait")
    assert app.entered.wait(PATIENCE)
    closing = threading.Thread(target=running.close)
    closing.start()
    wait_until(lambda: not accepts(running.url), PATIENCE, "it has begun to end")
    app.go.set()
    assert busy.getresponse().read() == b"done"
    closing.join(PATIENCE / 2)
    assert not closing.is_alive()
    busy.close()
    idle.close()


def accepts(url: str) -> bool:
    """Whether a new connection is accepted."""
    connection = connected(url)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.parametrize("server", SERVERS)
def test_an_app_that_blocks_for_ever_is_left_behind(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a daemon thread, after the grace; so is a server that waits for it for ever, with a warning."""
    # Cheroot waits for its threads, so it is given up; the others end by themselves.
    monkeypatch.setattr(running_module, "ENDING", 0.1 if server == "cheroot" else 3 * PATIENCE)
    monkeypatch.setattr(wsgi_servers, "_FORCED", 0.05)
    app = Waiting()
    before = set(threading.enumerate())
    running = start(app, server, grace=0.1)
    connection = connected(running.url)
    connection.request("GET", "/wait")
    assert app.entered.wait(PATIENCE)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        running.close()
    assert time.monotonic() - began < PATIENCE
    assert ("has not ended" in caplog.text) == (server == "cheroot")
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    app.go.set()
    connection.close()


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_stays_silent_does_not_keep_the_server(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has connected and sent half a request, for which Cheroot would wait 10 seconds, others longer."""
    monkeypatch.setattr(wsgi_servers, "_FORCED", 0.05)
    running = start(Waiting(), server, grace=0.2)
    connection = connected(running.url)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"GET / HTTP/1.1\r\nHos")
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 9.0
    connection.close()


@pytest.mark.parametrize("server", ["waitress", "werkzeug", "wsgiref"])
def test_a_client_that_does_not_read_does_not_keep_the_server(server: str) -> None:
    """Its connection is closed after the grace, so that the thread that writes to it ends."""
    writing, left = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            for count in itertools.count():
                yield b"x" * 65536
                if count == 2:
                    writing.set()
        finally:
            left.set()

    running = start(app, server, grace=0.1)
    connection = connected(running.url)
    connection.request("GET", "/")
    assert writing.wait(PATIENCE)
    running.close()
    assert left.wait(PATIENCE)
    connection.close()


def test_werkzeug_leaves_what_it_logs_to_the_user(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As do the others; its own way sets a level and a handler."""
    serving = pytest.importorskip("werkzeug.serving")
    own: list[Any] = []
    monkeypatch.setattr(serving, "_log", lambda *arguments: own.append(arguments))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("on purpose")

    with caplog.at_level(logging.INFO, "werkzeug"), start(app, "werkzeug") as running:
        connection = connected(running.url)
        connection.request("GET", "/")
        assert connection.getresponse().status == 500
        connection.close()
    assert "GET / HTTP/1.1" in caplog.text
    assert "on purpose" in caplog.text
    assert own == []


@pytest.mark.parametrize(
    ("server", "extra"), [("waitress", "waitress"), ("cheroot", "cheroot"), ("werkzeug", "examples")]
)
def test_a_server_that_is_not_installed_is_named(
    server: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == server]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, server, None)
    words = rf"{server} is not installed: pip install 'wsgi-asgi-bridge\[{extra}\]'"
    with pytest.raises(MissingDependency, match=words):
        start(Waiting(), server)
