"""Request bodies: when `wsgi.input` is read, how far, by whom, and what becomes of one that breaks."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from support.asgi_apps import (
    DISCONNECT,
    LAST_OF_NONE,
    Ending,
    Scopes,
    ask,
    body,
    bridged,
    echo,
    finish,
    http,
    in_progress,
    read_messages,
    start,
)
from support.drive import Signal
from support.engines import Thread, eventually
from support.scopes import ABSENT
from support.wsgi_drive import ClosingInput, Exchange, drive

from bridge.adapters.input_reader import PIECE
from bridge.exceptions import BodyTooLarge

CHUNKED: dict[str, Any] = {"CONTENT_LENGTH": ABSENT, "wsgi.input_terminated": True}
"""What tells that a body without length ends by itself."""


class Boom(Exception):
    """What inputs and apps of these tests raise."""


def source(*steps: Any, length: object = ABSENT, piece: int | None = None, **extra: Any) -> dict[str, Any]:
    """The part of an environ that has a body of these steps."""
    return {
        "method": "POST",
        "CONTENT_LENGTH": length,
        "wsgi.input": ClosingInput(*steps, piece=piece),
        **extra,
    }


def noting(messages: list[Any], *, count: int | None = None) -> Any:
    """An app that notes its messages: all of the body, or `count` of them."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if count is None:
            messages.extend(await read_messages(receive))
        else:
            for _ in range(count):
                messages.append(await receive())
        await finish(send, b"ok")

    return app


def joined(messages: list[Any]) -> bytes:
    """The body that messages hold; they must be such as one request has."""
    assert [message["type"] for message in messages] == ["http.request"] * len(messages)
    assert [message["more_body"] for message in messages] == [True] * (len(messages) - 1) + [False]
    assert {type(message["body"]) for message in messages} == {bytes}
    return b"".join(message["body"] for message in messages)


# -- no body


class Untouchable:
    """A `wsgi.input` that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise Boom(f"wsgi.input.{name} was used")


@pytest.mark.req("A-06", "A-07")
@pytest.mark.parametrize("there", [Untouchable(), None, ABSENT], ids=["untouchable", "None", "missing"])
@pytest.mark.parametrize(
    "framing",
    [
        {"CONTENT_LENGTH": ABSENT},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": "0", "wsgi.input_terminated": True},
        {"CONTENT_LENGTH": ABSENT, "wsgi.input_terminated": False},
        {"CONTENT_LENGTH": ABSENT, "wsgi.input_terminated": None},
        {"CONTENT_LENGTH": ABSENT, "HTTP_TRANSFER_ENCODING": "chunked"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_without_body_gets_one_empty_message(there: Any, framing: Any, method: str) -> None:
    """At once, and without a look at `wsgi.input`, which may wait for ever or be missing."""
    messages: list[Any] = []
    # The validator wants an input with all methods of a file.
    extra: dict[str, Any] = {"method": method, "wsgi.input": there, "validated": False, **framing}
    assert ask(noting(messages, count=1), **extra).unwrap().status == 200
    assert messages == [LAST_OF_NONE]


# -- a length


@pytest.mark.req("A-05", "A-07", "A-09")
@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17, 2_000_000])
@pytest.mark.parametrize("piece", [None, 5000], ids=["whole reads", "short reads"])
def test_a_body_is_read_to_its_length_and_no_further(size: int, piece: int | None) -> None:
    """Behind it, the input would block for ever. The message that reaches the length is the last."""
    data = random.Random(size).randbytes(size)
    extra = source(data, Signal(), length=str(size), piece=piece)
    messages: list[Any] = []
    assert ask(noting(messages), **extra).unwrap().status == 200
    assert joined(messages) == data
    asked = extra["wsgi.input"].asked
    assert max(asked) <= PIECE
    assert asked[-1] <= PIECE
    assert extra["wsgi.input"].taken == size


@pytest.mark.req("A-07")
def test_what_follows_the_body_is_left_for_the_next_request() -> None:
    extra = source(b"abcdefgh", length="5")
    assert ask(echo, **extra).unwrap().body == b"abcde"
    assert extra["wsgi.input"].taken == 5


@pytest.mark.req("A-07")
def test_every_byte_of_a_small_body_may_come_by_itself() -> None:
    messages: list[Any] = []
    ask(noting(messages), **source(b"abc", length="3", piece=1)).unwrap()
    assert joined(messages) == b"abc"
    assert len(messages) == 3


@pytest.mark.req("A-07", "H-06")
@pytest.mark.parametrize(
    "length",
    [
        "+3",
        "-1",
        "1_0",
        "3, 3",
        "3 3",
        "x",
        "0x10",
        "1.0",
        "1e3",
        "\xb2",
        "\u0663",
        "9" * 5000,
        "\x00",
        "3\n4",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_an_invalid_length_is_answered_with_400_before_the_app_runs(length: str, method: str) -> None:
    app = Scopes()
    extra = {**source(b"abc", length=length), "method": method}
    answer = ask(app, PATH_INFO="/<secret>", **extra).unwrap()
    assert answer.status == 400
    assert answer.body == (b"" if method == "HEAD" else b"400 Bad Request\n")
    assert app.seen == []
    assert extra["wsgi.input"].asked == []


# -- no length


@pytest.mark.req("A-08", "A-09")
@pytest.mark.parametrize("terminated", [True, 1])
@pytest.mark.parametrize("size", [0, 3, PIECE, 1_000_000])
def test_a_terminated_input_is_read_until_it_ends(terminated: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    messages: list[Any] = []
    extra = source(data, **{"wsgi.input_terminated": terminated})
    assert ask(noting(messages), **extra).unwrap().status == 200
    assert joined(messages) == data


@pytest.mark.req("A-08")
def test_the_end_of_a_terminated_input_is_read_once() -> None:
    """Some servers raise if they are asked again."""
    extra = source(b"abc", b"def", **CHUNKED)
    assert ask(echo, **extra).unwrap().body == b"abcdef"
    assert len(extra["wsgi.input"].asked) == 3


@pytest.mark.req("A-07", "A-08")
def test_a_length_counts_even_if_the_input_is_terminated() -> None:
    extra = source(b"abc", Boom("read beyond"), length="3", **{"wsgi.input_terminated": True})
    assert ask(echo, **extra).unwrap().body == b"abc"


@pytest.mark.req("A-08")
def test_transfer_encoding_does_not_decide_the_framing() -> None:
    """Servers that decode chunks leave it there; others leave both the header and the chunks."""
    extra = source(b"abc", length="3", HTTP_TRANSFER_ENCODING="chunked")
    assert ask(echo, **extra).unwrap().body == b"abc"


# -- when it is read


class OnlyRead:
    """A `wsgi.input` that has nothing but `read(n)`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


