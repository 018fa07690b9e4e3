"""One call of a blocking function for a task that awaits it: what goes to a thread and comes back.

`ThreadCall` is the same wherever it runs: in a worker of a pool, in the thread that waits further
up, in the one that thread-sensitive code shares. Whoever takes it calls `run`, `refuse` or
`displaced`, once.

Who waits, and what ends the wait: the task awaits `flag`, which every way out of `run` and `refuse`
raises, whatever the function raises (BaseException too). A function that never returns keeps its
task waiting, as it must; cancelling the task ends that (see `sync_to_async`). If the loop ends
first, there is no task any more, and what the function returns is dropped. In a forked child, the
task is a copy that nobody runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, NoReturn

from ..engines import asgiref_notes, contexts
from ..engines.home import enter, home
from ..engines.hosts import bound_call
from ..engines.ports import Port
from ..engines.thread_pool import Job, ThreadPool, Worker
from ..exceptions import LoopGone, PoolError

_NO_CONTEXT = Context()


def _nothing() -> None: ...


class ThreadCall(Job):
    """A call of `function`.

    Args:
        function, args, kwargs: what to call.
        context: what it runs in.
        port: the loop of the task that awaits it.
        handled: the exception that the task is handling, which the function shall find as well.

    Attributes:
        flag: raised once the call is over.
        pool: where it waits, if it is for a worker of a pool.
        done: the call is over; set before the flag is raised.
        abandoned: nobody will have what it comes to.
        result, error: what it has come to.
        started: what the function has started on the loop and waits for.
        bound_to: the thread that it belongs to: a host, or the one that thread-sensitive code shares.
        shared: that is the latter.
        claims: holds one item as long as nobody has taken the call; of a call that is not a pool's.
    """

    # Most calls never change these, so they are here and not in each instance.
    handled: BaseException | None = None
    pool: ThreadPool | None = None
    done = False
    abandoned = False
    result: Any = None
    error: BaseException | None = None
    started: list[Any] | None = None
    bound_to: object = None
    shared = False
    claims: list[None]

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Context,
        port: Port,
        handled: BaseException | None = None,
    ) -> None:
        self.state = Job.WAITING
        self.enqueued = 0.0
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = context
        self.port = port
        self.flag = port.flag()
        if handled is not None:
            self.handled = handled

    # -- in the thread

    def run(self, worker: Worker | None) -> None:
        """Call the function in this thread, unless the call has been taken back."""
        if worker is not None:
            self.run_in_turn()
        elif self.claim():
            self.run_in_passing()

    def run_in_turn(self) -> None:
        """Call the function in a thread that does nothing else: its notes are left for the next call."""
        enter(self.port)  # also if it was the last one's: asgiref's functions leave notes of their own
        self._run()

    def run_in_passing(self) -> None:
        """Call the function in a thread that has other things to do: it finds its notes as they were."""
        noted = asgiref_notes.note_of_loop()
        port = home.port
        enter(self.port)
        try:
            self._run()
        finally:
            home.port = port
            asgiref_notes.restore_note(noted)

    def _run(self) -> None:
        threadlocal = asgiref_notes.threadlocal
        outer = getattr(threadlocal, "task_context", None)
        # What asgiref's async_to_sync starts for the function is noted here as well as what ours does.
        ours, home.started = home.started, []
        self.started = threadlocal.task_context = home.started
        try:
            if self.bound_to is not None or self.handled is not None or contexts.has_movable(self.context):
                self.result = self.context.run(self._call)
            else:
                self.result = self.context.run(self.function, *self.args, **self.kwargs)
        except BaseException as error:
            if not self.abandoned:  # or it would keep, by its traceback, all that was called, and itself
                self.error = error
        threadlocal.task_context, home.started = outer, ours
        self._over()

    def _call(self) -> Any:
        contexts.settle(self.context)
        # sync_to_async, on a loop that the function runs and waits for, would wait for this thread for
        # ever; asgiref's and ours refuse if they find this.
        if self.bound_to is not None:
            ours = bound_call.set(self)
        if self.shared:
            asgirefs = asgiref_notes.SyncToAsync.deadlock_context.set(True)
        try:
            if self.handled is None:
                return self.function(*self.args, **self.kwargs)
            return call_handling(self.handled, self.function, self.args, self.kwargs)
        finally:
            if self.bound_to is not None:
                bound_call.reset(ours)
            if self.shared:
                asgiref_notes.SyncToAsync.deadlock_context.reset(asgirefs)

    def _over(self) -> None:
        self.done = True
        try:
            self.port.wake(self.flag)
        except LoopGone:
            pass  # nobody is left to tell

    # -- instead

    def refuse(self, error: PoolError) -> None:
        """A pool will not run it."""
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        """It will not run, because of `error`. By whoever has withdrawn it, from any thread."""
        self.error = error
        self._over()

    def displaced(self) -> None:
        """The thread that was to run it is gone: go elsewhere, unless it was run."""
        if not self.wanted():
            if self.done:
                self._over()  # an exception may have come before the task was told
            else:  # taken, but an exception came before it was begun
                self.fail(PoolError(f"the thread that was to run {self.describe()} has been ended"))
            return
        from .shared_thread import shared_thread  # which runs calls of this kind

        try:
            shared_thread.submit(self)
        except BaseException as error:
            self.fail(error)

    def wanted(self) -> bool:
        """Whether it has yet to be run. Not of a pool's calls."""
        return bool(self.claims)

    def withdraw(self) -> bool:
        """Take it back from a thread that has not begun it; whether that was possible.

        Of a call that went to a pool, that is the pool's to say.
        """
        return self.claim() if self.pool is None else self.pool.cancel(self)

    def give_up(self) -> bool:
        """Withdraw it for good: the queue that it stays in until its turn keeps nothing that was given."""
        if not self.withdraw():
            return False
        self.function, self.args, self.kwargs, self.handled = _nothing, (), {}, None
        self.context = _NO_CONTEXT
        return True

    def abandon(self) -> None:
        """Nobody will have what it comes to: give it up, or cancel what the function waits for.

        Of a task that is destroyed while it waits. From any thread.
        """
        self.abandoned = True
        if not self.give_up() and self.started:
            try:
                self.port.call_soon(self.started[0].cancel)
            except LoopGone:
                pass

    def claim(self) -> bool:
        """Take the call, to run it or to give it up; `False` if somebody else has. Not of a pool's calls."""
        try:
            self.claims.pop()  # atomic, so one of those who try has it
        except IndexError:
            return False
        return True

    def describe(self) -> str:
        """The function's name, for dumps and reports."""
        return name_of(self.function)


