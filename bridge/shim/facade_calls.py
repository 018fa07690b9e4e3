"""Calls of an object behind an async facade: where they run, and what a call can be used for.

    Held          the object; dropped in the thread that it belongs to
    OwnPlace      calls run in one thread that the facade has to itself
    PoolPlace     calls run in any worker of a pool
    PendingCall   a call that has not begun: `await` it, or use it in `async with` or `async for`

Who waits, and what ends the wait: see `own_thread` and `sync_to_async`. What a context manager has
entered it also leaves: a cancelled task gives no `__exit__` up, and what was entered for a task that
has been cancelled meanwhile is left again.
"""

from __future__ import annotations

import logging
import sys
import warnings
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any, Protocol, TypeVar

from ..engines import asgiref_notes
from ..engines.hosts import innermost_host
from ..engines.ports import Port
from ..engines.running import shared_port
from ..engines.thread_pool import ThreadPool, start_thread
from ..exceptions import PoolClosed, UsageError
from .iterate_in_thread import ThreadIterator
from .members import Kind, abilities_of, kind_of
from .own_thread import OwnThread, bound_call, outcome_of
from .thread_call import ThreadCall
from .to_async import default_pool, submit_to_pool

logger = logging.getLogger("bridge.shim")

T = TypeVar("T")

GONE: Any = object()
"""What a `Held` has once its object was let go of."""


class Held:
    """An object behind a facade.

    Attributes:
        obj: the object; `GONE` after the end.
        opened: it was made for a facade that nobody has yet: at its end it is closed.
    """

    __slots__ = ("__weakref__", "obj", "opened")

    def __init__(self, obj: Any, opened: bool = False) -> None:
        self.obj = obj
        self.opened = opened

    @property
    def ends_with_code(self) -> bool:
        """Whether there is more to do at the end than to drop the object."""
        obj = self.obj
        return isinstance(obj, Generator) or (self.opened and kind_of(obj, "close") is Kind.METHOD)

    def end(self) -> None:
        """Let go of the object: a generator is closed, and so is what was opened for nobody."""
        closes = self.ends_with_code
        obj, self.obj = self.obj, GONE
        if closes:
            obj.close()


class Ending(Protocol):
    """What ends where it belongs."""

    def end(self) -> None:
        """End it, in its thread."""


class Place(Protocol):
    """Where the calls of a facade run, and of all facades that come from it."""

    closed: bool

    @property
    def home(self) -> OwnThread | ThreadPool:
        """For `ThreadIterator`."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function there, and return what it returns."""

    async def see_through(self, function: Callable[..., Any], *args: Any) -> Any:
        """As `call`, but it runs whatever happens: a cancelled task waits for it nevertheless."""

    def hold(self, held: Held) -> None:
        """Note an object, to be let go of at `close`."""

    def let_go(self, held: Ending) -> None:
        """Let go of an object. For finalizers: takes no lock, never raises."""

    async def close(self) -> None:
        """Take no more calls, and let go of all objects."""


class OwnPlace:
    """One thread for a facade and all that come from it.

    Args:
        thread: the thread; if it was given to the facade, it is its giver's to close.
        owned: the facade closes it.
    """

    def __init__(self, thread: OwnThread, owned: bool) -> None:
        self.home = thread
        self.closed = False
        self._owned = owned
        self._all: weakref.WeakSet[Held] = weakref.WeakSet()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._require_open()
        call = bound_call(function, args)
        self.home.submit(call)
        return await outcome_of(call)

    async def see_through(self, function: Callable[..., Any], *args: Any) -> Any:
        call = bound_call(function, args, must_run=True)
        self.home.submit(call)
        return await outcome_of(call)

    def _require_open(self) -> None:
        if self.closed:
            raise PoolClosed("this facade has been closed; make a new one")

    def hold(self, held: Held) -> None:
        self._all.add(held)

    def let_go(self, held: Ending) -> None:
        self.home.let_go(held, _end)

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if not self.home.ident and not self.home.busy:  # never started
            self._end_all()
        else:
            try:
                call = bound_call(self._end_all, must_run=True)
                self.home.submit(call)
            finally:
                if self._owned:
                    self.home.close()
            await outcome_of(call)
        if self._owned:
            self.home.close()

    def abandon(self) -> None:
        """Take no more calls; does not wait."""
        self.closed = True
        if self._owned:
            self.home.close()

    def _end_all(self) -> None:
        _end_all(self._all)


