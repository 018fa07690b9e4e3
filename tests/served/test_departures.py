"""Clients that leave in the middle: the app is told, its iterable is closed once, and the thread is free."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from served.conftest import Served, Starter
from served.content import PIECE
from served.servers import Limit
from served.wire import Client
from support.watching import PATIENCE


def closes(client: Client) -> None:
    """The client closes its connection in good order."""
    client.close()


def resets(client: Client) -> None:
    """The client resets the connection; over HTTP/2, only the stream."""
    client.abort()


LEAVE = pytest.mark.parametrize("leave", [closes, resets])


@pytest.mark.req("E-40")
@LEAVE
@pytest.mark.parametrize(
    ("path", "announced", "sent"),
    [
        pytest.param("/upload", 100, 3, id="3-of-100"),
        pytest.param("/upload", 1_000_000, 300_000, id="300K-of-1M"),
        pytest.param("/upload", None, 3, id="3-chunked"),
        pytest.param("/upload", None, 300_000, id="300K-chunked"),
        pytest.param("/flask/upload", 100, 3, id="flask-3-of-100"),
        pytest.param("/flask/upload", None, 300_000, id="flask-300K-chunked"),
    ],
)
def test_truncated_upload_is_an_error_in_the_app(
    server: Served, key: str, leave: Callable[[Client], None], path: str, announced: int | None, sent: int
) -> None:
    """A body that stops short raises where the app reads it; it never looks complete.

    Rivals' bug 7 (all but asgiref): `200 SAVED 3 of 100`.
    """
    client = server.connect()
    client.start("POST", f"{path}?key={key}", length=announced, stream=announced is None)
    client.send((PIECE * 5)[:sent])
    if server.spec.lacks(Limit.WHOLE_UPLOADS):
        leave(client)
        assert server.probe(key) == {}, "the app is called although its body has not come"
        return
    if sent > 100_000:
        # More than is received before the app runs, so it is in the middle of reading.
        server.until(key, "the app reads", lambda entry: "started" in entry)
    leave(client)
    # A small request may be overtaken by its own reset, so that the server never sees it; and a server
    # may drop the requests of an HTTP/2 connection that is gone.
    if sent > 100_000 or (leave is closes and not server.spec.http2):
        server.until(key, "the app's read fails", lambda entry: "failed:ClientDisconnected" in entry)
    else:
        server.settled(key, "failed:ClientDisconnected")
    entry = server.until(
        key,
        "whatever has started has failed or is complete",
        lambda entry: "complete" in entry or entry.get("started") == entry.get("failed:ClientDisconnected"),
    )
    assert "complete" not in entry
    assert entry.get("received", 0) <= sent


@pytest.mark.req("W-24", "W-26", "W-02")
@LEAVE
@pytest.mark.parametrize("pause", [0, 10], ids=["fast", "ticking"])
@pytest.mark.parametrize("path", ["/stream", "/bare/stream"])
def test_an_endless_stream_ends_with_its_client(
    server: Served, key: str, leave: Callable[[Client], None], pause: int, path: str
) -> None:
    """The iterable of a client that left is closed, once, by its own thread, and produces nothing more.

    Rivals' bug 2 (all): they stream on for ever, since no server reports a dead client through `send`.
    """
    client = server.connect()
    client.start("GET", f"{path}?key={key}&size=1000&pause={pause}")
    client.head()
    assert client.read()[:1000] == PIECE[:1000]
    leave(client)
    server.until(key, "the iterable is closed", lambda entry: "closed" in entry)
    after = server.probe(key)
    time.sleep(0.1)  # many times what the app needs for a piece
    final = server.probe(key)
    assert final["bytes"] == after["bytes"]
    assert (final["started"], final["closed"]) == (1, 1)
    assert "closed_elsewhere" not in final
    assert "exhausted" not in final


@pytest.mark.req("W-24", "W-26")
@LEAVE
def test_a_stalled_client_leaves(server: Served, key: str, leave: Callable[[Client], None]) -> None:
    """The app's thread waits for room, and is woken to close the iterable when its client is gone."""
    client = server.connect(receive_buffer=65536)
    # Where the thread would not wait, the stream must have an end, or it would fill the memory.
    endless = not server.spec.lacks(Limit.NO_BACK_PRESSURE)
    client.start("GET", f"/stream?key={key}&count={0 if endless else 128}")
    client.head()
    if endless:
        server.settled(key, "bytes")
        assert "exhausted" not in server.probe(key)
    else:
        server.until(key, "the app has run to its end", lambda entry: "exhausted" in entry)
    leave(client)
    server.until(key, "the iterable is closed", lambda entry: "closed" in entry)
    entry = server.probe(key)
    assert (entry["started"], entry["closed"]) == (1, 1)
    assert "closed_elsewhere" not in entry


@pytest.mark.req("W-26", "W-29")
def test_departed_event_streams_do_not_stop_the_server(start: Starter, key: str) -> None:
    """Ten event streams on four threads, then nine of them gone: ordinary requests are answered throughout.

    Rivals' bug 2 (a2wsgi): ten departed clients stop a server for good, which then ignores SIGTERM.
    """
    streams = 10
    with start("few") as server:
        clients = [server.connect() for _ in range(streams)]
        for client in clients:
            client.start("GET", f"/stream?key={key}&size=100&pause=20")
        for client in clients:
            client.head()
            client.read()
        assert server.get("/hello").body == b"hello"
        assert server.probe(key)["started"] == streams
        for client in clients[1:]:
            client.close()
        server.until(key, "nine are closed", lambda entry: entry.get("closed") == streams - 1)
        assert server.get("/hello").body == b"hello"
        assert server.probe(key)["closed"] == streams - 1
        clients[0].close()
        server.until(key, "all are closed", lambda entry: entry.get("closed") == streams)
        assert server.settled(key, "bytes") == server.probe(key)["bytes"]
        server.until_quiet("few")
        server.terminate()
        server.running.wait(PATIENCE)
