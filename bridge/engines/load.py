"""Do the workers burn CPU, or do they wait? What the pool's governor asks before it wakes another.

Under the GIL, runnable threads queue for one interpreter, and the event loop queues behind them:
each switch costs it up to `sys.getswitchinterval()`. Another worker helps only if the ones that
are awake are blocked. Two clocks tell: the process's CPU time, and that of the thread that submits
(the event loop's), which must not be taken for the workers'.
"""

from __future__ import annotations

import time
from _thread import get_ident
from collections.abc import Callable

# How old a reading may be before a new one is taken, in seconds. CPU clocks cost a system call each.
WINDOW = 0.001
# A reading older than this says nothing about now.
_STALE = 0.25
# The process is saturated if it uses this share of one core, …
_SATURATED = 0.8
# … and the workers are to blame if they use this share of it.
_WORKERS_SHARE = 0.25


class LoadMeter:
    """Tells whether worker threads have been burning CPU lately.

    Any thread may call it while it holds the pool's lock; readings are taken when one is due.

    Attributes:
        was_burning: the last answer of `burning`.
    """

    __slots__ = ("_loop_clock", "_loop_cpu", "_loop_ident", "_process_cpu", "_read_at", "was_burning")

    def __init__(self) -> None:
        self._read_at = 0.0
        self._process_cpu = 0.0
        self._loop_ident = 0
        self._loop_clock: Callable[[], float] | None = None
        self._loop_cpu = 0.0
        self.was_burning = False

    def burning(self, now: float, *, submitting: bool = False) -> bool:
        """Whether the workers kept the interpreter busy during the last reading.

        Args:
            now: `time.monotonic()`.
            submitting: the calling thread is the event loop's, whose CPU time is not the workers'.
        """
        elapsed = now - self._read_at
        if elapsed < WINDOW:
            return self.was_burning
        if submitting:
            ident = get_ident()
            if ident != self._loop_ident:
                self._loop_ident = ident
                self._loop_clock = _clock_of_this_thread(ident)
                self._loop_cpu = 0.0
                elapsed = _STALE + 1.0
        process_cpu = time.process_time()
        loop_cpu = self._read_loop_clock()
        if elapsed > _STALE:
            self.was_burning = False
        else:
            used = process_cpu - self._process_cpu
            by_workers = used - (loop_cpu - self._loop_cpu)
            self.was_burning = used >= _SATURATED * elapsed and by_workers >= _WORKERS_SHARE * elapsed
        self._read_at = now
        self._process_cpu = process_cpu
        self._loop_cpu = loop_cpu
        return self.was_burning

    def _read_loop_clock(self) -> float:
        if self._loop_clock is None:
            return 0.0
        try:
            return self._loop_clock()
        except OSError:  # that thread has ended
            self._loop_clock = None
            self._loop_ident = 0
            return 0.0


def _clock_of_this_thread(ident: int) -> Callable[[], float] | None:
    """A function that reads the calling thread's CPU time from any thread; `None` where there is none."""
    get_clock = getattr(time, "pthread_getcpuclockid", None)
    if get_clock is None:
        return None
    # Asked for while the thread lives, as it must be. Reading it later is safe: the clock of a
    # thread that has ended gives an error.
    try:
        clock: int = get_clock(ident)
    except OSError:
        return None
    return lambda: time.clock_gettime(clock)


def _no_clock() -> float:
    return 0.0


thread_cpu: Callable[[], float] = getattr(time, "thread_time", _no_clock)
"""The CPU time of the calling thread in seconds; always 0 where the platform does not tell."""
