"""What asgiref has to know in a worker thread, so that its `async_to_sync` uses the server's loop.

asgiref's `async_to_sync` (and with it the async views of Flask and Django) runs its coroutine on
the loop that its own `sync_to_async` noted for the thread, and on a new loop in a new thread if
there is no note. We leave that note.
"""

from __future__ import annotations

import os
from typing import Any

_threadlocal: Any = None


def prepare() -> None:
    """Import what `enter` needs; done at first use, as `asgiref.sync` is not light."""
    global _threadlocal
    if _threadlocal is None:
        from asgiref.sync import SyncToAsync

        _threadlocal = SyncToAsync.threadlocal


def enter(loop: Any) -> None:
    """Note in the calling thread that `loop` is where its coroutines run.

    The note stays until the next one: each job of a pool that may run coroutines leaves its own.
    """
    if getattr(_threadlocal, "main_event_loop", None) is not loop:
        _threadlocal.main_event_loop = loop
        # asgiref disregards the note in a forked child.
        _threadlocal.main_event_loop_pid = os.getpid()
