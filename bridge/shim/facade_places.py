"""Where the calls of an async facade run: what is behind it, and the threads that may touch that.

    Held          the object; dropped in the thread that it belongs to
    OwnPlace      calls run in one thread that the facade has to itself
    PoolPlace     calls run in any worker of a pool
    Behind        the object and its place, as a call needs to know them
    perform       what a call does there, whichever of the two it is

Who waits, and what ends the wait: see `own_thread` and `sync_to_async`. A place that is closed takes
no more calls; then it lets go of all objects, and waits for that.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable, Generator, Mapping
from contextvars import Context, copy_context
from typing import Any, Protocol

from ..engines.thread_pool import ThreadPool, start_thread
from ..exceptions import PoolClosed
from .iterate_in_thread import ThreadIterator, run_alone
from .members import Kind, kind_of
from .own_thread import BoundCall, OwnThread, bound_call, outcome_of, port_of_caller
from .thread_call import ThreadCall
from .to_async import default_pool, may_never_have_a_turn, submit_to_pool

logger = logging.getLogger("bridge.shim")

PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset})
"""Types of results that are given to the task as they are, and looked at no further."""

_CLOSED = "this facade has been closed; make a new one"

GONE: Any = object()
"""What a `Held` has once its object was let go of."""


class Held:
    """An object behind a facade.

    Attributes:
        obj: the object; `GONE` after the end.
        opened: it was made for a facade that nobody has yet: at its end it is closed.
        lent: another object has it for good: it is not closed, whatever it is.
        reader: of an iterator, what reads from it; it may do so in another thread.
        context: what that did so in; set at its end.
    """

    __slots__ = ("__weakref__", "context", "lent", "obj", "opened", "reader")

    def __init__(self, obj: Any, *, opened: bool = False, lent: bool = False) -> None:
        self.obj = obj
        self.opened = opened
        self.lent = lent
        self.context: Context | None = None
        self.reader: weakref.ref[ThreadIterator[Any]] | None = None

    @property
    def ends_with_code(self) -> bool:
        """Whether there is more to do at the end than to drop the object."""
        obj = self.obj
        if self.lent:
            return False
        return isinstance(obj, Generator) or (self.opened and kind_of(obj, "close") is Kind.METHOD)

    def end(self) -> None:
        """Let go of the object: a generator is closed, and so is what was opened for nobody."""
        closes = self.ends_with_code
        obj, self.obj = self.obj, GONE
        # One that is at work, in this thread or another, cannot be closed. Once it has come to its next
        # `yield`, whoever runs it lets go of it as well, and so it is closed by the garbage collector.
        if closes and not getattr(obj, "gi_running", False):
            self.run_where_it_was_read(obj.close)

    def run_where_it_was_read(self, close: Callable[[], object]) -> None:
        """Close an iterator in the Context in which it was advanced, if that is free."""
        reader = None if self.reader is None else self.reader()
        context = self.context if reader is None else reader.context
        if context is not None:
            try:
                context.run(int)
            except RuntimeError:
                context = None  # in use: whoever reads from it has not noticed the end yet
        if context is None:
            close()
        else:
            context.run(close)


class Ending(Protocol):
    """What ends where it belongs."""

    def end(self) -> None:
        """End it, in its thread."""


class Behind(Protocol):
    """What is behind a facade, as a call of it needs to know that.

    Attributes:
        place: where calls run.
        ahead: how many items of what a call gives may be made before they are asked for.
    """

    place: Place
    ahead: int

    def obj(self) -> Any:
        """The object; `PoolClosed` after the end."""

    def convert(self, value: Any) -> Any:
        """A result as the task gets it. In the thread."""

    def name_of(self, name: str) -> str:
        """What a member is called in messages."""


Work = tuple[Behind, "Callable[..., Any] | None", str, "tuple[Any, ...]", "Mapping[str, Any]"]
"""What a call does, as the arguments of `perform`: of what, which function, its name and arguments."""


def perform(
    behind: Behind,
    function: Callable[..., Any] | None,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Do the work, in the thread: call a function with the object, or the object's method `name`."""
    obj = behind.obj()
    result = getattr(obj, name)(*args, **kwargs) if function is None else function(obj, *args, **kwargs)
    return result if type(result) in PLAIN and result is not obj else behind.convert(result)


