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
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .exchange import RequestLike, Response
from .local_app import LocalApp
from .transports.asgi import ASGITransport
from .transports.library import httpx2
from .transports.plain import Hops, is_answer
from .transports.tap import TappedTransport
from .transports.wire import DEFAULT_CLIENT
from .transports.wsgi import WSGITransport
from .ways import InterfaceName, LifespanMode, Via

if TYPE_CHECKING:
    import asyncio
    from types import EllipsisType

    from .transports.asgi_host import ASGIHost
    from .websocket import WebSocketSession

_Client = TypeVar("_Client", bound="Client")
_Made = TypeVar("_Made")
_ASGI = TypeVar("_ASGI")
_WSGI = TypeVar("_WSGI")

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


class InFrontOfApp(Generic[_ASGI, _WSGI]):
    """What both clients are beside httpx2's: they know the app, and put it in the place of a network.

    To be inherited before the library's own class. The subclass says which transports call the app.
    """

    app: Any
    via: Via
    interface: InterfaceName | None
    local: LocalApp[_ASGI, _WSGI] | None

    _to_asgi: ClassVar[Callable[..., Any]]
    _to_wsgi: ClassVar[Callable[..., Any]]
    _tapped: ClassVar[Callable[..., Any]]

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
        self.interface = None
        self.local = None
        transport = options.pop("transport", None)
        if transport is None:
            self.local = LocalApp(
                app,
                via,
                asgi=partial(self._to_asgi, lifespan=lifespan, loop_factory=loop_factory),
                wsgi=self._to_wsgi,
                tapped=self._tapped,
                lifespan=lifespan,
                loop_factory=loop_factory,
                raise_app_exceptions=raise_app_exceptions,
                root_path=root_path,
                client=client,
                extra=extra,
            )
            self.interface = self.local.way.interface
            transport = self.local.transport
        options.setdefault("trust_env", False)
        options |= {"transport": transport, "base_url": base_url, "timeout": timeout}
        super().__init__(**options)


class Client(InFrontOfApp[ASGITransport, WSGITransport], httpx2.Client):
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
        local: how the app is called in process; `None` if it is not, but runs on a real server.

    Raises:
        UsageError: the interface of `app` cannot be told, or an option is not usable.
    """

    _to_asgi = ASGITransport
    _to_wsgi = WSGITransport
    _tapped = TappedTransport

    @property
    def host(self) -> ASGIHost | None:
        """See the class."""
        return None if self.local is None or self.local.asgi is None else self.local.asgi.host

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
        return on_server(cls, _Served, app_or_target, server, via, startup_timeout, options)

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
        hops = Hops(self, request, follow_redirects)
        while True:
            try:
                response = self.send(hops.sent, stream=True, follow_redirects=False)
            except BaseException as error:
                if not is_answer(error):
                    raise
                return hops.failed(error)
            chunks: list[bytes] = []
            broken: BaseException | None = None
            try:
                chunks.extend(response.iter_raw())
            except BaseException as error:
                if not is_answer(error):
                    raise
                broken = error
            answer = hops.came(response, chunks, broken)
            if answer is not None:
                return answer

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
        tap = None if self.local is None else self.local.tap
        if tap is not None and not tap.wait_idle(timeout):
            return False
        return self.host is None or self.host.wait_idle(max(0.0, deadline - time.monotonic()))

    def websocket_connect(
        self,
        url: str,
        subprotocols: Iterable[str] = (),
        *,
        timeout: float | EllipsisType | None = ...,
        **options: Any,
    ) -> WebSocketSession:
        """Open a WebSocket session with the app: `with client.websocket_connect("/ws") as session`.

        The client's base URL, headers, cookies and `root_path` hold for it. The lifespan is started if need
        be.

        Args:
            url: relative, or with the scheme `ws` or `http` (`wss`, `https`).
            subprotocols: those that the client offers.
            timeout: seconds for each wait, `None` without limit; by default the client's for reading.
            options: of a request: `headers`, `params`, `cookies`.

        Returns:
            a session that has not been entered yet.

        Raises:
            UsageError: the way to the app passes through WSGI, or it is on a real server; or an option is
                not usable.
            those of `start`.
        """
        from .websocket import connect

        return connect(self, url, subprotocols=subprotocols, timeout=timeout, **options)

    def start(self) -> None:
        """Start the app's lifespan now, not with the first request. Entering the context does this.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `"on"`.
        """
        if self.local is not None:
            self.local.way.start()
        if self.host is not None:
            self.host.start()

    def close(self) -> None:
        """End everything that was started: requests in progress, lifespan, loops, threads, the server.

        Each wait is bounded. Does nothing the second time.
        """
        try:
            super().close()
        finally:
            if self.local is not None:
                self.local.way.close()

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


def on_server(
    make: Callable[..., _Made],
    connected: Callable[..., httpx2.BaseTransport | httpx2.AsyncBaseTransport],
    app_or_target: Any,
    server: str,
    via: Via,
    startup_timeout: float,
    options: dict[str, Any],
) -> _Made:
    """A client of either kind, of an app that is served for it; see `Client.served`.

    Args:
        make: the class of the client.
        connected: makes the transport, of the running server, which ends with it, and `CONNECTION_OPTIONS`.
        app_or_target, server, via, startup_timeout: as of `Client.served`.
        options: of the client, its connections and the server, mixed.
    """
    from . import served

    own = {name: options.pop(name) for name in list(options) if name in CLIENT_OPTIONS}
    running = served.start(app_or_target, server, via=via, timeout=startup_timeout, **options)
    try:
        connections = {name: own.pop(name) for name in list(own) if name in CONNECTION_OPTIONS}
        connections.setdefault("trust_env", False)
        transport = connected(running, **connections)
        return make(app_or_target, via=via, base_url=running.url, transport=transport, **own)
    except BaseException:
        running.close()
        raise


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
