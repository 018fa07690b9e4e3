"""Where a thread waits to be let through by another one, also if it is a greenlet among others.

Under gevent, a thread that waited at a lock of the operating system would hold up all greenlets of
its thread; so a greenlet waits through its hub, which goes on with the others. What is behind the
gate (an event loop) lives in a real thread all the same, even if `threading` has been patched:
`native` gives the primitives as Python made them.

Nothing here imports gevent: if it has not been imported, no greenlet of its can be waiting.
"""

from __future__ import annotations

import _thread
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Gate(Protocol):
    """A binary semaphore: closed when it is made, and whenever somebody has gone through.

    A lock of Python's is one: locked means closed, the waiter acquires it and another thread
    releases it.
    """

    def release(self) -> object:
        """Open it. From any thread.

        Raises:
            RuntimeError: it may be raised if the gate is open already, which does no harm.
        """

    def acquire(self, blocking: bool, timeout: float, /) -> bool:
        """Go through, waiting for at most `timeout` seconds; return whether it was open."""


def native(name: str) -> Any:
    """An attribute of `_thread` as it was before gevent's monkey patching, if there was any."""
    monkey = sys.modules.get("gevent.monkey")
    get_original: Any = getattr(monkey, "get_original", None)
    return getattr(_thread, name) if get_original is None else get_original("_thread", name)


def thread_local_class() -> Any:
    """What `threading.local` is at this moment, for `patched_late`."""
    return _thread._local


_local_at_import = _thread._local


def patched_late(before: Any = _local_at_import) -> bool:
    """Whether gevent has patched the process since `thread_local_class` gave `before`, or since import.

    What was imported by then may hold on to `threading.local` and locks that do not know greenlets.
    """
    return threads_are_greenlets() and before is not _thread._local


def threads_are_greenlets() -> bool:
    """Whether gevent has patched `threading`."""
    # There may be a module without contents, while another thread imports it.
    asked: Any = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    return asked is not None and bool(asked("threading"))


def new_gate(allocate_lock: Callable[[], Any]) -> Gate:
    """A closed gate for the caller: a lock, or a `HubGate` for a greenlet that a gevent hub runs."""
    if "gevent" in sys.modules and _runs_under_hub(sys.modules["gevent"]):
        return HubGate()
    lock: Gate = allocate_lock()
    lock.acquire(True, -1)
    return lock


class HubGate:
    """The gate of a greenlet: it waits through the gevent hub of its thread.

    `_lock` guards `_watcher` for a few instructions at a time. The watcher is started before
    `_opened` is looked at, so an opening in between is seen; `send` is what gevent allows from
    other threads.
    """

    __slots__ = ("_lock", "_opened", "_watcher")

    def __init__(self) -> None:
        self._lock = native("allocate_lock")()
        self._opened = False
        self._watcher: Any = None

    def release(self) -> None:
        with self._lock:
            self._opened = True
            if self._watcher is not None:
                self._watcher.send()

    def acquire(self, blocking: bool, timeout: float, /) -> bool:
        if self._take():
            return True
        gevent: Any = sys.modules["gevent"]
        hub = gevent.get_hub()
        waiter = gevent.hub.Waiter(hub)
        watcher = hub.loop.async_()
        timer = hub.loop.timer(timeout)
        watcher.start(waiter.switch, None)
        timer.start(waiter.switch, None)
        try:
            with self._lock:
                self._watcher = watcher
                opened = self._opened
            if not opened:
                waiter.get()
        finally:
            with self._lock:
                self._watcher = None
            for started in (watcher, timer):
                started.stop()
                started.close()
        return self._take()

    def _take(self) -> bool:
        with self._lock:
            opened, self._opened = self._opened, False
        return opened


def _runs_under_hub(gevent: Any) -> bool:
    hub: Any = getattr(sys.modules.get("gevent.hub"), "Hub", None)
    if hub is None:  # gevent is just being imported
        return False
    greenlet = gevent.getcurrent()
    while greenlet is not None:
        if isinstance(greenlet, hub):
            return True
        greenlet = greenlet.parent
    return False


class Latch:
    """An event that happens once, and that any number of threads and greenlets may wait for.

    It is set by any thread, a few instructions under a lock; each waiter has a gate of its own.
    Whoever waits names a time-out and says what to look at meanwhile: see `wait`.
    """

    __slots__ = ("_allocate_lock", "_gates", "_lock", "is_set")

    # How often a waiter looks whether what it waits for can still come, in seconds.
    LOOK = 1.0

    def __init__(self) -> None:
        self._allocate_lock: Callable[[], Any] = native("allocate_lock")
        self._lock = self._allocate_lock()
        self._gates: list[Gate] = []
        self.is_set = False

    def set(self) -> None:
        """Let all through, now and later."""
        with self._lock:
            self.is_set = True
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.release()  # once each, as none is in two latches

    def wait(self, timeout: float | None, alive: Callable[[], bool]) -> bool:
        """Wait until it is set; `False` if `timeout` seconds have passed or `alive()` says no.

        `alive` is called about once a second, so that the death of whoever was to set it ends the wait.
        """
        gate = new_gate(self._allocate_lock)
        with self._lock:
            if self.is_set:
                return True
            self._gates.append(gate)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self.is_set:
                left = self.LOOK if deadline is None else min(self.LOOK, deadline - time.monotonic())
                if left <= 0 or not (gate.acquire(True, left) or alive()):
                    break
        finally:
            with self._lock:
                if gate in self._gates:
                    self._gates.remove(gate)
        return self.is_set
