"""A server in process for ASGI apps, as a transport of httpx2.

The app runs on an event loop in a thread of its own (`asgi_host`), the client in any thread. Requests and
responses stream in bounded memory; a response begins when the app sends its first piece of body, as ASGI
wants it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...types import ASGIApp
from .app_side import AppSide
from .asgi_exchange import ASGIExchange
from .asgi_host import ASGIHost
from .asgi_scope import ScopeMaker
from .library import httpx2
from .wire import (
    DEFAULT_CLIENT,
    HTTP_VERSION,
    TRAILERS,
    check_options,
    instead_of_failure,
    is_app_error,
    wants_late_errors,
    within_response,
)

if TYPE_CHECKING:
    import asyncio


class ASGITransport(httpx2.BaseTransport):
    """Sends requests to an ASGI app (ASGI HTTP 2.5), from any number of threads.

    What the app sees of the caller: a copy of its Context at the time of the request. What the app does
    after the response's end (background tasks) goes on; `close` waits for it, within bounds.

    Args:
        app: an ASGI 3 application.
        raise_app_exceptions: what the app raises is raised by the request, also after a response of
            5xx, which frameworks send before they let an exception go. Else it becomes a response of
            500 if none had begun, and `httpx2.RemoteProtocolError` if one had.
        lifespan, loop_factory: see `ASGIHost`.
        root_path: as in the scope.
        client: address and port of the client in the scope, `None` for none.
        extra: keys that are put over each scope.

    Attributes:
        host: the loop and the lifespan.

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
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        check_options(root_path, client, extra)
        self.raise_app_exceptions = raise_app_exceptions
        self.host = ASGIHost(app, lifespan=lifespan, loop_factory=loop_factory)
        self._scopes = ScopeMaker(root_path, client, extra)

    def start(self) -> None:
        """Start the loop and the app's lifespan now, not with the first request; see `ASGIHost.start`."""
        self.host.start()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return when the response has begun.

        Raises:
            those of `ASGIExchange.arrive` and `ASGIHost.start`; what the app raised, if it is to be.
        """
        host = self.host
        host.start()
        exchange = ASGIExchange(host, self.scope_of(request), request)
        exchange.start(contextvars.copy_context())
        try:
            exchange.arrive()
            if wants_late_errors(self.raise_app_exceptions, request) and exchange.response.complete:
                if exchange.response.status >= 500:
                    exchange.settle()
                if exchange.raised is not None:
                    raise exchange.raised
        except BaseException as error:
            exchange.leave()
            return instead_of_failure(error, exchange.failure, self.raise_app_exceptions)
        return response_of(exchange, _Body(exchange, self.raise_app_exceptions))

    def scope_of(self, request: httpx2.Request) -> dict[str, Any]:
        """The scope of a request, with its copy of the lifespan's state; the host has started."""
        return self._scopes.make(request, self.host.state)

    def close(self) -> None:
        """End calls, lifespan, loop and thread; see `ASGIHost.close`."""
        self.host.close()


def response_of(exchange: AppSide, body: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> httpx2.Response:
    """A response that has begun."""
    response = exchange.response
    return httpx2.Response(
        response.status,
        headers=response.headers,
        stream=body,
        extensions={"http_version": HTTP_VERSION, TRAILERS: response.trailers},
    )


class _Body(httpx2.SyncByteStream):
    """The response's body, as it comes."""

    def __init__(self, exchange: ASGIExchange, raises: bool) -> None:
        self._exchange = exchange
        self._raises = raises

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        try:
            yield from exchange.pieces()
        except BaseException as error:
            exchange.leave()
            if error is not exchange.failure or self._raises or not is_app_error(error):
                raise
            raise within_response(error, exchange.request) from error

    def close(self) -> None:
        self._exchange.leave()

    def __del__(self) -> None:
        self._exchange.leave()
