"""Requests and responses as plain values: what clients run, comparisons look at, recordings hold.

They are nearer to the wire than what an HTTP client library shows: the target keeps its percent
escapes, headers keep their order, their case and their repetitions, and a body remembers its pieces.
Nothing here imports a library, waits or does I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

from ..exceptions import UsageError

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values in their order; each character is one byte on the wire (Latin-1)."""

RequestLike: TypeAlias = "Request | str | tuple[str, str] | Mapping[str, Any]"
"""What `Request.of` understands."""

# What may stand in a target as it is: RFC 3986 sections 2.2 and 2.3, and "%" of what is escaped already.
_SAFE_IN_TARGET = "%/?&=;:@!$'()*+,-._~[]"
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORMS = (
    'a path such as "/notes?page=2", "POST /notes", a pair (method, path), a Request, or a mapping with '
    "the keys method, url, params, headers, content, data, json and name"
)
_KEYS = frozenset({"method", "url", "params", "headers", "content", "data", "json", "name"})


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: as sent; methods are case-sensitive (RFC 9110 section 9.1).
        target: path and query as in the request line, ASCII: what is not ASCII is given as the percent
            escapes of its UTF-8.
        headers: in order. `Host` is the client's affair unless it is given here; so is the body's
            framing (`Content-Length` or `Transfer-Encoding`).
        body: all of it; or its pieces, which are sent one by one and without a length.
        name: what reports call it; by default method and target.

    Raises:
        UsageError: the method is no token, or the target does not begin with "/" (or is not "*").
    """

    method: str = "GET"
    target: str = "/"
    headers: Headers = ()
    body: bytes | tuple[bytes, ...] = b""
    name: str = ""

    def __post_init__(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise UsageError(f"a method is a token such as GET, not {self.method!r}")
        target = quote(self.target, safe=_SAFE_IN_TARGET)
        if not target.startswith("/") and target != "*":
            raise UsageError(f'a target begins with "/", as in "/notes?page=2"; got {self.target!r}')
        if target != self.target:
            object.__setattr__(self, "target", target)

    @property
    def path(self) -> str:
        """The target's path, with its percent escapes."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the "?", with its percent escapes; empty if there is none."""
        return self.target.partition("?")[2]

    @property
    def content(self) -> bytes:
        """The body in one piece."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)

    @property
    def label(self) -> str:
        """What reports call it."""
        return self.name or f"{self.method} {self.target}"

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return _first(self.headers, name)

    @classmethod
    def of(cls, value: RequestLike) -> Request:
        """The request that a short form stands for.

        Args:
            value: a `Request`; a path; `"POST /path"`; a pair of method and path; or a mapping with the
                keys that an HTTP client's `request()` takes: `url` (path and query), and if need be
                `method` ("GET"), `params` (mapping or pairs, appended to the query), `headers`
                (mapping or pairs), one of `content` (bytes, text, or a list of pieces), `data`
                (a form, mapping or pairs) and `json` (any JSON value); `name` labels it in reports.

        Raises:
            UsageError: it is none of these.
        """
        if isinstance(value, Request):
            return value
        if isinstance(value, str):
            method, space, target = value.partition(" ")
            return cls(method, target.strip()) if space and not value.startswith("/") else cls("GET", value)
        if isinstance(value, tuple):
            return _from_pair(value)
        if isinstance(value, Mapping):
            return _from_mapping(value)
        raise UsageError(f"a request is {_FORMS}; got {value!r}")

    def with_headers(self, *pairs: tuple[str, str]) -> Request:
        """The same with further headers at the end."""
        return replace(self, headers=(*self.headers, *pairs))


def _from_pair(given: tuple[Any, ...]) -> Request:
    if len(given) != 2 or not all(isinstance(each, str) for each in given):
        raise UsageError(f"a request is {_FORMS}; got {given!r}")
    return Request(*given)


def _from_mapping(given: Mapping[str, Any]) -> Request:
    unknown = sorted(str(key) for key in given.keys() - _KEYS)
    if unknown:
        raise UsageError(f"a request has the keys {', '.join(sorted(_KEYS))}; got {', '.join(unknown)}")
    if "url" not in given:
        raise UsageError(f"a request needs a url, such as '/notes?page=2'; got {dict(given)!r}")
    bodies = [key for key in ("content", "data", "json") if given.get(key) is not None]
    if len(bodies) > 1:
        raise UsageError(f"a request has one body; got {' and '.join(bodies)}")
    url = urlsplit(str(given["url"]))
    query = "&".join(part for part in (url.query, urlencode(_pairs(given.get("params")), doseq=True)) if part)
    headers = [(str(name), str(value)) for name, value in _pairs(given.get("headers"))]
    body, kind = _body(given, bodies)
    if kind and _first(headers, "content-type") is None:
        headers.append(("Content-Type", kind))
    return Request(
        str(given.get("method") or "GET"),
        (url.path or "/") + (f"?{query}" if query else ""),
        tuple(headers),
        body,
        str(given.get("name") or ""),
    )


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    """The pairs of a mapping or of an iterable of pairs; none of `None`."""
    return list(given.items() if isinstance(given, Mapping) else given or ())


def _body(given: Mapping[str, Any], bodies: list[str]) -> tuple[bytes | tuple[bytes, ...], str]:
    """The body, and the type of it that goes without saying."""
    if not bodies:
        return b"", ""
    (form,) = bodies
    value = given[form]
    if form == "json":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), "application/json"
    if form == "data":
        return urlencode(_pairs(value), doseq=True).encode("ascii"), "application/x-www-form-urlencoded"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), ""
    if isinstance(value, str):
        return value.encode(), "text/plain; charset=utf-8"
    if isinstance(value, Iterable):
        pieces = tuple(value)
        if all(isinstance(piece, bytes) for piece in pieces):
            return pieces, ""
    raise UsageError(f"content is bytes, text or an iterable of bytes, not {value!r}")


@dataclass(frozen=True)
class Response:
    """What came of a request.

    Attributes:
        status: 0 if there was no response.
        reason: the phrase beside the status; empty where the protocol has none.
        headers: in order, in the case in which they came, repetitions and all.
        chunks: the body in the pieces in which it came, decoded from its transfer coding only.
        trailers: header fields that came after the body.
        error: what the app raised. With a status, it broke off after the response had begun, so that
            the body is not whole.
        elapsed: seconds from the call to the end of the body.
        history: the redirects that were followed to come here, the first one first.
    """

    status: int
    reason: str = ""
    headers: Headers = ()
    chunks: tuple[bytes, ...] = ()
    trailers: Headers = ()
    error: BaseException | None = None
    elapsed: float = 0.0
    history: tuple[Response, ...] = field(default=(), repr=False)

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join(self.chunks)

    @property
    def complete(self) -> bool:
        """Whether the response came, and came to its end."""
        return self.status != 0 and self.error is None

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return _first(self.headers, name)

    def all(self, name: str) -> list[str]:
        """Every value of a header, by its name in any case, in order."""
        wanted = name.lower()
        return [value for key, value in self.headers if key.lower() == wanted]


def _first(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)
