"""Checks of scopes as pure functions; the rules one by one are in `test_asgi_planted.py`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scopes import http_scope
from testing.validation.asgi_planting import scope_of

from bridge.testing.validation.asgi_scope import offered, scope_rules, spec_version

KINDS = ("http", "websocket", "lifespan")
KEYS = [*http_scope(), "subprotocols"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.sampled_from(["2.3", "3.0", "http", "/a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_scope_is_clean(kind: str) -> None:
    assert list(scope_rules(scope_of(kind, {}))) == []


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(values=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4))
def test_scopes_with_any_values_are_judged_without_an_error(kind: str, values: dict[str, Any]) -> None:
    scope = {**scope_of(kind, {}), **values}
    for each in scope_rules(scope):
        assert each.rule.startswith(("scope/", f"{scope.get('type')}.scope/"))
        assert each.clause
        assert each.expected
    assert isinstance(spec_version(scope), tuple)
    assert isinstance(offered(scope), dict)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "overrides",
    [
        {"path": "*", "raw_path": b"*", "method": "OPTIONS"},
        {"path": "http://h/p", "raw_path": b"http://h/p"},
        {"path": "/\ufffd", "raw_path": b"/%FF"},
        {"path": "/é", "raw_path": b"/%C3%A9"},
        {"path": "/é", "raw_path": "/é".encode()},
        {"path": "/a?b", "raw_path": b"/a%3Fb"},
        {"root_path": "/", "path": "/x"},
        {"root_path": "/app/", "path": "/app", "raw_path": b"/app"},
        {"server": None, "client": None},
        {"server": ["::1", 80], "client": ["::1", 0]},
        {"headers": ((b"host", b"a"), [b"x-a", b""])},
        {"http_version": "3"},
        {
            "extensions": {
                "tls": {
                    "server_cert": None,
                    "tls_version": None,
                    "cipher_suite": 1,
                    "client_cert_chain": ["a"],
                }
            }
        },
    ],
    ids=lambda each: ", ".join(f"{key}={value!r}"[:40] for key, value in each.items()),
)
def test_unusual_values_that_the_specification_allows(kind: str, overrides: dict[str, Any]) -> None:
    if kind == "websocket":
        overrides = {key: value for key, value in overrides.items() if key != "method"}
    assert [str(each) for each in scope_rules(scope_of(kind, overrides))] == []


def test_a_version_that_is_not_said_is_the_first() -> None:
    assert spec_version({}) == (2, 0)
    assert spec_version({"asgi": {"spec_version": "new"}}) == (2, 0)
    assert spec_version({"asgi": {"spec_version": "2.10"}}) == (2, 10)
