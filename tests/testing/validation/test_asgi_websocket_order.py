"""The machine of one WebSocket, without an app; the rules one by one are in `test_asgi_planted.py`."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from testing.validation.asgi_planting import ACCEPT, CLOSE, CONNECT, scope_of

from bridge.testing.validation.asgi_messages import RECEIVED, SENT
from bridge.testing.validation.asgi_websocket_order import State, WebSocketOrder

MESSAGE = st.sampled_from(
    [
        *((("receive", kind)) for kind in RECEIVED["websocket"]),
        *((("send", kind)) for kind in SENT["websocket"]),
    ]
)
ANYTHING = st.none() | st.booleans() | st.integers() | st.binary(max_size=2) | st.text(max_size=2)
KEYS = st.sampled_from(["body", "more_body", "status", "headers", "subprotocol", "code", "reason"])


def accepted(**overrides: Any) -> WebSocketOrder:
    order = WebSocketOrder(scope_of("websocket", overrides))
    assert list(order.received(CONNECT)) == []
    assert list(order.sends(ACCEPT)) == []
    return order


@settings(max_examples=60)
@given(st.lists(st.tuples(MESSAGE, st.dictionaries(KEYS, ANYTHING))))
def test_any_messages_are_judged_without_an_error(messages: Any) -> None:
    order = WebSocketOrder(scope_of("websocket", {}))
    for (way, kind), keys in messages:
        step = order.received if way == "receive" else order.sends
        assert all(each.clause for each in step({**keys, "type": kind}))
    list(order.returned())


def test_a_whole_conversation_is_clean() -> None:
    order = accepted()
    assert list(order.received({"type": "websocket.receive", "text": "a"})) == []
    assert list(order.sends({"type": "websocket.send", "text": "b"})) == []
    assert list(order.sends(CLOSE)) == []
    assert order.complete
    assert list(order.received({"type": "websocket.disconnect", "code": 1000})) == []
    assert list(order.returned()) == []


def test_an_app_may_return_without_closing() -> None:
    """If the application dies the socket should be closed: that is the server's part."""
    assert list(accepted().returned()) == []


def test_an_illegal_step_leaves_the_state() -> None:
    order = accepted()
    assert [each.rule for each in order.sends(ACCEPT)] == ["websocket/order/second-accept"]
    assert order.state is State.OPEN
    order = WebSocketOrder(scope_of("websocket", {}))
    list(order.received(CONNECT))
    assert [each.rule for each in order.sends({"type": "websocket.send", "text": ""})] == [
        "websocket/order/send-before-accept"
    ]
    assert order.state is State.ASKED


def test_subprotocols_that_cannot_be_read_twice_are_not_held_against_the_app() -> None:
    order = WebSocketOrder(scope_of("websocket", {"subprotocols": iter(["a"])}))
    list(order.received(CONNECT))
    assert list(order.sends({**ACCEPT, "subprotocol": "b"})) == []
