"""Event loops in threads of their own, which wait between slices while others are measured.

Not `benchmarks.eventloop.LoopThread`: that one runs by `run_forever`, under which AnyIO ends its worker
threads with each call. Here all runs below one main task, as under a server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from threading import Event, Thread
from typing import Any, TypeVar

from benchmarks import eventloop
from benchmarks.clients import STUCK
from benchmarks.measure import Slice

T = TypeVar("T")

ASYNCIO = "asyncio"
START_TIMEOUT = 10.0
FLOOR_THREADS = 10
"""Of the executor of the floor, where a scenario does not need more."""


def mark(loop: str) -> str:
    """What stands behind a contender's name on this loop: the default has no mark."""
    return "" if loop == ASYNCIO else loop


class Runner:
    """A loop that runs one main task until `close`.

    Attributes:
        name: the kind of loop.
        loop: the loop.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._up = Event()
        self._thread = Thread(target=self._run, name=f"{name} loop", daemon=True)
        self._thread.start()
        if not self._up.wait(START_TIMEOUT):
            raise RuntimeError(f"no {name} loop within {START_TIMEOUT:g} s")

    def _run(self) -> None:
        eventloop.run(self._main(), self.name)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._up.set()
        await self._end.wait()

    def call(self, main: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine in a task of the loop, and wait for its result.

        Raises:
            TimeoutError: it did not end in time; it has been cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(main, self.loop)
        try:
            return future.result(timeout)
        except Late:  # the built-in one from Python 3.11
            future.cancel()
            raise TimeoutError(f"not done within {timeout:g} s") from None

    def measure(self, slice_: Coroutine[Any, Any, Slice], seconds: float) -> Slice:
        """Run a slice of so many seconds; one that never ends gives no figure."""
        try:
            return self.call(slice_, seconds + 2 * STUCK)
        except TimeoutError as late:
            return Slice(None, failures=1, failure=str(late))

    def close(self) -> None:
        """End the loop and its thread."""
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_TIMEOUT)


@contextlib.contextmanager
def runners(names: tuple[str, ...]) -> Iterator[list[Runner]]:
    """A runner for each kind of loop."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in names:
            made.append(Runner(name))
            stack.callback(made[-1].close)
        yield made


@contextlib.contextmanager
def executor(threads: int, name: str = "floor") -> Iterator[ThreadPoolExecutor]:
    """An executor of the standard library, which is not waited for at the end."""
    made = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield made
    finally:
        made.shutdown(wait=False)
