"""A thread that belongs to one object, for what may only be used in the thread that made it.

    OwnThread     the handle: submit calls, close; when nobody holds it any more, its thread ends
    BoundCall     a `ThreadCall` that runs in that thread and no other
    outcome_of    the task's side of such a call: await it, or give it up
                  (`steps_to_outcome`: the same for an `__await__`)

What is safe to rely on:

- Calls run one at a time, in the order in which they came. A call that comes from a coroutine for
  which a function waits in this very thread (`async_to_sync`, ours or asgiref's) does not queue behind
  that function: it runs in the thread while that waits. So nesting does not deadlock.
- The thread is started by the first call. It is a daemon: it does not hold up the interpreter's exit,
  even if it is stuck in a call.
- `close` and what the garbage collector calls take no lock: whatever it has interrupted goes on.

Who waits, and what ends the wait:

- *The task, for its call.* The call runs, or is refused with `PoolClosed` by `close`, as is one that
  comes at the same time. A function that never returns keeps the task waiting; cancelling it ends that.
- *The thread, for calls.* `close` and the end of the handle wake it for the last time.
- *After a fork* the child has no such thread. One that was never started is started in the child;
  otherwise calls are refused: the object behind it belongs to a thread of the parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import types
import weakref
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Generator, Mapping
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any

from ..engines import asgiref_notes
from ..engines.contexts import carry_back
from ..engines.home import home
from ..engines.hosts import ForeignHost, Host, innermost_host
from ..engines.ports import Port
from ..engines.running import last, shared_port
from ..engines.thread_pool import Worker, start_native_thread
from ..engines.waiting_thread import WaitingThread
from ..exceptions import PoolClosed, PoolError, UsageError, WouldDeadlock
from .thread_call import ThreadCall, is_over_after_all, raise_error

_CLOSED = "the thread of this facade has been closed; make a new facade"

logger = logging.getLogger("bridge.shim")

_NOTHING: Mapping[str, Any] = {}

_get_running_loop = asyncio._get_running_loop
_modules = sys.modules


class BoundCall(ThreadCall):
    """A call that runs in the thread of an `OwnThread`, and in no other.

    Attributes:
        core: the thread.
        must_run: it runs even if the thread is being closed or its task is cancelled: an `__exit__`.
    """

    core: _Core
    must_run = False

    def run_from_queue(self) -> None:
        """Call the function, unless the call has been taken back; in the thread, which does nothing else."""
        if self.claim():
            self.run_in_turn()

    def run(self, worker: Worker | None) -> None:
        """Call the function, unless the call has been taken back; while the thread waits for something."""
        if get_ident() == self.core.ident:
            super().run(worker)
        else:
            self.displaced()  # asgiref's executor of a wait that is over hands calls on to other threads

    def displaced(self) -> None:
        """The wait in which it was to run has ended: queue with the others, unless it was run."""
        if self.wanted():
            self.core.enqueue(self)
        elif not self.done:  # taken, but an exception came before it was begun
            self.fail(PoolError(f"the thread that was to run {self.describe()} has been ended"))


class _Drop:
    """The last reference to something that shall end in the thread."""

    __slots__ = ("end", "held")

    def __init__(self, held: Any, end: Callable[[Any], object] | None) -> None:
        self.held = held
        self.end = end

    def run_from_queue(self) -> None:
        """End it in the thread: for no task, whatever the last call was for."""
        home.port = None
        asgiref_notes.enter(None)
        self.run()

    def run(self) -> None:
        """End it here and now."""
        end, held = self.end, self.held
        self.end = self.held = None
        if end is not None:
            try:
                end(held)
            except BaseException:
                logger.warning("letting go of the object of a facade raised", exc_info=True)


class _Core:
    """What the thread knows. It does not know the `OwnThread`, so that can be collected while it lives.

    There is no lock: each step is atomic, and whoever comes second looks again. So a finalizer may
    interrupt any of it, and a fork may happen in between.

    Attributes:
        ident: the thread's, while it runs; else 0.
        pid: the process that started it, 0 before.
        closed: takes no more calls.
        ended: the thread has ended.
    """

    __slots__ = ("__weakref__", "_starts", "closed", "ended", "ident", "jobs", "name", "pid")

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: SimpleQueue[Any] = SimpleQueue()
        self.ident = 0
        self.pid = 0
        self.closed = False
        self.ended = False
        self._starts = [None]  # whoever takes it starts the thread

    def place(self, call: BoundCall) -> None:
        """Have the thread run a call: while it waits for the caller's code, if it does, or in turn."""
        call.core = self
        if self.closed or (self.pid and self.pid != os.getpid()):
            self._refuse()
        if self.ident == get_ident():
            raise WouldDeadlock(
                f"{call.describe()} belongs to the thread that runs this event loop, which would wait for "
                "itself. Where the loop was started (asyncio.run in a method of the object), use "
                "async_to_sync instead"
            )
        host = self.waiting_host()
        if host is not None and host.offer(call):
            return
        self.enqueue(call)

    def _refuse(self) -> None:
        if self.closed:
            raise PoolClosed(_CLOSED)
        raise UsageError(
            "the object behind this facade is bound to a thread of the parent process, which a forked "
            "child does not have; make the object and its facade in the child"
        )

    def waiting_host(self) -> Host | None:
        """The wait of this thread that the calling code is under, if there is one."""
        ident = self.ident
        host = innermost_host() if ident else None
        while host is not None and (_ident_of(host) != ident or host.over):
            host = host.above
        return host

    def enqueue(self, call: BoundCall) -> None:
        """Have the thread run a call in turn; one that comes too late is refused."""
        self._put(call)
        if self.closed and not call.must_run and call.withdraw():
            call.fail(PoolClosed(_CLOSED))

    def _put(self, job: Any) -> None:
        self.jobs.put(job)
        if self._starts:
            self._start()
        if self.ended:
            self.refuse_all()

    def _start(self) -> None:
        try:
            self._starts.pop()
        except IndexError:
            return  # another thread does it
        self.pid = os.getpid()
        try:
            start_native_thread(_work, self)
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self.closed = self.ended = True
            self.refuse_all(PoolError(f"the thread of this facade could not be started: {error}"))

    def work(self) -> None:
        """The thread's life."""
        self.ident = get_ident()
        try:
            while (job := self.jobs.get()) is not None:
                job.run_from_queue()
                del job  # not held while the next one is waited for
            # What came behind the end: objects that were let go of, or an `__exit__`.
            while (job := self._next()) is not None:
                job.run_from_queue()
                del job
        finally:
            self.closed = self.ended = True
            self.ident = 0
            self.refuse_all()

    def _next(self) -> Any:
        while True:
            try:
                job = self.jobs.get_nowait()
            except Empty:
                return None
            if job is not None:
                return job

    def refuse_all(self, error: PoolError | None = None) -> None:
        """Refuse what is in the queue, and let go of what is there to be let go of."""
        while (job := self._next()) is not None:
            if isinstance(job, _Drop):
                job.run()  # the thread is gone; there is no better place
            elif job.withdraw():
                job.fail(error or PoolClosed(_CLOSED))

    def close(self) -> None:
        """Refuse what waits and what will come, and let the thread end after what it runs."""
        self.closed = True
        kept = []
        while (job := self._next()) is not None:
            if isinstance(job, _Drop) or job.must_run:
                kept.append(job)
            elif job.withdraw():
                job.fail(PoolClosed(_CLOSED))
        for job in kept:
            self.jobs.put(job)
        if self.pid:
            self.jobs.put(None)
        else:
            self.ended = True

    def let_go(self, held: Any, end: Callable[[Any], object] | None) -> None:
        """Have the thread call `end(held)` and drop it. For finalizers."""
        drop = _Drop(held, end)
        del held
        if not self.pid or self.ended or self.pid != os.getpid():
            drop.run()
            return
        self._put(drop)


