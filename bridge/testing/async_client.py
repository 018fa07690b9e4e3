"""The async client of tests: httpx2's, with an app of either interface behind it.

    async with AsyncClient(app) as client:
        assert (await client.get("/notes")).json() == []

It is `Client` for tests that run on asyncio themselves: an ASGI app runs as a task on the same loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..engines.ports import in_trio_task
from ..exceptions import UsageError
from ..types import ASGIApp
from .client import (
    CLIENT_OPTIONS,
    CONNECTION_OPTIONS,
    DEFAULT_BACKGROUND_WAIT,
    DEFAULT_BASE_URL,
    DEFAULT_TIMEOUT,
)
from .exchange import Request, RequestLike, Response
from .transports.async_asgi import AsyncASGITransport
from .transports.async_wsgi import AsyncWSGITransport
from .transports.library import httpx2
from .transports.plain import from_library, is_answer, next_hop, nothing, to_library
from .transports.tap import AsyncTappedTransport, Tap
from .transports.wire import DEFAULT_CLIENT, read_timeout_of
from .ways import InterfaceName, LifespanMode, Via, Way, way

if TYPE_CHECKING:
    from .websocket import AsyncWebSocketSession

_Client = TypeVar("_Client", bound="AsyncClient")


class AsyncClient(httpx2.AsyncClient):
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
        app, via, interface: as of `bridge.testing.Client`.

    Raises:
        UsageError: the interface of `app` cannot be told, or an option is not usable. Of requests: no
            asyncio loop runs, or another one than at first.
    """

    def __init__(
        self,
        app: Any,
        *,
        via: Via = "native",
        base_url: str | httpx2.URL = DEFAULT_BASE_URL,
        raise_app_exceptions: bool = True,
        lifespan: LifespanMode = "auto",
        root_path: str = "",
        client: tuple[str, int] | None = DEFAULT_CLIENT,
        extra: Mapping[str, Any] | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self.via = via
        self.interface: InterfaceName | None = None
        self._way: Way | None = None
        self._app_transport: AsyncASGITransport | AsyncWSGITransport | None = None
        self._taps: list[Tap] = []
        transport = options.pop("transport", None)
        if transport is None:
            self._way = way(app, via, lifespan=lifespan, loop_factory=loop_factory, inside=self._tap)
            self.interface = self._way.interface
            common: dict[str, Any] = {
                "raise_app_exceptions": raise_app_exceptions,
                "root_path": root_path,
                "client": client,
                "extra": extra,
            }
            if self.interface == "asgi":
                self._app_transport = AsyncASGITransport(self._way.app, lifespan=lifespan, **common)
            else:
                self._app_transport = AsyncWSGITransport(self._way.app, **common)
            transport = self._app_transport
            if self._taps:
                transport = AsyncTappedTransport(transport, raise_app_exceptions)
        options.setdefault("trust_env", False)
        super().__init__(transport=transport, base_url=base_url, timeout=timeout, **options)

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
        from . import served

        own = {name: options.pop(name) for name in list(options) if name in CLIENT_OPTIONS}
        running = served.start(app_or_target, server, via=via, timeout=startup_timeout, **options)
        try:
            connections = {name: own.pop(name) for name in list(own) if name in CONNECTION_OPTIONS}
            connections.setdefault("trust_env", False)
            transport = _Served(running, **connections)
            return cls(app_or_target, via=via, base_url=running.url, transport=transport, **own)
        except BaseException:
            running.close()
            raise

    async def exchange(self, request: RequestLike, *, follow_redirects: bool = False) -> Response:
        """Send one request exactly as it is, and return what came of it; see `Client.exchange`."""
        began = time.perf_counter()
        sent: httpx2.Request | None = to_library(
            Request.of(request), self.base_url, self.headers, self.cookies
        )
        if self.is_closed:
            raise UsageError("the client has been closed, so it sends no request; make a new one")
        history: tuple[Response, ...] = ()
        while True:
            assert sent is not None
            try:
                response = await self.send(sent, stream=True, follow_redirects=False)
            except Exception as error:
                if not is_answer(error):
                    raise
                return nothing(error, began, history)
            chunks: list[bytes] = []
            broken: BaseException | None = None
            try:
                async for chunk in response.aiter_raw():
                    chunks.append(chunk)
            except Exception as error:
                if not is_answer(error):
                    raise
                broken = error
            plain = from_library(response, chunks, broken, began, history)
            sent = next_hop(response) if follow_redirects and broken is None else None
            if sent is None:
                return plain
            history = (*history, plain)
            if len(history) > self.max_redirects:
                return nothing(httpx2.TooManyRedirects("too many redirects", request=sent), began, history)
            began = time.perf_counter()

    def _tap(self, app: ASGIApp) -> ASGIApp:
        tap = Tap(app)
        self._taps.append(tap)
        return tap

    async def wait_for_background(self, timeout: float = DEFAULT_BACKGROUND_WAIT) -> bool:
        """Wait until the app has nothing left to do; see `Client.wait_for_background`."""
        deadline = time.monotonic() + timeout
        idle = True
        for tap in self._taps:
            idle = idle and await asyncio.to_thread(tap.wait_idle, max(0.0, deadline - time.monotonic()))
        if idle and self._app_transport is not None:
            idle = await self._app_transport.wait_idle(max(0.0, deadline - time.monotonic()))
        return idle

    @asynccontextmanager
    async def websocket_connect(
        self,
        url: str,
        subprotocols: Sequence[str] = (),
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> AsyncIterator[AsyncWebSocketSession]:
        """Open a WebSocket session with the app: `async with client.websocket_connect("/ws") as session`.

        Args:
            url: relative, or with the scheme `ws` or `http` (`wss`, `https`).
            subprotocols: those that the client offers.
            timeout: seconds for each wait; by default the client's for reading.
            options: of a request: `headers`, `params`, `cookies`.

        Raises:
            UsageError: the app is called as WSGI, or runs on a real server.
            those of `start`.
        """
        from .websocket import AsyncWebSocketSession, websocket_scope

        transport = self._app_transport
        if not isinstance(transport, AsyncASGITransport) or (self._way is not None and self._way.adapters):
            raise UsageError(
                "WebSockets need an ASGI app in process: they pass neither through WSGI nor to a client of a "
                "real server"
            )
        await self.start()
        at = httpx2.URL(url)
        if at.scheme in ("ws", "wss"):
            at = at.copy_with(scheme="https" if at.scheme == "wss" else "http")
        request = self.build_request("GET", at, **options)
        session = AsyncWebSocketSession(
            transport.app,
            websocket_scope(transport.scope_of(request), subprotocols),
            timeout=read_timeout_of(request) if timeout is None else timeout,
            raise_app_exceptions=transport.raise_app_exceptions,
        )
        async with session:
            yield session

    async def start(self) -> None:
        """Start the app's lifespan now, not with the first request. Entering the context does this.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `"on"`.
        """
        if self._app_transport is not None:
            await self._app_transport.start()
        if self._way is not None and self._way.adapters:
            await _in_thread(self._way.start)

    async def aclose(self) -> None:
        """End everything that was started: requests in progress, lifespan, loops, threads, the server.

        Each wait is bounded. Does nothing the second time.
        """
        try:
            await super().aclose()
        finally:
            await self._close_way()

    async def _close_way(self) -> None:
        if self._way is not None and self._way.adapters:
            await _in_thread(self._way.close)

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
