"""Machine: what an ASGI app sends on a WebSocket -> what its client sees, in the order that the rules allow.

States and steps (ASGI WebSocket 2.5; "Websocket Denial Response" for the latter three):

    HANDSHAKE -- websocket.accept -------------------------> OPEN
    HANDSHAKE -- websocket.close --------------------------> OVER    the client gets a 403
    HANDSHAKE -- websocket.http.response.start ------------> DENYING
    DENYING   -- websocket.http.response.body, more -------> DENYING
    DENYING   -- websocket.http.response.body, no more ----> OVER
    OPEN      -- websocket.send ---------------------------> OPEN
    OPEN      -- websocket.close --------------------------> OVER

Any other step raises `InvalidMessage` and leaves the state as it was. The machine is strict, since it is
for tests: what one real server forgives and another does not is an error here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from typing import Any

from ..exceptions import InvalidHeader, InvalidMessage
from ..translate.headers import TOKEN_BYTES
from ..types import Message


class Phase(enum.Enum):
    """How far the app has come."""

    HANDSHAKE = enum.auto()  #: it has not answered
    OPEN = enum.auto()  #: it has accepted
    DENYING = enum.auto()  #: a response has begun in place of a WebSocket
    OVER = enum.auto()  #: it has closed, or sent all of that response


_TURNS = {
    Phase.HANDSHAKE: ("websocket.accept", "websocket.close", "websocket.http.response.start"),
    Phase.OPEN: ("websocket.send", "websocket.close"),
    Phase.DENYING: ("websocket.http.response.body",),
    Phase.OVER: (),
}
"""What the app may send in each phase."""

_STANDING = {
    Phase.HANDSHAKE: "before it accepted or closed",
    Phase.OPEN: "after it had accepted",
    Phase.DENYING: "within its denial response",
    Phase.OVER: "after it had closed or denied",
}

# RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code.
LONGEST_REASON = 123
# RFC 6455 section 7.4 and the registry of close codes: reserved, or never on the wire.
_NEVER_SENT = frozenset({1004, 1005, 1006, 1015})

# What the server itself writes into the answer to a handshake (RFC 6455 section 4.2.2).
_OF_THE_HANDSHAKE = frozenset(
    {
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
        b"connection",
    }
)
_BAD_VALUE = re.compile(rb"[\x00\r\n]")


class Order:
    """The app's messages on one WebSocket.

    Args:
        offered: the subprotocols that the client offers.

    Attributes:
        phase: how far the app has come.
        accepted: whether it has accepted, also if it has closed since.
    """

    def __init__(self, offered: Collection[str]) -> None:
        self.phase = Phase.HANDSHAKE
        self.accepted = False
        self._offered = offered

    def take(self, message: Message) -> dict[str, Any]:
        """Take one message; return what it says, checked, with defaults filled in.

        Raises:
            InvalidMessage: its type is unknown, it is out of turn, or a value is none that it may have.
            InvalidHeader: a header that must not be sent.
        """
        kind = message.get("type") if hasattr(message, "get") else None
        if kind not in _TURNS[self.phase]:
            allowed = " or ".join(_TURNS[self.phase]) or "nothing more"
            raise InvalidMessage(
                f"the app sent {kind if isinstance(kind, str) else repr(message)} {_STANDING[self.phase]}; "
                f"expected {allowed}"
            )
        if kind == "websocket.send":
            return _data(message)
        if kind == "websocket.accept":
            taken = self._accept(message)
            self.phase = Phase.OPEN
            self.accepted = True
        elif kind == "websocket.close":
            taken = _close(message)
            self.phase = Phase.OVER
        elif kind == "websocket.http.response.start":
            taken = _start(message)
            self.phase = Phase.DENYING
        else:
            taken = _body(message)
            if not taken["more_body"]:
                self.phase = Phase.OVER
        return taken

    def _accept(self, message: Message) -> dict[str, Any]:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and not isinstance(subprotocol, str):
            raise _wrong("websocket.accept", "subprotocol", "text or None", subprotocol)
        if subprotocol and subprotocol not in self._offered:
            offered = ", ".join(self._offered) or "none"
            raise InvalidMessage(
                f"the app accepted with the subprotocol {subprotocol!r}, which the client did not offer "
                f"(it offered {offered}): a client fails the connection (RFC 6455 section 4.1)"
            )
        headers = _headers(message)
        for name, _ in headers:
            if name.lower() in _OF_THE_HANDSHAKE:
                raise InvalidHeader(
                    f"the app sent the header {name!r} with websocket.accept, which is the server's"
                )
        return {"type": "websocket.accept", "subprotocol": subprotocol or None, "headers": headers}


def _data(message: Message) -> dict[str, Any]:
    text, data = message.get("text"), message.get("bytes")
    if (text is None) == (data is None):
        raise InvalidMessage(
            f"websocket.send has either text or bytes; got {'both' if text is not None else 'neither'}"
        )
    if text is not None:
        if not isinstance(text, str):
            raise _wrong("websocket.send", "text", "str", text)
        return {"type": "websocket.send", "text": text}
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise _wrong("websocket.send", "bytes", "bytes", data)
    return {"type": "websocket.send", "bytes": bytes(data)}


def _close(message: Message) -> dict[str, Any]:
    code, reason = message.get("code", 1000), message.get("reason")
    check_close(code, reason, InvalidMessage, "websocket.close")
    return {"type": "websocket.close", "code": int(code), "reason": reason or ""}


def check_close(code: object, reason: object, error: type[Exception], what: str) -> None:
    """Refuse a code and a reason that cannot be on the wire (RFC 6455 sections 5.5.1 and 7.4).

    Raises:
        error: says what was expected and what came.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise error(f"{what} expects code as an int; got {code!r}")
    if code in _NEVER_SENT or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise error(
            f"{what} has the code {code}, which no Close frame may carry; those are 1000 to 1014 without "
            "1004, 1005 and 1006, and 3000 to 4999"
        )
    if reason is not None and not isinstance(reason, str):
        raise error(f"{what} expects reason as text or None; got {reason!r}")
    size = len((reason or "").encode("utf-8", "surrogatepass"))
    if size > LONGEST_REASON:
        raise error(f"{what} has a reason of {size} bytes; a Close frame holds {LONGEST_REASON}")


def _start(message: Message) -> dict[str, Any]:
    status = message.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 999:
        raise _wrong("websocket.http.response.start", "status", "an int from 200", status)
    return {"type": "websocket.http.response.start", "status": int(status), "headers": _headers(message)}


def _body(message: Message) -> dict[str, Any]:
    body = message.get("body", b"")
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise _wrong("websocket.http.response.body", "body", "bytes", body)
    more = bool(message.get("more_body", False))
    return {"type": "websocket.http.response.body", "body": bytes(body), "more_body": more}


def _headers(message: Message) -> list[tuple[bytes, bytes]]:
    headers = []
    for pair in message.get("headers") or ():
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise InvalidHeader(f"expected a header as a pair of bytes; got {pair!r}") from None
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise InvalidHeader(f"expected a header as a pair of bytes; got {pair!r}")
        if TOKEN_BYTES.fullmatch(name) is None:
            raise InvalidHeader(f"{name!r} is no header name (RFC 9110 section 5.6.2)")
        if _BAD_VALUE.search(value) is not None:
            raise InvalidHeader(f"the value of the header {name!r} holds CR, LF or NUL: {value!r}")
        headers.append((name, value))
    return headers


def _wrong(kind: str, key: str, expected: str, came: object) -> InvalidMessage:
    return InvalidMessage(f"{kind} expects {key} as {expected}; got {came!r}")
