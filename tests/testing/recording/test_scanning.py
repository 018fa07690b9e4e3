"""Secrets in text; tests/testing/recording/test_redaction.py has the table of hiding places."""

from __future__ import annotations

import re

import pytest

from bridge.testing.recording.marks import MARK, Marker
from bridge.testing.recording.names import Names
from bridge.testing.recording.scanning import Scanner, worth_knowing


def scanner(*known: str, patterns: tuple[str, ...] = ()) -> Scanner:
    return Scanner(Names(), Marker(b"k" * 16), [re.compile(each) for each in patterns], known)


def shown(text: str) -> str:
    return MARK.sub("*", text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("token=abc&x=1", "token=*&x=1"),
        ("a=b token: abc, next", "a=b token: *, next"),
        ("token='a \\' b' c", "token='*' c"),
        ("token => 'abc'", "token => '*'"),
        ("token := abc", "token := *"),
        ("Authorization: Bearer abc", "Authorization: Bearer *"),
        ("x='token=abc'", "x='token=*'"),
        ("url=/x?token=abc", "url=/x?token=*"),
        ("token=", "token="),
        ("token=null", "token=null"),
        ("the token economy", "the token economy"),
        ("https://me:pw@host/?a=b", "https://*@host/?a=b"),
        ("https://host/@me", "https://host/@me"),
        ("<b>token</b>", "<b>token</b>"),
        ("<token> abc </token>", "<token> * </token>"),
        ("&quot;token&quot;: &quot;abc&quot;", '"token": "*"'),
        ("bearer of good news", "bearer of good news"),
    ],
)
def test_text(before: str, after: str) -> None:
    assert shown(scanner().text(before)) == after


def test_lines_of_plain_text() -> None:
    assert shown(scanner().text("password: a b c\nname: d e", lines=True)) == "password: *\nname: d e"
    assert shown(scanner().text("password: a b c")) == "password: * b c"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/a/b?x=1&token=abc", "/a/b?x=1&token=*"),
        ("/a;token=abc/b", "/a;token=*/b"),
        ("/?x=%41%2f", "/?x=%41%2f"),
        ("/?=a&&b=", "/?=a&&b="),
        ("*", "*"),
        ("/?a=b#token=c", "/?a=b#token=*"),
    ],
)
def test_targets(before: str, after: str) -> None:
    assert shown(scanner().target(before)) == after


def test_known_secrets_in_any_form() -> None:
    scan = scanner("hunter2 &", "short")
    assert shown(scan.text("say hunter2 & or hunter2%20%26")) == "say * or *"
    assert shown(scan.text("aHVudGVyMiAm aHVudGVyMiAm=")) == "* *="


def test_the_secret_itself_is_what_is_hashed() -> None:
    """However it is written, so that marks can be compared."""
    scan = scanner()
    texts = [scan.query("token=a%20b"), scan.query("token=a+b"), scan.text('{"token": "a\\u0020b"}')]
    assert len({MARK.findall(text)[0] for text in texts}) == 1
    assert scan.found == {"a b"}


def test_patterns_mark_their_first_group_or_all() -> None:
    assert shown(scanner(patterns=("id-(\\d+)", "n\\d")).text("id-12 n3")) == "id-* *"


def test_what_is_packed_too_deep_is_marked_as_a_whole() -> None:
    text = "x"
    for _ in range(14):
        text = '["' + text.replace("\\", "\\\\").replace('"', '\\"') + '"]'
    assert MARK.search(scanner().text(text))
    assert shown(scanner().text("%" + "25" * 20)) == "*"


def test_what_is_worth_to_be_marked_everywhere() -> None:
    assert worth_knowing("hunter2")
    assert not worth_knowing("test")
    assert not worth_knowing(" " * 10)
