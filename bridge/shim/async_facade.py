"""`async_facade`, `open_facade`: whole blocking objects for async code.

What a facade does with an attribute is decided by what it is (see `members`), and where its calls
run by its `Place` (see `facade_calls`). A facade has no attributes of its own: what is done with the
facade itself are functions, `facade_call` and `facade_close`.
"""

from __future__ import annotations

import functools
import operator
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar, cast, overload

from ..engines.thread_pool import ThreadPool
from ..exceptions import PoolClosed, UsageError
from .facade_calls import (
    GONE,
    Entered,
    Held,
    OwnPlace,
    PendingAttribute,
    PendingCall,
    Place,
    PoolPlace,
)
from .iterate_in_thread import DEFAULT_READ_AHEAD, ThreadIterator, require_read_ahead
from .members import Abilities, Kind, abilities_of, check_protocol, instance_dict, kind_of
from .own_thread import OwnThread
from .to_async import _mark_coroutine_function

P = TypeVar("P")
T = TypeVar("T")

# What a facade cannot have, as Python wants its result at once.
_IMPOSSIBLE = frozenset(
    {
        "__bool__",
        "__contains__",
        "__delitem__",
        "__enter__",
        "__exit__",
        "__iter__",
        "__len__",
        "__next__",
        "__setitem__",
    }
)
# They can be entered, and are iterators, but nobody waits for them.
_PLAIN = (memoryview,)
_SIMPLE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset})


class _Options(NamedTuple):
    """What all facades that come from one have in common."""

    place: Place
    read_ahead: int | None
    wrap: tuple[type, ...]


class _State:
    """What a facade knows. Its end is the object's, in the thread that the object belongs to."""

    __slots__ = ("__weakref__", "entered", "facade", "held", "options", "origin", "reader")

    def __init__(self, held: Held, options: _Options, origin: bool) -> None:
        self.held = held
        self.options = options
        self.origin = origin  # it came from no other facade
        self.reader: ThreadIterator[Any] | None = None  # of an iterator, kept from `async for` to `async for`
        self.entered: list[Entered] = []  # by way of the facade itself; `async with` may be nested
        self.facade: weakref.ref[AsyncFacade] | None = None
        options.place.hold(held)

    def obj(self) -> Any:
        """The object."""
        obj = self.held.obj
        if obj is GONE:
            raise PoolClosed("this facade has been closed; make a new one")
        return obj

    def read_ahead(self, obj: Any) -> int:
        """For iterations over `obj` itself: nothing ahead of what has other methods that would notice."""
        chosen = self.options.read_ahead
        if chosen is not None:
            return chosen
        stateful = abilities_of(obj).iterator and not isinstance(obj, Generator)
        if stateful and any(not name.startswith("_") for name in dir(type(obj))):
            return 0
        return DEFAULT_READ_AHEAD

    def pending(self, function: Callable[..., Any], name: str) -> PendingCall[Any]:
        """A call of `function(obj)`."""
        return PendingCall(self.bound(function), name, self.options.place, self.convert, self.ahead)

    def bound(self, function: Callable[..., Any]) -> Callable[[], Any]:
        """`function(obj)`, to be called in the thread."""

        def call() -> Any:
            return function(self.obj())

        return call

    @property
    def ahead(self) -> int:
        """For iterations over what a call gives."""
        chosen = self.options.read_ahead
        return DEFAULT_READ_AHEAD if chosen is None else chosen

    def convert(self, value: Any) -> Any:
        """A value for the task: plain data as it is, what would go on to block as a facade."""
        if value is self.held.obj:
            facade = None if self.facade is None else self.facade()
            return self.new_facade() if facade is None else facade
        return _converted(self.options, value)

    def new_facade(self) -> AsyncFacade:
        """A facade of this state, with the abilities of the object."""
        obj = self.obj()
        facade = object.__new__(_class_for(abilities_of(obj)))
        object.__setattr__(facade, _STATE, self)
        self.facade = weakref.ref(facade)
        return facade

    def invoke(self, name: str, method: Callable[..., Any], args: Any, kwargs: Any) -> PendingCall[Any]:
        """A call of `method(obj, *args, **kwargs)`."""
        if name in ("send", "throw") and self.reader is not None and self.reader.reads_ahead:
            raise UsageError(
                f"{self.name_of(name)} would reach the generator too late: it has gone on, to read ahead. "
                "Make the facade that it comes from with read_ahead=0"
            )
        args = tuple(self.unwrapped(argument) for argument in args)
        kwargs = {key: self.unwrapped(argument) for key, argument in kwargs.items()}
        return self.pending(lambda obj: method(obj, *args, **kwargs), self.name_of(name))

    def unwrapped(self, argument: Any) -> Any:
        """An argument as the object may use it: instead of a facade of the same thread, its object."""
        if not isinstance(argument, AsyncFacade):
            return argument
        state = _state_of(argument)
        place = state.options.place
        if isinstance(place, OwnPlace) and place.home is not self.options.place.home:
            raise UsageError(
                f"{argument!r} is bound to a thread of its own, so a method that runs in another cannot use "
                "it. Give both facades one thread: async_facade(..., thread=OwnThread())"
            )
        return state.obj()

    def name_of(self, name: str) -> str:
        """What a member is called in messages."""
        return f"{type(self.held.obj).__name__}.{name}"

    def __del__(self) -> None:
        held = getattr(self, "held", None)
        if held is not None and held.obj is not GONE:
            self.options.place.let_go(held)


