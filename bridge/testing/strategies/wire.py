"""Strategies for what comes over the wire: targets, headers, bodies, and requests made of them.

All that they make is lawful HTTP that a server may be sent; much of it is what apps and adapters get
wrong. What frames a message (`Host`, `Content-Length`, `Transfer-Encoding`, `Connection`, `Expect` …)
is the client's affair and never made here.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...exceptions import UsageError
from ..exchange import Headers, Request

T = TypeVar("T")

DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
"""Those that any server and framework knows; TRACE and CONNECT are not for apps."""

CONTENT_KINDS = ("bytes", "json", "form", "multipart", "text")
"""The kinds of body that `contents` and `bodies` make."""

# RFC 3986 section 2.3.
_UNRESERVED = string.ascii_lowercase + string.ascii_uppercase + string.digits + "-._~"
# As they stand in a path: sub-delimiters, escapes of what separates, of what is unreserved and of
# controls; a double escape; both cases of hexadecimal digits.
_ODD_SEGMENTS = (
    "a;b=1",
    "a,b",
    "@",
    "a:b",
    "*",
    "+",
    "$&'()!",
    "%20",
    "%2F",
    "%2f",
    "%3F",
    "%23",
    "%3B",
    "%25",
    "%252F",
    "%61",
    "%C3%A9",
    "%c3%a9",
    "%00",
    "%0D%0A",
)
_DOT_SEGMENTS = (".", "..", "%2e", "%2E%2e", "...")
# Longer than any buffer of a line in use is not needed; longer than most names of files is.
_LONG_SEGMENT = 300
# Escapes that are none, an empty name, brackets, a second "?", a second "=", separators with nothing between.
_ODD_QUERIES = ("=", "=x", "a", "a=", "&", "a&&b", "?", "a=b=c", "%", "%zz", "a[]=1&a[]=2", "a;b", "%00", "+")
# RFC 9110 section 5.6.2, without the underscore: see `headers`.
_TOKEN_CHARACTERS = string.ascii_letters + string.digits + "!#$%&'*+-.^`|~"
# What one byte may be inside of a field value (RFC 9110 section 5.5), besides blank and tab.
_VISIBLE = "".join(
    map(chr, (*range(0x61, 0x7B), *range(0x21, 0x61), *range(0x7B, 0x7F), *range(0x80, 0x100)))
)

# Not made: framing and routing of the message (RFC 9110 sections 7.2, 7.6.1, 8.6, 10.1.1), what an
# adapter has to drop (`Proxy` is an attack on CGI), and what servers invent (`Version`).
_RESERVED_NAMES = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "version",
    }
)
# Of these a second one makes no sense, or makes the request ambiguous (RFC 9110 section 5.3).
_AT_MOST_ONCE = frozenset(
    {
        "authorization",
        "content-type",
        "if-modified-since",
        "if-none-match",
        "origin",
        "range",
        "referer",
        "user-agent",
    }
)
_COMMON_HEADERS: dict[str, tuple[str, ...]] = {
    "Accept": ("*/*", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "application/json"),
    "Accept-Language": ("en", "de-CH, de;q=0.9, *;q=0.5"),
    "Authorization": ("Bearer token", "Basic dXNlcjpwYXNz"),
    "Cache-Control": ("no-cache",),
    "If-Modified-Since": ("Sun, 06 Nov 1994 08:49:37 GMT",),
    "If-None-Match": ('"a"', 'W/"a", "b"', "*"),
    "Origin": ("http://testserver", "null"),
    "Range": ("bytes=0-3", "bytes=-1", "bytes=5-2"),
    "Referer": ("http://testserver/from",),
    "User-Agent": ("Mozilla/5.0 (X11; Linux x86_64)",),
    "X-Forwarded-For": ("203.0.113.7", "203.0.113.7, 10.0.0.1"),
    "X-Forwarded-Proto": ("https",),
    "X-Requested-With": ("XMLHttpRequest",),
}
# Lists, quoting, parameters, tabs and doubled blanks, bytes beyond ASCII, what looks encoded.
_ODD_VALUES = (
    "a, b",
    "a,,b",
    'a="b, c"',
    "a; b=c",
    "a\tb",
    "a  b",
    "\u00e9",
    "\u00c3\u00a9",
    "%20",
    "=?utf-8?q?a?=",
)
_COOKIES = ("a=1", "a=1; b=2", "a=", 'a="q"', "a=b=c", "a=%C3%A9", "a=\u00e9", "a=1; a=2")
_ENCODINGS = ("utf-8", "latin-1", "utf-16", "shift_jis", "cp1251")
# Methods whose requests have a body more often than not.
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# `{id}`, `{id:int}` (Starlette, FastAPI, OpenAPI) and `<id>`, `<int:id>` (Flask, Django).
_PARAMETER = re.compile(r"\{[^{}:]*(?::(?P<after>\w+))?\}|<(?:(?P<before>\w+)(?:\([^()]*\))?:)?[^<>:]+>")
_DIGITS = st.integers(0, 10**6).map(str)
_OFTEN = st.sampled_from([False, True, True])


def paths(
    *, utf8: bool = False, dots: bool = True, empty: bool = True, max_segments: int = 4
) -> SearchStrategy[str]:
    """Paths as they stand in a request line, with percent escapes.

    Args:
        utf8: only such whose escapes are UTF-8; otherwise a few hold other bytes, such as `%FF`.
        dots: also segments such as `..`, written out or escaped.
        empty: also empty segments, so `//`, also at the beginning and at the end.
        max_segments: how many segments at most.
    """
    escaped_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).map(
        lambda text: quote(text, safe="")
    )
    kinds: list[SearchStrategy[str]] = [
        st.text(string.ascii_lowercase, min_size=1, max_size=6),
        st.text(_UNRESERVED, min_size=1, max_size=8).filter(_is_no_dot_segment),
        st.sampled_from(_ODD_SEGMENTS),
        escaped_text.filter(_is_no_dot_segment),
        st.just("a" * _LONG_SEGMENT),
    ]
    if not utf8:
        kinds.append(st.binary(min_size=1, max_size=6).map(_escape_all).filter(_is_no_dot_segment))
    if dots:
        kinds.append(st.sampled_from(_DOT_SEGMENTS))
    if empty:
        kinds.append(st.just(""))
    return st.lists(st.one_of(kinds), max_size=max_segments).map(lambda parts: "/" + "/".join(parts))


def _escape_all(raw: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in raw)


def _is_no_dot_segment(segment: str) -> bool:
    """Whether a segment is more than dots, written out or escaped."""
    return bool(re.sub("%2e", ".", segment, flags=re.IGNORECASE).strip("."))


def queries(*, lawful: bool = False, max_pairs: int = 4) -> SearchStrategy[str]:
    """Query strings without the "?"; the empty one stands for no query.

    Args:
        lawful: only form pairs; otherwise also broken escapes, empty names and other oddities.
        max_pairs: how many pairs at most.
    """
    word = st.one_of(
        st.text(string.ascii_lowercase, min_size=1, max_size=4),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=4),
    )
    pairs = st.lists(st.tuples(word, st.one_of(st.just(""), word)), max_size=max_pairs)
    forms = st.one_of(pairs.map(urlencode), pairs.map(lambda given: urlencode(given, quote_via=quote)))
    if lawful:
        return forms
    return st.one_of(forms, st.sampled_from(_ODD_QUERIES), st.binary(min_size=1, max_size=4).map(_escape_all))


def headers(
    *, names: Collection[str] | None = None, max_count: int = 5, underscores: bool = False
) -> SearchStrategy[Headers]:
    """Request headers in order, with repetitions, in mixed case, with any bytes that a value may have.

    Args:
        names: only these, with any value; by default well-known ones with their values, cookies, and
            any token.
        max_count: how many at most.
        underscores: also names with an underscore, which a WSGI environ cannot tell from a hyphen, and
            which `WSGIToASGI` and several servers drop for that reason.
    """
    values = _values()
    if names is not None:
        if not names:
            raise UsageError("names of headers to choose among are expected; got none")
        pairs = st.tuples(st.sampled_from(list(names)), values)
        return st.lists(pairs, max_size=max_count).map(_without_doubles)
    characters = _TOKEN_CHARACTERS + ("_" if underscores else "")
    few = ["X-A", "x-a", "X-B", *(["X_A"] if underscores else [])]
    token = st.text(characters, min_size=1, max_size=10).filter(
        lambda name: name.lower() not in _RESERVED_NAMES | _AT_MOST_ONCE
    )
    # One level of alternatives, of few draws each: hypothesis deletes what does not matter from a list only
    # if its items are that simple.
    pairs = st.one_of(
        st.tuples(st.sampled_from(few), values),
        st.tuples(token, values),
        st.tuples(st.sampled_from(["Cookie", "cookie"]), _cookies()),
        st.sampled_from([(name, value) for name, known in _COMMON_HEADERS.items() for value in known]),
    )
    return st.lists(pairs, max_size=max_count).map(_without_doubles)


def _values() -> SearchStrategy[str]:
    """Field values: visible characters, with blanks and tabs between them; or nothing."""
    text = st.text(_VISIBLE + " \t", max_size=20).map(lambda text: text.strip(" \t"))
    return st.one_of(text, st.sampled_from(_ODD_VALUES))


def _cookies() -> SearchStrategy[str]:
    pair = st.tuples(st.sampled_from("ab"), st.text(_UNRESERVED, max_size=6)).map("=".join)
    return st.one_of(st.sampled_from(_COOKIES), st.lists(pair, min_size=1, max_size=3).map("; ".join))


def _without_doubles(pairs: list[tuple[str, str]]) -> Headers:
    """Keep the first of those that may come once only."""
    seen: set[str] = set()
    kept = []
    for name, value in pairs:
        key = name.lower()
        if key in _AT_MOST_ONCE and key in seen:
            continue
        seen.add(key)
        kept.append((name, value))
    return tuple(kept)


def contents(
    kinds: Collection[str] = CONTENT_KINDS, *, max_size: int = 200
) -> SearchStrategy[tuple[bytes, str]]:
    """Bodies that are not empty, each with its content type.

    Args:
        kinds: which of `CONTENT_KINDS`: any bytes; JSON; a form; a form in parts, with files; text in
            one of several encodings.
        max_size: about how many bytes a part of it has at most.

    Raises:
        UsageError: a kind is none of these.
    """
    unknown = sorted(set(kinds) - set(CONTENT_KINDS))
    if unknown or not kinds:
        raise UsageError(f"kinds of content are {', '.join(CONTENT_KINDS)}; got {unknown or 'none'}")
    makers: dict[str, Callable[[int], SearchStrategy[tuple[bytes, str]]]] = {
        "bytes": _any_bytes,
        "json": _json,
        "form": _form,
        "multipart": _multipart,
        "text": _encoded_text,
    }
    return st.one_of([makers[kind](max_size) for kind in CONTENT_KINDS if kind in kinds])


def bodies(kinds: Collection[str] = CONTENT_KINDS, *, max_size: int = 200) -> SearchStrategy[bytes]:
    """Request bodies, the empty one first; `kinds` and `max_size` are those of `contents`."""
    return st.one_of(st.just(b""), contents(kinds, max_size=max_size).map(lambda content: content[0]))


def _any_bytes(max_size: int) -> SearchStrategy[tuple[bytes, str]]:
    return st.tuples(st.binary(min_size=1, max_size=max_size), st.just("application/octet-stream"))


def _json(max_size: int) -> SearchStrategy[tuple[bytes, str]]:
    text = st.text(st.characters(codec="utf-8"), max_size=min(max_size, 10))
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), text
    )
    values: SearchStrategy[Any] = st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
        max_leaves=5,
    )
    return st.tuples(
        st.builds(
            lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(),
            values,
            st.booleans(),
        ),
        st.just("application/json"),
    )


def _form(max_size: int) -> SearchStrategy[tuple[bytes, str]]:
    text = st.text(st.characters(codec="utf-8"), max_size=min(max_size, 10))
    name = st.text(string.ascii_lowercase, min_size=1, max_size=4)
    pairs = st.lists(st.tuples(name, text), min_size=1, max_size=4)
    return st.tuples(
        pairs.map(lambda given: urlencode(given).encode("ascii")),
        st.just("application/x-www-form-urlencoded"),
    )


_BOUNDARY = "----bridge-boundary"


def _multipart(max_size: int) -> SearchStrategy[tuple[bytes, str]]:
    name = st.text(string.ascii_lowercase, min_size=1, max_size=4)
    filename = st.one_of(st.none(), st.sampled_from(["a.txt", "b c.bin", "é.txt"]))
    part = st.tuples(name, filename, st.binary(max_size=max_size))
    return st.tuples(
        st.lists(part, min_size=1, max_size=3).map(_joined_parts),
        st.just(f"multipart/form-data; boundary={_BOUNDARY}"),
    )


def _joined_parts(parts: Sequence[tuple[str, str | None, bytes]]) -> bytes:
    """RFC 7578: each part with its disposition, and a type if it is a file."""
    lines = []
    for name, filename, content in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        if filename is not None:
            head += f'; filename="{filename}"\r\nContent-Type: application/octet-stream'
        lines += [f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode(), content, b"\r\n"]
    return b"".join([*lines, f"--{_BOUNDARY}--\r\n".encode()])


def _encoded_text(max_size: int) -> SearchStrategy[tuple[bytes, str]]:
    def encoded(encoding: str) -> SearchStrategy[tuple[bytes, str]]:
        # Two characters of Shift JIS come back as others, of which hypothesis warns.
        character = st.characters(codec=encoding, exclude_characters="\u00a5\u203e")
        text = st.text(character, min_size=1, max_size=min(max_size, 20))
        return st.tuples(
            text.map(lambda given: given.encode(encoding)), st.just(f"text/plain; charset={encoding}")
        )

    return st.sampled_from(_ENCODINGS).flatmap(encoded)


def chunkings(body: bytes, *, empty: bool = True, max_pieces: int = 5) -> SearchStrategy[tuple[bytes, ...]]:
    """The same body in pieces, in order; in one piece first.

    Args:
        body: what the pieces are joined to.
        empty: also with empty pieces among them.
        max_pieces: how many at most.
    """
    if max_pieces < 1:
        raise UsageError(f"max_pieces is at least 1; got {max_pieces!r}")
    cuts = st.lists(st.integers(0, len(body)), max_size=max_pieces - 1)

    def cut(places: list[int]) -> tuple[bytes, ...]:
        edges = [0, *sorted(places), len(body)]
        pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
        return tuple(piece for piece in pieces if piece or empty)

    return cuts.map(cut)


# What `requests` makes of a part that is not given; its parameters have the names of these functions.
_any_path, _any_query, _any_headers, _any_content = paths, queries, headers, contents


def requests(
    *,
    methods: Collection[str] = DEFAULT_METHODS,
    targets: Collection[str] | None = None,
    paths: SearchStrategy[str] | None = None,
    queries: SearchStrategy[str] | None = None,
    headers: SearchStrategy[Headers] | None = None,
    contents: SearchStrategy[tuple[bytes, str]] | None = None,
    with_body: bool | None = None,
    chunked: bool | None = None,
) -> SearchStrategy[Request]:
    """Requests as `bridge.testing.Request`; what is not given is anything of its kind.

    Args:
        methods: the methods to choose among; `GET` without anything comes first.
        targets: instead of `paths`: the paths to choose among. A parameter stands for values of its
            kind: `/notes/{id}`, `/notes/{id:int}` or `/notes/<int:id>` (kinds int, float, uuid and path,
            else one segment), so that the routes of an app can be given as its framework or its
            OpenAPI description writes them. `"POST /notes"` fixes the method as well, `/notes?page=2`
            the query.
        paths: a strategy for paths.
        queries: a strategy for query strings, without the "?".
        headers: a strategy for headers; those of the body's type are added.
        contents: a strategy for pairs of body and content type.
        with_body: whether there is a body: always, never, or (`None`) mostly with POST, PUT, PATCH and
            DELETE.
        chunked: whether a body is sent in pieces and without a length: always, never, or now and then.

    Raises:
        UsageError: both targets and paths are given, or no methods or targets to choose among.
    """
    if targets is not None and paths is not None:
        raise UsageError("targets and paths exclude each other; give one of them")
    if not methods or (targets is not None and not targets):
        raise UsageError("methods and targets to choose among are expected; got none")
    if isinstance(targets, str) or isinstance(methods, str):
        raise UsageError('methods and targets are lists, such as ["/notes/{id}"]; got a str')
    where = st.sampled_from(list(targets)).flatmap(_from_template) if targets is not None else None
    some_path = _any_path() if paths is None else paths
    some_query = _any_query() if queries is None else queries
    some_headers = _any_headers() if headers is None else headers
    some_content = _any_content() if contents is None else contents
    some_method = st.sampled_from(list(methods))

    @st.composite
    def one_request(draw: st.DrawFn) -> Request:
        method, target = draw(where) if where is not None else ("", draw(some_path))
        method = method or draw(some_method)
        if "?" not in target:
            query = draw(some_query)
            target += f"?{query}" if query else ""
        pairs = draw(some_headers)
        has_body = with_body
        if has_body is None:
            has_body = method in _WITH_BODY and draw(_OFTEN)
        if not has_body:
            return Request(method, target, pairs)
        content, kind = draw(some_content)
        if kind:
            pairs = (*(pair for pair in pairs if pair[0].lower() != "content-type"), ("Content-Type", kind))
        in_pieces = draw(st.booleans()) if chunked is None else chunked
        body = draw(chunkings(content)) if in_pieces else content
        return Request(method, target, pairs, body)

    return one_request()


def _from_template(template: str) -> SearchStrategy[tuple[str, str]]:
    """Method ("" if it is open) and target, with a value in place of each parameter."""
    method, space, target = template.partition(" ")
    if not space or template.startswith("/"):
        method, target = "", template
    parts: list[SearchStrategy[str]] = []
    position = 0
    for found in _PARAMETER.finditer(target):
        parts += [st.just(target[position : found.start()]), _parameter(found["after"] or found["before"])]
        position = found.end()
    parts.append(st.just(target[position:]))
    return st.tuples(st.just(method), st.tuples(*parts).map("".join))


def _parameter(kind: str | None) -> SearchStrategy[str]:
    """A value for a parameter of a route, as it stands in a path."""
    segment = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).map(
        lambda text: quote(text, safe="")
    )
    if kind == "int":
        return _DIGITS
    if kind == "float":
        return st.floats(0, 1e6).map(lambda number: f"{number:.3f}")
    if kind == "uuid":
        return st.uuids().map(str)
    if kind == "path":
        return st.lists(segment, min_size=1, max_size=3).map("/".join)
    return st.one_of(_DIGITS, segment)
