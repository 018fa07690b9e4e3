"""Two responses: what of them a client would notice."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.testing.comparison.differences import differences, effect_differences
from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Request, Response

OK = Response(200, "OK", (("Content-Type", "text/plain"),), (b"hello",))
NOTHING = Response(0, error=ValueError("no"))
BROKEN = replace(OK, chunks=(b"he",), error=ValueError("late"))


def kinds(old: Response, new: Response, rules: Rules | None = None, **options: Any) -> list[str]:
    return [each.kind for each in differences(old, new, rules, **options)]


def length(value: str | None, body: bytes = b"", status: int = 200) -> Response:
    headers = () if value is None else (("Content-Length", value),)
    return Response(status, headers=headers, chunks=(body,) if body else ())


def moved(location: str, **options: Any) -> Response:
    return Response(302, headers=(("Location", location),), **options)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (OK, OK, []),
        (OK, replace(OK, chunks=(b"he", b"", b"llo"), elapsed=9.0), []),
        (OK, replace(OK, status=404), ["status"]),
        (OK, replace(OK, reason="Fine"), []),
        (OK, replace(OK, trailers=(("X-Sum", "1"),)), ["trailer/extra"]),
        (OK, NOTHING, ["error/raised"]),
        (NOTHING, OK, ["error/not-raised"]),
        (NOTHING, Response(0, error=ValueError("no")), []),
        (NOTHING, Response(0, error=ValueError("yes")), ["error/message"]),
        (NOTHING, Response(0, error=KeyError("no")), ["error/type"]),
        (OK, BROKEN, ["incomplete"]),
        (BROKEN, OK, ["incomplete"]),
        (BROKEN, replace(BROKEN, status=500), ["status"]),
        (BROKEN, replace(BROKEN, chunks=(b"hel",)), ["text"]),
        (BROKEN, replace(BROKEN, error=ValueError("early")), ["error/message"]),
        (BROKEN, NOTHING, ["incomplete"]),
        (NOTHING, BROKEN, ["incomplete"]),
        (Response(0), Response(0), []),
        (OK, Response(0), ["error/raised"]),
        (moved("/a"), moved("/b"), ["redirect"]),
        (moved("/a"), Response(302), ["header/missing"]),
    ],
)  # fmt: skip
def test_what_differs(old: Response, new: Response, expected: list[str]) -> None:
    assert kinds(old, new) == expected


def test_errors_are_told_in_words() -> None:
    assert differences(OK, NOTHING) == [
        Difference("error/raised", "exception", "200, complete with 5 bytes", "ValueError: no")
    ]
    assert differences(OK, BROKEN) == [
        Difference(
            "incomplete", "body", "200, complete with 5 bytes", "200, then ValueError: late after 2 bytes"
        )
    ]
    assert differences(OK, Response(0, error=KeyError()))[0].new == "KeyError"


def test_no_response_at_all_is_told() -> None:
    assert differences(OK, Response(0)) == [Difference("error/raised", "response", 200, ABSENT)]


def test_the_reason_counts_if_asked() -> None:
    assert kinds(OK, replace(OK, reason="Fine"), Rules().exact_reason()) == ["reason"]


def test_messages_pass_the_rules() -> None:
    """Such as addresses of objects."""
    one, other = (Response(0, error=ValueError(f"<object at {at}>")) for at in ("0x7f01", "0x7f02"))
    assert kinds(one, other) == ["error/message"]
    assert kinds(one, other, Rules().ignore_text("0x[0-9a-f]+")) == []

    def fail(found: object) -> str:
        raise LookupError("x")

    assert kinds(one, other, Rules().normalise_text("0x", fail)) == ["rule/failed"]


@pytest.mark.parametrize(
    ("old", "new", "method", "expected"),
    [
        (length("5", b"hello"), length(None, b"hello"), "GET", []),
        (length("5", b"hello"), length("7", b"hello"), "GET", ["body/length"]),
        (length("7", b"hello"), length("7", b"hello"), "GET", []),
        (length("5"), length("5"), "HEAD", []),
        (length("5"), length("6"), "HEAD", ["header/value"]),
        (length("5"), length(None), "HEAD", ["header/missing"]),
        (length("5"), length("5", b"hello"), "HEAD", ["body/extra"]),
        (length("5", status=304), length("6", status=304), "GET", ["header/value"]),
        (length(None, status=204), length("0", status=204), "GET", ["header/extra"]),
        (length("0"), length(None), "GET", []),
    ],
)
def test_content_length_is_metadata_without_a_body_and_a_claim_with_one(
    old: Response, new: Response, method: str, expected: list[str]
) -> None:
    request = Request(method, "/")
    assert kinds(old, new, request=request) == expected
    assert kinds(old, new, Rules().ignore_header("Content-Length"), request=request) == [
        each for each in expected if each == "body/extra"
    ]


def test_exact_headers_compare_lengths_as_headers() -> None:
    exact = Rules().exact_headers()
    assert kinds(length("5", b"hello"), length(None, b"hello"), exact) == ["header/missing"]
    lower = Response(200, headers=(("content-length", "5"),), chunks=(b"hello",))
    assert kinds(length("5", b"hello"), lower, exact) == ["header/case"]


@pytest.mark.parametrize(
    ("old", "new", "request_", "bases", "same"),
    [
        ("/b", "b", Request("GET", "/a"), None, True),
        ("/n/b", "b", Request("GET", "/n/a?q"), None, True),
        ("/b", "http://testserver/b", None, None, True),
        ("/b", "http://testserver/b", Request("GET", "//h/a"), None, True),
        ("/b", "http://testserver/b", Request("OPTIONS", "*"), None, True),
        ("b", "http://h/x/b", Request("GET", "/a"), ("http://h/x/", "http://h/x/"), True),
        ("/b", "http://h/b", Request("GET", "/a", (("Host", "h"),)), None, True),
        ("/b", "http://other/b", Request("GET", "/a"), None, False),
        ("http://127.0.0.1:8000/b", "/b", None, ("http://127.0.0.1:8000", "http://testserver"), True),
        ("http://127.0.0.1:8000/b", "/b", None, ("http://127.0.0.1:8001", "http://testserver"), False),
        ("https://h/b", "/b", Request("GET", "/", (("Host", "h"),)), ("https://x", "http://x"), True),
    ],
)
def test_redirects_are_compared_by_where_they_lead(
    old: str, new: str, request_: Request | None, bases: tuple[str, str] | None, same: bool
) -> None:
    options: dict[str, Any] = {"bases": bases} if bases else {}
    assert (kinds(moved(old), moved(new), request=request_, **options) == []) is same


def test_redirects_that_were_followed_are_compared_too() -> None:
    first, second = moved("/a/"), Response(302, headers=(("Location", "b"), ("Set-Cookie", "s=1")))
    old = replace(OK, history=(first, second))
    request = Request("GET", "/a")
    assert kinds(
        old, replace(OK, history=(first, replace(second, headers=(("Location", "/a/b"),)))), request=request
    ) == ["cookie/missing"]
    found = differences(old, replace(OK, history=(first,)), request=request)
    assert found == [Difference("redirect/count", "redirects", ["302 /a/", "302 b"], ["302 /a/"])]
    found = differences(old, replace(OK, history=(moved("/c/"), second)), request=request)
    # The second one is relative to where the first one led.
    assert [(each.kind, each.where) for each in found] == [
        ("redirect", "redirect 1: Location"), ("redirect", "redirect 2: Location")
    ]  # fmt: skip
    assert [each.detail for each in found] == ["", "/a/b and /c/b"]


def test_rules_for_some_requests_are_found() -> None:
    rules = Rules().for_request("/a", Rules().ignore_header("X-A"))
    new = replace(OK, headers=(*OK.headers, ("X-A", "1")))
    assert kinds(OK, new, rules, request=Request("GET", "/a")) == []
    assert kinds(OK, new, rules, request=Request("GET", "/b")) == ["header/extra"]


def test_the_moment_of_a_cookie_is_that_of_its_response() -> None:
    date = "Tue, 14 Nov 2023 00:00:00 GMT"
    old = Response(200, headers=(("Date", date), ("Set-Cookie", f"a=; Expires={date}")))
    new = Response(200, headers=(("Date", date), ("Set-Cookie", "a=; Max-Age=0")))
    assert kinds(old, new) == []


def test_effects_are_compared_like_json() -> None:
    assert effect_differences({"n": [1]}, {"n": [1]}, Rules()) == []
    assert effect_differences({"n": [1]}, {"n": []}, Rules()) == [
        Difference("effects/length", "$.n", 1, 0), Difference("effects/missing", "$.n[0]", 1, ABSENT)
    ]  # fmt: skip
    assert effect_differences({"n": 1}, {"n": 2}, Rules().ignore_json("$.n")) == []


BODIES = st.binary(max_size=60) | st.sampled_from(
    [
        b'{"a": [1, {"b": null}]}',
        b'{"a": 1, "a": 2}',
        b"[1e999, NaN]",
        b'"\\ud800"',
        b"<p>a<b>c",
        b"<![foo[",
        b"<a><b/></a>",
        b"\xff\xfea\0",
        b"a=1&b=%ff",
        gzip.compress(b"{}", mtime=0),
        b"--b\r\n\r\nx\r\n--b--\r\n",
        b"[" * 3000,
    ]
)
HEADER = st.one_of(
    st.tuples(
        st.just("Content-Type"),
        st.sampled_from(
            [
                "application/json",
                "text/html; charset=utf-16",
                "text/xml",
                "multipart/x; boundary=b",
                "image/png",
                "application/x-www-form-urlencoded",
                "text/plain; charset=hex",
                "application/x-ndjson",
                ";;=",
                "",
            ]
        ),
    ),
    st.tuples(
        st.just("Content-Encoding"), st.sampled_from(["gzip", "deflate", "br", "gzip, deflate", ",", ""])
    ),
    st.tuples(
        st.sampled_from(["Set-Cookie", "Location", "Vary", "Expires", "Content-Length", "Date", "X-A"]),
        st.text(st.characters(max_codepoint=255), max_size=20)
        | st.sampled_from(["//[", "a=1; Expires=x", "5"]),
    ),
)
ERRORS = st.none() | st.sampled_from([ValueError("a"), ValueError("b"), KeyError("a")])
RESPONSES = st.builds(
    Response,
    status=st.sampled_from([200, 204, 302, 304, 500]),
    headers=st.lists(HEADER, max_size=5).map(tuple),
    chunks=st.lists(BODIES, max_size=2).map(tuple),
    trailers=st.lists(HEADER, max_size=1).map(tuple),
    error=ERRORS,
)
RULES = st.sampled_from(
    [
        Rules(),
        Rules.strict(),
        Rules().exact_headers(),
        Rules().exact_body(),
        Rules().unordered("$..*").approx("$..*", 0.5).ignore_json("$.a").ignore_text(r"\d+", headers=True),
        Rules().normalise_json("$..*", str).normalise_header("*", str.lower).normalise_body(bytes.lower),
    ]
)


@given(RESPONSES, RULES)
@settings(max_examples=60)
def test_a_response_is_like_itself(response: Response, rules: Rules) -> None:
    """And like one with other chunks."""
    other = replace(response, chunks=(response.body[:3], response.body[3:]))
    assert differences(response, other, rules) == []


@given(RESPONSES, RESPONSES, RULES, st.sampled_from(["GET", "HEAD"]))
@settings(max_examples=120)
def test_difference_goes_both_ways_and_nothing_breaks_it(
    old: Response, new: Response, rules: Rules, method: str
) -> None:
    request = Request(method, "/a")
    there, back = (differences(*sides, rules, request=request) for sides in ((old, new), (new, old)))
    assert bool(there) == bool(back)
