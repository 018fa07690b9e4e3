"""An app in process as a client reaches it: the way through the adapters, and the transport at its end.

Both clients make one of these, each with its own kinds of transports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..types import ASGIApp
from .transports.tap import Tap
from .ways import LifespanMode, Via, way

if TYPE_CHECKING:
    import asyncio

_ASGI = TypeVar("_ASGI")
_WSGI = TypeVar("_WSGI")


class LocalApp(Generic[_ASGI, _WSGI]):
    """An app in process. Nothing is started.

    Args:
        app, via, lifespan, loop_factory: as of `way`.
        asgi: makes the transport that calls an ASGI app, of the app and `options`.
        wsgi: makes the one that calls a WSGI app, likewise.
        tapped: puts a transport around that one which raises what came of the `Tap` inside; takes it, and
            whether to.
        raise_app_exceptions: what the app raises is raised in the client.
        options: further ones of both kinds of transports.

    Attributes:
        way: the way to the app.
        tap: of an ASGI app inside `ASGIToWSGI`, else `None`.
        asgi: the transport that calls what is at the end of the way, `None` if that is WSGI.
        called: the same, whichever it is.
        transport: what a client sends its requests to.

    Raises:
        UsageError: as of `way`, and of the transports.
    """

    def __init__(
        self,
        app: Any,
        via: Via,
        *,
        asgi: Callable[..., _ASGI],
        wsgi: Callable[..., _WSGI],
        tapped: Callable[[Any, bool], Any],
        lifespan: LifespanMode,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
        raise_app_exceptions: bool,
        **options: Any,
    ) -> None:
        taps: list[Tap] = []

        def inside(app: ASGIApp) -> ASGIApp:
            taps.append(Tap(app))
            return taps[-1]

        self.way = way(app, via, lifespan=lifespan, loop_factory=loop_factory, inside=inside)
        self.tap = taps[0] if taps else None
        self.asgi: _ASGI | None = None
        self.called: _ASGI | _WSGI
        options["raise_app_exceptions"] = raise_app_exceptions
        if self.way.interface == "asgi":
            self.called = self.asgi = asgi(self.way.app, **options)
        else:
            self.called = wsgi(self.way.app, **options)
        self.transport: Any = self.called if self.tap is None else tapped(self.called, raise_app_exceptions)