class PoolPlace:
    """Any worker of a pool, for each call another.

    Args:
        pool: the pool. Default: the one that `sync_to_async` uses for what is not thread-sensitive.
    """

    def __init__(self, pool: ThreadPool | None) -> None:
        self.home = pool or default_pool()
        self.closed = False
        self._all: weakref.WeakSet[Held] = weakref.WeakSet()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.closed:
            raise PoolClosed("this facade has been closed; make a new one")
        call = ThreadCall(function, args, {}, copy_context(), self._port(), sys.exc_info()[1])
        submit_to_pool(call, self.home)
        return await outcome_of(call)

    def _port(self) -> Port:
        if asgiref_notes.threadlocal is None:
            asgiref_notes.prepare()
        return shared_port()

    async def see_through(self, function: Callable[..., Any], *args: Any) -> Any:
        call = _LastingCall(function, args, {}, copy_context(), self._port(), sys.exc_info()[1])
        pool = call.pool = self.home
        pool.submit(call)
        if pool.saturated and innermost_host() is not None and pool.cancel(call):
            # A thread waits for this code, perhaps as a worker of this very pool.
            start_thread(_run_alone, call, "bridge-shim-exit")
        return await outcome_of(call)

    def hold(self, held: Held) -> None:
        self._all.add(held)

    def let_go(self, held: Ending) -> None:
        # What is bound to no thread may end in any; but what it does then may block.
        if isinstance(held, Held) and not held.ends_with_code:
            held.obj = GONE
            return
        try:
            start_thread(_end_quietly, held, "bridge-shim-end")
        except RuntimeError:
            pass  # the interpreter exits

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self.see_through(_end_all, self._all)


class _LastingCall(ThreadCall):
    must_run = True


def _run_alone(call: ThreadCall) -> None:
    call.run_in_turn()


def _end_all(all_held: weakref.WeakSet[Held]) -> None:
    """Let go of all objects; the first exception is raised at the end."""
    first: BaseException | None = None
    for held in list(all_held):
        try:
            held.end()
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first


def _end(held: Ending) -> None:
    held.end()


def _end_quietly(held: Ending) -> None:
    try:
        held.end()
    except BaseException:
        logger.warning("letting go of the object of a facade raised", exc_info=True)