def _work(core: _Core) -> None:
    core.work()


def _ident_of(host: Host) -> int:
    """The thread that waits; 0 if it is not known."""
    if isinstance(host, ForeignHost):
        return getattr(getattr(host.executor, "_work_thread", None), "ident", 0) or 0
    return host.ident if isinstance(host, WaitingThread) else 0


class OwnThread:
    """One daemon thread for the calls of one owner, in order.

        thread = OwnThread()
        connection = await thread.call(sqlite3.connect, "app.db")
        rows = await thread.call(lambda: connection.execute("SELECT 1").fetchall())

    It is started by the first call, and ends when it is closed or nobody refers to the `OwnThread`
    any more. It does not hold up the interpreter's exit.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str = "bridge-facade") -> None:
        self._core = _Core(name)
        finalizer = weakref.finalize(self, self._core.close)
        finalizer.atexit = False  # at exit the thread is a daemon; there is nothing to do

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._core.closed

    @property
    def ident(self) -> int:
        """The thread's `threading.get_ident()`; 0 before the first call and after the end."""
        return self._core.ident

    @property
    def busy(self) -> bool:
        """Whether calls wait for the thread. A hint: it may have changed already."""
        return not self._core.jobs.empty()

    def submit(self, call: BoundCall) -> None:
        """Have the thread run a call. On the loop's thread of the task that awaits it.

        Raises:
            PoolClosed: the thread was closed.
            WouldDeadlock: the caller runs in this thread, which would wait for itself.
            UsageError: this process is a fork of the one in which the thread lives.
        """
        self._core.place(call)

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, **kwargs)` in the thread, and return what it returns.

        Context variables go in and come back. Cancelled, a call that has not begun never will; one
        that runs is left to itself, unless it waits for a coroutine: that is cancelled.

        Raises:
            PoolClosed, WouldDeadlock, UsageError: as `submit`.
            BaseException: what the function raises.
        """
        call = bound_call(function, args, kwargs)
        self._core.place(call)
        return await outcome_of(call)

    def close(self) -> None:
        """Refuse what waits and what will come; the thread ends after the call that it runs.

        Does not wait. From any thread.
        """
        self._core.close()

    def let_go(self, held: Any, end: Callable[[Any], object] | None = None) -> None:
        """Drop an object in the thread, after `end(held)`. For finalizers: takes no lock, never raises."""
        self._core.let_go(held, end)

    @property
    def waits_for_caller(self) -> bool:
        """Whether a function in this thread waits for the code that asks."""
        return self._core.waiting_host() is not None

    def __repr__(self) -> str:
        core = self._core
        state = "closed" if core.closed else "running" if core.ident else "not started"
        return f"<OwnThread {core.name!r}: {state}>"


def bound_call(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NOTHING,
    *,
    context: Context | None = None,
    must_run: bool = False,
) -> BoundCall:
    """A call for the running task to submit and await.

    Raises:
        UsageError: no event loop runs the caller.
    """
    if context is None:
        context = copy_context()
    call = BoundCall(function, args, kwargs, context, port_of_caller(), sys.exc_info()[1])
    call.claims = [None]
    if must_run:
        call.must_run = True
    return call


def port_of_caller() -> Port:
    """The port of the running task, with all that asgiref's functions have to know prepared.

    Raises:
        UsageError: no event loop runs the caller.
    """
    if asgiref_notes.threadlocal is None:
        asgiref_notes.prepare()
    port = last.port
    if port is None or port.loop is not _get_running_loop() or "trio" in _modules:
        return shared_port()
    return port


@types.coroutine
def outcome_of(call: ThreadCall) -> Generator[Any, Any, Any]:
    """To be awaited: as `steps_to_outcome`."""
    return (yield from steps_to_outcome(call))


def steps_to_outcome(call: ThreadCall) -> Generator[Any, Any, Any]:
    """Wait for a call that has been submitted, and return what its function returns, or raise.

    It is no coroutine, so that an `__await__` can return it, which saves a call its own frame.

    Args:
        call: if it has the attribute `must_run` and that is true, a cancelled task waits for it
            all the same, until it is cancelled again.
    """
    cancelled = None
    try:
        yield from call.flag.__await__()
    except GeneratorExit:  # whoever awaits is destroyed, so nothing can be awaited any more
        if not getattr(call, "must_run", False):
            call.abandon()
        raise
    except BaseException as reason:
        if not (yield from is_over_after_all(call, must_run=getattr(call, "must_run", False)).__await__()):
            raise
        cancelled = reason
    carry_back(call.context, asgiref_notes.variable)
    if call.error is not None:
        try:
            raise_error(call, cancelled)
        finally:
            del cancelled, call  # the traceback refers to this frame
    return call.result
