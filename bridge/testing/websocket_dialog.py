"""The app's side of a WebSocket session: what it receives, what it sends, and where it is.

Everything here runs on the app's event loop, but for what says otherwise. The test's side is in
`websocket`, which also says who waits for what.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import ClientDisconnected
from ..types import ASGIApp, Message
from .websocket_order import Order, Phase

AHEAD = 256 * 1024
"""How many bytes the app may send that the test has not received yet; what bridge's adapters allow."""

# What a message costs beyond its content, so that empty ones are bounded as well.
_OVERHEAD = 64

# What frameworks raise in a handler whose client has left; when it leaves the app, nothing is wrong.
# (Starlette, FastAPI and Litestar; told by name, so that none of them is needed.)
_DEPARTURES = frozenset({"WebSocketDisconnect", "ClientDisconnected", "CancelledError"})

# How many lines of a stack are told; the last ones are the app's own.
_LINES = 8
_OWN = "bridge.testing."


class End:
    """The last thing that the test is sent: the app is over, by this exception if there is one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Dialog:
    """The app's side of a session. All methods run on the loop, but for what says otherwise.

    Args:
        deliver: takes what the test is to see: messages of the app as `Order` returns them, at last
            an `End`.

    Attributes:
        taken: how much of that the test has taken, by `cost`; the test's side writes it.
        violation: the first rule that the app broke, which it may have caught.
        gone: the test has closed.
        thread: the loop's, for a report on what blocks it.
    """

    def __init__(self, app: ASGIApp, scope: dict[str, Any], deliver: Callable[[Any], object]) -> None:
        self.taken = 0
        self.violation: BaseException | None = None
        self.gone = False
        self.thread = 0
        self._awaiting = "has not come to receive() or send()"
        self._app = app
        self._scope = scope
        self._deliver = deliver
        self._order = Order(scope["subprotocols"])
        self._put = 0
        # What a test sends it holds in memory anyway, so there is no bound.
        self._inbox: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._disconnect: dict[str, Any] | None = None
        # Those who wait in receive() and in send(): one each, or more if the app has several tasks.
        self._readers: set[asyncio.Future[None]] = set()
        self._writers: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Call the app; the task of the session."""
        self.thread = threading.get_ident()
        error: BaseException | None = None
        try:
            await self._app(self._scope, self._receive, self._send)
        except BaseException as raised:
            error = raised
        self._deliver(End(error))
        del error  # its traceback refers to this frame

    def put(self, message: dict[str, Any]) -> None:
        """A message of the test's for the app; it is lost if the app has closed, as on a real socket."""
        if self._disconnect is None:
            self._inbox.append(message)
            self.wake()

    def leave(self, code: int = 1006, reason: str = "") -> bool:
        """The test closes, or is lost: the app is told, after what was put before.

        Returns:
            Whether there was anybody to be told.
        """
        self.gone = True
        told = self._disconnect is None
        if told:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            # The answer of a server to a Close frame is one with the same code.
            self._deliver({"type": "websocket.close", "code": code, "reason": reason})
        self.wake()
        return told

    def wake(self) -> None:
        """Have those who wait look again."""
        for waiter in (*self._readers, *self._writers):
            if not waiter.done():
                waiter.set_result(None)

    @property
    def held_up(self) -> bool:
        """Whether the app waits for room that there is by now. From any thread, after `taken` has grown."""
        return bool(self._writers) and self._has_room

    @property
    def _has_room(self) -> bool:
        return self._put - self.taken <= AHEAD // 2

    async def _pause(self, waiters: set[asyncio.Future[None]], over: Callable[[], bool]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters.add(waiter)
        try:
            # Looked at once more: a test that takes in its own thread looks for waiters after it has taken.
            if not over():
                await waiter
        finally:
            waiters.discard(waiter)

    async def _receive(self) -> Message:
        self._awaiting = "waits in receive() for a message of the test's"
        try:
            while True:
                if self._inbox:
                    return self._inbox.popleft()
                if self._disconnect is not None:
                    return dict(self._disconnect)
                await self._pause(self._readers, lambda: False)
        finally:
            self._awaiting = "has come back from receive(), and is elsewhere"

    async def _send(self, message: Message) -> None:
        if self.gone and self._order.phase is not Phase.OVER:
            # ASGI HTTP and WebSocket 2.4, "Disconnected Client"
            raise ClientDisconnected("the client has closed the WebSocket, so nothing can be sent")
        try:
            taken = self._order.take(message)
        except Exception as error:
            self.violation = self.violation or error
            raise
        if self._order.phase is Phase.OVER:
            self._is_over(taken)
        self._put += cost(taken)
        self._deliver(taken)
        self._awaiting = "waits in send() until the test has received what was sent before"
        try:
            while self._put - self.taken > AHEAD and not self.gone:
                await self._pause(self._writers, lambda: self._has_room)
        finally:
            self._awaiting = "has come back from send(), and is elsewhere"

    def _is_over(self, last: Mapping[str, Any]) -> None:
        # What the app gets if it asks for more: the client's answer to a Close frame has the same code; a
        # handshake that was refused never was a connection.
        opened = last["type"] == "websocket.close" and self._order.accepted
        code, reason = (last["code"], last["reason"]) if opened else (1006, "")
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._inbox.clear()
        self.wake()

    def is_departure(self, error: BaseException) -> bool:
        """Whether an exception that left the app says that its client has gone, of which it had been told."""
        if self._disconnect is None:
            return False
        inner = getattr(error, "exceptions", None)  # of a group, as task groups raise them
        if inner:
            return all(self.is_departure(each) for each in inner)
        return not _DEPARTURES.isdisjoint(each.__name__ for each in type(error).__mro__)

    def doing(self, task: asyncio.Task[None] | None) -> str:
        """What the app does, in words that follow "the app", and where: the innermost coroutine last."""
        lines = []
        awaited: Any = None if task is None else task.get_coro()
        while awaited is not None:
            frame = _first(awaited, "cr_frame", "gi_frame", "ag_frame")
            if frame is not None and not frame.f_globals.get("__name__", "").startswith(_OWN):
                code = frame.f_code
                lines.append(f'\n  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
            awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
        return f"{self._awaiting}{':' if lines else ''}{''.join(lines[-_LINES:])}"


def cost(message: Mapping[str, Any]) -> int:
    """What a message of the app counts against `AHEAD`."""
    content = message.get("text") or message.get("bytes") or message.get("body") or b""
    return len(content) + _OVERHEAD


def _first(thing: object, *names: str) -> Any:
    """The first attribute that is there and is not `None`."""
    return next((found for name in names if (found := getattr(thing, name, None)) is not None), None)
