"""Machine: what a WSGI app says (start_response, chunks, end) -> ASGI messages and body bytes.

States and the steps between them, by PEP 3333 "The start_response() Callable":

    EMPTY    -- start_response ------------------> NAMED     status and headers known, nothing sent
    NAMED    -- start_response with exc_info ----> NAMED     replaced as a whole
    NAMED    -- first non-empty chunk, or end ---> SENT      the start message has been handed out
    SENT     -- start_response with exc_info ----> raises the exception, the response is aborted
    EMPTY    -- chunk or end --------------------> raises: no start_response
    any      -- start_response without exc_info, a second time -> raises

A first call that raised counts as a call (W-05). The machine knows no thread and sends nothing:
`start_message` and `accept` give what is to be sent, in order.
"""

from __future__ import annotations

import enum
from typing import Any

from ..exceptions import ApplicationError, IncompleteResponse, InvalidHeader
from ..types import ExcInfo
from . import headers as header_rules
from .headers import BODILESS_STATUS, LONGEST_LENGTH
from .text import status_code


class State(enum.Enum):
    """How far the response has come."""

    EMPTY = enum.auto()  #: `start_response` has not succeeded
    NAMED = enum.auto()  #: status and headers are known, nothing was sent
    SENT = enum.auto()  #: the start message was handed out


_EMPTY, _NAMED, _SENT = State.EMPTY, State.NAMED, State.SENT


