"""A thread that a request has for itself, for the blocking code of its app that is bound to a thread.

It is taken at the first such call and given back when the request is over; then it serves another
one. So what an app keeps for each thread (a database connection) survives, as in a server of threads.

What is safe to rely on:

- The jobs of one request run in one thread, in order; those of two requests run at a time.
- A job that `offer` has taken is run. After `close` none is taken, and those that were taken run.
- Threads are daemons: none holds up the exit of the interpreter. One that has nothing to do for
  `IDLE` seconds ends.

Who waits, and what ends the wait: the thread, for the next job, until `close`, which whoever runs
the request calls on every way out of it; or, between requests, for `IDLE` seconds. A forked child has
none of its parent's threads, and starts its own.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .gates import native
from .hosts import Displaceable
from .thread_pool import start_native_thread

logger = logging.getLogger("bridge.pool")

# How long an idle thread is kept, in seconds.
IDLE = 30.0


class _Carrier:
    """A thread, and the request that it serves at the moment."""

    __slots__ = ("gate", "serves")

    def __init__(self, serves: CallThread) -> None:
        self.gate = native("allocate_lock")()  # locked: the thread waits
        self.gate.acquire()
        self.serves: CallThread | None = serves

    def open(self) -> None:
        """Let the thread look what there is to do."""
        try:
            self.gate.release()
        except RuntimeError:
            pass  # open already: it will see this as well

    def run(self) -> None:
        """The thread's life."""
        ident = get_ident()
        while True:
            serves = self.serves
            if serves is not None:
                serves.ident = ident
                if serves.run_jobs():
                    self.serves = None
                    del serves
                    _idle().append(self)
                    continue
                del serves  # not held while we wait
            if not self.gate.acquire(timeout=IDLE) and self.serves is None:
                try:
                    _idle().remove(self)
                except ValueError:
                    continue  # taken in this moment
                return


# Idle threads by process, the warmest last. The operations of a deque are atomic.
_idle_of: dict[int, deque[_Carrier]] = {}


def _idle() -> deque[_Carrier]:
    pid = os.getpid()
    return _idle_of.get(pid) or _idle_of.setdefault(pid, deque())


class CallThread:
    """The thread of one request; it has none before the first job.

    Attributes:
        ident: the thread, 0 if there is none yet.
    """

    __slots__ = ("_carrier", "_closed", "_jobs", "_lock", "ident")

    def __init__(self) -> None:
        allocate_lock: Callable[[], Any] = native("allocate_lock")
        self._lock = allocate_lock()
        self._jobs: deque[Displaceable] = deque()
        self._carrier: _Carrier | None = None
        self._closed = False
        self.ident = 0

    def offer(self, job: Displaceable) -> bool:
        """Have the thread run a job; `False` after `close`, or if no thread could be started."""
        with self._lock:
            if self._closed:
                return False
            self._jobs.append(job)
            carrier = self._carrier
            if carrier is None:
                try:
                    carrier = self._take()
                except RuntimeError:
                    self._jobs.clear()
                    return False
        carrier.open()
        return True

    def _take(self) -> _Carrier:
        try:
            carrier = _idle().pop()
            carrier.serves = self
        except IndexError:
            carrier = _Carrier(self)
            start_native_thread(_Carrier.run, carrier, "bridge-call")
        self._carrier = carrier
        return carrier

    def close(self) -> None:
        """The request is over: take no more jobs, and give the thread back after those that are there."""
        with self._lock:
            self._closed = True
            carrier = self._carrier
        if carrier is not None:
            carrier.open()

    def run_jobs(self) -> bool:
        """In the thread: run what is there; return whether that was the last."""
        while True:
            with self._lock:
                if not self._jobs:
                    if self._closed:
                        self._carrier = None
                    return self._closed
                job = self._jobs.popleft()
            try:
                job.run(None)
            except BaseException:
                logger.exception("a job of a request's thread raised")
            del job  # not held while we wait
