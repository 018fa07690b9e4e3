"""What a process that serves an app does first: find it, and make of it what the server can call.

A server's worker processes import this module, under any server that takes a factory:
`bridge.serving.worker:create_app`. What to serve comes from an environment variable, since a worker
started anew (spawned, or by a reloader) shares nothing else with the process that parsed the
command line.
"""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from ..adapters.as_asgi import single_callable
from ..adapters.asgi_to_wsgi import ASGIToWSGI
from ..adapters.wsgi_to_asgi import WSGIToASGI
from ..engines.thread_pool import DEFAULT_THREADS
from ..exceptions import UsageError
from ..translate.interface import Interface
from .target import Found, find

ENVIRONMENT = "BRIDGE_SERVE"
"""The variable that holds an `Order` as JSON."""

# Servers end the lifespan when requests in progress have had their time. This is for close() and
# finally clauses of what still runs then, in seconds.
SHUTDOWN_TIMEOUT = 1.0

SPOKEN = ("asgi", "wsgi", "both")
"""What a server can call: ASGI 3 apps, WSGI apps, or either."""

_FORCED = {"auto": None, "wsgi": Interface.WSGI, "asgi": Interface.ASGI3}


@dataclass(frozen=True)
class Around:
    """What another command puts around the app in each process that serves it.

    Attributes:
        function: as `module:name`. It is called with the app, with "wsgi" or "asgi" (ASGI 3), which
            the app is, and with `options`; it returns an app of the same interface.
        options: arguments for it, by name; what JSON can hold.
        note: what the line that says what is served says of it.
    """

    function: str
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def __call__(self, app: Any, interface: Interface) -> Any:
        """The app with it around."""
        module, _, name = self.function.partition(":")
        kind = "wsgi" if interface is Interface.WSGI else "asgi"
        return getattr(importlib.import_module(module), name)(app, kind, **self.options)


@dataclass(frozen=True)
class Order:
    """What to serve, and how to adapt it.

    Attributes:
        target: as in `bridge serve TARGET`.
        interface: `auto`, `wsgi` or `asgi`.
        factory: the target is a factory, whatever it looks like.
        threads: how many requests a WSGI app may handle at a time; `None` is the adapter's default.
        directory: where to look for the app first; `None` is the current directory.
        multiprocess: whether other processes serve the same app (`wsgi.multiprocess`).
        speaks: what the server can call, one of `SPOKEN`; an app of the other interface is wrapped.
        around: what goes around the app, inside the adapter.
    """

    target: str
    interface: str = "auto"
    factory: bool = False
    threads: int | None = None
    directory: str | None = None
    multiprocess: bool = False
    speaks: str = "asgi"
    around: Around | None = None

    def to_environment(self) -> None:
        """Leave the order to processes that are started from now on."""
        os.environ[ENVIRONMENT] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> Order:
        """The order that was left to this process.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        text = os.environ.get(ENVIRONMENT)
        if text is None:
            raise UsageError(
                f"the environment variable {ENVIRONMENT} is not set; it holds what to serve, as in "
                '{"target": "module:app"}'
            )
        try:
            given = json.loads(text)
            around = given.pop("around", None)
            return cls(**given, around=None if around is None else Around(**around))
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"the environment variable {ENVIRONMENT} holds {text!r}: {error}") from None


@dataclass(frozen=True)
class Loaded:
    """An app that the server can call, and what it was made from; `note` says what is around it."""

    found: Found
    app: Any
    note: str = ""

    @property
    def wrapped(self) -> WSGIToASGI | ASGIToWSGI | None:
        """The adapter that was put around the app; `None` if there was no need for one."""
        if self.app is self.found.app or not isinstance(self.app, WSGIToASGI | ASGIToWSGI):
            return None
        return self.app

    @property
    def app_is_asgi(self) -> bool:
        """Whether what the server calls is an ASGI app of the user's, which has no use for threads."""
        return self.wrapped is None and self.found.interface is not Interface.WSGI

    def start(self) -> None:
        """Run the lifespan startup now, in this process, if it is for `ASGIToWSGI` to run it.

        That is so for one that the user has put around the app, too.

        Raises:
            StartupFailed: it failed; see `ASGIToWSGI.start`.
        """
        if isinstance(self.app, ASGIToWSGI):
            self.app.start()

    def close(self) -> None:
        """End what `start` began: requests in progress, background work, the lifespan."""
        if isinstance(self.app, ASGIToWSGI):
            self.app.close()

    def __str__(self) -> str:
        """As in: `shop:app is a WSGI app (flask.Flask); serving it through WSGIToASGI (40 threads)`."""
        text = f"{self.found}; serving it"
        if isinstance(self.wrapped, ASGIToWSGI):
            text += " through ASGIToWSGI"
        elif isinstance(self.wrapped, WSGIToASGI):
            text += f" through WSGIToASGI ({self.wrapped.pool.threads} threads)"
        return f"{text}, {self.note}" if self.note else text


def load(order: Order) -> Loaded:
    """Find the app of `order` and adapt it.

    Raises:
        TargetError: there is no such app; see `find`.
        UsageError: the order asks for what cannot be.
    """
    if order.interface not in _FORCED:
        raise UsageError(f"the interface is one of {', '.join(_FORCED)}; got {order.interface!r}")
    if order.speaks not in SPOKEN:
        raise UsageError(f"a server speaks one of {', '.join(SPOKEN)}; got {order.speaks!r}")
    found = find(
        order.target,
        factory=order.factory,
        interface=_FORCED[order.interface],
        directory=order.directory,
    )
    app = single_callable(found.app) if found.interface is Interface.ASGI2 else found.app
    note = ""
    if order.around is not None:
        app, note = order.around(app, found.interface), order.around.note
    if found.interface is Interface.WSGI:
        return Loaded(found, _to_asgi(app, order) if order.speaks == "asgi" else app, note)
    if order.speaks == "wsgi":
        app = ASGIToWSGI(app, shutdown_timeout=SHUTDOWN_TIMEOUT)
    return Loaded(found, app, note)


def _to_asgi(app: Any, order: Order) -> WSGIToASGI:
    return WSGIToASGI(
        app,
        threads=DEFAULT_THREADS if order.threads is None else order.threads,
        multiprocess=order.multiprocess,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
    )


def create_app() -> Any:
    """The factory for worker processes: the app of the order in the environment.

    Raises:
        UsageError: see `Order.from_environment` and `load`.
    """
    return load(Order.from_environment()).app
