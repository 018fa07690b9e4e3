"""Answers that the adapters give themselves, without the app: 400, 413, 500, 503, and no to WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from ..exceptions import BridgeError, RequestError
from ..types import Environ, Receive, Scope, Send, StartResponse

# What a client is told to wait after a 503, in seconds: a pool that was full may be free in a moment.
RETRY_AFTER = 1


async def refuse(send: Send, error: BridgeError, *, head: bool = False) -> None:
    """Answer for `error`: the status of a `RequestError`, 503 with `Retry-After` for a full pool.

    The body names the status and nothing of the request or the program (conformance H-06). A
    client that is gone is no error.

    Args:
        head: the request's method is HEAD, so the body is left out (W-22).
    """
    status = HTTPStatus(error.status if isinstance(error, RequestError) else 503)
    text = f"{status.value} {status.phrase}\n".encode("ascii")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER))
    try:
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else text, "more_body": False})
    except OSError:
        pass


class Body:
    """A body of at most one piece, as a server iterates it: no list, which has no `close()` (A-28)."""

    __slots__ = ("_piece",)

    def __init__(self, piece: bytes) -> None:
        self._piece = piece

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece, self._piece = self._piece, b""
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """There is nothing to close."""


def answer_wsgi(environ: Environ, start_response: StartResponse, code: int) -> Body:
    """The same under a WSGI server, for any status: plain, without details (A-25, H-06)."""
    status = HTTPStatus(code)
    text = f"{status.value} {status.phrase}\n".encode("ascii")
    start_response(
        f"{status.value} {status.phrase}",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))],
    )
    return Body(b"" if environ.get("REQUEST_METHOD") == "HEAD" else text)


def is_head(scope: Scope) -> bool:
    """Whether the request's method is HEAD, whose answer has no body."""
    return bool(scope["method"].upper() == "HEAD")


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a handshake at once, without a thread (conformance WS-28): 403 either way."""
    try:
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        if "websocket.http.response" in (scope.get("extensions") or {}):
            text = b"403 Forbidden\n"
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(text)),
            ]
            await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": text, "more_body": False})
        else:
            await send({"type": "websocket.close", "code": 1000})
    except OSError:
        pass
