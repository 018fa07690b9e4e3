"""Run an app on Cheroot: in this process, on its threads.

Cheroot has no handler for SIGTERM, its threads are no daemons, and its `stop` waits for them without
an end. So all of it happens in a daemon thread, whose threads are daemons too, while the main thread
waits for a signal and for as long as the user allows.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cheroot import cli
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from .report import FAILURE, OK, Report, count, say
from .settings import THREADS, Settings, refuse_twice, url
from .stopping import Stop
from .worker import SHUTDOWN_TIMEOUT, Order, load

# How often, in seconds, the main thread looks whether the end has come.
_TURN = 0.1

_SAME = {
    "host": "bind_addr",
    "port": "bind_addr",
    "uds": "bind_addr",
    "threads": "numthreads",
    "timeout_graceful_shutdown": "shutdown_timeout",
}
"""What Cheroot calls our options."""


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    arguments = _arguments(settings)
    order = replace(order, speaks="wsgi")
    with Stop() as stop:
        loaded = load(order)
        logging.basicConfig()
        logging.getLogger("cheroot").setLevel((settings.log_level or "info").upper())
        server = _Server(wsgi_app=loaded.app, **arguments)
        if settings.ssl_certfile is not None:
            server.ssl_adapter = BuiltinSSLAdapter(settings.ssl_certfile, settings.keyfile)
        try:
            _in_daemon(server.prepare)
        except OSError as error:
            say(f"Cheroot does not start: {error}")
            return FAILURE
        try:
            loaded.start()
            threads = count(server.numthreads, "thread")
            address = url(server.bind_addr, server.ssl_adapter is not None)
            Report("Cheroot", address, f" with {threads}").served(loaded, order)
            stop.wakes(lambda: None)
            serving = _Daemon(server.serve, stop.notify)
            stop.wait()
            if not stop.asked:  # it has ended of itself
                say(f"Cheroot has ended: {serving.error!r}")
                return FAILURE
        finally:
            stopping = _Daemon(server.stop)
            deadline = time.monotonic() + server.shutdown_timeout
            while stopping.is_alive() and not stop.hurried and time.monotonic() < deadline:
                stopping.join(_TURN)
            loaded.close()
            stopping.join(SHUTDOWN_TIMEOUT)
            if isinstance(server.bind_addr, str) and os.path.exists(server.bind_addr):
                os.remove(server.bind_addr)
    return OK


def _arguments(settings: Settings) -> dict[str, Any]:
    """Arguments for the server. Its parser ends the program if what stands behind `--` is wrong."""
    parser = argparse.ArgumentParser("cheroot", "bridge serve TARGET --server cheroot -- [OPTIONS]")
    for name, spec in cli._arg_spec.items():  # type: ignore[attr-defined]
        if name.startswith("-"):
            parser.add_argument(name, **{**spec, "default": argparse.SUPPRESS})
    values = vars(parser.parse_args(settings.further))
    further = {name: value for name, value in values.items() if value is not None}
    refuse_twice(settings, "Cheroot", _SAME, further)
    ours: dict[str, Any] = {
        "bind_addr": settings.address if settings.uds is None else settings.uds,
        "numthreads": THREADS if settings.threads is None else settings.threads,
        "shutdown_timeout": settings.grace,
    }
    return {**ours, **further}


class _Server(Server):
    """A server that logs, where Cheroot's own prints."""

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Called by Cheroot from any thread."""
        logging.getLogger("cheroot").log(level, "%s", msg, exc_info=traceback)


class _Daemon(threading.Thread):
    """A daemon thread that keeps what its function raised, and tells when it has returned."""

    def __init__(self, function: Callable[[], object], done: Callable[[], object] = lambda: None) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._done = done
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """In the new thread."""
        try:
            self._function()
        except BaseException as error:
            self.error = error
        finally:
            self._done()


def _in_daemon(function: Callable[[], object]) -> None:
    """Call it in a daemon thread, so that the threads that it starts are daemons, and wait."""
    thread = _Daemon(function)
    thread.join()
    if thread.error is not None:
        raise thread.error
