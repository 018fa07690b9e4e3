"""The one thread that thread-sensitive code shares when nothing else claims it.

It is asgiref's own: code that must be in one thread may be called by way of either, in one process.
Calls that wait together are handed over to it together.

Who waits, and what ends the wait: a task waits for its call, which runs in turn. Should the thread
not come (the interpreter exits), the call ends with an error. A forked child has no such thread, so
it makes another one; what waited there was the parent's. While calls wait behind one that runs for
long, `watch` tells where that is; see `reports`.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

from ..engines import asgiref_notes
from ..engines.hosts import bound_call, runs_below
from ..exceptions import WouldDeadlock
from . import reports
from .thread_call import ThreadCall

# So many calls run before asgiref's own, which may wait behind, have their turn.
_IN_A_ROW = 64


class _Process:
    """The thread of one process, and what waits for it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = allocate_lock()
        self.calls: deque[ThreadCall] = deque()
        self.active = False  # it has been told to run what is there
        self.executor: Any = None  # asgiref's, of which `ident` is the thread
        self.ident = 0
        self.running: ThreadCall | None = None
        self.since = 0.0


class SharedThread:
    """Calls for asgiref's single thread, in order."""

    def __init__(self) -> None:
        self._now = _Process()
        self._processes = {self._now.pid: self._now}

    def _process(self) -> _Process:
        now = self._now
        if now.pid != os.getpid():
            mine = _Process()
            now = self._processes.setdefault(mine.pid, mine)
            with now.lock:
                if self._now is not now:
                    # asgiref's executor counts on a thread that was the parent's.
                    asgiref_notes.SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
                    self._now = now
        return now

    @property
    def ident(self) -> int:
        """The thread, 0 if it has run nothing yet."""
        return self._process().ident

    def running(self) -> tuple[ThreadCall, float] | None:
        """The call that it runs, if it is one of ours, and since when (`time.monotonic()`)."""
        now = self._process()
        call, since = now.running, now.since
        return None if call is None else (call, since)

    def waiting(self) -> list[ThreadCall]:
        """The calls that wait, oldest first."""
        now = self._process()
        with now.lock:
            return [call for call in now.calls if call.claims]

    def submit(self, call: ThreadCall) -> None:
        """Have it run a call.

        Raises:
            WouldDeadlock: that thread runs a call which this one is part of.
            RuntimeError: the interpreter is shutting down.
        """
        now = self._process()
        above = bound_call.get()
        # The last holds in this process only: a child that the call has forked has another thread.
        if self.is_current() or (above is not None and runs_below(above, self) and now.running is above):
            raise WouldDeadlock(
                f"{call.describe()} is thread-sensitive and belongs to the thread that thread-sensitive code "
                "shares, but that thread runs the code that calls it, and would wait for itself. Where an "
                "event loop was started on the way (asyncio.run in a function called by sync_to_async), use "
                "async_to_sync instead"
            )
        call.bound_to, call.shared = self, True
        with now.lock:
            now.calls.append(call)
            begins, now.active = not now.active, True
        if begins:
            self._start(now, call)
        else:
            reports.watch(self)

    def _start(self, now: _Process, call: ThreadCall | None) -> None:
        try:
            asgiref_notes.SyncToAsync.single_thread_executor.submit(self._run, now)
        except BaseException as error:
            with now.lock:
                now.active = False
                calls, now.calls = now.calls, deque()
            for waiting in calls:
                if waiting is not call and waiting.withdraw():
                    waiting.fail(error)
            if call is not None:
                raise

    def _run(self, now: _Process) -> None:
        now.ident = get_ident()
        now.executor = asgiref_notes.SyncToAsync.single_thread_executor
        for _ in range(_IN_A_ROW):
            with now.lock:
                if not now.calls:
                    now.active = False
                    return
                call = now.calls.popleft()
            if call.claim():
                now.since = time.monotonic()  # first: whoever sees the call may look since when it runs
                now.running = call
                call.run_in_turn()
                now.running = None
            del call  # not held while the next one is waited for
        self._start(now, None)

    def is_current(self) -> bool:
        """Whether the caller runs in that thread, so that it would wait for itself."""
        now = self._process()
        executor = asgiref_notes.SyncToAsync.single_thread_executor
        ident = get_ident()
        if executor is now.executor:
            return now.ident == ident
        # Where the executor keeps its threads is its own affair; without them there is but no early word.
        return any(thread.ident == ident for thread in list(getattr(executor, "_threads", ())))


shared_thread = SharedThread()
