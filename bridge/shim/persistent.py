"""The event loop that a process keeps for blocking code that calls async code.

There is one for each `loop_factory`, started at first use and kept until the process ends, so that
clients and pools of connections survive from call to call. It is the one that `ASGIToWSGI` uses as
well. At interpreter exit its tasks are cancelled and its generators closed; a forked child has its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading

from ..engines.loop_thread import LoopFactory, LoopThread

# What `exit` allows for the end of the loop, in seconds.
_EXIT_GRACE = 5.0

_threads: dict[tuple[int, LoopFactory], LoopThread] = {}
_registered = False


def persistent_loop(factory: LoopFactory | None = None) -> LoopThread:
    """The loop thread of this process for `factory` (default: `asyncio.new_event_loop`), started.

    Raises:
        LoopGone: it could not be started.
        UsageError: `factory` does not make an event loop.
    """
    factory = factory or asyncio.new_event_loop
    key = (os.getpid(), factory)
    thread = _threads.get(key)
    if thread is None or not thread.alive():
        thread = _take(key)
    return thread


def _take(key: tuple[int, LoopFactory]) -> LoopThread:
    taken = LoopThread.shared(key[1])
    try:
        taken.start()
    except BaseException:
        taken.release()
        raise
    _register()
    kept = _threads.setdefault(key, taken)
    if kept is taken:
        return taken
    if kept.alive():  # another thread was faster
        taken.release()
        return kept
    # It has ended, by somebody's loop.close(); it stays ended, so there is nothing to give back.
    _threads[key] = taken
    return taken


def _register() -> None:
    global _registered
    if _registered:
        return
    _registered = True
    # Before executors are torn down, which the end of a loop may need: see `adapters.asgi_runtime`.
    import concurrent.futures.thread  # noqa: F401

    register = getattr(threading, "_register_atexit", atexit.register)
    try:
        register(_end_all)
    except RuntimeError:
        pass  # the interpreter is exiting already


def _end_all() -> None:
    for (pid, _), thread in list(_threads.items()):
        if pid == os.getpid():
            thread.release()
            thread.join(_EXIT_GRACE)
