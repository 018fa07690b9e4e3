"""Request and response bodies on each server: whole, streamed, large, and in flat memory."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from served.conftest import Served
from served.content import MIB, PIECE, checksum
from served.servers import Limit
from served.wire import HTTP1, TIMEOUT, Client
from support.served import settled

# How much the resident memory of all processes of a server may grow during a transfer of any size: what
# the adapter may hold (64 KiB pre-buffer, 256 KiB ahead) is little; the rest is for the servers' own
# buffers and what the allocator keeps.
FLAT = 8 * MIB
# How much a server that takes whatever the app sends may have in memory at a time, in responses: one in its
# buffer, which is copied when it grows.
COPIES = 2.5


def send_pieces(client: Client, pieces: int) -> None:
    for _ in range(pieces):
        client.send(PIECE)


@pytest.mark.req("E-36", "E-38")
@pytest.mark.parametrize("size", [0, 1, 8192, 65535, 65536, 65537, 300_000, 3 * MIB])
def test_upload_of_announced_length(client: Client, size: int) -> None:
    """Bodies below, at and above every buffer on the way arrive whole."""
    body = (PIECE * (size // len(PIECE) + 1))[:size]
    response = client.request("POST", "/upload", body=body)
    assert response.json() == {"size": size, "crc": zlib.crc32(body)}
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("E-35", "E-43")
def test_upload_in_chunks_of_unknown_length(client: Client) -> None:
    """Raw WSGI and Flask see a chunked body (HTTP/2: one without length), with no length invented."""

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            yield PIECE[: 997 * (number % 5 + 1)]

    whole = b"".join(pieces())
    response = client.request("POST", "/upload", pieces=pieces())
    assert response.json() == {"size": len(whole), "crc": zlib.crc32(whole)}
    assert client.request("POST", "/flask/upload", pieces=pieces()).json()["size"] == len(whole)
    environ = client.request("POST", "/env", pieces=pieces()).json()
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("E-43")
@pytest.mark.parametrize("announced", [True, False])
def test_multipart_upload_to_flask(client: Client, announced: bool) -> None:
    """A form with a large file reaches Flask whole, with and without a length."""
    file = PIECE * 8
    body = (
        b'--frontier\r\nContent-Disposition: form-data; name="title"\r\n\r\nA file\r\n'
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n%b\r\n'
        b"--frontier--\r\n"
    ) % file
    headers = [("Content-Type", "multipart/form-data; boundary=frontier")]
    if announced:
        response = client.request("POST", "/flask/upload", headers, body=body)
    else:
        response = client.request("POST", "/flask/upload", headers, pieces=[body[:70_000], body[70_000:]])
    assert response.json() == {"form": {"title": "A file"}, "files": {"file": len(file)}, "size": 0}


@pytest.mark.req("E-38")
def test_all_bytes_are_there_before_the_stream_ends(server: Served) -> None:
    """The end of an HTTP/2 stream may come after the last byte that was announced.

    Hypercorn drops the whole connection if the response is complete by then, so it must not be.
    """
    client = server.connect()
    client.start("POST", "/upload", length=3)
    client.send(b"abc")
    if server.spec.http2:
        time.sleep(0.3)  # enough for a response that comes too early; if not, it comes in time
    client.end()
    response = client.response()
    assert response.json() == {"size": 3, "crc": zlib.crc32(b"abc")}
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("E-39")
def test_continue_is_sent_when_the_app_reads(server: Served) -> None:
    """A client that waits for `100 Continue` gets it, sends its body and gets its response."""
    client = server.connect()
    client.start("POST", "/upload", [("Expect", "100-continue")], length=3)
    if isinstance(client, HTTP1):
        assert client.next_head().status == 100
    client.send(b"abc", last=True)
    response = client.response()
    assert response.json() == {"size": 3, "crc": zlib.crc32(b"abc")}
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("E-39")
def test_no_continue_for_an_app_that_refuses(server: Served) -> None:
    """An app that answers without reading spares the client its upload, where the server lets it."""
    client = server.connect()
    client.start("POST", "/unread", [("Expect", "100-continue")], length=3)
    if server.spec.lacks(Limit.WHOLE_UPLOADS) and isinstance(client, HTTP1):
        assert client.next_head().status == 100
        client.send(b"abc", last=True)
    head = client.head()
    assert head.status == 401
    asked = [interim.status for interim in client.interim]
    unasked = server.spec.lacks(Limit.CONTINUE_UNASKED) and not server.spec.lacks(Limit.WHOLE_UPLOADS)
    assert asked == ([100] if unasked else [])
    assert client.rest() == b"no"


@pytest.mark.req("W-17")
def test_first_event_comes_before_the_last_exists(server: Served, client: Client, key: str) -> None:
    """The client has the first event while the app still waits to make the last."""
    client.start("GET", f"/events?key={key}")
    assert client.head().get("content-type") == "text/event-stream"
    assert client.read() == b"data: first\n\n"
    server.release(key)
    assert client.rest() == b"data: last\n\n"
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("W-16", "W-17", "W-24")
@pytest.mark.parametrize("size", [1, 100, 65536])
def test_streams_of_any_grain(server: Served, client: Client, key: str, size: int) -> None:
    """Many pieces, small or large, arrive in order and whole; close() is called once, by their thread."""
    count = 300
    response = client.get(f"/stream?key={key}&size={size}&count={count}")
    assert response.body == PIECE[:size] * count
    assert client.get("/hello").body == b"hello"
    server.until(key, "closed", lambda entry: "closed" in entry)
    assert server.probe(key) == {"started": 1, "bytes": size * count, "exhausted": 1, "closed": 1}


@pytest.mark.req("W-17")
def test_a_client_that_does_not_read_stops_the_app(server: Served, key: str) -> None:
    """The app gets a few MiB ahead of a stalled client, most of them in the kernel, then waits."""
    pieces = 32 * MIB // len(PIECE)
    client = server.connect(receive_buffer=65536)
    client.start("GET", f"/stream?key={key}&count={pieces}")
    client.head()
    if server.spec.lacks(Limit.NO_BACK_PRESSURE):
        server.until(key, "the app has run to its end", lambda entry: "exhausted" in entry)
    else:
        ahead = server.settled(key, "bytes")
        assert ahead < 16 * MIB
        assert "exhausted" not in server.probe(key)
    assert client.rest_checked() == (pieces * len(PIECE), checksum(pieces))
    server.until(key, "closed", lambda entry: entry.get("closed") == 1)


@pytest.mark.req("E-41")
def test_an_app_that_does_not_read_stops_the_client(server: Served, key: str) -> None:
    """The client gets a few MiB ahead of an app that does not read, mostly in the kernel, then waits."""
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
            assert settled(lambda: sent, "the client has to wait") < 16 * MIB
    finally:
        server.release(key)
        sender.join(TIMEOUT)
    client.end()
    assert client.response().json() == {"size": pieces * len(PIECE), "crc": checksum(pieces)}


@pytest.mark.req("E-41")
def test_large_upload_in_flat_memory(server: Served, record_property: Callable[[str, object], None]) -> None:
    """64 MiB go up, and the server's memory stays within FLAT of what it was."""
    client = server.connect()
    small, large = 4 * MIB // len(PIECE), 64 * MIB // len(PIECE)
    for pieces in (small, large):
        idle = server.running.memory().now
        server.running.reset_peak()
        client.start("POST", "/upload", length=pieces * len(PIECE))
        send_pieces(client, pieces)
        client.end()
        response = client.response()
        assert response.json() == {"size": pieces * len(PIECE), "crc": checksum(pieces)}
    growth = server.running.memory().peak - idle
    record_property("growth_mib", growth / MIB)
    assert growth < FLAT + (1.5 * large * len(PIECE) if server.spec.lacks(Limit.WHOLE_UPLOADS) else 0)


@pytest.mark.req("W-17")
def test_large_download_in_flat_memory(
    server: Served, key: str, record_property: Callable[[str, object], None]
) -> None:
    """64 MiB go down, and the server's memory stays within FLAT of what it was."""
    client = server.connect()
    small, large = 4 * MIB // len(PIECE), 64 * MIB // len(PIECE)
    for pieces in (small, large):
        idle = server.running.memory().now
        server.running.reset_peak()
        client.start("GET", f"/stream?key={key}&count={pieces}&length=1")
        client.head()
        assert client.rest_checked() == (pieces * len(PIECE), checksum(pieces))
    growth = server.running.memory().peak - idle
    record_property("growth_mib", growth / MIB)
    assert growth < FLAT + (COPIES * large * len(PIECE) if server.spec.lacks(Limit.NO_BACK_PRESSURE) else 0)
