"""WebSocket sessions with an ASGI app in process, for tests.

    with client.websocket_connect("/ws") as session:
        session.send_text("ping")
        assert session.receive_text() == "pong"

The app runs as a task on an event loop: that of the client's `ASGIHost` for a `WebSocketSession`, the
test's own for an `AsyncWebSocketSession`. `websocket_dialog` is the app's side of both and lives on that
loop; `websocket_session` is what both make of its messages on the test's side.

Who waits, and what ends the wait:

- The test waits for the app's next message, at most for the time-out. The end of the app's task, on
  every way out, is the last thing that it is sent; a loop that has died is noticed within a second.
- The app's `receive()` waits for the test's next message; the test's close, and its leaving the block,
  are messages. Its `send()` waits while more than `AHEAD` bytes have not been received by the test; that
  ends when the test takes some, and by an exception when it closes.
- Leaving the block waits for the end of the app, at most for the time-out; then it is cancelled, and the
  test fails. What refuses to be cancelled ends with the host.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import queue
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..engines.gates import Latch
from ..exceptions import (
    LoopGone,
    UsageError,
    WebSocketDisconnect,
)
from ..types import ASGIApp, Message
from .transports.library import httpx2
from .transports.wire import read_timeout_of
from .websocket_dialog import End, cost
from .websocket_order import check_close
from .websocket_session import NORMAL, Session, bytes_message, json_message, kind_of, text_message

if TYPE_CHECKING:
    from types import EllipsisType

    from .async_client import AsyncClient
    from .client import Client
    from .local_app import LocalApp
    from .transports.asgi_host import ASGIHost

_Transport = TypeVar("_Transport")
_Sync = TypeVar("_Sync", bound="WebSocketSession")
_Async = TypeVar("_Async", bound="AsyncWebSocketSession")

# How often a waiting test looks whether the loop is alive, in seconds.
_LOOK = 1.0
# How long to wait for word from the loop on what the app is doing, in seconds: it may be blocked.
_ASK = 1.0
# A cancelled task ends at its next step, unless it refuses. In seconds.
_CANCEL = 1.0

# A normal end, and one of a server that goes down or a page that is left: iteration ends.
_REGULAR = (1000, 1001)

_SCHEMES = {"ws": "http", "wss": "https"}

_SERVED = (
    "a client of a real server opens no WebSockets: use a WebSocket client with its URL, or an app in process"
)
_THROUGH_WSGI = (
    "WebSockets do not pass through WSGI in this version: connect to an ASGI app natively "
    '(via="native", or via="asgi"), not to a WSGI app and not through ASGIToWSGI'
)


def websocket_scope(http_scope: Mapping[str, Any], subprotocols: Iterable[str] = ()) -> dict[str, Any]:
    """The scope of a WebSocket handshake (ASGI WebSocket 2.5), from that of a GET request to the same URL.

    The headers of a handshake are added, as a client sends them.

    Args:
        http_scope: as `transports.asgi_scope` makes it. It is not changed.
        subprotocols: those that the client offers, in its order of preference.

    Raises:
        UsageError: `subprotocols` is no sequence of text.
    """
    offered = list(subprotocols)
    if isinstance(subprotocols, str) or not all(isinstance(each, str) for each in offered):
        raise UsageError(f"subprotocols is a sequence of text, such as ['chat']; got {subprotocols!r}")
    scope = dict(http_scope)
    scope.pop("method", None)
    handshake = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
    ]
    if offered:
        handshake.append((b"sec-websocket-protocol", ", ".join(offered).encode()))
    replaced = {name for name, _ in handshake}
    kept = [(name, value) for name, value in scope.get("headers", ()) if name.lower() not in replaced]
    extensions = dict(scope.get("extensions") or {})
    extensions.pop("http.response.trailers", None)
    return {
        **scope,
        "type": "websocket",
        "scheme": "wss" if scope.get("scheme") == "https" else "ws",
        "headers": [*kept, *handshake],
        "subprotocols": offered,
        "extensions": {**extensions, "websocket.http.response": {}},
    }


def connect(
    client: Client,
    url: str,
    *,
    subprotocols: Iterable[str] = (),
    timeout: float | EllipsisType | None = ...,
    **options: Any,
) -> WebSocketSession:
    """A session with the app of a client, not entered yet; see `Client.websocket_connect`."""
    transport = _reached(client.local)
    request = _request(client, url, options)
    transport.start()
    return WebSocketSession(
        transport.host,
        websocket_scope(transport.scope_of(request), subprotocols),
        timeout=_bound(timeout, request),
        raise_app_exceptions=transport.raise_app_exceptions,
    )


async def connect_async(
    client: AsyncClient,
    url: str,
    *,
    subprotocols: Iterable[str] = (),
    timeout: float | EllipsisType | None = ...,
    **options: Any,
) -> AsyncWebSocketSession:
    """The same with the app of an async client."""
    transport = _reached(client.local)
    request = _request(client, url, options)
    await transport.start()
    return AsyncWebSocketSession(
        transport.app,
        websocket_scope(transport.scope_of(request), subprotocols),
        timeout=_bound(timeout, request),
        raise_app_exceptions=transport.raise_app_exceptions,
    )


def _reached(local: LocalApp[_Transport, Any] | None) -> _Transport:
    """The transport that calls the app to which a WebSocket goes."""
    if local is None:
        raise UsageError(_SERVED)
    if local.asgi is None or local.way.adapters:
        raise UsageError(_THROUGH_WSGI)
    return local.asgi


def _request(client: Client | AsyncClient, url: str, options: dict[str, Any]) -> httpx2.Request:
    """The GET request that a handshake is, but for what `websocket_scope` adds."""
    unknown = sorted(options.keys() - {"headers", "params", "cookies"})
    if unknown:
        raise UsageError(f"a WebSocket takes headers, params, cookies and timeout; got {', '.join(unknown)}")
    parsed = httpx2.URL(url)
    if parsed.scheme in _SCHEMES:
        parsed = parsed.copy_with(scheme=_SCHEMES[parsed.scheme])
    return client.build_request("GET", parsed, **options)


def _bound(timeout: float | EllipsisType | None, request: httpx2.Request) -> float | None:
    """How many seconds a session waits at a time: `...` stands for what the client has for reading."""
    return read_timeout_of(request) if timeout is ... else timeout


def _is_final(told: BaseException | None) -> bool:
    """Whether the app gets no time after this: it has had it, or the test is being ended (Ctrl-C)."""
    return isinstance(told, TimeoutError) or not isinstance(told, Exception | None)


class WebSocketSession(Session):
    """A WebSocket to an ASGI app on a client's host; `Client.websocket_connect` makes it.

    A context manager. Entering it makes the handshake; leaving it closes with 1000, if nobody has
    closed before, and waits for the app's end. Exceptions of the app are raised by the call that waits,
    or at the end of the block. Meant for one thread at a time.

    Args:
        host: runs the app.
        scope: see `websocket_scope`.
        timeout: seconds for each wait, `None` without limit.
        raise_app_exceptions: what the app raises is raised in the test; else it is what a server would
            make of it: a denial of 500 before the acceptance, a close with 1011 after it.
    """

    def __init__(
        self,
        host: ASGIHost,
        scope: dict[str, Any],
        *,
        timeout: float | None = 30.0,
        raise_app_exceptions: bool = True,
    ) -> None:
        super().__init__(host.app, scope, timeout, raise_app_exceptions)
        self._host = host
        self._news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._run: Any = None

    def _deliver(self, item: Any) -> None:
        self._news.put(item)

    def __enter__(self: _Sync) -> _Sync:
        """Connect.

        Raises:
            WebSocketDenied: the app closed, or sent a response, instead of accepting.
            IncompleteResponse: the app ended without an answer.
            TimeoutError: it gave none in time.
            What the app raised; and what starting its lifespan raises, see `ASGIHost.start`.
        """
        self._enter()
        self._run = self._host.run(
            self._dialog.run, leave=self._dialog.leave, context=contextvars.copy_context()
        )
        try:
            while not self._answer(self._next("the app did not answer the handshake")):
                pass
        except BaseException as error:
            self._finish(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._left and self._closed is None and self._end is None:
            self._leave(NORMAL, "")
        self._finish(error)

    def __iter__(self) -> Iterator[str | bytes]:
        """The contents of the app's messages, until it closes with 1000 or 1001."""
        while True:
            try:
                content = self._content(self.receive())
            except WebSocketDisconnect as closed:
                if closed.code not in _REGULAR:
                    raise
                return
            yield content

    def receive(self) -> dict[str, Any]:
        """The app's next message: a `websocket.send` or, at last, its `websocket.close`.

        Raises:
            WebSocketDisconnect: it has closed, and the message of that has been received; or it ended
                without closing (code 1006).
            TimeoutError: none came in time; the message says what the app was doing. It may come yet.
            What the app raised.
        """
        if self._held:
            held: dict[str, Any] = self._held.popleft()
            return held
        if not self._accepted:
            raise UsageError(
                "receive() needs an open session: `with client.websocket_connect(...) as session:`"
            )
        if self._closed is not None:
            raise self._closed
        if self._end is not None:
            raise self._over(self._end)
        message = self._take(self._next("no message came"))
        if self._dialog.held_up:
            self._submit(self._dialog.wake)
        return message

    def receive_text(self) -> str:
        """The text of the app's next message; raises as `receive` does.

        Raises:
            WebSocketDisconnect: it is a close, or the app has closed before.
            UsageError: the message is one of bytes, which is kept for `receive_bytes`.
        """
        text: str = self._data(self.receive(), "text")
        return text

    def receive_bytes(self) -> bytes:
        """The bytes of the app's next message; raises as `receive_text` does."""
        data: bytes = self._data(self.receive(), "bytes")
        return data

    def receive_json(self, mode: Literal["text", "binary"] = "text") -> Any:
        """The value of the app's next message, JSON in text or in bytes; raises as `receive_text` does."""
        return json.loads(self._data(self.receive(), kind_of(mode)))

    def send(self, message: Message) -> None:
        """Give the app a message: `websocket.receive` or `websocket.disconnect`. Does not wait.

        Raises:
            WebSocketDisconnect: the app has closed, and the test has been told.
            UsageError: the test has closed; or the message is none of these.
            LoopGone: the app's event loop has ended.
        """
        self._check_open("send()")
        checked = self._message(message)
        if checked["type"] == "websocket.disconnect":
            self._leave(checked.get("code", 1005), checked.get("reason") or "")
        else:
            self._host.submit(lambda: self._dialog.put(checked))

    def send_text(self, data: str) -> None:
        """Send text; raises as `send` does."""
        self.send(text_message(data))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes; raises as `send` does."""
        self.send(bytes_message(data))

    def send_json(self, data: Any, mode: Literal["text", "binary"] = "text") -> None:
        """Send a value as JSON, in text or in bytes; raises as `send` does."""
        self.send(json_message(data, mode))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close: the app gets `websocket.disconnect`. Does not wait; does nothing if it is closed already.

        Raises:
            UsageError: no Close frame may carry this code or reason.
        """
        check_close(code, reason, UsageError, "close()")
        if self._accepted and not self._left and self._closed is None:
            self._leave(code, reason)

    # -- waits

    def _leave(self, code: int, reason: str) -> None:
        self._left = True
        self._submit(lambda: self._dialog.leave(code, reason))

    def _submit(self, callback: Callable[[], object]) -> None:
        try:
            self._host.submit(callback)
        except LoopGone:
            pass  # then the app is gone too, as the next wait finds out

    def _next(self, missing: str) -> Any:
        """The next item from the app; see "Who waits" above."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            left = _LOOK if deadline is None else min(_LOOK, max(0.0, deadline - time.monotonic()))
            # In this order: what a loop delivered before it died is there when it is found dead.
            alive = self._host.alive()
            try:
                return self._news.get(timeout=left)
            except queue.Empty:
                pass
            if not alive:
                raise LoopGone("the event loop of the app has ended during the session")
            if deadline is not None and time.monotonic() >= deadline:
                assert self._timeout is not None
                raise self._late(missing, self._timeout, self._doing())

    def _finish(self, told: BaseException | None) -> None:
        """Wait until the app is over, and put things in order; see "Who waits" above."""
        if told is not None:
            self._submit(self._dialog.leave)
        if _is_final(told):
            self._run.cancel_soon()
            self._timeout = _CANCEL
        late: TimeoutError | None = None
        while self._end is None:
            try:
                item = self._next("the app did not end after the WebSocket was closed")
            except TimeoutError as error:
                if late is not None:
                    break
                late = error
                self._run.cancel_soon()
                self._timeout = _CANCEL
                continue
            except LoopGone:
                break
            if isinstance(item, End):
                self._end = item
            else:
                # Nobody wants it; but the app may wait for its being taken.
                self._dialog.taken += cost(item)
                self._submit(self._dialog.wake)
        if late is not None and told is None:
            raise late
        if self._end is not None:
            failure = self._after(self._end, told)
            if failure is not None:
                raise failure

    def _doing(self) -> str:
        """What the app does just now, in words that follow "the app"."""
        answer: list[str] = []
        latch = Latch()

        def look() -> None:
            try:
                answer.append(self._dialog.doing(self._run.task))
            finally:
                latch.set()

        try:
            self._host.submit(look)
        except LoopGone:
            return "is gone: its event loop has ended"
        if latch.wait(_ASK, self._host.alive) and answer:
            return answer[0]
        frame = sys._current_frames().get(self._dialog.thread)
        blocked = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
        return f"blocks the event loop at\n{blocked}".rstrip()


class AsyncWebSocketSession(Session):
    """The same for a test that runs on asyncio itself; `AsyncClient.websocket_connect` makes it.

    The app runs as a task on the test's loop. Everything is awaited: `async with`, `await
    session.send_text(...)`, `await session.receive_text()`, `async for`. To be used in one task at a time.

    Args:
        app: an ASGI 3 app, whose lifespan is the client's affair.
        scope, timeout, raise_app_exceptions: as for `WebSocketSession`.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: dict[str, Any],
        *,
        timeout: float | None = 30.0,
        raise_app_exceptions: bool = True,
    ) -> None:
        super().__init__(app, scope, timeout, raise_app_exceptions)
        self._news: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def _deliver(self, item: Any) -> None:
        self._news.put_nowait(item)

    async def __aenter__(self: _Async) -> _Async:
        """Connect; raises as `WebSocketSession.__enter__` does."""
        self._enter()
        self._task = asyncio.get_running_loop().create_task(self._dialog.run(), name="bridge-websocket")
        try:
            while not self._answer(await self._next("the app did not answer the handshake")):
                pass
        except BaseException as error:
            await self._finish(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._left and self._closed is None and self._end is None:
            self._leave(NORMAL, "")
        await self._finish(error)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The contents of the app's messages, until it closes with 1000 or 1001."""
        while True:
            try:
                content = self._content(await self.receive())
            except WebSocketDisconnect as closed:
                if closed.code not in _REGULAR:
                    raise
                return
            yield content

    async def receive(self) -> dict[str, Any]:
        """As `WebSocketSession.receive`."""
        if self._held:
            held: dict[str, Any] = self._held.popleft()
            return held
        if not self._accepted:
            raise UsageError("receive() needs an open session: `async with client.websocket_connect(...)`")
        if self._closed is not None:
            raise self._closed
        if self._end is not None:
            raise self._over(self._end)
        message = self._take(await self._next("no message came"))
        if self._dialog.held_up:
            self._dialog.wake()
        return message

    async def receive_text(self) -> str:
        """As `WebSocketSession.receive_text`."""
        text: str = self._data(await self.receive(), "text")
        return text

    async def receive_bytes(self) -> bytes:
        """As `WebSocketSession.receive_bytes`."""
        data: bytes = self._data(await self.receive(), "bytes")
        return data

    async def receive_json(self, mode: Literal["text", "binary"] = "text") -> Any:
        """As `WebSocketSession.receive_json`."""
        return json.loads(self._data(await self.receive(), kind_of(mode)))

    async def send(self, message: Message) -> None:
        """As `WebSocketSession.send`."""
        self._check_open("send()")
        checked = self._message(message)
        if checked["type"] == "websocket.disconnect":
            self._leave(checked.get("code", 1005), checked.get("reason") or "")
        else:
            self._dialog.put(checked)

    async def send_text(self, data: str) -> None:
        """As `WebSocketSession.send_text`."""
        await self.send(text_message(data))

    async def send_bytes(self, data: bytes) -> None:
        """As `WebSocketSession.send_bytes`."""
        await self.send(bytes_message(data))

    async def send_json(self, data: Any, mode: Literal["text", "binary"] = "text") -> None:
        """As `WebSocketSession.send_json`."""
        await self.send(json_message(data, mode))

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """As `WebSocketSession.close`."""
        check_close(code, reason, UsageError, "close()")
        if self._accepted and not self._left and self._closed is None:
            self._leave(code, reason)

    # -- waits

    def _leave(self, code: int, reason: str) -> None:
        self._left = True
        self._dialog.leave(code, reason)

    async def _next(self, missing: str) -> Any:
        """The next item from the app, whose task delivers its end on every way out."""
        try:
            return await asyncio.wait_for(self._news.get(), self._timeout)
        except asyncio.TimeoutError:
            assert self._timeout is not None
            where = self._dialog.doing(self._task)
            raise self._late(missing, self._timeout, where) from None

    async def _finish(self, told: BaseException | None) -> None:
        """Wait until the app is over, at most for the time-out; a test that is cancelled cancels the app."""
        task = self._task
        assert task is not None
        self._dialog.leave()
        late: TimeoutError | None = None
        if _is_final(told):
            task.cancel()
            self._timeout = _CANCEL
        try:
            _, pending = await asyncio.wait((task,), timeout=self._timeout)
            if pending:
                assert self._timeout is not None
                where = self._dialog.doing(task)
                late = self._late("the app did not end after the WebSocket was closed", self._timeout, where)
                task.cancel()
                await asyncio.wait((task,), timeout=_CANCEL)
        except asyncio.CancelledError:
            task.cancel()
            raise
        while not self._news.empty():
            item = self._news.get_nowait()
            if isinstance(item, End):
                self._end = item
        if late is not None and told is None:
            raise late
        if self._end is not None:
            error = self._after(self._end, told)
            if error is not None:
                raise error
