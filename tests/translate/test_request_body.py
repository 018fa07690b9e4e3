"""The body of a request as it arrives: lengths, limits, and an end that is never mistaken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import BodyTooLarge, ClientDisconnected, ServerError
from bridge.translate.request_body import RequestBody

GONE = {"type": "http.disconnect"}


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    """One message of the server."""
    return {"type": "http.request", "body": body, "more_body": more}


def feed_all(body: RequestBody, messages: list[dict[str, Any]]) -> bytes:
    """Feed every message and join what came out."""
    return b"".join([body.feed(message) for message in messages])


@pytest.mark.req("E-40")
@pytest.mark.parametrize(
    ("length", "messages", "expected"),
    [
        pytest.param(None, [part(b"", False)], b"", id="empty"),
        pytest.param(None, [{"type": "http.request"}], b"", id="both keys are optional"),
        pytest.param(None, [part(b"abc", False)], b"abc", id="whole"),
        pytest.param(None, [part(b"a"), part(b""), part(b"bc"), part(b"", False)], b"abc", id="in parts"),
        pytest.param(3, [part(b"abc", False)], b"abc", id="with a length"),
        pytest.param(3, [part(b"abc")], b"abc", id="complete by length before the server says so"),
        pytest.param(3, [part(b"a"), part(b"bc"), part(b"", False)], b"abc", id="separate end"),
        pytest.param(0, [part(b"", False)], b"", id="length zero"),
        pytest.param(0, [part(b"x", False)], b"", id="length zero and bytes"),
        pytest.param(3, [part(b"abcdef", False)], b"abc", id="surplus in the last message"),
        pytest.param(3, [part(b"ab"), part(b"cd"), part(b"ef", False)], b"abc", id="surplus in later ones"),
        pytest.param(None, [{"type": "http.request", "body": None}], b"", id="no body"),
    ],
)
def test_a_whole_body_is_complete(
    length: int | None, messages: list[dict[str, Any]], expected: bytes
) -> None:
    body = RequestBody(length)
    assert feed_all(body, messages) == expected
    assert (body.complete, body.error, body.gone) == (True, None, False)


@pytest.mark.req("E-40")
@pytest.mark.parametrize(
    ("length", "messages"),
    [
        pytest.param(None, [GONE], id="gone at once"),
        pytest.param(None, [part(b"abc"), GONE], id="gone in a body of unknown length"),
        pytest.param(100, [part(b"abc"), GONE], id="3 of 100 bytes, then gone"),
        pytest.param(100, [part(b"abc", False)], id="3 of 100 bytes, called the end"),
        pytest.param(100, [part(b"abc"), part(b"", False)], id="3 of 100 bytes, then an empty end"),
        pytest.param(1, [part(b"", False)], id="nothing of 1 byte"),
        pytest.param(1, [{"type": "http.request"}], id="an empty message for 1 byte"),
    ],
)
def test_a_truncated_body_never_looks_complete(length: int | None, messages: list[dict[str, Any]]) -> None:
    body = RequestBody(length)
    feed_all(body, messages)
    assert not body.complete
    assert isinstance(body.error, ClientDisconnected)
    assert isinstance(body.error, OSError)
    assert body.gone is (messages[-1] is GONE)


@pytest.mark.req("E-40")
def test_a_failed_body_stays_failed() -> None:
    """What comes after the end is no body; only that the client leaves still counts."""
    body = RequestBody(5)
    body.feed(part(b"abc", False))
    error = body.error
    assert body.feed(part(b"de", False)) == b""
    assert body.feed(GONE) == b""
    assert (body.complete, body.error, body.gone) == (False, error, True)


@pytest.mark.req("E-38", "E-40")
def test_a_complete_body_stays_complete() -> None:
    body = RequestBody(3)
    body.feed(part(b"abc"))
    assert body.feed(part(b"more", False)) == b""
    assert body.feed(GONE) == b""
    assert (body.complete, body.error, body.gone) == (True, None, True)


@pytest.mark.parametrize("kind", ["http.response.start", "websocket.receive", "lifespan.startup", ""])
def test_a_message_of_another_kind_is_the_servers_fault(kind: str) -> None:
    body = RequestBody(None)
    with pytest.raises(ServerError, match=repr(kind)):
        body.feed({"type": kind})
    assert (body.complete, body.error, body.gone) == (False, None, False)


@pytest.mark.parametrize("chunk", [bytearray(b"abc"), memoryview(b"abc")])
def test_the_bytes_that_come_out_are_bytes(chunk: Any) -> None:
    """Some servers give a view of their buffer, which they will use again."""
    body = RequestBody(None)
    out = body.feed(part(chunk, False))
    assert type(out) is bytes
    assert out == b"abc"


@pytest.mark.parametrize(
    ("length", "limit", "messages", "passed"),
    [
        pytest.param(11, 10, [], b"", id="announced: nothing needs to be received"),
        pytest.param(None, 10, [part(b"x" * 11, False)], b"", id="in one message"),
        pytest.param(None, 10, [part(b"x" * 10), part(b"y", False)], b"x" * 10, id="by the last byte"),
        pytest.param(None, 0, [part(b"x", False)], b"", id="limit zero"),
    ],
)
def test_a_body_above_the_limit_is_too_large(
    length: int | None, limit: int, messages: list[dict[str, Any]], passed: bytes
) -> None:
    body = RequestBody(length, limit)
    assert feed_all(body, messages) == passed
    assert not body.complete
    assert isinstance(body.error, BodyTooLarge)
    assert body.feed(part(b"z" * 100, False)) == b""
    assert not body.complete


@pytest.mark.parametrize(
    ("length", "limit", "messages"),
    [
        pytest.param(10, 10, [part(b"x" * 10, False)], id="announced and exactly the limit"),
        pytest.param(None, 10, [part(b"x" * 4), part(b"x" * 6, False)], id="exactly the limit"),
        pytest.param(10, 10, [part(b"x" * 15, False)], id="the surplus beyond the length does not count"),
        pytest.param(0, 0, [part(b"", False)], id="nothing"),
    ],
)
def test_a_body_up_to_the_limit_is_accepted(
    length: int | None, limit: int, messages: list[dict[str, Any]]
) -> None:
    body = RequestBody(length, limit)
    assert feed_all(body, messages) == b"x" * limit
    assert (body.complete, body.error) == (True, None)


@st.composite
def divided_bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and the pieces in which it arrives."""
    data = draw(st.binary(max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return data, [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


@pytest.mark.req("E-40")
@given(divided_bodies(), st.none() | st.integers(0, 80), st.booleans())
def test_any_division_gives_the_same_body_or_an_error(
    divided: tuple[bytes, list[bytes]], length: int | None, leaves: bool
) -> None:
    """Complete means: exactly the announced bytes, or all up to the server's own end."""
    data, pieces = divided
    messages = [part(piece, leaves or number < len(pieces)) for number, piece in enumerate(pieces, 1)]
    body = RequestBody(length)
    out = feed_all(body, [*messages, GONE])
    whole = length <= len(data) if length is not None else not leaves
    # A length of 0 is complete with the first message, even if the client leaves right after it.
    assert (body.complete, body.error is None, body.gone) == (whole, whole, True)
    assert out == data[:length]


@pytest.mark.req("E-40")
def test_where_the_server_frames_the_body_its_end_is_awaited() -> None:
    """On HTTP/2 the announced bytes may all be there before the stream has ended."""
    body = RequestBody(3, awaits_end=True)
    assert body.feed({"type": "http.request", "body": b"abc", "more_body": True}) == b"abc"
    assert body.complete is False
    assert body.feed({"type": "http.request", "body": b"", "more_body": False}) == b""
    assert (body.complete, body.error) == (True, None)


@pytest.mark.req("E-40")
def test_a_client_that_leaves_after_the_last_announced_byte_has_sent_a_whole_body() -> None:
    body = RequestBody(3, awaits_end=True)
    body.feed({"type": "http.request", "body": b"abc", "more_body": True})
    body.feed({"type": "http.disconnect"})
    assert body.complete
    assert body.gone
    assert body.error is None


@pytest.mark.req("E-40")
def test_bytes_beyond_the_announced_ones_end_the_body_at_once() -> None:
    body = RequestBody(3, awaits_end=True)
    assert body.feed({"type": "http.request", "body": b"abcd", "more_body": True}) == b"abc"
    assert body.complete
