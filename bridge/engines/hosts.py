"""Threads that blocking code may belong to, and how it is brought there.

Code that is bound to a thread (a database connection, an object with thread-locals) is called from
async code that a blocking function has called. It belongs to that function's thread, which has
nothing to do but wait: so it runs there. This is asgiref's rule for thread-sensitive code, and
asgiref's own functions find our threads as we find theirs: by the note of `asgiref_notes`. To asgiref
a `Host` is an executor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import WouldDeadlock
from . import asgiref_notes

if TYPE_CHECKING:  # loaded when asgiref is
    from concurrent.futures import Executor, Future


class Displaceable(Protocol):
    """What a host runs.

    Attributes:
        bound_to: the host; set by `offer`.
    """

    bound_to: object

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

    above: Any  # a Host or None; plain or computed

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
        # If nobody further up waits either, asgiref would fail; then the call had better be displaced.
        host = self.above if self.over else None
        while host is not None:
            if not host.over:
                return True
            host = host.above
        return False

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

    __slots__ = ("_args", "_function", "_kwargs", "bound_to", "future")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        from concurrent.futures import Future

        self.future: Future[Any] = Future()
        self.bound_to: object = None
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

    __slots__ = ("_ident", "executor")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._ident = getattr(getattr(executor, "_work_thread", None), "ident", 0) or 0

    @property
    def above(self) -> Host | None:
        """The host to turn to when this one takes no more: asgiref's executors know theirs."""
        outer = getattr(self.executor, "_old_executor", None)
        return outer if outer is None or isinstance(outer, Host) else ForeignHost(outer)

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
    """The nearest thread that still waits for the code of the current context."""
    executor = asgiref_notes.waiting_thread()
    if executor is None:
        # Hidden (asgiref's ThreadSensitiveContext does so), or the request came before asgiref was loaded.
        host = None if asgiref_notes.is_noted() else request_host.get()
    else:
        host = executor if isinstance(executor, Host) else ForeignHost(executor)
    while host is not None and host.over:
        host = host.above
    return host


def offer(host: Host | None, job: Displaceable, *, must: bool = True) -> bool:
    """Have the nearest thread run a job that still waits, from `host` upwards; `False` if none does.

    Args:
        must: the job belongs there, and may run nowhere else.

    Raises:
        WouldDeadlock: it must, and the caller is part of what that thread runs.
    """
    part_of = bound_call.get()
    while host is not None:
        if not host.over and (host.is_current() or runs_below(part_of, host)):
            if not must:
                return False
            raise WouldDeadlock(
                "a thread-sensitive call belongs to a thread that runs the code which calls it, and would "
                "wait for itself. Where an event loop was started on the way (asyncio.run inside a blocking "
                "function), use async_to_sync instead"
            )
        job.bound_to = host
        if host.offer(job):
            return True
        host = host.above
    job.bound_to = None
    return False


class Bound(Protocol):
    """A call that runs in a thread it belongs to."""

    bound_to: object
    done: bool


bound_call: ContextVar[Bound | None] = ContextVar("bridge.bound_call", default=None)
"""The call, in a thread that it belongs to, that the current code is part of.

`None` below an `async_to_sync`, whose thread can run what belongs to it.
"""


def runs_below(call: Bound | None, place: object) -> bool:
    """Whether the current code, part of `call`, would wait for `place`, which waits for that call's end."""
    return call is not None and call.bound_to is place and not call.done