class WSGIResponse:
    """The response of one WSGI request.

    Args:
        head: the request's method is HEAD, so no body byte is sent (W-22).
        strict: hop-by-hop headers raise instead of being dropped (W-12).
        trailers: the server offers HTTP trailers, so a `Trailer` header announces them (X-05).

    Attributes:
        dropped: names of hop-by-hop headers that were dropped, for one warning by the caller.
        surplus: the app produced bytes beyond `Content-Length`; they were cut (W-20).
        bodiless: no body byte may be sent, so iteration may stop once headers are known.
    """

    __slots__ = (
        "_called",
        "_head",
        "_headers",
        "_length",
        "_offers_trailers",
        "_remaining",
        "_status",
        "_strict",
        "bodiless",
        "dropped",
        "state",
        "surplus",
        "trailers",
    )

    def __init__(self, head: bool, strict: bool = False, trailers: bool = False) -> None:
        self.state = _EMPTY
        self._called = False
        self._head = head
        self._strict = strict
        self._offers_trailers = trailers
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._remaining: int | None = None
        self.bodiless = head
        self.dropped: list[bytes] | None = None
        self.surplus = False
        self.trailers = False

    def start(self, status: object, headers: object, exc_info: ExcInfo | None = None) -> None:
        """Take status and headers from the app (W-03 to W-12).

        Raises:
            ApplicationError: a second call without `exc_info`.
            InvalidHeader: status or headers are not allowed.
            BaseException: the exception of `exc_info`, if output has begun.
        """
        if exc_info is not None:
            try:
                if exc_info[1] is None:
                    raise ApplicationError(
                        "start_response() was given exc_info outside of an except block; it holds nothing"
                    )
                if self.state is _SENT:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # W-07: break the cycle with this frame
        elif self._called:
            raise ApplicationError(
                "start_response() was called a second time without exc_info (PEP 3333, "
                '"The start_response() Callable")'
            )
        if self._called:
            # W-06: nothing of the call that is replaced stays.
            self._length = self.dropped = None
            self.trailers = False
        self._called = True
        self.state = _EMPTY
        code = status_code(status)
        bodiless = code in BODILESS_STATUS
        encoded = header_rules.response_headers(headers)
        for name, value in encoded:
            if name in _SPECIAL:
                # Most responses have one plain Content-Length and nothing else of interest.
                if name == b"content-length" and self._length is None and not bodiless and value.isdigit():
                    self._length = _number(value)
                else:
                    encoded = self._apply_rules(code, encoded)
                    break
        self._status = code
        self._headers = encoded
        self.bodiless = bodiless or self._head
        self.state = _NAMED

    def _apply_rules(self, code: int, encoded: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Hop-by-hop headers (W-12, H-03), content lengths (H-04, W-22) and the trailer announcement."""
        unwanted = _HOP_BY_HOP_BYTES
        length: int | None = None
        dropped: list[bytes] = []
        for name, value in encoded:
            if name == b"connection":
                unwanted = unwanted | {token.strip().lower() for token in value.split(b",")}
        # Never these, even if Connection names them: that would unframe the message.
        unwanted = unwanted - {b"content-length", b"content-type", b"set-cookie"}
        kept = []
        for name, value in encoded:
            if name in unwanted:
                dropped.append(name)
                continue
            if name == b"content-length":
                if not value.isdigit():
                    raise InvalidHeader("the response's Content-Length must be ASCII digits")
                if length is not None:
                    if length != _number(value):
                        raise InvalidHeader("the response has several Content-Length headers that differ")
                    continue
                length = _number(value)
                if code in BODILESS_STATUS:
                    continue
            elif name == b"trailer":
                # Without a body nothing follows, and the server would wait for it.
                self.trailers = self._offers_trailers and not self._head and code not in BODILESS_STATUS
            kept.append((name, value))
        if dropped:
            if self._strict:
                raise InvalidHeader(
                    f"hop-by-hop response header {dropped[0].decode()!r}: it belongs to the server "
                    '(PEP 3333, "Other HTTP Features")'
                )
            self.dropped = dropped
        self._length = None if code in BODILESS_STATUS else length
        return kept

    def fits(self, size: int) -> bool:
        """Whether a whole body of `size` bytes may be sent as it stands, all at once.

        Sets `Content-Length` if the app did not (W-19).
        """
        if self.bodiless or self.trailers or self.state is not _NAMED:
            return False
        if self._length is None:
            self._length = size
            self._headers.append((b"content-length", b"%d" % size))
            return True
        return self._length == size

    def start_message(self) -> dict[str, Any]:
        """The `http.response.start` message; from now on the response is SENT.

        Raises:
            ApplicationError: `start_response` has not been called (W-15).
        """
        if self.state is not _NAMED:
            raise ApplicationError(
                "the app sent body bytes or ended before it called start_response() (PEP 3333)"
                if self.state is _EMPTY
                else "the response has started already"
            )
        self.state = _SENT
        self._remaining = self._length
        message: dict[str, Any] = {
            "type": "http.response.start",
            "status": self._status,
            "headers": self._headers,
        }
        if self.trailers:
            message["trailers"] = True
        return message

    def accept(self, chunk: bytes) -> bytes:
        """The part of `chunk` that may be sent: nothing for HEAD, 204 and 304, no more than Content-Length.

        Call `start_message` first. `full` tells afterwards whether the length is reached.
        """
        if self.bodiless:
            return b""
        remaining = self._remaining
        if remaining is None:
            return chunk
        size = len(chunk)
        if size > remaining:
            self.surplus = True
            chunk = chunk[:remaining]
            size = remaining
        self._remaining = remaining - size
        return chunk

    @property
    def full(self) -> bool:
        """Whether the announced number of bytes has been accepted, so that the response is complete."""
        return self._remaining == 0

    def finish(self) -> None:
        """Check the end of the app's output (W-21).

        Raises:
            IncompleteResponse: fewer bytes than `Content-Length`.
        """
        if self._remaining and not self.bodiless:
            raise IncompleteResponse(
                f"the app produced {self._remaining} bytes fewer than its Content-Length of {self._length}"
            )


def _number(digits: bytes) -> int:
    if len(digits) > LONGEST_LENGTH:
        raise InvalidHeader("the response's Content-Length is absurdly long")
    return int(digits)


_HOP_BY_HOP_BYTES = frozenset(name.encode("ascii") for name in header_rules.HOP_BY_HOP)
_SPECIAL = _HOP_BY_HOP_BYTES | {b"content-length", b"trailer"}
