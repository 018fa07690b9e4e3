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

    Attributes:
        complete: the whole body has been fed.
        error: why the body can never be complete; `None` while it can.
        gone: the client has disconnected.
    """

    __slots__ = ("_limit", "_remaining", "_size", "complete", "error", "gone")

    def __init__(self, content_length: int | None, limit: int | None = None) -> None:
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
            if not self.complete and self.error is None:
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
            if len(chunk) >= remaining:
                self.complete = True
                chunk = chunk[:remaining] if len(chunk) > remaining else chunk
            self._remaining = remaining - len(chunk)
        self._size += len(chunk)
        if self._limit is not None and self._size > self._limit:
            self.complete = False
            self.error = _too_large(self._limit)
            return b""
        if not self.complete and not message.get("more_body", False):
            if remaining is None:
                self.complete = True
            else:
                self.error = ClientDisconnected(
                    f"the request body ended {self._remaining} bytes before its Content-Length"
                )
        return chunk


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than the limit of {limit} bytes")
