"""Clients that leave in the middle: the app is told, its clean-up runs, and the server serves on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from served.content import PIECE
from served.wire import HTTP1
from served_wsgi.conftest import Served
from served_wsgi.servers import Limit


def closes(client: HTTP1) -> None:
    """The client closes its connection in good order."""
    client.close()


def resets(client: HTTP1) -> None:
    """The client resets the connection."""
    client.abort()


LEAVE = pytest.mark.parametrize("leave", [closes, resets])


@pytest.mark.req("A-10", "A-12")
@LEAVE
@pytest.mark.parametrize(
    ("announced", "sent"),
    [
        pytest.param(100, 3, id="3-of-100"),
        pytest.param(1_000_000, 300_000, id="300K-of-1M"),
        pytest.param(None, 300_000, id="300K-chunked"),
    ],
)
def test_truncated_upload_is_a_disconnect(
    server: Served, key: str, leave: Callable[[HTTP1], None], announced: int | None, sent: int
) -> None:
    """A body that stops short is `http.disconnect`, never a complete body; the next request is served.

    Rivals' bug 1 (a2wsgi): the worker reads for ever.
    """
    chunked = announced is None
    if chunked and server.spec.lacks(Limit.NO_CHUNKED_UPLOADS):
        return  # there is no body at all
    client = server.connect()
    client.start("POST", f"/upload?key={key}", length=announced, stream=chunked)
    client.send((PIECE * 5)[:sent])
    if server.spec.lacks(Limit.WHOLE_UPLOADS):
        leave(client)
        server.get("/hello")
        assert server.probe(key) == {}, "the app is called although its body has not come"
        return
    server.until(key, "the app runs", lambda entry: "started" in entry)
    leave(client)
    if chunked and server.spec.lacks(Limit.CUT_CHUNKS_END_CLEANLY):
        entry = server.until(key, "the body has ended", lambda entry: "end" in entry)
        assert entry["end"] == "http.request"
        return
    entry = server.until(key, "the app is told", lambda entry: "again" in entry)
    assert (entry["end"], entry["again"]) == ("http.disconnect", "http.disconnect")
    assert entry.get("received", 0) <= sent
    server.get("/hello")


@pytest.mark.req("A-24", "A-29")
@LEAVE
@pytest.mark.parametrize("pause", [0, 10], ids=["fast", "ticking"])
def test_an_endless_stream_ends_with_its_client(
    server: Served, key: str, leave: Callable[[HTTP1], None], pause: int
) -> None:
    """`send` of an app whose client has left raises OSError, so that the app ends and its `finally` runs."""
    client = server.connect()
    client.start("GET", f"/stream?key={key}&size=1000&pause={pause}")
    client.head()
    assert client.read()[:1000] == PIECE[:1000]
    leave(client)
    entry = server.until(key, "the app has ended", lambda entry: "closed" in entry)
    assert entry["refused"] == 1
    server.get("/hello")


@pytest.mark.req("A-24", "A-29")
def test_a_client_leaves_a_silent_stream(server: Served, key: str) -> None:
    """An app that has nothing to send is told at the latest when it sends again."""
    client = server.connect()
    client.start("GET", f"/stream?key={key}&size=1000&pause=10&quiet=1")
    client.head()
    assert client.read()[:1000] == PIECE[:1000]
    client.close()
    server.release(key)
    entry = server.until(key, "the app has ended", lambda entry: "closed" in entry)
    assert entry["refused"] == 1
    server.get("/hello")


@pytest.mark.req("A-11", "A-29")
@LEAVE
def test_an_app_that_watches_is_told(server: Served, key: str, leave: Callable[[HTTP1], None]) -> None:
    """`receive` waits while events go out, and gives `http.disconnect` when the client has left."""
    client = server.connect()
    client.start("GET", f"/watch?key={key}")
    client.head()
    assert client.read().startswith(b"data: tick")
    leave(client)
    entry = server.until(key, "the app has ended", lambda entry: "closed" in entry)
    assert entry["told"] == "http.disconnect"
    server.get("/hello")


@pytest.mark.req("A-18", "A-29")
@LEAVE
def test_a_stalled_client_leaves(server: Served, key: str, leave: Callable[[HTTP1], None]) -> None:
    """`send` waits for room, and raises when its client is gone."""
    client = server.connect(receive_buffer=65536)
    client.start("GET", f"/stream?key={key}")
    client.head()
    server.settled(key, "bytes")
    assert "closed" not in server.probe(key)
    leave(client)
    entry = server.until(key, "the app has ended", lambda entry: "closed" in entry)
    assert entry["refused"] == 1
    server.get("/hello")


@pytest.mark.req("A-29")
def test_departed_event_streams_do_not_stop_the_server(server: Served, key: str) -> None:
    """As many clients leave their streams as the server has threads, and more: others are served."""
    for number in range(20):
        client = server.connect()
        client.start("GET", f"/watch?key={key}{number}")
        client.head()
        client.read()
        client.close()
    for number in range(20):
        server.until(f"{key}{number}", "it has ended", lambda entry: "closed" in entry)
    assert server.get("/hello").body == b"hello"
