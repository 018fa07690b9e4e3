"""The machine of what an ASGI app sends: each step, each refusal, and what it leaves unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.exceptions import ApplicationError, InvalidHeader, InvalidMessage
from bridge.testing.transports.asgi_response import AppResponse

START = {"type": "http.response.start", "status": 200, "headers": [(b"X-Kept", b"as it is")]}
LAST = {"type": "http.response.body", "body": b"end"}
MORE = {"type": "http.response.body", "body": b"more", "more_body": True}
TRAILED = {**START, "trailers": True}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")]}


def fed(*messages: Any, head: bool = False) -> tuple[AppResponse, list[bytes]]:
    """A response after these messages, and the bytes that went out."""
    response = AppResponse(head)
    return response, [response.take(message) for message in messages]


@pytest.mark.parametrize(
    ("messages", "complete", "missing"),
    [
        ([], False, "no http.response.start"),
        ([START], False, "more_body false"),
        ([START, MORE], False, "more_body false"),
        ([START, MORE, LAST], True, None),
        ([START, {"type": "http.response.body"}], True, None),
        ([TRAILED, LAST], False, "the trailers that it had announced"),
        ([TRAILED, LAST, {**TRAILERS, "more_trailers": True}], False, "the trailers"),
        ([TRAILED, LAST, TRAILERS], True, None),
        ([START, LAST, LAST, START, TRAILERS], True, None),
    ],
    ids=["empty", "start", "streaming", "whole", "no body", "before", "amid", "trailed", "ignored"],
)
def test_states(messages: list[Any], complete: bool, missing: str | None) -> None:
    response, _ = fed(*messages)
    assert response.complete is complete
    assert (missing or "") in (response.missing() or "")
    assert (response.missing() is None) is (missing is None)


def test_headers_stay_as_the_app_has_written_them() -> None:
    headers = [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Connection", b"close"), (b"X", b"\xff\t")]
    response, _ = fed({**START, "headers": headers})
    assert response.headers == headers


def test_what_is_like_bytes_becomes_bytes() -> None:
    response, sent = fed(
        {**START, "headers": [[bytearray(b"X"), memoryview(b"1")]]}, {**LAST, "body": bytearray(b"b")}
    )
    assert (response.headers, sent[1]) == ([(b"X", b"1")], b"b")


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([MORE], InvalidMessage, "before http.response.start"),
        ([TRAILERS], InvalidMessage, "did not announce"),
        ([START, START], InvalidMessage, "a second time"),
        ([START, TRAILERS], InvalidMessage, "did not announce"),
        ([TRAILED, TRAILERS], InvalidMessage, "before the end of the body"),
        ([TRAILED, LAST, LAST], InvalidMessage, "after its last one"),
        ([{"type": "http.response.pathsend"}], InvalidMessage, "expected http.response.start"),
        ([{}], InvalidMessage, "expected http.response.start"),
        ([None], InvalidMessage, "expected http.response.start"),
        ([{**START, "status": "200"}], InvalidMessage, "status as an int"),
        ([{**START, "status": True}], InvalidMessage, "status as an int"),
        ([{**START, "status": 100}], InvalidMessage, "from 200"),
        ([START, {**LAST, "body": "text"}], InvalidMessage, "body as bytes; got str"),
        ([{**START, "headers": [("X", b"1")]}], InvalidHeader, "pair of bytes; got str"),
        ([{**START, "headers": [b"X"]}], InvalidHeader, "pair of bytes"),
        ([{**START, "headers": [(b"a b", b"1")]}], InvalidHeader, "no header name"),
        ([{**START, "headers": [(b"X", b"a\r\nb")]}], InvalidHeader, "CR, LF or NUL"),
        ([{**START, "headers": [(b"Content-Length", b"x")]}], InvalidHeader, "no number"),
        (
            [{**START, "headers": [(b"Content-Length", b"1"), (b"content-length", b"2")]}],
            InvalidHeader,
            "that differ",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_the_specification_is_refused_and_changes_nothing(
    messages: list[Any], error: type[ApplicationError], words: str
) -> None:
    response, _ = fed(*messages[:-1])
    before = (response.state, response.status, response.headers, response.missing())
    with pytest.raises(error, match=words):
        response.take(messages[-1])
    assert (response.state, response.status, response.headers, response.missing()) == before


def sized(size: int, **more: Any) -> dict[str, Any]:
    return {**START, "headers": [(b"Content-Length", b"%d" % size)], **more}


def test_a_body_is_cut_at_its_length() -> None:
    response, sent = fed(sized(6), MORE, LAST)
    assert (b"".join(sent), response.surplus, response.missing()) == (b"moreen", 1, None)


def test_a_body_that_is_too_short_is_missed() -> None:
    response, _ = fed(sized(10), MORE, LAST)
    assert response.missing() == "the app sent 3 bytes fewer than its Content-Length"


@pytest.mark.parametrize(("head", "status"), [(True, 200), (False, 204), (False, 304)])
def test_some_responses_have_no_body(head: bool, status: int) -> None:
    response, sent = fed(sized(3, status=status), LAST, head=head)
    assert (b"".join(sent), response.complete, response.missing()) == (b"", True, None)


def test_trailers_are_kept() -> None:
    response, _ = fed(TRAILED, LAST, {**TRAILERS, "more_trailers": True}, TRAILERS)
    assert response.trailers == [("X-Sum", "1"), ("X-Sum", "1")]
