"""The app's side of a session, on a loop of the test's own: what it receives, when it waits, where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.exceptions import ClientDisconnected, InvalidMessage
from bridge.testing import websocket_dialog
from bridge.testing.websocket_dialog import AHEAD, Dialog, End, cost

SCOPE: dict[str, Any] = {"type": "websocket", "subprotocols": []}
ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close", "code": 4001, "reason": "why"}
Test = Callable[[Dialog, list[Any], "asyncio.Task[None]"], Awaitable[None]]


def drive(app: Any, test: Test) -> list[Any]:
    """Run an app and what the test does meanwhile; returns what was delivered."""
    items: list[Any] = []

    async def main() -> None:
        dialog = Dialog(app, SCOPE, items.append)
        task = asyncio.ensure_future(dialog.run())
        await turns()
        await test(dialog, items, task)
        await asyncio.wait_for(task, 10.0)

    asyncio.run(main())
    return items


async def turns(count: int = 5) -> None:
    """Let the loop turn, so that all who can go on have."""
    for _ in range(count):
        await asyncio.sleep(0)


def kinds(items: list[Any]) -> list[str]:
    """What was delivered, in short."""
    return ["end" if isinstance(item, End) else item["type"].removeprefix("websocket.") for item in items]


def test_the_app_is_told_of_the_connection_first_then_of_messages_then_of_the_close() -> None:
    """What was sent before the close comes before it; the close comes again and again."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope is SCOPE
        await send(ACCEPT)
        seen.extend([await receive() for _ in range(5)])

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        dialog.put({"type": "websocket.receive", "text": "one"})
        dialog.put({"type": "websocket.receive", "text": "two"})
        assert dialog.leave(1001, "bye")
        assert not dialog.leave(1000)  # only the first one counts

    items = drive(app, test)
    bye = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
    assert [message.get("text", message["type"]) for message in seen[:3]] == [
        "websocket.connect",
        "one",
        "two",
    ]
    assert seen[3:] == [bye, bye]
    assert kinds(items) == ["accept", "close", "end"]


AFTER_ITS_CLOSE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "accepted": ([ACCEPT, CLOSE], {"code": 4001, "reason": "why"}),
    "refused": ([CLOSE], {"code": 1006, "reason": ""}),
    "denied": (
        [{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.http.response.body"}],
        {"code": 1006, "reason": ""},
    ),
}


@pytest.mark.parametrize("case", AFTER_ITS_CLOSE)
def test_an_app_that_has_closed_gets_a_disconnect_and_nothing_else(case: str) -> None:
    """Not what the test had sent and the app not received, nor what it sends later."""
    messages, expected = AFTER_ITS_CLOSE[case]
    seen: list[Any] = []
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await go.wait()
        for message in messages:
            await send(message)
        dialogs[0].put({"type": "websocket.receive", "text": "late"})
        seen.append(await receive())

    dialogs: list[Dialog] = []

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        dialogs.append(dialog)
        dialog.put({"type": "websocket.receive", "text": "early"})
        go.set()

    drive(app, test)
    assert seen == [{"type": "websocket.disconnect", **expected}]


def test_sending_to_a_client_that_has_left_is_an_os_error() -> None:
    """ASGI WebSocket 2.4: "Disconnected Client"; also for an app that was waiting for room."""
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * AHEAD})
        except OSError as error:
            raised.append(error)

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        assert not task.done()
        dialog.leave(1000)

    items = drive(app, test)
    assert [type(error) for error in raised] == [ClientDisconnected]
    assert kinds(items)[-2:] == ["close", "end"]


def test_sending_after_its_own_close_is_a_mistake_of_the_app() -> None:
    """Which is remembered, in case the app catches it."""
    dialogs: list[Dialog] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(CLOSE)
        await receive()
        for _ in range(2):
            with pytest.raises(InvalidMessage, match="after it had closed"):
                await send(ACCEPT)

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        dialogs.append(dialog)
        dialog.leave()

    assert kinds(drive(app, test)) == ["accept", "close", "end"]
    assert isinstance(dialogs[0].violation, InvalidMessage)


