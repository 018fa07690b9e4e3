"""A thread that hands a job to a task, and serves it until it has what it came for.

`Crossing` is the meeting place of the two. The thread waits at one gate for whatever comes first:
items that the task has put, the end, or the task's wish for supplies that only the thread can
fetch. It and `handoff` are the only places where threads and tasks wait for each other.

    thread   arrive, then: next -> TAKE (take), FETCH (supply), LOOK_AROUND; leave
    task     put, put_last, end; room, supplies, stirred

Who waits, and what ends the wait:

- *The thread, in `next`.* The task puts an item, asks for supplies, or ends; whoever runs the task
  calls `end` on every way out of it. Every `LOOK` seconds the wait returns LOOK_AROUND if the loop is
  alive, so that the thread can look after other things (a task that was cancelled before its first
  step never gets to call `end`); and raises `LoopGone` if it is not: the thread of the loop has
  ended, or this is a forked child, which has no such thread.
- *The task, for room, for supplies or for the end.* The thread takes, supplies or leaves; it calls
  `leave` on every way out that is not the end, whatever was raised in it (BaseException too: a
  server's time-out, a killed greenlet). Each of these runs `stir` on the loop. A thread that is
  inside the server's read or write keeps the task waiting, as it must; the task may be cancelled.

The lock is held for a few instructions at a time, never while anyone waits. What is not guarded by
it belongs to the loop's thread alone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..exceptions import LoopGone
from .gates import new_gate
from .loop_thread import LoopThread

# How often a waiting thread looks at other things, in seconds.
LOOK = 1.0


# What the thread is to do next: take what is there (items, the end, or both); fetch supplies, and
# `supply` them; look after other things, since nothing has come for `LOOK` seconds.
TAKE, FETCH, LOOK_AROUND = range(3)


class Crossing:
    """One thread and one task.

    Args:
        loop_thread: where the task runs.
        limit: how many units of items may be held beyond what the thread has dealt with: above it
            the task waits for `room`, down to half of it. One item may exceed the limit.
        ahead: how many units of supplies the thread may fetch before the task asks, once `hurry` is set.

    Attributes:
        ended: no item will come after those that can be taken.
        error: why it ended; `None` if all is well.
        gone: the thread has left before the end.
        hurry: the task will ask for more supplies, so the thread may fetch ahead.
    """

    # Most calls never change these, so they are here and not in each instance.
    ended = False
    error: BaseException | None = None
    gone = False
    hurry = False
    _held = 0
    _blocked = False  # a task waits for room
    _asked = False  # a task waits for supplies
    _supplies: deque[Any] | None = None
    _supplied = 0
    _supplies_ended = False
    # The thread is at its gate or goes there. From the beginning: it does so once the job is handed over.
    _waiting = True

    def __init__(self, loop_thread: LoopThread, limit: int, ahead: int) -> None:
        self.loop_thread = loop_thread
        self._limit = limit
        self._ahead = ahead
        self._lock = loop_thread.allocate_lock()
        self._gate = new_gate(loop_thread.allocate_lock)
        self._items: list[Any] = []
        self._flags: list[Any] = []  # of waiting tasks; the loop's thread alone touches them

    # -- the thread's side

    def arrive(self) -> int:
        """Wait for the first thing to do, just after the job was handed over; see `next`."""
        if not self._gate.acquire(True, LOOK):
            return self._look()
        # Read without the lock: once true, it stays so.
        return TAKE if self.ended else self.next()

    def next(self) -> int:
        """Wait for the next thing to do.

        Raises:
            LoopGone: the loop has ended.
        """
        while True:
            with self._lock:
                # Items first: the task may go on with what it has asked for when they are on their way.
                if self._items or self.ended:
                    return TAKE
                if self._asked or (self.hurry and self._supplied < self._ahead and not self._supplies_ended):
                    return FETCH
                self._waiting = True
            if not self._gate.acquire(True, LOOK):
                return self._look()

    def _look(self) -> int:
        if not self.loop_thread.alive():
            raise LoopGone("the event loop of this request has ended")
        return LOOK_AROUND

    def take(self) -> tuple[list[Any], bool]:
        """The items that are there, and whether they are the last; they count as held until `dealt`."""
        with self._lock:
            items, self._items = self._items, []
            return items, self.ended

    def dealt(self, size: int) -> None:
        """The thread has dealt with `size` units of items."""
        with self._lock:
            self._held -= size
            stirs = self._blocked and self._held <= self._limit // 2
            if stirs:
                self._blocked = False
        if stirs:
            self._stir_soon()

    def supply(self, item: Any, size: int, last: bool) -> None:
        """Add what was fetched; `last` if there is nothing more to fetch."""
        with self._lock:
            if self._supplies is None:
                self._supplies = deque()
            self._supplies.append((item, size))
            self._supplied += size
            self._supplies_ended = last
            stirs, self._asked = self._asked, False
        if stirs:
            self._stir_soon()

    def leave(self, error: BaseException | None = None) -> None:
        """The thread leaves before the end, for whatever reason, and takes nothing more.

        `left` runs on the loop's thread. With `error`, that is what it has ended by, if it has not yet.
        """
        with self._lock:
            if self.gone:
                return
            self.gone = True
            if error is not None and not self.ended:
                self.error = error
                self.ended = True
            items, self._items = self._items, []
        if items:
            self.dropped(items)
        try:
            self.loop_thread.submit(self.left)
        except LoopGone:
            pass  # nobody is left to tell

    def leave_soon(self) -> None:
        """The same, by way of the loop's thread: for finalizers, so it takes no lock."""
        try:
            self.loop_thread.submit(self.leave)
        except LoopGone:
            pass

    def _stir_soon(self) -> None:
        try:
            self.loop_thread.submit(self.stir)
        except LoopGone:
            pass  # the thread finds out at its next wait

    # -- the task's side: on the loop's thread

    def left(self) -> None:
        """The thread has left. Runs on the loop's thread."""
        self.stir()

    def dropped(self, items: list[Any]) -> None:
        """The thread has left, and will not take these. From either side."""

    def stir(self) -> None:
        """Let every waiting task look again."""
        flags, self._flags = self._flags, []
        for flag in flags:
            if not flag.done():
                flag.set_result(None)

    async def stirred(self) -> None:
        """Wait until something may have changed. Look first: there is no step of the loop in between."""
        flag = self.loop_thread.port.flag()
        self._flags.append(flag)
        try:
            await flag
        except BaseException:
            # Cancelled, as by a time-out around it; an app may do that again and again.
            if flag in self._flags:
                self._flags.remove(flag)
            raise

    def put(self, items: list[Any], size: int) -> bool:
        """Add items that count `size` units together; return whether the task now ought to await `room`."""
        with self._lock:
            gone = self.gone
            if not gone:
                self._items += items
                self._held += size
            opens, self._waiting = self._waiting, False
            full = self._held > self._limit
        if opens:
            self._open_gate()
        if gone:
            self.dropped(items)
        return full

    def put_last(self, items: list[Any]) -> None:
        """Add the last items, and end."""
        with self._lock:
            gone = self.gone
            if not gone:
                self._items += items
            self.ended = True
            opens, self._waiting = self._waiting, False
        if opens:
            self._open_gate()
        if gone:
            self.dropped(items)

    def end(self, error: BaseException | None = None) -> None:
        """No item will come any more. The first end counts."""
        with self._lock:
            if self.ended:
                return
            self.error = error
            self.ended = True
            opens, self._waiting = self._waiting, False
        if opens:
            self._open_gate()

    def _open_gate(self) -> None:
        try:
            self._gate.release()
        except RuntimeError:
            pass  # open already: the thread was about to wait, and found something to do instead

    async def room(self) -> bool:
        """Wait until the thread has dealt with enough, or has left: then `False`."""
        while True:
            with self._lock:
                if self.gone or self._held <= self._limit // 2:
                    return not self.gone
                self._blocked = True
            await self.stirred()

    def ask(self) -> Any:
        """The next supply, `None` if there is none yet; the thread is then asked for it."""
        with self._lock:
            if self._supplies:
                item, size = self._supplies.popleft()
                self._supplied -= size
                room = self._supplied < self._ahead and self._supplied <= self._ahead // 2
                opens = self._waiting and self.hurry and room and not self._supplies_ended
            else:
                item = None
                opens = self._waiting and not self._asked and not self._supplies_ended
                self._asked = not self._supplies_ended
            if opens:
                self._waiting = False
        if opens:
            self._open_gate()
        return item
