"""What both kinds of sessions make of the items that come from the app; nothing here runs an app."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from bridge.exceptions import (
    ApplicationExit,
    ClientDisconnected,
    IncompleteResponse,
    UsageError,
    WebSocketDenied,
    WebSocketDisconnect,
)
from bridge.testing.exchange import Response
from bridge.testing.websocket_dialog import End, cost
from bridge.testing.websocket_session import (
    Session,
    bytes_message,
    json_message,
    kind_of,
    raisable,
    text_message,
)

ACCEPT = {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-one", b"1")]}
TEXT = {"type": "websocket.send", "text": "hello"}
BYTES = {"type": "websocket.send", "bytes": b"hello"}
CLOSE = {"type": "websocket.close", "code": 4001, "reason": "why"}
START = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-one", b"\xe9")]}
BODY = {"type": "websocket.http.response.body", "body": b"no", "more_body": True}
LAST = {"type": "websocket.http.response.body", "body": b"", "more_body": False}


class Idle(Session):
    """A session whose items a test hands in."""

    def _deliver(self, item: Any) -> None:
        pass


def session(*, raises: bool = True, accepted: bool = True) -> Idle:
    """A session, after its acceptance unless otherwise wanted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it is not called")

    made = Idle(app, {"type": "websocket", "subprotocols": []}, 1.0, raises)
    if accepted:
        made._answer(ACCEPT)
    return made


def test_an_acceptance_is_remembered() -> None:
    made = session(accepted=False)
    assert (made.accepted_subprotocol, made.extra_headers) == (None, [])
    assert made._answer(ACCEPT)
    assert (made.accepted_subprotocol, made.extra_headers) == ("chat", [(b"x-one", b"1")])


def test_a_close_before_the_acceptance_is_a_denial() -> None:
    with pytest.raises(WebSocketDenied, match="closed the WebSocket before it had accepted") as caught:
        session(accepted=False)._answer(CLOSE)
    assert caught.value.response == Response(403, "Forbidden")


def test_a_denial_has_the_response_of_the_app() -> None:
    made = session(accepted=False)
    assert [made._answer(item) for item in (START, BODY, BODY)] == [False, False, False]
    with pytest.raises(WebSocketDenied, match="answered the handshake with 401") as caught:
        made._answer(LAST)
    expected = Response(401, headers=(("x-one", "\xe9"),), chunks=(b"no", b"no"))
    assert caught.value.response == expected
    assert pickle.loads(pickle.dumps(caught.value)).response == expected


