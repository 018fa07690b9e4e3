"""The event loop that a process keeps for blocking code that calls async code.

There is one for each `loop_factory`, started at first use and kept until the process ends, so that
clients and pools of connections survive from call to call. `ASGIToWSGI` has loops of its own, as they
end with its `close`. At interpreter exit the tasks are cancelled and the generators closed; a forked
child has its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ..engines.exit_hooks import before_executors_end
from ..engines.gates import native
from ..engines.loop_thread import LoopFactory, LoopThread

# What `exit` allows for the end of the loop, in seconds.
_EXIT_GRACE = 5.0

# By factory; a forked child finds its parent's here, which are not alive in it.
_threads: dict[LoopFactory, LoopThread] = {}
# By process, as a lock that another thread of the parent held would stay held in a forked child.
_locks: dict[int, Any] = {}
_registered = False


class _KeptLoop(LoopThread):
    """Those of `LoopThread.shared` belong to others, who end them."""

    _shared: dict[tuple[int, LoopFactory], LoopThread] = {}
    _inherited: list[LoopThread] = []


def persistent_loop(factory: LoopFactory | None = None) -> LoopThread:
    """The loop thread of this process for `factory` (default: `asyncio.new_event_loop`), started.

    Raises:
        LoopGone: it could not be started.
        UsageError: `factory` does not make an event loop.
    """
    factory = factory or asyncio.new_event_loop
    thread = _threads.get(factory)
    if thread is None or not thread.alive():
        thread = _take(factory)
    return thread


def _take(factory: LoopFactory) -> LoopThread:
    pid = os.getpid()
    lock = _locks.get(pid) or _locks.setdefault(pid, native("allocate_lock")())
    taken = _KeptLoop.shared(factory)
    try:
        # Not under the lock: under gevent a greenlet waits here, and others of its thread come meanwhile.
        taken.start()
    except BaseException:
        taken.release()
        raise
    with lock:
        kept = _threads.get(factory)
        is_first = kept is None or not kept.alive()
        if is_first:
            _threads[factory] = taken
    if not is_first:  # another one was faster, and has taken it as well
        taken.release()
        return persistent_loop(factory)
    _register()
    return taken


def _register() -> None:
    global _registered
    if _registered:
        return
    _registered = True
    before_executors_end(_end_all)  # the end of a loop may need one


def _end_all() -> None:
    for thread in list(_threads.values()):
        if thread.alive():
            thread.release()
            thread.join(_EXIT_GRACE)
