"""What a well-behaved app does with a request, told without an interface.

A `Behaviour` is the part of a generated app that a client can see: `wsgi` and `asgi` add the ways in
which the interfaces allow to do it. It is a value: the same request gets the same response, always.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..exchange import Headers
from .readable import Readable

PARTS = ("method", "path", "query", "headers", "body")
"""The parts of a request that a behaviour may reflect."""

# Responses without content, whatever the app says (RFC 9110 section 15): a good app sends none.
_BODILESS = frozenset({204, 205, 304})
_STATUSES = (200, 201, 404, 302, 500, 204, 304, 206, 401, 422, 503)
# Not reflected: what frames or routes a message, and what the adapters drop for safety.
_NOT_REFLECTED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy",
        "proxy-connection",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "version",
    }
)
# Fields whose repetitions are joined by something else than a comma.
_JOINED_BY = {"cookie": "; "}


@dataclass(frozen=True, repr=False)
class Behaviour(Readable):
    """What an app answers.

    Attributes:
        status: of the response.
        headers: of the response, without what frames it.
        chunks: the body, in the pieces in which the app makes it; none of them may matter.
        length: whether the app names the length of its body.
        reads: how many bytes of the request body it reads, `None` for all of them.
        reflects: which of `PARTS` the body tells of at its end: the request as the app has seen it,
            written the same for both interfaces. Of the body that is as much as was read.
    """

    status: int = 200
    headers: Headers = ()
    chunks: tuple[bytes, ...] = (b"x",)
    length: bool = False
    reads: int | None = 0
    reflects: tuple[str, ...] = ()

    @property
    def status_line(self) -> str:
        """As WSGI wants it: the code and its usual phrase."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Unknown"

    @property
    def reads_first(self) -> bool:
        """Whether the request body must be known before the head of the response is."""
        return self.length and "body" in self.reflects

    def body(self, seen: Seen) -> tuple[bytes, ...]:
        """The chunks of the response to a request; empty ones too. None for HEAD."""
        if seen.method == "HEAD" or self.status in _BODILESS:
            return ()
        return (*self.chunks, seen.told(self.reflects)) if self.reflects else self.chunks

    def head(self, seen: Seen) -> list[tuple[str, str]]:
        """The headers of the response to a request."""
        if not self.length or self.status in _BODILESS or seen.method == "HEAD":
            return list(self.headers)
        return [*self.headers, ("Content-Length", str(sum(map(len, self.body(seen)))))]


PLAIN = Behaviour()
"""The simplest one: 200 and one byte."""


@dataclass(frozen=True)
class Seen:
    """A request as an app has seen it, the same for both interfaces.

    Attributes:
        method: as it came.
        path: decoded to bytes, with the root path.
        query: as it came.
        headers: joined by name, in lower case, without those that no interface promises to keep.
        body: what was read of it.
    """

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @classmethod
    def in_environ(cls, environ: Mapping[str, Any], body: bytes = b"") -> Seen:
        """The request of a WSGI environ."""
        given = [
            (key[5:] if key.startswith("HTTP_") else key, value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or (key == "CONTENT_TYPE" and value)
        ]
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        return cls(
            environ["REQUEST_METHOD"],
            path.encode("latin-1"),
            environ.get("QUERY_STRING", "").encode("latin-1"),
            _joined((name.replace("_", "-"), value) for name, value in given),
            body,
        )

    @classmethod
    def in_scope(cls, scope: Mapping[str, Any], body: bytes = b"") -> Seen:
        """The request of an ASGI scope."""
        raw_path = scope.get("raw_path")
        path = unquote_to_bytes(raw_path) if raw_path is not None else scope["path"].encode()
        given = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        return cls(
            scope["method"],
            path,
            scope.get("query_string", b""),
            # An underscore is one that WSGI would have turned into a hyphen.
            _joined((name.replace("_", "-"), value) for name, value in given),
            body,
        )

    def told(self, parts: Iterable[str]) -> bytes:
        """The parts as text, in a writing that is the same for the same request."""
        return "\n".join(f"{part}: {getattr(self, part)!r}" for part in parts).encode(
            "ascii", "backslashreplace"
        )


def _joined(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Repetitions joined in order (RFC 9110 section 5.3), sorted by name."""
    found: dict[str, str] = {}
    for given, value in pairs:
        name = given.lower()
        if name in _NOT_REFLECTED:
            continue
        value = value.strip(" \t")
        found[name] = found[name] + _JOINED_BY.get(name, ",") + value if name in found else value
    return tuple(sorted(found.items()))


def response_headers() -> SearchStrategy[Headers]:
    """Response headers that a good app may give: in any case and order, repeated, with Latin-1 values."""
    value = st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=10
    ).map(str.strip)
    own = st.tuples(st.sampled_from(["X-A", "x-a", "X-B", "Vary", "ETag", "Link", "Cache-Control"]), value)
    name = st.text(string.ascii_lowercase, min_size=1, max_size=4)
    cookie = st.builds(
        lambda key, data, more: ("Set-Cookie", f"{key}={data}{more}"),
        name,
        name,
        st.sampled_from(["", "; Path=/", "; Path=/; HttpOnly; SameSite=Lax"]),
    )
    kind = st.sampled_from(
        [
            ("Content-Type", "text/plain"),
            ("content-type", "text/html; charset=utf-8"),
            ("Content-Type", "x/y"),
        ]
    )
    pairs = st.lists(st.one_of(own, cookie), max_size=3)
    return st.builds(lambda first, rest: (*first, *rest), st.lists(kind, max_size=1), pairs)


def acts() -> SearchStrategy[Behaviour]:
    """Behaviours; `Behaviour()` comes first."""
    chunks = st.lists(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"", b"\r\n", b"x" * 5000])), max_size=4
    ).map(tuple)
    some = st.lists(st.sampled_from(PARTS), unique=True, max_size=len(PARTS)).map(tuple)
    return st.builds(
        Behaviour,
        status=st.one_of(st.sampled_from(_STATUSES), st.integers(200, 599)),
        headers=response_headers(),
        chunks=st.one_of(st.just((b"x",)), chunks),
        length=st.booleans(),
        # More of those that show the most: the whole body is read, and the whole request told of.
        reads=st.one_of(st.just(0), st.none(), st.integers(1, 20), st.none()),
        reflects=st.one_of(st.just(()), st.just(PARTS), some),
    )
