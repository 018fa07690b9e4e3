"""Whether a client is gone is told by its connection, without reading from it."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.adapters.client_watch import client_is_gone

needs_notification = pytest.mark.skipif(sys.platform != "linux", reason="POLLRDHUP is Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    with listener, client, server:
        yield server, client


def environ(**keys: Any) -> dict[str, Any]:
    return {"SERVER_PROTOCOL": "HTTP/1.1", **keys}


@needs_notification
@pytest.mark.req("A-29")
@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_a_closed_connection_is_seen(pair: tuple[socket.socket, socket.socket], key: str) -> None:
    server, client = pair
    assert not client_is_gone(environ(**{key: server}))
    client.close()
    assert client_is_gone(environ(**{key: server}))


@needs_notification
def test_also_behind_data_that_nobody_has_read(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    client.sendall(b"GET / HTTP/1.1\r\n")
    assert not client_is_gone(environ(**{"gunicorn.socket": server}))
    client.close()
    assert client_is_gone(environ(**{"gunicorn.socket": server}))
    assert server.recv(100) == b"GET / HTTP/1.1\r\n"


@needs_notification
def test_a_timeout_of_the_socket_is_not_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    server, _ = pair
    server.settimeout(30)  # less than the test's own
    assert not client_is_gone(environ(**{"werkzeug.socket": server}))
    assert server.gettimeout() == 30


@needs_notification
def test_a_socket_that_the_server_has_closed_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    server, _ = pair
    server.close()
    assert client_is_gone(environ(**{"gunicorn.socket": server}))


@pytest.mark.parametrize("protocol", ["HTTP/2.0", "HTTP/2", None])
def test_a_connection_of_many_requests_says_nothing_of_one(
    pair: tuple[socket.socket, socket.socket], protocol: str | None
) -> None:
    server, client = pair
    client.close()
    assert not client_is_gone({"SERVER_PROTOCOL": protocol, "gunicorn.socket": server})


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.req("A-29")
def test_waitress_is_asked(answer: bool) -> None:
    assert client_is_gone(environ(**{"waitress.client_disconnected": lambda: answer})) is answer


@pytest.mark.parametrize("thing", [None, object(), "socket"])
def test_what_is_no_socket_says_nothing(thing: object) -> None:
    assert not client_is_gone(environ(**{"gunicorn.socket": thing}))


def test_without_a_connection_nothing_can_be_said() -> None:
    assert not client_is_gone(environ())


@needs_notification
def test_it_is_asked_without_leaving_the_greenlet() -> None:
    """gevent's `poll` would switch to others, one of which might end the request meanwhile."""
    code = """
        from gevent import monkey; monkey.patch_all()
        import gevent, socket
        from bridge.adapters.client_watch import client_is_gone

        ours, theirs = socket.socketpair()
        switched = []
        gevent.spawn(switched.append, True)
        environ = {"SERVER_PROTOCOL": "HTTP/1.1", "gunicorn.socket": ours}
        before = client_is_gone(environ)
        theirs.close()
        print(before, client_is_gone(environ), switched)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "[]"]
