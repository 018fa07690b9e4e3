"""What the ASGI sites of `tests/frameworks` note about themselves, and where they wait for a test.

The journal is that of `support.frameworks_probes`. Its gates are for threads; these are for tasks too.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from support.drive import Signal
from support.frameworks_probes import PATIENCE, Facts, current_request, journal

__all__ = ["PATIENCE", "Facts", "Named", "current_request", "gates", "journal", "noting", "pass_gate"]


class Gates:
    """Named events. A test opens one; a site waits at it, in a thread or in a task."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signals: defaultdict[str, Signal] = defaultdict(Signal)

    def _signal(self, name: str) -> Signal:
        with self._lock:
            return self._signals[name]

    def open(self, name: str) -> None:
        """Let those go who wait at the gate, now and later."""
        self._signal(name).set()

    def wait(self, name: str) -> bool:
        """Wait in a thread; return whether it was opened in time."""
        signal = self._signal(name)
        try:
            signal.wait(PATIENCE)
        except AssertionError:
            pass
        return signal.is_set

    async def come(self, name: str) -> bool:
        """Wait in a task; return whether it was opened in time."""
        signal = self._signal(name)
        try:
            await asyncio.wait_for(signal.come(), PATIENCE)
        except asyncio.TimeoutError:
            pass
        return signal.is_set


gates = Gates()


async def pass_gate() -> bool:
    """Wait at the gate with the request's id; return whether it was opened in time."""
    return await gates.come(current_request.get())


def noting(what: str) -> Callable[[], None]:
    """A function that notes `what` for the request of this Context, wherever it is called.

    For the end of an async generator that nobody closes: when it is collected, the loop closes it in a
    task and Context of its own.
    """
    return partial(contextvars.copy_context().run, journal.note, what)


class Named:
    """ASGI middleware that takes a request's id from `X-Request-Id`, and notes when the app is done."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        current_request.set(dict(scope["headers"]).get(b"x-request-id", b"unnamed").decode())
        journal.note("called")
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            journal.note("raised", error=type(error).__name__)
            raise
        journal.note("returned")