class Entered:
    """A context manager that is entered and left where its facade's calls run.

    Args:
        make: gives the context manager, there.
        place: where.
        convert: makes what `__enter__` returns fit for the task, there.
    """

    __slots__ = ("_claims", "_convert", "_given_up", "_make", "_manager", "_place")

    def __init__(self, make: Callable[[], Any], place: Place, convert: Callable[[Any], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._place = place
        self._convert = convert
        self._manager: Any = None
        self._given_up = False
        self._claims: list[None] = []  # one item while what was entered has yet to be left

    async def enter(self) -> Any:
        """Enter, and return the target of `as`."""
        try:
            return await self._place.call(self._enter)
        except BaseException:
            # If `__enter__` has come to its end nevertheless, or will, what it has entered is left.
            self._given_up = True
            if self._claims:
                self._place.let_go(self)
            raise

    def _enter(self) -> Any:
        assert self._make is not None
        manager = self._make()
        self._make = None
        if not abilities_of(manager).context_manager:
            raise UsageError(
                f"expected a context manager for `async with`; got {type(manager).__name__}. "
                "To use the result itself, await the call"
            )
        target = type(manager).__enter__(manager)
        self._manager = manager
        self._claims.append(None)
        if self._given_up:
            self.end()
        return self._convert(target)

    def end(self) -> None:
        """Leave what nobody is in, unless it has been left."""
        self._leave(None, None, None)

    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Leave, with the exception that the body has raised; return whether it is to be suppressed."""
        try:
            return bool(await self._place.see_through(self._leave, kind, error, traceback))
        finally:
            del error, traceback

    def _leave(self, *exc_info: Any) -> Any:
        try:
            self._claims.pop()
        except IndexError:
            return False  # left already
        manager, self._manager = self._manager, None
        # The truth of the answer is asked here as well: it is the object's code.
        return bool(type(manager).__exit__(manager, *exc_info))


class PendingCall(Coroutine[Any, Any, T]):
    """A call that has not begun. It begins when it is awaited, entered or iterated over, once.

    - `await call`: its result;
    - `async with call as target`: its result is a context manager, entered and left in the thread;
    - `async for item in call`: its result is iterated over in the thread.

    It is a coroutine, so `asyncio.create_task` and a nursery take it.

    Args:
        function: what to call, in the thread; it takes no arguments.
        name: what it is called in messages.
        place: where.
        convert: makes a result fit for the task, there.
        read_ahead: see `iterate_in_thread`.
    """

    __slots__ = (
        "__weakref__",
        "_convert",
        "_coroutine",
        "_entered",
        "_function",
        "_name",
        "_place",
        "_read_ahead",
    )

    def __init__(
        self,
        function: Callable[[], Any],
        name: str,
        place: Place,
        convert: Callable[[Any], Any],
        read_ahead: int,
    ) -> None:
        self._function: Callable[[], Any] | None = function
        self._name = name
        self._place = place
        self._convert = convert
        self._read_ahead = read_ahead
        self._coroutine: Coroutine[Any, Any, T] | None = None
        self._entered: Entered | None = None

    def _take(self) -> Callable[[], Any]:
        function, self._function = self._function, None
        if function is None:
            raise RuntimeError(f"the call of {self._name} has been used already; call again")
        return function

    # -- a coroutine

    def _started(self) -> Coroutine[Any, Any, T]:
        if self._coroutine is None:
            self._coroutine = self._result(self._take())
        return self._coroutine

    async def _result(self, function: Callable[[], Any]) -> T:
        return await self._place.call(_converted, function, self._convert)  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, Any, T]:
        return self._result(self._take()).__await__()

    def send(self, value: Any) -> Any:
        """As of any coroutine."""
        return self._started().send(value)

    def throw(self, *exc_info: Any) -> Any:
        """As of any coroutine."""
        return self._started().throw(*exc_info)

    def close(self) -> None:
        """As of any coroutine: a call that has not begun never will."""
        if self._coroutine is not None:
            self._coroutine.close()
        self._function = None

    # -- a context manager

    async def __aenter__(self) -> Any:
        self._entered = Entered(self._take(), self._place, self._convert)
        return await self._entered.enter()

    async def __aexit__(self, *exc_info: Any) -> bool:
        assert self._entered is not None
        return await self._entered.leave(*exc_info)

    # -- an iterable

    def __aiter__(self) -> ThreadIterator[Any]:
        return ThreadIterator(self._take(), self._place.home, self._read_ahead, convert=self._convert)

    def __del__(self) -> None:
        if getattr(self, "_function", None) is not None:
            self._warn()

    def _warn(self) -> None:
        warnings.warn(
            f"the call of {self._name} was never awaited, nor used in `async with` or `async for`",
            RuntimeWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<call of {self._name}>"


class PendingAttribute(PendingCall[T]):
    """An attribute that is computed in the thread: `await` it. It may be a method: call it."""

    __slots__ = ("_call",)

    def __init__(
        self,
        function: Callable[[], Any],
        name: str,
        place: Place,
        convert: Callable[[Any], Any],
        read_ahead: int,
        call: Callable[[tuple[Any, ...], Mapping[str, Any]], PendingCall[Any]],
    ) -> None:
        super().__init__(function, name, place, convert, read_ahead)
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> PendingCall[Any]:
        """Call the attribute's value, in the thread."""
        return self._call(args, kwargs)

    def __bool__(self) -> bool:
        raise UsageError(f"{self._name} is computed in a thread: write `await` before it")

    def _warn(self) -> None:
        """To look whether there is such an attribute is no mistake."""


def _converted(function: Callable[[], Any], convert: Callable[[Any], Any]) -> Any:
    return convert(function())
