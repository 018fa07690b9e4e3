"""`sync_to_async`: blocking functions for async code.

    task (loop's thread)     make a ThreadCall, place it, await its flag, carry its context back
    a thread (see placement) run the call, raise the flag

Cancelling the task: a call that has not begun never does. A function that runs cannot be stopped: if
it waits for a coroutine (`async_to_sync`), that is cancelled, and the task ends when the function
has; otherwise the task ends at once and the function runs on, unless `abandon_on_cancel` is false.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context, copy_context
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, SupportsIndex, TypeVar, overload

from ..engines import asgiref_notes
from ..engines.contexts import carry_back
from ..engines.hosts import Host, innermost_host, offer
from ..engines.running import last, shared_port
from ..engines.thread_pool import ThreadPool, current_worker
from ..exceptions import ContextExited, PoolClosed, UnsuitableFunction, UsageError, WouldDeadlock
from .arguments import require_executor, require_pool
from .placement import Thread, thread_for
from .shared_thread import shared_thread
from .thread_call import ThreadCall, is_over_after_all, name_of, raise_error, reference_to

P = ParamSpec("P")
R = TypeVar("R")
# Of a method: the instance, and what is left of the parameters without it.
S = TypeVar("S")
Q = ParamSpec("Q")

_get_running_loop = asyncio._get_running_loop
_modules = sys.modules

# Workers of the pool that calls go to if none is given. As many as of a `WSGIToASGI`, which is what
# users of Starlette and FastAPI know.
DEFAULT_THREADS = 40

# By process: some hosts fork without a word to Python, so the pool itself would not know.
_default_pools: dict[int, ThreadPool] = {}


def default_pool() -> ThreadPool:
    """The pool for calls that are not thread-sensitive and name none: 40 threads, started on demand."""
    pid = os.getpid()
    pool = _default_pools.get(pid)
    if pool is None:
        pool = _default_pools.setdefault(pid, ThreadPool(DEFAULT_THREADS, name="bridge-shim"))
    return pool


class SyncToAsync(Generic[P, R]):
    """What `sync_to_async` returns: awaiting a call of it runs the function in a thread.

    It has the function's name, docstring and attributes, and counts as a coroutine function
    (`inspect.iscoroutinefunction` from Python 3.12, `asyncio.iscoroutinefunction` before).

    Attributes:
        func: the function.
        context: the Context that was given to run in.
    """

    def __init__(
        self,
        func: Callable[P, R],
        thread_sensitive: bool,
        pool: ThreadPool | None,
        executor: Executor | None,
        context: Context | None,
        abandon_on_cancel: bool,
    ) -> None:
        functools.update_wrapper(self, func)
        self.func = func
        self._thread_sensitive = thread_sensitive
        self._pool = pool
        self._executor = executor
        self.context = context
        self._abandon = abandon_on_cancel
        mark_coroutine_function(self)
        bound_to = getattr(func, "__self__", None)
        if bound_to is not None:
            self.__self__ = bound_to

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in its thread, and return what it returns.

        Raises:
            WouldDeadlock: the thread that it belongs to waits for this very loop.
            PoolError: the pool does not take the call.
            BaseException: what the function raises.
        """
        if asgiref_notes.threadlocal is None:
            asgiref_notes.prepare()
        context = self.context
        port = last.port
        if port is None or port.loop is not _get_running_loop() or "trio" in _modules:
            port = shared_port()
        call = ThreadCall(
            self.func, args, kwargs, copy_context() if context is None else context, port, sys.exc_info()[1]
        )
        if self._thread_sensitive or self._executor is not None:
            self._place(call)
        else:
            submit_to_pool(call, self._pool or default_pool())
        cancelled = None
        try:
            await call.flag
        except GeneratorExit:  # the coroutine is destroyed, so nothing can be awaited any more
            call.abandon()
            raise
        except BaseException as reason:
            if not await is_over_after_all(call, self._abandon):
                raise
            cancelled = reason
        if context is None:
            carry_back(call.context, asgiref_notes.variable)
        if call.error is not None:
            try:
                raise_error(call, cancelled)
            finally:
                del cancelled, call  # the traceback refers to this frame
        return call.result  # type: ignore[no-any-return]

    def _place(self, call: ThreadCall) -> None:
        call.claims = [None]
        here = _Here(call.port.loop)
        place = thread_for(self._thread_sensitive, self._executor is not None, here)
        if place is Thread.WAITING and offer(here.host, call):
            return
        if place is Thread.EXECUTOR:
            assert self._executor is not None
            _submit(self._executor, call)
        elif place is Thread.CONTEXT:
            _submit(here.context_executor(), call)
        elif place is Thread.LOOP:
            _submit(here.loop_executor, call)
        else:
            shared_thread.submit(call)

    @overload
    def __get__(self, instance: None, owner: type) -> SyncToAsync[P, R]: ...

    @overload
    def __get__(
        self: SyncToAsync[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> Callable[Q, Coroutine[Any, Any, R]]: ...

    @overload
    def __get__(
        self, instance: object, owner: type | None = None
    ) -> Callable[..., Coroutine[Any, Any, Any]]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method: bound to the instance."""
        return self if instance is None else MethodType(self, instance)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return reference_to(self) or super().__reduce_ex__(protocol)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        mark_coroutine_function(self)  # a copy of the mark is none

    def __repr__(self) -> str:
        return f"<sync_to_async of {name_of(self.func)}>"


def submit_to_pool(call: ThreadCall, pool: ThreadPool) -> None:
    """Have any worker of a pool run a call of the running task.

    Raises:
        PoolError: the pool does not take it.
        WouldDeadlock: the loop runs in the pool's only thread, which would wait for itself.
    """
    call.pool = pool
    pool.submit(call)
    # A thread that waits further up, perhaps for this very call and as a worker of this pool,
    # may run it as well as a worker can: so nesting never exhausts a pool.
    if pool.saturated and not offer(innermost_host(), _Chance(call, pool), must=False):
        _make_room(call, pool)


def may_never_have_a_turn(pool: ThreadPool) -> bool:
    """Whether what the calling code queues in a pool may wait for that code.

    The pool is full, and a thread waits for the code, perhaps as a worker of this very pool.
    """
    return pool.saturated and (innermost_host() is not None or current_worker() in pool)


def _make_room(call: ThreadCall, pool: ThreadPool) -> None:
    """The loop may run in a worker of this very pool (`asyncio.run`), which waits for the call with it."""
    worker = current_worker()
    if worker is None or worker not in pool:
        return
    worker.lend_slot()
    if not worker.lent and pool.threads == 1 and pool.cancel(call):
        raise WouldDeadlock(
            f"{call.describe()} belongs to a pool whose only thread runs this event loop, which would wait "
            "for itself. Where the loop was started (asyncio.run in a function called by sync_to_async), use "
            "async_to_sync instead; or give the call another pool"
        )


def _submit(executor: Any, call: ThreadCall) -> None:
    """Give a call to an executor, which may drop it (`shutdown(cancel_futures=True)`)."""

    def ended(future: Any) -> None:  # which keeps this, so that this must not keep it
        if call.withdraw():  # it was not run
            error = None if future.cancelled() else future.exception()
            call.fail(error or PoolClosed(f"the executor was shut down before it ran {call.describe()}"))

    executor.submit(call.run, None).add_done_callback(ended)


class _Chance:
    """A call that waits in the queue of a pool, for a thread that may have time for it before."""

    __slots__ = ("_call", "_pool", "bound_to")

    def __init__(self, call: ThreadCall, pool: ThreadPool) -> None:
        self._call = call
        self._pool = pool
        self.bound_to: object = None

    def run(self, worker: None, /) -> None:
        """Run the call, unless a worker has taken it or its task has given it up."""
        if self._pool.cancel(self._call):
            self._call.bound_to = self.bound_to
            self._call.run_in_passing()

    def displaced(self) -> None:
        """The call is in the pool's queue anyway."""

    def wanted(self) -> bool:
        """Whether no worker has taken the call."""
        return self._call.state == ThreadCall.WAITING


class _Here:
    """What `thread_for` asks, of the calling task."""

    __slots__ = ("_context", "_loop", "host", "loop_executor")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.host: Host | None = None
        self._context: Any = None
        self.loop_executor: Any = None

    def has_waiting_thread(self) -> bool:
        """A thread waits further up, for `async_to_sync` or for a response."""
        self.host = innermost_host()
        return self.host is not None

    def has_context(self) -> bool:
        """asgiref's `ThreadSensitiveContext` has been entered."""
        self._context = asgiref_notes.SyncToAsync.thread_sensitive_context.get(None)
        return self._context is not None

    def has_loop_executor(self) -> bool:
        """asgiref's `async_to_sync` runs the loop, and this task was not made under it."""
        self.loop_executor = asgiref_notes.loop_executor(self._loop)
        return self.loop_executor is not None

    def context_executor(self) -> Any:
        """The executor of the `ThreadSensitiveContext`: asgiref's, made as asgiref makes it."""
        context = self._context
        if getattr(context, "_exited", False):
            raise ContextExited(
                "the ThreadSensitiveContext that this task was made in has been left; its executor takes no "
                "more calls. Await the task before the end of the `async with` block"
            )
        executors = asgiref_notes.SyncToAsync.context_to_thread_executor
        executor = executors.get(context)
        if executor is None:
            executor = executors[context] = ThreadPoolExecutor(max_workers=1)
        return executor


def mark_coroutine_function(function: Any) -> None:
    """Let `inspect.iscoroutinefunction`, before Python 3.12 asyncio's, take an object for such a function."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]


@overload
def sync_to_async(
    func: Callable[P, R],
    *,
    thread_sensitive: bool = True,
    pool: ThreadPool | None = None,
    executor: Executor | None = None,
    context: Context | None = None,
    abandon_on_cancel: bool = True,
) -> SyncToAsync[P, R]: ...


@overload
def sync_to_async(
    func: None = None,
    *,
    thread_sensitive: bool = True,
    pool: ThreadPool | None = None,
    executor: Executor | None = None,
    context: Context | None = None,
    abandon_on_cancel: bool = True,
) -> Callable[[Callable[P, R]], SyncToAsync[P, R]]: ...


def sync_to_async(
    func: Callable[..., Any] | None = None,
    *,
    thread_sensitive: bool = True,
    pool: ThreadPool | None = None,
    executor: Executor | None = None,
    context: Context | None = None,
    abandon_on_cancel: bool = True,
) -> Any:
    """Make a blocking function awaitable: a call of it runs in a thread beside the event loop.

        user = await sync_to_async(repository.get)(7)

        @sync_to_async(thread_sensitive=False)
        def resize(image): ...

    Drop-in for `asgiref.sync.sync_to_async`, on asyncio, uvloop and trio. Context variables go into
    the call and come back from it, and it finds the exception that its caller is handling in
    `sys.exc_info()`. Its `async_to_sync` calls run on the loop that awaits it.

    Args:
        func: what to call, any callable that is not async. Left out, the result is a decorator; of
            a method, too.
        thread_sensitive: whether the function may rely on the thread it runs in. If so, it runs in
            the thread that waits for the calling code in `async_to_sync`, or else in the one that a
            request behind `ASGIToWSGI` has for itself, or else in that of an asgiref
            `ThreadSensitiveContext`, or else in one thread for the whole process, which is asgiref's
            as well: one call at a time.
            If not, it runs in any worker of `pool`.
        pool: the `ThreadPool` for what is not thread-sensitive. Default: one of 40 threads that
            all such functions share.
        executor: a `concurrent.futures.Executor` instead of the pool.
        context: the Context to run in, instead of a copy of the caller's; nothing is carried back.
        abandon_on_cancel: what to do if the awaiting task is cancelled while the function runs. It
            cannot be stopped; `True` lets the task end at once, and drops what the function returns
            later; `False` has the task wait for its end. In either case a function that has not
            begun never will, and one that waits for a coroutine has that cancelled, and is waited for.

    Returns:
        A callable with the function's signature, name and docstring that returns a coroutine.

    Raises:
        UnsuitableFunction: `func` is async, or cannot be called.
        UsageError: the options contradict each other.

    Of a call:
        what the function raises; `WouldDeadlock` if the thread that it belongs to runs the very
        event loop that would wait for it; `PoolError` if the pool does not take it.
    """
    given = [name for name, value in (("pool", pool), ("executor", executor)) if value is not None]
    if thread_sensitive and given:
        raise UnsuitableFunction(
            f"{given[0]} must not be given together with thread_sensitive=True, which names the thread "
            "already; add thread_sensitive=False"
        )
    if len(given) == 2:
        raise UsageError("expected a pool or an executor for the calls; got both")
    require_pool(pool)
    require_executor(executor)
    if func is None:
        return functools.partial(
            sync_to_async,
            thread_sensitive=thread_sensitive,
            pool=pool,
            executor=executor,
            context=context,
            abandon_on_cancel=abandon_on_cancel,
        )
    if not callable(func):
        raise UnsuitableFunction(f"sync_to_async expects a function to call; got {func!r}{_hint(func)}")
    if isinstance(func, SyncToAsync):
        raise UnsuitableFunction(f"{name_of(func)} is a result of sync_to_async already; await a call of it")
    if is_async(func):
        raise UnsuitableFunction(
            f"sync_to_async expects a blocking function, but {name_of(func)} is async; await it directly"
        )
    if inspect.isasyncgenfunction(func):
        raise UnsuitableFunction(
            f"sync_to_async expects a blocking function, but {name_of(func)} is an async generator; iterate "
            "over it by `async for`"
        )
    return SyncToAsync(func, thread_sensitive, pool, executor, context, abandon_on_cancel)


def _hint(func: object) -> str:
    if isinstance(func, classmethod):
        return "; put @classmethod above it"
    return ". Give it the function itself, and call the result: sync_to_async(function)(…)"


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine, as far as can be told without a call."""
    if inspect.iscoroutinefunction(function) or _has_old_mark(function):
        return True
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object, its method
    return inspect.iscoroutinefunction(call) or _has_old_mark(call)


def _has_old_mark(function: Any) -> bool:
    # The mark that asyncio knew before Python 3.12; asgiref sets it there.
    mark = getattr(asyncio.coroutines, "_is_coroutine", None)
    return mark is not None and getattr(function, "_is_coroutine", None) is mark
