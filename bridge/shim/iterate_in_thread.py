"""`iterate_in_thread`: iterators and generators for async code, advanced and closed in one thread.

    ThreadIterator (loop's thread)   asks, hands out, closes
    _Run           (the thread)      makes the iterator, advances it, closes it; puts into `out`

In a pool, the whole iteration is one job: at the bound its thread waits, and lends its slot. On an
`OwnThread`, which has other calls to run meanwhile, each refill is a job of its own. It ends at the
bound, or as soon as another call waits for the thread.

Who waits, and what ends the wait:

- *The task, for an item or for the end of the closing.* The run closes `out` on every way out,
  whatever was raised (BaseException too), and so does a call that is refused. A refill that ends
  early wakes the task, which submits the next. A `next()` that never returns keeps the task waiting,
  as it must; cancelling it ends that.
- *The thread, for room.* See `engines.handoff`: the task takes, or turns away (`aclose`, cancelled,
  collected as garbage); or the loop ends, which the thread looks for. In each case it closes the
  iterator. In a forked child there is neither.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ..engines.handoff import Outbound
from ..engines.ports import Port
from ..engines.thread_pool import ThreadPool, Worker, start_thread
from ..exceptions import LoopGone, UnsuitableFunction, UsageError
from .arguments import require_pool, require_read_ahead
from .own_thread import BoundCall, OwnThread, port_of_caller
from .thread_call import ThreadCall, name_of
from .to_async import default_pool, may_never_have_a_turn

logger = logging.getLogger("bridge.shim")

T = TypeVar("T")

# How many items a thread may be ahead of the task: enough that most items need no change of threads,
# few enough that rows of a database or lines of a file do not matter.
DEFAULT_READ_AHEAD = 16

_NONE: Any = object()


class _TurnedAway(BaseException):
    """Nobody takes items any more. No `Exception`, so that no user's code is given the idea to catch it."""


