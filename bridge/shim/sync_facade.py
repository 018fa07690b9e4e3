"""`sync_facade`: whole async objects for blocking code.

What the facade does with a member of the object is decided by `members`; everything that may run
code of the object's runs on one loop: a call as `async_to_sync` does it (`loop_call`), an iterator
and an entered context manager in a task of their own (`iterate_on_loop`). There are no waits here
but those.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from threading import get_ident
from typing import Any, NoReturn, TypeVar, overload

from ..engines.gates import native
from ..engines.loop_thread import LoopFactory
from ..engines.ports import Place
from ..exceptions import UsageError
from .facade_calls import PendingCall
from .iterate_on_loop import DEFAULT_READ_AHEAD, LoopIterator, check_read_ahead
from .loop_call import LoopCall, find_loop
from .loop_iteration import refuse_loop
from .members import Kind, abilities_of, check_protocol, instance_dict, kind_of, members_of
from .thread_call import name_of
from .to_async import is_async

P = TypeVar("P")

# What blocking code has no use for, so a protocol must not ask for it.
_IMPOSSIBLE = frozenset({"__aenter__", "__aexit__", "__aiter__", "__anext__"})
# Results that are looked at no further.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset})

_UNSET: Any = object()


# `Callable` and not `type`: mypy takes abstract classes and protocols for the one, but not for the other.
@overload
def sync_facade(
    obj: object,
    protocol: Callable[..., P],
    *,
    read_ahead: int = DEFAULT_READ_AHEAD,
    wrap: type | Iterable[type] = (),
    loop_factory: LoopFactory | None = None,
) -> P: ...


@overload
def sync_facade(
    obj: object,
    protocol: None = None,
    *,
    read_ahead: int = DEFAULT_READ_AHEAD,
    wrap: type | Iterable[type] = (),
    loop_factory: LoopFactory | None = None,
) -> Any: ...


def sync_facade(
    obj: Any,
    protocol: Any = None,
    *,
    read_ahead: int = DEFAULT_READ_AHEAD,
    wrap: type | Iterable[type] = (),
    loop_factory: LoopFactory | None = None,
) -> Any:
    """Make an object for blocking code of one that is for async code.

        client = sync_facade(AsyncClient())
        user = client.get("https://example.org/users/7").json()
        with client.stream("GET", url) as response:
            for chunk in response.aiter_bytes():
                ...

    Everything runs on one event loop: the one that `async_to_sync` would use where the facade is used
    first, as long as that runs. So connections live from call to call, whichever thread calls. For
    threads that wait, context variables, exceptions and thread-sensitive calls, what `async_to_sync`
    and `iterate_on_loop` say holds. The facade may be used by many threads at once.

    - Methods block, and return what the awaitable that they return has come to. They keep name,
      docstring and signature. Plain methods are called on the loop's thread as well, since objects of
      asyncio are not thread-safe.
    - Plain attributes are read and set directly. Properties are read and set on the loop's thread; one
      that gives an awaitable is waited for.
    - Async generators and iterators are iterators (`for`), async context managers are context managers
      (`with`), each entered and left in one task. `len`, `in`, `[]` and calls work as they do on the
      object, and so do `for` and `with` of an object that has them in plain form.
    - What comes back as a facade: async context managers, async iterators, instances of `wrap`, and
      what `with` gives, if it has async methods. An async generator comes back as an iterator with
      `close()`. The rest comes back as it is, and is not looked into.
    - What can be awaited and be entered as well (a request of aiohttp, `acquire()` of asyncpg) is
      entered by the call. What comes back can be used at once, like what `await` gives, or in `with`.
      It is left at the end of `with`, or else when it is garbage collected.
    - Facades that are given to a method are what they stand for there.

    If the task that has entered a context manager is cancelled while the `with` block runs (by a
    cancel scope, a task group), the manager is left at once; what comes of it is raised at the end of
    the block.

    Args:
        obj: the object.
        protocol: a `typing.Protocol` (or any class) that says what the facade has; that it has, is
            checked now. Type checkers take the facade for an instance of it.
        read_ahead: how many items of an iterator may be made before they are asked for.
        wrap: classes whose instances come back as facades too.
        loop_factory: makes the loop to run on, such as `uvloop.new_event_loop`; as for `async_to_sync`.

    Raises:
        UsageError: `obj` is none for a facade, or does not fit the protocol; or an option is wrong.

    Of a use:
        what the object raises; `WouldDeadlock` in a thread in which an event loop runs; `LoopGone` if
        the loop ends meanwhile.
    """
    remedy = _remedy(obj)
    if remedy:
        raise UsageError(f"sync_facade expects an async object, but got {remedy}")
    classes = (wrap,) if isinstance(wrap, type) or not isinstance(wrap, Iterable) else tuple(wrap)
    if not all(isinstance(each, type) for each in classes):
        raise UsageError(f"wrap must be a class, or some classes; got {wrap!r}")
    check_read_ahead(read_ahead)
    if protocol is not None:
        check_protocol(obj, protocol, impossible=_IMPOSSIBLE)
        _refuse_async(protocol)
    return _facade_of(obj, _Shared(read_ahead, classes, loop_factory))


def _remedy(obj: Any) -> str:
    """What is wrong with an object, and what to do about it; "" if nothing is."""
    if isinstance(obj, SyncFacade):
        return "a facade already; use that"
    if isinstance(obj, type):
        return f"the class {obj.__qualname__}; give an instance of it"
    if inspect.iscoroutine(obj):
        obj.close()  # or Python would complain of it as well
        return "a coroutine; give what it returns, which async_to_sync(function)(...) gives"
    if isinstance(obj, AsyncGenerator):
        return "an async generator; use iterate_on_loop"
    if inspect.isroutine(obj):
        return f"the function {name_of(obj)}; use async_to_sync"
    return ""


def _refuse_async(protocol: type) -> None:
    wrong = [name for name, declared in members_of(protocol).items() if is_async(declared)]
    if wrong:
        raise UsageError(
            f"the protocol {protocol.__qualname__} has async methods, but those of a sync_facade block and "
            f"return what they have come to; write `def` instead of `async def` for {', '.join(wrong)}"
        )


class _Shared:
    """What a facade and those that come from it have in common.

    Attributes:
        read_ahead, wrap: as given.
    """

    __slots__ = ("_factory", "_lock", "_place", "read_ahead", "wrap")

    def __init__(self, read_ahead: int, wrap: tuple[type, ...], factory: LoopFactory | None) -> None:
        self.read_ahead = read_ahead
        self.wrap = wrap
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
        args = tuple(_behind(arg) for arg in args)
        kwargs = {name: _behind(arg) for name, arg in kwargs.items()}
        result = LoopCall(_Call(function), args, kwargs, self.place(function)).outcome()
        if isinstance(result, _Enterable):
            return self._entered(result.manager)
        return self.given(result)

    def given(self, value: Any) -> Any:
        """What blocking code gets for a value: itself, an iterator or a facade."""
        if type(value) in _PLAIN or isinstance(value, type):
            return value
        if isinstance(value, AsyncGenerator):
            return _Items(value, self)
        abilities = abilities_of(value)
        if abilities.async_context_manager or abilities.async_iterable or abilities.async_iterator:
            return _facade_of(value, self)
        return _facade_of(value, self) if isinstance(value, self.wrap) else value

    def given_by_with(self, value: Any) -> Any:
        """The same, for what entering a context manager has given: it is there to be used."""
        given = self.given(value)
        return _facade_of(value, self) if given is value and _has_async_methods(type(value)) else given

    def _entered(self, manager: Any) -> Any:
        hold = _Hold(manager, self)
        value = hold.enter()
        given = self.given_by_with(value)
        if isinstance(given, SyncFacade):
            return _facade_of(value, self, hold)
        hold.forget()  # plain data, as `await` would give: there is nothing to leave
        return given


class _Call:
    """A function, to be called and awaited by a `LoopCall`."""

    __slots__ = ("func",)

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func  # has the name for messages

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.func(*args, **kwargs)
        if type(result) in _PLAIN or not inspect.isawaitable(result):
            return result
        if abilities_of(result).async_context_manager and not isinstance(result, PendingCall):
            return _Enterable(result)
        return await result


class _Enterable:
    """What can be awaited as well as entered; see `sync_facade`."""

    __slots__ = ("manager",)

    def __init__(self, manager: Any) -> None:
        self.manager = manager


class _Items(LoopIterator[Any]):
    """The items of an async iterator, as blocking code gets them."""

    __slots__ = ("_shared",)

    def __init__(self, iterable: AsyncIterable[Any], shared: _Shared) -> None:
        LoopIterator.__init__(self, iterable, shared.read_ahead, shared.place)
        self._shared = shared

    def __next__(self) -> Any:
        item = LoopIterator.__next__(self)
        return item if type(item) in _PLAIN else self._shared.given(item)


class _Outcome:
    """What the thread has to say at the end of a `with` block, and the answer."""

    __slots__ = ("forgotten", "raised", "suppress")

    def __init__(self) -> None:
        self.raised: tuple[Any, Any, Any] = (None, None, None)
        self.suppress = False
        self.forgotten = False


async def _held(manager: Any, outcome: _Outcome) -> AsyncGenerator[Any, None]:
    """Enter a context manager, give what that has given, and leave it. All in the task that runs this."""
    cls: Any = type(manager)
    if abilities_of(manager).async_context_manager:
        enter, leave = cls.__aenter__, cls.__aexit__
    else:
        enter, leave = functools.partial(_enter, cls), functools.partial(_leave, cls)
    value = await enter(manager)
    try:
        yield value
        del value
    except BaseException as error:  # the task was cancelled, or nobody has the facade any more
        if outcome.forgotten or not await leave(manager, type(error), error, error.__traceback__):
            raise
    else:
        outcome.suppress = bool(await leave(manager, *outcome.raised))


async def _enter(cls: Any, manager: Any) -> Any:
    return cls.__enter__(manager)


async def _leave(cls: Any, manager: Any, *raised: Any) -> Any:
    return cls.__exit__(manager, *raised)


class _Hold:
    """A context manager that a thread has entered, in a task that waits for the end of the block."""

    __slots__ = ("_outcome", "_steps")

    def __init__(self, manager: Any, shared: _Shared) -> None:
        self._outcome = _Outcome()
        # Not patient: while the block runs, nobody waits, and what the block waits for may need the call.
        self._steps = LoopIterator(_held(manager, self._outcome), 0, shared.place, patient=False)

    def enter(self) -> Any:
        """Enter it; what `as` names."""
        return next(self._steps)

    def leave(self, *raised: Any) -> bool:
        """Leave it with what the block has raised; whether that is dealt with."""
        self._outcome.raised = raised
        try:
            next(self._steps)
        except StopIteration:
            pass
        finally:
            self._outcome.raised = (None, None, None)
        return self._outcome.suppress

    def forget(self) -> None:
        """Never leave it."""
        self._outcome.forgotten = True
        self._steps.close()


class _State:
    """One facade's.

    Attributes:
        obj: what it stands for.
        shared: what it has in common with others.
        holds: what threads have entered by `with`, by thread, innermost last.
        entered: what was entered by the call that this facade has come from.
    """

    __slots__ = ("entered", "holds", "obj", "shared")

    def __init__(self, obj: Any, shared: _Shared, entered: _Hold | None) -> None:
        self.obj = obj
        self.shared = shared
        self.holds: dict[int, list[_Hold]] = {}
        self.entered = entered

    def enter(self, facade: SyncFacade) -> Any:
        """Begin a `with` block."""
        hold, self.entered = self.entered, None
        if hold is not None:
            self.holds.setdefault(get_ident(), []).append(hold)
            return facade
        hold = _Hold(self.obj, self.shared)
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


def _state_of(facade: SyncFacade) -> _State:
    state: _State = object.__getattribute__(facade, "_bridge_state")
    return state


def _behind(value: Any) -> Any:
    """What a facade stands for; other values as they are."""
    return _state_of(value).obj if isinstance(value, SyncFacade) else value


class SyncFacade:
    """Base of all facades that `sync_facade` makes. What a facade can do besides depends on its object."""

    __slots__ = ("__weakref__", "_bridge_state")

    _bridge_state: _State

    def __getattr__(self, name: str) -> Any:
        state = _state_of(self)
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
        state = _state_of(self)
        obj, value = state.obj, _behind(value)
        if kind_of(obj, name).is_computed or _sets_in_its_own_way(type(obj)):
            state.call(setattr, obj, name, value)
        else:
            setattr(obj, name, value)

    def __delattr__(self, name: str) -> None:
        state = _state_of(self)
        state.call(delattr, state.obj, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(_state_of(self).obj)} - _IMPOSSIBLE)

    def __repr__(self) -> str:
        return f"<sync_facade of {type(_state_of(self).obj).__qualname__}>"

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


def _given_attribute(state: _State, value: Any) -> Any:
    given = state.shared.given(value)
    callable_object = given is value and callable(value) and not isinstance(value, type)
    return _facade_of(value, state.shared) if callable_object else given


def _method(state: _State, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        return state.shared.call(function, args, kwargs)

    return _named_like(function, method)


def _generator_method(state: _State, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        # Here, since that only makes the generator: none of its code runs before the first item.
        args = tuple(_behind(arg) for arg in args)
        kwargs = {name: _behind(arg) for name, arg in kwargs.items()}
        return _Items(function(*args, **kwargs), state.shared)

    return _named_like(function, method)


def _named_like(function: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    functools.update_wrapper(method, function)
    # It is no coroutine function, whatever was copied with the function's attributes.
    method.__dict__.pop("_is_coroutine", None)
    method.__dict__.pop("_is_coroutine_marker", None)
    return method


# -- special methods, which Python looks for in the class


def _iter(self: SyncFacade) -> Iterator[Any]:
    state = _state_of(self)
    return _Items(state.obj, state.shared)


def _iter_itself(self: SyncFacade) -> SyncFacade:
    # Of an object that is its own iterator, nothing is read ahead: who stops halfway goes on with it.
    return self


def _iter_plain(self: SyncFacade) -> Iterator[Any]:
    state = _state_of(self)
    items: list[Any] = state.call(list, state.obj)
    return map(state.shared.given, items)


def _next(self: SyncFacade) -> Any:
    state = _state_of(self)
    item = state.call(_one_item, state.obj)
    if item is _UNSET:
        raise StopIteration
    return item


async def _one_item(iterator: Any) -> Any:
    try:
        return await anext(iterator)
    except StopAsyncIteration:
        return _UNSET


def _next_plain(self: SyncFacade) -> Any:
    state = _state_of(self)
    item = state.call(next, state.obj, _UNSET)
    if item is _UNSET:
        raise StopIteration
    return item


def _enter_with(self: SyncFacade) -> Any:
    return _state_of(self).enter(self)


def _exit_with(self: SyncFacade, *raised: Any) -> bool:
    return _state_of(self).leave(*raised)


_WITH: dict[str, Any] = {"__enter__": _enter_with, "__exit__": _exit_with}


def _call(self: SyncFacade, *args: Any, **kwargs: Any) -> Any:
    state = _state_of(self)
    return state.shared.call(state.obj, args, kwargs)


def _special(name: str) -> Callable[..., Any]:
    """The special method `name` of the object, on the loop's thread."""

    def method(self: SyncFacade, *args: Any) -> Any:
        state = _state_of(self)
        return state.call(getattr(type(state.obj), name), state.obj, *args)

    method.__name__ = name
    return method


