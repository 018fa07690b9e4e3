"""Async views of Flask, and plain asgiref in sync views, run on the server's own event loop.

So what is bound to a loop (a connection pool, a lock, a task) can be used across requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import httpx2
import pytest
from frameworks import flask_async_site
from starlette.testclient import TestClient
from support.frameworks import serve

pytestmark = pytest.mark.xdist_group("flask_async")


class Upstream:
    """A tiny HTTP/1.1 server on a loop and thread of its own; counts the connections by first path."""

    def __init__(self) -> None:
        self.connections: list[str] = []
        self.requests: list[str] = []
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Upstream:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = False
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                self.requests.append(path)
                if not connected:
                    self.connections.append(path)
                    connected = True
                body = b"upstream answers " + path.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Client(Protocol):
    """What the tests need of either client."""

    def get(self, url: str, /) -> httpx2.Response: ...


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module", params=["uvicorn", "in process"])
def client(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[Client]:
    """The app served by Uvicorn (uvloop, where it is installed), and on asyncio in this process."""
    upstream.connections.clear()
    upstream.requests.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM", upstream.url)
        if request.param == "uvicorn":
            with serve("frameworks.flask_async_site:app", lifespan="on") as site:
                yield site.client
        else:
            patch.setattr(flask_async_site, "lazy_client", None)
            with TestClient(flask_async_site.app) as native:
                yield native


def test_an_async_view_runs_on_the_servers_loop_in_every_request(client: Client) -> None:
    answers = [client.get("/async").json() for _ in range(5)]
    for view, lifespan in answers:
        assert view == lifespan
    assert len({view["loop"] for view, _ in answers}) == 1


def test_plain_asgiref_in_a_sync_view_runs_on_the_servers_loop(client: Client) -> None:
    first, second, lifespan = client.get("/sync").json()
    assert first == second == lifespan


@pytest.mark.req("X-12")
def test_async_clients_are_used_across_requests_and_keep_their_connections(
    client: Client, upstream: Upstream
) -> None:
    """A client whose loop is not the view's would fail, or at best connect anew in each request."""
    paths = {"/upstream": "/lifespan", "/upstream-sync": "/sync", "/upstream-lazy": "/lazy"}
    for _ in range(5):
        for path, upstream_path in paths.items():
            assert client.get(path).text == f"upstream answers {upstream_path}"
    assert upstream.requests == list(paths.values()) * 5
    # One of the lifespan's client, which two of the views share, and one of the first request's.
    assert upstream.connections == ["/lifespan", "/lazy"]


def test_views_of_two_requests_wait_for_each_other_on_one_loop(client: Client) -> None:
    with ThreadPoolExecutor(2) as visitors:
        answers = visitors.map(lambda _: client.get("/meet").text, range(2))
        assert sorted(answers) == ["first", "second"]


def test_thread_sensitive_code_returns_to_the_worker_that_called(client: Client) -> None:
    threads = client.get("/back").json()
    assert threads["sensitive"] == threads["again"] == threads["worker"]
    assert len({threads["worker"], threads["loop"], threads["insensitive"]}) == 3


def test_calls_that_go_back_and_forth_do_not_wait_for_themselves(client: Client) -> None:
    outer, inner = client.get("/deep").json()
    assert outer == inner


def test_context_variables_go_through_an_async_view_and_back(client: Client) -> None:
    response = client.get("/tag")
    assert response.json() == "before"
    assert response.headers["x-tag"] == "view"


def test_an_exception_of_an_async_view_reaches_its_async_error_handler(client: Client) -> None:
    response = client.get("/planned")
    assert response.status_code == 418
    view, _ = client.get("/async").json()
    assert response.json() == {"planned": "from an async view", "loop": view["loop"]}
