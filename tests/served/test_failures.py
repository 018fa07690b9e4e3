"""Apps and middleware that raise: a 500 while there is time for one, an aborted response afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served.conftest import Served, Starter
from served.servers import Limit, Server
from served.wire import HTTP1, Client, Truncated

# How long (seconds) to look at a response that a server leaves open.
OPEN = 0.75


def expect_no_end(client: Client, spec: Server) -> None:
    """The rest of the response breaks off, or stays open where the server can do no better."""
    if spec.lacks(Limit.OPEN_AFTER_ERROR):
        client.sock.settimeout(OPEN)
    with pytest.raises(TimeoutError if spec.lacks(Limit.OPEN_AFTER_ERROR) else Truncated):
        client.rest()


@pytest.mark.req("W-23", "H-06")
@pytest.mark.parametrize("path", ["/fail/before", "/fail/started", "/fail/first-chunk", "/flask/fail"])
def test_error_before_any_output_is_a_500(server: Served, key: str, path: str) -> None:
    """The server answers 500, without details, though `start_response` may have been called with 200.

    Rivals' bug 16 (a2wsgi, Starlette, Uvicorn): status 200.
    """
    server.release(key)
    client = server.connect()
    response = client.get(f"{path}?key={key}")
    assert response.status == 500
    assert b"Deliberate" not in response.body
    assert b"Traceback" not in response.body
    assert server.get("/hello").body == b"hello"
    if path == "/fail/first-chunk":
        server.until(key, "the iterable is closed", lambda entry: entry.get("closed") == 1)


@pytest.mark.req("W-06")
def test_error_page_replaces_the_response(server: Served) -> None:
    """`start_response` with `exc_info` before any output replaces status and headers.

    Rivals' bug 16 (a2wsgi, Starlette, Uvicorn): the error page goes out with status 200.
    """
    client = server.connect()
    response = client.get("/fail/replaced")
    assert (response.status, response.body) == (500, b"the error page")
    assert response.head.get("x-first") is None
    assert client.get("/hello").body == b"hello"


@pytest.fixture(scope="module")
def broken_server(start: Starter) -> Iterator[Served]:
    """For failures after the start: not the shared server, since Daphne answers no error after one."""
    with start() as server:
        yield server


@pytest.mark.req("W-23", "W-21", "W-24")
@pytest.mark.parametrize("path", ["/fail/after", "/fail/after-length", "/fail/short"])
def test_error_after_the_start_never_ends_cleanly(broken_server: Served, key: str, path: str) -> None:
    """The client sees the response break off: no last chunk, no full length; the server serves on."""
    server = broken_server
    client = server.connect()
    client.start("GET", f"{path}?key={key}")
    assert client.head().status == 200
    assert len(client.read()) == 1000
    server.release(key)
    expect_no_end(client, server.spec)
    server.until(key, "the iterable is closed", lambda entry: entry.get("closed") == 1)
    assert server.get("/hello").body == b"hello"


@pytest.mark.req("W-24", "W-25")
def test_failing_send_ends_the_request(start: Starter, key: str) -> None:
    """Middleware whose `send` raises costs that request only, though the pool has one thread.

    Rivals' bug 3 (a2wsgi): with the queue full, request and thread wait for each other for ever.
    """
    with start("few") as server:
        for attempt, nth in enumerate((1, 1, 2, 3)):
            client = server.connect()
            client.start("GET", f"/send-fails/{nth}/stream?key={key}{attempt}")
            if nth == 1:
                assert client.head().status == 500
            elif nth == 2:
                # The head may be on the wire, or kept back until body bytes come and replaced.
                client.sock.settimeout(OPEN)
                try:
                    assert client.response().status == 500
                except (Truncated, TimeoutError):
                    pass
            else:
                assert client.head().status == 200
                assert client.read()
                expect_no_end(client, server.spec)
            client.close()
            server.until(f"{key}{attempt}", "it is closed", lambda entry: entry.get("closed") == 1)
        client = server.connect()
        assert client.get("/send-fails/9/hello").body == b"hello"


@pytest.mark.req("W-20")
def test_body_beyond_its_length_is_cut(server: Served, key: str) -> None:
    """Surplus bytes do not reach the wire, where they would be taken for the next response."""
    client = server.connect()
    response = client.get(f"/surplus?key={key}")
    assert (response.status, response.body) == (200, b"0123456789")
    if isinstance(client, HTTP1):
        assert response.head.get("connection") != "close"
    assert client.get("/hello").body == b"hello"
