"""One request as an ASGI app sees it: a task on the loop thread, with `receive` and `send`.

The WSGI server's thread meets it through `Crossing`: it takes status, headers and body pieces, and
fetches the request body when the app asks for it. Except where a method says so, everything here
runs on the loop's thread.

What the task puts, in this order: any number of `Hint`, one head (a tuple of status line and
headers), then pieces of body as bytes, or one `File`, and at last `Trailers`. The response is over
for the server's thread at `ended`; for the app, when the machine says that it is complete, which may
be later (HEAD; the announced length was reached before the last message).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..engines import asgiref_notes
from ..engines.asyncio_port import start_task
from ..engines.call_thread import CallThread
from ..engines.crossing import Crossing
from ..engines.gates import Latch
from ..engines.hosts import Displaceable, Host, request_host
from ..exceptions import (
    ApplicationExit,
    BridgeError,
    ClientDisconnected,
    IncompleteResponse,
    LoopGone,
    RequestError,
)
from ..translate.asgi_response import ASGIResponse, State, unknown
from ..types import Message, Scope

if TYPE_CHECKING:
    from .asgi_runtime import Runtime

logger = logging.getLogger("bridge.asgi")

# Pieces in which files are read and, for `http.response.zerocopysend`, sent.
FILE_PIECE = 64 * 1024

_LONGEST_CHAIN = 20
# How long (seconds) `send()` lets an app act upon `http.disconnect` first: some turns of the loop.
_EVENT_FIRST = 0.1

_GONE = "the client disconnected before the response was complete"
_COMPLETE = State.COMPLETE


class Hint(NamedTuple):
    """Headers of a 103 response."""

    headers: list[tuple[str, str]]


class File(NamedTuple):
    """An open file whose first `size` bytes are the body; `whole` if it ends there."""

    file: Any
    size: int
    whole: bool


class Trailers(NamedTuple):
    """Headers that follow the body."""

    headers: list[tuple[str, str]]


class ASGICall(Crossing, Host):
    """One request to an ASGI app. Its thread-sensitive blocking code has a thread of its own (`Host`).

    Args:
        runtime: the app, where to run it, and the options; the call is in its `calls` from start to end.
        scope: the request's scope.
        has_body: whether there is a request body to ask for.

    Attributes:
        task: what runs the app; `None` before `start`.
        finished: set when the app has ended, if somebody waits for that.
    """

    task: asyncio.Task[None] | None = None
    finished: Latch | None = None
    _timer: asyncio.TimerHandle | None = None
    _thread: CallThread | None = None
    above: Host | None = None
    _body_done = False
    _asked_before = False
    _listens = False

    def __init__(self, runtime: Runtime, scope: Scope, has_body: bool) -> None:
        settings = runtime.settings
        Crossing.__init__(self, runtime.loop_thread, settings.write_ahead, settings.read_ahead)
        self._runtime = runtime
        self._scope = scope
        # Kept beside the scope, which is the app's to change.
        self._extensions: Scope = scope["extensions"]
        self._path: str = scope["path"]
        self._method: str = scope["method"]
        self._machine = ASGIResponse(self._method == "HEAD", "http.response.trailers" in self._extensions)
        self._has_body = has_body
        self._context = contextvars.copy_context()
        if settings.background_wait != 0:
            self.finished = Latch()

    def whole(self) -> tuple[tuple[str, list[tuple[str, str]]], bytes] | None:
        """Head and body, if the response has ended and is no more than these. In the server's thread.

        They are not taken: nothing else is to be done with the call.
        """
        items = self._items
        if not self.ended or self.error is not None or self.finished is not None or len(items) > 2:
            return None
        if not items or type(items[0]) is not tuple:
            return None
        if len(items) == 1:
            return items[0], b""
        return (items[0], items[1]) if type(items[1]) is bytes else None

    # -- from start to end

    def start(self) -> None:
        """Run the app, unless the server's thread has left already."""
        if self.gone:
            if self.finished is not None:
                self.finished.set()
            return
        self._runtime.calls.add(self)
        coroutine = self._run()
        try:
            self.task = start_task(self.loop_thread.port.loop, coroutine, self._context)
        except BaseException as error:
            coroutine.close()
            self._end_of_app(error)

    async def _run(self) -> None:
        error: BaseException | None = None
        request_host.set(self)
        noted = "asgiref.sync" in sys.modules
        if noted:
            if asgiref_notes.threadlocal is None:
                asgiref_notes.prepare()
            asgiref_notes.note_waiting_thread(self)
        try:
            await self._runtime.app(self._scope, self.receive, self.send)
        except BaseException as raised:
            # None of them may reach the loop: SystemExit would end it, and with it all other requests.
            error = raised
        # The call has the context, so the context must not keep the call.
        request_host.set(None)
        if noted:
            asgiref_notes.forget_waiting_thread()
        self.over = True
        if self._thread is not None:
            self._thread.close()
        self._end_of_app(error)
        del error  # its traceback refers to this frame

    def cancelled_before_start(self) -> bool:
        """Whether the task has ended without ever having run the app. From any thread."""
        return self.task is not None and self.task.done() and self in self._runtime.calls

    def forget_soon(self) -> None:
        """It is no call in progress any more, though it has not ended by itself. From any thread."""
        try:
            self.loop_thread.submit(lambda: self._runtime.calls.discard(self))
        except LoopGone:
            pass

    def _end_of_app(self, error: BaseException | None) -> None:
        self._runtime.calls.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if error is None and self._machine.state is _COMPLETE and self.finished is None:
            return  # the ordinary case: the server's thread has it all
        if error is None and not self.gone and self.error is None:
            try:
                self._machine.finish()
            except IncompleteResponse as incomplete:
                error = incomplete
        try:
            if error is not None:
                self._report(error)
        finally:  # a logging handler may raise
            if self.gone:
                self.end()
            elif not self.ended:
                self.end(error if error is None or isinstance(error, BridgeError) else _transportable(error))
            if self.finished is not None:
                self.finished.set()

    def _report(self, error: BaseException) -> None:
        """Log what the server's thread will not raise."""
        if self.gone:
            if isinstance(error, (OSError, asyncio.CancelledError, GeneratorExit)) or _stems_from_disconnect(
                error
            ):
                return  # the app was told by these, or by way of these
            logger.error("the app raised after the client had gone: %s", self, exc_info=error)
        elif self.ended:
            if isinstance(error, asyncio.CancelledError):
                logger.warning("work after a response was cancelled: %s", self)
            else:
                logger.error("the app raised after its response was complete: %s", self, exc_info=error)
        elif not self._machine.shown and not isinstance(error, RequestError):
            logger.error("the app raised before it responded: %s", self, exc_info=error)

    def left(self) -> None:
        """The client is gone: the app is told, and cancelled after the grace (A-29).

        Not if it has sent all of its response: what it does then is not for this client.
        """
        self.stir()
        if self.task is not None and not self.task.done() and self._machine.state is not _COMPLETE:
            self._timer = self.loop_thread.port.loop.call_later(
                self._runtime.settings.disconnect_grace, self.cancel
            )

    def _lose(self) -> None:
        """The client has long had all that it can get, and the app has not ended its response.

        It is told that the client is gone. What else it does is not cut short.
        """
        if self._machine.state is not _COMPLETE:
            self.gone = True
            self.stir()

    def cancel(self) -> None:
        """Cancel the task."""
        if self.task is not None:
            self.task.cancel()

    def abort(self, error: BaseException) -> None:
        """End the exchange from here: for the app its client is gone, the server's thread gets `error`."""
        if not self.ended:
            self.gone = True
            self.end(error)
        self.stir()

    # -- as a host: from any thread

    over = False

    def offer(self, job: Displaceable) -> bool:
        """Have a job run in the request's thread; `False` if the app has ended."""
        thread = self._thread or self.__dict__.setdefault("_thread", CallThread())  # one, whoever comes first
        if self.over:
            thread.close()  # who ended the app in this moment may not have seen it
        return thread.offer(job)

    def is_current(self) -> bool:
        """Whether the caller runs in the request's thread."""
        return self._thread is not None and self._thread.ident == get_ident()

    # -- what the app calls

    async def receive(self) -> Message:
        """The next event of the client; see ASGI HTTP "Request" and "Disconnect"."""
        machine = self._machine
        while not self.gone and machine.state is not _COMPLETE:
            if self._body_done:
                self._listens = True
                await self.stirred()  # until the response is complete or the client is gone
                continue
            if not self._has_body:
                self._body_done = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._asked_before and machine.state is State.EMPTY:
                # It reads on, and has not begun to respond: fetch ahead of it. Otherwise the server's
                # thread might be held by a slow client while there is output to take.
                self.hurry = True
            supply = self.ask()
            if supply is None:
                await self.stirred()
                continue
            self._asked_before = True
            data, last = supply
            if last:
                self._body_done = True
            if isinstance(data, BaseException):
                raise data
            return {"type": "http.request", "body": data, "more_body": not last}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take one event of the response; see ASGI HTTP "Response Start" and "Response Body".

        Raises:
            ClientDisconnected: the client is gone.
            InvalidMessage: the message is unknown, malformed or out of turn.
            InvalidHeader: a header must not be sent.
        """
        machine = self._machine
        kind = message.get("type")
        if machine.state is _COMPLETE:
            logger.debug("the response is complete; %s is ignored: %s", kind, self)
            await asyncio.sleep(0)  # an app that sends for ever must not hold up the loop
            return
        if self.gone:
            await self._refuse()
        if kind == "http.response.start":
            machine.start(message)
            self.hurry = False
        elif kind == "http.response.body":
            chunk = machine.body(message)
            if self.ended:
                await self._too_late()
            elif machine.state is _COMPLETE or (machine.exhausted and message.get("body")):
                self._put_last(chunk)
            elif chunk and self.put(self._with_head(chunk), len(chunk)) and not await self.room():
                await self._refuse()
        elif kind in _EXTENSIONS and kind in self._extensions:
            await _EXTENSIONS[kind](self, message)
        elif kind == "http.response.trailers":
            machine.trailers(message)  # not offered, so dropped
        else:
            raise unknown(kind)

    async def _refuse(self) -> NoReturn:
        """Raise, as the client is gone (A-24); but to an app that listens, the event comes first.

        Django cancels the view upon it and cleans up, which it does not if the view fails in the same
        moment.
        """
        if self._listens:
            await asyncio.sleep(_EVENT_FIRST)
        raise ClientDisconnected(_GONE)

    def _with_head(self, item: Any) -> list[Any]:
        machine = self._machine
        if machine.shown:
            return [item]
        machine.shown = True
        return [(machine.status, machine.headers), item]

    def _put_last(self, item: Any) -> None:
        """Hand over the last item (if it is none of length 0) and whatever else has to be said."""
        machine = self._machine
        items = self._with_head(item)
        if not item:
            items.pop()
        if machine.surplus:
            self._warn_of_surplus()
        if machine.state is _COMPLETE:
            if machine.length:
                try:
                    machine.finish()
                except IncompleteResponse as incomplete:  # the server's thread has to raise it
                    self.put(items, 0)
                    self.end(incomplete)
                    self.stir()
                    return
        else:
            grace = self._runtime.settings.disconnect_grace
            self._timer = self.loop_thread.port.loop.call_later(grace, self._lose)
        self.put_last(items)
        if self._flags:
            self.stir()

    async def _too_late(self) -> None:
        """A body after the client has all that it can get: the app may finish, but not hold up the loop."""
        if self._machine.surplus:
            self._warn_of_surplus()
        if self._machine.state is _COMPLETE:
            self.stir()
        await asyncio.sleep(0)

    def _warn_of_surplus(self) -> None:
        self._machine.surplus = False
        logger.warning("the app sent more than its Content-Length; the surplus was cut: %s", self)

    # -- extensions (section X)

    async def _early_hint(self, message: Message) -> None:
        headers = self._machine.hint(message)
        if headers and not self.ended:
            self.put([Hint(headers)], 0)

    async def _trailers(self, message: Message) -> None:
        headers = self._machine.trailers(message)
        if self.ended:
            return
        items: list[Any] = self._with_head(Trailers(headers))
        if self._machine.state is _COMPLETE:
            self.put_last(items)
            self.stir()
        elif headers:
            self.put(items, 0)

    async def _pathsend(self, message: Message) -> None:
        machine = self._machine
        path = machine.path(message)
        if path is None:
            return
        # In a thread, since a file system may be slow; what open() raises is the app's to see.
        file, size = await self.loop_thread.port.loop.run_in_executor(None, _open, path)
        if self.gone:
            file.close()
            await self._refuse()
        count = machine.sent_file(size)
        if not count:
            file.close()
        if self.ended:
            await self._too_late()
        elif machine.state is _COMPLETE or machine.exhausted:
            self._put_last(File(file, count, count == size) if count else b"")
        elif count:  # trailers follow
            self.put(self._with_head(File(file, count, False)), 0)

    async def _zerocopysend(self, message: Message) -> None:
        part = self._machine.part(message)
        if part is None:
            return
        file, offset, count, more = part
        loop = self.loop_thread.port.loop
        while count is None or count > 0:
            size = FILE_PIECE if count is None else min(FILE_PIECE, count)
            # In a thread, since a file system may be slow.
            data = await loop.run_in_executor(None, _read_at, file, size, offset)
            if not data:
                break
            if offset is not None:
                offset += len(data)
            if count is not None:
                count -= len(data)
            await self.send({"type": "http.response.body", "body": data, "more_body": True})
        if count:
            raise IncompleteResponse(f"the file ended {count} bytes before the count of zerocopysend")
        if not more:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    # -- what is dropped

    def dropped(self, items: list[Any]) -> None:
        for item in items:
            if type(item) is File:
                item.file.close()

    def __str__(self) -> str:
        # Escaped, since a path may hold decoded line breaks (H-06).
        return f"{self._method} {self._path!r}"


_EXTENSIONS: dict[str, Callable[[ASGICall, Message], Awaitable[None]]] = {
    "http.response.early_hint": ASGICall._early_hint,
    "http.response.trailers": ASGICall._trailers,
    "http.response.pathsend": ASGICall._pathsend,
    "http.response.zerocopysend": ASGICall._zerocopysend,
}


def _transportable(error: BaseException) -> BaseException:
    """The error as the server's thread may raise it: nothing that ends a server or a generator."""
    if isinstance(error, asyncio.CancelledError):
        wrapped: BridgeError = IncompleteResponse(
            "the app's task was cancelled before its response was complete"
        )
    elif isinstance(error, Exception) and not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    else:
        wrapped = ApplicationExit(f"{type(error).__name__} left the app")
    wrapped.__cause__ = error
    return wrapped


