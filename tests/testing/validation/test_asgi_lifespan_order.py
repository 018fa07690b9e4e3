"""The machine of one lifespan, without an app; the rules one by one are in `test_asgi_planted.py`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scopes import lifespan_scope
from testing.validation.asgi_planting import SHUTDOWN, STARTED, STARTUP, STOPPED

from bridge.testing.validation.asgi_lifespan_order import LifespanOrder, State

FAILED = {"type": "lifespan.startup.failed", "message": ""}
STOP_FAILED = {"type": "lifespan.shutdown.failed", "message": ""}
WAYS: dict[State, list[Any]] = {
    State.CALLED: [],
    State.STARTING: [STARTUP],
    State.RUNNING: [STARTUP, STARTED],
    State.FAILED: [STARTUP, FAILED],
    State.STOPPING: [STARTUP, STARTED, SHUTDOWN],
    State.STOPPED: [STARTUP, STARTED, SHUTDOWN, STOPPED],
}
ALLOWED: dict[State, list[Any]] = {
    State.CALLED: [STARTUP],
    State.STARTING: [STARTED, FAILED],
    State.RUNNING: [SHUTDOWN],
    State.FAILED: [SHUTDOWN],
    State.STOPPING: [STOPPED, STOP_FAILED],
    State.STOPPED: [],
}
MESSAGES = [STARTUP, SHUTDOWN, STARTED, FAILED, STOPPED, STOP_FAILED]


def step(order: LifespanOrder, message: Any) -> list[str]:
    received = message in (STARTUP, SHUTDOWN)
    return [each.rule for each in (order.received(message) if received else order.sends(message))]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: each["type"])
@pytest.mark.parametrize("state", State, ids=lambda each: each.name)
def test_every_message_in_every_state(state: State, message: Any) -> None:
    order = LifespanOrder(lifespan_scope())
    for each in WAYS[state]:
        assert step(order, each) == []
    assert order.state is state
    assert (step(order, message) == []) is (message in ALLOWED[state])
    assert order.complete is (order.state is State.STOPPED)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(MESSAGES)))
def test_any_order_is_judged_without_an_error(messages: list[Any]) -> None:
    order = LifespanOrder(lifespan_scope())
    for message in messages:
        assert all(rule.startswith("lifespan/order/") for rule in step(order, message))
        list(order.returned())
        list(order.request_rules({"type": "http"}))


def test_what_the_app_replaces_later_is_not_owed_to_requests() -> None:
    state: dict[str, Any] = {}
    order = LifespanOrder(lifespan_scope(state=state))
    step(order, STARTUP)
    state.update(kept=[1], replaced=[2], removed=[3])
    step(order, STARTED)
    earlier = dict(state)
    state["replaced"] = [4]
    del state["removed"]
    assert list(order.request_rules({"type": "http", "state": earlier})) == []
    assert list(order.request_rules({"type": "http", "state": dict(state)})) == []
    [broken] = order.request_rules({"type": "http", "state": {"kept": [1]}})
    assert broken.rule == "http.scope/state/shallow"
