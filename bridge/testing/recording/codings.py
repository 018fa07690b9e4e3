"""Content codings: compressed bodies, decoded with a bound and encoded again (RFC 9110 section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

MAX_DECODED = 16 * 1024 * 1024
"""How many bytes a body may decode to: a few kilobytes of gzip can stand for gigabytes."""

_GZIP = frozenset({"gzip", "x-gzip"})
_ZLIB_OR_RAW = frozenset({"deflate"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class CannotDecode(Exception):
    """The coding is not known here, or the body is not in it."""


def codings_of(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The codings that headers name, in the order in which they were applied; `identity` is left out."""
    named = [
        coding.strip().lower()
        for name, value in headers
        if name.lower() == "content-encoding"
        for coding in value.split(",")
    ]
    return tuple(coding for coding in named if coding not in ("", "identity"))


def decode(data: bytes, codings: tuple[str, ...]) -> tuple[bytes, bool]:
    """The body before it was encoded, and whether it came to its end.

    A body that breaks off is decoded as far as it goes; what exceeds `MAX_DECODED` is left out.

    Raises:
        CannotDecode: a coding other than gzip and deflate, or a body that is in another.
    """
    whole = True
    for coding in reversed(codings):
        data, ended = _decode_one(data, coding)
        whole = whole and ended
    return data, whole


def encode(data: bytes, codings: tuple[str, ...]) -> bytes:
    """The body in these codings, which `decode` knows; equal bodies give equal bytes."""
    for coding in codings:
        # The window in which the format is said; no name and no time come with it.
        window = _GZIP_WINDOW if coding in _GZIP else zlib.MAX_WBITS
        compressor = zlib.compressobj(wbits=window)
        data = compressor.compress(data) + compressor.flush()
    return data


def _decode_one(data: bytes, coding: str) -> tuple[bytes, bool]:
    if coding in _GZIP:
        windows = [_GZIP_WINDOW]
    elif coding in _ZLIB_OR_RAW:
        # Some servers leave out the zlib header (RFC 9110 section 8.4.1.2, note).
        windows = [zlib.MAX_WBITS, -zlib.MAX_WBITS]
    else:
        raise CannotDecode(f"unknown content coding {coding!r}")
    for window in windows:
        try:
            return _inflate(data, window)
        except zlib.error:
            continue
    raise CannotDecode(f"the body is not in the coding {coding!r}")


def _inflate(data: bytes, window: int) -> tuple[bytes, bool]:
    out = bytearray()
    while True:
        inflater = zlib.decompressobj(window)
        out += inflater.decompress(data, MAX_DECODED + 1 - len(out))
        if len(out) > MAX_DECODED:
            return bytes(out[:MAX_DECODED]), False
        if not inflater.eof:
            return bytes(out), not data
        # A gzip body may have several members (RFC 1952 section 2.2).
        data = inflater.unused_data
        if not data or window != _GZIP_WINDOW:
            if data:
                raise zlib.error("something follows the end")
            return bytes(out), True