class _Run:
    """The iteration, in its thread. It does not know the `ThreadIterator`, so that can be collected.

    Attributes:
        port: the task's loop.
        out: where items go.
        context: what all of it runs in.
        made: how many items there have been.
        refilling: a refill is on its way or at work; on an `OwnThread`.
        error: what the iteration has ended by, to be raised after the items before it.
        close_error: what closing the iterator has raised.
        close_awaited: a task waits for that.
        closers: flags of the tasks that wait until the iterator has been closed.
        call: what runs in the thread, or will.
    """

    __slots__ = (
        "_advancing",
        "_closes",
        "_convert",
        "_iterator",
        "_make",
        "call",
        "close_awaited",
        "close_error",
        "closers",
        "context",
        "error",
        "made",
        "out",
        "port",
        "refilling",
        "worker",
    )

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        port: Port,
        read_ahead: int,
        closes: bool,
        convert: Callable[[Any], Any] | None,
    ) -> None:
        self._make: Callable[[], Iterable[Any]] | None = make
        self._convert = convert
        self._closes = closes
        self._iterator: Iterator[Any] | None = None
        self._advancing = False
        self.port = port
        self.out = Outbound(port, read_ahead)
        self.context: Context = copy_context()
        self.made = 0
        self.refilling = False
        self.error: BaseException | None = None
        self.close_error: BaseException | None = None
        self.close_awaited = False
        self.closers: list[Any] = []
        self.call: ThreadCall | None = None
        self.worker: Worker | None = None

    # -- in the thread

    def run_through(self) -> None:
        """Iterate to the end, or until nobody takes items any more."""
        try:
            while (item := self._next()) is not _NONE:
                full = self.out.put([item], 1)
                del item  # the task's now
                worker = self.worker
                if worker is not None:
                    worker.note_streaming()
                if full:
                    if worker is not None:
                        worker.lend_slot()
                    self.out.wait()
        except (_TurnedAway, LoopGone):
            pass  # nobody is left to take items
        finally:
            self.finish()

    def refill(self, others_wait: Callable[[], bool]) -> None:
        """Iterate until the bound is reached or another call wants the thread."""
        try:
            while (item := self._next()) is not _NONE:
                full = self.out.put([item], 1)
                del item
                if full or others_wait():
                    self.call = None  # which refers to this in turn
                    self.refilling = False
                    self.out.put([], 0)  # the task may have come to rely on this refill
                    return
        except (_TurnedAway, LoopGone):
            pass
        except BaseException:
            self.finish()
            raise
        self.finish()

    def _next(self) -> Any:
        """The next item; `_NONE` at the end, or if the iterable raises, which `error` then is."""
        self._advancing = True
        try:
            iterator = self._iterator
            if iterator is None:
                assert self._make is not None
                iterator = self._iterator = iter(self._make())
                self._make = None
            item = next(iterator, _NONE)
            if self._convert is not None and item is not _NONE:
                item = self._convert(item)
        except BaseException as error:
            self.error = error
            return _NONE
        finally:
            self._advancing = False
        if item is not _NONE:
            self.made += 1
        return item

    def finish(self) -> None:
        """Close the iterator, and let the task know. Once, whoever comes first."""
        if self._advancing:
            return  # it waits for the task that asks: then the refill that runs does it, later
        iterator, self._iterator = self._iterator, None
        self._make = self.call = None
        try:
            if self._closes and isinstance(iterator, Generator):
                iterator.close()
        except BaseException as error:
            if self.close_awaited:
                self.close_error = error
            else:
                logger.warning("closing %r raised, and nobody waits for it", iterator, exc_info=True)
        del iterator
        self.over()

    def over(self) -> None:
        """Let the task know that there is nothing more to come. In the thread, or instead of it."""
        self.out.close()
        # After that, as who waits looks after having left its flag: one of the two sees the other.
        for flag in self.closers:
            try:
                self.port.wake(flag)
            except LoopGone:
                pass  # nobody is left to tell

    # -- on the loop's thread

    def turn_away(self) -> None:
        """Take nothing more; what the iterator waits for on the loop is cancelled."""
        self.out.abort(_TurnedAway())
        call = self.call
        if call is not None and not call.done:
            for started in tuple(call.started or ()):
                started.cancel()


class _PoolCall(ThreadCall):
    """A whole iteration, in a worker of a pool."""

    iteration: _Run

    def run(self, worker: Worker | None) -> None:
        self.iteration.worker = worker
        super().run(worker)

    def fail(self, error: BaseException) -> None:
        """It will not run."""
        self.iteration.error = error
        self.iteration.over()


class _Refill(BoundCall):
    """A part of an iteration, on an `OwnThread`."""

    iteration: _Run

    def fail(self, error: BaseException) -> None:
        """It will not run."""
        self.iteration.error = error
        self.iteration.over()
        super().fail(error)


