"""Which thread a blocking call belongs to, and which event loop an async one: decisions only."""

from __future__ import annotations

import enum
from typing import Protocol


class Thread(enum.Enum):
    """Where `sync_to_async` runs a function."""

    WAITING = enum.auto()  #: in the thread that waits further up
    CONTEXT = enum.auto()  #: in the executor of asgiref's `ThreadSensitiveContext`
    LOOP = enum.auto()  #: in the executor that asgiref has for this loop
    SHARED = enum.auto()  #: in the one thread that thread-sensitive code shares
    EXECUTOR = enum.auto()  #: in the executor that was given
    POOL = enum.auto()  #: in any worker of the pool


class Surroundings(Protocol):
    """What is known where a function is awaited; asked one after the other, as asking costs time."""

    def has_waiting_thread(self) -> bool:
        """A thread waits further up: for `async_to_sync`, or for the response of a request."""

    def has_context(self) -> bool:
        """asgiref's `ThreadSensitiveContext` has been entered."""

    def has_loop_executor(self) -> bool:
        """asgiref's `async_to_sync` runs the loop, and this task was not made under it."""


def thread_for(thread_sensitive: bool, executor: bool, surroundings: Surroundings) -> Thread:
    """The thread for a blocking call: asgiref's order.

    Args:
        thread_sensitive: code that has to be in the same thread each time.
        executor: one was given; only for code that is not thread-sensitive.
        surroundings: what is known.
    """
    if not thread_sensitive:
        return Thread.EXECUTOR if executor else Thread.POOL
    if surroundings.has_waiting_thread():
        return Thread.WAITING
    if surroundings.has_context():
        return Thread.CONTEXT
    if surroundings.has_loop_executor():
        return Thread.LOOP
    return Thread.SHARED


class Loop(enum.Enum):
    """Where `async_to_sync` runs a coroutine."""

    HERE = enum.auto()  #: refused: a loop runs in the calling thread, which would wait for itself
    NEW = enum.auto()  #: on a loop of its own, which ends with the call
    AWAITING = enum.auto()  #: on the loop whose task waits for what the calling thread does
    LENDING = enum.auto()  #: on the loop that has lent the calling thread from another library
    PERSISTENT = enum.auto()  #: on the loop that the process keeps for such calls


class CallingThread(Protocol):
    """What is known of the thread that calls; asked one after the other, as asking costs time."""

    def runs_a_loop(self) -> bool:
        """An event loop runs in it, further up the stack."""

    def is_awaited(self) -> bool:
        """A task of a loop that is alive waits for what it does."""

    def is_lent(self) -> bool:
        """It is a worker thread of AnyIO or Trio, whose loop is alive."""


def loop_for(own_loop: bool, chosen: bool, thread: CallingThread) -> Loop:
    """The loop for a coroutine.

    Args:
        own_loop: a new loop was asked for.
        chosen: a kind of persistent loop was asked for (`loop_factory`).
        thread: what is known.
    """
    if thread.runs_a_loop():
        return Loop.HERE
    if own_loop:
        return Loop.NEW
    if chosen:
        return Loop.PERSISTENT
    if thread.is_awaited():
        return Loop.AWAITING
    if thread.is_lent():
        return Loop.LENDING
    return Loop.PERSISTENT
