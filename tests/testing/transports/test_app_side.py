"""The app's side of an exchange, without threads: bodies in pieces, room, leaving, what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from support.asgi_apps import body, read_messages, start
from support.drive import run

from bridge.exceptions import ClientDisconnected, IncompleteResponse, InvalidMessage
from bridge.testing.transports.app_side import AHEAD, AppSide
from bridge.testing.transports.wire import PIECE

App = Callable[[Any, Any, Any], Awaitable[None]]


class Side(AppSide):
    """One whose client only counts how often it was woken."""

    def __init__(self, app: App, method: str = "GET", **options: Any) -> None:
        self.woken = 0
        super().__init__(app, {"type": "http"}, httpx2.Request(method, "http://testserver/", **options))

    def wake_client(self) -> None:
        self.woken += 1


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_ordinary_response_wakes_the_client_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"a", more=True))
        await send(body(b"b"))

    async def main() -> None:
        side = Side(app)
        await side.call()
        await turns()
        assert (side.woken, list(side.out)) == (1, [b"a", b"b"])
        assert (side.begun, side.ended, side.raised) == (True, True, None)
        side.check_end()

    run(main)


def test_the_end_of_the_app_wakes_the_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    side = Side(app)
    run(side.call)
    assert (side.ended, side.woken) == (True, 1)


def test_the_start_alone_is_not_the_begin_of_a_response() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        begun.append(side.begun)
        await send(body(b"", more=True))
        begun.append(side.begun)
        await send(body())

    begun: list[bool] = []
    side = Side(app)
    run(side.call)
    assert (begun, side.raised) == ([False, True], None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [(0, False)]),
        (b"abc", [(3, False)]),
        (b"x" * PIECE, [(PIECE, False)]),
        (b"x" * (PIECE + 1), [(PIECE, True), (1, False)]),
    ],
    ids=["none", "small", "a piece", "two pieces"],
)
def test_a_body_in_memory_comes_in_pieces_of_a_sockets_size(
    content: bytes, expected: list[tuple[int, bool]]
) -> None:
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend(await read_messages(receive))

    run(Side(app, "POST", content=content).call)
    assert [(len(message["body"]), message["more_body"]) for message in messages] == expected


def test_a_lazy_body_is_asked_for_piece_by_piece() -> None:
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend(await read_messages(receive))

    async def main() -> None:
        side = Side(app, "POST", content=iter([]))
        task = asyncio.create_task(side.call())
        for piece in (b"a", b"", b"c", None):
            await turns()
            assert side.wanted
            side.wanted = False
            side.take_piece(piece)
            side.body_came()
        await task

    run(main)
    assert [(message["body"], message["more_body"]) for message in messages] == [
        (b"a", True),
        (b"c", True),
        (b"", False),
    ]


def test_receive_after_the_body_waits_for_the_end_of_the_response() -> None:
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await turns()
        assert not waiting.done()
        await send(start())
        await send(body())
        received.append(await waiting)
        received.append(await receive())

    side = Side(app)
    run(side.call)
    assert side.raised is None
    assert received == [{"type": "http.disconnect"}] * 2


def test_send_waits_while_too_much_waits_for_the_client() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for number in range(6):
            await send(body(b"x" * PIECE, more=True))
            sent.append(number)
        await send(body())

    async def main() -> None:
        side = Side(app)
        task = asyncio.create_task(side.call())
        await turns()
        assert AHEAD == 4 * PIECE
        assert sent == [0, 1, 2, 3]  # the fifth waits
        waits = [side.app_waits_for_room]
        for taken in (2, 1):
            side.taken += taken * PIECE
            waits.append(side.app_waits_for_room)
        assert waits == [False, False, True]  # let go when half of it is taken
        side.room_made()
        await task
        assert (sent, side.response.complete) == ([0, 1, 2, 3, 4, 5], True)

    run(main)


@pytest.mark.parametrize("waits", ["for the body", "for the end", "for room"])
def test_a_client_that_leaves_ends_every_wait(waits: str) -> None:
    results: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if waits == "for room":
            await send(start())
            await send(body(b"x" * (AHEAD + 1), more=True))
        elif waits == "for the end":
            await receive()
        results.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send(start())
        await send(start())

    async def main() -> None:
        side = Side(app, "POST", content=iter([]) if waits == "for the body" else b"")
        task = asyncio.create_task(side.call())
        await turns()
        assert not task.done()
        assert side.client_left() is True
        await task
        assert isinstance(side.raised, OSError)

    run(main)
    assert results == [{"type": "http.disconnect"}]


def test_leaving_after_the_end_matters_to_nobody() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body())

    side = Side(app)
    run(side.call)
    assert side.client_left() is False


@pytest.mark.parametrize(
    ("messages", "error", "expected", "words"),
    [
        ([], None, IncompleteResponse, "sent no http.response.start"),
        ([start()], None, IncompleteResponse, "more_body false"),
        ([start(), body(b"a", more=True)], None, httpx2.RemoteProtocolError, "more_body false"),
        ([], ValueError("boom"), ValueError, "boom"),
        ([start(), body(b"a", more=True)], SystemExit("boom"), SystemExit, "boom"),
        ([], asyncio.CancelledError(), IncompleteResponse, "cancelled before"),
        (
            [start(), body(b"", more=True)],
            asyncio.CancelledError(),
            httpx2.RemoteProtocolError,
            "cancelled before",
        ),
        ([{"type": "nonsense"}], None, InvalidMessage, "nonsense"),
    ],
    ids=[
        "nothing",
        "start",
        "half",
        "raised",
        "raised in half",
        "cancelled",
        "cancelled in half",
        "nonsense",
    ],
)
def test_what_an_app_that_ends_too_early_is_for_its_client(
    messages: list[Any], error: BaseException | None, expected: type[BaseException], words: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    side = Side(app)
    run(side.call)
    with pytest.raises(expected, match=words) as raised:
        side.check_end()
    assert raised.value is side.failure


def test_a_body_shorter_than_its_length_is_broken_though_complete() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-length", b"5")]))
        await send(body(b"abc"))

    side = Side(app)
    run(side.call)
    with pytest.raises(httpx2.RemoteProtocolError, match="2 bytes fewer"):
        side.check_end()


@pytest.mark.parametrize("length", ["2", "4"])
def test_the_requests_body_has_the_length_it_says(length: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(httpx2.LocalProtocolError):
        Side(app, "POST", content=b"abc", headers={"Content-Length": length})
    lazy = Side(app, "POST", content=iter([]), headers={"Content-Length": length})

    def read() -> None:
        for piece in (b"abc", None):
            lazy.take_piece(piece)

    with pytest.raises(httpx2.LocalProtocolError):
        read()


def test_surplus_and_late_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-length", b"1")]))
        await send(body(b"abc"))
        raise ValueError("late")

    caplog.set_level("INFO", "bridge.testing")
    run(Side(app).call)
    assert "2 bytes more than its Content-Length" in caplog.text
    assert "after the end of its response: ValueError('late')" in caplog.text
