"""An app on a real server, for as long as a test needs it.

    with start(app, "uvicorn") as running:
        httpx2.get(running.url)

An app object is served from a thread of this process, on a port of the system's choice; the server
calls it as it is if it speaks its interface, else through bridge's adapter. A target string is
served by `bridge serve` in a process of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..adapters.asgi_to_wsgi import ASGIToWSGI
from ..adapters.wsgi_to_asgi import WSGIToASGI
from ..exceptions import MissingDependency, UsageError
from .servers import asgi_servers, wsgi_servers
from .servers.process import InProcess
from .servers.running import GRACE, Running
from .ways import InterfaceName, Via, Way, way

_ASGI: dict[str, Callable[..., Any]] = {"uvicorn": asgi_servers.uvicorn, "hypercorn": asgi_servers.hypercorn}
_WSGI: dict[str, Callable[..., Any]] = {
    "waitress": wsgi_servers.waitress,
    "cheroot": wsgi_servers.cheroot,
    "werkzeug": wsgi_servers.werkzeug,
    "wsgiref": wsgi_servers.of_wsgiref,
}

# What needs a process of its own, and why.
_APART = {
    "gunicorn": "it forks its workers",
    "uwsgi": "it embeds the interpreter",
    "daphne": "its reactor can run only once in a process, in the main thread",
    "granian": "its embedded form replaces the logging configuration of the process, and waits for "
    "requests in progress without bound",
}

IN_THREAD = (*_ASGI, *_WSGI)
"""The servers that serve an app object."""

IN_PROCESS = ("uvicorn", "gunicorn", "hypercorn", "granian", "waitress", "cheroot", "daphne", "uwsgi")
"""The servers that serve a target."""


def start(
    app: Any,
    server: str = "uvicorn",
    *,
    via: Via = "native",
    host: str = "127.0.0.1",
    port: int = 0,
    timeout: float = 30.0,
    grace: float = GRACE,
    **server_options: Any,
) -> Running:
    """Serve `app` on a real server and socket; returns when it serves.

    Args:
        app: an app object of either interface, or a target string such as "shop.web:app".
        server: for an object one of `IN_THREAD`, for a target one of `IN_PROCESS`.
        via: the way through the adapters that an object takes; see `ways`. What comes out of it is
            adapted once more if the server does not speak its interface.
        host: the address to listen on.
        port: the port; 0 stands for any that is free.
        timeout: seconds within which it must serve.
        grace: seconds that requests in progress may take when it is closed (whole ones for a target,
            at least 1; Daphne has none).
        server_options: for an object, the server's own: arguments of `uvicorn.Config`,
            `waitress.serve`, `cheroot.wsgi.Server`, attributes of `hypercorn.config.Config`,
            `passthrough_errors` and `ssl_context` for Werkzeug. For a target, options of
            `bridge serve`: `workers=2` is `--workers 2`, `factory=True` is `--factory`.

    Raises:
        StartupFailed: the lifespan did not start up, or the server did not serve in time. For a
            target the message holds what was printed.
        UsageError: there is no such server or option, the address cannot be listened on, `app` is
            none, or the target cannot be served.
        MissingDependency: the server is not installed.
    """
    if isinstance(app, str):
        return _start_target(
            app, server, via, timeout, host=host, port=port, grace=grace, options=server_options
        )
    if server in _APART:
        raise UsageError(
            f"{server} cannot serve an app object: {_APART[server]}. Give the app as a target string, "
            f'such as start("shop.web:app", "{server}"), or take one of {", ".join(IN_THREAD)}'
        )
    if server not in IN_THREAD:
        raise UsageError(f"an app object is served by one of {', '.join(IN_THREAD)}; got {server!r}")
    with ExitStack() as undo:
        chosen = undo.enter_context(way(app, via))
        outer = undo.enter_context(_adapted(chosen, "asgi" if server in _ASGI else "wsgi", timeout))
        # Now: the lifespan of what is called as WSGI would start with the first request.
        chosen.start()
        outer.start()
        make = _ASGI.get(server) or _WSGI[server]
        running: Running = make(outer.app, host=host, port=port, grace=grace, options=server_options)
        running.start(timeout)
        running.afterwards(undo.pop_all().close)
    return running


def _adapted(chosen: Way, interface: InterfaceName, timeout: float) -> Way:
    """The app of a way as the server calls it."""
    if chosen.interface == interface:
        return Way(chosen.app, interface, "native")
    adapter: WSGIToASGI | ASGIToWSGI
    if interface == "asgi":
        adapter = WSGIToASGI(chosen.app)
    else:
        adapter = ASGIToWSGI(chosen.app, startup_timeout=timeout)
    return Way(adapter, interface, interface, (adapter,))


def _start_target(target: str, server: str, via: Via, timeout: float, **arguments: Any) -> Running:
    if via != "native":
        raise UsageError(
            "a target is served in another process, where `via` cannot reach it: import the app and give "
            f"it instead of {target!r}, or name a target that is adapted already"
        )
    if server not in IN_PROCESS:
        raise UsageError(f"a target is served by one of {', '.join(IN_PROCESS)}; got {server!r}")
    if importlib.util.find_spec("click") is None:
        raise MissingDependency("`bridge serve` needs click: pip install 'wsgi-asgi-bridge[testing]'")
    running = InProcess(target, server, **arguments)
    running.start(timeout)
    return running
