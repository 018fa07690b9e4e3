"""An ASGI server in process: it drives one app with a script and watches that the app keeps the rules.

    def test_it(loop):
        done = serve(app, http_scope(), loop=loop)
        assert (done.status, done.body) == (200, b"hello")

`serve` runs one `Exchange` to its end on a loop of its own. `run` runs a coroutine function with
several; `beside` is a coroutine function that acts as the client while the request runs.

What every exchange asserts, whatever the test is about: at most one `receive()` and one `send()` are
in progress; `send` is called from the request's own task and Context, and both from the loop's
thread; neither is called once the app has returned; messages come in an order that a server accepts,
with exact types. What every run asserts: no task is left on the loop, and the loop had no complaint.

All waits are bounded. Nothing here sleeps: what has to happen first is waited for.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

import trio

from support.scopes import http_scope

LOOPS: tuple[str, ...] = ("asyncio", "trio") if sys.platform == "win32" else ("asyncio", "uvloop", "trio")
"""The async libraries that everything has to run on."""

TIMEOUT = 20.0
"""What takes longer than this (seconds) hangs."""

# How often the loop may turn until what was cancelled is gone.
_TURNS = 1000

T = TypeVar("T")
Message: TypeAlias = dict[str, Any]
Step: TypeAlias = "Message | BaseException | Signal | int"
Beside: TypeAlias = "Callable[[Exchange], Awaitable[object]]"


class ASGIApp(Protocol):
    """An ASGI 3 application."""

    def __call__(self, scope: Any, receive: Any, send: Any, /) -> Coroutine[Any, Any, None]: ...


class Signal:
    """An event that any thread may set, and that threads and tasks of any loop may wait for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []

    def set(self) -> None:
        with self._lock:
            self._event.set()
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait in a thread."""
        assert self._event.wait(timeout), "what the thread waits for did not happen"

    async def come(self) -> None:
        """Wait in a task."""
        wake, woken = _waker()
        with self._lock:
            if self._event.is_set():
                return
            self._wakers.append(wake)
        await woken()


def _waker() -> tuple[Callable[[], None], Callable[[], Awaitable[None]]]:
    """A function for any thread, and what the running task awaits until it is called."""
    if trio.lowlevel.in_trio_task():
        event = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def wake_trio() -> None:
            try:
                token.run_sync_soon(event.set)
            except trio.RunFinishedError:
                pass

        return wake_trio, event.wait
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake_asyncio() -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(None))
        except RuntimeError:
            pass  # the loop is closed, so nobody waits

    async def wait_asyncio() -> None:
        await future

    return wake_asyncio, wait_asyncio


async def checkpoint() -> None:
    """Let the loop turn once."""
    if trio.lowlevel.in_trio_task():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def poll(condition: Callable[[], bool], timeout: float = TIMEOUT / 2) -> None:
    """Wait until a condition holds that no signal tells of, such as what a pool's `stats` say."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "what was polled for did not happen"
        await pause(0.001)


async def pause(seconds: float) -> None:
    """Sleep; only for what no event tells of."""
    await (trio.sleep if trio.lowlevel.in_trio_task() else asyncio.sleep)(seconds)


def _current_task() -> object:
    return trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else asyncio.current_task()


def requests(*chunks: bytes, more: bool = False) -> list[Message]:
    """The `http.request` messages of a body in these pieces; with `more`, the body is not complete."""
    last = len(chunks) - 1
    return [
        {"type": "http.request", "body": chunk, "more_body": more or number < last}
        for number, chunk in enumerate(chunks)
    ]


def disconnect() -> Message:
    """The message that the client is gone."""
    return {"type": "http.disconnect"}


def length(size: int) -> tuple[bytes, bytes]:
    """A `Content-Length` header as a scope has it."""
    return b"content-length", b"%d" % size


def post(*headers: tuple[bytes, bytes], **overrides: Any) -> dict[str, Any]:
    """The scope of a POST with these headers beside `Host`."""
    overrides.setdefault("method", "POST")
    return http_scope(headers=[(b"host", b"testserver"), *headers], **overrides)


_exchange_of_task: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


