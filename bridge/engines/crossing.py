"""A thread that hands a job to a task, and serves it until it has what it came for.

`Crossing` is the meeting place of the two. The thread waits at one gate for whatever comes first:
items that the task has put, the end, or the task's wish for supplies that only the thread can
fetch. It and `handoff` are the only places where threads and tasks wait for each other.

    thread   arrive, then: next -> TAKE (take), FETCH (supply), LOOK (nothing came for a while); leave
    task     put, put_last, end; room, supplies, stirred

Who waits, and what ends the wait:

- *The thread, in `next`.* The task puts an item, asks for supplies, or ends; whoever runs the task
  calls `end` on every way out of it. Every `LOOK` seconds the wait returns LOOK if the loop is
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

import enum
from collections import deque
from typing import Any

from ..exceptions import LoopGone
from .gates import Gate, native, new_gate
from .loop_thread import LoopThread

# How often a waiting thread looks at other things, in seconds.
LOOK = 1.0


class Next(enum.Enum):
    """What the thread is to do."""

    TAKE = enum.auto()  #: take what is there: items, the end, or both
    FETCH = enum.auto()  #: fetch supplies, and `supply` them
    LOOK = enum.auto()  #: nothing has come for `LOOK` seconds


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

    __slots__ = (
        "_ahead",
        "_asked",
        "_blocked",
        "_flags",
        "_gate",
        "_held",
        "_items",
        "_limit",
        "_lock",
        "_supplied",
        "_supplies",
        "_supplies_ended",
        "_waiting",
        "ended",
        "error",
        "gone",
        "hurry",
        "loop_thread",
    )

    def __init__(self, loop_thread: LoopThread, limit: int, ahead: int) -> None:
        self.loop_thread = loop_thread
        self._limit = limit
        self._ahead = ahead
        self._lock = native("allocate_lock")()
        self._gate: Gate = new_gate()
        # True from the beginning: the thread goes to its gate at once after it has handed over the job.
        self._waiting = True
        self._items: list[Any] = []
        self._held = 0
        self._blocked = False  # a task waits for room
        self.ended = False
        self.error: BaseException | None = None
        self.gone = False
        self.hurry = False
        self._asked = False  # a task waits for supplies
        self._supplies: deque[Any] = deque()
        self._supplied = 0
        self._supplies_ended = False
        self._flags: list[Any] = []  # of waiting tasks; the loop's thread alone touches them

    # -- the thread's side

    def arrive(self) -> Next:
        """Wait for the first thing to do, just after the job was handed over; see `next`."""
        return self._wait() if self._gate.wait(LOOK) else self._look()

    def next(self) -> Next:
        """Wait for the next thing to do.

        Raises:
            LoopGone: the loop has ended.
        """
        with self._lock:
            todo = self._todo()
            if todo is not None:
                return todo
            self._waiting = True
        return self._wait() if self._gate.wait(LOOK) else self._look()

    def _wait(self) -> Next:
        while True:
            with self._lock:
                todo = self._todo()
                if todo is not None:
                    return todo
                self._waiting = True
            if not self._gate.wait(LOOK):
                return self._look()

    def _todo(self) -> Next | None:
        # Items first: the task may go on with what it has asked for when they are on their way.
        if self._items or self.ended:
            return Next.TAKE
        if self._asked or (self.hurry and self._supplied < self._ahead and not self._supplies_ended):
            return Next.FETCH
        return None

    def _look(self) -> Next:
        if not self.loop_thread.alive():
            raise LoopGone("the event loop of this request has ended")
        return Next.LOOK

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
            self._supplies.append((item, size))
            self._supplied += size
            self._supplies_ended = last
            stirs, self._asked = self._asked, False
        if stirs:
            self._stir_soon()

    def leave(self) -> None:
        """The thread leaves before the end, for whatever reason, and takes nothing more.

        `left` runs on the loop's thread.
        """
        with self._lock:
            if self.gone:
                return
            self.gone = True
            self._items = []
        try:
            self.loop_thread.submit(self.left)
        except LoopGone:
            pass  # nobody is left to tell

    def _stir_soon(self) -> None:
        try:
            self.loop_thread.submit(self.stir)
        except LoopGone:
            pass  # the thread finds out at its next wait

    # -- the task's side: on the loop's thread

    def left(self) -> None:
        """The thread has left. Runs on the loop's thread."""
        self.stir()

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
        await flag

    def put(self, items: list[Any], size: int) -> bool:
        """Add items that count `size` units together; return whether the task now ought to await `room`."""
        with self._lock:
            if not self.gone:
                self._items += items
                self._held += size
            opens, self._waiting = self._waiting, False
            full = self._held > self._limit
        if opens:
            self._gate.open()
        return full

    def put_last(self, items: list[Any]) -> None:
        """Add the last items, and end."""
        with self._lock:
            if not self.gone:
                self._items += items
            self.ended = True
            opens, self._waiting = self._waiting, False
        if opens:
            self._gate.open()

    def end(self, error: BaseException | None = None) -> None:
        """No item will come any more. The first end counts."""
        with self._lock:
            if self.ended:
                return
            self.error = error
            self.ended = True
            opens, self._waiting = self._waiting, False
        if opens:
            self._gate.open()

    async def room(self) -> None:
        """Wait until the thread has dealt with enough, or has left."""
        while True:
            with self._lock:
                if self.gone or self._held <= self._limit // 2:
                    return
                self._blocked = True
            await self.stirred()

    def ask(self) -> Any:
        """The next supply, `None` if there is none yet; the thread is then asked for it."""
        with self._lock:
            if self._supplies:
                item, size = self._supplies.popleft()
                self._supplied -= size
                opens = self.hurry and self._waiting and self._supplied <= self._ahead // 2
            else:
                item = None
                opens = self._waiting and not self._asked and not self._supplies_ended
                self._asked = not self._supplies_ended
            if opens:
                self._waiting = False
        if opens:
            self._gate.open()
        return item
