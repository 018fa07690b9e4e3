"""Recorded exchanges, and the files that hold them.

A recording is a file of JSON Lines in UTF-8: one object a line, one line an exchange, lines ended by
a line feed. Version 1 has these keys; those marked with * may be left out:

    recording   1, the version of the format
    started*    when the request came: ISO 8601 with offset, such as "2026-01-31T12:00:00.250000+00:00"
    origin*     where it was sent to: scheme, host and port, such as "https://shop.example"
    redacted*   true if secrets were taken out; a mark such as [redacted:0123456789abcdef] stands for each
    request     method, target: text
                headers*: list of [name, value], in order, one character a byte (Latin-1)
                body*, chunks*, name*, state*: see below
    response    status: number, 0 if there was none
                reason*, headers*, trailers*, body*, chunks*, state*
                elapsed*: seconds
                error*: {"type": ..., "message": ...} of what the app raised
                history*: the responses that redirected here, each with the same keys

    body        text if the bytes are UTF-8, else {"base64": text}
    chunks      the sizes of the pieces of the body, if it came in other than one
    state       "cut": longer than the recorder keeps; "unread": not read to its end; "dropped": not
                kept, since it may hold secrets that cannot be found. Left out for a whole body

Keys that are not listed are ignored. `load` also reads HAR files (`har`).
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ...exceptions import InvalidRecording, UsageError
from ..exchange import Headers, Request, Response

logger = logging.getLogger("bridge.testing")

VERSION = 1
"""Of the format that is written, and the only one that is read."""

BodyState: TypeAlias = Literal["whole", "cut", "unread", "dropped"]
"""What of a body was kept: all; its beginning; what was read of it; nothing, on account of secrets."""

_STATES = ("whole", "cut", "unread", "dropped")


class RecordedError(Exception):
    """What an app had raised when it was recorded.

    Attributes:
        kind: the name of the exception's class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.kind}: {self.args[0]}"

    def __reduce__(self) -> tuple[type[RecordedError], tuple[str, str]]:
        return type(self), (self.kind, self.args[0])


@dataclass(frozen=True)
class Recorded:
    """One exchange as it was.

    Attributes:
        request: with as much of its body as was kept.
        response: the same; `error` is a `RecordedError`.
        started: when the request came, with time zone.
        request_state: what of the request's body was kept.
        response_state: what of the response's body was kept; "unread" if the client left before its end.
        redacted: whether secrets were taken out.
        origin: scheme, host and port, such as "https://shop.example".
    """

    request: Request
    response: Response
    started: datetime | None = None
    request_state: BodyState = "whole"
    response_state: BodyState = "whole"
    redacted: bool = False
    origin: str = ""

    @property
    def cut(self) -> bool:
        """Whether a body of it is not whole."""
        return not self.request_state == self.response_state == "whole"


# -- reading


def load(path: str | os.PathLike[str], *, origin: str | None = None) -> list[Recorded]:
    """Read a recording: JSON Lines as `Recorder` writes them, or HAR as browsers do; told by the content.

    A last line that breaks off, as a crash leaves it, is left out, with a warning in the logger
    `bridge.testing`.

    Args:
        path: the file.
        origin: only exchanges with this origin, such as "https://shop.example"; "*" takes all. By
            default all of a recording, but of a HAR only those with the origin of its first entry,
            since browsers write down what a page loads from elsewhere as well.

    Raises:
        InvalidRecording: the file is no recording; the message says which line or entry is wrong.
        UsageError: there is no such file, or it cannot be read.
    """
    from . import har

    where = os.fspath(path)
    data = read_bytes(path)
    document = har.document_of(data)
    if document is not None:
        return har.entries_of(document, where, origin=origin)
    items = parse_lines(data, where)
    if origin in (None, "*"):
        return items
    return [item for item in items if item.origin == origin]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All of a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error


