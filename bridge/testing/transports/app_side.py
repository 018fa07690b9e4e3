"""The app's side of one exchange in process: `receive`, `send`, and what its client is told.

Everything here runs on the app's event loop. The client may live in another thread (`asgi_exchange`) or
on the same loop (`async_asgi`); what the two sides share are fields of which each has one writer, and
deques with one writer and one reader, so no lock is needed:

- to the client: `out` holds pieces of body, `put` counts their bytes; `wake_client` is called after each
  change. The client takes, counts in `taken`, and calls `room_made` if the app may be waiting for room.
- to the app: `body_in` holds pieces of the request's body. One that is read lazily is read by the client,
  since it is the client's: `wanted` asks for a piece, and the client answers by `body_came`.

Who waits here, and what ends the wait: `receive()` waits for a piece of body, or for the end of the
exchange; `send()` for room. All of these are ended by the client's leaving (`client_left`), which a
response's `close()`, its garbage collection, a time-out and the client's own `close()` cause.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from ...exceptions import ClientDisconnected, IncompleteResponse
from ...types import ASGIApp, Message
from .asgi_response import AppResponse
from .library import httpx2
from .wire import PIECE, broken, check_length, declared_length, logger

# How far the app may run ahead of the client, in bytes: four pieces, as bridge's adapters allow.
AHEAD = 4 * PIECE


class AppSide:
    """One exchange, as far as the app is concerned.

    Args:
        app: the application.
        scope: its scope.
        request: the client's; a body that is in memory is taken from it at once.

    Attributes:
        response: what the app has sent so far.
        begun: the app has sent its first body message, so the response may go out.
        ended: the app's task is over.
        raised: what it raised.
        failure: what the client was told because the app ended too early.
        gone: the client has left.
        lazy: the request's body has to be read piece by piece.

    Raises:
        LocalProtocolError: a body in memory is not as long as the request's `Content-Length`.
    """

    def __init__(self, app: ASGIApp, scope: dict[str, Any], request: httpx2.Request) -> None:
        self.request = request
        self.response = AppResponse(request.method == "HEAD")
        self.begun = False
        self.ended = False
        self.raised: BaseException | None = None
        self.failure: BaseException | None = None
        self.gone = False
        # To the client.
        self.out: deque[bytes] = deque()
        self.put = 0
        self.taken = 0
        # To the app.
        self.wanted = False
        self.body_in: deque[bytes] = deque()
        self.last_read = False
        self._left = declared_length(request.headers)
        self._app = app
        self._scope = scope
        self._waking = False
        self._body_given = False
        self._readers: set[asyncio.Future[None]] = set()
        self._writers: set[asyncio.Future[None]] = set()
        stream = request.stream
        self.lazy = not isinstance(stream, httpx2.ByteStream)
        if isinstance(stream, httpx2.ByteStream):
            self.take_piece(b"".join(stream))
            self.take_piece(None)

    # -- of the client, in its own thread

    def take_piece(self, piece: bytes | None) -> None:
        """A piece of the request's body was read; `None` is its end.

        Raises:
            LocalProtocolError: the body is not as long as the request's `Content-Length`.
        """
        if self._left is not None:
            self._left -= len(piece or b"")
            check_length(self._left, piece is None)
        if piece is None:
            self.last_read = True
        elif len(piece) <= PIECE:
            if piece:
                self.body_in.append(piece)
        else:  # as a server receives it
            self.body_in.extend(piece[at : at + PIECE] for at in range(0, len(piece), PIECE))

    @property
    def app_waits_for_room(self) -> bool:
        """Whether what was taken has made room for an app that waits for it."""
        return bool(self._writers) and self.put - self.taken <= AHEAD // 2

    def failed(self) -> BaseException:
        """What to tell the client now that the app has ended before its response has."""
        missing = self.response.missing() or "it sent no http.response.body"
        if isinstance(self.raised, asyncio.CancelledError):
            # Not raised as it is: it would look as if the client itself had been cancelled.
            cancelled = "the app's task was cancelled before its response was complete"
            self.failure = broken(cancelled, self.request) if self.begun else IncompleteResponse(cancelled)
            self.failure.__cause__ = self.raised
        elif self.raised is not None:
            self.failure = self.raised
        elif self.begun:
            self.failure = broken(missing, self.request)
        else:
            self.failure = IncompleteResponse(missing)
        return self.failure

    def check_end(self) -> None:
        """The client has taken all there is; is it all?

        Raises:
            what the app raised; RemoteProtocolError: it sent too little.
        """
        if not self.response.complete:
            raise self.failed()
        missing = self.response.missing()
        if missing is not None:
            raise broken(missing, self.request)

    # -- to be called on the loop

    def wake_client(self) -> None:
        """Make the client look at what has changed."""
        raise NotImplementedError

    async def call(self) -> None:
        """Run the app; the main function of its task. Raises nothing but what cancels it."""
        try:
            await self._app(self._scope, self.receive, self.send)
        except BaseException as error:
            self.raised = error
            if self.response.complete:
                # Perhaps the client has seen the end of it by now, and nobody else will tell.
                logger.info("the app raised after the end of its response: %r", error)
        finally:
            self.ended = True
            self._let_go(self._readers)
            self._let_go(self._writers)
            self._waking = False
            self.wake_client()

    def client_left(self) -> bool:
        """The client has left; return whether the response was incomplete, so that it matters to the app."""
        early = not self.response.complete
        self.gone = True
        self._let_go(self._readers)
        self._let_go(self._writers)
        return early

    def body_came(self) -> None:
        """There is more of the request's body, or its end."""
        self._let_go(self._readers)

    def room_made(self) -> None:
        """The client has taken some of the response."""
        self._let_go(self._writers)

    def _wake_soon(self) -> None:
        # Once for all that the app sends in this step of its task; and an app that ends in this step has
        # ended when the client looks.
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake_if_needed)

    def _wake_if_needed(self) -> None:
        if self._waking:
            self._waking = False
            self.wake_client()

    @staticmethod
    def _let_go(waiters: Iterable[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @staticmethod
    async def _pause(waiters: set[asyncio.Future[None]]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)

    async def receive(self) -> Message:
        """ASGI HTTP 2.5, "Request" and "Disconnect"."""
        while not (self._body_given or self.gone or self.response.complete):
            # Looked at first: the client puts the last piece before it says that it was the last.
            last_read = self.last_read
            if self.body_in:
                body = self.body_in.popleft()
                self._body_given = last_read and not self.body_in
                return {"type": "http.request", "body": body, "more_body": not self._body_given}
            if last_read:
                self._body_given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self.wanted = True
            self.wake_client()
            await self._pause(self._readers)
        while not (self.gone or self.response.complete):
            await self._pause(self._readers)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI HTTP 2.5, "Response Start" to "Response Trailers".

        Raises:
            InvalidMessage, InvalidHeader: what was sent breaks the specification.
            ClientDisconnected: the client has left; an OSError, as ASGI HTTP 2.4 wants it.
        """
        response = self.response
        if self.gone and not response.complete:
            raise ClientDisconnected("the client has left, so nothing can be sent")
        piece = response.take(message)
        if message["type"] == "http.response.start":
            return  # nothing goes out before the first body: ASGI HTTP 2.5, "Response Start"
        if piece:
            self.put += len(piece)
            self.out.append(piece)
        self.begun = True
        if response.complete:
            if response.surplus:
                logger.warning(
                    "the app sent %d bytes more than its Content-Length; they were cut", response.surplus
                )
            self._let_go(self._readers)
        self._wake_soon()
        while self.put - self.taken > AHEAD and not self.gone:
            # The client counts what it takes before it looks for writers, and this writer is there before
            # it looks at the count: one of the two sees the other.
            waiter = asyncio.get_running_loop().create_future()
            self._writers.add(waiter)
            try:
                if self.put - self.taken > AHEAD // 2:
                    await waiter
            finally:
                self._writers.discard(waiter)
