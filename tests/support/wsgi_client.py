"""An HTTP client whose server is the strict one of `support.wsgi_drive`: httpx2 over a WSGI app in process.

    with client_for(app) as client:
        assert client.post("/notes", data={"text": "t"}).status_code == 303

Bodies stream both ways, and a response that is closed early is a client that has gone. What a driver
asserts is asserted of each request; what the app raises comes out of the client's call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2

from support.drive import TIMEOUT
from support.scopes import ABSENT
from support.wsgi_drive import App, ClosingInput, Exchange, make_environ

HOST = "http://testserver"


class Transport(httpx2.BaseTransport):
    """Serves each request with a new `Exchange`.

    Args:
        app: the WSGI app.
        options: of every `Exchange`, and keys of its environ.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self.options = options

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        body = b"".join(request.stream) if isinstance(request.stream, httpx2.SyncByteStream) else b""
        options = {**_framing(request, body), **self.options}
        names = ("strict", "validated", "timeout")
        exchange = Exchange(
            self.app,
            make_environ(
                request.method,
                request.url.raw_path.decode("ascii"),
                headers=[
                    (name.decode("ascii"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                    if name.lower() not in (b"content-length", b"connection")
                ],
                **{name: value for name, value in options.items() if name not in names},
            ),
            **{name: value for name, value in options.items() if name in names},
        )
        try:
            answer = exchange.call()
        except BaseException as error:
            exchange.__exit__(type(error), error, None)
            raise
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        return httpx2.Response(
            answer.status,
            headers=headers,
            stream=_Stream(exchange),
            extensions={"reason_phrase": answer.reason.encode("ascii")},
            request=request,
        )


def _framing(request: httpx2.Request, body: bytes) -> dict[str, Any]:
    """What tells the app how long the body is, and the body itself."""
    framing: dict[str, Any] = {"wsgi.input": ClosingInput(body), "wsgi.url_scheme": request.url.scheme}
    if request.headers.get("transfer-encoding") == "chunked":
        return {**framing, "wsgi.input_terminated": True, "CONTENT_LENGTH": ABSENT}
    return {**framing, "CONTENT_LENGTH": request.headers.get("content-length", ABSENT)}


class _Stream(httpx2.SyncByteStream):
    """The body as the exchange yields it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self.exchange.next()) is not None:
            yield chunk

    def close(self) -> None:
        self.exchange.end()


def client_for(app: App, *, strict: bool = True, root: str = "", **options: Any) -> httpx2.Client:
    """A client for a WSGI app; keeps cookies, follows no redirects. The caller closes it.

    Args:
        strict: of `Exchange`.
        root: the `SCRIPT_NAME` that the server has for the app.
        options: keys of each request's environ.
    """
    if root:
        options["SCRIPT_NAME"] = root
    transport = Transport(app, strict=strict, **options)
    return httpx2.Client(transport=transport, base_url=HOST, timeout=TIMEOUT, trust_env=False)