def parse_lines(data: bytes, where: str) -> list[Recorded]:
    """The exchanges of JSON Lines; empty lines mean nothing.

    Raises:
        InvalidRecording: see `load`; `where` is the file's name in the message.
    """
    items = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and number > 1:
                logger.warning("%s, line %d: breaks off, and is left out", where, number)
                break
            raise InvalidRecording(f"{where}, line {number}: expected a JSON object; {error}") from None
        try:
            items.append(from_json(value))
        except (_Wrong, UsageError) as error:
            raise InvalidRecording(f"{where}, line {number}: {error}") from None
    return items


def from_json(value: object) -> Recorded:
    """The exchange that the object on one line stands for.

    Raises:
        UsageError: it is none; the message says what was expected.
    """
    whole = _Keys(value, "a recorded exchange")
    version = whole.get("recording", int)
    if version != VERSION:
        raise _Wrong(f"this bridge reads version {VERSION} of recordings; got {version!r}")
    started = whole.get("started", str, None)
    try:
        moment = datetime.fromisoformat(started) if started else None
    except ValueError:
        raise _Wrong(f"started: expected a time as ISO 8601 has it; got {started!r}") from None
    request = _Keys(whole.get("request", dict), "request")
    response = _Keys(whole.get("response", dict), "response")
    body, sizes = request.body()
    return Recorded(
        Request(
            request.get("method", str),
            request.get("target", str),
            request.pairs("headers"),
            body if sizes is None else sizes,
            request.get("name", str, ""),
        ),
        _response(response),
        moment,
        request.state(),
        response.state(),
        whole.get("redacted", bool, False),
        whole.get("origin", str, ""),
    )


def _response(keys: _Keys) -> Response:
    error = keys.get("error", dict, None)
    raised = None
    if error is not None:
        told = _Keys(error, "error")
        raised = RecordedError(told.get("type", str), told.get("message", str, ""))
    body, chunks = keys.body()
    return Response(
        keys.get("status", int),
        keys.get("reason", str, ""),
        keys.pairs("headers"),
        ((body,) if body else ()) if chunks is None else chunks,
        keys.pairs("trailers"),
        raised,
        float(keys.get("elapsed", (int, float), 0.0)),
        tuple(_response(_Keys(each, "history")) for each in keys.get("history", list, [])),
    )


class _Wrong(UsageError):
    """What is wrong with a line, before it is known which line it is."""


_REQUIRED = object()


