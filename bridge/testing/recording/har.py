"""HAR 1.2, the format in which browsers export what their network panel shows: read and written.

Reading takes the entries that a browser really exchanged with a server over HTTP. Left out are
WebSockets, entries that were blocked or failed (status 0) or came from the browser's cache, and
addresses such as `data:`. What differs from the wire in every browser's HAR is made up for:

- Bodies stand there decoded from their content coding, so `Content-Encoding` and the framing
  headers of the response are left out, and `Accept-Encoding` of the request: an app that gets the
  request again answers uncompressed as well.
- Pseudo-headers of HTTP/2 (`:authority`) are no headers; `Host` takes the place of `:authority`.
- Several `Set-Cookie` may be joined by line feeds, and are taken apart.
- A body that the browser did not keep makes the exchange a "cut" one.

Written entries are plain HAR, which any tool reads; what HAR has no place for is in `_bridge`, so
that `load` gives back what was saved.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

from ..._version import __version__
from ...exceptions import InvalidRecording, UsageError
from ..exchange import Headers, Request, Response
from . import codings, multipart
from .recordings import BodyState, Recorded, dump, from_json, line

logger = logging.getLogger("bridge.testing")

PREFIX = b'{"log":{"version":"1.2","creator":{"name":"bridge"'
"""What a HAR of bridge begins with."""

HEAD = PREFIX + f',"version":"{__version__}"}},"entries":[\n'.encode()
"""What stands before the entries."""

TAIL = b"\n]}}\n"
"""What stands behind them."""

_NO_ORIGIN = "http://localhost"
_FORM = "application/x-www-form-urlencoded"
# Of the browser and its connection, which say nothing about the decoded body beside them.
_OF_THE_WIRE = frozenset(
    {"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"}
)
_BODILESS = frozenset({204, 304})


# -- reading


def document_of(data: bytes) -> dict[str, Any] | None:
    """The HAR that a file's content is; `None` if it is something else.

    Raises:
        InvalidRecording: it begins like one, and is broken.
    """
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        start = data.removeprefix(b"\xef\xbb\xbf").split(maxsplit=1)
        if start and b"".join(data[:200].removeprefix(b"\xef\xbb\xbf").split()).startswith(b'{"log":'):
            raise InvalidRecording(f"expected a HAR, a JSON document; {error}") from None
        return None
    if isinstance(value, dict) and isinstance(value.get("log"), dict):
        return value
    return None


def entries_of(document: Mapping[str, Any], where: str, *, origin: str | None = None) -> list[Recorded]:
    """The exchanges of a HAR.

    Args:
        document: as `document_of` gives it.
        where: the file's name, for messages.
        origin: only entries of this origin; `None`: of the first one's; "*": of all.

    Raises:
        InvalidRecording: something is missing or of another type than HAR 1.2 has it.
    """
    entries = document["log"].get("entries")
    if not isinstance(entries, list):
        raise InvalidRecording(f"{where}: expected a list of entries in log; got {type(entries).__name__}")
    items: list[Recorded] = []
    others: Counter[str] = Counter()
    for number, each in enumerate(entries, 1):
        try:
            item = _recorded(each)
        except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
            told = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise InvalidRecording(f"{where}, entry {number}: {told}") from None
        if item is None:
            continue
        if origin is None:
            origin = item.origin
        if origin in ("*", item.origin):
            items.append(item)
        else:
            others[item.origin] += 1
    if others:
        named = ", ".join(f"{name} ({count})" for name, count in others.most_common(5))
        logger.warning(
            "%s: only entries of %s were taken; %d of other origins were left out: %s%s. "
            "Choose another by origin=, or all by origin='*'",
            where,
            origin,
            others.total(),
            named,
            ", …" if len(others) > 5 else "",
        )
    return items


def _recorded(entry: Any) -> Recorded | None:
    """The exchange of one entry; `None` if the browser had none with a server."""
    asked, answered = entry["request"], entry["response"]
    url = urlsplit(asked["url"])
    own = entry.get("_bridge")
    if isinstance(own, dict):
        return _own(entry, own)
    status = answered.get("status") or 0
    if url.scheme not in ("http", "https") or status in (0, 101) or entry.get("_resourceType") == "websocket":
        return None
    if entry.get("_fromCache") or entry.get("_fetchType") in ("Memory Cache", "Disk Cache"):
        return None
    method = asked["method"]
    headers = _headers(asked, url.netloc)
    body, request_state = _request_body(asked, headers)
    request = Request(
        method,
        (url.path or "/") + (f"?{url.query}" if url.query else ""),
        tuple(pair for pair in headers if pair[0].lower() not in ("accept-encoding", *_OF_THE_WIRE)),
        body,
    )
    content, response_state = _response_body(answered)
    if method == "HEAD" or status in _BODILESS:
        content, response_state = b"", "whole"
    response = Response(
        int(status),
        str(answered.get("statusText") or ""),
        tuple(pair for pair in _headers(answered) if pair[0].lower() not in _OF_THE_WIRE),
        (content,) if content else (),
        elapsed=max(0.0, float(entry.get("time") or 0.0)) / 1000,
    )
    netloc = url.netloc.rpartition("@")[2].lower()
    return Recorded(
        request,
        response,
        _moment(entry.get("startedDateTime")),
        request_state,
        response_state,
        origin=f"{url.scheme}://{netloc}",
    )


def _headers(side: Mapping[str, Any], authority: str = "") -> Headers:
    pairs: list[tuple[str, str]] = []
    for each in side.get("headers") or ():
        name, value = str(each["name"]), str(each["value"])
        if name.startswith(":"):
            continue
        pairs += [(name, _wire_text(part)) for part in (value.split("\n") if "\n" in value else (value,))]
    if authority and not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", authority.rpartition("@")[2]))
    return tuple(pairs)


def _wire_text(value: str) -> str:
    """A header's value with one character a byte."""
    value = value.strip("\r ")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("latin-1")
    return value


