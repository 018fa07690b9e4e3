"""Machine: `http.request` and `http.disconnect` messages -> body chunks, with the length rules applied.

States: open -> complete | failed. A body that ends before its `Content-Length`, or by a disconnect,
fails; it is never complete (E-40).
"""

from __future__ import annotations

from ..exceptions import BodyTooLarge, BridgeError, ClientDisconnected, ServerError
from ..types import Message


class RequestBody:
    """The body of one request as it arrives.

    Args:
        content_length: the announced length, `None` if unknown. Bytes beyond it are cut (E-40).
        limit: the most bytes that are accepted, `None` for no limit.
        awaits_end: all announced bytes are not the end; that is for the server to say. So it is on
            HTTP/2 and 3, where the end of the stream may come later, and servers fail if a response
            is complete before it.

    Attributes:
        complete: the whole body has been fed.
        error: why the body can never be complete; `None` while it can.
        gone: the client has disconnected.
    """

    __slots__ = ("_awaits_end", "_limit", "_remaining", "_size", "complete", "error", "gone")

    def __init__(
        self, content_length: int | None, limit: int | None = None, *, awaits_end: bool = False
    ) -> None:
        self._awaits_end = awaits_end
        self._remaining = content_length
        self._limit = limit
        self._size = 0
        self.complete = False
        self.error: BridgeError | None = None
        self.gone = False
        if limit is not None and content_length is not None and content_length > limit:
            self.error = _too_large(limit)

    def feed(self, message: Message) -> bytes:
        """Take one message of the server; return the bytes of body in it, perhaps none.

        Look at `complete` and `error` afterwards. Once either is set, further messages only matter
        for `gone`.

        Raises:
            ServerError: the message is neither `http.request` nor `http.disconnect`.
        """
        kind = message["type"]
        if kind == "http.disconnect":
            self.gone = True
            if self._remaining == 0:
                self.complete = True  # only the word that it is over was missing
            elif not self.complete and self.error is None:
                self.error = ClientDisconnected("the client left before the request body was complete")
            return b""
        if kind != "http.request":
            raise ServerError(f"expected an http.request or http.disconnect message, got {kind!r}")
        if self.complete or self.error is not None:
            return b""
        chunk: bytes = message.get("body") or b""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        remaining = self._remaining
        if remaining is not None:
            if len(chunk) > remaining:
                chunk = chunk[:remaining]
                self.complete = True
            remaining = self._remaining = remaining - len(chunk)
            if remaining == 0 and not self._awaits_end:
                self.complete = True
        self._size += len(chunk)
        if self._limit is not None and self._size > self._limit:
            self.error = _too_large(self._limit)
            return b""
        if not self.complete and not message.get("more_body", False):
            if not remaining:
                self.complete = True
            else:
                self.error = ClientDisconnected(
                    f"the request body ended {self._remaining} bytes before its Content-Length"
                )
        return chunk


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than the limit of {limit} bytes")
