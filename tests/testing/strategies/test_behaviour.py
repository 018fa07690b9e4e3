"""What generated apps do, told without an interface: the response, and the request as it was seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from support.scopes import http_scope
from support.wsgi_drive import make_environ

from bridge.testing.strategies import Behaviour
from bridge.testing.strategies.behaviour import PARTS, PLAIN, Seen, acts, response_headers

SEEN = Seen("POST", b"/p", b"a=1", (("x-a", "1"),), b"in")


@pytest.mark.parametrize(
    ("does", "seen", "body"),
    [
        (Behaviour(), SEEN, (b"x",)),
        (Behaviour(chunks=(b"a", b"", b"b")), SEEN, (b"a", b"", b"b")),
        (Behaviour(status=204), SEEN, ()),
        (Behaviour(status=304), SEEN, ()),
        (Behaviour(), Seen("HEAD", b"/", b"", ()), ()),
        (Behaviour(reflects=("body",)), SEEN, (b"x", b"body: b'in'")),
        (
            Behaviour(chunks=(), reflects=PARTS),
            SEEN,
            (b"method: 'POST'\npath: b'/p'\nquery: b'a=1'\nheaders: (('x-a', '1'),)\nbody: b'in'",),
        ),
    ],
    ids=["plain", "chunks", "204", "304", "head", "body", "all"],
)
def test_the_body_is_the_chunks_and_what_was_seen(
    does: Behaviour, seen: Seen, body: tuple[bytes, ...]
) -> None:
    assert does.body(seen) == body


@pytest.mark.parametrize(
    ("does", "method", "length"),
    [
        (Behaviour(), "GET", None),
        (Behaviour(length=True, chunks=(b"ab", b"c")), "GET", "3"),
        (Behaviour(length=True, chunks=()), "GET", "0"),
        (Behaviour(length=True, chunks=(), reflects=("method",)), "PUT", str(len(b"method: 'PUT'"))),
        (Behaviour(length=True, status=204), "GET", None),
        (Behaviour(length=True), "HEAD", None),
    ],
    ids=["unasked", "of-chunks", "of-nothing", "of-what-was-seen", "bodiless", "head"],
)
def test_the_length_is_right_or_left_out(does: Behaviour, method: str, length: str | None) -> None:
    assert dict(does.head(Seen(method, b"/", b"", ()))).get("Content-Length") == length


@pytest.mark.parametrize(
    ("status", "line"), [(200, "200 OK"), (404, "404 Not Found"), (599, "599 Unknown"), (299, "299 Unknown")]
)
def test_a_status_line_has_a_phrase(status: int, line: str) -> None:
    assert Behaviour(status=status).status_line == line


@pytest.mark.parametrize(
    ("length", "reflects", "first"),
    [(True, ("body",), True), (True, ("path",), False), (False, ("body",), False)],
)
def test_the_body_is_read_first_if_the_length_hangs_on_it(
    length: bool, reflects: tuple[str, ...], first: bool
) -> None:
    assert Behaviour(length=length, reflects=reflects).reads_first is first


SAME = [
    ("/", {}, b""),
    ("/a%2Fb/%C3%A9", {}, b""),
    ("/%FF?a=%FF&b", {}, b"in"),
    ("/?q=1", {"X-A": "1", "x-b": "\xe9"}, b""),
    ("/", {"Cookie": "a=1; b=2", "Content-Type": "text/plain"}, b"in"),
]


@pytest.mark.parametrize(("target", "headers", "body"), SAME, ids=range(len(SAME)))
def test_a_request_is_seen_alike_through_both_interfaces(
    target: str, headers: dict[str, str], body: bytes
) -> None:
    environ = make_environ("GET", target, body, headers=headers.items())
    raw_path, _, query = target.partition("?")
    scope: dict[str, Any] = http_scope(
        raw_path=raw_path.encode(),
        query_string=query.encode(),
        headers=[
            (b"host", b"h"),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
        ],
    )
    assert Seen.in_environ(environ, body) == Seen.in_scope(scope, body)
    assert len(Seen.in_environ(environ).headers) == len(headers)


def test_repetitions_are_joined_as_an_adapter_would() -> None:
    scope = http_scope(
        headers=[(b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-a", b" 2 "), (b"cookie", b"b=2"), (b"te", b"x")]
    )
    assert Seen.in_scope(scope).headers == (("cookie", "a=1; b=2"), ("x-a", "1,2"))


def test_the_simplest_is_plain() -> None:
    assert find(acts(), lambda _: True, settings=settings(phases=[Phase.generate, Phase.shrink])) == PLAIN


@settings(max_examples=50)
@given(does=acts())
def test_what_is_made_is_lawful(does: Behaviour) -> None:
    assert 200 <= does.status <= 599
    assert set(does.reflects) <= set(PARTS)
    assert repr(does) == repr(eval(repr(does)))


@settings(max_examples=50)
@given(headers=response_headers())
def test_response_headers_may_be_sent(headers: tuple[tuple[str, str], ...]) -> None:
    for _, value in headers:
        value.encode("latin-1")
        assert value == value.strip()
        assert value.isprintable() or not value.isascii()
    assert sum(name.lower() == "content-type" for name, _ in headers) <= 1
