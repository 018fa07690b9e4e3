"""The order of the messages of one HTTP request, and how its bodies fit their lengths: a state machine.

Events go in, broken rules come out. The machine holds no clock, loop or lock; it expects messages that
are dicts with a known `type`, and takes any value under the other keys.

An illegal step leaves the state as it was, so that one mistake is told once.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from .asgi_scope import offered
from .asgi_values import good_pairs
from .header_rules import (
    Broken,
    Pair,
    connection_rules,
    content_length,
    may_have_content,
    shortened,
)

START = "ASGI HTTP 2.5, Response Start"
BODY = "ASGI HTTP 2.5, Response Body"
REQUEST = "ASGI HTTP 2.5, Request"
DISCONNECT = "ASGI HTTP 2.5, Disconnect"
SCOPE = "ASGI HTTP 2.5, HTTP Connection Scope"
TRAILERS = "ASGI extensions, HTTP Trailers"
PATHSEND = "ASGI extensions, Path Send"
DEBUG = "ASGI extensions, Debug"


class Sent(enum.Enum):
    """How far a response is."""

    NOTHING = enum.auto()  #: no start yet
    STARTED = enum.auto()  #: a start, no content
    CONTENT = enum.auto()  #: some content, more to come
    CONTENT_DONE = enum.auto()  #: all content; trailers were announced
    COMPLETE = enum.auto()  #: nothing more may come


class Step(enum.Enum):
    """What a message of the app means for the response."""

    START = enum.auto()
    CONTENT = enum.auto()  #: content, and more to come
    END = enum.auto()  #: the last content
    PATH = enum.auto()  #: a file in place of all content
    TRAILERS = enum.auto()  #: trailers, and more to come
    LAST_TRAILERS = enum.auto()
    HINT = enum.auto()
    PUSH = enum.auto()
    DEBUG = enum.auto()


# Where a legal step leads. END and PATH lead on to CONTENT_DONE where trailers were announced.
_NEXT: Mapping[Sent, Mapping[Step, Sent]] = {
    # Early hints: the published page puts them behind the start, RFC 8297 before it. Both are let pass.
    Sent.NOTHING: {Step.START: Sent.STARTED, Step.HINT: Sent.NOTHING, Step.DEBUG: Sent.NOTHING},
    Sent.STARTED: {
        Step.CONTENT: Sent.CONTENT,
        Step.END: Sent.COMPLETE,
        Step.PATH: Sent.COMPLETE,
        Step.HINT: Sent.STARTED,
        Step.PUSH: Sent.STARTED,
    },
    Sent.CONTENT: {
        Step.CONTENT: Sent.CONTENT,
        Step.END: Sent.COMPLETE,
        Step.HINT: Sent.CONTENT,
        Step.PUSH: Sent.CONTENT,
    },
    Sent.CONTENT_DONE: {Step.TRAILERS: Sent.CONTENT_DONE, Step.LAST_TRAILERS: Sent.COMPLETE},
    Sent.COMPLETE: {},
}

_AFTER_END = Broken(
    "http/order/after-end",
    BODY,
    "no message after the response is complete, since it is ignored",
    "",
    "SHOULD",
)


def _illegal(state: Sent, step: Step) -> Broken:
    """Which rule a step breaks that `_NEXT` does not know."""
    if state is Sent.COMPLETE:
        return _AFTER_END
    if step is Step.DEBUG:
        return Broken("http/order/debug", DEBUG, "debug information before the response start", "")
    if state is Sent.NOTHING:
        return Broken("http/order/before-start", START, "http.response.start first", "")
    if step is Step.START:
        return Broken("http/order/second-start", START, "one http.response.start", "")
    if step in (Step.TRAILERS, Step.LAST_TRAILERS):
        return Broken("http/order/early-trailers", TRAILERS, "trailers after the last body message", "")
    if step is Step.PATH and state is Sent.CONTENT:
        return Broken("http/order/pathsend", PATHSEND, "a file alone, not mixed with body messages", "")
    return Broken("http/order/after-last-body", TRAILERS, "only trailers after the last body message", "")


class HTTPOrder:
    """One request and its response.

    Attributes:
        sent: how far the response is.
        gone: whether the server said that the client is gone before the response was complete.
    """

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.sent = Sent.NOTHING
        self.gone = False
        self._offered = offered(scope)
        self._method = scope.get("method")
        self._version = scope.get("http_version")
        pairs = good_pairs(scope.get("headers"))
        self._request_length = None if _is_chunked(pairs) else content_length(pairs)
        self._request_size = 0
        self._request_ended = False
        self._announced: int | None = None
        self._size: int | None = 0
        self._may_have_content = True
        self._trailers = False
        self._debugged = False
        self._head_told = False

    @property
    def complete(self) -> bool:
        """Whether the response is complete."""
        return self.sent is Sent.COMPLETE

    # -- the server

    def received(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the server broke by giving this message."""
        if message["type"] == "http.disconnect":
            self.gone = self.gone or not self.complete
            return
        if self.gone:
            yield Broken(
                "http/order/after-disconnect", DISCONNECT, "nothing but http.disconnect", message["type"]
            )
            return
        if self._request_ended:
            yield Broken(
                "http.request/after-end",
                REQUEST,
                "no http.request after the one without more_body",
                message["type"],
            )
            return
        self._request_size += _size(message.get("body", b""))
        self._request_ended = not message.get("more_body", False)
        yield from self._request_length_rules()

    def _request_length_rules(self) -> Iterator[Broken]:
        announced, size = self._request_length, self._request_size
        if announced is None:
            return
        if size > announced:
            self._request_length = None  # told once
            yield Broken(
                "http.request/content-length/exceeded",
                "RFC 9112 6.3",
                f"a body of {announced} bytes, as Content-Length says",
                f"{size} bytes so far",
            )
        elif self._request_ended and size < announced:
            yield Broken(
                "http.request/content-length/short",
                "RFC 9112 6.3 and 8",
                f"a body of {announced} bytes, as Content-Length says, or http.disconnect",
                f"the end of the body after {size} bytes",
            )

    # -- the app

    def sends(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the app broke by sending this message now."""
        kind = message["type"]
        step = _step(kind, message)
        if step is Step.DEBUG and self._debugged:
            yield Broken("http/order/debug", DEBUG, "debug information once", "a second time")
            return
        if step in (Step.TRAILERS, Step.LAST_TRAILERS) and not (self._trailers or self.complete):
            yield Broken(
                "http/order/unannounced-trailers",
                TRAILERS,
                "trailers only if the start announced them",
                f"{kind}, without trailers=True in the start",
            )
            return
        following = _NEXT[self.sent].get(step)
        if following is None:
            yield _illegal(self.sent, step)._replace(came=f"{kind}, {_STATES[self.sent]}")
            return
        if step is Step.START:
            yield from self._start(message)
        elif step in (Step.CONTENT, Step.END, Step.PATH):
            yield from self._content(kind, message)
            if following is Sent.COMPLETE:
                yield from self._end_of_content()
                following = Sent.CONTENT_DONE if self._trailers else following
        elif step is Step.DEBUG:
            self._debugged = True
        self.sent = following

    def _start(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        status = message.get("status")
        if isinstance(status, int):
            self._may_have_content = may_have_content(status)
        pairs = good_pairs(message.get("headers"))
        self._announced = content_length(pairs)
        self._trailers = bool(message.get("trailers", False))
        yield from self._connection_header_rules(pairs)
        if self._announced is not None and isinstance(status, int) and (status < 200 or status == 204):
            yield Broken(
                "http.response.start/headers/content-length/no-content",
                "RFC 9110 8.6",
                f"no Content-Length with status {int(status)}",
                str(self._announced),
                "SHOULD",
            )
        if self._trailers and "http.response.trailers" not in self._offered:
            self._trailers = False  # nobody waits for them
            yield Broken(
                "http.response.start/trailers/offered",
                TRAILERS,
                "trailers only if the server offers http.response.trailers",
                "trailers=True",
                "SHOULD",
            )

    def _connection_header_rules(self, pairs: list[Pair]) -> Iterator[Broken]:
        # ASGI lets an app send Transfer-Encoding, for the server to ignore; of the others it is silent.
        strict = self._version in ("2", "3")
        for each in connection_rules(pairs, "RFC 9110 7.6.1", "SHOULD"):
            if strict and each.came.lower() != shortened(b"transfer-encoding"):
                each = each._replace(clause="RFC 9113 8.2.2", level="MUST")
            yield each.under("http.response.start/headers")

    def _content(self, kind: str, message: Mapping[str, Any]) -> Iterator[Broken]:
        size = _size(message.get("body", b"")) if kind == "http.response.body" else None
        if kind == "http.response.zerocopysend" and isinstance(message.get("count"), int):
            size = message["count"]
        if size is None or self._size is None:
            self._size = None  # what a file holds is not known
        else:
            self._size += size
        if size == 0:
            return
        if self._method == "HEAD":
            if not self._head_told:
                self._head_told = True
                yield Broken(
                    "http.response.body/head",
                    "RFC 9110 9.3.2; ASGI says nothing, servers drop it",
                    "no content in the response to a HEAD request",
                    kind,
                    "SHOULD",
                )
        elif not self._may_have_content:
            yield Broken(
                "http.response.body/no-content",
                "RFC 9110 15.2, 15.3.5, 15.4.5",
                "no content with a status of 1xx, 204 or 304",
                kind if size is None else f"{size} bytes",
            )
        elif self._announced is not None and self._size is not None and self._size > self._announced:
            announced, self._announced = self._announced, None  # told once
            yield Broken(
                "http.response.body/content-length/exceeded",
                "RFC 9110 8.6",
                f"content of {announced} bytes, as Content-Length says",
                f"{self._size} bytes so far",
            )

    def _end_of_content(self) -> Iterator[Broken]:
        if self._announced is None or self._size is None or self._method == "HEAD":
            return
        if self._may_have_content and self._size < self._announced:
            yield Broken(
                "http.response.body/content-length/short",
                "RFC 9110 8.6",
                f"content of {self._announced} bytes, as Content-Length says",
                f"the end after {self._size} bytes",
            )

    def returned(self) -> Iterator[Broken]:
        """What the app broke by returning now, without an exception and with the client still there."""
        if self.gone or self.complete:
            return
        if self.sent is Sent.NOTHING:
            yield Broken("http/order/no-response", SCOPE, "a response before the app returns", "none")
        elif self.sent is Sent.CONTENT_DONE:
            yield Broken("http/order/missing-trailers", TRAILERS, "the announced trailers", "none")
        else:
            yield Broken(
                "http/order/incomplete",
                START if self.sent is Sent.STARTED else BODY,
                "a body message without more_body before the app returns",
                f"the app returned {_STATES[self.sent]}",
            )


_STATES = {
    Sent.NOTHING: "before the response start",
    Sent.STARTED: "after the response start, before content",
    Sent.CONTENT: "with more_body announced",
    Sent.CONTENT_DONE: "after the last body message, with trailers announced",
    Sent.COMPLETE: "after the response was complete",
}

_STEPS = {
    "http.response.start": Step.START,
    "http.response.pathsend": Step.PATH,
    "http.response.early_hint": Step.HINT,
    "http.response.push": Step.PUSH,
    "http.response.debug": Step.DEBUG,
}


def _step(kind: str, message: Mapping[str, Any]) -> Step:
    if kind in ("http.response.body", "http.response.zerocopysend"):
        return Step.CONTENT if message.get("more_body", False) else Step.END
    if kind == "http.response.trailers":
        return Step.TRAILERS if message.get("more_trailers", False) else Step.LAST_TRAILERS
    return _STEPS[kind]


def _size(body: object) -> int:
    return len(body) if isinstance(body, (bytes, bytearray, str)) else 0


def _is_chunked(pairs: list[Pair]) -> bool:
    return any(name.lower() == b"transfer-encoding" for name, _ in pairs)
