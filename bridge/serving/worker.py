"""What a process that serves an app does first: find it, and make an ASGI app of it.

A server's worker processes import this module, under any server that takes a factory:
`bridge.serving.worker:create_app`. What to serve comes from an environment variable, since a worker
started anew (spawned, or by a reloader) shares nothing else with the process that parsed the
command line.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from ..adapters.as_asgi import single_callable
from ..adapters.wsgi_to_asgi import WSGIToASGI
from ..engines.thread_pool import DEFAULT_THREADS
from ..exceptions import UsageError
from ..translate.interface import Interface
from ..types import ASGIApp
from .target import Found, find

ENVIRONMENT = "BRIDGE_SERVE"
"""The variable that holds an `Order` as JSON."""

# Uvicorn cancels what still runs after its own time-out and only then ends the lifespan: requests in
# progress have had their time. This is for close() and finally clauses, in seconds.
SHUTDOWN_TIMEOUT = 1.0

_FORCED = {"auto": None, "wsgi": Interface.WSGI, "asgi": Interface.ASGI3}


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
    """

    target: str
    interface: str = "auto"
    factory: bool = False
    threads: int | None = None
    directory: str | None = None
    multiprocess: bool = False

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
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise UsageError(f"the environment variable {ENVIRONMENT} holds {text!r}: {error}") from None


@dataclass(frozen=True)
class Loaded:
    """An app, ready for an ASGI server, and what it was made from."""

    found: Found
    app: ASGIApp

    @property
    def wrapped(self) -> WSGIToASGI | None:
        """The adapter around a WSGI app; `None` if there was no need for one."""
        return self.app if isinstance(self.app, WSGIToASGI) and self.app is not self.found.app else None

    def __str__(self) -> str:
        """As in: `shop:app is a WSGI app (flask.Flask); serving it through WSGIToASGI (40 threads)`."""
        if self.wrapped is None:
            return f"{self.found}; serving it"
        return f"{self.found}; serving it through WSGIToASGI ({self.wrapped.pool.threads} threads)"


def load(order: Order) -> Loaded:
    """Find the app of `order` and adapt it.

    Raises:
        TargetError: there is no such app; see `find`.
        UsageError: the order asks for what cannot be.
    """
    if order.interface not in _FORCED:
        raise UsageError(f"the interface is one of {', '.join(_FORCED)}; got {order.interface!r}")
    found = find(
        order.target,
        factory=order.factory,
        interface=_FORCED[order.interface],
        directory=order.directory,
    )
    if found.interface is Interface.WSGI:
        adapter = WSGIToASGI(
            found.app,
            threads=DEFAULT_THREADS if order.threads is None else order.threads,
            multiprocess=order.multiprocess,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        return Loaded(found, adapter)
    if found.interface is Interface.ASGI2:
        return Loaded(found, single_callable(found.app))
    return Loaded(found, found.app)


def create_app() -> ASGIApp:
    """The factory for worker processes: the app of the order in the environment.

    Raises:
        UsageError: see `Order.from_environment` and `load`.
    """
    return load(Order.from_environment()).app
