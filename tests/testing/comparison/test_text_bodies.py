"""Texts, forms and bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.comparison.result import ABSENT, Difference
from bridge.testing.comparison.rules import Rules
from bridge.testing.comparison.text_bodies import (
    binary_differences,
    first_byte,
    first_line,
    form_differences,
    text_differences,
)


@pytest.mark.parametrize(
    ("old", "new", "kind", "where", "detail"),
    [
        ("a\nb", "a\nc", "text", "line 2", ""),
        ("a\nb", "a", "text", "line 1", ""),
        ("a\n", "a", "text/whitespace", "line 1", ""),
        ("a b", "a\tb", "text/whitespace", "line 1", ""),
        ("a\r\nb\r\n", "a\nb\n", "text/line-endings", "line 1", "CRLF became LF"),
        ("a\nb\n", "a\nb\r\n", "text/line-endings", "line 2", "LF became CRLF and LF"),
        ("a\rb\n", "a\nb\n", "text/line-endings", "line 1", "LF and CR became LF"),
        ("a\r\nb", "a\nc", "text", "line 1", ""),
    ],
)
def test_what_differs_between_texts(old: str, new: str, kind: str, where: str, detail: str) -> None:
    assert text_differences(old, new, Rules()) == [Difference(kind, where, old, new, detail)]


def test_equal_texts_do_not_differ_and_rules_hold() -> None:
    assert text_differences("a", "a", Rules()) == []
    assert text_differences("id=1", "id=2", Rules().ignore_text(r"\d")) == []
    (only,) = text_differences("id=1 a", "id=2 b", Rules().ignore_text(r"\d"), "title")
    assert (only.old, only.new, only.where) == ("id= a", "id= b", "title")


@pytest.mark.parametrize(("old", "new", "line"), [("a", "b", 1), ("a\nb\n", "a\nb\nc", 3), ("", "a", 1)])
def test_the_first_line(old: str, new: str, line: int) -> None:
    assert first_line(old, new) == first_line(new, old) == line


def test_bytes_differ_at_the_first() -> None:
    assert binary_differences(b"ab", b"ab") == []
    assert binary_differences(b"abcd", b"abXdef") == [
        Difference(
            "body/bytes", "byte 2", b"abcd", b"abXdef", "4 bytes became 6; the first to differ is byte 2"
        )
    ]
    (only,) = binary_differences(b"ab", b"ac")
    assert only.detail == "2 bytes; the first to differ is byte 1"


@given(st.binary(), st.binary(), st.binary())
def test_the_first_byte_is_where_the_common_start_ends(start: bytes, old: bytes, new: bytes) -> None:
    at = first_byte(start + old, start + new)
    common = 0
    while common < min(len(old), len(new)) and old[common] == new[common]:
        common += 1
    assert at == len(start) + common


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a=1&b=2", "b=2&a=1", []),
        ("a=1+2", "a=1%202", []),
        ("a=1&a=2", "a=2&a=1", [Difference("form/value", "a", ["1", "2"], ["2", "1"])]),
        ("a=", "", [Difference("form/missing", "a", "", ABSENT)]),
        ("", "a", [Difference("form/extra", "a", ABSENT, "")]),
        ("a=%ff", "a=%fe", [Difference("form/value", "a", "\udcff", "\udcfe")]),
    ],
)
def test_forms_differ_by_field(old: str, new: str, expected: list[Difference]) -> None:
    assert form_differences(old, new, Rules()) == expected


def test_rules_hold_for_the_fields_of_a_form() -> None:
    assert form_differences("a=x1", "a=x2", Rules().ignore_text(r"\d")) == []
