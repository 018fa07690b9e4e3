"""One async iterator that a task goes through for a thread: how the two meet, and how it ends.

    a thread                 begin it at the first item, take items, end it; meanwhile run what comes back
    task (loop's thread)     go through the async iterator, a few items ahead, then close it

One task does all that happens to the iterator, so cancel scopes, `async with` blocks and context
variables of a generator work as they do under `async for`. Each crossing carries as many items as
there are: the thread is let through when the task has to wait or the loop has turned, and the task
goes on when half of what it may read ahead has been taken.

Who waits, and what ends the wait:

- *The thread, for an item or for the end.* The task puts an item or finishes, on every way out of
  the iterator: its end, any exception (BaseException too), cancellation, its destruction with the
  loop. Once a second the thread looks whether the loop still runs: if not, and in a forked child, the
  wait ends with `LoopGone`. If the thread is ended itself (KeyboardInterrupt), the task is cancelled
  and given a moment to end.
- *The task, for room.* The thread takes items, or ends the iteration: by `close`, or by letting go of
  the iterator, which its finalizer tells the loop. A thread that does neither keeps the task waiting.
- *A task whose thread-sensitive call belongs to the thread* waits until the thread waits for an item
  or for the end; see `Iteration.offer`. When the iteration ends or is let go, the call goes elsewhere.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, Callable
from threading import get_ident
from typing import Any

from ..engines import asgiref_notes, contexts, waiting_thread
from ..engines.gates import Latch, native, new_gate
from ..engines.home import home
from ..engines.hosts import Displaceable, bound_call
from ..engines.ports import Place, in_trio_task
from ..engines.thread_pool import current_worker
from ..exceptions import LoopGone, UsageError, WouldDeadlock
from .loop_call import NOBODY, LoopWait, enter_task
from .thread_call import name_of

logger = logging.getLogger("bridge.shim")

_UNSET: Any = object()
_get_running_loop = asyncio._get_running_loop
_getpid = os.getpid


class Iteration(LoopWait):
    """What the threads and the task of one iteration share.

    The lock guards the items, who waits for what, and who is inside; it is held for a few
    instructions at a time. What begins with `_task` or runs "on the loop's thread" is that thread's.

    Args:
        iterable: what to go through.
        read_ahead: how many items the task may be ahead.
        patient: whether thread-sensitive calls of the iterator's code wait for the thread while it
            does not wait; otherwise they go elsewhere then.
        place: where the task runs.

    """

    __slots__ = (
        "_asked",
        "_at_iterator",
        "_before",
        "_begun",
        "_closing",
        "_context",
        "_inside",
        "_items",
        "_iterable",
        "_latch",
        "_let_go",
        "_low",
        "_name",
        "_opening",
        "_parked",
        "_patient",
        "_pid",
        "_read_ahead",
        "_tokens",
    )

    ident: int

    def __init__(self, iterable: AsyncIterable[Any], read_ahead: int, patient: bool, place: Place) -> None:
        LoopWait.__init__(self, place)
        self._name = name_of_iterable(iterable)
        self._iterable: AsyncIterable[Any] | None = iterable
        self._read_ahead = read_ahead
        self._low = read_ahead // 2
        self._patient = patient
        self._pid = _getpid()
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._before: contextvars.Context | None = None  # what the context was when it last was the thread's
        self._tokens: dict[contextvars.ContextVar[Any], contextvars.Token[Any]] = {}
        self._items: deque[Any] = deque()
        self._begun = False  # the loop has been told to begin
        self._asked = True  # the thread waits for an item, which may be made whatever was made ahead
        self._inside = False  # a thread is in `take` or `close`, and waits
        self._parked: Any = None  # the task's flag while it waits for room
        self._latch: Latch | None = None  # for a thread that closes while another one is inside
        self._closing = (
            False  # nothing more is wanted; set on the loop's thread, or by a thread that is ended
        )
        self._let_go = False  # and nobody is there to be told
        self._at_iterator = False  # the task is inside the iterator's code
        self._opening = False  # the gate is to be opened in the loop's next turn

    @property
    def name(self) -> str:
        """The iterable's, for messages."""
        return self._name

    def over_unbegun(self) -> None:
        self._over()

    # -- in the thread

    def take(self) -> Any:
        """The next item, waiting for it; see `LoopIterator.__next__`."""
        if self._pid != _getpid():
            return self._end_of_child()  # before the lock is touched: who held it may not exist here
        with self._lock:
            if self._items and self._read_ahead:
                return self._pop()
        return self._wait_for_item()

    def _pop(self) -> Any:
        # With the lock held, so that the flag of a task is raised once.
        items = self._items
        item = items.popleft()
        self._asked = False
        if self._parked is not None and len(items) <= self._low and len(items) < self._read_ahead:
            self._wake_task()
        return item

    def _wake_task(self) -> None:
        flag, self._parked = self._parked, None
        try:
            self.place.port.wake(flag)
        except LoopGone:
            pass  # the thread finds out when it waits

    def _wait_for_item(self) -> Any:
        if self._closing:
            raise StopIteration
        self._enter()
        try:
            if not self._begun:  # only now that the thread is there to be called
                self._begun = True
                self.place.call_soon(self._begin)
            item = self._next_item()
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._exit()
        if item is _UNSET:
            self._end()
        elif not self._read_ahead:
            self._carry_back()
        return item

    def _next_item(self) -> Any:
        while True:
            with self._lock:
                if self._items:
                    return self._pop()
                if self.done or self._closed:
                    return _UNSET
                self._asked = True
                if self._parked is not None:
                    self._wake_task()
            self._pause()

    def _end(self) -> None:
        """There are no more items: raise what the iterator has raised, or `StopIteration`."""
        if not self._closed:  # the task was destroyed
            self.leave()
        self._carry_back()
        if self._closing:  # what that has raised is for whoever closes
            raise StopIteration
        error, self._error = self._error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error, self  # the traceback refers to this frame

    def _end_of_child(self) -> Any:
        if self.done and not self._closing:  # all of it was made before, and is here as well
            self._closed = True
            return self._items.popleft() if self._items else self._end()
        if self._closed:
            raise StopIteration
        self._closed = True
        self._items.clear()
        raise LoopGone(
            f"the event loop that runs {self.name} belongs to the process that this one was forked from"
        )

    def close(self) -> None:
        """End it; see `LoopIterator.close`."""
        if self._pid != _getpid():
            self._closed = True  # the parent's goes on
            self._items.clear()
            self._error = None
            return
        if self._closed or self.done:
            with self._lock:
                self._items.clear()
                if not self._closing:
                    self._error = None  # it would not have come about but for reading ahead
            self._carry_back()
            return
        other = self._enter(closes=True)
        try:
            with self._lock:
                begins, self._closing = not self._closing, True
                self._items.clear()
            if not self._begun:
                self._begun = True
                self._over()
            elif begins:
                self.place.call_soon(self._end_task)
            if other is None:
                while not self.done:
                    self._pause()
            else:
                # The thread inside looks after the task, until the end of either.
                other.wait(None, self.place.alive)
        except LoopGone as error:
            self._give_up(error)
            return  # nothing is left to be closed
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            if other is None:
                self._exit()
        self._carry_back()
        failure, self._error = self._error, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure, self  # the traceback refers to this frame

    def _enter(self, closes: bool = False) -> Latch | None:
        """The calling thread is going to wait.

        Returns:
            If it `closes` while another thread waits: what is set at the end.

        Raises:
            WouldDeadlock: it would wait for itself.
            UsageError: another one waits.
        """
        refuse_loop(self.name)
        ident = get_ident()
        with self._lock:
            if self._inside:
                if self.ident == ident:
                    raise WouldDeadlock(
                        f"this thread waits for an item of {self.name} already, and runs a function for it "
                        "meanwhile; that function cannot wait for the next item or for the end"
                    )
                if not closes:
                    raise UsageError(
                        f"another thread waits for the next item of {self.name}; "
                        "let one thread at a time ask for items"
                    )
                if self._latch is None:
                    self._latch = Latch()
                    if self._closed:
                        self._latch.set()
                return self._latch
            self._inside = True
            if self.ident != ident:
                # Under gevent, a gate fits the kind of thread that waits at it. Whoever opens the old one
                # has done before what the thread looks at below.
                self.ident = ident
                self._gate = new_gate(native("allocate_lock"))
        self.outer, home.wait = home.wait, self
        worker = current_worker()
        if worker is not None:
            worker.lend_slot()  # others may be needed for what it waits for
        return None

    def _exit(self) -> None:
        home.wait = self.outer
        self.outer = None
        self._silence = None
        with self._lock:
            self._inside = False
            jobs: deque[tuple[Displaceable, float]] = deque()
            if not self._patient:
                jobs, self._jobs = self._jobs, jobs
        for job, _ in jobs:
            job.displaced()

    def _pause(self) -> None:
        """Run what has been offered, then wait until something may have changed."""
        if self._jobs:
            self.run_jobs()
        # As an attribute of its module, which is where tests make it short.
        elif not self._gate.acquire(True, waiting_thread.LOOK) and not self.done:
            self._look()

    def _give_up(self, error: BaseException) -> None:
        """The thread is being ended, or the loop has ended: cancel the task, and give it a moment."""
        if self.done:
            return
        self._closing = True
        self._items.clear()
        self.leave()
        if isinstance(error, LoopGone):
            return
        self._cancel_and_wait(self._cancel)

    def _carry_back(self) -> None:
        """Set in the thread what the iterator's code has set since the last time."""
        context, before = self._context, self._before
        if context is None or before is None:
            return
        if self.done:
            self._context = self._before = None  # they refer to this
        else:
            self._before = context.copy()
        skipped = asgiref_notes.variable, bound_call, asgiref_notes.SyncToAsync.deadlock_context
        for variable, value in context.items():
            old = before.get(variable, _UNSET)
            if old is value or variable in skipped:
                continue
            mover = contexts.movers.get(type(value))
            if mover is not None:
                value = mover(value)
            token = variable.set(value)
            if old is _UNSET and token.old_value is contextvars.Token.MISSING:
                self._tokens[variable] = token
        for variable, token in list(self._tokens.items()):
            if variable not in context:  # reset by the one who had set it
                del self._tokens[variable]
                try:
                    variable.reset(token)
                except ValueError:
                    pass  # of another thread's Context: it keeps what it has

    # -- from any thread

    def offer(self, job: Displaceable) -> bool:
        """Have the thread run a job, when it next waits; `False` if it will not."""
        with self._lock:
            if self._closed or not (self._inside or self._patient):
                return False
            self._jobs.append((job, time.monotonic()))
        self.open()
        return True

    def let_go(self) -> None:
        """Nobody has the iterator any more. Called by a finalizer, so it takes no lock."""
        if self.done or self._closed or self._pid != _getpid():
            self._context = self._before = None  # they refer to this
            return
        try:
            self.place.call_soon(self._end_unseen)
        except LoopGone:
            pass

    # -- on the loop's thread

    def _begin(self) -> None:
        if self._closed:  # the thread has been ended meanwhile
            self._over()
            return
        self.loop_ident = get_ident()
        coroutine = self._run()
        assert self._context is not None
        try:
            self._task = self.place.port.start(coroutine, self._context)
        except BaseException as error:
            coroutine.close()
            self._error = error
            self._over()

    def _end_unseen(self) -> None:
        self._let_go = True
        self._closing = True
        self.leave()
        self._end_task()

    def _end_task(self) -> None:
        """Have the task close the iterator and finish, now that `_closing` is set."""
        with self._lock:
            self._items.clear()
            flag, self._parked = self._parked, None
        if flag is not None:
            self.place.port.raise_flag(flag)
        elif self._at_iterator and self._task is not None:
            self._task.cancel()

    def _cancel(self) -> None:
        """Cancel the task, whatever it does."""
        if self._task is None:
            self._over()
        else:
            self._task.cancel()

    def cancel(self) -> None:
        """Cancel the task; asked for by the task whose job has begun the iteration (see `ThreadCall`)."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        enter_task(self)
        self._before = contextvars.copy_context()
        self._owners.note(self)
        try:
            await self._go_through()
        except GeneratorExit:
            # The task is being destroyed, by a finalizer, somewhere: nothing can be awaited any more, and
            # no lock be taken.
            self._error = LoopGone(f"the event loop that ran {self.name} has ended")
            self._context = None
            self.finish()
            return
        except BaseException as error:
            # None of them may reach the loop: SystemExit would end it, and with it all others' tasks.
            self._error = error
        self._owners.forget(self)
        self._iterable = None
        self._owners = NOBODY
        self._context = contextvars.copy_context()  # before Python 3.11 tasks run in one of their own
        self._over()

    async def _go_through(self) -> None:
        """Put what the iterator gives, until its end or until nothing more is wanted."""
        assert self._iterable is not None
        iterator = aiter(self._iterable)
        self._iterable = None
        take: Callable[[], Any] = iterator.__anext__
        step = take
        try:
            while not self._closing:
                self._at_iterator = True
                full = self._put(await step())
                self._at_iterator = False
                step = take
                if full:
                    try:
                        await self._room()
                    except BaseException as error:
                        step = self._thrower(iterator, error)
        except StopAsyncIteration:
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            if not _is_cancellation(error):
                raise  # the iterator's, which has ended by it
            await self._close(iterator)
            if not self._closing:
                raise
            return
        finally:
            self._at_iterator = False
        await self._close(iterator)

    def _thrower(self, iterator: Any, error: BaseException) -> Callable[[], Any]:
        """What to do after the wait for room was ended by an exception, if not to raise it."""
        throw = getattr(iterator, "athrow", None)
        if self._closing or throw is None or not _is_cancellation(error):
            raise error
        # As if the generator's `yield` had been cancelled: it may have set a time-out around it, or a
        # task group, and has to see what came of it.
        return functools.partial(throw, error)

    async def _close(self, iterator: Any) -> None:
        task = asyncio.current_task() if self.place.port.loop is not None else None
        if task is not None and self._closing and sys.version_info >= (3, 11):
            task.uncancel()  # that was only to get the iterator to its end
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()

    def _put(self, item: Any) -> bool:
        """Add an item; return whether the task has to wait for room before the next one."""
        with self._lock:
            if self._closing:
                return False
            items = self._items
            if not self._read_ahead and sys.version_info < (3, 11):
                self._context = contextvars.copy_context()
            items.append(item)
            full = len(items) >= self._read_ahead + self._asked
            if not self._asked:
                return full
        if full:
            self.open()
        elif not self._opening:
            # Not at once: the iterator may have more, and the thread had better find it all.
            self._opening = True
            loop = self.place.port.loop
            (self.place.port.call_soon if loop is None else loop.call_soon)(self._open)
        return full

    def _open(self) -> None:
        self._opening = False
        self.open()

    async def _room(self) -> None:
        """Wait until the next item may be made."""
        while not self._closing:
            with self._lock:
                if len(self._items) < self._read_ahead + self._asked:
                    return
                flag = self._parked = self.place.port.flag()
            try:
                await flag
            except BaseException:
                self._parked = None
                raise

    def _over(self) -> None:
        """The task is over. What tasks that it has left behind offer goes elsewhere."""
        error = self._error
        # That was asked for. A task group that a generator is closed in puts GeneratorExit in a group.
        if (
            error is not None
            and self._closing
            and (_is_cancellation(error) or _is_made_of(error, GeneratorExit))
        ):
            self._error = error = None
        if self._let_go and error is not None:
            self._error = self._context = self._before = None
            logger.error(
                "closing %s, which was not gone through to its end, raised", self.name, exc_info=error
            )
        self.leave()
        self.finish()
        with self._lock:
            latch = self._latch
        if latch is not None:
            latch.set()


def name_of_iterable(iterable: object) -> str:
    """What an async iterable is called in messages."""
    return name_of(iterable) if hasattr(iterable, "__qualname__") else type(iterable).__qualname__


def refuse_loop(name: str) -> None:
    """Raise `WouldDeadlock` if an event loop runs in the calling thread."""
    if _get_running_loop() is not None or ("trio" in sys.modules and in_trio_task()):
        raise WouldDeadlock(
            f"{name} cannot be waited for in a thread in which an event loop runs: the loop would wait for "
            "itself. In async code use `async for` and `async with`; call the blocking code that got here by "
            "`await sync_to_async(function)(...)`"
        )


def _is_cancellation(error: BaseException) -> bool:
    """Whether that is how the async library ends a task, alone or in a group."""
    trio: Any = sys.modules.get("trio")
    return _is_made_of(
        error, asyncio.CancelledError if trio is None else (asyncio.CancelledError, trio.Cancelled)
    )


def _is_made_of(error: BaseException, kinds: Any) -> bool:
    if isinstance(error, kinds):
        return True
    inner = getattr(error, "exceptions", None)  # of a group
    return isinstance(inner, tuple) and bool(inner) and all(_is_made_of(each, kinds) for each in inner)
