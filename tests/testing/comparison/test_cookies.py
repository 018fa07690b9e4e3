"""Cookies: what they make a browser do."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from bridge.testing.comparison.cookies import Cookie, cookie_differences
from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules

NOW = datetime(2023, 11, 14, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("line", "name", "value", "attributes"),
    [
        ("a=1", "a", "1", {}),
        (" a = 1 ; Path = / ;secure;", "a", "1", {"path": "/", "secure": ""}),
        ('a="x=y"; Path=/; path=/b', "a", '"x=y"', {"path": "/b"}),
        ("a=b, c=d", "a", "b, c=d", {}),
        ("alone", "", "alone", {}),
        ("", "", "", {}),
    ],
)
def test_a_line_is_read(line: str, name: str, value: str, attributes: dict[str, str]) -> None:
    cookie = Cookie.parse(line)
    assert (cookie.name, cookie.value, cookie.attributes) == (name, value, attributes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=1", False),
        ("a=1; Max-Age=0", True),
        ("a=1; Max-Age=1", False),
        ("a=1; Max-Age=-5", True),
        ("a=1; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
        ("a=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        ("a=1; Expires=Tue, 14 Nov 2023 00:00:00 GMT", True),
        ("a=1; Expires=Tue, 14 Nov 2023 00:00:01 GMT", False),
        ("a=1; Expires=soon", False),
    ],
)
def test_a_cookie_may_delete(line: str, expected: bool) -> None:
    assert Cookie.parse(line).deletes(NOW) is expected


def test_without_a_date_only_what_is_long_ago_deletes() -> None:
    assert not Cookie.parse("a=1; Expires=Mon, 13 Nov 2023 00:00:00 GMT").deletes(None)
    assert Cookie.parse("a=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT").deletes(None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (["a=1"], ["a=1"], []),
        (["a=1"], ["A=1"], [("cookie/missing", "a"), ("cookie/extra", "A")]),
        (["a=1; Path=/"], ["a=1; Path=/x"], [("cookie/attribute", "a; Path")]),
        (["a=1; HttpOnly"], ["a=1"], [("cookie/attribute", "a; HttpOnly")]),
        (["a=1; Domain=.Example.org"], ["a=1; domain=example.org"], []),
        (["a=1; SameSite=lax"], ["a=1; SameSite=Lax"], []),
        (["a=1; Priority=High"], ["a=1; Priority=high"], [("cookie/attribute", "a; Priority")]),
        (["a=1", "a=2"], ["a=2", "a=1"], [("cookie/value", "a"), ("cookie/value", "a")]),
        (["a=1", "a=1"], ["a=1"], [("cookie/repeated", "a")]),
        (["a=x; Max-Age=0; Path=/"], ["a=y; Max-Age=0; Path=/b"], [("cookie/attribute", "a; Path")]),
    ],
)
def test_cookies_differ_by_name(old: list[str], new: list[str], expected: list[tuple[str, str]]) -> None:
    assert [(each.kind, each.where) for each in cookie_differences(old, new, Rules())] == expected


def test_it_is_told_which_side_deletes() -> None:
    kept, deleted = ["a=1; Max-Age=60"], ["a=; Max-Age=0"]
    assert cookie_differences(kept, deleted, Rules())[0].detail == "only the new side deletes it"
    assert cookie_differences(deleted, kept, Rules())[0].detail == "only the old side deletes it"


def test_a_flag_is_there_or_absent() -> None:
    assert cookie_differences(["a=1; Secure"], ["a=1"], Rules()) == [
        Difference("cookie/attribute", "a; Secure", True, ABSENT)
    ]


def test_the_moment_of_the_response_tells_what_is_past() -> None:
    """Starlette deletes with an Expires of now; Werkzeug with one of 1970."""
    lines = ["a=; Expires=Tue, 14 Nov 2023 00:00:00 GMT"], ["a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
    assert cookie_differences(*lines, Rules(), (NOW, NOW)) == []
    assert [each.kind for each in cookie_differences(*lines, Rules())] == ["cookie/deleted"]


def test_rules_for_cookies_hold() -> None:
    old, new = ["sid=1; Path=/; Domain=a.org"], ["sid=2; Path=/; Domain=b.org"]
    kinds = [each.kind for each in cookie_differences(old, new, Rules())]
    assert kinds == ["cookie/value", "cookie/attribute"]
    assert cookie_differences(old, new, Rules().ignore_cookie("s*")) == []
    assert cookie_differences(old, new, Rules().ignore_header("Set-Cookie")) == []
    without_domain = cookie_differences(old, new, Rules().ignore_cookie("*; Domain"))
    assert [each.kind for each in without_domain] == ["cookie/value"]
    cleaned = Rules().normalise_header("Set-Cookie", lambda line: line.replace("2", "1").replace("b", "a"))
    assert cookie_differences(old, new, cleaned) == []
    assert cookie_differences(["a=1"], ["a=2"], Rules().ignore_text(r"\d", headers=True)) == []


def test_exact_headers_compare_lines() -> None:
    lines = ["a=1; Path=/; Secure"], ["a=1; Secure; Path=/"]
    assert cookie_differences(*lines, Rules()) == []
    assert [each.kind for each in cookie_differences(*lines, Rules().exact_headers())] == ["cookie/value"]


def test_a_rule_that_fails_is_a_difference() -> None:
    def fail(line: str) -> str:
        raise LookupError(line)

    (only,) = cookie_differences(["a=1"], ["a=1"], Rules().normalise_header("set-cookie", fail))
    assert only.kind == "rule/failed"
