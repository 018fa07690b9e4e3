"""What asgiref keeps for threads and tasks, read and written so that its functions and ours agree.

asgiref's `async_to_sync` (and with it the async views of Flask and Django) runs its coroutine on
the loop that its `sync_to_async` noted for the thread, and on a new loop in a new thread if there is
no note. Its `sync_to_async`, if it is thread-sensitive, goes to the thread that waits further up,
which it finds in a context variable. We leave both notes, and heed those that asgiref has left.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from threading import get_ident
from typing import Any

from . import contexts

# asgiref.sync's classes and its thread-local, once `prepare` has run.
SyncToAsync: Any = None
threadlocal: Any = None
_loop_executors: Any = None
_executors: Any = None  # asgiref's Local with the executor of the thread that waits further up
_storage: Any = None  # the class of what a Local keeps in its variable; `None` in old versions: a dict
_nobody: Any = None

variable: ContextVar[Any] | None = None
"""The context variable behind asgiref's note of the waiting thread, if it is where we know it to be."""


def prepare() -> None:
    """Import what the rest needs; done at first use, as `asgiref.sync` is not light."""
    global SyncToAsync, threadlocal, _executors, _loop_executors, _nobody, _storage, variable
    if threadlocal is not None:
        return
    from asgiref import local, sync

    # A Local goes through a lock and two levels of `__getattr__`, which costs more than the rest of a
    # call's way; so its variable is used directly where it is what all versions so far have.
    found = getattr(getattr(sync.AsyncToSync.executors, "_storage", None), "_data", None)
    storage, rehome = getattr(local, "_Storage", None), getattr(local, "_rehome", None)
    if storage is not None and rehome is not None:
        contexts.movers[storage] = rehome
    _storage = storage
    # Of no thread, so it is the same for all: it is looked at no further.
    _nobody = None if storage is None else storage(0, {"current": None})
    variable = found if isinstance(found, ContextVar) else None
    _executors = sync.AsyncToSync.executors
    _loop_executors = getattr(sync.AsyncToSync, "loop_thread_executors", {})
    SyncToAsync = sync.SyncToAsync
    threadlocal = sync.SyncToAsync.threadlocal


def enter(loop: Any) -> None:
    """Note in the calling thread that `loop` is where its coroutines run.

    The note stays until the next one: each job of a pool that may run coroutines leaves its own.
    """
    if getattr(threadlocal, "main_event_loop", None) is not loop:
        threadlocal.main_event_loop = loop
        # asgiref disregards the note in a forked child.
        threadlocal.main_event_loop_pid = os.getpid()


def note_of_loop() -> tuple[Any, Any, Any]:
    """The calling thread's notes as they are, for `restore_note`."""
    noted = threadlocal
    return (
        getattr(noted, "main_event_loop", None),
        getattr(noted, "main_event_loop_pid", None),
        getattr(noted, "task_context", None),
    )


def restore_note(note: tuple[Any, Any, Any]) -> None:
    """Leave the notes again that `note_of_loop` gave."""
    noted = threadlocal
    noted.main_event_loop, noted.main_event_loop_pid, noted.task_context = note


def noted_loop() -> Any:
    """The loop that is noted for the calling thread, `None` if there is none or it is a parent's."""
    loop = getattr(threadlocal, "main_event_loop", None)
    if loop is None or getattr(threadlocal, "main_event_loop_pid", None) != os.getpid():
        return None
    return loop


def waiting_thread() -> Any:
    """The executor of the thread that waits further up in the current context, ours or asgiref's."""
    if variable is None:  # also before `prepare`
        return getattr(_executors, "current", None)
    value = variable.get(None)
    if value is None:
        return None
    if _storage is not None:
        if value.thread_id != get_ident():
            return None  # merely inherited
        value = value.data
    return value.get("current")


def loop_executor(loop: Any) -> Any:
    """The executor of the thread in which asgiref's `async_to_sync` waits for this loop of its own."""
    return _loop_executors.get(loop) if loop is not None else None


def is_noted() -> bool:
    """Whether the current context has a note, if only that no thread waits."""
    return variable is not None and variable.get(None) is not None


def forget_waiting_thread() -> None:
    """Leave a note in the current context that no thread waits."""
    if _nobody is None:
        note_waiting_thread(None)
    elif variable is not None:
        variable.set(_nobody)


def note_waiting_thread(executor: Any) -> None:
    """Note in the current context which thread waits."""
    if variable is None:
        _executors.current = executor
    elif _storage is None:
        variable.set({"current": executor})
    else:
        variable.set(_storage(get_ident(), {"current": executor}))
