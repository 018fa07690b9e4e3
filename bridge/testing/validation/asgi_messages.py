"""The shape of one ASGI message: its keys, their types, and what one value alone can have wrong.

Pure checks over tables. Whether a message may come at its place is the business of `asgi_order`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .asgi_values import CORE_EVENTS, get, header_rules, is_one_shot, items_of, typed
from .header_rules import Broken, shortened, trailer_rules

_HTTP = "ASGI HTTP 2.5"
_LIFESPAN = "ASGI Lifespan 2.0"
_EXTENSIONS = "ASGI extensions"

# RFC 6455 5.5: a control frame carries 125 bytes, of which the close code takes two.
_LONGEST_REASON = 123
_BAD_LINK = re.compile(rb"[\r\n\x00]")


class Key(NamedTuple):
    """What stands under one key of a message."""

    kind: type
    optional: bool = True
    none: bool = False


@dataclass(frozen=True)
class Shape:
    """One type of message.

    Attributes:
        clause: where it is specified.
        keys: those with a plain type.
        extra: what else is to be checked in a message of this shape.
    """

    clause: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    extra: Callable[[str, Mapping[str, Any], str], Iterator[Broken]] | None = None


def shape_rules(message: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Iterator[Broken]:
    """Every rule that the message breaks by itself; its `type` has to be one of `shapes`."""
    kind = message["type"]
    shape = shapes[kind]
    for name, key in shape.keys.items():
        yield from typed(
            f"{kind}/{name}", get(message, name), key.kind, shape.clause, none=key.none, optional=key.optional
        )
    if shape.extra is not None:
        yield from shape.extra(kind, message, shape.clause)


def envelope_rules(message: object) -> Iterator[Broken]:
    """Whether it is a dict with a `type` at all; `message/dict`, `message/type/…`."""
    if not isinstance(message, dict):
        yield Broken("message/dict", CORE_EVENTS, "a dict", f"{type(message).__name__}: {shortened(message)}")
    else:
        yield from typed("message/type", get(message, "type"), str, CORE_EVENTS, optional=False)


def readable(message: dict[str, Any]) -> tuple[dict[str, Any], list[Broken]]:
    """The message with lists in place of iterators that can be read only once, and what is wrong with those.

    The specification says "iterable", which a generator is; some servers read headers twice and lose them.
    Nothing is copied if there is none.
    """
    broken = []
    for key in ("headers", "links"):
        value: Any = message.get(key)
        if is_one_shot(value):
            kind = str(message.get("type"))
            broken.append(
                Broken(
                    f"{kind}/{key}/one-shot",
                    _HTTP,
                    "a list, which servers can read more than once",
                    type(value).__name__,
                    "SHOULD",
                )
            )
            message = {**message, key: list(value)}
    return message, broken


# -- what several shapes share


def _optional_headers(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    if "headers" in message:
        yield from header_rules(message["headers"], f"{kind}/headers", clause)[1]


def _required_headers(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    if "headers" not in message:
        yield Broken(f"{kind}/headers/missing", clause, "an iterable of pairs", "no such key")
    yield from _optional_headers(kind, message, clause)


def _start(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    status = message.get("status")
    if isinstance(status, int) and not isinstance(status, bool):
        if not 100 <= status <= 599:
            yield Broken(f"{kind}/status/range", "RFC 9110 15", "a status of 100 to 599", str(int(status)))
        elif status < 200:
            yield Broken(
                f"{kind}/status/final", "RFC 9110 15.2", "a final status", str(int(status)), "SHOULD"
            )
    yield from _optional_headers(kind, message, clause)


def _trailers(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    if "headers" not in message:
        yield Broken(f"{kind}/headers/missing", clause, "an iterable of pairs", "no such key")
        return
    pairs, broken = header_rules(message["headers"], f"{kind}/headers", clause)
    yield from broken
    for each in trailer_rules(pairs):
        yield each.under(f"{kind}/headers")


def _links(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    if "links" not in message:
        yield Broken(f"{kind}/links/missing", clause, "an iterable of bytes", "no such key")
        return
    links, broken = items_of(message["links"], f"{kind}/links", clause, "an iterable of bytes")
    yield from broken
    for link in links:
        yield from typed(f"{kind}/links/item", link, bytes, clause)
        if isinstance(link, bytes) and _BAD_LINK.search(link):
            yield Broken(
                f"{kind}/links/splitting", "RFC 9110 5.5", "no CR, LF and NUL in a link", shortened(link)
            )


def _data(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    given = [key for key in ("bytes", "text") if message.get(key) is not None]
    if len(given) != 1:
        yield Broken(
            f"{kind}/exactly-one",
            clause,
            "exactly one of bytes and text that is not None",
            "both" if given else "neither",
        )


def _file(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    if "file" not in message:
        yield Broken(f"{kind}/file/missing", clause, "an open file", "no such key")
        return
    try:
        number = message["file"].fileno()
    except (AttributeError, OSError, ValueError):
        number = None
    if not isinstance(number, int):
        yield Broken(
            f"{kind}/file/descriptor", clause, "a file with a descriptor", type(message["file"]).__name__
        )


def _path(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    path = message.get("path")
    if isinstance(path, str) and not os.path.isabs(path):
        yield Broken(f"{kind}/path/absolute", clause, "an absolute path", shortened(path))


def _close(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    reason = message.get("reason")
    if isinstance(reason, str):
        size = len(reason.encode("utf-8", "surrogatepass"))
        if size > _LONGEST_REASON:
            # ASGI: "can be any string". The server has to shorten it, or fails.
            yield Broken(
                f"{kind}/reason/length",
                "RFC 6455 5.5",
                f"at most {_LONGEST_REASON} bytes of UTF-8",
                f"{size} bytes",
                "SHOULD",
            )


def _disconnect(kind: str, message: Mapping[str, Any], clause: str) -> Iterator[Broken]:
    code = message.get("code")
    if isinstance(code, int) and not isinstance(code, bool) and not 1000 <= code <= 4999:
        yield Broken(f"{kind}/code/range", "RFC 6455 7.4", "a code of 1000 to 4999", str(code), "SHOULD")


_BODY = {"body": Key(bytes), "more_body": Key(bool)}
_START = {"status": Key(int, optional=False), "trailers": Key(bool)}
_DATA = {"bytes": Key(bytes, none=True), "text": Key(str, none=True)}
_MESSAGE = {"message": Key(str)}

RECEIVED: Mapping[str, Mapping[str, Shape]] = {
    "http": {
        "http.request": Shape(f"{_HTTP}, Request", _BODY),
        "http.disconnect": Shape(f"{_HTTP}, Disconnect"),
    },
    "websocket": {
        "websocket.connect": Shape(f"{_HTTP}, Connect"),
        "websocket.receive": Shape(f"{_HTTP}, Receive", _DATA, _data),
        "websocket.disconnect": Shape(
            f"{_HTTP}, Disconnect (WebSocket)",
            {"code": Key(int, optional=False), "reason": Key(str, none=True)},
            _disconnect,
        ),
    },
    "lifespan": {
        "lifespan.startup": Shape(f"{_LIFESPAN}, Startup"),
        "lifespan.shutdown": Shape(f"{_LIFESPAN}, Shutdown"),
    },
}
"""By the type of the scope: the messages that a server gives."""

EXTENSIONS: Mapping[str, Mapping[str, Shape]] = {
    "http": {
        "http.response.trailers": Shape(
            f"{_EXTENSIONS}, HTTP Trailers", {"more_trailers": Key(bool)}, _trailers
        ),
        "http.response.early_hint": Shape(f"{_EXTENSIONS}, Early Hints", {}, _links),
        "http.response.push": Shape(
            f"{_EXTENSIONS}, HTTP/2 Server Push", {"path": Key(str, optional=False)}, _required_headers
        ),
        "http.response.zerocopysend": Shape(
            f"{_EXTENSIONS}, Zero Copy Send",
            {"offset": Key(int), "count": Key(int), "more_body": Key(bool)},
            _file,
        ),
        "http.response.pathsend": Shape(
            f"{_EXTENSIONS}, Path Send", {"path": Key(str, optional=False)}, _path
        ),
        "http.response.debug": Shape(f"{_EXTENSIONS}, Debug", {"info": Key(dict, optional=False)}),
    },
    "websocket": {
        "websocket.http.response.start": Shape(f"{_EXTENSIONS}, Websocket Denial Response", _START, _start),
        "websocket.http.response.body": Shape(f"{_EXTENSIONS}, Websocket Denial Response", _BODY),
    },
    "lifespan": {},
}
"""By the type of the scope: the messages that an app may send only if the server offers the extension."""

SENT: Mapping[str, Mapping[str, Shape]] = {
    "http": {
        "http.response.start": Shape(f"{_HTTP}, Response Start", _START, _start),
        "http.response.body": Shape(f"{_HTTP}, Response Body", _BODY),
        **EXTENSIONS["http"],
    },
    "websocket": {
        "websocket.accept": Shape(
            f"{_HTTP}, Accept", {"subprotocol": Key(str, none=True)}, _optional_headers
        ),
        "websocket.send": Shape(f"{_HTTP}, Send", _DATA, _data),
        "websocket.close": Shape(
            f"{_HTTP}, Close", {"code": Key(int), "reason": Key(str, none=True)}, _close
        ),
        **EXTENSIONS["websocket"],
    },
    "lifespan": {
        "lifespan.startup.complete": Shape(f"{_LIFESPAN}, Startup Complete"),
        "lifespan.startup.failed": Shape(f"{_LIFESPAN}, Startup Failed", _MESSAGE),
        "lifespan.shutdown.complete": Shape(f"{_LIFESPAN}, Shutdown Complete"),
        "lifespan.shutdown.failed": Shape(f"{_LIFESPAN}, Shutdown Failed", _MESSAGE),
    },
}
"""By the type of the scope: the messages that an app may send."""


def extension_of(kind: str) -> str:
    """The name under which a server offers the messages of a type."""
    return "websocket.http.response" if kind.startswith("websocket.http.response.") else kind
