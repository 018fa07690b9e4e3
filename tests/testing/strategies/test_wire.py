"""Strategies for requests: what they make is lawful, the odd things are among it, options narrow it."""

from __future__ import annotations

import email
import json
import re
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from bridge.exceptions import UsageError
from bridge.testing import Request
from bridge.testing.strategies import (
    bodies,
    chunkings,
    contents,
    headers,
    paths,
    queries,
    requests,
)
from bridge.testing.strategies.wire import CONTENT_KINDS, DEFAULT_METHODS, _is_no_dot_segment

FEW = settings(max_examples=20)
# Enough that each kind of thing is among them.
MANY = 200
FRAMING = {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade", "trailer"}
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")


def is_utf8(escaped: str) -> bool:
    try:
        unquote_to_bytes(escaped).decode()
    except UnicodeDecodeError:
        return False
    return True


def sample(strategy: st.SearchStrategy[Any], count: int = MANY) -> list[Any]:
    """What a strategy makes, in the order of hypothesis."""
    made: list[Any] = []

    @settings(max_examples=count, phases=[Phase.generate])
    @given(value=strategy)
    def collect(value: Any) -> None:
        made.append(value)

    collect()
    return made


@pytest.fixture(scope="module")
def many_paths() -> list[str]:
    return sample(paths(), 3 * MANY)


@pytest.fixture(scope="module")
def many_headers() -> list[Any]:
    return sample(headers())


@pytest.mark.parametrize(
    ("strategy", "simplest"),
    [
        (paths(), "/"),
        (queries(), ""),
        (headers(), ()),
        (bodies(), b""),
        (chunkings(b"abc"), (b"abc",)),
        (requests(), Request()),
        (requests(targets=["/b", "/a"]), Request("GET", "/b")),
    ],
    ids=["paths", "queries", "headers", "bodies", "chunkings", "requests", "targets"],
)
def test_they_shrink_to_the_simplest(strategy: st.SearchStrategy[Any], simplest: Any) -> None:
    # Without the phase that explains, which is slow.
    quick = settings(phases=[Phase.generate, Phase.shrink])
    assert find(strategy, lambda _: True, settings=quick) == simplest


@FEW
@given(path=paths(), query=queries())
def test_targets_stand_as_they_are_in_a_request_line(path: str, query: str) -> None:
    """`Request` would escape what may not stand there."""
    target = f"{path}?{query}"
    assert Request("GET", target).target == target
    assert target.isascii()


@pytest.mark.parametrize(
    "condition",
    [
        lambda path: not is_utf8(path),
        lambda path: is_utf8(path) and "%C3" in path.upper(),
        lambda path: "%2F" in path,
        lambda path: "//" in path,
        lambda path: path.startswith("//"),
        lambda path: path.endswith("/") and len(path) > 1,
        lambda path: ";" in path,
        lambda path: "/.." in path,
        lambda path: "%2e" in path,
        lambda path: "%00" in path,
        lambda path: "%25" in path,
        lambda path: len(path) > 250,
    ],
    ids=[
        "bad-utf8",
        "utf8",
        "slash",
        "empty-segment",
        "two-at-once",
        "trailing",
        "semicolon",
        "dots",
        "escaped-dots",
        "nul",
        "percent",
        "long",
    ],
)
@pytest.mark.xdist_group("paths of the strategies")
def test_paths_have_what_apps_get_wrong(many_paths: list[str], condition: Callable[[str], bool]) -> None:
    assert any(map(condition, many_paths))


@pytest.mark.parametrize(
    ("narrow", "unwanted"),
    [
        (paths(utf8=True), lambda path: not is_utf8(path)),
        (
            paths(dots=False),
            lambda path: {".", ".."} & {unquote_to_bytes(each).decode("latin-1") for each in path.split("/")},
        ),
        (paths(empty=False), lambda path: "//" in path or (path.endswith("/") and path != "/")),
        (paths(max_segments=1), lambda path: path.count("/") > 1),
        (queries(lawful=True), lambda query: query and not parse_qsl(query, True, True)),
        (queries(max_pairs=1, lawful=True), lambda query: "&" in query),
        (headers(max_count=1), lambda pairs: len(pairs) > 1),
        (headers(names=["X-A"]), lambda pairs: {name for name, _ in pairs} - {"X-A"}),
        (headers(), lambda pairs: any("_" in name for name, _ in pairs)),
        (headers(), lambda pairs: {name.lower() for name, _ in pairs} & FRAMING),
        (headers(names=["Authorization", "authorization"]), lambda pairs: len(pairs) > 1),
        (chunkings(b"abc", empty=False), lambda pieces: b"" in pieces),
        (chunkings(b"abcdef", max_pieces=2), lambda pieces: len(pieces) > 2),
        (requests(methods=["PUT"]), lambda request: request.method != "PUT"),
        (requests(with_body=False), lambda request: request.content),
        (requests(with_body=True), lambda request: not request.content),
        (requests(chunked=True), lambda request: request.content and isinstance(request.body, bytes)),
        (requests(chunked=False), lambda request: isinstance(request.body, tuple)),
        (
            requests(with_body=True, headers=st.just((("content-type", "x"),))),
            lambda request: [name.lower() for name, _ in request.headers].count("content-type") != 1,
        ),
        (requests(queries=st.just("a")), lambda request: request.query != "a"),
        (requests(paths=st.just("/p")), lambda request: request.path != "/p"),
        (requests(headers=st.just((("A", "1"),)), with_body=False), lambda one: one.headers != (("A", "1"),)),
        (
            requests(with_body=True, contents=st.just((b"c", ""))),
            lambda request: request.content != b"c" or request.header("content-type") not in (None, "x"),
        ),
    ],
    ids=[
        "paths-utf8",
        "paths-dots",
        "paths-empty",
        "paths-segments",
        "queries-lawful",
        "queries-pairs",
        "headers-count",
        "headers-names",
        "headers-underscores",
        "headers-framing",
        "headers-once",
        "chunkings-empty",
        "chunkings-pieces",
        "methods",
        "no-body",
        "body",
        "chunked",
        "not-chunked",
        "one-type",
        "query",
        "path",
        "headers",
        "content",
    ],
)
def test_options_narrow(narrow: st.SearchStrategy[Any], unwanted: Callable[[Any], object]) -> None:
    assert [value for value in sample(narrow, 15) if unwanted(value)] == []


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("..", False),
        (".", False),
        ("%2e%2E", False),
        (".%2e", False),
        ("a.", True),
        ("..b", True),
        ("%2F", True),
    ],
)
def test_dot_segments_are_known_in_any_writing(segment: str, expected: bool) -> None:
    assert _is_no_dot_segment(segment) is expected


