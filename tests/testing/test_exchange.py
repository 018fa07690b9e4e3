"""Requests and responses as values: what short forms stand for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.testing import Request, Response


@pytest.mark.parametrize(
    ("short", "meant"),
    [
        pytest.param("/", Request(), id="a path"),
        pytest.param("/a?b=c&d=%20", Request("GET", "/a?b=c&d=%20"), id="a path with a query"),
        pytest.param("DELETE /notes/1", Request("DELETE", "/notes/1"), id="method and path"),
        pytest.param("PURGE  /x", Request("PURGE", "/x"), id="an unknown method, two spaces"),
        pytest.param("OPTIONS *", Request("OPTIONS", "*"), id="a star"),
        pytest.param("/with space", Request("GET", "/with%20space"), id="a path with a space"),
        pytest.param(("PUT", "/a"), Request("PUT", "/a"), id="a pair"),
        pytest.param(Request("HEAD", "/x"), Request("HEAD", "/x"), id="a request"),
        pytest.param({"url": "/a"}, Request("GET", "/a"), id="a url"),
        pytest.param({"url": ""}, Request("GET", "/"), id="an empty url"),
        pytest.param({"url": "?a=1"}, Request("GET", "/?a=1"), id="a query only"),
        pytest.param(
            {"url": "/a?x=1", "params": {"y": [2, 3], "z": "ü"}},
            Request("GET", "/a?x=1&y=2&y=3&z=%C3%BC"),
            id="params after a query",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "json": {"b": "é", "c": [1.0, None]}},
            Request(
                "POST",
                "/a",
                (("Content-Type", "application/json"),),
                '{"b":"é","c":[1.0,null]}'.encode(),
            ),
            id="json",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "json": 0},
            Request("POST", "/a", (("Content-Type", "application/json"),), b"0"),
            id="json that is false",
        ),
        pytest.param(
            {
                "method": "POST",
                "url": "/a",
                "json": {},
                "headers": {"content-type": "application/problem+json"},
            },
            Request("POST", "/a", (("content-type", "application/problem+json"),), b"{}"),
            id="a type of one's own",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "data": [("b", "1"), ("b", "2 3")]},
            Request("POST", "/a", (("Content-Type", "application/x-www-form-urlencoded"),), b"b=1&b=2+3"),
            id="a form",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "content": "ü"},
            Request("POST", "/a", (("Content-Type", "text/plain; charset=utf-8"),), "ü".encode()),
            id="text",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "content": bytearray(b"\xff")},
            Request("POST", "/a", (), b"\xff"),
            id="bytes",
        ),
        pytest.param(
            {"method": "POST", "url": "/a", "content": [b"a", b"", b"b"]},
            Request("POST", "/a", (), (b"a", b"", b"b")),
            id="pieces",
        ),
        pytest.param(
            {"url": "/a", "headers": [("X-A", "1"), ("x-a", "2")], "name": "twice"},
            Request("GET", "/a", (("X-A", "1"), ("x-a", "2")), b"", "twice"),
            id="repeated headers and a name",
        ),
    ],
)
def test_short_forms(short: Any, meant: Request) -> None:
    assert Request.of(short) == meant


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        pytest.param(5, "a request is a path", id="a number"),
        pytest.param(("GET", "/a", "b"), "a request is a path", id="three"),
        pytest.param("notes", "a target begins with", id="no slash"),
        pytest.param("http://a/b", "a target begins with", id="a whole URL"),
        pytest.param("GE(T /x", "a method is a token", id="not a method"),
        pytest.param({"method": "GET"}, "needs a url", id="no url"),
        pytest.param({"url": "/", "timeout": 5}, "got timeout", id="an unknown key"),
        pytest.param({"url": "/", "json": {}, "data": {}}, "one body; got data and json", id="two bodies"),
        pytest.param({"url": "/", "content": 5}, "content is bytes", id="a body that is none"),
        pytest.param({"url": "/", "content": ["a"]}, "content is bytes", id="pieces of text"),
    ],
)
def test_what_is_no_request_is_refused_with_a_reason(wrong: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Request.of(wrong)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/ü", "/%C3%BC"),
        ("/%ff/%2F", "/%ff/%2F"),
        ("//a//b/..", "//a//b/.."),
        ("/a;b=c?d=[e]&f='g'", "/a;b=c?d=[e]&f='g'"),
        ("/a\r\nHost: b", "/a%0D%0AHost:%20b"),
        ('/"<>\\^`{|}#', "/%22%3C%3E%5C%5E%60%7B%7C%7D%23"),
    ],
)
def test_a_target_is_such_as_can_be_sent(given: str, sent: str) -> None:
    """Nothing but what is allowed in a request line, and nothing normalised (RFC 9112 section 3.2)."""
    request = Request("GET", given)
    assert request.target == sent
    assert Request("GET", sent) == request


def test_the_parts_of_a_target() -> None:
    request = Request("GET", "/a%2Fb?c=d?e")
    assert (request.path, request.query) == ("/a%2Fb", "c=d?e")
    assert (Request().path, Request().query) == ("/", "")


def test_a_request_says_what_it_is() -> None:
    request = Request("POST", "/a", (("X-A", "1"), ("x-a", "2")), (b"b", b"c"))
    assert request.content == b"bc"
    assert Request(body=b"d").content == b"d"
    assert (request.label, Request(name="first").label) == ("POST /a", "first")
    assert (request.header("X-a"), request.header("y")) == ("1", None)
    assert request.with_headers(("Y", "3")).headers == (("X-A", "1"), ("x-a", "2"), ("Y", "3"))
    assert request.headers == (("X-A", "1"), ("x-a", "2"))


def test_a_response_says_what_it_is() -> None:
    response = Response(200, "OK", (("Set-Cookie", "a=1"), ("set-cookie", "b=2")), (b"a", b"", b"b"))
    assert response.body == b"ab"
    assert response.header("SET-COOKIE") == "a=1"
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert (response.header("Date"), response.all("Date")) == (None, [])
    assert response.complete


@pytest.mark.parametrize(
    "response", [Response(0), Response(0, error=ValueError("a")), Response(200, error=OSError("cut"))]
)
def test_what_came_to_no_end_is_not_complete(response: Response) -> None:
    assert not response.complete
