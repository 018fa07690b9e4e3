"""The machine of one HTTP request, without an app; the rules one by one are in `test_asgi_planted.py`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scopes import http_scope
from testing.validation.asgi_planting import body, request, start

from bridge.testing.validation.asgi_http_order import HTTPOrder, Sent
from bridge.testing.validation.asgi_messages import RECEIVED, SENT

OFFERS: dict[str, Any] = {"extensions": {name: {} for name in SENT["http"] if name != "http.response.start"}}
STEPS: dict[str, dict[str, Any]] = {
    "start": start(),
    "start with trailers": start(trailers=True),
    "content": body(b"a", True),
    "end": body(b"a"),
    "file": {"type": "http.response.pathsend", "path": "/x"},
    "copy": {"type": "http.response.zerocopysend", "file": None},
    "trailers": {"type": "http.response.trailers", "headers": [], "more_trailers": True},
    "last trailers": {"type": "http.response.trailers", "headers": []},
    "hint": {"type": "http.response.early_hint", "links": []},
    "push": {"type": "http.response.push", "path": "/", "headers": []},
    "debug": {"type": "http.response.debug", "info": {}},
}
WAYS = {
    Sent.NOTHING: [],
    Sent.STARTED: ["start"],
    Sent.CONTENT: ["start", "content"],
    Sent.CONTENT_DONE: ["start with trailers", "end"],
    Sent.COMPLETE: ["start", "end"],
}
# By state: the steps that are allowed, and where they lead.
ALLOWED: dict[Sent, dict[str, Sent]] = {
    Sent.NOTHING: {
        "start": Sent.STARTED,
        "start with trailers": Sent.STARTED,
        "hint": Sent.NOTHING,
        "debug": Sent.NOTHING,
    },
    Sent.STARTED: {
        "content": Sent.CONTENT,
        "end": Sent.COMPLETE,
        "file": Sent.COMPLETE,
        "copy": Sent.COMPLETE,
        "hint": Sent.STARTED,
        "push": Sent.STARTED,
    },
    Sent.CONTENT: {
        "content": Sent.CONTENT,
        "end": Sent.COMPLETE,
        "copy": Sent.COMPLETE,
        "hint": Sent.CONTENT,
        "push": Sent.CONTENT,
    },
    Sent.CONTENT_DONE: {"trailers": Sent.CONTENT_DONE, "last trailers": Sent.COMPLETE},
    Sent.COMPLETE: {},
}


def after(*steps: str) -> HTTPOrder:
    order = HTTPOrder(http_scope(**OFFERS))
    for step in steps:
        assert list(order.sends(STEPS[step])) == []
    return order


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", Sent, ids=lambda each: each.name)
def test_every_step_from_every_state(state: Sent, step: str) -> None:
    """A legal one leads on in silence; an illegal one is told once and changes nothing."""
    order = after(*WAYS[state])
    assert order.sent is state
    broken = list(order.sends(STEPS[step]))
    if step in ALLOWED[state]:
        assert broken == []
        assert order.sent is ALLOWED[state][step]
    else:
        assert [each.rule.startswith("http/order/") for each in broken] == [True]
        assert order.sent is state


MESSAGE = st.sampled_from(
    [
        *((("receive", kind)) for kind in RECEIVED["http"]),
        *((("send", kind)) for kind in SENT["http"]),
    ]
)
KEYS = st.sampled_from(["body", "more_body", "status", "headers", "trailers", "count"])
ANYTHING = st.none() | st.booleans() | st.integers() | st.binary(max_size=2) | st.text(max_size=2)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            MESSAGE,
            st.dictionaries(
                st.sampled_from(["body", "more_body", "status", "headers", "trailers", "count"]), ANYTHING
            ),
        )
    )
)
def test_any_messages_are_judged_without_an_error(messages: Any) -> None:
    order = HTTPOrder(http_scope(**OFFERS))
    for (way, kind), keys in messages:
        step = order.received if way == "receive" else order.sends
        assert all(each.clause for each in step({**keys, "type": kind}))
    list(order.returned())


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=5), max_size=5), st.integers(0, 30))
def test_a_body_is_held_against_its_length_however_it_is_cut(pieces: list[bytes], length: int) -> None:
    order = HTTPOrder(http_scope())
    assert list(order.sends(start(200, (b"content-length", b"%d" % length)))) == []
    broken = [each.rule for piece in pieces for each in order.sends(body(piece, True))]
    broken += [each.rule for each in order.sends(body())]
    size = sum(map(len, pieces))
    if size == length:
        assert broken == []
    else:
        which = "exceeded" if size > length else "short"
        assert broken == [f"http.response.body/content-length/{which}"]


def test_a_file_makes_the_length_unknown() -> None:
    order = HTTPOrder(http_scope(**OFFERS))
    list(order.sends(start(200, (b"content-length", b"9"))))
    assert list(order.sends(STEPS["file"])) == []


def test_a_copy_with_a_count_has_a_length() -> None:
    order = HTTPOrder(http_scope(**OFFERS))
    list(order.sends(start(200, (b"content-length", b"9"))))
    assert [each.rule for each in order.sends({**STEPS["copy"], "count": 10})] == [
        "http.response.body/content-length/exceeded"
    ]


def test_a_request_in_chunks_is_not_held_against_a_length() -> None:
    headers = [(b"content-length", b"9"), (b"transfer-encoding", b"chunked")]
    assert list(HTTPOrder(http_scope(headers=headers)).received(request(b"abc"))) == []


def test_a_client_that_leaves_before_the_end_of_its_body_is_no_fault() -> None:
    order = HTTPOrder(http_scope(headers=[(b"content-length", b"9")]))
    assert list(order.received(request(b"abc", True))) == []
    assert list(order.received({"type": "http.disconnect"})) == []
    assert order.gone
    assert list(order.returned()) == []


def test_a_disconnect_after_the_response_does_not_count_as_one() -> None:
    order = after("start", "end")
    assert list(order.received({"type": "http.disconnect"})) == []
    assert not order.gone
