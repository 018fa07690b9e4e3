"""SIGTERM and Ctrl-C, for servers that do not handle them and for the time before a server does."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

from .report import OK

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))


def end_on_sigterm() -> None:
    """Until the server has a handler of its own, SIGTERM ends the program as if that had stopped."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(OK)


class Stop:
    """What a signal asks for, while the block lasts. To be used in the main thread.

    The first signal asks for an end, a second one for an end at once. Before `wakes` was called there
    is nothing to end, and a signal raises `SystemExit`: the app may be starting, which may take long.

    Attributes:
        asked: an end was asked for.
        hurried: it was asked for again.
    """

    def __init__(self) -> None:
        self.asked = False
        self.hurried = False
        # Handlers run in the main thread wherever it is, so no lock that it may hold can be taken; a
        # SimpleQueue may be put to from a handler.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._wake: Callable[[], object] | None = None

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._handle) for number in _NUMBERS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wakes(self, wake: Callable[[], object]) -> None:
        """From now on a signal is noted and `wake` called, in the main thread; it must take no lock."""
        self._wake = wake

    def wait(self, timeout: float | None = None) -> None:
        """Wait for a signal, or for `notify`."""
        try:
            self._signals.get(timeout=timeout)
        except queue.Empty:
            pass

    def notify(self) -> None:
        """End a `wait`, from any thread."""
        self._signals.put(0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._wake is None:
            _end(number, frame)
        self.hurried = self.asked
        self.asked = True
        self._signals.put(number)
        self._wake()
