"""The ways to an app: by its own interface, through one of the adapters, or through both.

A client, a comparison and a test ask here what to call. Nothing is started: an adapter that is made
here starts with the first request, or with `Way.start`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from ..adapters.as_asgi import single_callable
from ..adapters.asgi_to_wsgi import ASGIToWSGI
from ..adapters.wsgi_to_asgi import WSGIToASGI
from ..exceptions import UsageError
from ..translate.interface import Interface, describe, interface_of
from ..types import ASGIApp

if TYPE_CHECKING:
    import asyncio

_Self = TypeVar("_Self", bound="Way")

InterfaceName: TypeAlias = Literal["wsgi", "asgi"]
"""How an app is called: with (environ, start_response), or with (scope, receive, send)."""

Via: TypeAlias = "Literal['native', 'asgi', 'wsgi', 'roundtrip'] | Callable[[Any], Any]"
"""Which way to take:

- `"native"`: the app as it is, by its own interface;
- `"asgi"`: called as ASGI, a WSGI app inside `WSGIToASGI`;
- `"wsgi"`: called as WSGI, an ASGI app inside `ASGIToWSGI`;
- `"roundtrip"`: through both adapters, called by its own interface;
- a function: takes the app and returns the app to call, such as another project's adapter around it.
"""

LifespanMode: TypeAlias = Literal["auto", "on", "off"]
"""Whether an ASGI app's lifespan is run: if it has one; always, or fail without; never."""

SHUTDOWN_TIMEOUT = 5.0
"""How long each step of ending an app may take, in seconds; short, as a test waits for it."""

_NAMED = ("native", "asgi", "wsgi", "roundtrip")
_NAMES: dict[Interface, InterfaceName] = {
    Interface.WSGI: "wsgi",
    Interface.ASGI3: "asgi",
    Interface.ASGI2: "asgi",
}


class Way:
    """An app as it is to be called. A context manager: `close` on exit.

    Attributes:
        app: what to call.
        interface: how to call it, `"wsgi"` or `"asgi"`.
        via: the way that was asked for.
        adapters: those of bridge around the app, the outermost first.
    """

    def __init__(
        self, app: Any, interface: InterfaceName, via: Via, adapters: tuple[WSGIToASGI | ASGIToWSGI, ...] = ()
    ) -> None:
        self.app = app
        self.interface: InterfaceName = interface
        self.via = via
        self.adapters = adapters

    def start(self) -> None:
        """Start the event loop and the lifespan of an ASGI app that is called as WSGI. From any thread.

        What is called as ASGI has its lifespan started by whoever serves it, a client for one.

        Raises:
            StartupFailed: the app's lifespan failed, took too long, or is missing in mode `"on"`.
        """
        for adapter in self.adapters:
            if isinstance(adapter, ASGIToWSGI):
                adapter.start()

    def close(self) -> None:
        """End what the adapters have started: lifespan, event loops and worker threads.

        Each wait is bounded by the adapter's own time-outs. Does nothing the second time.
        """
        # In this order: a thread of a pool may be waiting for an app that is ended first.
        for adapter in self.adapters:
            if isinstance(adapter, ASGIToWSGI):
                adapter.close()
        for adapter in self.adapters:
            if isinstance(adapter, WSGIToASGI):
                adapter.pool.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Way to {describe(self.app)} as {self.interface.upper()}>"


def way(
    app: Any,
    via: Via = "native",
    *,
    lifespan: LifespanMode = "auto",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    inside: Callable[[ASGIApp], ASGIApp] | None = None,
) -> Way:
    """The way to an app.

    Args:
        app: a WSGI, ASGI 3 or ASGI 2 application. It is not called to find out which.
        via: see `Via`.
        lifespan: of an ASGI app that is called through `ASGIToWSGI`.
        loop_factory: makes the event loop of that; `None`: one of asyncio's own kind, shared with no other
            way, so that what a test leaves on it ends with the way.
        inside: wraps the ASGI app that is put into `ASGIToWSGI`.

    Raises:
        UsageError: `app`, or what the function made of it, is no app that can be told to be WSGI or
            ASGI; or `via` is none of the above.
    """
    if callable(via):
        own, _ = _interface(app, "an app")
        made = via(app)
        interface, made = _interface(made, "the function given as via to return an app")
        ours: tuple[Any, ...] = ()
        # One that the user made beforehand, around something else or for others too, stays open.
        if isinstance(made, (WSGIToASGI, ASGIToWSGI)) and made.app is app:
            ours = (made,)
        return Way(made, interface, via, ours)
    if via not in _NAMED:
        raise UsageError(f"via is one of {', '.join(_NAMED)}, or a function that wraps the app; got {via!r}")
    own, app = _interface(app, "an app")
    if via == "native" or via == own:
        return Way(app, own, via)

    def to_wsgi(asgi_app: ASGIApp) -> ASGIToWSGI:
        app = asgi_app if inside is None else inside(asgi_app)
        return ASGIToWSGI(
            app,
            lifespan=lifespan,
            loop_factory=loop_factory or _factory(),
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )

    if own == "wsgi":
        asgi = WSGIToASGI(app, shutdown_timeout=SHUTDOWN_TIMEOUT)
        if via == "asgi":
            return Way(asgi, "asgi", via, (asgi,))
        wsgi = to_wsgi(asgi)
        return Way(wsgi, "wsgi", via, (wsgi, asgi))
    wsgi = to_wsgi(app)
    if via == "wsgi":
        return Way(wsgi, "wsgi", via, (wsgi,))
    asgi = WSGIToASGI(wsgi, shutdown_timeout=SHUTDOWN_TIMEOUT)
    return Way(asgi, "asgi", via, (asgi, wsgi))


def _factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """A new factory of loops: adapters share the loop of one factory, and no two ways have the same."""

    def new_event_loop() -> asyncio.AbstractEventLoop:
        import asyncio

        return asyncio.new_event_loop()

    return new_event_loop


def _interface(app: Any, expected: str) -> tuple[InterfaceName, Any]:
    """How an app is called, and the app itself, an ASGI 2 app in the form of ASGI 3."""
    verdict = interface_of(app)
    name = _NAMES.get(verdict.interface)
    if name is None:
        remedy = (
            "call it, and pass what it returns"
            if verdict.interface is Interface.FACTORY
            else "pass the application object; if it is one, wrap it in a function with the parameters "
            "(environ, start_response), or a coroutine function with (scope, receive, send)"
        )
        raise UsageError(f"expected {expected}; got {describe(app)}, which {verdict.reason}: {remedy}")
    return name, single_callable(app) if verdict.interface is Interface.ASGI2 else app
