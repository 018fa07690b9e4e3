"""Header pairs to environ keys, and WSGI response headers to ASGI ones.

Requests: names that could be mistaken for others are dropped (underscores, `Proxy`), repeats are
joined in linear time, and what cannot be told apart safely is refused. Responses: names and values
are checked before they leave the app's own call (conformance H-01, H-02).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from ..exceptions import BadRequest, InvalidHeader

_Name = TypeVar("_Name", str, bytes)
_Known = TypeVar("_Known", str, bytes)

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN_BYTES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# H-02: every control character except HTAB inside the value, and DEL.
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Requests: what could split a header or end a C string further in.
_BAD_REQUEST_VALUE = re.compile(r"[\r\n\x00]")

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "trailers",
    }
)
"""Response headers that belong to the connection, not to the application (H-03)."""

# Keys of request headers, by name as the server spells it. "" stands for a header that is dropped.
_key_cache: dict[bytes, str] = {}
_key_cache_keeping_underscores: dict[bytes, str] = {}
# Names of response headers, as the app spells them, to their lower-case bytes.
_name_cache: dict[str, bytes] = {}
# Clients choose request header names, so a cache is emptied when it holds as many (ordinary names are
# back with the next request), and what is longer than any ordinary name or value is not kept at all.
_CACHE_LIMIT = 2048
_CACHED_NAME_LIMIT = 64
_CACHED_VALUE_LIMIT = 1024


def environ_key(name: bytes, keep_underscores: bool) -> str:
    """The environ key of a request header, `""` if the header is dropped.

    Dropped are `Transfer-Encoding` (the body is decoded already, E-35), `Proxy` (E-31), names with
    an underscore unless they are asked for (E-30), and names that are no token.
    """
    lower = name.lower()
    if lower == b"content-type":
        key = "CONTENT_TYPE"
    elif lower == b"content-length":
        key = "CONTENT_LENGTH"
    elif (
        lower in (b"transfer-encoding", b"proxy")
        or _TOKEN_BYTES.fullmatch(lower) is None
        or (b"_" in lower and (not keep_underscores or lower.replace(b"_", b"-") in _ALIASED))
    ):
        key = ""
    else:
        key = "HTTP_" + lower.decode("ascii").upper().replace("-", "_")
    return key


def _remember(cache: dict[_Name, _Known], name: _Name, known: _Known) -> None:
    if len(name) <= _CACHED_NAME_LIMIT:
        if len(cache) >= _CACHE_LIMIT:
            cache.clear()
        cache[name] = known


# With an underscore these would overwrite or imitate the framing of the request, whatever was asked for.
_ALIASED = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"proxy"})


def add_request_headers(
    environ: dict[str, object], headers: Iterable[Iterable[bytes]], keep_underscores: bool
) -> bool:
    """Put request headers into `environ`; return whether a `Transfer-Encoding` was among them.

    Args:
        environ: a dict that holds no header key yet.
        headers: pairs of bytes in order of arrival, names in any letter case.
        keep_underscores: keep headers whose name has an underscore.

    Raises:
        BadRequest: a value with CR, LF or NUL; more than one `Host` or `Content-Type`; lengths
            that differ or are not ASCII digits (E-34).
    """
    cache = _key_cache_keeping_underscores if keep_underscores else _key_cache
    repeats: dict[str, list[str]] | None = None
    chunked = False
    for name, raw in headers:
        key = cache.get(name)
        if key is None:
            name = bytes(name)
            key = environ_key(name, keep_underscores)
            # A Transfer-Encoding is not cached: the caller has to be told of it.
            if name.lower() == b"transfer-encoding":
                chunked = True
                continue
            _remember(cache, name, key)
        if not key:
            continue
        value = raw.decode("latin-1")
        if not value.isprintable() and _BAD_REQUEST_VALUE.search(value):
            raise BadRequest(f"the value of the request header {key} holds CR, LF or NUL")
        if value.strip() is not value:
            value = value.strip(" \t")  # the plain strip() takes more than HTTP calls white space
        if key not in environ:
            environ[key] = value
        elif repeats is None:
            repeats = {key: [value]}
        else:
            repeats.setdefault(key, []).append(value)
    if repeats is not None:
        for key, values in repeats.items():
            environ[key] = _joined(key, str(environ[key]), values)
    return chunked


def _joined(key: str, first: str, others: list[str]) -> str:
    """One value for a header that came several times."""
    if key == "HTTP_COOKIE":
        return "; ".join([first, *others])  # RFC 9113 8.2.3: crumbs of one header
    if key == "CONTENT_LENGTH":
        if any(value != first for value in others):
            raise BadRequest("the request has several Content-Length headers that differ")
        return first
    if key in ("HTTP_HOST", "CONTENT_TYPE"):
        raise BadRequest(f"the request has more than one {key.removeprefix('HTTP_')} header")
    return ",".join([first, *others])


def response_name(name: object) -> bytes:
    """The lower-case bytes of a response header name.

    Raises:
        InvalidHeader: the name is no str or no token (H-01).
    """
    if not isinstance(name, str):
        raise InvalidHeader(f"a response header name must be str, got {type(name).__name__}")
    if TOKEN.fullmatch(name) is None:
        raise InvalidHeader(
            f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only (RFC 9110 5.6.2)"
        )
    encoded = name.lower().encode("ascii")
    _remember(_name_cache, str(name), encoded)
    return encoded


def response_value(name: object, value: object) -> bytes:
    """The bytes of a response header value, outer spaces and tabs removed.

    Raises:
        InvalidHeader: no str, characters above U+00FF, or a control character (H-02). The error
            names the header, never the value.
    """
    if not isinstance(value, str):
        raise InvalidHeader(
            f"the value of the response header {name!r} must be str, got {type(value).__name__}"
        )
    if not value.isprintable() and _BAD_VALUE.search(value):
        raise InvalidHeader(
            f"the value of the response header {name!r} holds a control character, such as a line break"
        )
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidHeader(
            f"the value of the response header {name!r} holds characters above U+00FF; "
            "encode them first (RFC 8187, or UTF-8 bytes decoded as latin-1)"
        ) from None
    return encoded.strip(b" \t")


# Response headers whose values repeat from response to response: what they encode to is remembered.
# Others (cookies, tokens, locations) differ each time, and some are secrets that ought not to linger.
_REPEATING = frozenset(
    {
        "accept-ranges",
        "access-control-allow-origin",
        "allow",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-length",
        "content-security-policy",
        "content-type",
        "cross-origin-opener-policy",
        "referrer-policy",
        "strict-transport-security",
        "vary",
        "x-content-type-options",
        "x-frame-options",
    }
)
_pair_cache: dict[tuple[str, str], tuple[bytes, bytes]] = {}


def response_headers(headers: object) -> list[tuple[bytes, bytes]]:
    """WSGI response headers as ASGI ones: lower-case names, order and repeats kept.

    Raises:
        InvalidHeader: `headers` is no list of pairs of str, or a name or value is not allowed.
    """
    if not isinstance(headers, list):
        raise InvalidHeader(
            "start_response() expects the headers as a list of (name, value) tuples; "
            f"got {type(headers).__name__}"
        )
    cached = _pair_cache.get
    encoded = []
    for pair in headers:
        try:
            known: tuple[bytes, bytes] | None = cached(pair)
        except TypeError:  # not hashable: a list, or holding one
            known = None
        encoded.append(known or _response_header(pair))
    return encoded


def _response_header(pair: object) -> tuple[bytes, bytes]:
    # Not whatever unpacks into two: a str of two characters comes from a forgotten bracket.
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InvalidHeader(
            f"start_response() expects each header as a (name, value) tuple; got {type(pair).__name__}"
        )
    name, value = pair
    encoded_name = (_name_cache.get(name) if type(name) is str else None) or response_name(name)
    if type(value) is str and value.isascii() and value.isprintable() and value.strip() == value:
        encoded = (encoded_name, value.encode("ascii"))
    else:
        encoded = (encoded_name, response_value(name, value))
    # Exact types only, since the key lives on: a subclass of str may hold on to much more.
    if (
        type(pair) is tuple
        and type(name) is type(value) is str
        and name.lower() in _REPEATING
        and len(value) <= _CACHED_VALUE_LIMIT
    ):
        if len(_pair_cache) >= _CACHE_LIMIT:
            _pair_cache.clear()
        _pair_cache[pair] = encoded
    return encoded
