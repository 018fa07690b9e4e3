"""from_file(): requests from a file, whatever kind of file it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ...exceptions import InvalidRecording, UsageError
from ..exchange import Request
from ..recording import har
from ..recording.recordings import Recorded, parse_lines, read_bytes


def from_file(path: str | os.PathLike[str], *, origin: str | None = None) -> list[Request]:
    """The requests of a file, in order. Which kind of file it is, is told by its content:

    - a recording (`Recorder`), or a HAR that a browser has exported: the requests of both, as they
      stand there; what was redacted stays so, and `replay` is what puts it back;
    - a JSON list, or JSON Lines, of what `Request.of` understands: `["/notes", {"method": "POST", "url":
      "/notes", "json": {"text": "hello"}}, ["GET", "/"]]`;
    - plain text, one request a line: `GET /notes?page=2`, or `/notes` alone. Empty lines and what follows
      a `#` at the beginning of a line or after a space mean nothing. A URL counts for its path and query.

    Args:
        path: the file, in UTF-8.
        origin: which origin to take of a HAR or a recording; see `recordings.load`.

    Raises:
        InvalidRecording: it is none of these; the message names the line or entry.
        UsageError: there is no such file, or it cannot be read.
    """
    where = os.fspath(path)
    data = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    start = data.lstrip()[:1]
    if not start:
        raise InvalidRecording(f"{where} is empty: expected requests, such as a line 'GET /notes'")
    if start == b"[":
        return _from_list(data, where)
    if start != b"{":
        return _from_text(data, where)
    document = har.document_of(data)
    if document is not None:
        return _requests(har.entries_of(document, where, origin=origin))
    if _is_recording(data):
        items = parse_lines(data, where)
        return _requests(item for item in items if origin in (None, "*", item.origin))
    return _from_json_lines(data, where)


def _requests(items: Iterable[Recorded]) -> list[Request]:
    return [item.request for item in items]


def _is_recording(data: bytes) -> bool:
    first = data.lstrip().partition(b"\n")[0]
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return b'"recording"' in first
    return "recording" in value


def _from_list(data: bytes, where: str) -> list[Request]:
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        raise InvalidRecording(f"{where}, line {error.lineno}: expected a JSON list; {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRecording(f"{where}: expected a JSON list; {error}") from None
    return [_request(each, f"{where}, request {number}") for number, each in enumerate(value, 1)]


def _from_json_lines(data: bytes, where: str) -> list[Request]:
    requests = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidRecording(
                f"{where}, line {number}: expected a recorded exchange, or a request as JSON; {error}"
            ) from None
        requests.append(_request(value, f"{where}, line {number}"))
    return requests


def _request(value: Any, where: str) -> Request:
    """What a JSON value stands for; JSON has no tuples."""
    try:
        return Request.of(tuple(value) if isinstance(value, list) else value)
    except (UsageError, TypeError, ValueError) as error:
        raise InvalidRecording(f"{where}: {error}") from None


def _from_text(data: bytes, where: str) -> list[Request]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidRecording(f"{where}, line {number}: expected text in UTF-8; {error.reason}") from None
    requests = []
    for number, line in enumerate(text.split("\n"), 1):
        content = _without_comment(line).strip()
        if content:
            requests.append(_from_line(content, f"{where}, line {number}"))
    if not requests:
        raise InvalidRecording(f"{where} holds no request: expected lines such as 'GET /notes'")
    return requests


def _without_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    before, _, _ = line.partition(" #")
    return before.partition("\t#")[0]


def _from_line(line: str, where: str) -> Request:
    words = line.split()
    # Request lines of logs end with the protocol.
    if len(words) == 3 and words[2].startswith("HTTP/"):
        words.pop()
    if len(words) > 2:
        raise InvalidRecording(f"{where}: expected 'METHOD /path', such as 'GET /notes'; got {line[:80]!r}")
    method, target = words if len(words) == 2 else ("GET", words[0])
    if "://" in target.partition("?")[0]:
        try:
            url = urlsplit(target)
        except ValueError as error:
            raise InvalidRecording(f"{where}: {target!r} is no URL: {error}") from None
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        return Request(method, target)
    except UsageError as error:
        raise InvalidRecording(f"{where}: {error}") from None
