"""The in-process client: one request, its answer checked as it comes.

It does what an ASGI server does at this seam and nothing else, so that what is timed is the adapter.
An answer counts only if its messages came in order, it was complete, and status, headers and body
are those that the application gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from benchmarks.answers import Expected, HeaderPairs, WrongAnswer, check_headers

Message = dict[str, Any]


class Body(Protocol):
    """Takes the body of an answer piece by piece and says whether it was the right one."""

    async def take(self, piece: bytes) -> None:
        """Take the next piece; may wait, as a server does for a slow client."""

    def check(self) -> None:
        """Raise `WrongAnswer` unless the pieces taken are exactly the expected body."""


class _Answer:
    """What both kinds of exchange know of the answer: its start, and that it is complete."""

    __slots__ = ("_done", "complete", "headers", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Any = None
        self.complete = False
        self._done: asyncio.Future[None] | None = None

    async def _disconnect(self) -> Message:
        """As with a server, a `receive` after the request waits until the answer is complete."""
        if not self.complete:
            if self._done is None:
                self._done = asyncio.get_running_loop().create_future()
            # Each caller may be cancelled, which must not cancel what others wait for.
            await asyncio.shield(self._done)
        return {"type": "http.disconnect"}

    def _start(self, message: Any) -> None:
        if message["type"] != "http.response.start":
            raise WrongAnswer(f"a message of type {message['type']!r}")
        if self.status is not None:
            raise WrongAnswer("a second start of the response")
        self.status = message["status"]
        self.headers = message.get("headers", ())

    def _end(self) -> None:
        self.complete = True
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _check_start(self, status: int) -> None:
        if not self.complete:
            raise WrongAnswer("an answer that does not end")
        if self.status != status:
            raise WrongAnswer(f"status {self.status}, expected {status}")


class Exchange(_Answer):
    """One request without a body and its small answer: `receive` and `send` for the app, then `check`."""

    __slots__ = ("_asked", "body")

    def __init__(self) -> None:
        super().__init__()
        self.body = b""
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            return await self._disconnect()
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            self._start(message)
            return
        if self.status is None or self.complete:
            raise WrongAnswer("a body outside of a response")
        piece = message.get("body", b"")
        self.body = self.body + piece if self.body else piece
        if not message.get("more_body", False):
            self._end()

    def check(self, expected: Expected) -> None:
        """Raise `WrongAnswer` unless the whole answer came and is the expected one."""
        self._check_start(expected.status)
        if self.body != expected.body:
            raise WrongAnswer(f"a body of {len(self.body)} bytes that is not the expected one")
        if self.headers != expected.headers:
            check_headers(self.headers, expected.headers)


class BodyExchange(_Answer):
    """As `Exchange`, for large bodies: pieces of the request from `pieces`, those of the answer to `body`.

    Args:
        pieces: the request body; best an iterator, since no more than one piece is held here.
        body: takes and checks the answer's body.
    """

    __slots__ = ("_body", "_more", "_next", "_pieces")

    def __init__(self, pieces: Iterable[bytes], body: Body) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._next = next(self._pieces, None)
        self._more = True
        self._body = body

    async def receive(self) -> Message:
        if not self._more:
            return await self._disconnect()
        piece, self._next = self._next or b"", next(self._pieces, None)
        self._more = self._next is not None
        return {"type": "http.request", "body": piece, "more_body": self._more}

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            self._start(message)
            return
        if self.status is None or self.complete:
            raise WrongAnswer("a body outside of a response")
        piece = message.get("body", b"")
        if piece:
            await self._body.take(piece)
        if not message.get("more_body", False):
            self._end()

    def check(self, status: int, headers: HeaderPairs) -> None:
        """Raise `WrongAnswer` unless the whole answer came and is the expected one."""
        self._check_start(status)
        self._body.check()
        check_headers(self.headers, headers)
