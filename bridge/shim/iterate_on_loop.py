"""`iterate_on_loop`: async iterators and generators for blocking code; see `loop_iteration` for how."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from ..engines.gates import native
from ..engines.loop_thread import LoopFactory
from ..engines.ports import Place
from ..exceptions import UnsuitableFunction, UsageError
from .arguments import require_read_ahead
from .loop_call import find_loop
from .loop_iteration import Iteration, name_of_iterable, refuse_loop
from .thread_call import name_of

T = TypeVar("T")

# So many items are made before they are asked for. Enough that both sides work in bursts (a crossing
# costs some 30 items' worth of work), few enough that little is made in vain when the thread stops early.
DEFAULT_READ_AHEAD = 16


def iterate_on_loop(
    async_iterable: AsyncIterable[T],
    *,
    read_ahead: int = DEFAULT_READ_AHEAD,
    loop_factory: LoopFactory | None = None,
) -> LoopIterator[T]:
    """Go through an async iterator from blocking code: its items come from a task on an event loop.

        for row in iterate_on_loop(cursor):
            ...

        with iterate_on_loop(events()) as items:  # closed when the block is left
            first = next(items)

    The task is started at the first item, on the loop that `async_to_sync` would use in that thread,
    with a copy of its context variables. It does everything that happens to the iterator, also its
    closing. Until then nothing happens, so an iterator may be made in a task and be given to a thread.

    Context variables that the iterator's code has set come back to the thread at the end; with
    `read_ahead=0`, with each item. While the thread waits for an item, thread-sensitive
    `sync_to_async` calls of the iterator's code run in it; at other times they wait until it does.

    Args:
        async_iterable: what has `__aiter__`: an async generator, a stream, a cursor.
        read_ahead: how many items may be made before they are asked for. With 0, each is made only
            when it is asked for, as under `async for`.
        loop_factory: makes the loop to run on; as for `async_to_sync`.

    Returns:
        An iterator with `close()`, which is a context manager as well; see `LoopIterator`.

    Raises:
        UnsuitableFunction: `async_iterable` is a function; call it.
        UsageError: it cannot be iterated by `async for`, or `read_ahead` is not a number from 0.
    """
    return LoopIterator(async_iterable, read_ahead, functools.partial(find_loop, factory=loop_factory))


class LoopIterator(Iterator[T]):
    """What `iterate_on_loop` returns: an iterator whose items are made on an event loop.

    It may go from thread to thread, but one at a time may wait for an item. What has not been gone
    through to its end ought to be closed; otherwise that happens when it is garbage collected, and
    what its closing raises is logged.

    Args:
        async_iterable, read_ahead: as for `iterate_on_loop`.
        find: gives the loop for the iterable, at the first item.
        patient: whether thread-sensitive calls of the iterator's code wait for a thread that does not
            wait for an item. Otherwise they go where they would if no thread waited.
    """

    __slots__ = ("__weakref__", "_closed", "_find", "_iterable", "_iteration", "_lock", "_options")

    def __init__(
        self,
        async_iterable: AsyncIterable[T],
        read_ahead: int,
        find: Callable[[object], Place],
        patient: bool = True,
    ) -> None:
        self._iteration: Iteration | None = None  # first, since `__del__` looks at it
        require_read_ahead(read_ahead)
        if not hasattr(async_iterable, "__aiter__"):
            raise _unsuitable(async_iterable)
        self._iterable: AsyncIterable[T] | None = async_iterable
        self._options = read_ahead, patient
        self._find = find
        self._closed = False
        self._lock = native("allocate_lock")()

    def __iter__(self) -> LoopIterator[T]:
        return self

    def __next__(self) -> T:
        """The next item, waiting for it.

        Raises:
            StopIteration: there is none, or the iterator has been closed.
            WouldDeadlock: an event loop runs in the calling thread, and the item has to be waited for;
                or the iterator's own code asks for it.
            UsageError: another thread waits for an item.
            LoopGone: the loop has ended.
            asyncio.CancelledError: the task was cancelled, as all are when `asyncio.run` ends.
            BaseException: what the iterator has raised, after the items before.
        """
        iteration = self._iteration
        if iteration is None:
            iteration = self._begin()
        return iteration.take()  # type: ignore[no-any-return]

    def _begin(self) -> Iteration:
        iterable = self._iterable
        if iterable is None:
            if self._iteration is None:
                raise StopIteration  # it has been closed
            return self._iteration  # begun by another thread just now
        refuse_loop(name_of_iterable(iterable))
        place = self._find(iterable)
        with self._lock:
            if self._iteration is not None:
                return self._iteration
            if self._closed:
                raise StopIteration
            read_ahead, patient = self._options
            self._iteration = iteration = Iteration(iterable, read_ahead, patient, place)
            self._iterable = None
        return iteration

    def close(self) -> None:
        """End the iteration: close the async iterator in its task, and wait for that.

        A generator that is at a `yield` gets `GeneratorExit` there (`aclose`); one that awaits
        something is cancelled. Items that were made ahead are dropped. If another thread waits for an
        item, its wait ends as well. Closing again does nothing.

        Raises:
            WouldDeadlock: an event loop runs in the calling thread, or the iterator's own code calls
                this in a thread: they would wait for themselves.
            BaseException: what the closing has raised.
        """
        with self._lock:
            iteration = self._iteration
            if iteration is None:
                self._closed = True
                self._iterable = None
        if iteration is not None:
            iteration.close()

    def __enter__(self) -> LoopIterator[T]:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        iteration = self._iteration
        if iteration is not None:
            iteration.let_go()

    def __repr__(self) -> str:
        iteration = self._iteration
        if iteration is None:
            return f"<iterate_on_loop: {'closed' if self._closed else 'not begun'}>"
        return f"<iterate_on_loop of {iteration.name}{': ended' if iteration.done else ''}>"


def _unsuitable(given: Any) -> UsageError:
    name = name_of(given)
    if inspect.isasyncgenfunction(given):
        return UnsuitableFunction(
            f"iterate_on_loop expects an async iterator, but {name} is a function that makes one; call it"
        )
    if inspect.iscoroutine(given):
        given.close()  # or Python would complain of it as well
        return UsageError(
            "iterate_on_loop expects an async iterator, but got a coroutine; get what it returns by "
            "async_to_sync(function)(...) first"
        )
    remedy = "; it is a plain iterable, so go through it directly" if hasattr(given, "__iter__") else ""
    return UsageError(
        f"iterate_on_loop expects an async iterator, something with __aiter__; "
        f"got {type(given).__name__}{remedy}"
    )
