"""Run an app on Waitress: in this process, on its threads.

Waitress has no handler for SIGTERM, and on Ctrl-C it drops what is in progress: its loop, which sends
the responses, has ended by then. So its loop is run here, turn by turn. At the end nothing new is
accepted, connections are closed as they become idle, and the loop goes on until all are or the time
is up.
"""

from __future__ import annotations

import getopt
import logging
import os
import sys
import time
from dataclasses import replace
from typing import Any

from waitress import create_server, wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.runner import show_help  # type: ignore[import-untyped]
from waitress.server import BaseWSGIServer  # type: ignore[import-untyped]

from ..exceptions import UsageError
from .report import FAILURE, OK, Report, count, say
from .settings import THREADS, Settings, refuse_twice, url
from .stopping import Stop
from .worker import SHUTDOWN_TIMEOUT, Order, load

# How often, in seconds, connections are looked at during the end: whether they have become idle.
_TURN = 0.1

_SAME = {"threads": "threads", "root_path": "url_prefix"}
"""What Waitress calls our options."""

# The settings that say where it listens.
_WHERE = frozenset({"host", "port", "listen", "unix_socket", "sockets"})


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    adjustments = _adjustments(settings)
    if adjustments is None:
        return OK
    order = replace(order, speaks="wsgi")
    with Stop() as stop:
        loaded = load(order)
        # As `waitress.serve` does, and as late: an app may have configured logging.
        logging.basicConfig()
        logging.getLogger("waitress").setLevel((settings.log_level or "info").upper())
        sockets: dict[int, Any] = {}
        try:
            server = create_server(loaded.app, map=sockets, **adjustments)
        except (OSError, ValueError) as error:
            say(f"Waitress does not start: {error}")
            return FAILURE
        loop = _Loop(server, sockets)
        try:
            loaded.start()
            threads = count(server.adj.threads, "thread")
            Report("Waitress", loop.address, f" with {threads}").served(loaded, order)
            stop.wakes(loop.wake)
            loop.run(stop)
            loop.drain(stop, settings.grace)
        finally:
            loop.abort()
            loaded.close()
            loop.close()
    return OK


class _Loop:
    """Waitress's loop over its sockets, in the calling thread."""

    def __init__(self, server: Any, sockets: dict[int, Any]) -> None:
        self._server = server
        self._sockets = sockets
        self._listeners = [each for each in sockets.values() if isinstance(each, BaseWSGIServer)]

    @property
    def address(self) -> str:
        """Of the first socket, as a URL."""
        listener = self._listeners[0]
        return url(listener.socket.getsockname(), listener.adj.url_scheme == "https")

    def wake(self) -> None:
        """Have a turn end that waits for something to happen; may be called in a signal handler."""
        self._listeners[0].pull_trigger()

    def run(self, stop: Stop) -> None:
        """Serve until an end is asked for."""
        while not stop.asked:
            self._turn(self._server.adj.asyncore_loop_timeout)

    def drain(self, stop: Stop, grace: float) -> None:
        """Let what is in progress end, for so many seconds or until hurried."""
        for listener in self._listeners:
            listener.del_channel(self._sockets)
            listener.socket.close()
        self._remove_file()
        deadline = time.monotonic() + grace
        while self._channels() and not stop.hurried and time.monotonic() < deadline:
            for channel in self._channels():
                if not (channel.requests or channel.request or channel.total_outbufs_len):
                    channel.will_close = True
            self._turn(_TURN)

    def abort(self) -> None:
        """Close the connections that are left; their threads find out."""
        for channel in self._channels():
            channel.handle_close()

    def close(self) -> None:
        """End the threads, and close all that is open. A thread that does not end is a daemon."""
        self._server.task_dispatcher.shutdown(timeout=SHUTDOWN_TIMEOUT)
        wasyncore.close_all(self._sockets, ignore_all=True)
        self._remove_file()

    def _turn(self, timeout: float) -> None:
        adj = self._server.adj
        wasyncore.loop(timeout=timeout, use_poll=adj.asyncore_use_poll, map=self._sockets, count=1)

    def _channels(self) -> list[HTTPChannel]:
        return [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]

    def _remove_file(self) -> None:
        path = self._server.adj.unix_socket
        if path and os.path.exists(path):
            os.remove(path)


def _adjustments(settings: Settings) -> dict[str, Any] | None:
    """Arguments for `create_server`; `None` if Waitress's help was asked for, and shown.

    Raises:
        UsageError: Waitress's own parser refuses what stands behind `--`.
    """
    try:
        further, rest = Adjustments.parse_args(list(settings.further))
    except getopt.GetoptError as error:
        raise UsageError(f"Waitress does not know what stands behind `--`: {error}") from None
    if further.pop("help"):
        show_help(sys.stdout, "waitress-serve")
        return None
    if further.pop("call") or rest:
        raise UsageError(
            "behind `--` there may be options of waitress-serve that are about the server, and nothing else; "
            f"got {' '.join(settings.further)}"
        )
    refuse_twice(settings, "Waitress", _SAME, further)
    ours: dict[str, Any] = {"threads": THREADS if settings.threads is None else settings.threads}
    elsewhere = _WHERE & set(further)
    if settings.says_where and elsewhere:
        raise UsageError(
            f"an address was given, and behind `--` Waitress's {', '.join(sorted(elsewhere))}: leave one of "
            "the two out"
        )
    if settings.uds is not None:
        ours["unix_socket"] = settings.uds
    elif not elsewhere:
        ours["host"], ours["port"] = settings.address
    if settings.root_path is not None:
        ours["url_prefix"] = settings.root_path
    return {**ours, **further}
