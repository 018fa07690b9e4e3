"""The order of the messages of one WebSocket connection: a state machine.

Events go in, broken rules come out; no clock, loop or lock. An illegal step leaves the state as it was.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .asgi_scope import spec_version
from .asgi_values import good_pairs, is_one_shot
from .header_rules import Broken, content_length, may_have_content, shortened

CONNECT = "ASGI HTTP 2.5, Connect"
ACCEPT = "ASGI HTTP 2.5, Accept"
CLOSE = "ASGI HTTP 2.5, Close"
DISCONNECT = "ASGI HTTP 2.5, Disconnect (WebSocket)"
VERSIONS = "ASGI HTTP 2.5, Spec Versions"
DENIAL = "ASGI extensions, Websocket Denial Response"
CLOSED = "ASGI 3.0, Error Handling"

# RFC 6455 4.2.2: what the server says in its handshake. Sec-WebSocket-Protocol ASGI forbids by name.
_HANDSHAKE = frozenset({b"connection", b"sec-websocket-accept", b"sec-websocket-extensions", b"upgrade"})
# RFC 6455 7.4.1: they stand for what no Close frame has said.
_NEVER_SENT = frozenset({1005, 1006, 1015})


class State(enum.Enum):
    """What the app has said of the connection."""

    ASKED = enum.auto()  #: nothing yet
    OPEN = enum.auto()  #: accepted
    DENYING = enum.auto()  #: a denial response was started
    CLOSED = enum.auto()  #: closed, or denied to the end


class WebSocketOrder:
    """One connection.

    Attributes:
        state: what the app has said.
        gone: whether the server said that the connection is gone.
    """

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.state = State.ASKED
        self.gone = False
        self._connected = False
        self._version = spec_version(scope)
        self._offered = _subprotocols(scope.get("subprotocols"))
        self._denial_length: int | None = None
        self._denial_size = 0

    @property
    def complete(self) -> bool:
        """Whether the app has closed the connection."""
        return self.state is State.CLOSED

    # -- the server

    def received(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the server broke by giving this message."""
        kind = message["type"]
        if not self._connected and kind != "websocket.connect":
            self._connected = True  # the app cannot know better
            yield Broken("websocket/order/connect-first", CONNECT, "websocket.connect first", kind)
        elif kind == "websocket.connect":
            if self._connected:
                yield Broken("websocket/order/second-connect", CONNECT, "one websocket.connect", "a second")
            self._connected = True
        elif kind == "websocket.disconnect":
            self.gone = True
        elif self.gone:
            yield Broken(
                "websocket/order/after-disconnect", DISCONNECT, "nothing but websocket.disconnect", kind
            )
        elif self.state in (State.ASKED, State.DENYING):
            yield Broken(
                "websocket/order/receive-before-accept", CONNECT, "no data before the app has accepted", kind
            )

    # -- the app

    def sends(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the app broke by sending this message now."""
        kind = message["type"]
        if self.state is State.CLOSED:
            yield Broken(
                "websocket/order/after-close",
                CLOSED,
                "no message after the connection was closed",
                kind,
                "SHOULD",
            )
        elif kind.startswith("websocket.http.response."):
            yield from self._denial(kind, message)
        elif self.state is State.DENYING:
            yield Broken(
                "websocket/order/after-denial", DENIAL, "only the messages of the denial response", kind
            )
        elif not self._connected:
            yield Broken(
                "websocket/order/before-connect",
                CONNECT,
                "websocket.connect to be received first",
                kind,
                "SHOULD",
            )
            yield from self._step(kind, message)
        else:
            yield from self._step(kind, message)

    def _step(self, kind: str, message: Mapping[str, Any]) -> Iterator[Broken]:
        if kind == "websocket.accept":
            if self.state is State.OPEN:
                yield Broken("websocket/order/second-accept", ACCEPT, "one websocket.accept", "a second")
                return
            self.state = State.OPEN
            yield from self._accept(message)
        elif kind == "websocket.send":
            if self.state is State.ASKED:
                yield Broken(
                    "websocket/order/send-before-accept",
                    CONNECT,
                    "websocket.accept or websocket.close first",
                    kind,
                )
        else:
            if self.state is State.OPEN:  # before, it is a 403, whatever the code
                yield from self._close(message)
            if message.get("reason") and self._version < (2, 3):
                yield Broken(
                    "websocket.close/reason/spec-version",
                    VERSIONS,
                    "no reason below spec version 2.3",
                    f"a reason, with spec version {_text(self._version)}",
                    "SHOULD",
                )
            self.state = State.CLOSED

    def _accept(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        chosen = message.get("subprotocol")
        if isinstance(chosen, str) and self._offered is not None and chosen not in self._offered:
            yield Broken(
                "websocket.accept/subprotocol/offered",
                "RFC 6455 4.1 and 4.2.2",
                f"one of {shortened(self._offered)}, or None",
                shortened(chosen),
            )
        pairs = good_pairs(message.get("headers"))
        if pairs and self._version < (2, 1):
            yield Broken(
                "websocket.accept/headers/spec-version",
                VERSIONS,
                "no headers below spec version 2.1",
                f"{len(pairs)} headers, with spec version {_text(self._version)}",
            )
        for name, _ in pairs:
            if name.lower() == b"sec-websocket-protocol":
                yield Broken(
                    "websocket.accept/headers/subprotocol",
                    ACCEPT,
                    "the subprotocol under its own key",
                    shortened(name),
                )
            elif name.lower() in _HANDSHAKE:
                yield Broken(
                    "websocket.accept/headers/handshake",
                    "RFC 6455 4.2.2",
                    "no header of the handshake: they are the server's",
                    shortened(name),
                    "SHOULD",
                )

    def _close(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        code = message.get("code", 1000)
        if not isinstance(code, int) or isinstance(code, bool):
            return
        if code in _NEVER_SENT:
            yield Broken(
                "websocket.close/code/reserved", "RFC 6455 7.4.1", "a code that may be sent", str(int(code))
            )
        elif not 1000 <= code <= 4999:
            yield Broken("websocket.close/code/range", "RFC 6455 7.4.2", "1000 to 4999", str(int(code)))
        elif code == 1004 or 1016 <= code <= 2999:
            yield Broken(
                "websocket.close/code/registered",
                "RFC 6455 7.4.2",
                "a registered code, or one of 3000 to 4999",
                str(int(code)),
                "SHOULD",
            )

    def _denial(self, kind: str, message: Mapping[str, Any]) -> Iterator[Broken]:
        if self.state is State.OPEN:
            yield Broken(
                "websocket/order/denial-after-accept", DENIAL, "no denial of an accepted connection", kind
            )
        elif kind == "websocket.http.response.start":
            if self.state is State.DENYING:
                yield Broken("websocket/order/second-start", DENIAL, "one start of the denial", "a second")
                return
            self.state = State.DENYING
            status = message.get("status")
            if isinstance(status, int) and may_have_content(status):
                self._denial_length = content_length(good_pairs(message.get("headers")))
        elif self.state is State.ASKED:
            yield Broken("websocket/order/before-start", DENIAL, "websocket.http.response.start first", kind)
        else:
            yield from self._denial_body(message)

    def _denial_body(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        body = message.get("body", b"")
        self._denial_size += len(body) if isinstance(body, (bytes, str)) else 0
        ended = not message.get("more_body", False)
        announced = self._denial_length
        if announced is not None and (
            self._denial_size > announced or (ended and self._denial_size < announced)
        ):
            self._denial_length = None  # told once
            yield Broken(
                "websocket.http.response.body/content-length",
                "RFC 9110 8.6",
                f"content of {announced} bytes, as Content-Length says",
                f"{self._denial_size} bytes",
            )
        if ended:
            self.state = State.CLOSED

    def returned(self) -> Iterator[Broken]:
        """What the app broke by returning now, without an exception."""
        if self.gone:
            return
        if self.state is State.ASKED:
            yield Broken(
                "websocket/order/unanswered",
                CONNECT,
                "websocket.accept or websocket.close before the app returns",
                "neither",
            )
        elif self.state is State.DENYING:
            yield Broken(
                "websocket/order/incomplete-denial",
                DENIAL,
                "a body message without more_body before the app returns",
                "none",
            )


def _subprotocols(value: object) -> list[object] | None:
    """What the client offered; `None` if it cannot be read without taking it from the app."""
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not is_one_shot(value) else None


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