def _converted(options: _Options, value: Any) -> Any:
    """As `_State.convert`, without the state, for what the state refers to."""
    if type(value) in _SIMPLE or isinstance(value, (AsyncFacade, type)):
        return value
    abilities = abilities_of(value)
    asynchronous = abilities.async_iterator or abilities.async_context_manager
    blocks = (abilities.iterator or abilities.context_manager) and not asynchronous
    if isinstance(value, options.wrap) or (blocks and not isinstance(value, _PLAIN)):
        return _State(Held(value), options, False).new_facade()
    return value


_STATE = "_bridge_facade_state"


def _state_of(facade: object) -> _State:
    if not isinstance(facade, AsyncFacade):
        raise UsageError(f"expected a facade made by async_facade or open_facade; got {facade!r}")
    return cast(_State, object.__getattribute__(facade, _STATE))


class _AsyncMethod:
    # What `async_facade` gives for a method; a comment, as `__doc__` is the method's.

    __slots__ = ("__weakref__", "_name", "_state")

    def __init__(self, state: _State, name: str) -> None:
        self._state = state
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> PendingCall[Any]:
        """A call that has not begun; see `PendingCall`."""
        name = self._name

        def method(obj: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(obj, name)(*args, **kwargs)

        return self._state.invoke(name, method, args, kwargs)

    # Not kept: the bound method would keep the object.

    @property
    def __wrapped__(self) -> Any:
        return getattr(self._state.obj(), self._name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return getattr(self.__wrapped__, "__doc__", None)

    @property
    def __module__(self) -> str:  # type: ignore[override]
        return str(getattr(self.__wrapped__, "__module__", __name__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<async method {self._state.name_of(self._name)}>"


_mark_coroutine_function(_AsyncMethod)


class AsyncFacade:
    """What `async_facade` and `open_facade` return; see there.

    Its attributes are those of the object. There are subclasses with the special methods that the
    object can be used by.
    """

    __slots__ = ("__weakref__", _STATE)

    def __getattr__(self, name: str) -> Any:
        state = _state_of(self)
        obj = state.obj()
        kind = kind_of(obj, name)
        if kind is Kind.METHOD:
            return _AsyncMethod(state, name)
        if kind is Kind.DATA:
            return state.convert(getattr(obj, name))
        if kind.is_method:
            return getattr(obj, name)  # async already
        if name == "aclose" and kind in (Kind.MISSING, Kind.DYNAMIC) and abilities_of(obj).iterator:
            return functools.partial(_close_iterator, state)
        if kind.is_computed and not (kind is Kind.DYNAMIC and name.startswith("__")):
            return _pending_attribute(state, name)
        if kind is Kind.DYNAMIC:
            raise AttributeError(f"{type(obj).__name__!r} object has no attribute {name!r}")
        return getattr(obj, name)  # raises as the object does

    def __setattr__(self, name: str, value: Any) -> None:
        state = _state_of(self)
        obj = state.obj()
        _require_plain(obj, name, f"setattr, {name!r}, value", "__setattr__")
        setattr(obj, name, state.unwrapped(value))

    def __delattr__(self, name: str) -> None:
        obj = _state_of(self).obj()
        _require_plain(obj, name, f"delattr, {name!r}", "__delattr__")
        delattr(obj, name)

    def __dir__(self) -> Iterable[str]:
        obj = _state_of(self).obj()
        return sorted({*dir(type(obj)), *instance_dict(obj)})

    def __repr__(self) -> str:
        obj = _state_of(self).held.obj
        of = "a closed object" if obj is GONE else type(obj).__qualname__
        return f"<async facade of {of}>"

    def __copy__(self) -> Any:
        raise _refusal(self, "copied", "copy.copy")

    def __deepcopy__(self, memo: Any) -> Any:
        raise _refusal(self, "copied", "copy.deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise _refusal(self, "pickled", "pickle.dumps")


def _require_plain(obj: Any, name: str, call: str, special: str) -> None:
    """Raise `UsageError` if setting the attribute would run code of the object's."""
    kind = kind_of(obj, name)
    plain = getattr(type(obj), special) in (getattr(object, special), getattr(type(sys), special))
    if not plain or kind.is_computed or kind.is_method:
        raise UsageError(
            f"{type(obj).__name__}.{name} is not a plain attribute, so it is set in the object's thread: "
            f"write `await facade_call(facade, {call})`"
        )


def _refusal(facade: object, what: str, function: str) -> UsageError:
    name = type(_state_of(facade).obj()).__name__
    return UsageError(
        f"a facade of {name} cannot be {what}, as that would run the object's code on the event loop: "
        f"write `await facade_call(facade, {function})`"
    )


def _pending_attribute(state: _State, name: str) -> PendingAttribute[Any]:
    def call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> PendingCall[Any]:
        return _AsyncMethod(state, name)(*args, **kwargs)

    return PendingAttribute(
        state.bound(lambda obj: getattr(obj, name)),
        state.name_of(name),
        state.options.place,
        state.convert,
        state.ahead,
        call,
    )


async def _close_iterator(state: _State) -> None:
    """`aclose` of the facade of an iterator: a generator is closed."""
    reader = state.reader
    if reader is not None:
        await reader.aclose()
    await state.options.place.see_through(_close, state.held)


def _close(held: Held) -> None:
    if isinstance(held.obj, Generator):
        held.obj.close()


# -- special methods, given to the classes of facades whose objects have them


def _aiter_self(self: AsyncFacade) -> AsyncFacade:
    return self


async def _anext(self: AsyncFacade) -> Any:
    state = _state_of(self)
    reader = state.reader
    if reader is None:
        held = state.held
        reader = state.reader = ThreadIterator(
            lambda: cast("Iterator[Any]", held.obj),
            state.options.place.home,
            state.read_ahead(state.obj()),
            closes=False,
            convert=functools.partial(_converted, state.options),
        )
    return await reader.__anext__()


def _aiter_new(self: AsyncFacade) -> ThreadIterator[Any]:
    state = _state_of(self)
    obj = state.obj()
    return ThreadIterator(
        lambda: cast("Iterable[Any]", obj),
        state.options.place.home,
        state.read_ahead(obj),
        convert=state.convert,
    )


async def _aenter(self: AsyncFacade) -> Any:
    state = _state_of(self)
    entered = Entered(state.obj, state.options.place, state.convert)
    target = await entered.enter()
    state.entered.append(entered)
    return target


async def _aexit(
    self: AsyncFacade,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> bool:
    entered = _state_of(self).entered.pop()
    return await entered.leave(kind, error, traceback)


async def _aenter_plain(self: AsyncFacade) -> AsyncFacade:
    _state_of(self).obj()
    return self


async def _aexit_plain(self: AsyncFacade, *exc_info: Any) -> None:
    await facade_close(self)


def _call(self: AsyncFacade, /, *args: Any, **kwargs: Any) -> PendingCall[Any]:
    return _state_of(self).invoke("__call__", lambda obj, *a, **k: obj(*a, **k), args, kwargs)


def _getitem(self: AsyncFacade, key: Any) -> PendingCall[Any]:
    return _state_of(self).invoke("__getitem__", operator.getitem, (key,), {})


def _await_passed_on(self: AsyncFacade) -> Any:
    return _state_of(self).obj().__await__()


def _refused(what: str, instead: str) -> Callable[..., Any]:
    def refuse(self: AsyncFacade, *args: Any) -> Any:
        name = type(_state_of(self).obj()).__name__
        raise UsageError(f"{what} cannot be had of a facade of {name} without waiting: write `{instead}`")

    return refuse


def _passed_on(name: str) -> Callable[..., Any]:
    def pass_on(self: AsyncFacade, *args: Any) -> Any:
        obj = _state_of(self).obj()
        return getattr(type(obj), name)(obj, *args)

    return pass_on


def _special_methods(abilities: Abilities) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The special methods of a facade of an object with these abilities."""
    if abilities.async_iterable:
        yield "__aiter__", _passed_on("__aiter__")
    elif abilities.iterator:
        yield "__aiter__", _aiter_self
    elif abilities.iterable:
        yield "__aiter__", _aiter_new
    if abilities.async_iterator:
        yield "__anext__", _passed_on("__anext__")
    elif abilities.iterator:
        yield "__anext__", _anext
    if abilities.async_context_manager:
        yield "__aenter__", _passed_on("__aenter__")
        yield "__aexit__", _passed_on("__aexit__")
    elif abilities.context_manager:
        yield "__aenter__", _aenter
        yield "__aexit__", _aexit
    else:
        yield "__aenter__", _aenter_plain
        yield "__aexit__", _aexit_plain
    if abilities.awaitable:
        yield "__await__", _await_passed_on
    if abilities.callable:
        yield "__call__", _call
    if abilities.subscriptable:
        yield "__getitem__", _getitem
    if abilities.iterable or abilities.subscriptable:
        yield "__iter__", _refused("its items", "async for item in facade")
    if abilities.settable:
        yield "__setitem__", _refused("this", "await facade_call(facade, operator.setitem, key, value)")
        yield "__delitem__", _refused("this", "await facade_call(facade, operator.delitem, key)")
    if abilities.container or abilities.subscriptable:
        yield "__contains__", _refused("`in`", "await facade_call(facade, operator.contains, item)")
    if abilities.sized:
        yield "__len__", _refused("its length", "await facade_call(facade, len)")
    if abilities.truth:
        yield "__bool__", _refused("its truth", "await facade_call(facade, bool)")


@functools.cache
def _class_for(abilities: Abilities) -> type[AsyncFacade]:
    return type("AsyncFacade", (AsyncFacade,), {"__slots__": (), **dict(_special_methods(abilities))})


# -- for users


@overload
def async_facade(
    obj: object,
    protocol: Callable[..., P],
    *,
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
) -> P: ...


@overload
def async_facade(
    obj: object,
    protocol: None = None,
    *,
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
) -> Any: ...


def async_facade(
    obj: object,
    protocol: Any = None,
    *,
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
) -> Any:
    """Make a blocking object usable in async code.

        repository = async_facade(Repository(path), AsyncRepository)
        user = await repository.get(7)
        async for order in repository.orders(user):
            ...
        async with repository.transaction() as transaction:
            await transaction.add(order)

    - A method gives a call that can be awaited, used in `async with` and in `async for`. Methods that
      are async already are the object's own, so a class can be migrated one method at a time.
    - A plain attribute is read and set directly. A property is awaited: `await facade.prop`; it is
      set by `await facade_call(facade, setattr, "prop", value)`.
    - `facade[key]` and `facade(...)` are awaited as well. What Python wants at once, such as `len` and
      `in`, is refused with an error that says what to write: `await facade_call(facade, len)`.
    - Results are plain data as they are; iterators, context managers and instances of the classes
      `wrap` come back as facades that share the thread.
    - A facade as an argument is replaced by its object, if that belongs to the same thread.
    - `async with facade` enters the object if it is a context manager. If not, the facade is closed
      at the end of the block, as by `facade_close`.

    The thread ends when the facade and all that came from it are closed or no longer referred to;
    a generator that is still suspended is closed in it. It does not hold up the interpreter's exit.
    See `sync_to_async` for what cancellation does to a call; an `__exit__` runs in any case.

    Args:
        obj: the object.
        protocol: a `typing.Protocol` or an abstract base class with the async methods. It is the static
            type of the result, and `obj` is checked against it: names and signatures.
        affinity: where methods run. `"facade"`: one after the other in one thread that the facade has
            to itself. `"call"`: in any worker of `pool`, several at a time if several tasks call.
        pool: for `affinity="call"`. Default: the pool of `sync_to_async` for what is not
            thread-sensitive, of 40 threads.
        thread: an `OwnThread` that several facades share, instead of one for this facade.
        read_ahead: how many items of an iteration the thread may make before they are asked for. Default:
            16; but 0 for files, cursors and other iterators with further methods, which would see
            that the object has gone ahead.
        wrap: classes whose instances come back as facades.

    Returns:
        The facade; for mypy and pyright, of the type `protocol`.

    Raises:
        UsageError: `obj` does not fit the protocol, is a class or a facade, or an option is wrong.
    """
    if isinstance(obj, type):
        raise UsageError(f"async_facade expects an object; got the class {obj.__qualname__}; see open_facade")
    if isinstance(obj, AsyncFacade):
        raise UsageError(f"expected a blocking object; got {obj!r}, which is a facade already")
    options = _options(affinity, pool, thread, read_ahead, wrap)
    if protocol is not None:
        check_protocol(obj, protocol, impossible=_IMPOSSIBLE)
    return _State(Held(obj), options, True).new_facade()


def _options(
    affinity: object,
    pool: ThreadPool | None,
    thread: OwnThread | None,
    read_ahead: int | None,
    wrap: Iterable[type],
) -> _Options:
    if affinity not in ("facade", "call"):
        raise UsageError(f'affinity must be "facade" or "call"; got {affinity!r}')
    if pool is not None and affinity != "call":
        raise UsageError('a pool is only for affinity="call"; a facade with a thread of its own needs none')
    if thread is not None and affinity != "facade":
        raise UsageError('a thread is only for affinity="facade"; calls go to any worker of the pool')
    if read_ahead is not None:
        require_read_ahead(read_ahead)
    classes = (wrap,) if isinstance(wrap, type) else tuple(wrap)
    if not all(isinstance(cls, type) for cls in classes):
        raise UsageError(f"wrap must be classes; got {classes!r}")
    place: Place = PoolPlace(pool) if affinity == "call" else OwnPlace(thread or OwnThread(), thread is None)
    return _Options(place, read_ahead, classes)


class Opening(Awaitable[P]):
    """What `open_facade` returns: `await` it, or use it in `async with`. Once."""

    def __init__(self, factory: Callable[[], Any], protocol: Any, options: _Options) -> None:
        self._factory: Callable[[], Any] | None = factory
        self._protocol = protocol
        self._options = options
        self._facade: Any = None

    def __await__(self) -> Generator[Any, Any, P]:
        return self._open().__await__()

    async def _open(self) -> P:
        factory, self._factory = self._factory, None
        if factory is None:
            raise RuntimeError("open_facade(...) has been awaited already; call it again")
        place = self._options.place
        try:
            facade = await place.call(self._make, factory)
        except BaseException:
            if isinstance(place, OwnPlace):
                place.abandon()
            raise
        _state_of(facade).held.opened = False
        return cast(P, facade)

    def _make(self, factory: Callable[[], Any]) -> AsyncFacade:
        held = Held(factory(), opened=True)  # closed, unless the task gets it
        state = _State(held, self._options, True)
        if self._protocol is not None:
            check_protocol(held.obj, self._protocol, impossible=_IMPOSSIBLE)
        return state.new_facade()

    async def __aenter__(self) -> P:
        self._facade = await self._open()
        return cast(P, self._facade)

    async def __aexit__(self, *exc_info: Any) -> None:
        state = _state_of(self._facade)
        try:
            kind = kind_of(state.held.obj, "close")
            if kind is Kind.METHOD:
                await state.options.place.see_through(state.bound(operator.methodcaller("close")))
            elif kind is Kind.COROUTINE_METHOD:
                await state.obj().close()
        finally:
            await facade_close(self._facade)


@overload
def open_facade(
    factory: Callable[..., object],
    /,
    *args: Any,
    protocol: Callable[..., P],
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
    **kwargs: Any,
) -> Opening[P]: ...


@overload
def open_facade(
    factory: Callable[..., object],
    /,
    *args: Any,
    protocol: None = None,
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
    **kwargs: Any,
) -> Opening[Any]: ...


def open_facade(
    factory: Callable[..., object],
    /,
    *args: Any,
    protocol: Any = None,
    affinity: Literal["facade", "call"] = "facade",
    pool: ThreadPool | None = None,
    thread: OwnThread | None = None,
    read_ahead: int | None = None,
    wrap: Iterable[type] = (),
    **kwargs: Any,
) -> Opening[Any]:
    """Make an object in the thread that it is to be used in, and a facade of it.

        async with open_facade(sqlite3.connect, "app.db") as connection:
            rows = await (await connection.execute("SELECT 1")).fetchall()

        connection = await open_facade(sqlite3.connect, "app.db")

    At the end of the `async with` block the object's `close()` is called, if it has one, and the
    facade is closed. The object's own `__enter__` is not called: it may mean something else (a
    transaction, of an SQLite connection).

    Args:
        factory: makes the object.
        args, kwargs: its arguments. For one that is named like an option here, use `functools.partial`.
        protocol, affinity, pool, thread, read_ahead, wrap: see `async_facade`.

    Returns:
        To be awaited, or used in `async with`; gives the facade.

    Raises:
        UsageError: an option is wrong. When it is awaited: the object does not fit the protocol.
    """
    if not callable(factory):
        raise UsageError(f"open_facade expects what makes the object; got {factory!r}; see async_facade")
    options = _options(affinity, pool, thread, read_ahead, wrap)
    return Opening(functools.partial(factory, *args, **kwargs), protocol, options)


def facade_call(
    facade: object, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> PendingCall[Any]:
    """Call `function(obj, *args, **kwargs)` in the thread of a facade, where `obj` is its object.

        count = await facade_call(repository, len)
        await facade_call(connection, setattr, "isolation_level", None)

    Returns:
        A call as of a method: to be awaited, or used in `async with` or `async for`.

    Raises:
        UsageError: `facade` is no facade.
        PoolClosed: it has been closed.
    """
    state = _state_of(facade)
    state.obj()
    return state.invoke(getattr(function, "__name__", repr(function)), function, args, kwargs)


def facade_close(facade: object) -> Coroutine[Any, Any, None]:
    """Close a facade and all that came from it: nothing can be called any more.

    Calls that wait are refused with `PoolClosed`; the one that runs is waited for. Then generators
    that are still suspended are closed, the object is let go of, and the thread ends. The object's
    own `close` is not called. Closing again does nothing.

    Raises:
        UsageError: `facade` is no facade, or it came from another one, which is the one to close.
        BaseException: what a generator raises when it is closed.
    """
    state = _state_of(facade)
    if not state.origin:
        raise UsageError(f"{facade!r} came from another facade and shares its thread; close that one")
    return _close_place(state.options.place)


async def _close_place(place: Place) -> None:
    await place.close()
