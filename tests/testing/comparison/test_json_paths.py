"""Patterns for places in JSON documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import UsageError
from bridge.testing.comparison.json_paths import JsonPath, Place, path_text

MATCHES: list[tuple[str, Place, bool]] = [
    ("$", (), True),
    ("$", ("a",), False),
    ("$.a", ("a",), True),
    ("$.a", (), False),
    ("$.a", ("a", "b"), False),
    ("$.a.b", ("a", "b"), True),
    ("$.a-b.été", ("a-b", "été"), True),
    ("$['odd key']", ("odd key",), True),
    ('$["it\'s"]', ("it's",), True),
    (r"$['it\'s \\']", ("it's \\",), True),
    ("$['0']", ("0",), True),
    ("$['0']", (0,), False),
    ("$[0]", (0,), True),
    ("$[0]", (1,), False),
    ("$[0]", ("0",), False),
    ("$[ 12 ]", (12,), True),
    ("$[1]", (True,), True),
    ("$.items[*].id", ("items", 7, "id"), True),
    ("$.items[*].id", ("items", "any", "id"), True),
    ("$.items[*].id", ("items", 7), False),
    ("$.*", ("a",), True),
    ("$.*", (3,), True),
    ("$..token", ("token",), True),
    ("$..token", ("a", 0, "b", "token"), True),
    ("$..token", ("token", "a"), False),
    ("$.a..b.c", ("a", "x", "b", "c"), True),
    ("$.a..b.c", ("x", "b", "c"), False),
    ("$..a..b", ("x", "a", "y", "b"), True),
    ("$..['odd key']", (1, "odd key"), True),
    ("$..[0]", ("a", 0), True),
    ("$..*", ("a", "b"), True),
    ("$..*", (), False),
]


@pytest.mark.parametrize(("text", "place", "expected"), MATCHES)
def test_a_pattern_stands_for_places(text: str, place: Place, expected: bool) -> None:
    assert JsonPath.parse(text).matches(place) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.b", "begins with $"),
        ("", "begins with $"),
        ("$.", "should follow"),
        ("$..", "should follow"),
        ("$a", "column 2"),
        ("$.a[", "in quotes"),
        ("$.a b", "in quotes"),
        ("$.1a", "in quotes"),
        ("$[-1]", "count from the start"),
        ("$[1:2]", "slices"),
        ("$[0,1]", "slices"),
        ("$[?(@.a)]", "normalise_json"),
        ("$['a", "column 2"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("$", r"\$")):
        JsonPath.parse(text)


def test_a_path_is_a_text() -> None:
    with pytest.raises(UsageError, match="got 3"):
        JsonPath.parse(3)  # type: ignore[arg-type]


def test_it_shows_what_the_user_wrote() -> None:
    assert str(JsonPath.parse("$.items[*]")) == "$.items[*]"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((), "$"),
        (("a", 0, "b"), "$.a[0].b"),
        (("odd key", "it's"), r"$['odd key']['it\'s']"),
        (("",), "$['']"),
    ],
)
def test_a_place_is_written_as_a_path(place: Place, text: str) -> None:
    assert path_text(place) == text


@given(st.lists(st.text() | st.integers(0, 10**6)).map(tuple))
def test_what_is_written_is_read_back(place: Place) -> None:
    assert JsonPath.parse(path_text(place)).matches(place)
