"""The checks of header fields that both validators share."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.validation.header_rules import (
    Broken,
    connection_rules,
    content_length,
    content_length_rules,
    field_rules,
    lower_case_rules,
    may_have_content,
    shortened,
    trailer_rules,
)


def named(broken: object) -> list[tuple[str, str]]:
    return [(each.rule, each.level) for each in broken]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"x-a", b"1", []),
        (b"X_A!", b"caf\xc3\xa9\t(x)", []),
        (b"x-a", b"", []),
        (b":path", b"/", [("name/pseudo", "MUST")]),
        (b"", b"1", [("name/token", "MUST")]),
        (b"x a", b"1", [("name/token", "MUST")]),
        (b"x:", b"1", [("name/token", "MUST")]),
        (b"x\n", b"1", [("name/token", "MUST")]),
        (b"x\xe9", b"1", [("name/token", "MUST")]),
        (b"x-a", b"1\r\nb: 2", [("value/splitting", "MUST")]),
        (b"x-a", b"1\n", [("value/splitting", "MUST")]),
        (b"x-a", b"\x00", [("value/splitting", "MUST")]),
        (b"x-a", b"\x1b[0m", [("value/control", "SHOULD")]),
        (b"x-a", b"a\x7f", [("value/control", "SHOULD")]),
        (b"x-a", b" 1", [("value/white-space", "SHOULD")]),
        (b"x-a", b"1\t", [("value/white-space", "SHOULD")]),
        (
            b"x a",
            b" \r ",
            [("name/token", "MUST"), ("value/splitting", "MUST"), ("value/white-space", "SHOULD")],
        ),
    ],
)
def test_fields(name: bytes, value: bytes, expected: list[tuple[str, str]]) -> None:
    assert named(field_rules([(name, value)])) == expected


def test_what_came_tells_where_and_never_the_value() -> None:
    [broken] = field_rules([(b"set-cookie", b"token=secret\r\nx")])
    assert broken.came == "a CR at index 12 of the value of b'set-cookie'"
    [broken] = field_rules([(b"set-cookie", b" secret")])
    assert broken.came == "white space at the start of the value of b'set-cookie'"
    [broken] = field_rules([(b"set-cookie", b"secret ")])
    assert broken.came == "white space at the end of the value of b'set-cookie'"
    [broken] = field_rules([(b"set-cookie", b"secret\x1b")])
    assert broken.came == "b'\\x1b' at index 6 of the value of b'set-cookie'"


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8))))
def test_every_field_is_judged_and_no_check_raises(pairs: list[tuple[bytes, bytes]]) -> None:
    """Silence means that a name is a token, and that a value splits nothing."""
    broken = list(field_rules(pairs))
    if not broken:
        assert all(re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) for name, _ in pairs)
        assert all(re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value) is None for _, value in pairs)
    for check in (content_length_rules, trailer_rules):
        assert all(isinstance(each, Broken) for each in check(pairs))
    assert content_length(pairs) is None or any(name.lower() == b"content-length" for name, _ in pairs)


def test_lower_case() -> None:
    assert named(lower_case_rules([(b"x-a", b"A")], "a clause")) == []
    [broken] = lower_case_rules([(b"X-a", b"")], "a clause", "SHOULD")
    assert (broken.rule, broken.clause, broken.level) == ("name/lower-case", "a clause", "SHOULD")
    assert "b'x-a'" in broken.expected


@pytest.mark.parametrize("name", [b"Connection", b"keep-alive", b"TE", b"transfer-encoding", b"upgrade"])
def test_what_belongs_to_the_connection(name: bytes) -> None:
    pairs = [(name, b"x"), (b"trailer", b"x")]
    assert named(connection_rules(pairs, "", "MUST")) == [("connection-specific", "MUST")]


@pytest.mark.parametrize(
    ("values", "expected", "length"),
    [
        ([], [], None),
        ([b"0"], [], 0),
        ([b"007"], [], 7),
        ([b""], [("content-length/digits", "MUST")], None),
        ([b"+3"], [("content-length/digits", "MUST")], None),
        ([b"1_0"], [("content-length/digits", "MUST")], None),
        ([b" 3"], [("content-length/digits", "MUST")], None),
        ([b"\xb2"], [("content-length/digits", "MUST")], None),
        ([b"3", b"3"], [("content-length/repeated", "SHOULD")], 3),
        ([b"3", b"4"], [("content-length/differing", "MUST")], None),
        ([b"9" * 5000], [], None),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, list) else "",
)
def test_content_length(values: list[bytes], expected: list[tuple[str, str]], length: int | None) -> None:
    pairs = [(b"Content-Length", value) for value in values]
    assert named(content_length_rules(pairs)) == expected
    assert content_length(pairs) == length


def test_trailers() -> None:
    assert named(trailer_rules([(b"Content-Length", b"1"), (b"x-checksum", b"1")])) == [
        ("name/trailer", "MUST")
    ]


@pytest.mark.parametrize(
    ("status", "allowed"), [(100, False), (199, False), (200, True), (204, False), (205, True), (304, False)]
)
def test_which_responses_have_content(status: int, allowed: bool) -> None:
    assert may_have_content(status) is allowed


class Hostile:
    def __repr__(self) -> str:
        raise KeyError("repr")


def test_shortened_never_raises_and_is_short() -> None:
    assert shortened(b"a") == "b'a'"
    assert shortened("x" * 1000) == "'" + "x" * 116 + "..."
    assert shortened("x" * 118) == repr("x" * 118)
    assert "KeyError" in shortened(Hostile())


def test_rules_are_put_under_a_prefix() -> None:
    assert Broken("a", "b", "c", "d").under("x/y") == Broken("x/y/a", "b", "c", "d", "MUST")
