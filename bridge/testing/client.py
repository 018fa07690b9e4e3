"""The client of tests: httpx2's, with an app of either interface behind it.

    with Client(app) as client:
        assert client.get("/notes").json() == []

The app is called in process, by its own interface or through the adapters (`via`), or runs on a real
server (`Client.served`).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..exceptions import UsageError
from ..types import ASGIApp
from .exchange import Request, RequestLike, Response
from .transports.asgi import ASGITransport
from .transports.library import httpx2
from .transports.plain import from_library, is_answer, next_hop, nothing, to_library
from .transports.tap import Tap, TappedTransport
from .transports.wire import DEFAULT_CLIENT
from .transports.wsgi import WSGITransport
from .ways import InterfaceName, LifespanMode, Via, Way, way

if TYPE_CHECKING:
    import asyncio

    from .transports.asgi_host import ASGIHost
    from .websocket import WebSocketSession

_Client = TypeVar("_Client", bound="Client")

DEFAULT_BASE_URL = "http://testserver"
# A test that waits longer for one answer has gone wrong.
DEFAULT_TIMEOUT = 30.0
# Likewise one that waits longer for what goes on after an answer.
DEFAULT_BACKGROUND_WAIT = 10.0

CLIENT_OPTIONS = frozenset(inspect.signature(httpx2.Client.__init__).parameters) - {
    "self",
    "base_url",
    "transport",
}
"""What `Client.served` gives to the client, and not to the server."""

CONNECTION_OPTIONS = frozenset(inspect.signature(httpx2.HTTPTransport.__init__).parameters) & CLIENT_OPTIONS
"""Of these, what concerns connections."""


class Client(httpx2.Client):
    """An HTTP client of an app in process. It may be shared between threads.

    A context manager: the lifespan of an ASGI app starts at entry, or with the first request; `close`
    ends it, and everything else that was started. Requests and responses stream in both directions.

    A WSGI app runs in the thread that sends the request, so no time-out interrupts it. An ASGI app runs
    on an event loop in a thread of the client's own, in a copy of the caller's Context; what it does
    after the end of a response goes on, and `close` waits for it within bounds.

    Args:
        app: a WSGI or ASGI application.
        via: the way to it, see `bridge.testing.ways.Via`.
        base_url: what relative URLs are joined to; its host becomes `Host`.
        raise_app_exceptions: exceptions of the app are raised by the request, or by reading the
            response. `False`: they become a response of 500 if none had begun, and
            `httpx2.RemoteProtocolError` if one had.
        lifespan: `"auto"` runs an ASGI app's lifespan if it has one; `"on"` fails without one;
            `"off"` does not run it.
        root_path: where the app is mounted: `root_path` of the scope, `SCRIPT_NAME` of the environ. Paths of
            requests may have it or leave it out.
        client: address and port of the client as the app sees it, `None` for none.
        extra: keys that are put over each scope or environ.
        timeout: seconds for each wait for an ASGI app, or as httpx2 takes it; then `httpx2.ReadTimeout`.
        loop_factory: makes the event loop of an ASGI app, such as `uvloop.new_event_loop`.
        options: of `httpx2.Client`: `headers`, `cookies`, `follow_redirects`, `auth` and others.
            `trust_env` is off unless it is given; `transport` goes in the place of the app.

    Attributes:
        app: what was given.
        via: the way that was asked for.
        interface: how the app is called at the end of it, `"wsgi"` or `"asgi"`; `None` if that is not known.
        host: the loop and lifespan of an app that is called as ASGI in process, else `None`.

    Raises:
        UsageError: the interface of `app` cannot be told, or an option is not usable.
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
        self.host: ASGIHost | None = None
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
                transport = ASGITransport(
                    self._way.app, lifespan=lifespan, loop_factory=loop_factory, **common
                )
                self.host = transport.host
            else:
                transport = WSGITransport(self._way.app, **common)
            if self._taps:
                transport = TappedTransport(transport, raise_app_exceptions)
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
        """A client of an app that runs on a real server, with a real socket between them.

        Args:
            app_or_target: an app, or `"module:app"`.
            server: see `bridge.testing.served.start`.
            via: the way to the app.
            startup_timeout: seconds within which the server must serve.
            options: those that `httpx2.Client` takes go to the client, all others to
                `bridge.testing.served.start`.

        Raises:
            those of `bridge.testing.served.start`.
        """
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

    def exchange(self, request: RequestLike, *, follow_redirects: bool = False) -> Response:
        """Send one request exactly as it is, and return what came of it.

        The client's cookies are sent and kept. For what else is sent see
        `bridge.testing.transports.plain`. A body is not decoded but from its transfer coding.

        Args:
            request: what `Request.of` understands.
            follow_redirects: the responses on the way are the `history` of the last one.

        Returns:
            a response; with `error` if there was none (then the status is 0) or if it broke off.

        Raises:
            UsageError: `request` is none, or the client is closed.
            StartupFailed: the app's lifespan did not start up, so that it serves no request.
        """
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
                response = self.send(sent, stream=True, follow_redirects=False)
            except BaseException as error:
                if not is_answer(error):
                    raise
                return nothing(error, began, history)
            chunks: list[bytes] = []
            broken: BaseException | None = None
            try:
                chunks.extend(response.iter_raw())
            except BaseException as error:
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

    def wait_for_background(self, timeout: float = DEFAULT_BACKGROUND_WAIT) -> bool:
        """Wait until the app has nothing left to do for the requests that were sent.

        An ASGI app may work on after the end of a response (background tasks), as it does on a server.
        Responses that are still being read count as well. Of an app on a real server nothing is known.

        Args:
            timeout: how many seconds to wait at most.

        Returns:
            whether there is nothing left.
        """
        deadline = time.monotonic() + timeout
        idle = all(tap.wait_idle(max(0.0, deadline - time.monotonic())) for tap in self._taps)
        if idle and self.host is not None:
            idle = self.host.wait_idle(max(0.0, deadline - time.monotonic()))
        return idle

    def websocket_connect(
        self, url: str, subprotocols: Iterable[str] = (), **kwargs: Any
    ) -> WebSocketSession:
        """Open a WebSocket session with the app; see `bridge.testing.websocket`."""
        from .websocket import connect

        return connect(self, url, subprotocols=tuple(subprotocols), **kwargs)

    def start(self) -> None:
        """Start the app's lifespan now, not with the first request. Entering the context does this.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `"on"`.
        """
        if self._way is not None:
            self._way.start()
        if self.host is not None:
            self.host.start()

    def close(self) -> None:
        """End everything that was started: requests in progress, lifespan, loops, threads, the server.

        Each wait is bounded. Does nothing the second time.
        """
        try:
            super().close()
        finally:
            if self._way is not None:
                self._way.close()

    def __enter__(self: _Client) -> _Client:
        super().__enter__()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: Any) -> None:
        try:
            super().__exit__(*exc_info)
        finally:
            self.close()


class _Served(httpx2.HTTPTransport):
    """Connections to a server that ends with them."""

    def __init__(self, running: Any, **options: Any) -> None:
        super().__init__(**options)
        self._running = running

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._running.close()

    def __exit__(self, *exc_info: Any) -> None:
        try:
            super().__exit__(*exc_info)
        finally:
            self._running.close()
