"""The port on asyncio and what is built like it (uvloop)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
from _thread import get_ident
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..exceptions import LoopGone
from .ports import BRIEFLY, in_trio_task

logger = logging.getLogger("bridge.loop")

_get_running_loop = asyncio._get_running_loop
_modules = sys.modules

# A cancelled companion ends at its next step; one that refuses to is left to the loop.
_COMPANION_GRACE = 1.0


class AsyncioPort:
    """One asyncio loop.

    Flags are plain futures of that loop. `_due` is filled by any thread and emptied by the loop's;
    `_scheduled` tells whether an emptying is on its way. It is cleared *before* the emptying, so a
    thread that still sees it set knows that its flag will be seen; a thread that sees it cleared
    schedules another, which at worst finds nothing to do. `_scheduling` is the thread that has set it
    and is about to schedule: a signal handler or a finalizer that has interrupted just that must not
    rely on it, as it goes on only when they are through.
    """

    __slots__ = (
        "_callbacks",
        "_due",
        "_old",
        "_pid",
        "_scheduled",
        "_scheduling",
        "_ticking",
        "_young",
        "loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pid = os.getpid()
        self._due: deque[asyncio.Future[None]] = deque()
        self._callbacks: deque[Callable[[], object]] = deque()
        self._scheduled = False
        self._scheduling = 0
        self._young: set[asyncio.Future[None]] = set()
        self._old: set[asyncio.Future[None]] = set()
        self._ticking = False

    def flag(self) -> asyncio.Future[None]:
        return self.loop.create_future()

    def raise_flag(self, flag: asyncio.Future[None]) -> None:
        if not flag.done():
            flag.set_result(None)

    @property
    def port(self) -> AsyncioPort:
        return self

    def wake(self, flag: asyncio.Future[None]) -> None:
        self._due.append(flag)
        if not self._scheduled or (self._scheduling and self._scheduling == get_ident()):
            self._schedule()

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._callbacks.append(callback)
        # What was scheduled just before the end will not run: then the loop itself says that it is closed.
        if not self._scheduled or self._scheduling == get_ident() or self.loop.is_closed():
            self._schedule()

    def _schedule(self) -> None:
        caller = self._scheduling = get_ident()  # first, or an interruption would find but the other one
        self._scheduled = True
        try:
            # Not in the caller's Context: what callbacks start (lifespan, timers) outlives the caller.
            self.loop.call_soon_threadsafe(self._raise_due, context=contextvars.Context())
        except BaseException as error:
            self._scheduled = False  # or no later flag would ever be raised
            # A RecursionError is a RuntimeError, too.
            if isinstance(error, RuntimeError) and self.loop.is_closed():
                self._due.clear()
                self._callbacks.clear()
                raise LoopGone("the event loop is closed") from None
            raise
        finally:
            if self._scheduling == caller:
                self._scheduling = 0

    def _raise_due(self) -> None:
        self._scheduled = False
        due = self._due
        while due:
            flag = due.popleft()
            if not flag.done():
                flag.set_result(None)
        callbacks = self._callbacks
        while callbacks:
            try:
                callbacks.popleft()()
            except BaseException:  # or those behind it would wait for the next wake-up
                logger.exception("a callback on the event loop raised")

    def alive(self) -> bool:
        # A loop does not run in a forked child, though its copy there says so.
        return self.loop.is_running() and os.getpid() == self._pid

    def is_current(self) -> bool:
        if _get_running_loop() is not self.loop:
            return False
        # In trio's guest mode, this loop runs underneath.
        return "trio" not in _modules or not in_trio_task()

    def mind(self, flag: asyncio.Future[None]) -> set[asyncio.Future[None]]:
        # One timer for all that wait, instead of one each: those that have waited for a whole
        # tick are in `_old` at the next one.
        waiting = self._young
        waiting.add(flag)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(BRIEFLY, self._tick)
        return waiting

    def _tick(self) -> None:
        for flag in self._old:
            if not flag.done():
                flag.set_result(None)
        self._old = self._young
        self._young = set()
        if self._old:
            self.loop.call_later(BRIEFLY, self._tick)
        else:
            self._ticking = False

    async def shielded(self, flag: asyncio.Future[None]) -> None:
        scope = getattr(_modules.get("anyio"), "CancelScope", None)
        if scope is None:
            await flag
        else:
            # AnyIO cancels a task again and again while it is in a cancelled scope.
            with scope(shield=True):
                await flag

    def start(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
        return start_task(self.loop, coroutine, context)

    async def run_beside(
        self, main: Callable[[], Awaitable[None]], companion: Callable[[], Awaitable[None]]
    ) -> None:
        task: asyncio.Task[None] = self.loop.create_task(_as_coroutine(companion))
        try:
            await main()
        finally:
            if not task.done():
                task.cancel()
                # It usually ends at once. Cancelled again while here? Then the loop ends it without us.
                await asyncio.sleep(0)
                if not task.done():
                    await asyncio.wait((task,), timeout=_COMPANION_GRACE)


async def _as_coroutine(function: Callable[[], Awaitable[None]]) -> None:
    await function()


_NEW_TASKS_TAKE_CONTEXT = sys.version_info >= (3, 11)
_TASKS_MAY_START_EAGERLY = sys.version_info >= (3, 12)


def start_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], context: contextvars.Context
) -> asyncio.Task[None]:
    """Make a task and, if possible, take its first step before this returns, which saves a turn of the loop.

    To be called on the loop's thread, outside of any task. Whether the first step has been taken is
    not to be relied on: a task factory, uvloop before Python 3.12 and unknown loops do it in their turn.
    """
    make: Any  # the annotations are those of Python 3.10
    task: asyncio.Task[None]
    plain = loop.get_task_factory() is None
    if plain and _TASKS_MAY_START_EAGERLY:
        make = asyncio.Task
        task = make(coroutine, loop=loop, context=context, eager_start=True)
        return task
    if _NEW_TASKS_TAKE_CONTEXT:
        make = loop.create_task
        task = make(coroutine, context=context)
    else:
        task = context.run(loop.create_task, coroutine)
    # What asyncio has just queued for its next turn is this task's step. If it is where these versions
    # of asyncio are known to keep it, it is run now instead; if it is not, all is as it was.
    queue: Any = getattr(loop, "_ready", None)
    if plain and queue and getattr(getattr(queue[-1], "_callback", None), "__self__", None) is task:
        queue.pop()._run()
    return task
