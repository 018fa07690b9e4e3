"""Bodies: what they are compared as, and what is undone first."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.testing.comparison.bodies import Payload, body_differences, decoded, parts_of, sort_of, undone
from bridge.testing.comparison.headers import content_type
from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Response


def response(body: bytes, kind: str | None = "text/plain", coding: str | None = None) -> Response:
    pairs = (("content-type", kind), ("content-encoding", coding))
    headers = tuple((name, value) for name, value in pairs if value is not None)
    return Response(200, headers=headers, chunks=(body,) if body else ())


def kinds(old: Response, new: Response, rules: Rules | None = None) -> list[str]:
    return [each.kind for each in body_differences(old, new, rules or Rules())]


@pytest.mark.parametrize(
    ("kind", "sort"),
    [
        ("application/json", "json"),
        ("application/problem+json; charset=utf-8", "json"),
        ("text/json", "json"),
        ("application/x-ndjson", "json lines"),
        ("text/html", "html"),
        ("application/xml", "xml"),
        ("image/svg+xml", "xml"),
        ("application/x-www-form-urlencoded", "form"),
        ("multipart/mixed; boundary=a", "multipart"),
        ("multipart/mixed", "binary"),
        ("text/event-stream", "text"),
        ("application/javascript", "text"),
        ("application/octet-stream", "binary"),
    ],
)
def test_the_type_says_how_to_compare(kind: str, sort: str) -> None:
    assert sort_of(Payload(b"x", content_type(kind))) == sort


@pytest.mark.parametrize(
    ("body", "sort"), [("é\n\t\x1b".encode(), "text"), (b"\xff\xfe\xfd", "binary"), (b"a\0b", "binary")]
)
def test_without_a_type_the_body_says_it(body: bytes, sort: str) -> None:
    assert sort_of(Payload(body, content_type(None))) == sort


RAW = zlib.compress(b"hello")[2:-4]


@pytest.mark.parametrize(
    ("body", "coding", "expected"),
    [
        (gzip.compress(b"hello", mtime=0), "gzip", b"hello"),
        (gzip.compress(b"hello", mtime=0), "X-GZip", b"hello"),
        (gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0), "gzip", b"hello"),
        (zlib.compress(b"hello"), "deflate", b"hello"),
        (RAW, "deflate", b"hello"),
        (gzip.compress(zlib.compress(b"hello"), mtime=0), "deflate, gzip", b"hello"),
        (b"hello", "identity", b"hello"),
        (b"\x8b\x02\x80hello\x03", "br", b"\x8b\x02\x80hello\x03"),
        (b"", "gzip", b""),
    ],
)
def test_content_codings_are_undone(body: bytes, coding: str, expected: bytes) -> None:
    assert undone(response(body, coding=coding)) == (expected, "")


@pytest.mark.parametrize(
    ("body", "coding"),
    [(b"hello", "gzip"), (gzip.compress(b"hello", mtime=0)[:-4], "gzip"), (b"hello", "deflate")],
)
def test_a_coding_that_cannot_be_undone_is_told(body: bytes, coding: str) -> None:
    assert undone(response(body, coding=coding))[1].startswith(f"the body is no {coding}: ")


def test_a_broken_coding_is_a_difference_on_one_side() -> None:
    good, bad = response(gzip.compress(b"a", mtime=0), coding="gzip"), response(b"a", coding="gzip")
    assert kinds(good, bad) == kinds(bad, good) == ["body/encoding"]
    assert body_differences(good, bad, Rules())[0].detail.startswith("the new side: ")
    assert kinds(bad, response(b"b", coding="gzip")) == ["body/bytes"]
    assert kinds(bad, bad) == []


CASES: dict[str, tuple[Response, Response, list[str]]] = {
    "equal": (response(b"a"), response(b"a"), []),
    "empty": (response(b""), response(b""), []),
    "missing": (response(b"a"), response(b""), ["body/missing"]),
    "extra": (response(b""), response(b"a"), ["body/extra"]),
    "compressed nothing": (response(b""), response(gzip.compress(b"", mtime=0), coding="gzip"), []),
    "another charset": (
        response("é".encode("latin-1"), "text/plain; charset=latin-1"), response("é".encode()), [],
    ),
    "unknown charset": (response(b"a\xff", "text/plain; charset=no"), response("aÿ".encode()), []),
    "undecodable": (response(b"a\xff"), response(b"a\xfe"), ["text"]),
    "undecodable, not by chance": (response(b"\xff"), response("ÿ".encode()), ["text"]),
    "byte order mark": (
        response(b"\xef\xbb\xbf{}", "application/json"), response(b"{ }", "application/json"), ["body/bom"],
    ),
    "UTF-16": (response("\ufeffé".encode("utf-16-le")), response("\ufeffé".encode("utf-16-be")), []),
    "no JSON": (response(b"{", "application/json"), response(b"{}", "application/json"), ["json/invalid"]),
    "no JSON twice": (response(b"{", "application/json"), response(b"[", "application/json"), ["text"]),
    "deep JSON": (response(b"[" * 99999, "a/b+json"), response(b"[" * 99998, "a/b+json"), ["text"]),
    "JSON lines": (
        response(b'{"a":1}\n{"a":2}\n', "application/x-ndjson"),
        response(b'{"a": 1}\n{"a": 3}', "application/x-ndjson"), ["json/value"],
    ),
    "types of two families": (response(b"{}", "application/json"), response(b"{}", "text/html"), []),
    "text for bytes": (response(b"ab"), response(b"ac", "image/png"), ["body/bytes"]),
    "untyped for typed": (
        response(b'{"a": 1}', "application/json"), response(b'{"a":1}', None), ["text/whitespace"],
    ),
    "HTML in two charsets": (
        response('<meta charset="latin-1"><p>é'.encode("latin-1"), "text/html"),
        response('<meta charset="utf-8"><p>é'.encode(), "text/html"), ["html/attribute"],
    ),
    "XML in two charsets": (
        response("<?xml version='1.0' encoding='latin-1'?><a>é</a>".encode("latin-1"), "text/xml"),
        response("<a>é</a>".encode(), "text/xml"), [],
    ),
    "XML that is not in its charset": (
        response(b"<a>\xe9</a>", "text/xml"), response("<a>é</a>".encode(), "text/xml"), ["xml/invalid"],
    ),
    "broken XML": (response(b"<a>", "text/xml"), response(b"<a/>", "text/xml"), ["xml/invalid"]),
    "form": (response(b"a=1", "application/x-www-form-urlencoded"),
             response(b"a=2", "application/x-www-form-urlencoded"), ["form/value"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bodies_are_compared_as_what_they_are(name: str) -> None:
    old, new, expected = CASES[name]
    assert kinds(old, new) == expected
    assert bool(kinds(new, old)) is bool(expected)


def test_nesting_that_python_can_read_but_not_walk_is_compared_as_text() -> None:
    """No `RecursionError` comes out, and no difference is lost."""
    for depth in (300, 600, 900):
        one, other = (b"[" * depth + each + b"]" * depth for each in (b"1", b"2"))
        found = kinds(response(one, "application/json"), response(other, "application/json"))
        assert found in (["json/value"], ["text"])


def test_exact_bodies_are_bytes_as_they_came() -> None:
    exact = Rules().exact_body()
    one, other = gzip.compress(b"a", mtime=1), gzip.compress(b"a", mtime=2)
    assert kinds(response(one, coding="gzip"), response(other, coding="gzip")) == []
    assert kinds(response(one, coding="gzip"), response(other, coding="gzip"), exact) == ["body/bytes"]
    assert kinds(response(b"a"), response(b""), exact) == ["body/missing"]
    assert kinds(response(b"a1"), response(b"a2"), exact.ignore_text(r"\d")) == ["body/bytes"]


def test_the_same_bytes_in_another_charset_are_another_text() -> None:
    old, new = (
        response(b"\xe9", "text/plain; charset=latin-1"),
        response(b"\xe9", "text/plain; charset=cp437"),
    )
    assert kinds(old, new) == ["text"]


def test_bodies_pass_their_functions_first() -> None:
    rules = Rules().normalise_body(lambda body: body.split(b"|")[0])
    assert kinds(response(b"a|1"), response(b"a|2"), rules) == []
    assert kinds(response(b"a|1"), response(b"|2"), rules) == ["body/missing"]


def test_a_function_that_fails_is_a_difference() -> None:
    (only,) = body_differences(
        response(b"1"), response(b"x"), Rules().normalise_body(lambda body: b"%d" % int(body))
    )
    assert (only.kind, only.where, only.old, only.new) == ("rule/failed", "body", b"1", b"x")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, []),
        ("not alike", [Difference("body/custom", "body", detail="not alike")]),
        ([], []),
        ([Difference("body/mine", "x", 1, 2)], [Difference("body/mine", "x", 1, 2)]),
    ],
)
def test_a_comparer_decides(said: Any, expected: list[Difference]) -> None:
    """It is given the bodies without their content coding."""
    given: list[bytes] = []

    def comparer(old: bytes, new: bytes) -> Any:
        given.extend((old, new))
        return said

    rules = Rules().body("image/*", comparer)
    old, new = response(gzip.compress(b"1", mtime=0), "image/png", "gzip"), response(b"2", "image/png")
    assert body_differences(old, new, rules) == expected
    assert given == [b"1", b"2"]
    assert kinds(response(b"1"), response(b"2"), rules) == ["text"]


@pytest.mark.parametrize("said", [True, False, 3, ["text"]], ids=repr)
def test_a_comparer_that_says_something_else_is_refused(said: Any) -> None:
    rules = Rules().body("text/plain", lambda old, new: said)
    with pytest.raises(UsageError, match="None if the bodies are alike"):
        body_differences(response(b"1"), response(b"2"), rules)


def multipart(boundary: str, *parts: bytes, end: str = "\r\n") -> Response:
    line = f"--{boundary}".encode()
    newline = end.encode()
    body = b"".join(line + newline + each + newline for each in parts) + line + b"--" + newline
    return response(body, f"multipart/form-data; boundary={boundary}")


HEAD = b'Content-Disposition: form-data; name="a"\r\n\r\n'
JSON_HEAD = b"Content-Type: application/json\r\n\r\n"
PARTS: dict[str, tuple[Callable[[str], Response], Callable[[str], Response], list[tuple[str, str]]]] = {
    "alike": (lambda b: multipart(b, HEAD + b"1"), lambda b: multipart(b, HEAD + b"1"), []),
    "a body": (
        lambda b: multipart(b, HEAD + b"1", HEAD + b"2"), lambda b: multipart(b, HEAD + b"1", HEAD + b"3"),
        [("text", "part 2: line 1")],
    ),
    "a header": (
        lambda b: multipart(b, HEAD + b"1"), lambda b: multipart(b, b"\r\n1"),
        [("header/missing", "part 1: Content-Disposition")],
    ),
    "JSON": (
        lambda b: multipart(b, JSON_HEAD + b'{"a": 1}'), lambda b: multipart(b, JSON_HEAD + b'{"a":2}'),
        [("json/value", "part 1: $.a")],
    ),
    "JSON layout": (
        lambda b: multipart(b, JSON_HEAD + b'{"a": 1}'), lambda b: multipart(b, JSON_HEAD + b'{"a":1}'), [],
    ),
    "count": (lambda b: multipart(b, HEAD), lambda b: multipart(b, HEAD, HEAD), [("part/count", "body")]),
    "emptied": (
        lambda b: multipart(b, HEAD + b"1"), lambda b: multipart(b, HEAD), [("body/missing", "part 1: body")],
    ),
    "newlines in a part": (
        lambda b: multipart(b, HEAD + b"a\n\nb"), lambda b: multipart(b, HEAD + b"a\r\n\r\nb"),
        [("text/line-endings", "part 1: line 1")],
    ),
    "no end": (
        lambda b: multipart(b, HEAD), lambda b: response(b"--x\r\n", f"multipart/form-data; boundary={b}"),
        [("body/bytes", "byte 2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_compared_one_by_one(name: str) -> None:
    old, new, expected = PARTS[name]
    found = body_differences(old("one"), new("two"), Rules())
    assert [(each.kind, each.where) for each in found] == expected


def test_parts_are_read_whatever_stands_around_them() -> None:
    kind = content_type("multipart/mixed; boundary=b")
    body = b"preamble\r\n--b  \r\nA: 1\r\nbroken\r\n\r\none\r\n--b\r\n\r\n--bx\r\n--b--\r\nepilogue"
    parts = parts_of(Payload(body, kind))
    assert parts is not None
    assert [(each.headers, each.body) for each in parts] == [((("A", "1"),), b"one"), ((), b"--bx")]
    assert parts_of(Payload(b"--b--", kind)) is None


def test_parts_within_parts_end_somewhere() -> None:
    def nested(depth: int, core: bytes) -> bytes:
        if not depth:
            return core
        line = b"--b%d" % depth
        head = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth - 1)
        return line + b"\r\n" + head + nested(depth - 1, core) + b"\r\n" + line + b"--\r\n"

    old, new = (response(nested(9, core), "multipart/mixed; boundary=b9") for core in (b"1", b"2"))
    (only,) = body_differences(old, new, Rules())
    assert only.kind == "body/bytes"
    assert only.where.count("part 1: ") == 5


@pytest.mark.parametrize(
    ("body", "kind", "text", "marked"),
    [
        (b"a", "text/plain", "a", False),
        (b"\xe9", "text/plain; charset=latin1", "é", False),
        (b"\xef\xbb\xbfa", "text/plain; charset=latin1", "a", True),
        ("a".encode("utf-32"), "text/plain", "a", True),
        (b"a\xff", "text/plain", "a\udcff", False),
        (b"a\xff", "text/plain; charset=ascii", "aÿ", False),
        (b"6162", "text/plain; charset=hex", "6162", False),
    ],
)
def test_text_is_decoded_as_it_says(body: bytes, kind: str, text: str, marked: bool) -> None:
    assert decoded(Payload(body, content_type(kind))) == (text, marked)


def test_an_absent_body_is_not_an_empty_one_in_the_report() -> None:
    (only,) = body_differences(response(b"a"), response(b""), Rules())
    assert (only.old, only.new) == (b"a", ABSENT)
