"""The kinds of values that ASGI knows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.testing.validation.asgi_values import (
    ABSENT,
    good_pairs,
    header_rules,
    is_one_shot,
    items_of,
    pairs_of,
    typed,
    version_of,
)


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "kind", "options", "expected"),
    [
        ("a", str, {}, []),
        (Text("a"), str, {}, [("k/exact-type", "SHOULD")]),
        (b"a", str, {}, [("k/type", "MUST")]),
        (None, str, {}, [("k/type", "MUST")]),
        (None, str, {"none": True}, []),
        (ABSENT, str, {}, []),
        (ABSENT, str, {"optional": False}, [("k/missing", "MUST")]),
        (1, int, {}, []),
        (True, int, {}, [("k/type", "MUST")]),
        (1, bool, {}, [("k/type", "MUST")]),
        (type("Status", (int,), {})(200), int, {}, []),
        (type("Namespace", (dict,), {})(), dict, {}, []),
        (bytearray(b"a"), bytes, {}, [("k/type", "MUST")]),
    ],
    ids=lambda value: "" if isinstance(value, (dict, list, type)) else repr(value),
)
def test_types(value: Any, kind: type, options: Any, expected: list[tuple[str, str]]) -> None:
    broken = list(typed("k", value, kind, "a clause", **options))
    assert [(each.rule, each.level) for each in broken] == expected


@pytest.mark.parametrize(
    ("headers", "pairs", "expected"),
    [
        ([(b"a", b"b"), [b"c", b"d"]], [(b"a", b"b"), (b"c", b"d")], []),
        ({(b"a", b"b"): None}, [(b"a", b"b")], []),
        ([], [], []),
        (None, [], ["h/type"]),
        (b"ab", [], ["h/type"]),
        ("ab", [], ["h/type"]),
        (7, [], ["h/type"]),
        ({b"ab": b"c"}, [], ["h/pair"]),
        ([b"ab", "ab", 7, (), (b"a",)], [], ["h/pair"] * 5),
        ([{b"a": 1, b"b": 2}], [(b"a", b"b")], []),
        (
            [("a", b"b"), (b"a", "b"), (None, None)],
            [],
            ["h/name/type", "h/value/type", "h/name/type", "h/value/type"],
        ),
    ],
    ids=repr,
)
def test_pairs(headers: Any, pairs: Any, expected: list[str]) -> None:
    found, broken = pairs_of(headers, "h", "a clause")
    assert found == pairs
    assert [each.rule for each in broken] == expected


def test_the_value_of_a_header_is_never_told() -> None:
    _, broken = pairs_of([(b"set-cookie", "secret")], "h", "")
    assert [each.came for each in broken] == ["str as the value of b'set-cookie'"]


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.binary(max_size=3) | st.text(max_size=3) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
        ),
        max_leaves=12,
    )
)
def test_headers_of_any_kind_are_judged_without_an_error(headers: Any) -> None:
    """And the light way to read them finds the same pairs in lists."""
    pairs, broken = header_rules(headers, "h", "a clause")
    assert all(each.rule.startswith("h/") for each in broken)
    light = good_pairs(headers)
    assert all(pair in pairs for pair in light)
    if not broken and isinstance(headers, list) and all(isinstance(each, (list, tuple)) for each in headers):
        assert light == pairs


def test_items_that_are_read_once_are_known() -> None:
    assert is_one_shot(iter([1]))
    assert is_one_shot(each for each in (1, 2))
    assert not is_one_shot([1])
    assert not is_one_shot(None)
    assert items_of(range(2), "i", "", "numbers") == ([0, 1], [])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.4", (2, 4)),
        ("3", (3,)),
        ("2.10", (2, 10)),
        ("", None),
        ("2.", None),
        ("a.b", None),
        (2.4, None),
        ("²", None),
    ],
)
def test_versions(text: Any, version: Any) -> None:
    assert version_of(text) == version
