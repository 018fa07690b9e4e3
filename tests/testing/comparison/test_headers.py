"""Headers: their meaning, and what of it differs."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from bridge.testing.comparison.headers import (
    charset_name,
    content_type,
    header_differences,
    http_date,
    resolved,
    values_by_name,
)
from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules

BASE = "http://testserver/notes/1"


def found(
    old: str | None, new: str | None, name: str = "X-A", rules: Rules | None = None
) -> list[Difference]:
    sides = [() if value is None else ((name, value),) for value in (old, new)]
    return header_differences(sides[0], sides[1], rules or Rules(), bases=(BASE, BASE))


@pytest.mark.parametrize(
    ("value", "media_type", "parameters"),
    [
        (None, "", {}),
        ("", "", {}),
        ("Text/HTML", "text/html", {}),
        ("text/html;charset=utf-8", "text/html", {"charset": "utf-8"}),
        ('text/html ; Charset="UTF-8" ; a=b', "text/html", {"charset": "UTF-8", "a": "b"}),
        (r'a/b; x="1;\"2"', "a/b", {"x": '1;"2'}),
        ("a/b; x=1; X=2", "a/b", {"x": "1"}),
        ("a/b; ;=; x", "a/b", {}),
    ],
)
def test_a_content_type_is_read(value: str | None, media_type: str, parameters: dict[str, str]) -> None:
    assert content_type(value) == (media_type, parameters)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("UTF8", "utf-8"),
        ("ISO-8859-1", "iso8859-1"),
        ("Latin1", "iso8859-1"),
        ("No Such", "no such"),
        ("a\0", "a\0"),
    ],
)
def test_spellings_of_a_charset_are_one(given: str, name: str) -> None:
    assert charset_name(given) == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", datetime(2015, 10, 21, 7, 28, tzinfo=timezone.utc)),
        ("Wed, 21-Oct-2015 07:28:00 GMT", datetime(2015, 10, 21, 7, 28, tzinfo=timezone.utc)),
        ("Wed, 21 Oct 2015 09:28:00 +0200", datetime(2015, 10, 21, 7, 28, tzinfo=timezone.utc)),
        ("0", None),
        ("", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_dates_are_read(value: str, expected: datetime | None) -> None:
    assert http_date(value) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a?b#c", "/a?b#c"),
        ("2", "/notes/2"),
        ("../x", "/x"),
        ("", "/notes/1"),
        ("http://testserver/a", "/a"),
        ("HTTP://TestServer:80/a", "/a"),
        ("http://testserver", "/"),
        ("//testserver/a", "/a"),
        ("//other/a", "http://other/a"),
        ("https://testserver/a", "https://testserver/a"),
        ("http://testserver:8080/a", "http://testserver:8080/a"),
        ("http://other", "http://other/"),
        ("http://[broken", "http://[broken"),
        ("mailto:a@b", "mailto:a@b"),
    ],
)
def test_redirects_are_resolved(location: str, expected: str) -> None:
    assert resolved(location, BASE) == expected


def test_each_side_may_redirect_to_its_own_host() -> None:
    sides = ((("Location", "http://127.0.0.1:8000/a"),), (("Location", "http://testserver/a"),))
    bases = ("http://127.0.0.1:8000/", "http://testserver/")
    assert header_differences(*sides, Rules(), bases=bases) == []
    assert header_differences(*sides, Rules(), bases=(bases[0], bases[0])) != []


@pytest.mark.parametrize("name", ["Vary", "Cache-Control", "Access-Control-Allow-Headers", "Accept-Ranges"])
def test_sets_are_compared_as_sets_in_any_case(name: str) -> None:
    assert found("A, b,,c", "C , B,a", name) == []
    assert [each.kind for each in found("a, b", "a", name)] == ["header/value"]


@pytest.mark.parametrize("name", ["Allow", "Access-Control-Allow-Methods"])
def test_methods_have_a_case(name: str) -> None:
    assert found("GET, PUT", "PUT,GET", name) == []
    assert found("GET", "get", name) != []


def test_a_quoted_comma_does_not_end_a_member() -> None:
    assert found('private="a, b", max-age=1', 'max-age=1, private="a, b"', "Cache-Control") == []
    assert found('private="a, b"', 'private="b, a"', "Cache-Control") != []


@pytest.mark.parametrize(
    ("seconds", "rules", "alike"),
    [(4, Rules(), True), (6, Rules(), False), (6, Rules().allow_clock(10), True), (1, Rules.strict(), False)],
)
def test_expires_may_move_with_the_clock(seconds: int, rules: Rules, alike: bool) -> None:
    dates = "Wed, 21 Oct 2015 07:28:00 GMT", f"Wed, 21 Oct 2015 07:28:0{seconds} GMT"
    assert (found(*dates, "Expires", rules) == []) is alike
    assert found(*dates, "Last-Modified", rules) != []


def test_an_expires_that_is_no_date_is_a_value() -> None:
    assert found("0", "0", "Expires") == []
    assert found("0", "-1", "Expires") != []
    assert found("0", "Wed, 21 Oct 2015 07:28:00 GMT", "Expires") != []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("text/plain", "text/html", [Difference("content-type", "Content-Type", "text/plain", "text/html")]),
        ("a/b; charset=utf-8", "a/b", [Difference("charset", "Content-Type", "utf-8", ABSENT)]),
        ("a/b; charset=utf-8", "a/b; charset=x", [Difference("charset", "Content-Type", "utf-8", "x")]),
        ("a/b; v=1", "a/b; v=2", [Difference("header/value", "Content-Type; v", "1", "2")]),
        (
            "a/b; boundary=1",
            "a/b; boundary=2",
            [Difference("header/value", "Content-Type; boundary", "1", "2")],
        ),
        ("multipart/x; boundary=1", "multipart/x; boundary=2", []),
        ("A/B;charset=LATIN1", 'a/b; charset="iso-8859-1"', []),
    ],
)
def test_the_parts_of_a_content_type_differ_apart(old: str, new: str, expected: list[Difference]) -> None:
    assert found(old, new, "Content-Type") == expected


def test_exact_headers_count_every_character() -> None:
    exact = Rules().exact_headers()
    assert found("text/html;charset=utf-8", "text/html; charset=utf-8", "Content-Type", exact) == [
        Difference("header/value", "Content-Type", "text/html;charset=utf-8", "text/html; charset=utf-8")
    ]
    assert found("A, B", "B, A", "Vary", exact) != []
    assert found("/notes/2", "2", "Location", exact) != []
    assert found("a", "b", "Date", exact) == [], "what is ignored stays so"


def test_exact_order_is_of_what_both_have() -> None:
    old, new = (("A", "1"), ("B", "1"), ("C", "1")), (("C", "1"), ("A", "1"))
    kinds = [each.kind for each in header_differences(old, new, Rules().exact_headers())]
    assert kinds == ["header/missing", "header/order"]


def test_rules_for_headers_hold() -> None:
    assert found("a", "b", rules=Rules().ignore_header("x-*")) == []
    assert found("A", "a", rules=Rules().normalise_header("x-a", str.lower)) == []
    assert found("id=1", "id=2", rules=Rules().ignore_text(r"\d", headers=True)) == []
    assert found("id=1", "id=2", rules=Rules().ignore_text(r"\d")) != []


def test_a_rule_that_fails_is_a_difference() -> None:
    (only,) = found("1", "x", rules=Rules().normalise_header("X-A", lambda value: str(int(value))))
    assert (only.kind, only.where, only.old, only.new) == ("rule/failed", "X-A", "1", "x")
    assert "ValueError" in only.detail


def test_names_stay_as_they_came_and_trailers_have_their_own_kinds() -> None:
    assert values_by_name((("X-a", "1"), ("x-A", "2"), ("Date", "")), Rules()) == {
        "x-a": [("X-a", "1"), ("x-A", "2")]
    }
    (only,) = header_differences((("X-Sum", "1"),), (), Rules(), family="trailer")
    assert (only.kind, only.where) == ("trailer/missing", "X-Sum")


def test_names_can_be_left_to_others() -> None:
    assert header_differences((("X-A", "1"),), (), Rules(), skip={"x-a"}) == []
