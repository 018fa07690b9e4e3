"""Calls of an object behind an async facade: what can be done with one.

    PendingCall        a call that has not begun: `await` it, or use it in `async with` or `async for`
    PendingAttribute   the same for an attribute that is computed; it can be called as well
    Entered            a context manager that was entered in the thread, and is to be left there

What a method of a facade gives is a `PendingCall`. Awaited, it has its work done at the facade's
place (`facade_places.perform`), and waits for the outcome (`own_thread.steps_to_outcome`). Entered, its
result is a context manager, of which an `Entered` takes care. Iterated over, a `ThreadIterator`
takes its result. None of these runs code of the object's on the event loop.

What a context manager has entered it also leaves: a cancelled task gives no `__exit__` up, and what
was entered for a task that has been cancelled meanwhile is left again.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, TypeVar

from ..engines.contexts import carry_back
from ..exceptions import UsageError
from .facade_places import Behind, Work, perform, perform_plainly
from .iterate_in_thread import ThreadIterator
from .members import abilities_of
from .own_thread import outcome_of, steps_to_outcome

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = {}


class PendingCall(Coroutine[Any, Any, T]):
    """A call that has not begun. It begins when it is awaited, entered or iterated over, once.

    - `await call`: its result;
    - `async with call as target`: its result is a context manager, entered and left in the thread;
    - `async for item in call`: its result is iterated over in the thread.

    It is a coroutine, so `asyncio.create_task` and a nursery take it.

    Args:
        behind: the object.
        function: what to call with it, in the thread; `None` for its method `name`.
        name: what is called, in messages.
        args, kwargs: the further arguments.
    """

    __slots__ = ("__weakref__", "_behind", "_entered", "_name", "_steps", "_work")

    _entered: Entered

    def __init__(
        self,
        behind: Behind,
        function: Callable[..., Any] | None,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
    ) -> None:
        self._work: Work | None = (behind, function, name, args, kwargs)
        self._behind = behind
        self._name = name
        self._steps: Any = None  # of a coroutine

    def _take(self) -> Work:
        work, self._work = self._work, None
        if work is None:
            raise RuntimeError(f"the call of {self._full_name} has been used already; call again")
        return work

    @property
    def _full_name(self) -> str:
        return self._behind.name_of(self._name)

    # -- a coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        # Submitted at once, though only the generator is asked for: what awaits runs it next.
        return steps_to_outcome(self._behind.place.submit(perform, self._take()))

    def send(self, value: Any) -> Any:
        """As of any coroutine."""
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *exc_info: Any) -> Any:
        """As of any coroutine: a call that has not begun never will."""
        if self._steps is None:
            self._take()
            self._steps = _never()
        return self._steps.throw(*exc_info)

    def close(self) -> None:
        """As of any coroutine: a call that has not begun never will."""
        self._work = None
        if self._steps is not None:
            self._steps.close()

    # -- a context manager

    async def __aenter__(self) -> Any:
        self._entered = Entered(functools.partial(perform_plainly, *self._take()), self._behind)
        return await self._entered.enter()

    async def __aexit__(self, *exc_info: Any) -> bool:
        return await self._entered.leave(*exc_info)

    # -- an iterable

    def __aiter__(self) -> ThreadIterator[Any]:
        behind = self._behind
        make = functools.partial(perform_plainly, *self._take())
        return ThreadIterator(make, behind.place.home, behind.ahead, convert=behind.convert)

    def __del__(self) -> None:
        if getattr(self, "_work", None) is not None:
            self._warn()

    def _warn(self) -> None:
        warnings.warn(
            f"the call of {self._full_name} was never awaited, nor used in `async with` or `async for`",
            RuntimeWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<call of {self._full_name}>"


def _never() -> Generator[Any, Any, Any]:
    yield


class PendingAttribute(PendingCall[T]):
    """An attribute that is computed in the thread: `await` it. It may be a method: call it.

    Args:
        behind: the object.
        name: the attribute.
        call: gives the call of the attribute's value.
    """

    __slots__ = ("_call",)

    def __init__(self, behind: Behind, name: str, call: Callable[..., PendingCall[Any]]) -> None:
        PendingCall.__init__(self, behind, getattr, name, (name,))
        self._call = call

    def __call__(self, /, *args: Any, **kwargs: Any) -> PendingCall[Any]:
        """Call the attribute's value, in the thread."""
        return self._call(*args, **kwargs)

    def __bool__(self) -> bool:
        raise UsageError(f"{self._full_name} is computed in a thread: write `await` before it")

    def _warn(self) -> None:
        """To look whether there is such an attribute is no mistake."""


class Entered:
    """A context manager that is entered and left where its facade's calls run.

    It is left in the Context that it was entered in, in which the tokens of the variables that it has set
    are good; what the body has set since goes in before, and all comes back to the task.

    Args:
        make: gives the context manager, there.
        behind: says where that is, and what the task gets for what `__enter__` returns.
    """

    __slots__ = ("_claims", "_context", "_convert", "_given_up", "_make", "_manager", "_place")

    _context: Context

    def __init__(self, make: Callable[[], Any], behind: Behind) -> None:
        self._make: Callable[[], Any] | None = make
        self._place = behind.place
        self._convert = behind.convert
        self._manager: Any = None
        self._given_up = False
        self._claims: list[None] = []  # one item while what was entered has yet to be left

    async def enter(self) -> Any:
        """Enter, and return the target of `as`."""
        try:
            call = self._place.submit(self._enter, ())
            self._context = call.context
            return await outcome_of(call)
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
            self._leave(None, None, None)
        return self._convert(target)

    def end(self) -> None:
        """Leave what nobody is in, unless it has been left."""
        try:
            self._context.run(int)
        except RuntimeError:  # another worker is about to come out of `_enter`, and of the Context
            self._leave(None, None, None)
        else:
            self._context.run(self._leave, None, None, None)

    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Leave, with the exception that the body has raised; return whether it is to be suppressed."""
        try:
            self._context.run(carry_back, copy_context())
            leaving = self._place.see_through(self._leave, kind, error, traceback, context=self._context)
            return bool(await leaving)
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
