"""Bounded exchange between a thread and a task: the only place where the two wait for each other.

`Outbound` carries items from a worker thread to a task, `Inbound` from a task to a worker thread.
Both hold a lock for a few instructions at a time, never while anyone waits.

Who waits, and what ends the wait:

- *A thread, for room in `Outbound` or for an item in `Inbound`.* The task takes or puts items; or
  it ends for whatever reason (done, failed, cancelled, destroyed) and calls `abort`/`fail` in a
  `finally`; or its loop stopped without running that `finally`, which the thread finds by looking
  at the loop every `LIVENESS` seconds. After a fork the child has no such thread, unless that is
  the one that forked, for which the port says that the loop is not alive.
- *A task, for items of `Outbound` or for room in `Inbound`.* The thread puts or takes; or it ends,
  and its job calls `close` whatever it raised (BaseException too). A thread that never returns
  from user code keeps the task waiting, as it must; cancelling the task ends that wait.

There is nothing to do at interpreter exit: the threads are daemons and the loop's end is covered.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

from ..exceptions import LoopGone
from .ports import Port

# How often a waiting thread looks whether the loop that it waits for still runs, in seconds, and
# how many looks in a row must fail: a loop may rest between two `run_until_complete` calls.
LIVENESS = 1.0
_PATIENCE = 3


class _Gate:
    """Where a thread waits. `open` lets one wait through, at once or at the next `wait`."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Locked means closed. The lock is used as a binary semaphore: the waiting thread acquires,
        # another releases.
        self._lock = allocate_lock()
        self._lock.acquire()

    def open(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # open already: a thread that was told to wait gave up, or was ended, before it did

    def wait(self, port: Port) -> None:
        failures = 0
        while not self._lock.acquire(timeout=LIVENESS):
            failures = 0 if port.alive() else failures + 1
            if failures >= _PATIENCE:
                raise LoopGone("the event loop of this request has stopped")


def _copy(error: BaseException) -> BaseException:
    """A fresh exception to raise: one instance raised in many frames would collect their tracebacks."""
    try:
        copy = type(error)(*error.args)
    except Exception:  # not made from its `args` alone
        return error
    copy.__cause__ = error.__cause__
    return copy


class Outbound:
    """Items from one thread to one task, at most `limit` units ahead of what the task has dealt with.

    Args:
        port: the task's loop.
        limit: how many units may be held; the thread waits above it and goes on at half of it, so
            that it is not woken for every item. One item may exceed the limit.

    Attributes:
        closed: the thread is done; no item will follow those that can be taken.
        aborted: the task has turned away.
    """

    __slots__ = (
        "_blocked",
        "_error",
        "_gate",
        "_held",
        "_items",
        "_lock",
        "_parked",
        "_port",
        "aborted",
        "closed",
        "limit",
    )

    def __init__(self, port: Port, limit: int) -> None:
        self._port = port
        self.limit = limit
        self._lock = allocate_lock()
        self._items: list[Any] = []
        self._held = 0
        self._parked: Any = None  # the task's flag while it waits
        self.closed = False
        self.aborted = False
        self._error: BaseException | None = None
        self._blocked = False  # the thread waits at the gate
        self._gate: _Gate | None = None

    # -- the thread's side

    def put(self, items: list[Any], size: int) -> bool:
        """Add items that count `size` units together; return whether the thread now ought to `wait`.

        Raises:
            BaseException: what `abort` was given.
            LoopGone: the loop is closed.
        """
        with self._lock:
            if self._error is not None:
                raise _copy(self._error)
            self._items += items
            self._held += size
            flag, self._parked = self._parked, None
            full = self._held > self.limit
        if flag is not None:
            self._port.wake(flag)
        return full

    def put_all(self, items: list[Any]) -> None:
        """Add the only items that there will be, and `close`, in one step.

        Raises:
            BaseException: what `abort` was given.
            LoopGone: the loop is closed.
        """
        with self._lock:
            if self._error is not None:
                raise _copy(self._error)
            self._items = items
            self.closed = True
            flag, self._parked = self._parked, None
        if flag is not None:
            self._port.wake(flag)

    def wait(self) -> None:
        """Wait in the thread until there is room.

        Raises:
            BaseException: what `abort` was given.
            LoopGone: the loop has stopped.
        """
        while True:
            with self._lock:
                if self._error is not None:
                    raise _copy(self._error)
                if self._held <= self.limit // 2:
                    return
                if self._gate is None:
                    self._gate = _Gate()
                self._blocked = True
            try:
                self._gate.wait(self._port)
            except LoopGone as error:
                # For good: the app may well go on writing, and should not wait again each time.
                with self._lock:
                    if self._error is None:
                        self._error = _copy(error)
                    self.aborted = True
                raise

    def close(self) -> None:
        """The thread is done, whatever happened: no item will follow."""
        with self._lock:
            self.closed = True
            flag, self._parked = self._parked, None
        if flag is not None:
            try:
                self._port.wake(flag)
            except LoopGone:
                pass  # nobody is left to tell

    # -- the task's side

    def park(self) -> Any:
        """A flag to await until something happens, `None` if something has happened already."""
        with self._lock:
            if self._items or self.closed or self._error is not None:
                return None
            flag = self._parked = self._port.flag()
            return flag

    def park_until_closed(self) -> Any:
        """A flag to await until the thread is done, `None` if it is. `take` and `abort` come before."""
        with self._lock:
            if self.closed:
                return None
            flag = self._parked = self._port.flag()
            return flag

    def unpark(self) -> None:
        """End the wait of the task, from another task of the same loop."""
        with self._lock:
            flag, self._parked = self._parked, None
        if flag is not None:
            self._port.raise_flag(flag)

    def take(self) -> list[Any]:
        """All items that have come, oldest first. They count until `dealt_with`."""
        with self._lock:
            items, self._items = self._items, []
        return items

    def dealt_with(self, size: int) -> None:
        """`size` units have left for good; the thread may go on."""
        with self._lock:
            self._held -= size
            opens = self._blocked and self._held <= self.limit // 2
            if opens:
                self._blocked = False
        if opens and self._gate is not None:
            self._gate.open()

    def abort(self, error: BaseException) -> None:
        """Nothing will be taken any more: drop what is held, and raise `error` in `put` and `wait`."""
        with self._lock:
            if self._error is None:
                self._error = error
                self.aborted = True
            self._items = []
            flag, self._parked = self._parked, None
            opens, self._blocked = self._blocked, False
        if opens and self._gate is not None:
            self._gate.open()
        if flag is not None:
            self._port.raise_flag(flag)


class Inbound:
    """Chunks from one task to one thread, read ahead up to `limit` bytes.

    Args:
        port: the task's loop.
        limit: how many bytes may be held before the task has to wait for `room`.
        on_demand: the task must not begin before the thread first asks.
    """

    __slots__ = (
        "_chunks",
        "_ended",
        "_error",
        "_gate",
        "_handed_out",
        "_held",
        "_limit",
        "_lock",
        "_parked",
        "_port",
        "_waiting",
        "_wanted",
    )

    def __init__(self, port: Port, limit: int, *, on_demand: bool = False) -> None:
        self._port = port
        self._limit = limit
        self._lock = allocate_lock()
        self._chunks: deque[bytes] = deque()
        self._held = 0  # what was handed out last counts until the thread comes for more
        self._handed_out = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiting = False  # the thread waits at the gate
        self._gate: _Gate | None = None
        self._parked: Any = None  # the task's flag while it waits for room or demand
        self._wanted = not on_demand

    # -- the thread's side

    def take(self, before_wait: Callable[[], object]) -> bytes:
        """The next chunk, waiting for it; `b""` at the end, again and again.

        Args:
            before_wait: called once before the thread waits, if it has to.

        Raises:
            BaseException: what `fail` was given, once the chunks before it are taken.
            LoopGone: the loop has stopped.
        """
        waited = False
        while True:
            flag = None
            with self._lock:
                if self._handed_out:
                    self._held -= self._handed_out
                    self._handed_out = 0
                    if self._parked is not None and self._held <= self._limit // 2:
                        flag, self._parked = self._parked, None
                if self._chunks:
                    chunk = self._chunks.popleft()
                    self._handed_out = len(chunk)
                elif self._error is not None:
                    raise _copy(self._error)
                elif self._ended:
                    return b""
                else:
                    chunk = b""
                    if not self._wanted:
                        self._wanted = True
                        flag, self._parked = self._parked, None
                    if self._gate is None:
                        self._gate = _Gate()
                    self._waiting = True
            if flag is not None:
                self._port.wake(flag)
            if chunk:
                return chunk
            if not waited:
                waited = True
                before_wait()
            assert self._gate is not None
            try:
                self._gate.wait(self._port)
            except LoopGone as error:
                self.fail(_copy(error))  # for good, as in `Outbound.wait`
                raise

    # -- the task's side

    def put(self, chunk: bytes) -> None:
        """Add a chunk, which must not be empty."""
        with self._lock:
            self._chunks.append(chunk)
            self._held += len(chunk)
            opens, self._waiting = self._waiting, False
        if opens and self._gate is not None:
            self._gate.open()

    def end(self) -> None:
        """The last chunk has been put."""
        with self._lock:
            self._ended = True
            opens, self._waiting = self._waiting, False
        if opens and self._gate is not None:
            self._gate.open()

    def fail(self, error: BaseException) -> None:
        """No further chunk will come; `take` raises `error` after those that are held."""
        with self._lock:
            if self._error is None and not self._ended:
                self._error = error
            opens, self._waiting = self._waiting, False
        if opens and self._gate is not None:
            self._gate.open()

    def want(self) -> None:
        """Begin although the thread has not asked; call on the loop's thread."""
        with self._lock:
            self._wanted = True
            flag, self._parked = self._parked, None
        if flag is not None:
            self._port.raise_flag(flag)

    async def demand(self) -> None:
        """Wait in the task until there is reason to begin (see `on_demand`)."""
        while True:
            with self._lock:
                if self._wanted:
                    return
                flag = self._parked = self._port.flag()
            await flag

    async def room(self) -> None:
        """Wait in the task until the thread has taken enough."""
        while True:
            with self._lock:
                if self._held < self._limit:
                    return
                flag = self._parked = self._port.flag()
            await flag