async def is_over_after_all(call: ThreadCall, abandon: bool = True, *, must_run: bool = False) -> bool:
    """In a task that is being cancelled: give its call up, or see it through.

    Args:
        call: what the task has awaited.
        abandon: leave a function that runs to itself; `False` waits for its end.
        must_run: do not give the call up, but wait for its end.

    Returns:
        Whether the call has come to something that the task shall have instead of its cancellation.
    """
    if call.done:
        return False
    if not must_run:
        if call.give_up():
            return False
        if call.started:
            # As asgiref does: the coroutine that the function waits for is cancelled. What it makes of
            # that, and the function of what it makes, is the outcome: it may have shielded something.
            call.started[0].cancel()
            await _end_of(call)
            return True
    if must_run or not abandon:
        await _end_of(call)
    call.abandoned = True
    return False


def raise_error(call: ThreadCall, cancelled: BaseException | None) -> NoReturn:
    """Raise what the function has raised.

    Args:
        cancelled: the cancellation of the task, if there was one. If it has come back by way of what the
            function waited for, this very exception is raised: AnyIO's scopes know theirs by its message.
    """
    error = call.error
    assert error is not None
    call.error = None
    if cancelled is not None and isinstance(error, type(cancelled)):
        error = cancelled
    try:
        raise error
    finally:
        del error, cancelled, call  # the traceback refers to this frame


async def _end_of(call: ThreadCall) -> None:
    """Wait until the thread is done, for a task that has been cancelled once. Again, and it is left."""
    call.flag = call.port.flag()  # the other one was cancelled with the wait
    if not call.done:  # set before the flag is looked at, so one of the two is seen
        await call.port.shielded(call.flag)


def call_handling(
    handled: BaseException, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function as if in the `except` clause that handles `handled`, so `sys.exc_info()` finds it."""
    traceback, context = handled.__traceback__, handled.__context__
    try:
        raise handled
    except BaseException:
        # As they were before the line above.
        handled.__traceback__, handled.__context__ = traceback, context
        return function(*args, **kwargs)


def reference_to(wrapper: object) -> str | None:
    """The name by which a decorated function is found in its module; so `pickle` takes it for any other."""
    name = getattr(wrapper, "__qualname__", None)
    found: object = sys.modules.get(getattr(wrapper, "__module__", None) or "")
    for part in (name or "").split("."):
        found = getattr(found, part, None)
    return name if found is wrapper else None


def name_of(function: object) -> str:
    """What a function is called in messages: module and qualified name where it has them."""
    inner = getattr(function, "func", None)  # a partial
    if inner is not None and not hasattr(function, "__qualname__"):
        function = inner
    name = getattr(function, "__qualname__", None) or repr(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module else name