@pytest.mark.req("A-05")
def test_read_with_a_size_is_all_that_is_used() -> None:
    extra: dict[str, Any] = {"method": "POST", "CONTENT_LENGTH": "200000"}
    answer = ask(echo, **extra, **{"wsgi.input": OnlyRead(b"x" * 200_000)})
    assert answer.unwrap().body == b"x" * 200_000


@pytest.mark.req("A-05")
@pytest.mark.parametrize("headers", [(), (("Expect", "100-continue"),)], ids=["plain", "100-continue"])
def test_nothing_is_read_before_the_app_asks(headers: Any) -> None:
    """A server answers 100 to the first read, which the app may want to spare the client."""
    started, ending, may_read = Signal(), Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            started.set()
            await may_read.come()
            await read_messages(receive)
            await finish(send)

    extra = source(b"abc", length="3", headers=headers)
    with bridged(app) as wsgi, Exchange(wsgi, **extra) as exchange:
        call = exchange.call_soon()
        started.wait()
        assert extra["wsgi.input"].asked == []
        may_read.set()
        call.result()
        assert exchange.rest() == b""
    assert extra["wsgi.input"].asked == [3]


@pytest.mark.req("A-05")
@pytest.mark.parametrize("count", [0, 1])
def test_an_app_that_asks_once_has_one_piece_read(count: int) -> None:
    extra = source(b"x" * 1_000_000, length="1000000")
    messages: list[Any] = []
    assert ask(noting(messages, count=count), **extra).unwrap().status == 200
    assert extra["wsgi.input"].asked == [PIECE] * count