@FEW
@given(pairs=headers())
def test_headers_are_lawful(pairs: tuple[tuple[str, str], ...]) -> None:
    for name, value in pairs:
        assert TOKEN.fullmatch(name)
        assert VALUE.fullmatch(value)


@pytest.mark.parametrize(
    "condition",
    [
        lambda pairs: len({name.lower() for name, _ in pairs}) < len(pairs),
        lambda pairs: sum(name.lower() == "cookie" for name, _ in pairs) > 1,
        lambda pairs: (
            any(name != name.lower() for name, _ in pairs) and any(name == name.lower() for name, _ in pairs)
        ),
        lambda pairs: any(not value.isascii() for _, value in pairs),
        lambda pairs: any(value == "" for _, value in pairs),
        lambda pairs: any("\t" in value for _, value in pairs),
        lambda pairs: any(not set(name) <= {*string.ascii_letters, "-"} for name, _ in pairs),
        lambda pairs: any(name == "Accept" for name, _ in pairs),
    ],
    ids=["repeated", "cookies", "case", "latin-1", "empty", "tab", "odd-name", "accept"],
)
@pytest.mark.xdist_group("headers of the strategies")
def test_headers_have_what_apps_get_wrong(many_headers: list[Any], condition: Callable[[Any], bool]) -> None:
    assert any(map(condition, many_headers))


