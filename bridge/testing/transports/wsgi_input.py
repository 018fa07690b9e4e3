"""`wsgi.input` of a request whose body is read lazily from an iterator, in the calling thread."""

from __future__ import annotations

from collections.abc import Iterator

from ...exceptions import ClientDisconnected
from .wire import check_length


class LazyInput:
    """A request body that is read when the app asks for it (PEP 3333, "Input and Error Streams").

    Args:
        pieces: the body.
        length: what `Content-Length` says; `None` if the body's end is the iterator's.

    Attributes:
        error: what the iterator raised, or that the body's length is wrong; the app's reads raise
            `ClientDisconnected` from then on, as if the client had left.
    """

    def __init__(self, pieces: Iterator[bytes], length: int | None) -> None:
        self._pieces = pieces
        self._left = length
        self._buffer = b""
        self._ended = False
        self.error: BaseException | None = None

    def _fill(self) -> bool:
        """Read one more piece; whether there was one."""
        if self.error is not None:
            raise ClientDisconnected("the client left before the end of the request's body")
        if self._ended:
            return False
        try:
            piece = next(self._pieces, None)
            if self._left is not None:
                self._left -= len(piece or b"")
                check_length(self._left, piece is None)
        except BaseException as error:
            self.error = error
            raise ClientDisconnected("the client left before the end of the request's body") from error
        if piece is None:
            self._ended = True
            return False
        self._buffer += piece
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, all if it is negative or `None`; fewer only at the end."""
        if size is None or size < 0:
            parts = [self._buffer]
            self._buffer = b""
            while self._fill():
                parts.append(self._buffer)
                self._buffer = b""
            return b"".join(parts)
        while len(self._buffer) < size and self._fill():
            pass
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and with the next line feed, at most `size` bytes."""
        limit = None if size is None or size < 0 else size
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched) + 1
            if end or (limit is not None and len(self._buffer) >= limit):
                break
            searched = len(self._buffer)
            if not self._fill():
                end = len(self._buffer)
                break
        if limit is not None and (not end or end > limit):
            end = limit
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Lines until the end, or until they have at least `hint` bytes together."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line = self.readline()
            if not line:
                return
            yield line
