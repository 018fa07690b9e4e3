"""Checks of single messages as pure functions; the rules one by one are in `test_asgi_planted.py`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.testing.validation.asgi_messages import (
    EXTENSIONS,
    RECEIVED,
    SENT,
    envelope_rules,
    extension_of,
    readable,
    shape_rules,
)

ALL = {kind: shapes for table in (RECEIVED, SENT) for shapes in table.values() for kind in shapes}
KEYS = sorted(
    {key for kind, shapes in ALL.items() for key in shapes[kind].keys} | {"headers", "links", "file"}
)
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-1, 6000)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.lists(st.binary(max_size=3) | st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=3)
    | st.floats()
)


@pytest.mark.parametrize("kind", sorted(ALL))
@settings(max_examples=15)
@given(values=st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_messages_with_any_values_are_judged_without_an_error(kind: str, values: dict[str, Any]) -> None:
    message = {**values, "type": kind}
    for each in shape_rules(message, ALL[kind]):
        assert each.rule.startswith(f"{kind}/")
        assert each.clause


@pytest.mark.parametrize("kind", sorted(ALL))
def test_every_message_names_where_it_is_specified(kind: str) -> None:
    assert ALL[kind][kind].clause.startswith("ASGI ")


@pytest.mark.parametrize(
    "kind", ["http.disconnect", "websocket.connect", "lifespan.startup", "http.response.body"]
)
def test_additional_keys_are_no_error(kind: str) -> None:
    """ASGI 3.0, Error Handling."""
    assert list(shape_rules({"type": kind, "extra": object()}, ALL[kind])) == []


def test_extensions_are_among_what_an_app_may_send() -> None:
    for kind, shapes in EXTENSIONS.items():
        assert shapes.keys() <= SENT[kind].keys()
    assert extension_of("http.response.push") == "http.response.push"
    assert extension_of("websocket.http.response.body") == "websocket.http.response"


@pytest.mark.parametrize("message", [None, 7, "http.request", ["type"], {}, {"type": None}])
def test_what_is_no_message(message: Any) -> None:
    [broken] = envelope_rules(message)
    assert broken.rule.startswith("message/")


def test_only_iterators_are_replaced_and_only_in_a_copy() -> None:
    message: dict[str, Any] = {"type": "http.response.start", "headers": [(b"a", b"b")]}
    assert readable(message) == (message, [])
    assert readable(message)[0] is message
    once = {"type": "http.response.start", "headers": ((name, b"b") for name in (b"a", b"c"))}
    replaced, [broken] = readable(once)
    assert replaced["headers"] == [(b"a", b"b"), (b"c", b"b")]
    assert replaced is not once
    assert broken.rule == "http.response.start/headers/one-shot"
