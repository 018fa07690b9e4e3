"""Request and response bodies on each server: whole, streamed, large, and in flat memory."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served.content import MIB, PIECE, checksum
from served.wire import HTTP1, TIMEOUT, Response
from served_wsgi.conftest import Served
from served_wsgi.servers import Limit
from support.served import settled

# How much the resident memory of all processes of a server may grow during a transfer of any size: what
# the adapter may hold (256 KiB ahead) is little; the rest is for the servers' own buffers and what the
# allocator keeps.
FLAT = 8 * MIB
# What a client that does not read, or an app that does not, may be ahead of the other: most of it is in
# the buffers of the kernel.
AHEAD = 16 * MIB
# What a server that buffers output may take besides, and what copies of it may be in memory.
BUFFERED = 16 * MIB
COPIES = 2


@pytest.mark.req("A-06", "A-07", "A-09")
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, MIB, 3 * MIB + 1])
def test_upload_of_announced_length(server: Served, client: HTTP1, key: str, size: int) -> None:
    """Bodies below, at and above every buffer on the way arrive whole."""
    body = (PIECE * (size // len(PIECE) + 1))[:size]
    response = client.request("POST", f"/upload?key={key}", body=body)
    assert response.json() == {"size": size, "crc": zlib.crc32(body)}
    assert server.probe(key) == {"started": 1, "received": size, "end": "http.request"}
    server.serves_on(client, response)


@pytest.mark.req("A-08", "S-09")
def test_upload_in_chunks_of_unknown_length(server: Served, client: HTTP1, key: str) -> None:
    """A chunked body arrives whole where the server decodes it; where it does not, it is empty."""

    def pieces() -> Iterator[bytes]:
        for number in range(400):
            yield PIECE[: 997 * (number % 5 + 1)]

    if server.spec.lacks(Limit.NO_CHUNKED_UPLOADS):
        # Only the head is sent: the rest might come when the server has closed already.
        client.start("POST", f"/upload?key={key}", stream=True)
        assert client.response().json() == {"size": 0, "crc": 0}
        return
    whole = b"".join(pieces())
    response = client.request("POST", f"/upload?key={key}", pieces=pieces())
    assert response.json() == {"size": len(whole), "crc": zlib.crc32(whole)}
    server.serves_on(client, response)


@pytest.mark.req("A-05")
def test_continue_is_sent_when_the_app_reads(server: Served, client: HTTP1, key: str) -> None:
    """A client that waits for `100 Continue` gets it, sends its body and gets its response."""
    client.start("POST", f"/upload?key={key}", [("Expect", "100-continue")], length=3)
    if not server.spec.lacks(Limit.NO_CONTINUE):
        assert client.next_head().status == 100
    client.send(b"abc", last=True)
    response = client.response()
    assert response.json() == {"size": 3, "crc": zlib.crc32(b"abc")}
    server.serves_on(client, response)


@pytest.mark.req("A-05")
def test_no_continue_for_an_app_that_refuses(server: Served, client: HTTP1) -> None:
    """An app that answers without reading spares the client its upload, where the server lets it."""
    client.start("POST", "/unread", [("Expect", "100-continue")], length=3)
    unasked = server.spec.lacks(Limit.WHOLE_UPLOADS) or server.spec.lacks(Limit.CONTINUE_UNASKED)
    if unasked:
        assert client.next_head().status == 100
        client.send(b"abc", last=True)
    response = client.response()
    assert (response.status, response.body) == (401, b"no")
    # Werkzeug says it twice.
    assert (100 in [interim.status for interim in response.interim]) <= unasked


@pytest.mark.req("A-18")
def test_first_event_comes_before_the_last_exists(server: Served, client: HTTP1, key: str) -> None:
    """The client has the first event while the app still waits to make the last."""
    client.start("GET", f"/events?key={key}")
    head = client.head()
    assert head.get("content-type") == "text/event-stream"
    assert client.read() == b"data: first\n\n"
    server.release(key)
    assert client.rest() == b"data: last\n\n"
    server.serves_on(client, Response(head, b"", []))


@pytest.mark.req("A-18")
def test_a_client_that_does_not_read_stops_the_app(server: Served, key: str) -> None:
    """The app gets a few MiB ahead of a stalled client, most of them in the kernel, then `send` waits."""
    pieces = 48 * MIB // len(PIECE)
    client = server.connect(receive_buffer=65536)
    client.start("GET", f"/stream?key={key}&count={pieces}")
    client.head()
    ahead = server.settled(key, "bytes")
    assert ahead < AHEAD + (BUFFERED if server.spec.lacks(Limit.BUFFERS_OUTPUT) else 0)
    assert "exhausted" not in server.probe(key)
    assert client.rest_checked() == (pieces * len(PIECE), checksum(pieces))
    entry = server.until(key, "the stream is over", lambda entry: "closed" in entry)
    assert entry["exhausted"] == 1


@pytest.mark.req("A-05", "A-07")
def test_an_app_that_does_not_read_stops_the_client(server: Served, key: str) -> None:
    """The client gets a few MiB ahead of an app that does not receive, mostly in the kernel, then waits."""
    pieces = 32 * MIB // len(PIECE)
    client = server.connect(send_buffer=65536)
    client.start("POST", f"/upload?key={key}&gated=1", length=pieces * len(PIECE))
    sent = 0

    def send_all() -> None:
        nonlocal sent
        for _ in range(pieces):
            client.send(PIECE)
            sent += len(PIECE)

    sender = threading.Thread(target=send_all, daemon=True)
    sender.start()
    try:
        if server.spec.lacks(Limit.WHOLE_UPLOADS):
            sender.join(TIMEOUT)
            assert sent == pieces * len(PIECE)
        else:
            server.until(key, "the app runs", lambda entry: "started" in entry)
            assert settled(lambda: sent, "the client has to wait") < AHEAD
    finally:
        server.release(key)
        sender.join(TIMEOUT)
    assert client.response().json() == {"size": pieces * len(PIECE), "crc": checksum(pieces)}


@pytest.mark.req("A-07")
def test_large_upload_in_flat_memory(
    server: Served, key: str, record_property: Callable[[str, object], None]
) -> None:
    """48 MiB go up, and the server's memory stays within FLAT of what it was."""
    small, large = 4 * MIB // len(PIECE), 48 * MIB // len(PIECE)
    for pieces in (small, large):
        client = server.connect()
        idle = server.running.memory().now
        server.running.reset_peak()
        client.start("POST", f"/upload?key={key}", length=pieces * len(PIECE))
        for _ in range(pieces):
            client.send(PIECE)
        assert client.response().json() == {"size": pieces * len(PIECE), "crc": checksum(pieces)}
        client.close()
    growth = server.running.memory().peak - idle
    record_property("growth_mib", growth / MIB)
    assert growth < FLAT


