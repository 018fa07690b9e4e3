"""Machine: what an ASGI app sends (start, bodies, end) -> a WSGI status line, headers and body bytes.

States and the steps between them, by the ASGI HTTP specification:

    EMPTY     -- http.response.start ----------------> STARTED   stored: nothing is handed out yet (A-13)
    STARTED   -- body, more_body true ---------------> STARTED
    STARTED   -- body, more_body false --------------> COMPLETE, or TRAILERS if they were announced
    STARTED   -- pathsend ---------------------------> as the last body
    TRAILERS  -- trailers, more_trailers true -------> TRAILERS
    TRAILERS  -- trailers, more_trailers false ------> COMPLETE
    COMPLETE  -- anything ---------------------------> ignored (A-23)

Any other step raises `InvalidMessage` and leaves the state as it was. The machine knows no thread
and no loop: its methods take a message and return what may go to the server.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterable
from typing import Any

from ..exceptions import IncompleteResponse, InvalidHeader, InvalidMessage
from ..types import Message
from .headers import (
    BODILESS_STATUS,
    CACHE_LIMIT,
    CACHED_VALUE_LIMIT,
    HOP_BY_HOP,
    LONGEST_LENGTH,
    REPEATING,
    TOKEN_BYTES,
)


class State(enum.Enum):
    """How far the response has come."""

    EMPTY = enum.auto()  #: no start message
    STARTED = enum.auto()  #: status and headers are known
    TRAILERS = enum.auto()  #: the body is complete, trailers were announced
    COMPLETE = enum.auto()  #: the app has sent all of it


_EMPTY, _STARTED, _TRAILERS, _COMPLETE = State.EMPTY, State.STARTED, State.TRAILERS, State.COMPLETE

_SPECIAL = HOP_BY_HOP | {"content-length"}
# Never dropped, even if Connection names them: that would unframe the message.
_KEPT = frozenset({"content-length", "content-type", "set-cookie"})

# H-02: every control character except HTAB inside the value, and DEL.
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class ASGIResponse:
    """The response of one request, as an ASGI app sends it.

    Args:
        head: the request's method is HEAD, so no body byte goes out (A-20).
        trailers: the server takes trailers (X-05).

    Attributes:
        status: the status line, such as `"200 OK"`; valid once the response has STARTED.
        headers: pairs of str as WSGI wants them; valid likewise.
        shown: set by the caller when status and headers have been handed out.
        bodiless: the response has no body, whatever the app sends.
        surplus: the app sent bytes beyond `Content-Length`; they were cut (A-21).
        length: the response's `Content-Length`, if it has one and a body.
    """

    __slots__ = (
        "_head",
        "_offers_trailers",
        "_remaining",
        "_will_trail",
        "bodiless",
        "headers",
        "length",
        "shown",
        "state",
        "status",
        "surplus",
    )

    def __init__(self, head: bool, trailers: bool = False) -> None:
        self.state = _EMPTY
        self._head = head
        self._offers_trailers = trailers
        self._will_trail = False
        self._remaining: int | None = None
        self.length: int | None = None
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.shown = False
        self.bodiless = head
        self.surplus = False

    @property
    def complete(self) -> bool:
        """Whether the app has sent all of its response."""
        return self.state is _COMPLETE

    @property
    def exhausted(self) -> bool:
        """Whether nothing can go out any more, although the app may not have said so yet."""
        return (self._remaining == 0 or self.bodiless) and not self._will_trail

    def start(self, message: Message) -> None:
        """Take `http.response.start`.

        Raises:
            InvalidMessage: a second start, or no status from 200 to 599 (A-22).
            InvalidHeader: a header that must not be sent (H-01, H-02, H-04).
        """
        if self.state is not _EMPTY:
            if self.state is _COMPLETE:
                return
            raise InvalidMessage("the app sent http.response.start a second time")
        status = message.get("status")
        line = (_status_lines.get(status) if isinstance(status, int) else None) or _status_line(status)
        length: int | None = None
        encoded: list[tuple[str, str]] = []
        special = False
        cached = _pair_cache.get
        headers = message.get("headers")
        for pair in headers if type(headers) is list else _iterable(message, "headers"):
            known: tuple[tuple[str, str], int | None] | None
            try:
                known = cached(pair)
            except TypeError:  # a list, which cannot be hashed; the specification allows any iterable
                known = None
            text, rule = known or _decode(pair)
            encoded.append(text)
            if rule is not None:
                # Most responses have one plain Content-Length and nothing else of interest.
                if rule >= 0 and length is None:
                    length = rule
                else:
                    special = True
        if special:
            encoded, length = _apply_rules(encoded)
        if status in BODILESS_STATUS:
            self.bodiless = True
            if status == 204:
                encoded = [pair for pair in encoded if pair[0].lower() != "content-length"]
        self.status = line
        self.headers = encoded
        if not self.bodiless:
            self.length = self._remaining = length
            # Without a body nothing follows that the trailers could.
            self._will_trail = self._offers_trailers and bool(message.get("trailers"))
        self.state = _STARTED

    def body(self, message: Message) -> bytes:
        """Take `http.response.body`; return the bytes of it that go out: `b""` if none do.

        Raises:
            InvalidMessage: no start came before, or the body is not bytes (A-22).
        """
        if self.state is not _STARTED:
            self._unexpected("http.response.body")
            return b""
        body: Any = message.get("body", b"")
        if type(body) is not bytes:
            body = _as_bytes(body)
        if not message.get("more_body", False):
            self.state = _TRAILERS if self._will_trail else _COMPLETE
        return self._cut(body) if body else b""

    def _cut(self, body: bytes) -> bytes:
        """What fits: nothing for HEAD, 204 and 304, no more than Content-Length (A-20, A-21)."""
        if self.bodiless:
            return b""
        remaining = self._remaining
        if remaining is None:
            return body
        size = len(body)
        if size > remaining:
            self.surplus = True
            body = body[:remaining]
            size = remaining
        self._remaining = remaining - size
        return body

    def path(self, message: Message) -> str | None:
        """Take `http.response.pathsend`; return the path of the file to send, `None` if it is ignored.

        The state changes with `sent_file`, once the file is known to be readable.

        Raises:
            InvalidMessage: no start came before, output has begun, or there is no path (X-06).
        """
        if self.state is not _STARTED:
            self._unexpected("http.response.pathsend")
            return None
        path: Any = message.get("path")
        found: Any = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        # The extension asks for an absolute one, but Starlette's FileResponse passes on what it was
        # given; to open that means the same here as in the app.
        if not isinstance(found, str) or not found:
            raise InvalidMessage(f"http.response.pathsend expects an absolute path; got {path!r}")
        if self.shown:
            raise InvalidMessage("http.response.pathsend cannot follow http.response.body")
        return found

    def sent_file(self, size: int) -> int:
        """The file of `path` has `size` bytes and ends the body; return how many of them go out."""
        self.state = _TRAILERS if self._will_trail else _COMPLETE
        if self.bodiless:
            return 0
        if self._remaining is None:
            return size
        count = min(size, self._remaining)
        self.surplus = size > count
        self._remaining -= count
        return count

    def part(self, message: Message) -> tuple[Any, int | None, int | None, bool] | None:
        """Take `http.response.zerocopysend`; return file, offset, count and `more_body` (X-07).

        `None` if it is ignored. The bytes read are to be given to `body`, as messages.

        Raises:
            InvalidMessage: no start came before; or offset or count is no number from 0.
        """
        if self.state is not _STARTED:
            self._unexpected("http.response.zerocopysend")
            return None
        if "file" not in message:
            raise InvalidMessage("http.response.zerocopysend has no file")
        offset, count = message.get("offset"), message.get("count")
        for name, value in (("offset", offset), ("count", count)):
            if value is not None and (not isinstance(value, int) or value < 0):
                raise InvalidMessage(
                    f"http.response.zerocopysend expects {name} as a number from 0; got {value!r}"
                )
        return message["file"], offset, count, bool(message.get("more_body", False))

    def hint(self, message: Message) -> list[tuple[str, str]] | None:
        """Take `http.response.early_hint`; return its `Link` headers, `None` if it comes too late (X-03).

        Raises:
            InvalidMessage: `links` are not bytes.
            InvalidHeader: a link holds a control character (H-02).
        """
        if self.shown or self.state not in (_EMPTY, _STARTED):
            return None
        return [_decode((b"Link", link))[0] for link in _iterable(message, "links")]

    def trailers(self, message: Message) -> list[tuple[str, str]]:
        """Take `http.response.trailers`; return those to be sent. None are unless they were announced.

        Raises:
            InvalidMessage: they come before the end of the body.
            InvalidHeader: a name or value that must not be sent.
        """
        if self.state is not _TRAILERS:
            if self.state is _COMPLETE or not self._offers_trailers:
                return []  # dropped, so that the response does not hang
            raise InvalidMessage("the app sent http.response.trailers before the end of the body")
        trailers = []
        for pair in _iterable(message, "headers"):
            (name, value), rule = _decode(pair)
            if rule is None:
                trailers.append((name.lower(), value))
        if not message.get("more_trailers", False):
            self.state = _COMPLETE
        return trailers

    def finish(self) -> None:
        """Check that the response is whole now that the app has ended (A-21, A-27).

        Raises:
            IncompleteResponse: nothing was sent, the body was not ended, or it is shorter than
                `Content-Length`.
        """
        if self.state is _EMPTY:
            raise IncompleteResponse("the app ended without a response: it sent no http.response.start")
        if self.state is _STARTED:
            raise IncompleteResponse(
                "the app ended before its response did: it sent no http.response.body with more_body false"
            )
        if self.state is _TRAILERS:
            raise IncompleteResponse("the app ended before it sent the trailers that it had announced")
        if self._remaining and not self.bodiless:
            raise IncompleteResponse(
                f"the app sent {self._remaining} bytes fewer than its Content-Length of {self.length}"
            )

    def _unexpected(self, kind: str) -> None:
        if self.state is _COMPLETE:
            return
        if self.state is _EMPTY:
            raise InvalidMessage(f"the app sent {kind} before http.response.start")
        raise InvalidMessage(f"the app sent {kind} after the end of the body; trailers were announced")


def unknown(kind: object) -> InvalidMessage:
    """The error for a message of a type that is not offered (A-22, X-01)."""
    return InvalidMessage(
        f"the app sent a message of type {kind!r}; expected http.response.start, http.response.body, "
        "or one of the extensions that the scope offers"
    )


# What applications send a few dozen of: by code.
_status_lines: dict[Any, str] = {}


def _status_line(status: object) -> str:
    """The code, a space and a phrase, which must not be empty (A-15)."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise InvalidMessage(f"http.response.start expects status as an int; got {status!r}")
    if not 200 <= status <= 599:
        raise InvalidMessage(f"http.response.start expects a status from 200 to 599; got {status!r}")
    from http import HTTPStatus  # loaded on use

    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    line = _status_lines[int(status)] = f"{int(status)} {phrase}"
    return line


