"""Secrets in JSON text, whole and damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.testing.recording.json_text import decoded, redact_json, unescaped


def redacted(text: str) -> str:
    return redact_json(text, lambda name: name == "secret", lambda value: f"<{value}>", lambda value: value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"secret": "a", "n": 1.50}', '{"secret": "<a>", "n": 1.50}'),
        ('{"secret": 12}', '{"secret": "<12>"}'),
        ('{"secret": null, "x": {"secret": true}}', '{"secret": null, "x": {"secret": true}}'),
        ('{"secret": ""}', '{"secret": ""}'),
        (
            '{"secret": {"a": "b", "c": [1, "d"]}, "e": "f"}',
            '{"secret": {"a": "<b>", "c": ["<1>", "<d>"]}, "e": "f"}',
        ),
        ('{"secret": ["a", "b"], "c": "d"}', '{"secret": ["<a>", "<b>"], "c": "d"}'),
        ('[{"secret": "a"}, "b"]', '[{"secret": "<a>"}, "b"]'),
        ('{"secret": "a", "secret": "b"}', '{"secret": "<a>", "secret": "<b>"}'),
        ('{"\\u0073ecret": "a"}', '{"\\u0073ecret": "<a>"}'),
        ('{"secret"\n:\n"a"}', '{"secret"\n:\n"<a>"}'),
        ('{"secret": "a', '{"secret": "<a>"'),
        ('{"secret": "a\\', '{"secret": "<a\\\\>"'),
        ('{"secret": "a\\u00', '{"secret": "<au00>"'),
        ('{"secret": {"a": "b"', '{"secret": {"a": "<b>"'),
        ('{"secret": 12', '{"secret": "<12>"'),
        ('{"x": 1}\n{"secret": "a"}\n', '{"x": 1}\n{"secret": "<a>"}\n'),
        (')]}\',\n{"secret": "a"}', ')]}\',\n{"secret": "<a>"}'),
        ('{"name": "secret", "value": "a"}', '{"name": "secret", "value": "<a>"}'),
        (
            '[{"value": "a", "name": "secret"}, {"value": "b"}]',
            '[{"value": "<a>", "name": "secret"}, {"value": "b"}]',
        ),
        ('{"name": "secret", "note": "a"}', '{"name": "secret", "note": "a"}'),
        ('["secret", "a"]', '["secret", "a"]'),
        ("{secret: a}", '{secret: "<a>"}'),
        ('"a"', '"a"'),
        ("", ""),
    ],
)
def test_values_of_secret_names(before: str, after: str) -> None:
    assert redacted(before) == after


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_pairs_of_header_and_value() -> None:
    """In lists: of other names, one may follow the other for any reason."""

    def pairs(text: str) -> str:
        return redact_json(text, lambda name: "X-" in name, lambda value: f"<{value}>", lambda value: value)

    assert pairs('[["X-Key", "a"], ["Y-Key", "b"]]') == '[["X-Key", "<a>"], ["Y-Key", "b"]]'
    assert pairs('["Y", "X-Key", "a"]') == '["Y", "X-Key", "a"]'


@settings(max_examples=50)
@given(_values)
def test_json_without_secrets_stays_as_it_was(value: Any) -> None:
    text = json.dumps(value)
    assert redacted(text) == text


@settings(max_examples=50)
@given(_values, st.booleans())
def test_structure_is_kept(value: Any, ascii_only: bool) -> None:
    """What comes out is JSON, with the same shape, and no string of the secret is left in it."""
    text = json.dumps({"secret": value, "other": value}, ensure_ascii=ascii_only)
    out = json.loads(redacted(text))
    assert out["other"] == value

    def same_shape(one: Any, other: Any) -> None:
        if isinstance(one, dict):
            assert list(one) == list(other)
            for key in one:
                same_shape(one[key], other[key])
        elif isinstance(one, list):
            assert len(one) == len(other)
            for left, right in zip(one, other, strict=True):
                same_shape(left, right)
        elif one is None or isinstance(one, bool) or one == "":
            assert other == one
        else:
            assert other == f"<{one if isinstance(one, str) else json.dumps(one)}>"

    same_shape(value, out["secret"])


@given(st.text(alphabet='{}[]:,"\\ sa1', max_size=30))
def test_any_text_is_survived(text: str) -> None:
    redacted(text)


def test_escapes() -> None:
    assert unescaped('a\\u0041\\n\\"\\/') == 'aA\n"/'
    assert unescaped("\\ud83d\\ude00") == "\U0001f600"
    assert decoded('"\\u0041"') == "A"
    assert decoded("12") == "12"
