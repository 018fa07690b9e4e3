"""What becomes of each member of an async object behind a `sync_facade`.

    SyncFacade   stands before the object; it has no attributes of its own
    SyncState    what the facade knows: the object, and the `with` blocks that are open
    Shared       what it has in common with those that come from it: the loop, what comes back as a facade

The way of `facade.method(argument)`: `SyncFacade.__getattr__` asks what `method` is (`members.kind_of`,
which runs no code of the object's) and gives a function. A call of that is `Shared.call`: it finds the
loop, has a task there call and await the method while the thread waits (`loop_call`), and makes of the
result what blocking code can use (`Shared.given`). Special methods are in `sync_operators`.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from threading import get_ident
from typing import Any, NoReturn

from ..engines.gates import native
from ..engines.loop_thread import LoopFactory
from ..engines.ports import Place
from ..exceptions import UsageError
from .facade_calls import PendingCall
from .facade_places import PLAIN
from .iterate_on_loop import LoopIterator
from .loop_call import LoopCall, find_loop
from .loop_iteration import refuse_loop
from .members import Kind, abilities_of, instance_dict, kind_of
from .sync_blocks import Hold
from .thread_call import name_of
from .to_async import is_async

IMPOSSIBLE = frozenset({"__aenter__", "__aexit__", "__aiter__", "__anext__"})
"""What blocking code has no use for, so a protocol must not ask for it."""


class Shared:
    """What a facade and those that come from it have in common.

    Attributes:
        read_ahead, wrap: as given.
        class_for: the class of a facade of such an object, that was entered by a call or was not.
    """

    __slots__ = ("_factory", "_lock", "_place", "class_for", "read_ahead", "wrap")

    def __init__(
        self,
        read_ahead: int,
        wrap: tuple[type, ...],
        factory: LoopFactory | None,
        class_for: Callable[[Any, bool], type[SyncFacade]],
    ) -> None:
        self.read_ahead = read_ahead
        self.wrap = wrap
        self.class_for = class_for
        self._factory = factory
        self._place: Place | None = None
        self._lock = native("allocate_lock")()

    def place(self, function: object) -> Place:
        """The loop: that of the first use, as long as it runs.

        Raises:
            WouldDeadlock: an event loop runs in the calling thread.
        """
        refuse_loop(name_of(function))
        place = self._place
        if place is not None and place.alive():
            return place
        found = find_loop(function, factory=self._factory)
        with self._lock:
            if self._place is place:
                self._place = found
            assert self._place is not None
            return self._place  # another thread may have been faster

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function on the loop's thread, wait for what it returns, and give that to blocking code."""
        args = tuple(behind(arg) for arg in args)
        kwargs = {name: behind(arg) for name, arg in kwargs.items()}
        result = LoopCall(_Call(function), args, kwargs, self.place(function)).outcome()
        if isinstance(result, _Enterable):
            return self._entered(result.manager)
        return self.given(result)

    def given(self, value: Any) -> Any:
        """What blocking code gets for a value: itself, an iterator or a facade."""
        if type(value) in PLAIN or isinstance(value, type):
            return value
        if isinstance(value, AsyncGenerator):
            return Items(value, self)
        abilities = abilities_of(value)
        if abilities.async_context_manager or abilities.async_iterable or abilities.async_iterator:
            return facade_of(value, self)
        return facade_of(value, self) if isinstance(value, self.wrap) else value

    def given_by_with(self, value: Any) -> Any:
        """The same, for what entering a context manager has given: it is there to be used."""
        given = self.given(value)
        return facade_of(value, self) if given is value and _has_async_methods(type(value)) else given

    def _entered(self, manager: Any) -> Any:
        hold = Hold(manager, self.place)
        value = hold.enter()
        given = self.given_by_with(value)
        if is_facade(given):
            return facade_of(value, self, hold)
        hold.forget()  # plain data, as `await` would give: there is nothing to leave
        return given


class _Call:
    """A function, to be called and awaited by a `LoopCall`."""

    __slots__ = ("func",)

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func  # has the name for messages

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        result = self.func(*args, **kwargs)
        if type(result) in PLAIN or not inspect.isawaitable(result):
            return result
        if abilities_of(result).async_context_manager and not isinstance(result, PendingCall):
            return _Enterable(result)
        return await result


class _Enterable:
    """What can be awaited as well as entered; see `sync_facade`."""

    __slots__ = ("manager",)

    def __init__(self, manager: Any) -> None:
        self.manager = manager


class Items(LoopIterator[Any]):
    """The items of an async iterator, as blocking code gets them."""

    __slots__ = ("_shared",)

    def __init__(self, iterable: AsyncIterable[Any], shared: Shared) -> None:
        LoopIterator.__init__(self, iterable, shared.read_ahead, shared.place)
        self._shared = shared

    def __next__(self) -> Any:
        item = LoopIterator.__next__(self)
        return item if type(item) in PLAIN else self._shared.given(item)


