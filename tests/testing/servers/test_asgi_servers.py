"""Uvicorn and Hypercorn in a thread: the end of what is in progress, failures, and missing libraries."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sys
import threading
import time
from typing import Any

import pytest
from support.leftovers import no_thread_left

from bridge.exceptions import MissingDependency, StartupFailed
from bridge.testing.served import start
from bridge.testing.servers import asgi_servers
from bridge.testing.servers import running as running_module
from bridge.testing.servers.asgi_servers import OnLoop

PATIENCE = 20.0
SERVERS = ["uvicorn", "hypercorn"]


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """A test of a server that is not installed is skipped."""
    callspec = getattr(request.node, "callspec", None)
    server = "" if callspec is None else callspec.params.get("server", "")
    if server:
        pytest.importorskip(server)


@pytest.fixture(autouse=True)
def no_second_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends within `PATIENCE` has not been given up."""
    for module in (asgi_servers, running_module):
        monkeypatch.setattr(module, "ENDING", 3 * PATIENCE)


def connected(url: str) -> http.client.HTTPConnection:
    """A connection to the server at `url`."""
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)


class Waiting:
    """An app whose requests wait for `go`, and which notes what happens to them."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                self.events.append(kind)
                await send({"type": f"{kind}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        self.entered.set()
        try:
            while not self.go.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        await send({"type": "http.response.body", "body": b" last"})
        self.events.append("request done")


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_in_progress_may_end_before_the_server_does(server: str) -> None:
    app = Waiting()
    running = start(app, server, grace=PATIENCE)
    connection = connected(running.url)
    connection.request("GET", "/")
    assert app.entered.wait(PATIENCE)
    closing = threading.Thread(target=running.close)
    closing.start()
    app.go.set()
    assert connection.getresponse().read() == b"first last"
    connection.close()
    closing.join(PATIENCE / 2)
    assert not closing.is_alive()
    assert app.events == ["lifespan.startup", "request done", "lifespan.shutdown"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_that_outlasts_the_grace_is_cancelled(server: str) -> None:
    """And the lifespan is shut down all the same, after it."""
    app = Waiting()
    running = start(app, server, grace=0.1)
    connection = connected(running.url)
    connection.request("GET", "/")
    assert app.entered.wait(PATIENCE)
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < PATIENCE
    connection.close()
    assert app.events == ["lifespan.startup", "cancelled", "lifespan.shutdown"]


@pytest.mark.parametrize("server", SERVERS)
def test_an_app_that_raises_in_its_startup_has_no_lifespan(server: str) -> None:
    """As the servers see it (ASGI Lifespan 2.0)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            raise RuntimeError("no lifespan here")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with start(app, server) as running:
        connection = connected(running.url)
        connection.request("GET", "/")
        assert connection.getresponse().status == 204
        connection.close()


@pytest.mark.parametrize("server", SERVERS)
def test_the_cause_of_a_failed_startup_is_kept(server: str) -> None:
    """Starlette tells of the failure and then raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            raise ValueError("no database")
        except ValueError:
            await send({"type": "lifespan.startup.failed", "message": ""})
            raise

    with pytest.raises(StartupFailed, match="it gave no reason") as caught:
        start(app, server)
    assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("server", SERVERS)
def test_a_failed_startup_counts_also_if_the_app_goes_on(server: str) -> None:
    """Hypercorn would serve."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with contextlib.suppress(Exception):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(StartupFailed, match="no database"):
        start(app, server)
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("server", SERVERS)
@no_thread_left()
def test_a_startup_that_takes_too_long_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is cancelled, and its threads end."""
    entered, cancelled = threading.Event(), threading.Event()
    launch = OnLoop._launch

    def launch_and_enter(self: OnLoop) -> None:
        launch(self)
        assert entered.wait(PATIENCE)

    monkeypatch.setattr(OnLoop, "_launch", launch_and_enter)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    began = time.monotonic()
    with pytest.raises(StartupFailed, match=r"did not serve within 0\.1 seconds"):
        start(app, server, timeout=0.1, grace=0.0)
    assert time.monotonic() - began < PATIENCE
    assert cancelled.wait(PATIENCE)


@pytest.mark.parametrize("server", SERVERS)
def test_several_run_at_a_time(server: str) -> None:
    """Each on a loop of its own."""
    threads: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("none")
        threads.append(threading.get_ident())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with start(app, server) as one, start(app, server) as two:
        for running in (one, two):
            connection = connected(running.url)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
    assert len(set(threads)) == 2


@pytest.mark.parametrize(("server", "extra"), [("uvicorn", "serve"), ("hypercorn", "hypercorn")])
def test_a_server_that_is_not_installed_is_named(
    server: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == server]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, server, None)
    with pytest.raises(
        MissingDependency, match=rf"{server} is not installed: pip install 'wsgi-asgi-bridge\[{extra}\]'"
    ):
        start(Waiting(), server)
