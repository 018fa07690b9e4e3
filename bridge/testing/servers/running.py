"""A server that has been started: where it is, and how it ends. What all kinds of servers share.

A server says once that it serves (`_serves`) and once that it is over (`_is_over`), each from a
thread of its own. Who waits, and what ends the wait:

- The caller of `start` waits until either is said. A thread or process that ends says the latter on
  every way out. One that does neither is given up after the time-out, and ended.
- The caller of `close` waits for the latter for `grace` and `ENDING` seconds. What is still there
  then, such as an app that blocks its thread for ever, is a daemon and is left; a warning names it.
- At interpreter exit, servers that were not closed are, within the same bounds.
"""

from __future__ import annotations

import atexit
import logging
import socket
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from ...exceptions import StartupFailed, UsageError

_Self = TypeVar("_Self", bound="Running")

logger = logging.getLogger("bridge.testing")

GRACE = 5.0
"""Seconds that requests in progress may take to end when the server is closed."""

ENDING = 10.0
"""Seconds beyond the grace for the rest of the end: the app's lifespan, the server's threads or processes."""

_open: weakref.WeakSet[Running] = weakref.WeakSet()


class Running:
    """A server that serves an app on a real socket.

    A context manager: `close()` on exit. The methods may be called from any thread.

    Attributes:
        url: where it listens, such as "http://127.0.0.1:54321".
        server: its name, such as "uvicorn".
    """

    def __init__(self, server: str, grace: float) -> None:
        self.server = server
        self.url = ""
        self._grace = grace
        self._error: BaseException | None = None
        self._said = threading.Event()
        self._ended = threading.Event()
        self._closing = threading.Lock()
        self._closed = False
        self._afterwards: list[Callable[[], object]] = []

    @property
    def output(self) -> str:
        """What a process has printed so far, the end of it if it is much; "" for a server in a thread."""
        return ""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Running {self.server} at {self.url}>"

    def start(self, timeout: float) -> None:
        """Start it, and return when it serves; see `served.start`. If it does not, it has been ended."""
        try:
            self._launch()
            said = self._said.wait(timeout)
        except BaseException:  # Ctrl-C is one
            self.close()
            raise
        if said and not self._ended.is_set():
            _open.add(self)
            return
        self.close()
        if not said:
            raise StartupFailed(f"{self.server} did not serve within {timeout:g} seconds{self._words()}")
        error = self._error
        if isinstance(error, (StartupFailed, UsageError)):
            raise error
        if isinstance(error, OSError):
            raise UsageError(f"{self.server} cannot listen: {error}") from error
        raise StartupFailed(
            f"{self.server} did not start: {error!r}{self._words()}"
            if error is not None
            else f"{self.server} ended without serving{self._words()}"
        ) from error

    def close(self) -> None:
        """End the server: requests in progress (within the grace), lifespan shutdown, threads, processes.

        Returns when it has ended, or has been given up after a bounded time, of which a warning is
        logged. Does nothing if it is closed already; waits with the others if that is in progress.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            _open.discard(self)
            self._stop()
            if not self._ended.wait(self._grace + ENDING):
                self._abandon()
            self._finish()

    def afterwards(self, function: Callable[[], object]) -> None:
        """Have `close` call a function when the server has ended; what is given last is called first."""
        self._afterwards.append(function)

    # -- for the kinds of servers

    def _serves(self, url: str) -> None:
        """It accepts connections. From any thread."""
        self.url = url
        self._said.set()

    def _is_over(self, error: BaseException | None) -> None:
        """It has ended; if it was to serve still, for this reason. From any thread; the first one holds."""
        if self._ended.is_set():
            return
        if error is not None and self._said.is_set() and not self._closed:
            logger.error("%s has ended by itself", self, exc_info=error)
        self._error = error
        self._ended.set()
        self._said.set()

    def _words(self) -> str:
        """What there is to say further of a start that failed."""
        return ""

    def _launch(self) -> None:
        """Begin to start; does not wait."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Ask it to end; does not wait. Called once, in whatever state it is."""
        raise NotImplementedError

    def _finish(self) -> None:
        """It has ended or has been given up: put away what remains."""
        while self._afterwards:
            self._afterwards.pop()()

    def _abandon(self) -> None:
        """It has not ended in time: do what can be done."""
        logger.warning(
            "%s has not ended within %g seconds; what is left of it are daemon threads. Does the app "
            "block for ever?",
            self,
            self._grace + ENDING,
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the address is none of this machine's, or somebody else's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from error


def url_of(address: tuple[str, int], secure: bool = False) -> str:
    """Where clients on this machine find a listening socket, by its host and port."""
    host, port = address[:2]
    # "Any address" is one to listen on, not one to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def refuse_own(server: str, options: dict[str, object], own: frozenset[str]) -> None:
    """Options of a server that are for bridge to set.

    Raises:
        UsageError: one of them was given.
    """
    for name in options:
        if name in own:
            raise UsageError(
                f"{name} is for bridge to set on {server}; start() itself takes host, port, timeout and grace"
            )


def _close_all() -> None:
    for running in list(_open):
        running.close()


atexit.register(_close_all)
