"""ASGI apps for the tests of `ASGIToWSGI`, and adapters of which nothing may be left.

    with bridged(http(respond(b"hello"))) as wsgi:
        assert drive(wsgi).body == b"hello"

`ask` does that for one request. What every `bridged` asserts at its end: `close()` returns, no request
is in progress, the loop's thread has ended, and asyncio had no complaint about tasks or callbacks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeAlias

from bridge import ASGIToWSGI
from support.drive import Signal
from support.engines import Thread, eventually, threads_named
from support.wsgi_drive import Answer, drive

Message: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]

DISCONNECT: Message = {"type": "http.disconnect"}
LAST_OF_NONE: Message = {"type": "http.request", "body": b"", "more_body": False}
"""What `receive()` gives for a request without a body."""


def start(status: int = 200, headers: RawHeaders = (), **extra: Any) -> Message:
    """The message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": list(headers), **extra}


def body(data: bytes = b"", more: bool = False, **extra: Any) -> Message:
    """A message with body bytes, by default the last."""
    return {"type": "http.response.body", "body": data, "more_body": more, **extra}


def http(app: App) -> App:
    """An app without lifespan: it raises on every other scope, as most do."""

    async def http_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await app(scope, receive, send)

    return http_only


def respond(*chunks: bytes, status: int = 200, headers: RawHeaders = ()) -> App:
    """An app without lifespan that sends these chunks."""
    return sending(start(status, headers), *(body(chunk, more=True) for chunk in chunks), body())


def sending(*messages: Message) -> App:
    """An app without lifespan that sends these messages."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    return app


async def finish(send: Any, data: bytes = b"") -> None:
    """Answer 200 with one piece of body."""
    await send(start())
    await send(body(data))


async def read_messages(receive: Any) -> list[Message]:
    """All messages of the request's body, or those until the client is gone."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


@http
async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body and sends it back."""
    messages = await read_messages(receive)
    await finish(send, b"".join(message["body"] for message in messages))


class Scopes:
    """An app without lifespan that answers 200 and keeps the scope of each request."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.seen.append(scope)
        await finish(send, b"ok")


Step: TypeAlias = Callable[[Any], Awaitable[object]]


class Lifespan:
    """An app with a lifespan that notes what happens to it, in order.

    Args:
        app: serves the requests.
        startup, shutdown: awaited with the scope before the answer; what they raise leaves the app.

    Attributes:
        log: "startup", "shutdown", "left" when the lifespan's call ends, and the path of each request.
        scopes: those of its lifespans.
        received: the messages of its lifespans.
    """

    def __init__(
        self, app: App | None = None, *, startup: Step | None = None, shutdown: Step | None = None
    ) -> None:
        self._app = app or respond(b"ok")
        self._startup = startup
        self._shutdown = shutdown
        self.log: list[str] = []
        self.scopes: list[Any] = []
        self.received: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.log.append(scope["path"])
            await self._app(scope, receive, send)
            return
        self.scopes.append(scope)
        try:
            await self._step("startup", self._startup, scope, receive, send)
            await self._step("shutdown", self._shutdown, scope, receive, send)
        finally:
            self.log.append("left")

    async def _step(self, name: str, step: Step | None, scope: Any, receive: Any, send: Any) -> None:
        self.received.append(await receive())
        self.log.append(name)
        if step is not None:
            await step(scope)
        await send({"type": f"lifespan.{name}.complete"})


class Ending:
    """Notes how a call of an app ended: `async with ending:` around its body.

    Attributes:
        error: what left the body, `None` if nothing did.
        over: set when it was left.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.over = Signal()

    async def __aenter__(self) -> Ending:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.error = error
        self.over.set()


class Complaints(logging.Handler):
    """What asyncio has logged: tasks that were destroyed, exceptions that nobody took."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@contextlib.contextmanager
def no_complaints() -> Iterator[Complaints]:
    """Assert that asyncio logs no error."""
    complaints = Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)
    assert complaints.texts == [], complaints.texts


@contextlib.contextmanager
def no_loop_left() -> Iterator[None]:
    """Wait at the end until each loop thread that was started meanwhile has ended."""
    before = threads_named("bridge-loop")
    try:
        yield
    finally:
        eventually(lambda: set(threads_named("bridge-loop")) <= set(before), "the end of the loop's thread")


# The adapters that tests have open: they share a loop thread, which ends with the last of them.
_open: list[ASGIToWSGI] = []


@contextlib.contextmanager
def bridged(app: Any, **options: Any) -> Iterator[ASGIToWSGI]:
    """`ASGIToWSGI(app, **options)`, which is closed at the end, and of which nothing may be left."""
    adapter = ASGIToWSGI(app, **options)
    with no_complaints(), contextlib.nullcontext() if _open else no_loop_left():
        _open.append(adapter)
        try:
            yield adapter
        except BaseException:
            Thread(adapter.close)  # what is wrong besides is of no interest
            raise
        finally:
            _open.remove(adapter)
        Thread(adapter.close).outcome()
        assert in_progress(adapter) == []


def in_progress(adapter: ASGIToWSGI) -> list[Any]:
    """The calls of requests whose app has not ended."""
    return [] if adapter._runtime is None else list(adapter._runtime.calls)


def ask(app: Any, options: dict[str, Any] | None = None, /, **request: Any) -> Answer:
    """What an app answers to one request; `options` are the adapter's, `request` those of `drive`."""
    with bridged(app, **(options or {})) as wsgi:
        return drive(wsgi, **request)
