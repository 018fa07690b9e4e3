"""JSON values: what differs, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.comparison.json_bodies import (
    Unreadable,
    json_differences,
    parse_json,
    parse_json_lines,
    type_of,
)
from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def found(old: str, new: str, rules: Rules | None = None) -> list[tuple[str, str, Any, Any]]:
    differences = json_differences(parse_json(old), parse_json(new), rules or Rules())
    return [(each.kind, each.where, each.old, each.new) for each in differences]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1", "2", [("json/value", "$", 1, 2)]),
        ("1", "1.0", [("json/type", "$", 1, 1.0)]),
        ("1", "true", [("json/type", "$", 1, True)]),
        ("0", "false", [("json/type", "$", 0, False)]),
        ("1", '"1"', [("json/type", "$", 1, "1")]),
        ("null", "{}", [("json/type", "$", None, {})]),
        ("[]", "{}", [("json/type", "$", [], {})]),
        ("1.0", "1.00", []),
        ("1e1", "10.0", []),
        ("NaN", "NaN", []),
        ("NaN", "1.0", [("json/value", "$", pytest.approx(float("nan"), nan_ok=True), 1.0)]),
        ("Infinity", "-Infinity", [("json/value", "$", float("inf"), float("-inf"))]),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', []),
        ('{"a": 1}', '{"b": 1}', [("json/missing", "$.a", 1, ABSENT), ("json/extra", "$.b", ABSENT, 1)]),
        ('{"a": null}', "{}", [("json/missing", "$.a", None, ABSENT)]),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', [("json/value", "$.a.b[1]", 2, 3)]),
        ("[1, 2]", "[2, 1]", [("json/order", "$", [1, 2], [2, 1])]),
        ("[1, 1, 2]", "[1, 2, 2]", [("json/value", "$[1]", 1, 2)]),
        ("[1, 2, 3, 4]", "[1, 3, 4]", [("json/length", "$", 4, 3), ("json/missing", "$[1]", 2, ABSENT)]),
        ("[1, 3]", "[1, 2, 3]", [("json/length", "$", 2, 3), ("json/extra", "$[1]", ABSENT, 2)]),
        ("[]", "[1]", [("json/length", "$", 0, 1), ("json/extra", "$[0]", ABSENT, 1)]),
        ("[1, 1]", "[1]", [("json/length", "$", 2, 1), ("json/missing", "$[1]", 1, ABSENT)]),
        (
            "[1, 2, 3]",
            "[1, 9]",
            [("json/length", "$", 3, 2), ("json/value", "$[1]", 2, 9), ("json/missing", "$[2]", 3, ABSENT)],
        ),
        ('{"a": 1, "a": 2}', '{"a": 2}', [("json/duplicate", "$", "a", ABSENT)]),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}', []),
        ('"\\u00e9"', '"é"', []),
        ('"a"', '"a "', [("json/value", "$", "a", "a ")]),
    ],
)
def test_what_differs_and_where(old: str, new: str, expected: list[tuple[str, str, Any, Any]]) -> None:
    assert found(old, new) == expected


def test_a_change_of_type_says_from_what_to_what() -> None:
    (only,) = json_differences(1, "1", Rules())
    assert only.detail == "integer became string"


def test_a_rounding_says_by_how_much() -> None:
    (only,) = json_differences(0.3, 0.1 + 0.2, Rules())
    assert only.detail == "by +5.55e-17"
    (huge,) = json_differences(10**400, 10**400 + 1, Rules())
    assert huge.kind == "json/value"


@pytest.mark.parametrize(
    ("old", "new", "rules", "kinds"),
    [
        ('{"a": 1}', '{"a": 2}', Rules().ignore_json("$.a"), []),
        ('{"a": 1}', "{}", Rules().ignore_json("$.a"), []),
        ('{"a": [{"i": 1}]}', '{"a": [{"i": 2}]}', Rules().ignore_json("$.a[*].i"), []),
        ('[{"i": 1, "k": 1}, 2]', '[2, {"i": 9, "k": 1}]', Rules().ignore_json("$[*].i").unordered("$"), []),
        ("[1, 2, 2]", "[2, 1, 2]", Rules().unordered("$"), []),
        ("[1, 2, 2]", "[1, 1, 2]", Rules().unordered("$"), ["json/value"]),
        ("[1, 2]", "[2, 1, 3]", Rules().unordered("$"), ["json/length", "json/extra"]),
        ("[1, 2, 3]", "[9, 8, 1]", Rules().unordered("$"), ["json/missing"] * 2 + ["json/extra"] * 2),
        ("[[1, 2], [3]]", "[[3], [2, 1]]", Rules().unordered("$", "$[*]"), []),
        ("[[1, 2], [3]]", "[[3], [2, 1]]", Rules().unordered("$"), ["json/order"]),
        ("1.0", "1.001", Rules().approx("$", 0.01), []),
        ("1", "1.001", Rules().approx("$", 0.01), []),
        (f"1{'0' * 400}", f"2{'0' * 400}", Rules().approx("$", 0.01), ["json/value"]),
        ("1.0", '"1.0"', Rules().approx("$", 0.01), ["json/type"]),
        ("1", "true", Rules().approx("$", 9), ["json/type"]),
        ("[1.0, 5.0]", "[5.001, 1.001]", Rules().approx("$[*]", 0.01).unordered("$"), []),
        ("[1.0, 5.0]", "[5.1, 1.001]", Rules().approx("$[*]", 0.01).unordered("$"), ["json/value"]),
        ("[1.0, 5.0, 6.0]", "[1.001, 6.0]", Rules().approx("$[*]", 0.01), ["json/length", "json/missing"]),
        ('"a-1"', '"a-2"', Rules().ignore_text(r"-\d"), []),
        ('{"t": "2024-01-01T00:00:00Z"}', '{"t": "2024-01-01T00:00:00+00:00"}',
         Rules().normalise_json("$.t", lambda value: value.replace("Z", "+00:00")), []),
        ("[3, 1]", "[1, 3]", Rules().normalise_json("$", sorted), []),
        ('{"a": 1}', '{"a": null}', Rules().normalise_json("$.a", float), ["rule/failed"]),
    ],
)  # fmt: skip
def test_rules_hold(old: str, new: str, rules: Rules, kinds: list[str]) -> None:
    assert [kind for kind, *_ in found(old, new, rules)] == kinds


def test_the_places_of_a_bag_are_those_of_their_own_side() -> None:
    assert found('[{"k": 1}, {"k": 2}]', '[{"k": 3}, {"k": 1}]', Rules().unordered("$")) == [
        ("json/value", "$[1].k", 2, 3)
    ]


@pytest.mark.parametrize("text", ["", "{", "nul", '{"a": 1,}', "[1]]", "9" * 10_000, "[" * 100_000])
def test_what_is_no_json_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_json(text)


def test_lines_of_json_are_an_array() -> None:
    assert parse_json_lines('{"a": 1}\n\n2\r\n') == [{"a": 1}, 2]
    with pytest.raises(Unreadable):
        parse_json_lines("1\n{")


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "boolean"), (1, "integer"), (1.0, "number"), ("", "string"), ([], "array"),
     ((), "array"), ({}, "object"), (ABSENT, "nothing"), (b"", "bytes")],
)  # fmt: skip
def test_types_have_names(value: Any, name: str) -> None:
    assert type_of(value) == name


def test_what_json_has_no_type_for_is_compared_too() -> None:
    """The hook `effects` may give rows of a database as they are."""
    assert json_differences([(1, b"a")], [[1, b"a"]], Rules()) == []
    assert json_differences({"at": {1, 2}}, {"at": {1, 3}}, Rules(), "effects") == [
        Difference("effects/value", "$.at", {1, 2}, {1, 3})
    ]
    assert json_differences([{1}, {2}], [{2}, {1}], Rules())[0].kind == "json/order"
    assert json_differences({1: 2}, {1: 3}, Rules())[0].where == "$['1']"


@given(VALUES)
def test_a_value_is_like_itself(value: Any) -> None:
    """Read from its text, in any spelling of it."""
    one, other = json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)
    assert json_differences(parse_json(one), parse_json(other), Rules()) == []


@given(VALUES, VALUES)
def test_difference_goes_both_ways(old: Any, new: Any) -> None:
    rules = Rules().unordered("$..*")
    assert bool(json_differences(old, new, Rules())) == bool(json_differences(new, old, Rules()))
    assert bool(json_differences(old, new, rules)) == bool(json_differences(new, old, rules))


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_bags_are_compared_as_bags(old: list[int], new: list[int]) -> None:
    assert (json_differences(old, new, Rules().unordered("$")) == []) is (sorted(old) == sorted(new))
    close = Rules().unordered("$").approx("$[*]", 0.1)
    assert (json_differences(old, new, close) == []) is (sorted(old) == sorted(new))