def _header(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _request_body(asked: Mapping[str, Any], headers: Headers) -> tuple[bytes, BodyState]:
    post = asked.get("postData") or {}
    length = _header(headers, "content-length")
    expected = int(length) if length.isascii() and length.isdigit() else None
    text, params = post.get("text"), post.get("params") or ()
    kind = _header(headers, "content-type") or str(post.get("mimeType") or "")
    if text and post.get("encoding") == "base64":
        return base64.b64decode(text, validate=True), "whole"
    if text:
        return _request_text(str(text), expected)
    if params:
        return _from_params(params, kind)
    return b"", "cut" if expected else "whole"


def _request_text(text: str, expected: int | None) -> tuple[bytes, BodyState]:
    """The bytes of a text that the browser may have made of other bytes."""
    body = text.encode("utf-8", "surrogatepass")
    if expected is None or len(body) == expected:
        return body, "whole"
    try:
        # Binary bodies are written down one character a byte.
        if len(text) == expected:
            return text.encode("latin-1"), "whole"
    except UnicodeEncodeError:
        pass
    return body, "cut"


def _from_params(params: Any, kind: str) -> tuple[bytes, BodyState]:
    """The body of a form of which the browser kept the fields only."""
    boundary = multipart.boundary_of(kind)
    if boundary is None:
        pairs = [(str(each["name"]), str(each.get("value") or "")) for each in params]
        return urlencode(pairs, quote_via=quote_plus).encode("ascii"), "whole"
    body = b""
    for each in params:
        if each.get("fileName") is not None and not each.get("value"):
            return b"", "cut"  # of a file only the name was kept
        disposition = f'form-data; name="{each["name"]}"'
        if each.get("fileName") is not None:
            disposition += f'; filename="{each["fileName"]}"'
        head = f"Content-Disposition: {disposition}\r\n"
        if each.get("contentType"):
            head += f"Content-Type: {each['contentType']}\r\n"
        body += (
            b"--"
            + boundary
            + b"\r\n"
            + head.encode()
            + b"\r\n"
            + str(each.get("value") or "").encode()
            + b"\r\n"
        )
    return body + b"--" + boundary + b"--\r\n", "whole"


def _response_body(answered: Mapping[str, Any]) -> tuple[bytes, BodyState]:
    content = answered.get("content") or {}
    text = content.get("text")
    if text is None:
        return b"", "cut" if (content.get("size") or 0) > 0 else "whole"
    if content.get("encoding") == "base64":
        return base64.b64decode(text, validate=True), "whole"
    charset = dict(multipart.parameters(str(content.get("mimeType") or ""))).get("charset", "utf-8")
    try:
        return str(text).encode(charset), "whole"
    except (LookupError, UnicodeError):
        return str(text).encode("utf-8", "surrogatepass"), "whole"


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    # Python 3.10 knows no "Z", and three or six digits after the point only.
    text = value.removesuffix("Z") + ("+00:00" if value.endswith("Z") else "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _own(entry: Mapping[str, Any], own: Mapping[str, Any]) -> Recorded:
    """An entry that `entry` has written."""
    value = {**own, "request": dict(own["request"]), "response": dict(own["response"])}
    for side, body in (
        ("request", entry["request"].get("postData")),
        ("response", entry["response"].get("content")),
    ):
        value[side]["headers"] = [[each["name"], each["value"]] for each in entry[side]["headers"]]
        if body and "body" not in value[side]:
            text = body.get("text", "")
            value[side]["body"] = {"base64": text} if body.get("encoding") == "base64" else text
    return from_json(value)


# -- writing


def entry(item: Recorded) -> bytes:
    """The entry for one exchange, on one line, without its line feed."""
    own = json.loads(line(item))
    request, response = item.request, item.response
    for side in ("request", "response"):
        own[side].pop("headers", None)
    value: dict[str, Any] = {
        "startedDateTime": (item.started or datetime.fromtimestamp(0, timezone.utc)).isoformat(),
        "time": response.elapsed * 1000,
        "request": {
            "method": request.method,
            "url": (item.origin or _NO_ORIGIN) + ("" if request.target == "*" else request.target),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _named(request.headers),
            "queryString": [
                {"name": name, "value": value}
                for name, value in parse_qsl(request.query, keep_blank_values=True, max_num_fields=None)
            ],
            "headersSize": -1,
            "bodySize": len(request.content),
        },
        "response": {
            "status": response.status,
            "statusText": response.reason,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _named(response.headers),
            "content": {"size": len(response.body), "mimeType": response.header("content-type") or ""},
            "redirectURL": response.header("location") or "",
            "headersSize": -1,
            "bodySize": len(response.body),
        },
        "cache": {},
        "timings": {"send": 0, "wait": response.elapsed * 1000, "receive": 0},
    }
    if request.content:
        value["request"]["postData"] = {"mimeType": request.header("content-type") or "", "params": []}
        _put_body(own["request"], value["request"]["postData"], request.content, request.headers)
    if response.body:
        _put_body(own["response"], value["response"]["content"], response.body, response.headers)
    else:
        own["response"].pop("body", None)
    value["_bridge"] = own
    return dump(value)


def _named(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def _put_body(own: dict[str, Any], place: dict[str, Any], body: bytes, headers: Headers) -> None:
    """Put a body where HAR wants it, decoded; what is lost by that stays in our own part."""
    shown = body
    coded = codings.codings_of(headers)
    if coded:
        try:
            shown, _ = codings.decode(body, coded)
        except codings.CannotDecode:
            shown = body
    if shown is body:
        kept = own.pop("body")
        text = kept if isinstance(kept, str) else kept["base64"]
        place["text"] = text
        if not isinstance(kept, str):
            place["encoding"] = "base64"
        return
    try:
        place["text"] = shown.decode()
    except UnicodeDecodeError:
        place["text"] = base64.b64encode(shown).decode("ascii")
        place["encoding"] = "base64"
    place["size"] = len(shown)
