"""Secrets in tables of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.recording.csv_text import redact_csv


def redacted(text: str) -> str:
    return redact_csv(text, lambda name: name == "secret", lambda value: f"<{value}>" if value else "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a,secret\n1,x\n2,\n", "a,secret\n1,<x>\n2,\n"),
        ("secret;a\r\nx,y;1\r\n", "secret;a\r\n<x,y>;1\r\n"),
        ('a\tsecret\n"1\n"\t"x\ny"\n', 'a\tsecret\n"1\n"\t"<x\ny>"\n'),
        ("a,secret\n1", "a,secret\n1\n"),
        ("a,b\n'1',  2\r\n", "a,b\n'1',  2\r\n"),
        ("", ""),
    ],
)
def test_columns_of_secret_names(before: str, after: str) -> None:
    assert redacted(before) == after


def test_a_table_that_cannot_be_read_is_marked_as_a_whole() -> None:
    text = "a,secret\n" + "x" * 200_000
    assert redacted(text) == f"<{text}>"


@given(st.text(alphabet='a,;"\n\r', max_size=30))
def test_what_has_no_secret_column_is_not_changed(text: str) -> None:
    assert redacted(text) == text
