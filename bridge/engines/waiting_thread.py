"""A thread that waits for a task, and meanwhile runs the blocking calls that the task's code hands back.

See `hosts` for why. What is safe to rely on:

- A job that `offer` has taken is run in this thread, or given to its `displaced` if the thread is
  ended by an exception of its own (KeyboardInterrupt, a server's time-out, a killed greenlet).
- Jobs run in the order in which they came, and only while this very wait lasts: a wait that is
  nested above it in the same thread has jobs of its own. So a function that holds a transaction
  open is not interrupted by calls of tasks that have nothing to do with it.

`_lock` is for those who offer, lest a job comes when none is taken any more. Nothing is called while the
thread itself has it: a signal's handler could come in between, and wait for something that is offered here.
Without it, only the thread takes jobs out, and the operations of a deque are atomic.

Who waits, and what ends the wait:

- *The thread, in `wait`.* Whoever it waits for calls `finish` on every way out. Every `LOOK` seconds
  `look` is called, which raises if that can never come: the loop has ended, or this is a forked child.
- *The task whose job is offered* waits for the job, which runs or is displaced; see above. While the
  thread is inside another job, or in a wait that is nested above this one, it has to wait for that.
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .gates import Gate, native, new_gate
from .hosts import Displaceable, Host

_modules = sys.modules

# How often a waiting thread looks whether what it waits for can still come, in seconds.
LOOK = 1.0


class WaitingThread(Host):
    """One wait of the thread that makes it.

    Args:
        above: the wait to turn to when this one is over: the one that the calling code is under.

    Attributes:
        done: what it waits for has come.
    """

    __slots__ = ("_closed", "_gate", "_jobs", "_lock", "above", "done", "ident")

    def __init__(self, above: Host | None) -> None:
        self.ident = get_ident()
        self.above = above
        self.done = False
        if "gevent" in _modules:
            native_lock: Callable[[], Any] = native("allocate_lock")
            self._lock = native_lock()
            self._gate: Gate = new_gate(native_lock)
        else:  # the same, without asking
            self._lock = allocate_lock()
            self._gate = allocate_lock()
            self._gate.acquire(True, -1)
        self._jobs: deque[tuple[Displaceable, float]] = deque()
        self._closed = False

    # -- from any thread

    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self.ident == get_ident()

    def offer(self, job: Displaceable) -> bool:
        """Have the thread run a job; `False` if its wait is over."""
        entry = job, time.monotonic()
        with self._lock:
            if self._closed:
                return False
            self._jobs.append(entry)
        self.open()
        return True

    def finish(self) -> None:
        """What the thread waits for has come."""
        self.done = True
        self.open()

    def open(self) -> None:
        """Let the thread look what there is to do."""
        try:
            self._gate.release()
        except RuntimeError:
            pass  # open already: it will see this as well

    def first_waiting(self) -> tuple[Displaceable, float] | None:
        """The job that has waited longest, if any is still wanted, and since when (`time.monotonic()`)."""
        for job, since in self._jobs.copy():
            if job.wanted():
                return job, since
        return None

    @property
    def over(self) -> bool:
        """Whether the thread takes no more jobs."""
        return self._closed

    # -- in the thread

    def wait(self, look: Callable[[], object]) -> None:
        """Run jobs until `finish` is called and none is left; call `look` about once a second.

        Raises:
            BaseException: what `look` raises, or whatever else ends the thread's wait. What was
                offered is displaced.
        """
        try:
            while True:
                opened = self._gate.acquire(True, LOOK)
                if self._jobs:
                    self.run_jobs()
                if self.done:
                    if self.close_if_idle():
                        return
                    self.open()
                elif not opened:
                    look()
        except BaseException:
            self.leave()
            raise

    def wait_for_end(self, timeout: float) -> bool:
        """After `leave`: wait until `finish` is called, for `timeout` seconds at most; whether it was."""
        deadline = time.monotonic() + timeout
        while not self.done:
            left = deadline - time.monotonic()
            if left <= 0 or not self._gate.acquire(True, left):
                break
        return self.done

    def run_jobs(self) -> None:
        """Run what has been offered."""
        jobs = self._jobs
        while jobs:
            job = jobs[0][0]
            try:
                jobs.popleft()
                job.run(None)
            except BaseException:  # a signal's handler, between two steps; jobs themselves do not raise
                job.displaced()  # nothing, if it has been run
                raise
            del job  # not held while we wait

    def close_if_idle(self) -> bool:
        """Take no more jobs, unless there are some; return whether it is so."""
        with self._lock:
            if self._jobs:
                return False
            self._closed = True
        self._skip_what_is_over()
        return True

    def _skip_what_is_over(self) -> None:
        # Tasks that outlive this wait keep it, and what is above; of that, what is over is of no use.
        above = self.above
        while above is not None and above.over:
            above = above.above
        self.above = above

    def leave(self) -> None:
        """Take no more jobs, and displace those that are there."""
        none: deque[tuple[Displaceable, float]] = deque()
        with self._lock:
            self._closed = True
            jobs, self._jobs = self._jobs, none
        self._skip_what_is_over()
        for job, _ in jobs:
            job.displaced()