@pytest.mark.req("A-05", "A-09")
@pytest.mark.parametrize("read_ahead", [1, 100_000, 262_144])
def test_an_app_that_reads_on_is_read_ahead_for_up_to_the_bound(read_ahead: int) -> None:
    """Beyond what it has received, plus one piece: so much memory does an upload take."""
    received, goes_on = Signal(), Signal()
    messages: list[Any] = []
    size = 4_000_000

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend([await receive(), await receive()])
        received.set()
        await goes_on.come()
        messages.extend(await read_messages(receive))
        await finish(send)

    extra = source(b"x" * size, length=str(size))
    taken = extra["wsgi.input"]
    with bridged(app, read_ahead=read_ahead) as wsgi, Exchange(wsgi, **extra) as exchange:
        call = exchange.call_soon()
        received.wait()
        (running,) = in_progress(wsgi)
        # The thread reads while the app does other things, and then waits.
        eventually(lambda: taken.taken > 2 * PIECE and running._waiting, "reading ahead")
        assert taken.taken <= 2 * PIECE + read_ahead + PIECE
        goes_on.set()
        call.result()
        exchange.rest()
    assert joined(messages) == b"x" * size


@pytest.mark.req("A-05", "A-11")
def test_reading_ahead_ends_when_the_response_begins() -> None:
    """Or a client that is slow to send would hold up what there is to send to it."""
    read_ahead, received, again, goes_on = Signal(), Signal(), Signal(), Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await finish(send)
            return
        await receive()
        await receive()
        received.set()
        await read_ahead.come()
        await send(start())
        await receive()  # what was read ahead; no more is fetched for it
        again.set()
        await goes_on.come()
        await send(body(b"begun", more=True))
        await send(body(b"."))

    extra = source(*[b"x" * PIECE] * 3, Signal(), length=str(10 * PIECE), piece=PIECE)
    with bridged(http(app), read_ahead=PIECE) as wsgi, Exchange(wsgi, **extra) as exchange:
        call = exchange.call_soon()
        received.wait()
        (running,) = in_progress(wsgi)
        eventually(lambda: extra["wsgi.input"].taken == 3 * PIECE and running._waiting, "reading ahead")
        read_ahead.set()
        again.wait()
        drive(wsgi, path="/other")  # the waiting thread has had its turn
        goes_on.set()
        call.result()  # a fourth read would block
        assert exchange.rest() == b"begun."
    assert len(extra["wsgi.input"].asked) == 3


@pytest.mark.req("A-09", "A-18")
def test_requests_and_responses_may_stream_at_a_time() -> None:
    """Each piece is answered before the next one is sent."""
    answered = [Signal() for _ in range(5)]
    steps: list[Any] = []
    for number, signal in enumerate(answered):
        steps += [b"%d" % number, signal]

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        while (message := await receive())["body"]:
            await send(body(b"<" + message["body"] + b">", more=True))
        await send(body())

    with bridged(app) as wsgi, Exchange(wsgi, **source(*steps, **CHUNKED)) as exchange:
        exchange.call()
        for number, signal in enumerate(answered):
            assert exchange.next() == b"<%d>" % number
            signal.set()
        assert exchange.rest() == b""


def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    """As `asyncio.wait_for` does; the piece that was asked for comes with the next call."""
    timed_out = Signal()
    messages: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
        timed_out.set()
        messages.extend(await read_messages(receive))
        await finish(send)

    extra = source(timed_out, b"abc", b"def", length="6")
    assert ask(app, **extra).unwrap().status == 200
    assert joined(messages) == b"abcdef"


def test_several_tasks_that_receive_share_the_pieces() -> None:
    """Each piece comes once; which task gets which is not said."""
    messages: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend(await asyncio.gather(*(receive() for _ in range(4))))
        await finish(send)

    assert ask(app, **source(b"a", b"b", b"c", b"d", length="4")).unwrap().status == 200
    assert sorted(message["body"] for message in messages) == [b"a", b"b", b"c", b"d"]
    assert [message["more_body"] for message in messages].count(False) == 1


# -- bodies that break


FAILURES = [
    OSError("reset"),
    ConnectionResetError(),
    TimeoutError(),
    EOFError(),
    ValueError("bad chunk"),
    Boom(),
]