@pytest.mark.req("A-18")
def test_large_download_in_flat_memory(
    server: Served, key: str, record_property: Callable[[str, object], None]
) -> None:
    """64 MiB go down, and the server's memory stays within FLAT of what it was."""
    small, large = 4 * MIB // len(PIECE), 64 * MIB // len(PIECE)
    for pieces in (small, large):
        client = server.connect()
        idle = server.running.memory().now
        server.running.reset_peak()
        client.start("GET", f"/stream?key={key}&count={pieces}&length=1")
        client.head()
        assert client.rest_checked() == (pieces * len(PIECE), checksum(pieces))
        client.close()
    growth = server.running.memory().peak - idle
    record_property("growth_mib", growth / MIB)
    assert growth < FLAT + (COPIES * BUFFERED if server.spec.lacks(Limit.BUFFERS_OUTPUT) else 0)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file larger than what may be queued anywhere."""
    path = tmp_path_factory.mktemp("files") / "large.bin"
    path.write_bytes(PIECE * 48)
    # Apache's process may have another user.
    for directory in (path.parent, path.parent.parent):
        os.chmod(directory, 0o755)
    return path


@pytest.mark.req("X-06")
def test_a_file_response(server: Served, large_file: Path) -> None:
    """`http.response.pathsend` is offered and sends the whole file."""
    assert "http.response.pathsend" in server.get("/scope").json()["extensions"]
    response = server.get(f"/file?path={large_file}")
    assert response.head.get("content-length") == str(48 * len(PIECE))
    assert response.body == PIECE * 48
    response = server.request("HEAD", f"/file?path={large_file}")
    assert response.head.get("content-length") == str(48 * len(PIECE))
    assert response.body == b""
