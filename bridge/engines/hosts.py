"""Threads that blocking code may belong to, and how it is brought there.

Code that is bound to a thread (a database connection, an object with thread-locals) is called from
async code that a blocking function has called. It belongs to that function's thread, which has
nothing to do but wait: so it runs there. This is asgiref's rule for thread-sensitive code, and
asgiref's own functions find our threads as we find theirs: by the note of `asgiref_notes`. To asgiref
a `Host` is an executor.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from threading import get_ident
from typing import Any, Protocol

from ..exceptions import WouldDeadlock
from . import asgiref_notes


class Displaceable(Protocol):
    """What a host runs."""

    def run(self, worker: None, /) -> None:
        """Do the work, in the host's thread; must not raise."""

    def displaced(self) -> None:
        """The host will not run it: find another place, unless it has been run.

        From any thread; must not block or raise.
        """

    def wanted(self) -> bool:
        """Whether it has yet to be run, and somebody still waits for it. From any thread."""


class Host:
    """A thread that blocking code belongs to: one that waits (`WaitingThread`), or a request's own.

    Attributes:
        above: the host to turn to when this one takes no more.
        over: it takes no more.
    """

    __slots__ = ()

    above: Host | None

    @property
    def over(self) -> bool:
        raise NotImplementedError

    def offer(self, job: Displaceable) -> bool:
        """Have the thread run a job; `False` if it takes no more. From any thread."""
        raise NotImplementedError

    def is_current(self) -> bool:
        """Whether the caller runs in that thread."""
        raise NotImplementedError

    # -- as an executor, for asgiref

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """`concurrent.futures.Executor.submit`: call a function in this thread, or where it belongs then."""
        call = _Submitted(function, args, kwargs)
        if not offer(self, call):
            call.displaced()
        return call.future

    # asgiref's executor of a wait that is over turns to the one that it was made under, which may be
    # ours, and looks there for these.

    @property
    def _broken(self) -> bool:
        return self.over

    @property
    def _old_executor(self) -> Any:
        above = self.above
        return above.executor if isinstance(above, ForeignHost) else above

    @property
    def _work_ready(self) -> _Entrance:
        return _Entrance(self)

    @property
    def _work_items(self) -> _Entrance:
        return _Entrance(self)


class _Entrance:
    """A condition and a queue, as far as asgiref uses them."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def append(self, item: Any) -> None:
        """Have the host run asgiref's work item."""
        call = _Submitted(item.run, (), {})
        if not self._host.offer(call):
            call.displaced()

    def notify(self) -> None:
        """The host was told when the item was appended."""


class _Submitted:
    """A function, and the future of its result."""

    __slots__ = ("_args", "_function", "_kwargs", "future")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future: Future[Any] = Future()
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def run(self, worker: None, /) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        note = asgiref_notes.note_of_loop()  # asgiref's functions leave theirs
        try:
            result = self._function(*self._args, **self._kwargs)
        except BaseException as error:
            asgiref_notes.restore_note(note)
            self.future.set_exception(error)
            del self  # the traceback refers to this frame
        else:
            asgiref_notes.restore_note(note)
            self.future.set_result(result)

    def wanted(self) -> bool:
        return not (self.future.done() or self.future.running())

    def displaced(self) -> None:
        """Where asgiref's thread-sensitive code goes if no thread waits."""
        if not self.wanted():
            return
        try:
            asgiref_notes.SyncToAsync.single_thread_executor.submit(self.run, None)
        except RuntimeError as error:  # the interpreter exits
            if self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)


class ForeignHost(Host):
    """A thread that waits in asgiref's `async_to_sync`."""

    __slots__ = ("_ident", "above", "executor")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.above: Host | None = None  # asgiref goes up by itself
        self._ident = getattr(getattr(executor, "_work_thread", None), "ident", 0) or 0

    def offer(self, job: Displaceable) -> bool:
        """Have the thread run a job; `False` if it waits no longer, nor any thread above it."""
        try:
            self.executor.submit(job.run, None)
        except RuntimeError:
            return False
        return True

    def is_current(self) -> bool:
        """Whether the caller runs in that thread."""
        return bool(self._ident == get_ident())

    @property
    def over(self) -> bool:
        """Whether it waits no longer."""
        return bool(getattr(self.executor, "_broken", False))


request_host: ContextVar[Host | None] = ContextVar("bridge.request_host", default=None)
"""The thread of the request that is being served, behind `ASGIToWSGI`."""


def innermost_host() -> Host | None:
    """The thread that waits for the code of the current context, nearest first."""
    executor = asgiref_notes.waiting_thread()
    if executor is None:
        # Hidden (asgiref's ThreadSensitiveContext does so), or the request came before asgiref was loaded.
        return None if asgiref_notes.is_noted() else request_host.get()
    return executor if isinstance(executor, Host) else ForeignHost(executor)


def offer(host: Host | None, job: Displaceable) -> bool:
    """Have the nearest thread run a job that still waits, from `host` upwards; `False` if none does.

    Raises:
        WouldDeadlock: the caller runs in that thread, which would wait for itself.
    """
    while host is not None:
        if host.is_current() and not host.over:
            raise WouldDeadlock(
                "a thread-sensitive call belongs to the thread that runs this event loop, which would wait "
                "for itself. Where the loop was started (asyncio.run inside a blocking function), use "
                "async_to_sync instead"
            )
        if host.offer(job):
            return True
        host = host.above
    return False
