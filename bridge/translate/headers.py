"""Header pairs to environ keys, and WSGI response headers to ASGI ones.

Requests: names that could be mistaken for others are dropped (underscores, `Proxy`), repeats are
joined in linear time, and what cannot be told apart safely is refused. Responses: names and values
are checked before they leave the app's own call (conformance H-01, H-02).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from ..exceptions import BadRequest, InvalidHeader
from .text import wsgi_bytes

_Name = TypeVar("_Name", str, bytes)
_Known = TypeVar("_Known")

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
TOKEN_BYTES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
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

BODILESS_STATUS = frozenset({204, 304})
"""Responses that never have a body (RFC 9110 sections 15.3.5 and 15.4.5)."""

# Of a `Content-Length`, in digits: 18 are close to an exabyte.
LONGEST_LENGTH = 18

# Keys of request headers, by name as the server spells it. "" stands for a header that is dropped.
_key_cache: dict[bytes, str] = {}
_key_cache_keeping_underscores: dict[bytes, str] = {}
# Names of response headers, as the app spells them, to their lower-case bytes.
_name_cache: dict[str, bytes] = {}
# Clients choose request header names, so a cache is emptied when it holds as many (ordinary names are
# back with the next request), and what is longer than any ordinary name or value is not kept at all.
CACHE_LIMIT = 2048
_CACHED_NAME_LIMIT = 64
CACHED_VALUE_LIMIT = 1024


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
        or TOKEN_BYTES.fullmatch(lower) is None
        or (b"_" in lower and (not keep_underscores or lower.replace(b"_", b"-") in _ALIASED))
    ):
        key = ""
    else:
        key = "HTTP_" + lower.decode("ascii").upper().replace("-", "_")
    return key


def _remember(cache: dict[_Name, _Known], name: _Name, known: _Known) -> None:
    if len(name) <= _CACHED_NAME_LIMIT:
        if len(cache) >= CACHE_LIMIT:
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


# Request headers whose values repeat from request to request: what they become is remembered, a few
# values a name. Others (cookies, tokens, validators) differ each time, and some are secrets that ought
# not to linger.
REPEATING_REQUEST = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"content-type",
        b"dnt",
        b"host",
        b"pragma",
        b"priority",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"te",
        b"upgrade-insecure-requests",
        b"user-agent",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-requested-with",
    }
)
_KNOWN_VALUES_LIMIT = 128
_KNOWN_VALUE_LIMIT = 256

# Environ key -> the pairs of that header that are known, by its value in the environ. There is one for ""
# always, which holds the name. A key that is no header has none at all. A plain dict: a subclass with
# __missing__ takes twice as long to look things up.
_Pairs: TypeAlias = "dict[str, tuple[bytes, bytes]]"
_known_headers: dict[str, _Pairs] = {}
# Two headers that are read on their own. Their keys are not mapped, so that none comes twice.
_known_single = {"HTTP_HOST": {"": (b"host", b"")}, "CONTENT_TYPE": {"": (b"content-type", b"")}}

# What is read on its own, is no part of the request (S-11), or imitates what is read.
_NOT_MAPPED = frozenset({"host", "content-type", "content-length", "proxy"})


def scope_name(key: str) -> bytes:
    """The name of the request header under an environ key; `b""` if it is none that is mapped.

    Not mapped are `HTTP_PROXY` (S-11), names that are no token (S-12), `HTTP_HOST`, and
    `HTTP_CONTENT_TYPE` and `HTTP_CONTENT_LENGTH`, which only imitate the real ones (S-09).
    """
    if key[:5] != "HTTP_" or TOKEN.fullmatch(key) is None:
        return b""
    name = key[5:].lower().replace("_", "-")
    return b"" if name in _NOT_MAPPED else name.encode("ascii")


def scope_headers(environ: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    """The headers of a request, in the order of its environ, `Host` first and `Content-Type` last.

    `Content-Length` is not among them, since it has to be checked: see `content_length`. What no
    header can be is left out: values that are no str, or hold CR, LF or NUL (S-10, S-12).
    """
    known_headers = _known_headers
    headers: list[tuple[bytes, bytes]] = []
    try:
        if "HTTP_HOST" in environ:
            pair = _single_pair("HTTP_HOST", environ["HTTP_HOST"])
            if pair is not None:
                headers.append(pair)
        for key in environ:
            try:
                known = known_headers[key]
            except KeyError:
                known = _known_pairs(key)
            if known:
                pair = known.get(environ[key])
                if pair is None:
                    pair = _new_pair(known_headers, key, known, environ[key])
                    if pair is None:
                        continue
                headers.append(pair)
        if environ.get("CONTENT_TYPE"):
            pair = _single_pair("CONTENT_TYPE", environ["CONTENT_TYPE"])
            if pair is not None and pair[1]:
                headers.append(pair)
    except TypeError:  # a key that is no str, or a value that is not even hashable
        return scope_headers(
            {key: value for key, value in environ.items() if isinstance(key, str) and isinstance(value, str)}
        )
    return headers


def _single_pair(key: str, value: Any) -> tuple[bytes, bytes] | None:
    known = _known_single[key]
    return known.get(value) or _new_pair(_known_single, key, known, value)


def _known_pairs(key: str) -> _Pairs:
    """What is known of a key that is met for the first time: its name, if it is a header."""
    name = scope_name(key)
    known: _Pairs = {"": (name, b"")} if name else {}
    _remember(_known_headers, key, known)
    return known


def _new_pair(
    known_headers: dict[str, _Pairs], key: str, known: _Pairs, value: object
) -> tuple[bytes, bytes] | None:
    """The pair for a value that is not known; `None` if no header can have it."""
    if not isinstance(value, str) or (not value.isprintable() and _BAD_REQUEST_VALUE.search(value)):
        return None
    name = known[""][0]
    trimmed = value if value.strip() is value else value.strip(" \t")
    pair = (name, trimmed.encode() if trimmed.isascii() else wsgi_bytes(trimmed))
    # Exact types only, since the key lives on: a subclass of str may hold on to much more.
    if name in REPEATING_REQUEST and type(value) is str and len(value) <= _KNOWN_VALUE_LIMIT:
        if len(known) < _KNOWN_VALUES_LIMIT:
            known[value] = pair
        else:
            # A new dict, because another thread may be about to look up the name in the old one.
            known_headers[key] = {"": known[""], value: pair}
    return pair


def content_length(digits: str) -> int:
    """The number that a request announces as the length of its body.

    Raises:
        BadRequest: it is not ASCII digits (E-34, A-07), or more of them than Python takes.
    """
    if not (digits.isascii() and digits.isdigit()):
        raise BadRequest("the request's Content-Length is not a number of ASCII digits")
    try:
        return int(digits)
    except ValueError:  # more digits than sys.set_int_max_str_digits() allows
        raise BadRequest("the request's Content-Length is absurdly long") from None


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
REPEATING = frozenset(
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
        and name.lower() in REPEATING
        and len(value) <= CACHED_VALUE_LIMIT
    ):
        if len(_pair_cache) >= CACHE_LIMIT:
            _pair_cache.clear()
        _pair_cache[pair] = encoded
    return encoded
