"""`wsgi.input` as a source of pieces: read by length, and never beyond it."""

from __future__ import annotations

import logging
from typing import Any

from ..exceptions import BodyTooLarge, ClientDisconnected, ServerError
from ..types import Environ

logger = logging.getLogger("bridge.asgi")

# The size in which servers move bodies themselves; a larger one makes slow uploads wait for more.
PIECE = 64 * 1024


class InputReader:
    """The request body of one environ. It is read in the server's thread, by `read(n)` only (A-05).

    Args:
        environ: the request's environ.
        length: its `CONTENT_LENGTH`, if it has one.
        limit: the largest body allowed, in bytes.

    Attributes:
        has_body: whether there is anything to read; if not, `wsgi.input` is never touched (A-06).
    """

    __slots__ = ("_length", "_limit", "_read", "_stream", "has_body")

    def __init__(self, environ: Environ, length: int | None, limit: int | None) -> None:
        # Without a length, only a stream that ends by itself may be read: others block for ever.
        self.has_body = length != 0 if length is not None else bool(environ.get("wsgi.input_terminated"))
        self._stream: Any = environ.get("wsgi.input") if self.has_body else None
        self._length = length
        self._limit = limit
        self._read = 0

    def read(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last.

        Raises:
            ClientDisconnected: the body ended before its length, or could not be read (A-10).
            BodyTooLarge: it exceeds the limit.
            ServerError: the server's stream gives no bytes.
        """
        length = self._length
        size = PIECE if length is None else min(PIECE, length - self._read)
        try:
            data = self._stream.read(size)
        except Exception as error:
            # Servers raise what they like for a connection that broke or a malformed chunk.
            logger.debug("reading the request body failed", exc_info=error)
            raise ClientDisconnected("the request body could not be read to its end") from error
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise ServerError(
                    f"wsgi.input.read() returned {type(data).__name__}; expected bytes (PEP 3333)"
                )
            data = bytes(data)
        self._read += len(data)
        if self._limit is not None and self._read > self._limit:
            raise BodyTooLarge(f"the request body exceeds {self._limit} bytes")
        if length is None:
            return data, not data
        if not data:
            raise ClientDisconnected(
                f"the request body ended after {self._read} of {length} bytes, so the client is gone"
            )
        return data, self._read >= length