def test_headers_with_an_underscore_come_on_request() -> None:
    assert any("_" in name for pairs in sample(headers(underscores=True), 60) for name, _ in pairs)


def parses_as_json(body: bytes, kind: str) -> object:
    assert kind == "application/json"
    json.loads(body)
    return True


def parses_as_form(body: bytes, kind: str) -> object:
    assert kind == "application/x-www-form-urlencoded"
    return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)


def parses_as_multipart(body: bytes, kind: str) -> object:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    assert message.is_multipart()
    assert not message.defects
    return message.get_payload()


def decodes(body: bytes, kind: str) -> object:
    plain, _, encoding = kind.partition("; charset=")
    assert plain == "text/plain"
    return body.decode(encoding)


def is_binary(body: bytes, kind: str) -> object:
    assert kind == "application/octet-stream"
    return body


PARSERS = {
    "bytes": is_binary,
    "json": parses_as_json,
    "form": parses_as_form,
    "multipart": parses_as_multipart,
    "text": decodes,
}


@pytest.mark.parametrize("kind", CONTENT_KINDS)
def test_contents_are_what_their_type_says(kind: str) -> None:
    @settings(max_examples=25)
    @given(content=contents([kind]))
    def check(content: tuple[bytes, str]) -> None:
        assert content[0]
        assert PARSERS[kind](*content)

    check()


@FEW
@given(data=st.data(), body=st.binary(max_size=12))
def test_chunkings_are_the_body(data: st.DataObject, body: bytes) -> None:
    assert b"".join(data.draw(chunkings(body))) == body


def test_chunkings_have_empty_pieces() -> None:
    assert any(b"" in pieces and len(pieces) > 2 for pieces in sample(chunkings(b"abc"), 100))


@pytest.mark.parametrize(
    ("template", "method", "pattern"),
    [
        ("/notes", None, "/notes"),
        ("/notes/{id}", None, "/notes/[^/]+"),
        ("/notes/{id:int}/tags", None, "/notes/[0-9]+/tags"),
        ("/notes/<int:id>", None, "/notes/[0-9]+"),
        ("/notes/<id>", None, "/notes/[^/]+"),
        ("/notes/<string(length=2):id>", None, "/notes/[^/]+"),
        ("/at/{x:float}", None, r"/at/[0-9]+\.[0-9]{3}"),
        ("/of/<uuid:key>", None, "/of/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("/files/{rest:path}", None, "/files/[^/]+(/[^/]+)*"),
        ("/{a}/{b}", None, "/[^/]+/[^/]+"),
        ("DELETE /notes/{id}", "DELETE", "/notes/[^/]+"),
        ("/notes?page={n:int}", None, "/notes"),
    ],
)
def test_targets_are_filled_in(template: str, method: str | None, pattern: str) -> None:
    """As Flask, Starlette, FastAPI and OpenAPI write them."""
    methods = set()

    @FEW
    @given(request=requests(targets=[template], headers=st.just(()), with_body=False))
    def check(request: Request) -> None:
        assert re.fullmatch(pattern, request.path), request.path
        methods.add(request.method)

    check()
    assert methods == {method} if method else len(methods) > 1
    assert methods <= set(DEFAULT_METHODS)


def test_a_query_in_a_target_stands() -> None:
    made = sample(requests(targets=["/notes?page={n:int}"]), 15)
    assert all(re.fullmatch("page=[0-9]+", request.query) for request in made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: requests(targets=["/"], paths=paths()), "targets and paths exclude each other"),
        (lambda: requests(targets=[]), "got none"),
        (lambda: requests(methods=[]), "got none"),
        (lambda: requests(targets="/notes"), r'\["/notes/\{id\}"\]'),
        (lambda: headers(names=[]), "got none"),
        (lambda: contents(["jpeg"]), "bytes, json, form, multipart, text; got .*jpeg"),
        (lambda: contents([]), "got none"),
        (lambda: chunkings(b"", max_pieces=0), "at least 1"),
    ],
    ids=["both", "no-target", "no-method", "text", "no-name", "kind", "no-kind", "no-piece"],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