def _iterable(message: Message, key: str) -> Iterable[Any]:
    value: Any = message.get(key)
    if value is None:
        return ()
    if isinstance(value, Iterable) and not isinstance(value, (bytes, str)):
        return value
    raise InvalidMessage(f"{message.get('type')} expects {key} as a list; got {type(value).__name__}")


def _as_bytes(body: object) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise InvalidMessage(f"http.response.body expects body as bytes; got {type(body).__name__}")


# Only of headers whose values repeat: see `headers.REPEATING`.
_pair_cache: dict[Any, tuple[tuple[str, str], int | None]] = {}


def _decode(pair: Any) -> tuple[tuple[str, str], int | None]:
    """One header as str, and what rules apply to it beyond those of all headers (A-16, H-01, H-02).

    That is `None` if none do; the number of a plain `Content-Length`; else -1.
    """
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise InvalidHeader(
            f"expected a response header as a pair of bytes; got {type(pair).__name__}"
        ) from None
    if not isinstance(name, (bytes, bytearray, memoryview)):
        raise InvalidHeader(f"a response header name must be bytes, got {type(name).__name__}")
    name = bytes(name)
    if TOKEN_BYTES.fullmatch(name) is None:
        raise InvalidHeader(
            f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only (RFC 9110 5.6.2)"
        )
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidHeader(
            f"the value of the response header {name!r} must be bytes, got {type(value).__name__}"
        )
    value = bytes(value)
    if _BAD_VALUE.search(value):
        raise InvalidHeader(
            f"the value of the response header {name!r} holds a control character, such as a line break"
        )
    text = name.decode("ascii"), value.strip(b" \t").decode("latin-1")
    lower = text[0].lower()
    rule: int | None = None
    if lower in _SPECIAL:
        plain = lower == "content-length" and text[1].isascii() and text[1].isdigit()
        rule = int(text[1]) if plain and len(text[1]) <= LONGEST_LENGTH else -1
    decoded = text, rule
    if type(pair) is tuple and lower in REPEATING and len(value) <= CACHED_VALUE_LIMIT:
        if len(_pair_cache) >= CACHE_LIMIT:
            _pair_cache.clear()
        _pair_cache[name, value] = decoded
    return decoded


def _apply_rules(headers: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], int | None]:
    """Drop hop-by-hop headers (A-17, H-03), check and collapse the lengths (H-04)."""
    unwanted = set(HOP_BY_HOP)
    for name, value in headers:
        if name.lower() == "connection":
            unwanted |= {token.strip().lower() for token in value.split(",")}
    unwanted -= _KEPT
    length: int | None = None
    kept = []
    for pair in headers:
        name = pair[0].lower()
        if name in unwanted:
            continue
        if name == "content-length":
            value = pair[1]
            if not (value.isascii() and value.isdigit()) or len(value) > LONGEST_LENGTH:
                raise InvalidHeader("the response's Content-Length must be ASCII digits, 18 at most")
            if length is not None:
                if length != int(value):
                    raise InvalidHeader("the response has several Content-Length headers that differ")
                continue
            length = int(value)
        kept.append(pair)
    return kept, length
