"""The event loop that a process keeps for blocking code that calls async code.

There is one for each `loop_factory`, started at first use and kept until the process ends, so that
clients and pools of connections survive from call to call. `ASGIToWSGI` has loops of its own, as they
end with its `close`. A forked child has its own.

At interpreter exit the tasks are cancelled and the generators closed, while executors still work,
which that may need. But threads that use a loop and that the interpreter waits for work on after the end
of the main thread, so then the loops end after them.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import weakref
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
# Threads that have used a loop and that the interpreter waits for at its exit.
_users: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class _Used(threading.local):
    noted = False


_used = _Used()


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
    if not _used.noted:
        _note_user()
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


def _note_user() -> None:
    _used.noted = True
    ident = threading.get_ident()
    # `current_thread` would make one up, for good, in a thread that is not Python's.
    thread = next((each for each in threading.enumerate() if each.ident == ident), None)
    if thread is not None and not thread.daemon and thread is not threading.main_thread():
        _users.add(thread)


def _end_all() -> None:
    if any(thread.is_alive() and not _rests(thread) for thread in list(_users)):
        atexit.register(_end_loops)  # that is after the interpreter has waited for them
    else:
        _end_loops()


def _rests(thread: threading.Thread) -> bool:
    """Whether it is a worker of an executor that has nothing to do."""
    executors: Any = sys.modules["concurrent.futures.thread"]
    queue = executors._threads_queues.get(thread)
    frame = sys._current_frames().get(thread.ident or 0)
    waits = frame is not None and frame.f_code is executors._worker.__code__
    return waits and queue is not None and bool(queue.empty())


def _end_loops() -> None:
    for factory in list(_threads):
        thread = _threads.pop(factory)  # so nobody gets one that is about to end
        if thread.alive():
            thread.release()
            thread.join(_EXIT_GRACE)
