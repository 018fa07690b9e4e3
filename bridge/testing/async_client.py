"""The async client of tests: httpx2's, with an app of either interface behind it.

    async with AsyncClient(app) as client:
        assert (await client.get("/notes")).json() == []

It is `Client` for tests that run on asyncio themselves: an ASGI app runs as a task on the same loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..engines.ports import in_trio_task
from ..types import ASGIApp
from .client import DEFAULT_BACKGROUND_WAIT, DEFAULT_TIMEOUT, InFrontOfApp, on_server
from .exchange import RequestLike, Response
from .transports.async_asgi import AsyncASGITransport
from .transports.async_wsgi import AsyncWSGITransport
from .transports.library import httpx2
from .transports.plain import Hops, is_answer
from .transports.tap import AsyncTappedTransport
from .ways import Via

if TYPE_CHECKING:
    from types import EllipsisType

    from .websocket import AsyncWebSocketSession

_Client = TypeVar("_Client", bound="AsyncClient")


class AsyncClient(InFrontOfApp[AsyncASGITransport, AsyncWSGITransport], httpx2.AsyncClient):
    """An HTTP client of an app in process, for asyncio and what is built like it. It belongs to one loop.

    A context manager: the lifespan of an ASGI app starts at entry, or with the first request; `aclose`
    ends it. An ASGI app runs on the running loop, in a copy of the caller's Context; a WSGI app in a
    thread of each request, and a time-out does not end it there.

    Args:
        app, via, base_url, raise_app_exceptions, lifespan, root_path, client, extra, timeout: as for
            `bridge.testing.Client`.
        loop_factory: makes the event loop of an ASGI app inside `ASGIToWSGI` (`via="wsgi"` and
            `"roundtrip"`); natively it runs on the loop of the test.
        options: of `httpx2.AsyncClient`.

    Attributes:
        app, via, interface, local: as of `bridge.testing.Client`.

    Raises:
        UsageError: the interface of `app` cannot be told, or an option is not usable. Of requests: no
            asyncio loop runs, or another one than at first.
    """

    _to_wsgi = AsyncWSGITransport
    _tapped = AsyncTappedTransport

    @staticmethod
    def _to_asgi(app: ASGIApp, *, loop_factory: object, **options: Any) -> AsyncASGITransport:
        """Natively it runs on the loop of the test, not on one that is made for it."""
        return AsyncASGITransport(app, **options)

    @classmethod
    def served(
        cls: type[_Client],
        app_or_target: Any,
        server: str = "uvicorn",
        *,
        via: Via = "native",
        startup_timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> _Client:
        """A client of an app that runs on a real server; see `Client.served`. The start blocks the caller."""
        return on_server(cls, _Served, app_or_target, server, via, startup_timeout, options)

    async def exchange(self, request: RequestLike, *, follow_redirects: bool = False) -> Response:
        """Send one request exactly as it is, and return what came of it; see `Client.exchange`."""
        hops = Hops(self, request, follow_redirects)
        while True:
            try:
                response = await self.send(hops.sent, stream=True, follow_redirects=False)
            except Exception as error:
                if not is_answer(error):
                    raise
                return hops.failed(error)
            chunks: list[bytes] = []
            broken: BaseException | None = None
            try:
                async for chunk in response.aiter_raw():
                    chunks.append(chunk)
            except Exception as error:
                if not is_answer(error):
                    raise
                broken = error
            answer = hops.came(response, chunks, broken)
            if answer is not None:
                return answer

    async def wait_for_background(self, timeout: float = DEFAULT_BACKGROUND_WAIT) -> bool:
        """Wait until the app has nothing left to do; see `Client.wait_for_background`."""
        local = self.local
        if local is None:
            return True
        deadline = time.monotonic() + timeout
        if local.tap is not None and not await asyncio.to_thread(local.tap.wait_idle, timeout):
            return False
        return await local.called.wait_idle(max(0.0, deadline - time.monotonic()))

    @asynccontextmanager
    async def websocket_connect(
        self,
        url: str,
        subprotocols: Iterable[str] = (),
        *,
        timeout: float | EllipsisType | None = ...,
        **options: Any,
    ) -> AsyncIterator[AsyncWebSocketSession]:
        """Open a WebSocket session with the app: `async with client.websocket_connect("/ws") as session`.

        It takes and raises what `Client.websocket_connect` does.
        """
        from .websocket import connect_async

        session = await connect_async(self, url, subprotocols=subprotocols, timeout=timeout, **options)
        async with session:
            yield session

    async def start(self) -> None:
        """Start the app's lifespan now, not with the first request. Entering the context does this.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `"on"`.
        """
        if self.local is not None:
            await self.local.called.start()
            if self.local.way.adapters:
                await _in_thread(self.local.way.start)

    async def aclose(self) -> None:
        """End everything that was started: requests in progress, lifespan, loops, threads, the server.

        Each wait is bounded. Does nothing the second time.
        """
        try:
            await super().aclose()
        finally:
            await self._close_way()

    async def _close_way(self) -> None:
        if self.local is not None and self.local.way.adapters:
            await _in_thread(self.local.way.close)

    async def __aenter__(self: _Client) -> _Client:
        await super().__aenter__()
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            await self._close_way()


async def _in_thread(function: Callable[[], None]) -> None:
    """Without blocking the loop. Under trio, where a thread is not to be had by asyncio's ways, it blocks."""
    if in_trio_task():
        function()
    else:
        await asyncio.to_thread(function)


class _Served(httpx2.AsyncHTTPTransport):
    """Connections to a server that ends with them."""

    def __init__(self, running: Any, **options: Any) -> None:
        super().__init__(**options)
        self._running = running

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            await _in_thread(self._running.close)

    async def __aexit__(self, *exc_info: Any) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            await _in_thread(self._running.close)