class Exchange:
    """One connection scope served by an app, with a scripted client.

    Args:
        app: the ASGI app.
        scope: what it is called with.
        receive: what `receive()` gives, in order: a message is returned, an exception is raised, a
            `Signal` is waited for before what follows it, a number is so many turns of the loop. After
            the last, `receive()` waits for `feed`; after a disconnect, and once the response is
            complete, it gives `http.disconnect` for ever, as servers do.
        fail_receive: exceptions to raise, by the number of the call to `receive()`, counted from 1.
        fail_send: the same for `send()`.
        cancel_at: cancel the request at its n-th await that suspends, counted from 1.
        turns: how often the loop turns before `send()` returns.

    Attributes:
        sent: the messages that `send()` was called with and that it did not refuse.
        received: the messages that `receive()` has returned.
        receives, sends: how often the two were called.
        log: those calls in order: `"receive"`, or the type of the message that was sent.
        error: what the app raised.
        cancelled: whether a cancellation came out of the app.
        ended: whether the app has returned or raised.
        context: the request's Context after the end.
        awaits: how often the request's task was suspended.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: dict[str, Any] | None = None,
        receive: Iterable[Step] = (),
        *,
        fail_receive: Mapping[int, Exception] | None = None,
        fail_send: Mapping[int, Exception] | None = None,
        cancel_at: int | None = None,
        turns: int = 0,
    ) -> None:
        self.app = app
        self.scope = http_scope() if scope is None else scope
        self.sent: list[Message] = []
        self.received: list[Message] = []
        self.receives = 0
        self.sends = 0
        self.log: list[str] = []
        self.error: BaseException | None = None
        self.cancelled = False
        self.ended = False
        self.context = contextvars.Context()
        self.awaits = 0
        self.cancel_at = cancel_at
        self._script: deque[Step] = deque(receive)
        self._fail_receive = dict(fail_receive or {})
        self._fail_send = dict(fail_send or {})
        self._turns = turns
        self._gate: Signal | None = None
        self._receiving = False
        self._sending = False
        self._gone = False
        self._violations: list[str] = []
        self._order = _Order(self.scope)
        self._changes: list[Callable[[], None]] = []
        self._task: object = None
        self._thread = 0
        self._cancel: Callable[[], object] = lambda: None

    # -- what came of it

    @property
    def starts(self) -> list[Message]:
        """The `http.response.start` messages."""
        return [message for message in self.sent if message["type"] == "http.response.start"]

    @property
    def status(self) -> int | None:
        """The status of the response; `None` if none was sent."""
        return self.starts[0]["status"] if self.starts else None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the response."""
        return list(self.starts[0]["headers"]) if self.starts else []

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that occurs at most once."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name!r} occurs {len(values)} times"
        return values[0] if values else None

    @property
    def chunks(self) -> list[bytes]:
        """The bodies of the `http.response.body` messages, empty ones too."""
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        """The body of the response so far."""
        return b"".join(self.chunks)

    @property
    def complete(self) -> bool:
        """Whether the response was ended."""
        return self._order.complete

    def unwrap(self) -> Exchange:
        """Raise what the app raised."""
        if self.error is not None:
            raise self.error
        return self

    # -- what the client does; on the loop's thread

    def feed(self, *steps: Step) -> None:
        """Add to what `receive()` gives."""
        self._script.extend(steps)
        self._changed()

    def hold(self) -> None:
        """Let `send()` take messages but not return, as if the client did not read."""
        if self._gate is None:
            self._gate = Signal()

    def release(self) -> None:
        """Let held and later `send()` calls return."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.set()

    def cancel(self) -> None:
        """Cancel the request."""
        self._cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is asked whenever something happens in this exchange."""
        while not condition():
            assert not self.ended or condition(), f"the request ended first: {self!r}"
            wake, woken = _waker()
            self._changes.append(wake)
            await woken()

    async def sending(self, count: int) -> None:
        """Wait until `send()` has been called so often."""
        await self.until(lambda: len(self.sent) >= count)

    async def until_body(self, size: int) -> None:
        """Wait until at least so many bytes of body were sent."""
        await self.until(lambda: len(self.body) >= size)

    async def receiving(self, count: int) -> None:
        """Wait until `receive()` has been called so often."""
        await self.until(lambda: self.receives >= count)

    async def until_end(self) -> None:
        """Wait until the app has ended."""
        await self.until(lambda: self.ended)

    def _changed(self) -> None:
        changes, self._changes = self._changes, []
        for wake in changes:
            wake()

    # -- as a server

    async def receive(self) -> Message:
        self._guard("receive", self._receiving)
        self._receiving = True
        self.receives += 1
        self.log.append("receive")
        self._changed()
        try:
            failure = self._fail_receive.get(self.receives)
            if failure is not None:
                raise failure
            message = await self._next_message()
            self.received.append(message)
            return message
        finally:
            self._receiving = False

    async def _next_message(self) -> Message:
        while True:
            if self._gone or self._order.complete:
                return disconnect()
            if not self._script:
                wake, woken = _waker()
                self._changes.append(wake)
                await woken()
                continue
            step = self._script[0]
            if isinstance(step, Signal) and not step.is_set:
                await step.come()
                continue
            if isinstance(step, int) and step > 0:
                self._script[0] = step - 1
                await checkpoint()
                continue
            self._script.popleft()
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, dict):
                self._gone = step["type"].endswith(".disconnect")
                return dict(step)

    async def send(self, message: Message) -> None:
        self._guard("send", self._sending)
        if _current_task() is not self._task or _exchange_of_task.get() is not self:
            self._violations.append("send() was called outside of the request's own task")
        self._sending = True
        self.sends += 1
        self.log.append(message["type"])
        try:
            failure = self._fail_send.get(self.sends)
            if failure is not None:
                raise failure
            if self.scope["type"] == "http":
                self._violations += self._order.check(message)
            self.sent.append(dict(message))
            self._changed()
            for _ in range(self._turns):
                await checkpoint()
            if self._gate is not None:
                await self._gate.come()
        finally:
            self._sending = False

    def _guard(self, name: str, busy: bool) -> None:
        if busy:
            self._violations.append(f"a second {name}() was called while one was in progress")
        if self.ended:
            self._violations.append(f"{name}() was called after the app had returned")
        if threading.get_ident() != self._thread:
            self._violations.append(f"{name}() was called in another thread than the loop's")

    # -- running

    async def go(self, beside: Beside | None = None) -> Exchange:
        """Serve the exchange in a task of its own until the app ends; `beside` runs meanwhile."""
        self._thread = threading.get_ident()
        if trio.lowlevel.in_trio_task():
            await self._go_trio(beside)
        else:
            await self._go_asyncio(beside)
        # A companion that was left behind has its last turn before the books are closed.
        await checkpoint()
        assert self._violations == [], self._violations
        return self

    async def _go_asyncio(self, beside: Beside | None) -> None:
        task = asyncio.create_task(self._request())
        self._cancel = task.cancel
        try:
            if beside is not None:
                await beside(self)
            await asyncio.wait((task,))
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    async def _go_trio(self, beside: Beside | None) -> None:
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            self._cancel = scope.cancel
            nursery.start_soon(self._request_in, scope)
            try:
                if beside is not None:
                    await beside(self)
                await self.until(lambda: self.ended)
            except Exception as caught:  # kept out of the nursery, which would wrap it in a group
                error = caught
                scope.cancel()
        if error is not None:
            raise error

    async def _request_in(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._request()
        self.cancelled = scope.cancelled_caught

    async def _request(self) -> None:
        self._task = _current_task()
        _exchange_of_task.set(self)
        try:
            await self._counted(self.app(self.scope, self.receive, self.send))
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            self.error = error  # trio's cancellations are for its scope alone, alone or in a group
        finally:
            self.ended = True
            self.context = contextvars.copy_context()
            self._task = None
            self._changed()

    @types.coroutine
    def _counted(self, inner: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        """Step `inner` by hand, to see each time that it suspends its task."""
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = inner.send(value) if error is None else inner.throw(error)
            except StopIteration:
                return
            finally:
                error = None
            self.awaits += 1
            if self.awaits == self.cancel_at:
                self._cancel()
            try:
                value = yield yielded
            except BaseException as caught:
                value, error = None, caught

    def __repr__(self) -> str:
        return (
            f"<Exchange: {self.receives} receives, {self.sends} sends, sent {self.sent!r}, "
            f"ended={self.ended}, cancelled={self.cancelled}, error={self.error!r}>"
        )


class _Order:
    """Which HTTP message may come next, and of which types its values must be."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._extensions = scope.get("extensions") or {}
        self._started = False
        self._trailers = False
        self._body = False
        self._last = False
        self.complete = False

    def check(self, message: Mapping[str, Any]) -> list[str]:
        """What is wrong with the message; nothing, usually."""
        kind = message["type"]
        if self.complete:
            return [f"{kind} was sent after the response was complete"]
        if kind == "http.response.start":
            return self._start(message)
        if kind == "http.response.early_hint":
            wrong = [] if "http.response.early_hint" in self._extensions else ["early hints were not offered"]
            if self._started or not all(type(link) is bytes for link in message["links"]):
                wrong.append(f"early hints too late, or not bytes: {message!r}")
            return wrong
        if not self._started:
            return [f"{kind} was sent before the start"]
        if kind == "http.response.body":
            return self._body_message(message)
        if kind == "http.response.trailers":
            self.complete = not message.get("more_trailers", False)
            return [] if self._trailers and self._last else ["trailers unannounced, or before the body's end"]
        if kind == "http.response.pathsend":
            self.complete = True
            right = not self._body and "http.response.pathsend" in self._extensions
            return [] if right else ["pathsend was not offered, or after a body"]
        return [f"unknown message {kind!r}"]

    def _start(self, message: Mapping[str, Any]) -> list[str]:
        wrong = []
        if self._started:
            wrong.append("a second start was sent")
        self._started = True
        self._trailers = message.get("trailers", False)
        if self._trailers and "http.response.trailers" not in self._extensions:
            wrong.append("trailers were announced though not offered")
        if type(message["status"]) is not int:
            wrong.append(f"the status is no int: {message['status']!r}")
        headers = message["headers"]
        if type(headers) is not list or not all(
            type(pair) is tuple and len(pair) == 2 and type(pair[0]) is bytes and type(pair[1]) is bytes
            for pair in headers
        ):
            wrong.append(f"the headers are no list of tuples of bytes: {headers!r}")
        elif any(name != name.lower() for name, _ in headers):
            wrong.append(f"a header name is not in lower case: {headers!r}")
        return wrong

    def _body_message(self, message: Mapping[str, Any]) -> list[str]:
        wrong = []
        if self._last:
            wrong.append("a body message was sent after the last one")
        if type(message["body"]) is not bytes:
            wrong.append(f"the body is no bytes: {message['body']!r}")
        elif message["more_body"] and not message["body"]:
            wrong.append("an empty body message that is not the last one was sent")
        self._body = True
        if not message["more_body"]:
            self._last = True
            self.complete = not self._trailers
        return wrong


def run(main: Callable[[], Awaitable[T]], loop: str = "asyncio", *, timeout: float = TIMEOUT) -> T:
    """Run a coroutine function on a new loop; see the module for what is asserted afterwards."""
    if loop == "trio":
        return trio.run(_run_on_trio, main, timeout)
    return _run_on_asyncio(main, loop, timeout)


def _run_on_asyncio(main: Callable[[], Awaitable[T]], loop: str, timeout: float) -> T:
    if loop == "uvloop":
        import uvloop

        event_loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        event_loop = asyncio.new_event_loop()
    complaints: list[dict[str, Any]] = []
    event_loop.set_exception_handler(lambda _, context: complaints.append(context))

    async def bounded() -> T:
        task = asyncio.ensure_future(main())
        done, _ = await asyncio.wait((task,), timeout=timeout)
        if not done:
            task.cancel()
            await asyncio.wait((task,), timeout=timeout)
            raise AssertionError(f"hangs: it did not end within {timeout} s")
        result = task.result()
        for _turn in range(_TURNS):
            if len(asyncio.all_tasks()) == 1:
                return result
            await asyncio.sleep(0)
        raise AssertionError(f"tasks were left on the loop: {asyncio.all_tasks() - {asyncio.current_task()}}")

    try:
        result = event_loop.run_until_complete(bounded())
        event_loop.run_until_complete(event_loop.shutdown_asyncgens())
        event_loop.run_until_complete(event_loop.shutdown_default_executor())
    finally:
        event_loop.close()
    assert complaints == [], complaints
    return result


async def _run_on_trio(main: Callable[[], Awaitable[T]], timeout: float) -> T:
    # No look for tasks left behind: here a nursery cannot end before its tasks do.
    with trio.move_on_after(timeout) as scope:
        result = await main()
    if scope.cancelled_caught:
        raise AssertionError(f"hangs: it did not end within {timeout} s")
    return result


async def together(*functions: Callable[[], Awaitable[object]]) -> None:
    """Run coroutine functions at the same time, on whatever loop runs this."""
    if trio.lowlevel.in_trio_task():
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
        return
    tasks = [asyncio.ensure_future(function()) for function in functions]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def serve(
    app: ASGIApp,
    scope: dict[str, Any] | None = None,
    receive: Iterable[Step] = (),
    *,
    beside: Beside | None = None,
    loop: str = "asyncio",
    timeout: float = TIMEOUT,
    **options: Any,
) -> Exchange:
    """Run one `Exchange` to its end on a loop of its own. `options` are those of `Exchange`."""
    exchange = Exchange(app, scope, receive, **options)
    return run(lambda: exchange.go(beside), loop, timeout=timeout)
