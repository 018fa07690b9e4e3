"""Machine: what an ASGI app sends -> the response that a client gets, as the app spelled it.

Unlike the one of the adapters (`bridge.translate.asgi_response`), it changes nothing: names of headers
keep their case and hop-by-hop headers stay, since tests want to see them. States and steps:

    EMPTY     -- http.response.start -----------------> STARTED   nothing goes out yet
    STARTED   -- body, more_body true ----------------> STARTED
    STARTED   -- body, more_body false ---------------> COMPLETE, or TRAILERS if they were announced
    TRAILERS  -- trailers, more_trailers true --------> TRAILERS
    TRAILERS  -- trailers, more_trailers false -------> COMPLETE
    COMPLETE  -- anything ----------------------------> ignored

Any other step raises and leaves the state as it was. ASGI HTTP 2.5.
"""

from __future__ import annotations

import re
from typing import Any

from ...exceptions import InvalidHeader, InvalidMessage
from ...translate.asgi_response import State
from ...translate.headers import BODILESS_STATUS, LONGEST_LENGTH, TOKEN_BYTES
from ...types import Message

_EMPTY, _STARTED, _TRAILERS, _COMPLETE = State.EMPTY, State.STARTED, State.TRAILERS, State.COMPLETE

# What would end the line, or the string of a server written in C.
_BAD_VALUE = re.compile(rb"[\x00\r\n]")


class AppResponse:
    """The response of one request, as an ASGI app sends it.

    Args:
        head: the request's method is HEAD, so that no byte of the body goes out.

    Attributes:
        status: valid once the response has STARTED, as are the headers.
        headers: pairs of bytes, in order, in the case in which the app wrote them.
        trailers: as far as they have come.
        surplus: bytes beyond `Content-Length`, which are cut.
    """

    __slots__ = (
        "_announced",
        "_bodiless",
        "_head",
        "_remaining",
        "headers",
        "state",
        "status",
        "surplus",
        "trailers",
    )

    def __init__(self, head: bool) -> None:
        self.state = _EMPTY
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[str, str]] = []
        self.surplus = 0
        self._head = head
        self._bodiless = head
        self._announced = False
        self._remaining: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the app has sent all of it."""
        return self.state is _COMPLETE

    def take(self, message: Message) -> bytes:
        """Take one message; return the bytes of body that go out with it.

        Raises:
            InvalidMessage: its type is unknown, it comes out of turn, or a value has the wrong type.
            InvalidHeader: a header that must not be sent.
        """
        kind = message.get("type") if hasattr(message, "get") else None
        if kind == "http.response.body":
            return self._body(message)
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.trailers":
            self._take_trailers(message)
        else:
            raise InvalidMessage(
                f"the app sent {kind if kind is not None else message!r}; expected http.response.start, "
                "http.response.body or http.response.trailers"
            )
        return b""

    def _start(self, message: Message) -> None:
        if self.state is not _EMPTY:
            if self.state is _COMPLETE:
                return
            raise InvalidMessage("the app sent http.response.start a second time")
        status = message.get("status")
        if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 999:
            raise InvalidMessage(f"http.response.start expects status as an int from 200; got {status!r}")
        headers = []
        length: int | None = None
        for pair in message.get("headers") or ():
            name, value = _header(pair)
            if len(name) == 14 and name.lower() == b"content-length":
                length = _length(value, length)
            headers.append((name, value))
        self.status = int(status)
        self.headers = headers
        self._bodiless = self._head or status in BODILESS_STATUS
        if not self._bodiless:
            self._remaining = length
        self._announced = bool(message.get("trailers", False))
        self.state = _STARTED

    def _body(self, message: Message) -> bytes:
        if self.state is not _STARTED:
            if self.state is _COMPLETE:
                return b""
            when = "before http.response.start" if self.state is _EMPTY else "after its last one"
            raise InvalidMessage(f"the app sent http.response.body {when}")
        body: Any = message.get("body", b"")
        if type(body) is not bytes:
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise InvalidMessage(f"http.response.body expects body as bytes; got {type(body).__name__}")
            body = bytes(body)
        if not message.get("more_body", False):
            self.state = _TRAILERS if self._announced else _COMPLETE
        if not body or self._bodiless:
            return b""
        remaining = self._remaining
        if remaining is not None:
            size = len(body)
            if size > remaining:
                self.surplus += size - remaining
                body = body[:remaining]
                size = remaining
            self._remaining = remaining - size
        return body  # type: ignore[no-any-return]

    def _take_trailers(self, message: Message) -> None:
        if self.state is not _TRAILERS:
            if self.state is _COMPLETE:
                return
            raise InvalidMessage(
                "the app sent http.response.trailers before the end of the body"
                if self._announced
                else "the app sent http.response.trailers that its http.response.start did not announce"
            )
        for pair in message.get("headers") or ():
            name, value = _header(pair)
            self.trailers.append((name.decode("latin-1"), value.decode("latin-1")))
        if not message.get("more_trailers", False):
            self.state = _COMPLETE

    def missing(self) -> str | None:
        """What the response lacks, now that the app has sent its last message; `None` if it is whole."""
        if self.state is _EMPTY:
            return "the app ended without a response: it sent no http.response.start"
        if self.state is _STARTED:
            return "the app ended before its response did: it sent no http.response.body with more_body false"
        if self._remaining:
            return f"the app sent {self._remaining} bytes fewer than its Content-Length"
        if self.state is _TRAILERS:
            return "the app ended before it sent the trailers that it had announced"
        return None


def _header(pair: Any) -> tuple[bytes, bytes]:
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise InvalidHeader(f"expected a response header as a pair of bytes; got {pair!r}") from None
    if type(name) is not bytes or type(value) is not bytes:
        for part in (name, value):
            if not isinstance(part, (bytes, bytearray, memoryview)):
                raise InvalidHeader(
                    f"expected a response header as a pair of bytes; got {type(part).__name__} in {pair!r}"
                )
        name, value = bytes(name), bytes(value)
    if TOKEN_BYTES.fullmatch(name) is None:
        raise InvalidHeader(f"{name!r} is no header name (RFC 9110 section 5.6.2)")
    if _BAD_VALUE.search(value) is not None:
        raise InvalidHeader(f"the value of the response header {name!r} holds CR, LF or NUL: {value!r}")
    return name, value


def _length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > LONGEST_LENGTH:
        raise InvalidHeader(f"the response's Content-Length is no number: {value!r}")
    if before is not None and before != int(value):
        raise InvalidHeader("the response has several Content-Length headers that differ")
    return int(value)
