"""A bound on how long a response may go on: for programs that ask for what they do not know.

A client's time-out is for each wait, so an event stream that ticks is waited for without an end.

    Client(app, event_hooks={"response": [ends_within(30.0)]})
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .transports.library import httpx2

LARGEST = 256 * 1024 * 1024
"""How many bytes of one response are kept, unless it is said: an app may send without an end, and fast."""


def ends_within(
    seconds: float, largest: int = LARGEST, clock: Callable[[], float] = time.monotonic
) -> Callable[[Any], None]:
    """A hook that breaks a response off if it goes on for too long.

    What came of it is kept: `exchange()` gives it with an `httpx2.ReadTimeout` as its error. The app
    is told that its client has gone. A wait for an app that is silent is not ended by this.

    Args:
        seconds: from the beginning of the body to its end.
        largest: how many bytes it may have.
        clock: tells the seconds.
    """

    def hook(response: Any) -> None:
        response.stream = _Bounded(response.stream, seconds, largest, clock)

    return hook


class _Bounded(httpx2.SyncByteStream):
    """A stream that ends with an error at its bounds. Runs in the thread that reads it."""

    def __init__(self, stream: Any, seconds: float, largest: int, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._seconds = seconds
        self._left = largest
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        deadline = self._clock() + self._seconds
        for chunk in self._stream:
            yield chunk
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx2.ReadTimeout("the response is too long, and was not read to its end")
            if self._clock() > deadline:
                raise httpx2.ReadTimeout(f"the response had not ended after {self._seconds:g} seconds")

    def close(self) -> None:
        self._stream.close()
