"""The in-process client: what a WSGI server does at this seam and nothing else, every answer checked.

An answer counts only if `start_response` was called once, before the first piece of the body, and status,
headers and body are those that the application gave. `close()` is called, as a server has to.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from benchmarks.answers import Expected, HeaderPairs, WrongAnswer, check_headers
from benchmarks.clients import Call

_ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "RAW_URI": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "bench",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "bench/1.0",
    "HTTP_ACCEPT": "*/*",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def get_environ(body: Any = None) -> dict[str, Any]:
    """A GET as a command-line client sends it, three headers, as Gunicorn would hand it over."""
    return {**_ENVIRON, "wsgi.input": io.BytesIO() if body is None else body}


def post_environ(body: Any, size: int) -> dict[str, Any]:
    """A POST of `size` bytes that `body` gives when it is read."""
    return {**_ENVIRON, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(size), "wsgi.input": body}


class Body(Protocol):
    """Takes the body of an answer piece by piece and says whether it was the right one."""

    def take(self, piece: bytes) -> object:
        """Take the next piece; may wait, as a server does for a slow client."""

    def check(self) -> None:
        """Raise `WrongAnswer` unless the pieces taken are exactly the expected body."""


class Start:
    """`start_response`, and what it was called with."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status: str | None = None
        self.headers: Any = None

    def __call__(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None:
            raise WrongAnswer(f"an error of the application: {exc_info[1]!r}")
        if self.status is not None:
            raise WrongAnswer("a second start of the response")
        self.status = status
        self.headers = headers
        return self._write

    def _write(self, data: bytes) -> object:
        raise WrongAnswer("a call of write()")

    def check(self, status: int, headers: HeaderPairs) -> None:
        if self.status is None:
            raise WrongAnswer("an answer without a start")
        if not self.status.startswith(f"{status} "):
            raise WrongAnswer(f"status {self.status}, expected {status}")
        check_headers(
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers], headers
        )


def pieces_of(app: Any, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    """Call the app and give what it yields; `close()` is called whatever happens."""
    iterable: Iterable[bytes] = app(environ, start)
    try:
        for piece in iterable:
            if start.status is None:
                raise WrongAnswer("a body before the start of the response")
            yield piece
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()


def wsgi_call(app: Any, expected: Expected) -> Call:
    """A function that makes one small GET and checks the answer. Any thread may call it."""
    begins = f"{expected.status} "
    template = get_environ()
    # Compared first as they are expected to come; the thorough look is for those that differ.
    names = [(name.decode(), value.decode()) for name, value in expected.headers]

    def call() -> None:
        start = Start()
        environ = template.copy()
        environ["wsgi.input"] = io.BytesIO()
        body = b"".join(pieces_of(app, environ, start))
        if body != expected.body:
            raise WrongAnswer(f"a body of {len(body)} bytes that is not the expected one")
        if start.status is None or not start.status.startswith(begins) or start.headers != names:
            start.check(expected.status, expected.headers)

    return call


def transfer(app: Any, environ: dict[str, Any], body: Body, headers: HeaderPairs) -> None:
    """Make one request whose answer is long and let `body` take it; raises `WrongAnswer`."""
    start = Start()
    for piece in pieces_of(app, environ, start):
        if piece:
            body.take(piece)
    body.check()
    start.check(200, headers)


def stepped(app: Any, scope: dict[str, Any], expected: Expected) -> Call:
    """The ASGI app stepped in the calling thread, without a loop: what is left when nothing is crossed.

    Only for apps that never really wait. The scope is ready, so nothing is translated either.
    """

    def call() -> None:
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        try:
            app(scope.copy(), receive, send).send(None)
        except StopIteration:
            pass
        else:
            raise WrongAnswer("the application waits")
        start, body = messages
        if start["status"] != expected.status or body["body"] != expected.body:
            raise WrongAnswer("not the expected answer")
        if start["headers"] != expected.headers:
            check_headers(start["headers"], expected.headers)

    return call
