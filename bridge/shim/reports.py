"""What to tell of waits that may never end: who waits for whom, with the stacks of both.

That a wait is hopeless cannot be proven here (a lock that is waited for names no owner), so what
lasts unusually long is logged, once for each wait, and goes on.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from ..engines.thread_pool import start_thread
from ..exceptions import LoopGone

if TYPE_CHECKING:
    from .loop_call import LoopWait
    from .shared_thread import SharedThread

logger = logging.getLogger("bridge.shim")

# A wait is told of after so many seconds: longer than any call should take that others wait for.
UNUSUAL = 10.0
# How often the watcher of the shared thread looks, in seconds.
_LOOK = 1.0


class Silence:
    """Tells of one waiting thread, which calls `look` about once a second."""

    def __init__(self, call: LoopWait) -> None:
        self._call = call
        self._asked = 0.0  # when the loop was asked for a sign of life; 0 if it has given one
        self._told = False

    def look(self) -> None:
        """See whether the loop runs its callbacks, and whether this thread holds up others."""
        now = time.monotonic()
        if self._told:
            return
        asked = self._asked  # once: the answer may come while we look
        if not asked:
            self._asked = now
            try:
                self._call.place.call_soon(self._answer)
            except LoopGone:
                return  # the thread finds out
        elif now - asked >= UNUSUAL:
            self._told = True
            self._tell_of_loop(now - asked)
        outer: Any = self._call.outer
        while outer is not None and not self._told:
            waiting = outer.first_waiting()
            if waiting is not None and now - waiting[1] >= UNUSUAL:
                self._told = True
                self._tell_of_nesting(waiting[0], now - waiting[1])
            outer = getattr(outer, "outer", None)

    def _answer(self) -> None:
        self._asked = 0.0

    def _tell_of_loop(self, seconds: float) -> None:
        call = self._call
        ident = call.loop_ident or getattr(call.place.port.loop, "_thread_id", 0) or 0
        logger.warning(
            "a thread waits for %s, but its event loop has run nothing for %.0f seconds: something blocks "
            "the loop's thread, perhaps by waiting for this one.\n%s\n%s",
            call.name,
            seconds,
            stack_of_thread(ident, "the loop's thread"),
            stack_of_thread(call.ident, "the thread that waits"),
        )

    def _tell_of_nesting(self, waiting: Any, seconds: float) -> None:
        call = self._call
        describe = getattr(waiting, "describe", None)
        logger.warning(
            "the thread-sensitive call of %s has waited for its thread for %.0f seconds; the thread waits "
            "for %s. If that in turn waits for the call (a lock, a queue), neither will end.\n%s\n%s",
            describe() if describe is not None else "a function",
            seconds,
            call.name,
            stack_of_thread(call.ident, "the thread"),
            stack_of_task(waiting, "the task that awaits the call"),
        )


# The process whose shared thread is being watched, as long as calls wait there; 0 if none.
_watched = 0


def watch(shared: SharedThread) -> None:
    """See that calls that wait for the shared thread are told of, should that take unusually long."""
    global _watched
    if _watched == os.getpid():
        return
    # Two threads may get here at once: two watchers are a pity, and no harm.
    _watched = os.getpid()
    try:
        start_thread(_watch, shared, "bridge-shim-watch")
    except RuntimeError:
        _watched = 0  # no thread to be had: calls run all the same


def _watch(shared: SharedThread) -> None:
    global _watched
    told: Any = None
    while True:
        time.sleep(_LOOK)
        waiting = shared.waiting()
        if not waiting:
            _watched = 0
            if not shared.waiting():
                return
            _watched = os.getpid()  # one came just now, and found itself watched
        now = time.monotonic()  # before, as this thread may stand still in between
        found = shared.running()
        if found is not None and found[0] is not told and waiting:
            seconds = now - found[1]
            if seconds >= UNUSUAL:
                told = found[0]
                _tell_of_shared(shared, told, waiting, seconds)
        del waiting, found  # not held while we sleep


def _tell_of_shared(shared: SharedThread, running: Any, waiting: list[Any], seconds: float) -> None:
    logger.warning(
        "%d thread-sensitive calls wait for the one thread that they share, which has been running %s for "
        "%.0f seconds. If that waits for one of them, neither will end; if not, let functions that any "
        "thread may run have thread_sensitive=False.\n%s\n%s",
        len(waiting),
        running.describe(),
        seconds,
        stack_of_thread(shared.ident, "the thread"),
        stack_of_task(waiting[0], f"the task that awaits {waiting[0].describe()}"),
    )


def stack_of_thread(ident: int, what: str) -> str:
    """The stack of a thread as text, with a heading."""
    frame = sys._current_frames().get(ident)
    if frame is None:
        return f"{what}: no stack"
    name = next((thread.name for thread in threading.enumerate() if thread.ident == ident), str(ident))
    try:
        return f"{what} ({name}):\n{''.join(traceback.format_stack(frame))}"
    finally:
        del frame


def stack_of_task(call: Any, what: str) -> str:
    """The stack of the asyncio task that awaits a `ThreadCall` as text, with a heading."""
    flag, port = getattr(call, "flag", None), getattr(call, "port", None)
    loop = getattr(port, "loop", None)
    asyncio = sys.modules.get("asyncio")
    if loop is None or asyncio is None:
        return f"{what}: no stack"
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # the set changed again and again
        return f"{what}: no stack"
    for task in tasks:
        if getattr(task, "_fut_waiter", None) is flag:
            lines = list(_frames(task.get_coro()))
            return f"{what} ({task.get_name()}):\n{''.join(lines)}"
    return f"{what}: no stack"


def _frames(coroutine: Any) -> list[str]:
    """The lines of a suspended coroutine and of all that it awaits."""
    lines: list[str] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            lines += traceback.format_list(
                [traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)]
            )
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return lines