class SyncState:
    """One facade's.

    Attributes:
        obj: what it stands for.
        shared: what it has in common with others.
        holds: what threads have entered by `with`, by thread, innermost last.
        entered: what was entered by the call that this facade has come from.
    """

    __slots__ = ("entered", "holds", "obj", "shared")

    def __init__(self, obj: Any, shared: Shared, entered: Hold | None) -> None:
        self.obj = obj
        self.shared = shared
        self.holds: dict[int, list[Hold]] = {}
        self.entered = entered

    def enter(self, facade: SyncFacade) -> Any:
        """Begin a `with` block."""
        hold, self.entered = self.entered, None
        if hold is not None:
            self.holds.setdefault(get_ident(), []).append(hold)
            return facade
        hold = Hold(self.obj, self.shared.place)
        value = hold.enter()
        self.holds.setdefault(get_ident(), []).append(hold)
        return facade if value is self.obj else self.shared.given_by_with(value)

    def leave(self, *raised: Any) -> bool:
        """End the innermost `with` block of this thread; or of another, if only that has begun one."""
        ident = get_ident()
        if ident not in self.holds:
            ident = next(iter(list(self.holds)), 0)
        holds = self.holds.get(ident)
        if not holds:
            raise UsageError("the `with` block of this facade has been left already, or was never entered")
        hold = holds.pop()
        if not holds:
            self.holds.pop(ident, None)
        return hold.leave(*raised)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function on the loop's thread."""
        return self.shared.call(function, args, {})


def is_facade(value: object) -> bool:
    """Whether `sync_facade` has made it. By its type, so that no code of the value's runs."""
    return issubclass(type(value), SyncFacade)


def state_of(facade: SyncFacade) -> SyncState:
    """What a facade knows."""
    state: SyncState = object.__getattribute__(facade, "_bridge_state")
    return state


def behind(value: Any) -> Any:
    """What a facade stands for; other values as they are."""
    return state_of(value).obj if is_facade(value) else value


def facade_of(obj: Any, shared: Shared, entered: Hold | None = None) -> Any:
    """A new facade of an object, which a call may have entered."""
    facade = object.__new__(shared.class_for(obj, entered is not None))
    object.__setattr__(facade, "_bridge_state", SyncState(obj, shared, entered))
    return facade


class SyncFacade:
    """Base of all facades that `sync_facade` makes. What a facade can do besides depends on its object."""

    __slots__ = ("__weakref__", "_bridge_state")

    _bridge_state: SyncState

    def __getattr__(self, name: str) -> Any:
        state = state_of(self)
        obj = state.obj
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__"):
            # What Python and tools look for; answered by the class, as they would have it of the object.
            raise AttributeError(f"a sync_facade has no {name}")
        kind = kind_of(obj, name)
        if kind is Kind.DATA or kind.is_method:
            value = getattr(obj, name)
        elif kind is Kind.MISSING:
            raise AttributeError(
                f"{type(obj).__qualname__!r} object has no attribute {name!r}", name=name, obj=self
            )
        else:
            value = state.call(_Reading(obj, name))
            if not _is_method(value):
                return value
        if kind is Kind.ASYNC_GENERATOR_METHOD:
            return _generator_method(state, value)
        return _method(state, value) if _is_method(value) else _given_attribute(state, value)

    def __setattr__(self, name: str, value: Any) -> None:
        state = state_of(self)
        obj, value = state.obj, behind(value)
        if kind_of(obj, name).is_computed or _sets_in_its_own_way(type(obj)):
            state.call(setattr, obj, name, value)
        else:
            setattr(obj, name, value)

    def __delattr__(self, name: str) -> None:
        state = state_of(self)
        state.call(delattr, state.obj, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(state_of(self).obj)} - IMPOSSIBLE)

    def __repr__(self) -> str:
        return f"<sync_facade of {type(state_of(self).obj).__qualname__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sync_facade cannot be copied or pickled; copy or pickle what it stands for")


class _Reading:
    """An attribute to be read by a `LoopCall`."""

    __slots__ = ("_name", "_obj", "func")

    def __init__(self, obj: Any, name: str) -> None:
        self._obj = obj
        self._name = name
        self.func = f"{type(obj).__qualname__}.{name}"

    def __call__(self) -> Any:
        return getattr(self._obj, self._name)


def _sets_in_its_own_way(cls: Any) -> bool:
    return cls.__setattr__ is not object.__setattr__


def _is_method(value: Any) -> bool:
    # Functions, and what decorators make of them. Of other objects that can be called, more may be wanted.
    return (
        inspect.isroutine(value)
        or isinstance(value, functools.partial)
        or (
            callable(value) and ("__wrapped__" in instance_dict(value) or hasattr(type(value), "__wrapped__"))
        )
    )


def _given_attribute(state: SyncState, value: Any) -> Any:
    if isinstance(value, AsyncGenerator):
        return facade_of(value, state.shared)  # the object keeps it, so it is not read ahead, nor closed
    given = state.shared.given(value)
    callable_object = given is value and callable(value) and not isinstance(value, type)
    return facade_of(value, state.shared) if callable_object else given


def _method(state: SyncState, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        return state.shared.call(function, args, kwargs)

    return _named_like(function, method)


def _generator_method(state: SyncState, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        # Here, since that only makes the generator: none of its code runs before the first item.
        args = tuple(behind(arg) for arg in args)
        kwargs = {name: behind(arg) for name, arg in kwargs.items()}
        return Items(function(*args, **kwargs), state.shared)

    return _named_like(function, method)


def _named_like(function: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    functools.update_wrapper(method, function)
    # It is no coroutine function, whatever was copied with the function's attributes.
    method.__dict__.pop("_is_coroutine", None)
    method.__dict__.pop("_is_coroutine_marker", None)
    return method


_with_async_methods: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _has_async_methods(cls: type) -> bool:
    found = _with_async_methods.get(cls)
    if found is None:
        found = _with_async_methods[cls] = any(
            not name.startswith("_") and (is_async(member) or inspect.isasyncgenfunction(member))
            for base in cls.__mro__
            for name, member in vars(base).items()
        )
    return found