class _Keys:
    """A JSON object whose values are checked when they are taken."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise _Wrong(f"{what}: expected an object; got {_short(value)}")
        self._value: dict[str, Any] = value
        self._what = what

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
        value = self._value.get(key, default)
        if value is _REQUIRED:
            raise _Wrong(f"{self._what}: the key {key!r} is missing")
        wrong_bool = isinstance(value, bool) and kind is not bool
        if value is not default and (wrong_bool or not isinstance(value, kind)):
            names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise _Wrong(f"{self._what}: {key} should be of type {names}; got {_short(value)}")
        return value

    def pairs(self, key: str) -> Headers:
        pairs = self.get(key, list, [])
        for pair in pairs:
            if (
                not isinstance(pair, list)
                or len(pair) != 2
                or not all(isinstance(each, str) for each in pair)
            ):
                raise _Wrong(f"{self._what}: {key} should be pairs of texts; got {_short(pair)}")
        return tuple((name, value) for name, value in pairs)

    def state(self) -> BodyState:
        state: BodyState = self.get("state", str, "whole")
        if state not in _STATES:
            raise _Wrong(f"{self._what}: state should be one of {', '.join(_STATES)}; got {state!r}")
        return state

    def body(self) -> tuple[bytes, tuple[bytes, ...] | None]:
        """The body, and its pieces if it has other than one."""
        given = self._value.get("body", "")
        if isinstance(given, dict) and isinstance(given.get("base64"), str):
            try:
                body = base64.b64decode(given["base64"], validate=True)
            except ValueError:
                raise _Wrong(f"{self._what}: the body is not base64") from None
        elif isinstance(given, str):
            try:
                body = given.encode()
            except UnicodeEncodeError:
                raise _Wrong(f"{self._what}: the body holds half of a surrogate pair") from None
        else:
            raise _Wrong(f'{self._what}: body should be text or {{"base64": text}}; got {_short(given)}')
        sizes = self.get("chunks", list, None)
        if sizes is None:
            return body, None
        if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) != len(body):
            raise _Wrong(f"{self._what}: the sizes in chunks do not add up to the body's {len(body)} bytes")
        pieces = []
        start = 0
        for size in sizes:
            pieces.append(body[start : start + size])
            start += size
        return body, tuple(pieces)


def _short(value: object) -> str:
    shown = json.dumps(value, default=repr)
    return shown if len(shown) <= 60 else shown[:60] + "…"


# -- writing


def save(path: str | os.PathLike[str], items: Iterable[Recorded]) -> None:
    """Write exchanges to a new file, or over an old one; nothing is redacted here.

    The format is that of the suffix: `.har`, or JSON Lines for any other.

    Raises:
        OSError: the file cannot be written.
    """
    if os.fspath(path).lower().endswith(".har"):
        from . import har

        data = har.HEAD + b",\n".join(map(har.entry, items)) + har.TAIL
    else:
        data = b"".join(line(item) for item in items)
    Path(path).write_bytes(data)


def line(item: Recorded) -> bytes:
    """The line for one exchange, with its line feed."""
    value: dict[str, Any] = {"recording": VERSION}
    if item.started is not None:
        value["started"] = item.started.isoformat()
    if item.origin:
        value["origin"] = item.origin
    if item.redacted:
        value["redacted"] = True
    request = item.request
    value["request"] = _without_defaults(
        {"method": request.method, "target": request.target},
        headers=[list(pair) for pair in request.headers],
        **_body(request.content, None if isinstance(request.body, bytes) else request.body),
        name=request.name,
        state=_unless_whole(item.request_state),
    )
    value["response"] = {
        **_response_json(item.response),
        **_without_defaults({}, state=_unless_whole(item.response_state)),
    }
    return dump(value) + b"\n"


def dump(value: Any) -> bytes:
    """JSON on one line, readable where it can be."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        return json.dumps(value, separators=(",", ":")).encode()


def _response_json(response: Response) -> dict[str, Any]:
    error = response.error
    chunks = response.chunks
    return _without_defaults(
        {"status": response.status},
        reason=response.reason,
        headers=[list(pair) for pair in response.headers],
        **_body(response.body, None if chunks in ((), (response.body,)) and b"" not in chunks else chunks),
        trailers=[list(pair) for pair in response.trailers],
        error=None if error is None else error_json(error),
        elapsed=response.elapsed,
        history=[_response_json(each) for each in response.history],
    )


def error_json(error: BaseException) -> dict[str, str]:
    """What is kept of an exception."""
    if isinstance(error, RecordedError):
        return {"type": error.kind, "message": error.args[0]}
    return {"type": type(error).__name__, "message": str(error)}


def _body(body: bytes, pieces: tuple[bytes, ...] | None) -> dict[str, Any]:
    try:
        kept: Any = body.decode()
    except UnicodeDecodeError:
        kept = {"base64": base64.b64encode(body).decode("ascii")}
    return {"body": kept, "chunks": None if pieces is None else [len(piece) for piece in pieces]}


def _unless_whole(state: BodyState) -> str:
    return "" if state == "whole" else state


def _without_defaults(required: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    """Both, without what is empty; an empty list of pieces says something."""
    kept = {
        key: value
        for key, value in rest.items()
        if value not in (None, "", [], 0.0) or (key == "chunks" and value is not None)
    }
    return {**required, **kept}