def _open(path: str) -> tuple[Any, int]:
    file = open(path, "rb")  # noqa: SIM115 - closed by who sends it
    return file, os.fstat(file.fileno()).st_size


def _read_at(file: Any, size: int, offset: int | None) -> bytes:
    """Read from a file object or descriptor: at its current position, which moves, or at `offset`."""
    if offset is None:
        data: bytes = os.read(file, size) if isinstance(file, int) else file.read(size)
        return data
    descriptor = file if isinstance(file, int) else file.fileno()
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def _stems_from_disconnect(error: BaseException | None) -> bool:
    """Whether the app was told of the disconnect, and raised this for it.

    Frameworks make exceptions of their own of it, or put it into groups (anyio): a group counts if all
    of it does. What was merely raised while a disconnect was handled may as well be a mistake in a
    `finally`, so it counts only if it says that it is a disconnect (Starlette's `ClientDisconnect`).
    """
    # No chain of frameworks is as long; a chain that is a ring must end somewhere.
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return False
        if isinstance(error, (ClientDisconnected, asyncio.CancelledError)):
            return True
        members = getattr(error, "exceptions", None)
        if isinstance(members, tuple) and members:
            return all(_stems_from_disconnect(member) for member in members)
        if error.__cause__ is not None:
            error = error.__cause__
        elif "disconnect" in type(error).__name__.lower():
            error = error.__context__
        else:
            return False
    return False