def test_an_app_that_raises_before_the_acceptance() -> None:
    """Its exception, or what a server would make of it."""
    error = ValueError("on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        session(accepted=False)._answer(End(error))
    with pytest.raises(WebSocketDenied, match="on purpose") as caught:
        session(raises=False, accepted=False)._answer(End(error))
    assert caught.value.response.status == 500
    assert caught.value.__cause__ is error


def test_an_app_that_ends_before_the_acceptance() -> None:
    with pytest.raises(IncompleteResponse, match="without accepting, closing or answering"):
        session(accepted=False)._answer(End(None))
    made = session(accepted=False)
    made._dialog.violation = ValueError("the rule that it broke")
    with pytest.raises(ValueError, match="the rule that it broke"):
        made._answer(End(None))


def test_contents_are_taken_by_their_kind() -> None:
    made = session()
    assert made._data(made._take(TEXT), "text") == "hello"
    assert made._data(made._take(BYTES), "bytes") == b"hello"
    assert [made._content(made._take(item)) for item in (TEXT, BYTES)] == ["hello", b"hello"]
    assert made._dialog.taken == sum(cost(item) for item in (TEXT, BYTES)) * 2


@pytest.mark.parametrize(("message", "wanted", "other"), [(TEXT, "bytes", "text"), (BYTES, "text", "bytes")])
def test_a_message_of_the_other_kind_is_kept(message: Any, wanted: Any, other: str) -> None:
    made = session()
    with pytest.raises(UsageError, match=rf"receive_{wanted}\(\) met a message of {other}, .*'hello'"):
        made._data(made._take(message), wanted)
    assert list(made._held) == [message]


def test_a_close_is_a_disconnect_with_code_and_reason() -> None:
    made = session()
    taken = made._take(CLOSE)
    with pytest.raises(
        WebSocketDisconnect, match=r"the app closed the WebSocket with 4001 \(why\)"
    ) as caught:
        made._content(taken)
    assert (caught.value.code, caught.value.reason) == (4001, "why")
    assert vars(pickle.loads(pickle.dumps(caught.value))) == {"code": 4001, "reason": "why"}
    with pytest.raises(WebSocketDisconnect):
        made._check_open("send()")


def test_an_app_that_ends_without_closing() -> None:
    with pytest.raises(WebSocketDisconnect, match="ended without closing") as caught:
        session()._take(End(None))
    assert caught.value.code == 1006


def test_an_app_that_raises_after_the_acceptance() -> None:
    """Its exception, or what a server would make of it."""
    error = ValueError("on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        session()._take(End(error))
    with pytest.raises(WebSocketDisconnect, match="a server closes with 1011") as caught:
        session(raises=False)._take(End(error))
    assert caught.value.code == 1011
    assert caught.value.__cause__ is error


def test_what_a_runner_ends_a_test_with_is_raised_in_any_case() -> None:
    with pytest.raises(KeyboardInterrupt):
        session(raises=False)._take(End(KeyboardInterrupt()))


@pytest.mark.parametrize(
    "error",
    [SystemExit(1), GeneratorExit(), StopIteration(), StopAsyncIteration(), asyncio.CancelledError()],
    ids=repr,
)
def test_what_would_end_a_test_in_silence_is_wrapped(error: BaseException) -> None:
    raised = raisable(error)
    assert isinstance(raised, ApplicationExit)
    assert raised.__cause__ is error


# How the app ended, what the block raised, whether the app's exceptions are raised: whether the end raises.
ENDS: dict[str, tuple[BaseException | None, BaseException | None, bool, bool]] = {
    "well": (None, None, True, False),
    "error": (ValueError("app"), None, True, True),
    "error-not-raised": (ValueError("app"), None, False, False),
    "error-beside-the-tests": (ValueError("app"), AssertionError("test"), True, False),
    "departure": (ClientDisconnected("gone"), None, True, False),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_leaving_the_block_raises(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """The test's own exception comes first; the app's is not lost then, but logged."""
    error, told, raises, raised = ENDS[case]
    made = session(raises=raises)
    made._dialog.leave()
    with caplog.at_level(logging.ERROR, "bridge.testing"):
        assert made._after(End(error), told) is (error if raised else None)
    assert ("the app raised on a WebSocket" in caplog.text) == (isinstance(error, ValueError) and not raised)


def test_what_the_test_has_seen_is_not_raised_again() -> None:
    error = ValueError("app")
    made = session()
    with pytest.raises(ValueError, match="app"):
        made._take(End(error))
    assert made._after(End(error), None) is None


def test_a_rule_that_the_app_broke_and_forgave_itself_is_raised_at_the_end() -> None:
    made = session()
    made._dialog.violation = error = ValueError("a rule")
    assert made._after(End(None), None) is error


MESSAGES: dict[str, tuple[Any, bool]] = {
    "text": ({"type": "websocket.receive", "text": "x"}, True),
    "text-and-none": ({"type": "websocket.receive", "text": "x", "bytes": None}, True),
    "bytes": ({"type": "websocket.receive", "bytes": b"x"}, True),
    "disconnect": ({"type": "websocket.disconnect", "code": 1001}, True),
    "bare-disconnect": ({"type": "websocket.disconnect"}, True),
    "both": ({"type": "websocket.receive", "text": "x", "bytes": b"x"}, False),
    "neither": ({"type": "websocket.receive"}, False),
    "text-as-bytes": ({"type": "websocket.receive", "bytes": "x"}, False),
    "bytes-as-text": ({"type": "websocket.receive", "text": b"x"}, False),
    "connect": ({"type": "websocket.connect"}, False),
    "apps": ({"type": "websocket.send", "text": "x"}, False),
    "code": ({"type": "websocket.disconnect", "code": "1001"}, False),
    "no-mapping": ("text", False),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_test_sends_what_a_server_would(case: str) -> None:
    message, fine = MESSAGES[case]
    if fine:
        assert session()._message(message) == message
    else:
        with pytest.raises(UsageError, match=r"a session sends .*websocket\.receive"):
            session()._message(message)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: text_message("\u00e9"), {"type": "websocket.receive", "text": "\u00e9"}),
        (lambda: bytes_message(bytearray(b"b")), {"type": "websocket.receive", "bytes": b"b"}),
        (
            lambda: json_message({"a": "\u00e9"}, "text"),
            {"type": "websocket.receive", "text": '{"a":"\u00e9"}'},
        ),
        (lambda: json_message([1], "binary"), {"type": "websocket.receive", "bytes": b"[1]"}),
    ],
    ids=["text", "bytes", "json", "binary-json"],
)
def test_messages_of_the_test(make: Callable[[], Any], expected: Any) -> None:
    assert make() == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: text_message(b"x"), "takes a str; got b'x'"),
        (lambda: bytes_message("x"), "takes bytes; got 'x'"),
        (lambda: kind_of("json"), "mode is .text. or .binary.; got 'json'"),
    ],
    ids=["text", "bytes", "mode"],
)
def test_what_cannot_be_sent_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_a_session_is_entered_once_and_sends_while_it_is_open() -> None:
    made = session(accepted=False)
    made._enter()
    with pytest.raises(UsageError, match="entered once"):
        made._enter()
    with pytest.raises(UsageError, match="needs an open session"):
        made._check_open("send()")
    made._answer(ACCEPT)
    made._check_open("send()")
    made._left = True
    with pytest.raises(UsageError, match="after this test had closed"):
        made._check_open("send()")