class ThreadIterator(AsyncIterator[T]):
    """What `iterate_in_thread` returns: an async iterator with `aclose()`, to be used by one task at a time.

    Args:
        make: gives the iterable, in the thread.
        place: a pool, or the thread.
        read_ahead: how many items may be made before they are asked for.
        closes: whether the end of this iteration is the end of the iterator as well. If not, it also
            goes on after a task was cancelled that waited for an item.
        convert: what to make of each item, in the thread.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[T]],
        place: ThreadPool | OwnThread,
        read_ahead: int,
        closes: bool = True,
        convert: Callable[[Any], T] | None = None,
    ) -> None:
        self._make = make
        self._place = place
        self._read_ahead = read_ahead
        self._closes = closes
        self._convert = convert
        self._run: _Run | None = None
        self._items: deque[T] = deque()
        self._handed = 0
        self._in_hand = 0
        self._waiting = False
        self._ended = False

    def __aiter__(self) -> ThreadIterator[T]:
        return self

    @property
    def reads_ahead(self) -> bool:
        """Whether there may be items that have been made and that nobody has asked for."""
        return self._run is not None and self._read_ahead > 0 and not self._ended

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            StopAsyncIteration: there is none.
            PoolError: the pool, or the thread, does not take the iteration.
            UsageError: another task waits for an item, or another loop has begun the iteration.
            BaseException: what the iterable raises.
        """
        if self._ended:
            raise StopAsyncIteration
        if self._waiting:
            raise UsageError("expected one task at a time to iterate; another one waits for an item already")
        run = self._run or self._begin()
        self._require_loop()
        if self._in_hand:
            self._in_hand = 0
            run.out.dealt_with(1)
        items = self._items
        if not items and not await self._more(run):
            raise StopAsyncIteration
        item = items.popleft()
        self._handed += 1
        self._in_hand = 1
        if not run.refilling and self._read_ahead and run.made - self._handed <= self._read_ahead // 2:
            try:
                self._refill(run)
            except Exception:
                pass  # the thread takes no more: that is for who asks for an item that is not there
        return item

    def _require_loop(self) -> None:
        if not self.begun_here:
            raise UsageError("this iteration was begun on another event loop; iterate on one loop")

    @property
    def context(self) -> Context | None:
        """What the iteration runs in, once it has begun."""
        return None if self._run is None else self._run.context

    @property
    def begun_here(self) -> bool:
        """Whether the loop that runs the caller is the one that has begun the iteration."""
        return self._run is not None and self._run.port.is_current()

    def _begin(self) -> _Run:
        port = port_of_caller()
        run = _Run(self._make, port, self._read_ahead, self._closes, self._convert)
        place = self._place
        if isinstance(place, OwnThread):
            self._run = run
            return run
        run.refilling = True  # all the time
        call = _PoolCall(run.run_through, (), {}, run.context, port)
        call.pool = place
        call.iteration = run
        run.call = call
        place.submit(call)
        self._run = run
        if may_never_have_a_turn(place) and place.cancel(call):
            # It would have a worker for the whole iteration. So nesting does not exhaust a pool.
            start_thread(run_alone, call, "bridge-shim-iteration")
        return run

    def _refill(self, run: _Run) -> None:
        place = self._place
        if run.out.closed or not isinstance(place, OwnThread):
            return
        call = _Refill(run.refill, (lambda: place.busy,), {}, run.context, run.port)
        call.claims = [None]
        call.iteration = run
        run.call = call
        run.refilling = True
        try:
            place.submit(call)
        except BaseException:
            run.refilling = False
            raise

    async def _more(self, run: _Run) -> bool:
        """Wait for items; return whether there are any."""
        out = run.out
        self._waiting = True
        try:
            while True:
                flag = out.park()
                if flag is not None:
                    # Looked at only now: a refill that has ended meanwhile has raised the flag.
                    if not run.refilling:
                        self._refill(run)
                    await flag
                    continue
                taken = out.take()
                if taken:
                    self._items.extend(taken)
                    return True
                if out.closed or out.aborted:
                    break
        except BaseException:
            if self._closes:
                self._turn_away(run)
            raise
        finally:
            self._waiting = False
        self._ended = True
        error, run.error = run.error, None
        if error is None or out.aborted:
            return False
        try:
            if isinstance(error, (StopIteration, StopAsyncIteration)):
                raise RuntimeError(f"the iterable raised {type(error).__name__}") from error
            raise error
        finally:
            del error, self, run  # the traceback refers to this frame

    def _turn_away(self, run: _Run) -> None:
        """End the iteration, without waiting for it."""
        self._ended = True
        self._items.clear()
        run.turn_away()
        place = self._place
        if run.out.closed:
            return
        if isinstance(place, OwnThread):
            self._close_there(run, place)
        elif run.call is not None and place.cancel(run.call):
            run.over()  # it never began

    def _close_there(self, run: _Run, place: OwnThread) -> None:
        call = _Refill(run.finish, (), {}, run.context, run.port)
        call.claims = [None]
        call.iteration = run
        call.must_run = True
        try:
            place.submit(call)
        except Exception:
            run.over()  # the thread is gone, and with it the iterator

    async def aclose(self) -> None:
        """End the iteration: wait until the generator has been closed in its thread.

        Raises:
            BaseException: what the generator raises when it is closed.
            UsageError: another loop has begun the iteration.
        """
        run = self._run
        if run is None or run.out.closed:
            self._ended = True
            return
        self._require_loop()
        run.close_awaited = True
        if not self._ended:
            self._turn_away(run)
        flag = run.port.flag()
        run.closers.append(flag)
        if not run.out.closed:
            await flag
        error, run.close_error = run.close_error, None
        if error is not None:
            try:
                raise error
            finally:
                del error, self, run

    async def __aenter__(self) -> ThreadIterator[T]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # The garbage collector may call this in any thread at any point, so no lock is taken here.
        run = getattr(self, "_run", None)
        if run is None or self._ended:
            return
        place = self._place
        if isinstance(place, OwnThread):
            if self._closes:
                place.let_go(run, _finish)
            return
        try:
            run.port.call_soon(run.turn_away)
        except LoopGone:
            pass  # which the thread finds out by itself


