"""Closed loops of clients: each asks again as soon as it is answered, and looks at every answer."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from benchmarks.measure import Slice

T = TypeVar("T")

STUCK = 20.0
"""Seconds after which a request in process counts as never answered."""

Request = Callable[[], Awaitable[None]]
"""Makes one request on a loop, checks the answer and raises if it is wrong."""

Call = Callable[[], None]
"""The same in the calling thread."""


def settle() -> None:
    """Clear up after the last slice, so that its garbage is not charged to the next."""
    gc.collect()


def reason(exc: BaseException) -> str:
    """A failure in a line."""
    return f"{type(exc).__name__}: {exc}"


def _never_answered(answers: int = 0, failures: int = 0) -> Slice:
    return Slice(None, answers, failures + 1, f"no answer within {STUCK:g} s")


async def closed_loop(request: Request, concurrency: int, seconds: float) -> Slice:
    """Keep `concurrency` requests going for `seconds` as tasks of one loop. Only right answers count."""
    answers = failures = 0
    failure = ""
    clock = time.perf_counter
    cpu = time.process_time()
    begun = clock()
    deadline = begun + seconds

    async def client() -> None:
        nonlocal answers, failures, failure
        right = 0
        while True:
            try:
                await request()
                right += 1
            except Exception as exc:
                failures += 1
                failure = failure or reason(exc)
            if clock() >= deadline:
                break
        answers += right

    try:
        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(concurrency))), seconds + STUCK)
    except asyncio.TimeoutError:
        return _never_answered(answers, failures)
    value = answers / (clock() - begun)
    cpu = time.process_time() - cpu
    return Slice(value, answers, failures, failure, cpu / answers if answers else None)


class _Calling:
    """The clients of one slice, a thread each. Their first call is not timed: threads and caches warm up."""

    def __init__(self, call: Call, threads: int, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._ready = threading.Barrier(threads, self._begin)
        self._threads = [
            threading.Thread(target=self._client, name="client", daemon=True) for _ in range(threads)
        ]
        # Lists, since appending to them needs no lock.
        self._right: list[int] = []
        self._ended: list[float] = []
        self._failures: list[str] = []
        self._begun = self._cpu = 0.0

    def _begin(self) -> None:
        self._cpu = time.process_time()
        self._begun = time.perf_counter()

    def _client(self) -> None:
        self._once()
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            return
        clock = time.perf_counter
        deadline = self._begun + self._seconds
        right = 0
        while True:
            right += self._once()
            now = clock()
            if now >= deadline:
                break
        self._right.append(right)
        self._ended.append(now)

    def _once(self) -> bool:
        try:
            self._call()
        except Exception as exc:
            self._failures.append(reason(exc))
            return False
        return True

    def run(self) -> Slice:
        deadline = time.monotonic() + self._seconds + STUCK
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        answers = sum(self._right)
        if any(thread.is_alive() for thread in self._threads):
            self._ready.abort()
            return _never_answered(answers, len(self._failures))
        cpu = time.process_time() - self._cpu
        failure = self._failures[0] if self._failures else ""
        value = answers / (max(self._ended) - self._begun)
        return Slice(value, answers, len(self._failures), failure, cpu / answers if answers else None)


def threaded_loop(call: Call, threads: int, seconds: float) -> Slice:
    """Keep a call going in each of `threads` threads for about `seconds`. Only right answers count."""
    return _Calling(call, threads, seconds).run()


def in_thread(function: Callable[[], T], timeout: float) -> T:
    """Call in a thread of its own, so that one which never returns holds nobody up.

    Raises:
        TimeoutError: not done within `timeout` seconds; the thread is left behind.
        BaseException: what the function raised.
    """
    outcome: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(function())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=target, name="client", daemon=True)
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not outcome:
        raise TimeoutError(f"not done within {timeout:g} s")
    return outcome[0]
