"""The order and the shapes of what an app may send on a WebSocket, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.exceptions import ApplicationError, InvalidHeader, InvalidMessage, UsageError
from bridge.testing.websocket_order import LONGEST_REASON, Order, Phase, check_close

ACCEPT = {"type": "websocket.accept"}
TEXT = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}
START = {"type": "websocket.http.response.start", "status": 401}
MORE = {"type": "websocket.http.response.body", "body": b"no", "more_body": True}
LAST = {"type": "websocket.http.response.body"}

EVERY: dict[str, dict[str, Any]] = {
    "accept": ACCEPT,
    "send": TEXT,
    "close": CLOSE,
    "start": START,
    "more": MORE,
    "last": LAST,
}

# What leads to each phase, and what may follow: the phase after that.
PHASES: dict[str, tuple[list[dict[str, Any]], dict[str, Phase]]] = {
    "handshake": ([], {"accept": Phase.OPEN, "close": Phase.OVER, "start": Phase.DENYING}),
    "open": ([ACCEPT], {"send": Phase.OPEN, "close": Phase.OVER}),
    "denying": ([START], {"more": Phase.DENYING, "last": Phase.OVER}),
    "closed": ([ACCEPT, CLOSE], {}),
    "refused": ([CLOSE], {}),
    "denied": ([START, LAST], {}),
}


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("phase", PHASES)
def test_each_message_in_each_phase(phase: str, kind: str) -> None:
    """One that is allowed leads on; any other raises, says where it stood, and leaves all as it was."""
    before, allowed = PHASES[phase]
    order = Order([])
    for message in before:
        order.take(message)
    reached = order.phase
    if kind in allowed:
        assert order.take(EVERY[kind])["type"] == EVERY[kind]["type"]
        assert order.phase is allowed[kind]
    else:
        with pytest.raises(InvalidMessage, match=f"the app sent {EVERY[kind]['type']} (before|after|within)"):
            order.take(EVERY[kind])
        assert order.phase is reached
    assert order.accepted == (phase in ("open", "closed") or (phase, kind) == ("handshake", "accept"))


TAKEN: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "accept": ([ACCEPT], {"type": "websocket.accept", "subprotocol": None, "headers": []}),
    "accept-all": (
        [{**ACCEPT, "subprotocol": "chat", "headers": [[b"x-one", b"1"], (b"X-Two", b"")]}],
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-one", b"1"), (b"X-Two", b"")]},
    ),
    "accept-no-subprotocol": (
        [{**ACCEPT, "subprotocol": "", "headers": None}],
        {"type": "websocket.accept", "subprotocol": None, "headers": []},
    ),
    "text": ([ACCEPT, {**TEXT, "bytes": None}], {"type": "websocket.send", "text": "x"}),
    "empty-text": ([ACCEPT, {**TEXT, "text": ""}], {"type": "websocket.send", "text": ""}),
    "bytes": (
        [ACCEPT, {"type": "websocket.send", "bytes": bytearray(b"b"), "text": None}],
        {"type": "websocket.send", "bytes": b"b"},
    ),
    "close": ([ACCEPT, CLOSE], {"type": "websocket.close", "code": 1000, "reason": ""}),
    "close-all": (
        [ACCEPT, {**CLOSE, "code": 4000, "reason": "r" * LONGEST_REASON}],
        {"type": "websocket.close", "code": 4000, "reason": "r" * LONGEST_REASON},
    ),
    "close-no-reason": (
        [ACCEPT, {**CLOSE, "code": 1011, "reason": None}],
        {"type": "websocket.close", "code": 1011, "reason": ""},
    ),
    "start": ([START], {"type": "websocket.http.response.start", "status": 401, "headers": []}),
    "body": (
        [START, LAST],
        {"type": "websocket.http.response.body", "body": b"", "more_body": False},
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_a_message_says(case: str) -> None:
    """With the defaults of the specification, in one shape."""
    messages, expected = TAKEN[case]
    order = Order(["chat"])
    assert [order.take(message) for message in messages][-1] == expected


WRONG: dict[str, tuple[list[Any], type[ApplicationError], str]] = {
    "no-type": ([{}], InvalidMessage, "the app sent {}"),
    "no-mapping": (["websocket.accept"], InvalidMessage, "the app sent 'websocket.accept'"),
    "unknown": ([{"type": "websocket.ping"}], InvalidMessage, "websocket.ping before it accepted"),
    "http": ([{"type": "http.response.start"}], InvalidMessage, "http.response.start before it accepted"),
    "accept-subprotocol-bytes": ([{**ACCEPT, "subprotocol": b"chat"}], InvalidMessage, "text or None"),
    "accept-not-offered": (
        [{**ACCEPT, "subprotocol": "news"}],
        InvalidMessage,
        r"'news', which the client did not offer \(it offered chat\)",
    ),
    "accept-header-text": ([{**ACCEPT, "headers": [("a", "b")]}], InvalidHeader, "pair of bytes"),
    "accept-header-no-pair": ([{**ACCEPT, "headers": [b"abc"]}], InvalidHeader, "pair of bytes"),
    "accept-header-name": ([{**ACCEPT, "headers": [(b"a b", b"")]}], InvalidHeader, "no header name"),
    "accept-header-pseudo": ([{**ACCEPT, "headers": [(b":path", b"")]}], InvalidHeader, "no header name"),
    "accept-header-value": ([{**ACCEPT, "headers": [(b"a", b"b\r\nc: d")]}], InvalidHeader, "CR, LF or NUL"),
    "accept-header-of-server": (
        [{**ACCEPT, "headers": [(b"Sec-WebSocket-Protocol", b"chat")]}],
        InvalidHeader,
        "which is the server's",
    ),
    "send-both": ([ACCEPT, {**TEXT, "bytes": b"x"}], InvalidMessage, "got both"),
    "send-neither": ([ACCEPT, {"type": "websocket.send"}], InvalidMessage, "got neither"),
    "send-none": ([ACCEPT, {**TEXT, "text": None}], InvalidMessage, "got neither"),
    "send-text-bytes": ([ACCEPT, {**TEXT, "text": b"x"}], InvalidMessage, "expects text as str; got b'x'"),
    "send-bytes-text": (
        [ACCEPT, {"type": "websocket.send", "bytes": "x"}],
        InvalidMessage,
        "expects bytes as bytes; got 'x'",
    ),
    "close-code-text": ([ACCEPT, {**CLOSE, "code": "1000"}], InvalidMessage, "code as an int"),
    "close-code-bool": ([ACCEPT, {**CLOSE, "code": True}], InvalidMessage, "code as an int"),
    "close-code-none": ([ACCEPT, {**CLOSE, "code": None}], InvalidMessage, "code as an int"),
    "close-reason-bytes": ([ACCEPT, {**CLOSE, "reason": b"x"}], InvalidMessage, "reason as text"),
    "close-reason-long": (
        [ACCEPT, {**CLOSE, "reason": "\u00e9" * 62}],
        InvalidMessage,
        "a reason of 124 bytes; a Close frame holds 123",
    ),
    "start-status": ([{**START, "status": "401"}], InvalidMessage, "status as an int"),
    "start-status-100": ([{**START, "status": 101}], InvalidMessage, "status as an int from 200"),
    "start-header": ([{**START, "headers": [("a", "b")]}], InvalidHeader, "pair of bytes"),
    "body-text": ([START, {**LAST, "body": "x"}], InvalidMessage, "expects body as bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_breaks_a_rule_raises_and_changes_nothing(case: str) -> None:
    messages, kind, words = WRONG[case]
    order = Order(["chat"])
    for message in messages[:-1]:
        order.take(message)
    phase = order.phase
    with pytest.raises(kind, match=words):
        order.take(messages[-1])
    assert order.phase is phase


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_codes_that_a_close_frame_may_carry(code: int) -> None:
    check_close(code, "", UsageError, "close()")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_codes_that_it_may_not(code: int) -> None:
    """RFC 6455 section 7.4."""
    with pytest.raises(UsageError, match=rf"close\(\) has the code {code}, which no Close frame may carry"):
        check_close(code, "", UsageError, "close()")
