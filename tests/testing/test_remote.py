"""Clients of sites that run elsewhere: real servers on ports of the system's choice."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from support.serve_apps import certificate
from support.served import reserve_port

from bridge.exceptions import UsageError
from bridge.testing.remote import is_address, remote


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Set-Cookie", "a=b"), ("Content-Type", "text/plain")])
    return [f"{environ['HTTP_HOST']} {environ['PATH_INFO']} {environ.get('HTTP_COOKIE', '')}".encode()]


class Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture(params=["http", "https"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a site; by https with a certificate that nobody knows."""
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        if request.param == "https":
            key, cert = certificate(tmp_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / cert, tmp_path / key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        # A handshake that fails is no reason to print a traceback.
        server.handle_error = lambda *args: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"{request.param}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_requests_go_there(site: str) -> None:
    host = site.partition("://")[2]
    with remote(f"{site}/", verify=False, headers=[("X-A", "b")]) as client:
        assert client.exchange("/a%20b").body == f"{host} /a b ".encode()
        assert client.exchange("/c").body == f"{host} /c a=b".encode()
        assert str(client.base_url).rstrip("/") == site
        assert client.headers["X-A"] == "b"
    assert client.is_closed


@pytest.mark.parametrize("site", ["https"], indirect=True)
def test_a_certificate_that_is_not_valid_is_said_once(site: str) -> None:
    with pytest.raises(UsageError, match=r"the certificate of 127\.0\.0\.1:\d+ is not valid: self.signed"):
        remote(site)


def test_nobody_is_there() -> None:
    # It does not listen, and nobody else is given the port while it is open.
    with reserve_port() as reservation:
        port = reservation.getsockname()[1]
        with pytest.raises(UsageError, match=rf"nobody answers at http://127\.0\.0\.1:{port}: "):
            remote(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url",
    [
        "shop.example",
        "ftp://shop.example",
        "http://",
        "http://:80",
        "http://shop.example:many",
        "http://shop.example:99999",
        "http://shop.example/path",
        "http://shop.example?x=1",
        "http://shop.example/#x",
    ],
)
def test_what_is_no_address_of_a_site(url: str) -> None:
    with pytest.raises(UsageError, match="the address of a site"):
        remote(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://x", True),
        ("HTTPS://x", True),
        ("http", False),
        ("shop:app", False),
        ("http/app.py:app", False),
    ],
)
def test_what_is_meant_as_one(text: str, expected: bool) -> None:
    assert is_address(text) is expected
