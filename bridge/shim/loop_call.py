"""One call of an async function for a thread that waits: where it runs, and how the two meet.

    a thread                 make a LoopCall, have a loop begin it, wait; meanwhile run what comes back
    task (loop's thread)     run the coroutine, then finish

Who waits, and what ends the wait: the calling thread, in `LoopCall.wait`. The task finishes on every
way out of the coroutine: a result, any exception (BaseException too), cancellation, its destruction.
Once a second the thread looks whether its loop still runs: one that has stopped or is closed ends the
wait with `LoopGone`, and so does a fork, whose child has no such loop. If the thread itself is ended
(KeyboardInterrupt, a server's time-out), the task is cancelled and given a moment to end.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any, NamedTuple

from ..engines import asgiref_notes
from ..engines.asyncio_port import AsyncioPort
from ..engines.contexts import carry_back, settle
from ..engines.home import home
from ..engines.hosts import Host, bound_call, innermost_host
from ..engines.loop_thread import LoopFactory, LoopThread
from ..engines.ports import Place, Port, Started, in_trio_task
from ..engines.thread_pool import current_worker
from ..engines.waiting_thread import WaitingThread
from ..exceptions import LoopGone, UnsuitableFunction, WouldDeadlock
from . import reports
from .lending import lending_loop
from .persistent import persistent_loop
from .placement import Loop, loop_for
from .thread_call import name_of

# How long (seconds) a thread that is itself ended waits for its task to end.
_CANCEL_GRACE = 2.0
# For how many looks in a row a loop may not run: it may rest between two `run_until_complete` calls.
_PATIENCE = 3

_NO_CONTEXT = contextvars.Context()
_get_running_loop = asyncio._get_running_loop
_TASKS_TAKE_CONTEXT = sys.version_info >= (3, 11)


def find_loop(function: object, force_new_loop: bool = False, factory: LoopFactory | None = None) -> Place:
    """The loop for an async function that the calling thread wants to wait for.

    Raises:
        WouldDeadlock: an event loop runs in this thread.
        LoopGone: the persistent loop could not be started.
        UsageError: `factory` makes no event loop.
    """
    if asgiref_notes.threadlocal is None:
        asgiref_notes.prepare()
    caller = _Caller()
    place = loop_for(force_new_loop, factory is not None, caller)
    if place is Loop.HERE:
        name = name_of(function)
        raise WouldDeadlock(
            f"{name} cannot be waited for in a thread in which an event loop runs: the loop would wait for "
            f"itself. In async code write `await {name.rpartition('.')[2]}(...)`; call the blocking code "
            "that got here by `await sync_to_async(function)(...)`"
        )
    if place is Loop.NEW:
        return _new_loop(factory)
    if place is Loop.PERSISTENT:
        return persistent_loop(factory)
    assert caller.port is not None
    return caller.port


class _OwnLoop(LoopThread):
    """A loop that ends with the one call that it was made for."""


def _new_loop(factory: LoopFactory | None) -> LoopThread:
    thread = _OwnLoop(factory or asyncio.new_event_loop)
    thread.start()
    return thread


class _Caller:
    """What `loop_for` asks, of the calling thread; `port` is the loop that it found."""

    __slots__ = ("port",)

    def __init__(self) -> None:
        self.port: Port | None = None

    def runs_a_loop(self) -> bool:
        """An event loop runs in it, further up the stack."""
        return _get_running_loop() is not None or ("trio" in sys.modules and in_trio_task())

    def is_awaited(self) -> bool:
        """A task of a loop that is alive waits for what it does."""
        port = home.port
        noted = asgiref_notes.noted_loop()
        # asgiref's note is the newer one if they differ: our jobs leave both.
        if noted is not None and (port is None or port.loop is not noted):
            newer = AsyncioPort(noted)
            if newer.alive():
                port = newer
        elif noted is None and port is not None and port.loop is not None:
            return False
        if port is None or not port.alive():
            return False
        self.port = port
        return True

    def is_lent(self) -> bool:
        """It is a worker thread of AnyIO or Trio, whose loop is alive."""
        self.port = lending_loop()
        return self.port is not None


class Owners(NamedTuple):
    """Where to note a call that a thread waits for: what a `sync_to_async` that is cancelled looks at.

    `note` and `forget` are called in the call's task.
    """

    ours: list[Any] | None
    asgirefs: list[Any] | None

    def note(self, call: object) -> None:
        """The call has begun; its `cancel()` will do."""
        if self.ours is not None:
            self.ours.append(call)
        if self.asgirefs is not None:
            self.asgirefs.append(asyncio.current_task())  # asgiref awaits what it finds there

    def forget(self, call: object) -> None:
        """The call is over."""
        if self.ours is not None:
            self.ours.remove(call)
        if self.asgirefs is not None:
            self.asgirefs.remove(asyncio.current_task())


NOBODY = Owners(None, None)


def owners_of_call(port: Port) -> Owners:
    """Where to note a call that the calling thread is about to wait for, on the loop of `port`."""
    loop = port.loop
    calls_port = home.port
    ours = home.started if calls_port is not None and calls_port.loop is loop else None
    asgirefs = getattr(asgiref_notes.threadlocal, "task_context", None)
    if asgirefs is ours or asgirefs is None or loop is None or asgiref_notes.noted_loop() is not loop:
        return NOBODY if ours is None else Owners(ours, None)
    return Owners(ours, asgirefs)  # asgiref's may be stale, as its function leaves it behind


def enter_task(host: Host, context: contextvars.Context | None = None) -> None:
    """At the beginning of a task that a thread waits for: note the thread, and move what it has brought."""
    asgiref_notes.note_waiting_thread(host)
    if bound_call.get() is not None:
        # The thread waits for this, so it can run what belongs to it.
        bound_call.set(None)
        asgiref_notes.SyncToAsync.deadlock_context.set(False)
    settle(context, asgiref_notes.variable)


def leave_task(context: contextvars.Context) -> None:
    """In the thread: carry back what the task has set, but for what `enter_task` has."""
    carry_back(context, asgiref_notes.variable, bound_call, asgiref_notes.SyncToAsync.deadlock_context)


class LoopWait(WaitingThread):
    """A thread's wait for a task on a loop: what calls and iterations have in common.

    Args:
        place: where the task runs.

    Attributes:
        loop_ident: the loop's thread, once the task has begun; 0 before.
        outer: the wait that the thread was in already.
    """

    __slots__ = ("_error", "_failures", "_owners", "_silence", "_task", "loop_ident", "outer", "place")

    def __init__(self, place: Place) -> None:
        WaitingThread.__init__(self, innermost_host())
        self.place = place
        self.loop_ident = 0
        self.outer: WaitingThread | None = None
        self._error: BaseException | None = None
        self._task: Started | None = None
        self._failures = 0
        self._silence: reports.Silence | None = None
        # What the job of this thread has started, if its task is on the same loop: to be cancelled with it.
        self._owners = owners_of_call(place.port)

    @property
    def name(self) -> str:
        """What it waits for, in messages."""
        raise NotImplementedError

    def over_unbegun(self) -> None:
        """The task has ended before its first step, so it never got to say so."""
        raise NotImplementedError

    def _look(self) -> None:
        """Nothing has come for a second: can it still?"""
        if self.place.alive():
            self._failures = 0
        else:
            self._failures += 1
            if self._failures >= _PATIENCE:
                raise LoopGone(f"the event loop that ran {self.name} has stopped")
        task = self._task
        if task is not None and task.done() and not self.done:
            self._error = asyncio.CancelledError()
            self.over_unbegun()
            return
        worker = current_worker()
        if worker is not None:
            # Others may be needed for what it waits for: siblings that meet it, or a task's own calls.
            worker.lend_slot()
        if self._silence is None:
            self._silence = reports.Silence(self)
        self._silence.look()

    def _cancel_and_wait(self, cancel: Callable[[], object]) -> None:
        """The thread is being ended: have the task cancelled, by `cancel`, and give it a moment."""
        try:
            self.place.call_soon(cancel)
        except LoopGone:
            return
        self.wait_for_end(_CANCEL_GRACE)


class LoopCall(LoopWait):
    """One call, made and waited for by a thread, run by a task.

    Args:
        function, args, kwargs: what to call, on the loop's thread, and await.
        place: where.
    """

    __slots__ = ("_args", "_context", "_function", "_handled", "_kwargs", "_result")

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], place: Place
    ) -> None:
        LoopWait.__init__(self, place)
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._handled = sys.exc_info()[1]
        self._result: Any = None
        self.outer = home.wait

    # -- in the thread

    def outcome(self) -> Any:
        """Have it begun, wait for its end, and return what the function has returned, or raise."""
        place = self.place
        home.wait = self
        try:
            try:
                place.call_soon(self._begin)
                self.wait(self._look)
            except LoopGone:
                self.leave()
                raise
            except BaseException:
                self.leave()
                self._cancel_and_wait(self.cancel)
                self._result = self._error = None  # nobody is left to have it
                raise
        finally:
            home.wait = self.outer
            context, self._context = self._context, _NO_CONTEXT  # it has a note of this call
            if isinstance(place, _OwnLoop):
                place.release()
                place.join(_CANCEL_GRACE)
        leave_task(context)
        # A task that outlives the call has its note, and with it the call: it shall not have the rest.
        result, error = self._result, self._error
        self._result = self._error = self._task = self._silence = None
        if error is not None:
            try:
                raise error
            finally:
                del error, self  # the traceback refers to this frame
        return result

    @property
    def name(self) -> str:
        """The function's name."""
        return name_of(self._function)

    def over_unbegun(self) -> None:
        self.finish()

    # -- on the loop's thread

    def cancel(self) -> None:
        """Cancel the task, if it has begun; it will not begin any more."""
        if self._task is not None:
            self._task.cancel()
        else:
            self.finish()

    def _begin(self) -> None:
        if self.over:
            return  # the thread has been ended meanwhile
        self.loop_ident = get_ident()
        coroutine = self._run()
        try:
            self._task = self.place.port.start(coroutine, self._context)
        except BaseException as error:
            coroutine.close()
            self._error = error
            self.finish()

    async def _run(self) -> None:
        enter_task(self, self._context)
        owners = self._owners
        if owners is not NOBODY:
            owners.note(self)
        try:
            if self._handled is None:
                self._result = await self._awaitable()
            else:
                self._result = await self._with_handled(self._handled)
        except BaseException as error:
            # None of them may reach the loop: SystemExit would end it, and with it all others' tasks.
            self._error = error
        if owners is not NOBODY:
            owners.forget(self)
        if self.over:  # the thread has been ended meanwhile
            self._result = self._error = None
        if not _TASKS_TAKE_CONTEXT:
            self._context = contextvars.copy_context()
        # Let go of what the caller gave, but for the name.
        self._args, self._kwargs, self._handled, self._owners = (), {}, None, NOBODY
        self.finish()

    def _awaitable(self) -> Any:
        found = self._function(*self._args, **self._kwargs)
        if not hasattr(found, "__await__") and not inspect.isawaitable(found):
            raise UnsuitableFunction(
                f"async_to_sync expects an async function, but {self.name} returned "
                f"{type(found).__name__}, which cannot be awaited; call it directly. If it has to be made "
                "on the event loop, call it in an async function"
            )
        return found

    async def _with_handled(self, handled: BaseException) -> Any:
        """Await as if in the `except` clause that handles `handled`, so `sys.exc_info()` finds it."""
        traceback, context = handled.__traceback__, handled.__context__
        try:
            raise handled
        except BaseException:
            # As they were before the line above.
            handled.__traceback__, handled.__context__ = traceback, context
            return await self._awaitable()
