"""What HTTP asks of header fields, as pure checks over pairs of bytes.

Both validators use them: ASGI has its headers as bytes already, WSGI's `str` are encoded as latin-1
first. Each check yields a `Broken` for every rule that a pair breaks, and nothing for good headers. The
names of the rules are relative (`name/token`): the caller puts before them what the headers belong to.

A value may hold a secret, so what came is told without it: the name of the header, and which byte is
wrong where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["MUST", "SHOULD"]
Pair: TypeAlias = "tuple[bytes, bytes]"


class Broken(NamedTuple):
    """A rule that was broken, before it is known by whom and when.

    `rule`, `clause`, `expected`, `came` and `level` are those of `violations.Violation`.
    """

    rule: str
    clause: str
    expected: str
    came: str
    level: Level = "MUST"

    def under(self, prefix: str) -> Broken:
        """The same, its rule put below `prefix`."""
        return self._replace(rule=f"{prefix}/{self.rule}")


# Longer texts hide what a message has to say.
_SHOWN = 120

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# One search tells that a value is good; which rule it breaks is asked only if it is not.
_SUSPICIOUS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[ \t]|[ \t]\Z")
_SPLITTING = re.compile(rb"[\r\n\x00]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(rb"[0-9]+")

_BYTE_NAMES = {b"\r": "a CR", b"\n": "a LF", b"\x00": "a NUL"}

CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
"""Fields that belong to one connection (RFC 9110 7.6.1), and so to the server."""

# RFC 9110 6.5.1: what a recipient needs before the content, or uses to find its end.
_NOT_IN_TRAILERS = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"set-cookie",
        b"trailer",
        b"transfer-encoding",
    }
)


def shortened(value: object) -> str:
    """The `repr` of a value, cut if it is long; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ must not hide what is wrong
        text = f"<{type(value).__name__}, whose repr() raises {type(error).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def field_rules(pairs: Iterable[Pair]) -> Iterator[Broken]:
    """What every field owes: a token as its name, a value that cannot split a message.

    Rules: `name/pseudo`, `name/token`, `value/splitting`, and as SHOULD `value/control` and
    `value/white-space`. The letter case of names is left open; see `lower_case_rules`.
    """
    for name, value in pairs:
        if name[:1] == b":":
            yield Broken(
                "name/pseudo",
                "RFC 9113 8.3",
                "no pseudo-header: they belong to the server",
                shortened(name),
            )
        elif _TOKEN.fullmatch(name) is None:
            yield Broken(
                "name/token",
                "RFC 9110 5.1 and 5.6.2",
                "a header name of letters, digits and !#$%&'*+-.^_`|~",
                shortened(name),
            )
        if _SUSPICIOUS.search(value) is not None:
            yield from _value_rules(name, value)


def _value_rules(name: bytes, value: bytes) -> Iterator[Broken]:
    splitting = _SPLITTING.search(value)
    control = _CONTROL.search(value)
    if splitting is not None:
        yield Broken(
            "value/splitting",
            "RFC 9110 5.5",
            "a header value without CR, LF and NUL",
            f"{_BYTE_NAMES[splitting.group()]} at index {splitting.start()} of the value of "
            f"{shortened(name)}",
        )
    elif control is not None:
        yield Broken(
            "value/control",
            "RFC 9110 5.5",
            "a header value without control characters, except tabs inside",
            f"{control.group()!r} at index {control.start()} of the value of {shortened(name)}",
            "SHOULD",
        )
    if value.strip(b" \t") != value:
        side = "start" if value[:1] in (b" ", b"\t") else "end"
        yield Broken(
            "value/white-space",
            "RFC 9110 5.5",
            "a header value without white space around it",
            f"white space at the {side} of the value of {shortened(name)}",
            "SHOULD",
        )


def lower_case_rules(pairs: Iterable[Pair], clause: str, level: Level = "MUST") -> Iterator[Broken]:
    """Whether names are in lower case (`name/lower-case`), as `clause` asks."""
    for name, _ in pairs:
        if name != name.lower():
            yield Broken(
                "name/lower-case", clause, f"{shortened(name.lower())}, in lower case", shortened(name), level
            )


def connection_rules(pairs: Iterable[Pair], clause: str, level: Level) -> Iterator[Broken]:
    """Whether a field that belongs to the connection is among them (`connection-specific`)."""
    for name, _ in pairs:
        if name.lower() in CONNECTION_SPECIFIC:
            yield Broken(
                "connection-specific",
                clause,
                "no header that belongs to the connection: it is the server's",
                shortened(name),
                level,
            )


def content_length_rules(pairs: Iterable[Pair]) -> Iterator[Broken]:
    """Whether the `Content-Length` is one number.

    Rules: `content-length/digits`, `content-length/differing`, and as SHOULD `content-length/repeated`.
    """
    values = [value for name, value in pairs if name.lower() == b"content-length"]
    for value in values:
        if _DIGITS.fullmatch(value) is None:
            yield Broken(
                "content-length/digits", "RFC 9110 8.6", "a Content-Length of digits only", shortened(value)
            )
    if len(set(values)) > 1:
        yield Broken(
            "content-length/differing", "RFC 9110 8.6", "one Content-Length", f"{len(values)} that differ"
        )
    elif len(values) > 1:
        yield Broken(
            "content-length/repeated",
            "RFC 9110 8.6",
            "one Content-Length",
            f"{len(values)} that are equal",
            "SHOULD",
        )


def content_length(pairs: Iterable[Pair]) -> int | None:
    """The announced length of a body in bytes; `None` if there is none, or none that can be trusted."""
    values = {value for name, value in pairs if name.lower() == b"content-length"}
    if len(values) != 1:
        return None
    value = values.pop()
    try:
        return int(value) if _DIGITS.fullmatch(value) is not None else None
    except ValueError:  # more digits than sys.set_int_max_str_digits() allows
        return None


def trailer_rules(pairs: Iterable[Pair]) -> Iterator[Broken]:
    """Whether a trailer field comes too late to be of use, or is dangerous there (`name/trailer`)."""
    for name, _ in pairs:
        if name.lower() in _NOT_IN_TRAILERS:
            yield Broken(
                "name/trailer",
                "RFC 9110 6.5.1",
                "no trailer that frames, routes or describes the content",
                shortened(name),
            )


def may_have_content(status: int) -> bool:
    """Whether a response of this status may have a body (RFC 9110 15.2, 15.3.5, 15.4.5)."""
    return status >= 200 and status not in (204, 304)