def perform_plainly(
    behind: Behind,
    function: Callable[..., Any] | None,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """As `perform`, but give the result as it is, for the thread to use."""
    obj = behind.obj()
    return getattr(obj, name)(*args, **kwargs) if function is None else function(obj, *args, **kwargs)


class Place(Protocol):
    """Where the calls of a facade run, and of all facades that come from it."""

    closed: bool

    @property
    def home(self) -> OwnThread | ThreadPool:
        """For `ThreadIterator`."""

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> ThreadCall:
        """Have a function run there, for the running task, which is to await `outcome_of` the call.

        Raises:
            PoolClosed: the place was closed.
            PoolError, WouldDeadlock, UsageError: it does not take the call.
        """

    async def see_through(
        self, function: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        """Run a function there, whatever happens: a cancelled task waits for it nevertheless.

        Args:
            function, args: what to call.
            context: what to run it in, instead of a copy of the task's.
        """

    def hold(self, held: Held) -> None:
        """Note an object, to be let go of at `close`."""

    def let_go(self, held: Ending) -> None:
        """Let go of an object. For finalizers: takes no lock, never raises."""

    async def close(self) -> None:
        """Take no more calls, and let go of all objects."""


class _Call(ThreadCall):
    """A call with the name of the member that it is of."""

    def describe(self) -> str:
        """The member's name, or the function's, for dumps and messages."""
        function = self.function
        if function is perform or function is perform_plainly:
            behind, name = self.args[0], self.args[2]
            return str(behind.name_of(name))
        return ThreadCall.describe(self)


class _OwnCall(_Call, BoundCall):
    pass


class _LastingCall(_Call):
    must_run = True


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

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> ThreadCall:
        if self.closed:
            raise PoolClosed(_CLOSED)
        call = _OwnCall(function, args, {}, copy_context(), port_of_caller(), sys.exc_info()[1])
        call.claims = [None]
        self.home.submit(call)
        return call

    async def see_through(
        self, function: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        call = bound_call(function, args, context=context, must_run=True)
        self.home.submit(call)
        return await outcome_of(call)

    def hold(self, held: Held) -> None:
        self._all.add(held)

    def let_go(self, held: Ending) -> None:
        self.home.let_go(held, _end)

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if not self.home.ident and not self.home.busy:  # never started
            _end_all(self._all)
        else:
            try:
                call = bound_call(_end_all, (self._all,), must_run=True)
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


class PoolPlace:
    """Any worker of a pool, for each call another.

    Args:
        pool: the pool. Default: the one that `sync_to_async` uses for what is not thread-sensitive.
    """

    def __init__(self, pool: ThreadPool | None) -> None:
        self.home = pool or default_pool()
        self.closed = False
        self._all: weakref.WeakSet[Held] = weakref.WeakSet()

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> ThreadCall:
        if self.closed:
            raise PoolClosed(_CLOSED)
        call = _Call(function, args, {}, copy_context(), port_of_caller(), sys.exc_info()[1])
        submit_to_pool(call, self.home)
        return call

    async def see_through(
        self, function: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        if context is None:
            context = copy_context()
        call = _LastingCall(function, args, {}, context, port_of_caller(), sys.exc_info()[1])
        pool = call.pool = self.home
        pool.submit(call)
        if may_never_have_a_turn(pool) and pool.cancel(call):
            start_thread(run_alone, call, "bridge-shim-exit")
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
        if self.closed:
            return
        self.closed = True
        try:
            for held in list(self._all):
                reader = None if held.reader is None else held.reader()
                if reader is not None and reader.begun_here:
                    await reader.aclose()  # what it reads from may be at work, in its thread
                del reader
        finally:
            await self.see_through(_end_all, self._all)


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