def _contains(self: SyncFacade, item: Any) -> bool:
    state = _state_of(self)
    return bool(state.call(_in, item, state.obj))


def _in(item: Any, container: Any) -> bool:
    return item in container


def _len(self: SyncFacade) -> Any:
    state = _state_of(self)
    return state.call(len, state.obj)


def _bool(self: SyncFacade) -> Any:
    state = _state_of(self)
    return state.call(bool, state.obj)


_classes: weakref.WeakKeyDictionary[type, dict[bool, type[SyncFacade]]] = weakref.WeakKeyDictionary()


def _facade_of(obj: Any, shared: _Shared, entered: _Hold | None = None) -> Any:
    facade = object.__new__(_class_for(obj, entered is not None))
    object.__setattr__(facade, "_bridge_state", _State(obj, shared, entered))
    return facade


def _class_for(obj: Any, entered: bool) -> type[SyncFacade]:
    cls = type(obj)
    known = _classes.get(cls)
    if known is None:
        known = _classes[cls] = {}
    found = known.get(entered)
    if found is None:
        namespace = {**_specials_for(obj), "__slots__": (), "__doc__": cls.__doc__, "__module__": __name__}
        if entered:
            namespace.update(_WITH)
        found = known[entered] = type(f"SyncFacade of {cls.__qualname__}", (SyncFacade,), namespace)
    return found


def _specials_for(obj: Any) -> dict[str, Any]:
    able = abilities_of(obj)
    found: dict[str, Any] = {}
    if able.async_iterator:
        found.update(__iter__=_iter_itself, __next__=_next)
    elif able.async_iterable:
        found.update(__iter__=_iter)
    elif able.iterator:
        found.update(__iter__=_iter_itself, __next__=_next_plain)
    elif able.iterable:
        found.update(__iter__=_iter_plain)
    if able.async_context_manager or able.context_manager:
        found.update(_WITH)
    if able.callable:
        found.update(__call__=_call)
    if able.container:
        found.update(__contains__=_contains)
    if able.sized:
        found.update(__len__=_len)
    if able.truth:
        found.update(__bool__=_bool)
    for name in ("__getitem__", "__setitem__", "__delitem__"):
        if getattr(type(obj), name, None) is not None:
            found[name] = _special(name)
    return found


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