@pytest.mark.req("A-09", "A-10")
@pytest.mark.parametrize("before", [b"", b"abc"], ids=["at once", "in the middle"])
@pytest.mark.parametrize(
    ("error", "framing"),
    [
        *[(error, framing) for error in FAILURES for framing in ({"CONTENT_LENGTH": "10"}, CHUNKED)],
        (None, {"CONTENT_LENGTH": "10"}),
    ],
    ids=repr,
)
def test_a_body_that_breaks_is_a_disconnect_and_never_whole(
    error: Exception | None, before: bytes, framing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the input raises; or it ends before its length, which a body without one cannot."""
    extra = {**source(*filter(None, (before, error))), **framing}
    messages: list[Any] = []
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            messages.extend(await read_messages(receive))
            messages.append(await receive())
            await finish(send, b"saved")

    answer = ask(app, **extra).unwrap()
    assert answer.status == 400
    assert b"saved" not in answer.body
    expected = [{"type": "http.request", "body": before, "more_body": True}] if before else []
    assert messages == [*expected, DISCONNECT, DISCONNECT]
    assert isinstance(ending.error, OSError)
    assert caplog.records == []


@pytest.mark.parametrize("wrong", ["abc", None, 7, 3.5, [97]], ids=repr)
def test_an_input_that_returns_no_bytes_is_an_error_and_no_hang(wrong: Any) -> None:
    ending = Ending()

    class Wrong:
        def read(self, size: int) -> Any:
            return wrong

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            messages = await read_messages(receive)
            await finish(send, b"".join(message["body"] for message in messages))

    extra: dict[str, Any] = {"wsgi.input": Wrong(), "CONTENT_LENGTH": "3", "method": "POST"}
    with bridged(app, disconnect_grace=0) as wsgi:
        answer = drive(wsgi, validated=False, **extra)
        ending.over.wait()
    assert answer.error is not None or answer.status >= 400


@pytest.mark.req("A-09")
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_kinds_of_bytes_become_bytes(kind: Any) -> None:
    class Other:
        def __init__(self) -> None:
            self.parts = [b"ab", b"c"]

        def read(self, size: int) -> Any:
            return kind(self.parts.pop(0))

    messages: list[Any] = []
    extra: dict[str, Any] = {"wsgi.input": Other(), "CONTENT_LENGTH": "3", "method": "POST"}
    ask(noting(messages), validated=False, **extra).unwrap()
    assert joined(messages) == b"abc"


# -- the largest body


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_a_length_above_the_limit_is_refused_before_the_app_runs(method: str) -> None:
    app = Scopes()
    extra = {**source(b"abcd", length="4"), "method": method}
    with bridged(app, max_body=3) as wsgi:
        answer = drive(wsgi, **extra).unwrap()
        assert answer.status == 413
        assert (answer.body == b"") is (method == "HEAD")
        assert extra["wsgi.input"].asked == []
        assert app.seen == []
        assert drive(wsgi, **source(b"abc", length="3")).status == 200


def test_a_body_without_length_is_refused_when_it_exceeds_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    """The app is told by an exception, out of `receive()`; it has seen no byte beyond the limit."""
    messages: list[Any] = []
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            while True:
                messages.append(await receive())

    assert ask(app, {"max_body": 5}, **source(b"abc", b"def", b"ghi", **CHUNKED)).unwrap().status == 413
    assert isinstance(ending.error, BodyTooLarge)
    assert messages == [{"type": "http.request", "body": b"abc", "more_body": True}]
    assert caplog.records == []


def test_a_body_without_length_within_the_limit_is_served() -> None:
    assert ask(echo, {"max_body": 6}, **source(b"abc", b"def", **CHUNKED)).unwrap().body == b"abcdef"
    assert ask(echo, {"max_body": 0}, **source(**CHUNKED)).unwrap().body == b""


def test_an_app_may_answer_a_body_that_is_too_large_itself() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_messages(receive)
        except BodyTooLarge:
            await finish(send, b"too much for me")

    answer = ask(app, {"max_body": 5}, **source(b"abcdef", **CHUNKED)).unwrap()
    assert (answer.status, answer.body) == (200, b"too much for me")


def test_a_body_that_becomes_too_large_during_the_response_aborts_it() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"begun", more=True))
        await read_messages(receive)
        await send(body())

    answer = ask(app, {"max_body": 5}, **source(b"abcdef", **CHUNKED))
    assert isinstance(answer.error, BodyTooLarge)
    assert answer.body == b"begun"


# -- several at a time


@pytest.mark.req("A-01", "A-09")
def test_parallel_uploads_do_not_mix() -> None:
    """Among them one whose client stands still: it holds its own thread, and nobody else."""
    stalled = Signal()
    with bridged(echo) as wsgi:
        slow = Thread(lambda: drive(wsgi, **source(b"a", stalled, b"b", length="2")))
        bodies = [random.Random(seed).randbytes(150_000 + seed) for seed in range(12)]
        clients = [
            Thread(lambda data=data: drive(wsgi, **source(data, length=str(len(data)), piece=20_000)))  # type: ignore[misc]
            for data in bodies
        ]
        assert [client.outcome().unwrap().body for client in clients] == bodies
        assert not slow.over
        stalled.set()
        assert slow.outcome().body == b"ab"
