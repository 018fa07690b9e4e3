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

import os
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from ..engines import asgiref_notes, contexts
from ..engines.home import home
from ..engines.ports import Port
from ..engines.thread_pool import Job, ThreadPool, Worker
from ..exceptions import LoopGone, PoolError


class ThreadCall(Job):
    """A call of `function`.

    Args:
        function, args, kwargs: what to call.
        context: what it runs in.
        port: the loop of the task that awaits it.
        handled: the exception that the task is handling, which the function shall find as well.
        place_again: finds another thread for it when the one that it was given to is gone.

    Attributes:
        pool: where it waits, if it is for a worker of a pool.
        flag: raised once the call is over.
        done: the call is over; set before the flag is raised.
        result, error: what it has come to.
        started: what the function has started on the loop and waits for.
    """

    __slots__ = (
        "_claims",
        "args",
        "context",
        "done",
        "error",
        "flag",
        "function",
        "handled",
        "kwargs",
        "place_again",
        "pool",
        "port",
        "result",
        "started",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Context,
        port: Port,
        handled: BaseException | None,
        place_again: Callable[[ThreadCall], None],
    ) -> None:
        self.state = Job.WAITING
        self.enqueued = 0.0
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = context
        self.port = port
        self.flag = port.flag()
        self.handled = handled
        self.place_again = place_again
        self.pool: ThreadPool | None = None
        self._claims = [None]
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.started: list[Any] = []

    # -- in the thread

    def run(self, worker: Worker | None) -> None:
        """Call the function in this thread, unless the call has been taken back."""
        if worker is not None or self._claim():
            self.execute()

    def execute(self) -> None:
        """Call the function, which nobody else will do."""
        threadlocal = asgiref_notes.threadlocal
        port, started = home.port, home.started
        noted = getattr(threadlocal, "main_event_loop", None)
        pid = getattr(threadlocal, "main_event_loop_pid", None)
        tasks = getattr(threadlocal, "task_context", None)
        home.port = self.port
        threadlocal.main_event_loop = self.port.loop
        threadlocal.main_event_loop_pid = os.getpid()
        home.started = threadlocal.task_context = self.started
        try:
            self.result = self.context.run(self._call)
        except BaseException as error:
            self.error = error
        finally:
            home.port, home.started = port, started
            threadlocal.main_event_loop = noted
            threadlocal.main_event_loop_pid = pid
            threadlocal.task_context = tasks
        self._over()

    def _call(self) -> Any:
        contexts.settle()
        if self.handled is None:
            return self.function(*self.args, **self.kwargs)
        return call_handling(self.handled, self.function, self.args, self.kwargs)

    def _over(self) -> None:
        # Let go of what the caller gave: the task may look at the outcome much later.
        self.args, self.kwargs, self.handled = (), {}, None
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
        """The thread that was to run it is gone: go elsewhere."""
        try:
            self.place_again(self)
        except BaseException as error:
            self.fail(error)

    def withdraw(self) -> bool:
        """Take it back from a thread that has not begun it; whether that was possible.

        Of a call that went to a pool, that is the pool's to say.
        """
        return self._claim() if self.pool is None else self.pool.cancel(self)

    def _claim(self) -> bool:
        try:
            self._claims.pop()  # atomic, so one of those who try has it
        except IndexError:
            return False
        return True

    def describe(self) -> str:
        """The function's name, for dumps and reports."""
        return name_of(self.function)


def call_handling(
    handled: BaseException, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function as if in the `except` clause that handles `handled`, so `sys.exc_info()` finds it."""
    traceback = handled.__traceback__
    try:
        raise handled
    except BaseException:
        handled.__traceback__ = traceback  # without the line above
        return function(*args, **kwargs)


def name_of(function: object) -> str:
    """What a function is called in messages: module and qualified name where it has them."""
    inner = getattr(function, "func", None)  # a partial
    if inner is not None and not hasattr(function, "__qualname__"):
        function = inner
    name = getattr(function, "__qualname__", None) or repr(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module else name
