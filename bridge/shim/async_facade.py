"""`async_facade`, `open_facade`: whole blocking objects for async code.

What users call is here: it checks what it is given and makes the first facade of an object. What the
facade is and does is elsewhere, in the order in which a call goes through it:

    async_members     what becomes of each member; `facade.method(...)` makes a call that has not begun
    async_operators   special methods: `async for`, `async with`, `facade[key]`
    facade_calls      what can be done with a call: await it, enter it, iterate over it
    facade_places     the thread or the pool that does it
    own_thread        the thread of one facade

A facade has no attributes of its own: what is done with the facade itself are functions, `facade_call`
and `facade_close`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, Literal, TypeVar, cast, overload

from ..engines.thread_pool import ThreadPool
from ..exceptions import UsageError
from .arguments import require_pool, require_read_ahead
from .async_members import AsyncFacade, FacadeState, Options, is_facade, require_origin, state_of
from .async_operators import IMPOSSIBLE, class_for
from .facade_calls import PendingCall
from .facade_places import Held, OwnPlace, Place, PoolPlace, perform
from .members import Kind, check_protocol, kind_of
from .own_thread import OwnThread, outcome_of

P = TypeVar("P")


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
    - An iterator that is an attribute is the object's own: it is neither read ahead nor closed.
    - A context manager is left in the Context that it was entered in, with what the body has set.
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
    if is_facade(obj):
        raise UsageError(f"expected a blocking object; got {obj!r}, which is a facade already")
    options = _options(affinity, pool, thread, read_ahead, wrap)
    if protocol is not None:
        check_protocol(obj, protocol, impossible=IMPOSSIBLE)
    return FacadeState(Held(obj), options, True).new_facade()


def _options(
    affinity: object,
    pool: ThreadPool | None,
    thread: OwnThread | None,
    read_ahead: int | None,
    wrap: Iterable[type],
) -> Options:
    if affinity not in ("facade", "call"):
        raise UsageError(f'affinity must be "facade" or "call"; got {affinity!r}')
    require_pool(pool)
    if pool is not None and affinity != "call":
        raise UsageError('a pool is only for affinity="call"; a facade with a thread of its own needs none')
    if thread is not None and affinity != "facade":
        raise UsageError('a thread is only for affinity="facade"; calls go to any worker of the pool')
    if thread is not None and not isinstance(thread, OwnThread):
        raise UsageError(f"thread must be a bridge.shim.own_thread.OwnThread; got {thread!r}")
    if read_ahead is not None:
        require_read_ahead(read_ahead)
    classes = (wrap,) if isinstance(wrap, type) else tuple(wrap)
    if not all(isinstance(cls, type) for cls in classes):
        raise UsageError(f"wrap must be classes; got {classes!r}")
    place: Place = PoolPlace(pool) if affinity == "call" else OwnPlace(thread or OwnThread(), thread is None)
    return Options(place, read_ahead, classes, class_for)


class Opening(Awaitable[P]):
    """What `open_facade` returns: `await` it, or use it in `async with`. Once."""

    def __init__(self, factory: Callable[[], Any], protocol: Any, options: Options) -> None:
        self._factory: Callable[[], Any] | None = factory
        self._protocol = protocol
        self._options = options
        self._facade: Any = None

    def __await__(self) -> Generator[Any, Any, P]:
        return self._open().__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise AttributeError(
            f"{name!r} was asked of open_facade(...), which has yet to make the object: write "
            "`async with open_facade(...) as facade`, or `facade = await open_facade(...)`"
        )

    async def _open(self) -> P:
        factory, self._factory = self._factory, None
        if factory is None:
            raise RuntimeError("open_facade(...) has been awaited already; call it again")
        place = self._options.place
        try:
            facade = await outcome_of(place.submit(self._make, (factory,)))
        except BaseException:
            if isinstance(place, OwnPlace):
                place.abandon()
            raise
        state_of(facade).held.opened = False
        return cast(P, facade)

    def _make(self, factory: Callable[[], Any]) -> AsyncFacade:
        held = Held(factory(), opened=True)  # closed, unless the task gets it
        state = FacadeState(held, self._options, True)
        if self._protocol is not None:
            check_protocol(held.obj, self._protocol, impossible=IMPOSSIBLE)
        return state.new_facade()

    async def __aenter__(self) -> P:
        self._facade = await self._open()
        return cast(P, self._facade)

    async def __aexit__(self, *exc_info: Any) -> None:
        state = state_of(self._facade)
        try:
            kind = kind_of(state.held.obj, "close")
            if kind is Kind.METHOD:
                await state.place.see_through(perform, state, None, "close", (), {})
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
    state = state_of(facade)
    state.obj()
    return state.invoke(function, getattr(function, "__name__", repr(function)), args, kwargs)


def facade_close(facade: object) -> Coroutine[Any, Any, None]:
    """Close a facade and all that came from it: nothing can be called any more.

    Calls that wait are refused with `PoolClosed`; the one that runs is waited for. Then generators
    that are still suspended are closed, the object is let go of, and the thread ends. The object's
    own `close` is not called. Closing again does nothing.

    Raises:
        UsageError: `facade` is no facade, or it came from another one, which is the one to close.
        BaseException: what a generator raises when it is closed.
    """
    return _close(require_origin(facade).place)


async def _close(place: Place) -> None:
    await place.close()