def _finish(run: _Run) -> None:
    run.context.run(run.finish)


def run_alone(call: ThreadCall) -> None:
    """Run a call in a thread that was started for it alone."""
    call.run_in_turn()


def iterate_in_thread(
    iterable: Iterable[T],
    *,
    pool: ThreadPool | None = None,
    read_ahead: int = DEFAULT_READ_AHEAD,
    thread: OwnThread | None = None,
) -> ThreadIterator[T]:
    """Iterate over a blocking iterable or generator in async code.

        async for row in iterate_in_thread(export_rows()):
            await send(row)

    One worker of the pool makes the iterator, advances it and closes it, in one copy of the caller's
    Context; it begins when the first item is asked for. What the iterable raises is raised after the
    items before it. While the worker waits for the task it lends its slot to others, if the pool allows
    that. One made with `streams=0`, or for a single thread, does not: then the task must not wait for
    other calls in that pool before the iteration is over.

    A generator is closed in that thread when the iteration ends early: `aclose()` (which waits for
    it), the end of the last reference, or the cancellation of a task that waits for an item. Other
    iterators, such as files, are left open: they are their owner's.

    Args:
        iterable: what to iterate over.
        pool: whose worker does it. Default: the one that `sync_to_async` uses for what is not
            thread-sensitive, of 40 threads.
        read_ahead: how many items the thread may make before they are asked for, 16 by default. 0: an
            item is made only when it is asked for.
        thread: an `OwnThread` that does it instead. It runs other calls in between.

    Returns:
        An async iterator with `aclose()`, which `async with` calls at its end; for one task at a time, on
        asyncio, uvloop and trio.

    Raises:
        UsageError: `iterable` cannot be iterated over, or the options are wrong.
    """
    if pool is not None and thread is not None:
        raise UsageError("expected a pool or a thread for the iteration; got both")
    require_pool(pool)
    require_read_ahead(read_ahead)
    if not hasattr(type(iterable), "__iter__") and not hasattr(type(iterable), "__getitem__"):
        raise _unsuitable(iterable)
    return ThreadIterator(lambda: iterable, thread or pool or default_pool(), read_ahead)


def _unsuitable(given: object) -> UsageError:
    if inspect.isgeneratorfunction(given):
        return UnsuitableFunction(
            f"iterate_in_thread expects an iterable, but {name_of(given)} is a function that makes one; "
            "call it"
        )
    hint = "; iterate over it by `async for`, it is async" if hasattr(given, "__aiter__") else ""
    return UsageError(f"iterate_in_thread expects an iterable; got {type(given).__name__}{hint}")
