"""Every crossing between bytes and str: latin-1 strings, UTF-8 paths, percent escapes, status lines.

WSGI carries bytes as str whose code points are all below 256 (PEP 3333, "Unicode Issues"); ASGI
carries decoded UTF-8 paths beside their raw bytes. Nothing here raises on bytes from the network.
"""

from __future__ import annotations

import re

from ..exceptions import InvalidHeader

REPLACEMENT = "\ufffd"

# What RFC 3986 lets stand unescaped in a path; "%" is not in it, so that a decoded "%" is escaped again.
_PATH_SAFE = "/!$&'()*+,;=:@~"

_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)")

# A status is three digits, alone or followed by a space and a reason (conformance W-08).
_STATUS = re.compile(r"([0-9]{3})(?: .*)?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_status_cache: dict[str, int] = {}
# Applications use a few dozen status lines; the bound only guards against generated ones.
_STATUS_CACHE_LIMIT = 256


def latin1(data: bytes) -> str:
    """The WSGI form of bytes: one character a byte."""
    return data.decode("latin-1")


def path_bytes(path: str) -> bytes:
    """The bytes of an ASGI `path`: UTF-8, where surrogate escapes give back the byte they stand for.

    Other lone surrogates cannot be encoded and become "?", rather than raise.
    """
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path.encode("utf-8", "replace")


def tunnel(path: str) -> str:
    """The WSGI form of a decoded path: its UTF-8 bytes, one latin-1 character each."""
    return path if path.isascii() else path_bytes(path).decode("latin-1")


def wsgi_bytes(value: str) -> bytes:
    """The bytes that a WSGI str stands for; the reverse of `latin1`.

    A str that is no WSGI one, since it holds characters above U+00FF, was most likely decoded by a
    middleware: it becomes UTF-8 rather than raise (S-08).
    """
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return path_bytes(value)


def untunnel(path: str) -> str:
    """The decoded form of a WSGI path, the reverse of `tunnel`; bytes that are no UTF-8 become U+FFFD."""
    return path if path.isascii() else wsgi_bytes(path).decode("utf-8", "replace")


def faithful_path_bytes(path: str, raw_path: bytes | None) -> bytes:
    """The bytes that the client sent for `path`.

    `raw_path` knows bytes that were no UTF-8 and stand as U+FFFD in `path`; it is believed only
    if it decodes to `path`, since a middleware may have rewritten one of the two (E-14, E-15).
    """
    if raw_path is not None and REPLACEMENT in path:
        # Loaded on use, as is its twin below: it brings much with it, and servers and clients that
        # make it needed are rare.
        from urllib.parse import unquote_to_bytes

        raw = unquote_to_bytes(raw_path.partition(b"?")[0])
        if raw.decode("utf-8", "replace") == path:
            return raw
    return path_bytes(path)


def quote_path(path: bytes) -> str:
    """Percent-encode the bytes of a path, leaving what RFC 3986 allows in one."""
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(path, _PATH_SAFE)


def unquote_path(path: bytes) -> bytes:
    """Decode the percent escapes of a path, once; what is no escape stays."""
    if b"%" not in path:
        return path
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path)


def split_absolute_form(target: str) -> tuple[str, str] | None:
    """Split `http://host:port/path` into authority and path; `None` if it is no absolute form."""
    match = _ABSOLUTE_FORM.match(target)
    if match is None:
        return None
    return match.group(1).rpartition("@")[2], target[match.end() :] or "/"


def status_code(status: object) -> int:
    """The code of a WSGI status line such as `"404 Not Found"` or `"404"`; the reason is dropped.

    Raises:
        InvalidHeader: the status is no str, does not begin with three digits and a space, holds
            control characters, or is not a final code (200 to 599). PEP 3333; RFC 9110 section 15.
    """
    code = _status_cache.get(status) if type(status) is str else None
    if code is not None:
        return code
    if not isinstance(status, str):
        raise InvalidHeader(
            f"start_response() expects the status as str, such as '200 OK'; got {type(status).__name__}"
        )
    match = _STATUS.fullmatch(status)
    if match is None or _CONTROL.search(status):
        raise InvalidHeader(
            "start_response() expects a status of three digits, a space and a reason without control "
            f"characters, such as '200 OK'; got {status!r}"
        )
    code = int(match.group(1))
    if not 200 <= code <= 599:
        raise InvalidHeader(
            f"start_response() expects a final status code from 200 to 599; got {code} "
            "(1xx answers are the server's, others are not HTTP)"
        )
    if len(_status_cache) < _STATUS_CACHE_LIMIT:
        _status_cache[str(status)] = code
    return code
