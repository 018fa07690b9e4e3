"""Functions and errors for the tests of the shim's calls, and the time-outs of those who wait for them."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Mapping
from typing import Any

from bridge.shim.thread_call import ThreadCall
from support.drive import Signal
from support.engines import FakePort


class Blocker:
    """A function that blocks until the test lets it go.

    Attributes:
        begun: it runs.
        go: lets it end.
        ended: it has ended.
    """

    def __init__(self) -> None:
        self.begun, self.go, self.ended = Signal(), Signal(), Signal()

    def __call__(self, result: str = "done") -> str:
        self.begun.set()
        try:
            self.go.wait()
        finally:
            self.ended.set()
        return result


class Odd(Exception):
    """An exception whose class cannot be called with what `args` says."""

    def __init__(self, one: int, two: int, *, three: int) -> None:
        super().__init__(f"{one}{two}{three}")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: ValueError("mine"),
    "odd constructor": lambda: Odd(1, 2, three=3),
    "BaseException": lambda: BaseException("mine"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopAsyncIteration": StopAsyncIteration,
    "TimeoutError": TimeoutError,
}
"""Exceptions that have to come through as they are."""
if sys.version_info >= (3, 11):
    ERRORS["ExceptionGroup"] = lambda: ExceptionGroup("mine", [ValueError(1), TypeError(2)])  # noqa: F821
    ERRORS["BaseExceptionGroup"] = lambda: BaseExceptionGroup("mine", [KeyboardInterrupt()])  # noqa: F821


def call_of(
    function: Callable[..., Any], *args: Any, handled: BaseException | None = None, **kwargs: Any
) -> ThreadCall:
    """A call as `sync_to_async` makes it for a thread that is no pool's, with a port that is none."""
    port: Any = FakePort()
    arguments: Mapping[str, Any] = kwargs
    call = ThreadCall(function, args, arguments, contextvars.copy_context(), port, handled)
    call.claims = [None]
    return call


class Time:
    """The running asyncio loop's clock, which can be moved on; made in a coroutine.

    So a time-out comes when the test wants it, and not before.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        loop: Any = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + self._ahead

    async def passes(self, seconds: float, after: Signal) -> None:
        """Once `after` has come, let so much time pass at once."""
        await after.come()
        self._ahead += seconds


PATIENT = """
from bridge.engines import loop_thread as _loop_thread
from bridge.shim import loop_call as _loop_call, persistent as _persistent
_loop_thread._LAST_STEPS = _loop_call._CANCEL_GRACE = _persistent._EXIT_GRACE = 15.0
"""
"""The beginning of a script whose loops may take their time to end, on a machine that is busy."""
