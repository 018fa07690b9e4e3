"""A server in process for ASGI apps on the client's own event loop, as an async transport of httpx2.

The app runs in a task beside the client's. It wants asyncio, or what is built like it (uvloop).

Who waits here, and what ends the wait: the client waits for the app's next step, which the app's side
announces, as it does the end of the app's task, on every way out of it; the read time-out ends the wait,
and so does cancellation of the client, which the app then sees as a client that has left. `aclose` waits
for calls and lifespan, each within a bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ...adapters.asgi_to_wsgi import DEFAULT_STARTUP_TIMEOUT
from ...adapters.lifespan_host import LifespanHost
from ...engines.ports import in_trio_task
from ...exceptions import AdapterClosed, BridgeError, StartupFailed, UsageError
from ...types import ASGIApp
from ..ways import SHUTDOWN_TIMEOUT
from .app_side import AppSide
from .asgi import response_of
from .asgi_host import DISCONNECT_GRACE, end_calls
from .asgi_scope import ScopeMaker
from .library import httpx2
from .wire import (
    DEFAULT_CLIENT,
    ERROR_FOLLOWS,
    check_options,
    instead_of_failure,
    is_app_error,
    read_timeout,
    read_timeout_of,
    wants_late_errors,
    within_response,
)


def require_asyncio() -> asyncio.AbstractEventLoop:
    """The running loop.

    Raises:
        UsageError: there is none of asyncio's kind.
    """
    if not in_trio_task():
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    raise UsageError(
        "an AsyncClient calls its app on asyncio, which does not run here; under trio, use a Client in a "
        "worker thread (trio.to_thread.run_sync)"
    )


class AsyncASGITransport(httpx2.AsyncBaseTransport):
    """Sends requests to an ASGI app on the running loop (ASGI HTTP 2.5). It belongs to one loop.

    Args:
        app: an ASGI 3 application.
        raise_app_exceptions, root_path, client, extra: see `ASGITransport`.
        lifespan: `"auto"`, `"on"` or `"off"`, as for `ASGIToWSGI`.

    Raises:
        UsageError: an option is not usable.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        raise_app_exceptions: bool = True,
        lifespan: str = "auto",
        root_path: str = "",
        client: tuple[str, int] | None = DEFAULT_CLIENT,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_options(root_path, client, extra)
        self.app = app
        self.raise_app_exceptions = raise_app_exceptions
        self._scopes = ScopeMaker(root_path, client, extra)
        self._lifespan = lifespan
        self._loop: asyncio.AbstractEventLoop | None = None
        self._host: LifespanHost | None = None
        self._startup: asyncio.Future[BridgeError | None] | None = None
        self._calls: set[_Exchange] = set()
        self._closed = False

    async def start(self) -> None:
        """Start the app's lifespan now, not with the first request.

        Raises:
            StartupFailed: it failed, took too long, or is missing in mode `"on"`.
            UsageError: this is not the loop of the first request, or none of asyncio's.
        """
        loop = require_asyncio()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError("this AsyncClient belongs to another event loop; make one in each")
        if self._closed:
            raise AdapterClosed("the client has been closed, so it sends no request; make a new one")
        if self._startup is None:
            self._startup = loop.create_future()
            self._begin()
        if not self._startup.done():
            await asyncio.wait((self._startup,), timeout=DEFAULT_STARTUP_TIMEOUT)
            if not self._startup.done():
                assert self._host is not None
                self._report(
                    StartupFailed(
                        f"the app's lifespan did not start up within {DEFAULT_STARTUP_TIMEOUT:g} seconds"
                    )
                )
                self._host.cancel()
        failure = self._startup.result()
        if failure is not None:
            raise type(failure)(*failure.args) from failure.__cause__

    def _begin(self) -> None:
        if self._lifespan == "off":
            self._report(None)
        else:
            self._host = LifespanHost(self.app, required=self._lifespan == "on", started=self._report)
            self._host.start()

    def _report(self, failure: BridgeError | None) -> None:
        assert self._startup is not None
        if not self._startup.done():
            self._startup.set_result(failure)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return when the response has begun.

        Raises:
            what the app raised, if it is to be; IncompleteResponse, ReadTimeout, StartupFailed,
            UsageError: as in `ASGITransport.handle_request`.
        """
        await self.start()
        exchange = _Exchange(self.app, self.scope_of(request), request, self._calls)
        try:
            exchange.start()
            await exchange.arrive()
            if wants_late_errors(self.raise_app_exceptions, request) and exchange.response.complete:
                if exchange.response.status >= 500:
                    await exchange.settle()
                if exchange.raised is not None:
                    raise exchange.raised
        except BaseException as error:
            exchange.leave()
            return instead_of_failure(error, exchange.failure, self.raise_app_exceptions)
        return response_of(exchange, _Body(exchange, self.raise_app_exceptions))

    def scope_of(self, request: httpx2.Request) -> dict[str, Any]:
        """The scope of a request, with its copy of the lifespan's state; `start` has been awaited."""
        state = self._host.state.copy() if self._host is not None and self._host.supported else None
        return self._scopes.make(request, state)

    async def aclose(self) -> None:
        """End calls and lifespan; see `ASGIHost.close`. Does nothing the second time."""
        self._closed = True
        loop = self._loop
        if loop is None or loop is not require_asyncio():
            return
        await end_calls(self._calls, SHUTDOWN_TIMEOUT)
        host, self._host = self._host, None
        if host is not None:
            await host.shutdown(SHUTDOWN_TIMEOUT)

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is in progress; return whether that was within `timeout` seconds."""
        tasks = [call.task for call in self._calls if call.task is not None]
        return not tasks or not (await asyncio.wait(tasks, timeout=timeout))[1]


class _Exchange(AppSide):
    """One request and its response, both sides on one loop."""

    def __init__(
        self, app: ASGIApp, scope: dict[str, Any], request: httpx2.Request, calls: set[_Exchange]
    ) -> None:
        super().__init__(app, scope, request)
        self._calls = calls
        self._timeout = read_timeout_of(request)
        self._deadline: float | None = None
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._unread: AsyncIterator[bytes] | None = None
        if self.lazy:
            assert isinstance(request.stream, httpx2.AsyncByteStream)
            self._unread = request.stream.__aiter__()
        self.task: asyncio.Task[None] | None = None

    def wake_client(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def start(self) -> None:
        """Start the app's task."""
        self._calls.add(self)
        self.task = asyncio.get_running_loop().create_task(self.call(), name="bridge-testing-app")
        # Also of a task that was cancelled before it ever ran.
        self.task.add_done_callback(lambda _: self._ended())

    def _ended(self) -> None:
        self._calls.discard(self)
        self.ended = True
        self.wake_client()

    async def arrive(self) -> None:
        """Wait until the response begins; raises as `ASGIExchange.arrive` does."""
        self._set_deadline()
        while not (self.begun or self.ended):
            await self._wait()
        if not self.begun:
            raise self.failed()

    async def settle(self) -> None:
        """Wait, within bounds, for what may follow a complete response of 5xx: an exception."""
        assert self.task is not None
        await asyncio.wait((self.task,), timeout=ERROR_FOLLOWS)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces of the body, each when it comes; raises as `ASGIExchange.pieces` does."""
        out = self.out
        while True:
            self._set_deadline()
            while not out:
                if self.ended or self.response.complete:
                    self.check_end()
                    return
                await self._wait()
            piece = out.popleft()
            self.taken += len(piece)
            if self.app_waits_for_room:
                self.room_made()
            yield piece

    def leave(self) -> None:
        """The client wants no more: if the response is not complete, the app is told; cancelled later."""
        task = self.task
        if not self.gone and task is not None and not task.done() and self.client_left():
            task.get_loop().call_later(DISCONNECT_GRACE, task.cancel)

    def _set_deadline(self) -> None:
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout

    async def _wait(self) -> None:
        if self.wanted:
            self.wanted = False
            await self._read_body()
            self._set_deadline()  # it was not the app that took the time
            return
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise read_timeout(self._timeout, self.request)
        if not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait((self._waiter,), timeout=left)
            finally:
                self._waiter = None
        self._news = False

    async def _read_body(self) -> None:
        assert self._unread is not None
        try:
            piece: bytes | None = await self._unread.__anext__()
        except StopAsyncIteration:
            piece = None
        self.take_piece(piece)
        self.body_came()


class _Body(httpx2.AsyncByteStream):
    """The response's body, as it comes."""

    def __init__(self, exchange: _Exchange, raises: bool) -> None:
        self._exchange = exchange
        self._raises = raises

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        try:
            async for piece in exchange.pieces():
                yield piece
        except BaseException as error:
            exchange.leave()
            if error is not exchange.failure or self._raises or not is_app_error(error):
                raise
            raise within_response(error, exchange.request) from error

    async def aclose(self) -> None:
        self._exchange.leave()
