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

from ..engines import asgiref_notes
from ..exceptions import WouldDeadlock
from . import reports
from .thread_call import ThreadCall

# So many calls run before asgiref's own, which may wait behind, have their turn.
_IN_A_ROW = 64


class SharedThread:
    """Calls for asgiref's single thread, in order.

    Attributes:
        running: the call that it runs, if it is one of ours.
        since: since when (`time.monotonic()`).
        ident: the thread that ran it.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = allocate_lock()
        self._calls: deque[ThreadCall] = deque()
        self._active = False
        self.ident = 0
        self.running: ThreadCall | None = None
        self.since = 0.0

    def submit(self, call: ThreadCall) -> None:
        """Have it run a call.

        Raises:
            WouldDeadlock: the caller's loop runs in that thread.
            RuntimeError: the interpreter is shutting down.
        """
        if self._pid != os.getpid():
            # As after a fork: asgiref's executor counts on a thread that this process does not have.
            asgiref_notes.SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
            self._begin()
        if self.is_current():
            raise WouldDeadlock(
                f"{call.describe()} is thread-sensitive and belongs to the thread that thread-sensitive code "
                "shares, but that thread runs this event loop and would wait for itself. Where the loop was "
                "started (asyncio.run in a function called by sync_to_async), use async_to_sync instead"
            )
        # asgiref's function would wait for the thread as well, and refuses if it finds this.
        call.context.run(asgiref_notes.SyncToAsync.deadlock_context.set, True)
        with self._lock:
            self._calls.append(call)
            begins, self._active = not self._active, True
        if begins:
            self._start(call)
        else:
            reports.watch(self)

    def _start(self, call: ThreadCall | None) -> None:
        try:
            asgiref_notes.SyncToAsync.single_thread_executor.submit(self._run)
        except BaseException as error:
            with self._lock:
                self._active = False
                calls, self._calls = self._calls, deque()
            for waiting in calls:
                if waiting is not call and waiting.withdraw():
                    waiting.fail(error)
            if call is not None:
                raise

    def _run(self) -> None:
        for _ in range(_IN_A_ROW):
            with self._lock:
                if not self._calls:
                    self._active = False
                    return
                call = self._calls.popleft()
            self.running, self.since, self.ident = call, time.monotonic(), get_ident()
            call.run(None)
            self.running = None
            del call  # not held while the next one is waited for
        self._start(None)

    def is_current(self) -> bool:
        """Whether the caller runs in that thread, so that it would wait for itself."""
        # Where the executor keeps its threads is its own affair; without them there is but no early word.
        threads = getattr(asgiref_notes.SyncToAsync.single_thread_executor, "_threads", ())
        ident = get_ident()
        return any(thread.ident == ident for thread in list(threads))

    def waiting(self) -> list[ThreadCall]:
        """The calls that wait, oldest first."""
        with self._lock:
            return list(self._calls)


shared_thread = SharedThread()