def test_an_app_runs_ahead_of_the_test_only_so_far() -> None:
    """Then it waits until the test has taken half of it."""
    piece = {"type": "websocket.send", "bytes": b"x" * (AHEAD // 8 - 64)}
    assert cost(piece) == AHEAD // 8

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        while True:
            await send(piece)

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        await turns(50)
        # The acceptance costs a little, so that eight pieces are just beyond the bound.
        assert len(items) == 9
        for item in items[:4]:
            dialog.taken += cost(item)
            assert not dialog.held_up
        for item in items[4:6]:
            dialog.taken += cost(item)
        assert dialog.held_up
        dialog.wake()
        await turns(50)
        # Three were left; now that the acceptance is taken, eight are not beyond the bound.
        assert len(items) == 9 + 6
        dialog.leave()

    drive_expecting(ClientDisconnected, app, test)


def drive_expecting(kind: type[BaseException], app: Any, test: Test) -> None:
    """`drive`; the app ends by an exception of this kind."""
    last = drive(app, test)[-1]
    assert isinstance(last, End)
    assert isinstance(last.error, kind)


def test_room_that_comes_while_the_app_begins_to_wait_is_not_missed() -> None:
    """A test in a thread takes all, and sees nobody waiting, before the app has begun to."""
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": b"x" * AHEAD})
        sent.append(1)

    async def main() -> None:
        dialog = Dialog(app, SCOPE, lambda item: None)

        async def pausing(waiters: Any, over: Callable[[], bool]) -> None:
            dialog.taken = 10 * AHEAD  # between the app's look and its wait
            await original(waiters, over)

        original = dialog._pause
        dialog._pause = pausing  # type: ignore[method-assign]
        await asyncio.wait_for(dialog.run(), 10.0)

    asyncio.run(main())
    assert sent == [1]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), None], ids=repr)
def test_the_end_of_the_app_is_the_last_thing_delivered(error: BaseException | None) -> None:
    """Whatever ends it; nothing of it ends the loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        if error is not None:
            raise error

    async def test(dialog: Dialog, items: list[Any], task: Any) -> None:
        pass

    items = drive(app, test)
    assert kinds(items) == ["accept", "end"]
    assert items[-1].error is error


class WebSocketDisconnect(Exception):
    """As frameworks have it."""


class Group(Exception):
    """As `ExceptionGroup`."""

    def __init__(self, *exceptions: BaseException) -> None:
        super().__init__("group")
        self.exceptions = exceptions


DEPARTURES: dict[str, tuple[BaseException, bool]] = {
    "frameworks": (WebSocketDisconnect(), True),
    "subclass": (type("Other", (WebSocketDisconnect,), {})(), True),
    "send": (ClientDisconnected(), True),
    "cancelled": (asyncio.CancelledError(), True),
    "group": (Group(WebSocketDisconnect(), Group(ClientDisconnected())), True),
    "mixed-group": (Group(WebSocketDisconnect(), ValueError()), False),
    "mistake": (ValueError(), False),
    "os-error": (OSError(), False),
}


@pytest.mark.parametrize("case", DEPARTURES)
def test_what_says_that_the_client_has_gone_is_no_failure_once_it_has(case: str) -> None:
    error, departure = DEPARTURES[case]
    dialog = Dialog(lambda *_: None, SCOPE, lambda item: None)  # type: ignore[arg-type]
    assert not dialog.is_departure(error)
    dialog.leave()
    assert dialog.is_departure(error) == departure


async def innermost(event: asyncio.Event) -> None:
    """Where an app of the next test hangs."""
    await event.wait()


PLACES: dict[str, tuple[Callable[[Any, Any, asyncio.Event], Awaitable[Any]], str]] = {
    "receive": (lambda receive, send, event: receive(), "waits in receive() for a message"),
    "send": (
        lambda receive, send, event: send({"type": "websocket.send", "bytes": b"x" * 2 * AHEAD}),
        "waits in send() until the test has received",
    ),
    "elsewhere": (
        lambda receive, send, event: innermost(event),
        "has come back from receive(), and is elsewhere",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_where_an_app_is(place: str) -> None:
    """In words, and by the coroutines of it that wait, without those of this package."""
    wait, words = PLACES[place]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await receive()
        await wait(receive, send, asyncio.Event())

    async def test(dialog: Dialog, items: list[Any], task: asyncio.Task[None]) -> None:
        told = dialog.doing(task)
        assert words in told
        assert f'File "{__file__}"' in told
        assert "in app" in told
        assert ("in innermost" in told) == (place == "elsewhere")
        assert websocket_dialog.__file__ not in told
        task.cancel()

    drive(app, test)


def test_an_app_that_has_not_begun_is_nowhere() -> None:
    dialog = Dialog(lambda *_: None, SCOPE, lambda item: None)  # type: ignore[arg-type]
    assert dialog.doing(None) == "has not come to receive() or send()"
