"""The special methods of an async facade, and the classes that have them.

Python looks for these in the class, so there is a class of facades for each set of abilities
(`members.Abilities`) that objects have. What can be awaited is passed on: `async for`, `async with`,
`facade[key]`, `facade(...)`. What Python wants at once is refused, with what to write instead.
"""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, cast

from ..exceptions import UsageError
from .async_members import AsyncFacade, converted, require_origin, state_of
from .facade_calls import Entered, PendingCall
from .iterate_in_thread import ThreadIterator
from .members import Abilities

IMPOSSIBLE = frozenset(
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
"""What a facade cannot have, as Python wants its result at once."""


def _aiter_self(self: AsyncFacade) -> AsyncFacade:
    return self


async def _anext(self: AsyncFacade) -> Any:
    state = state_of(self)
    reader = state.reader
    if reader is None:
        held = state.held
        reader = state.reader = ThreadIterator(
            lambda: cast("Iterator[Any]", held.obj),
            state.place.home,
            state.read_ahead(state.obj()),
            closes=False,
            convert=functools.partial(converted, state.options),
        )
        held.reader = weakref.ref(reader)
    return await reader.__anext__()


def _aiter_new(self: AsyncFacade) -> ThreadIterator[Any]:
    state = state_of(self)
    obj = state.obj()
    return ThreadIterator(
        lambda: cast("Iterable[Any]", obj),
        state.place.home,
        state.read_ahead(obj),
        convert=state.convert,
    )


async def _aenter(self: AsyncFacade) -> Any:
    state = state_of(self)
    entered = Entered(state.obj, state)
    target = await entered.enter()
    state.entered.append(entered)
    return target


async def _aexit(
    self: AsyncFacade,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> bool:
    entered = state_of(self).entered.pop()
    return await entered.leave(kind, error, traceback)


async def _aenter_plain(self: AsyncFacade) -> AsyncFacade:
    require_origin(self).obj()
    return self


async def _aexit_plain(self: AsyncFacade, *exc_info: Any) -> None:
    await state_of(self).place.close()


def _call(self: AsyncFacade, /, *args: Any, **kwargs: Any) -> PendingCall[Any]:
    return state_of(self).invoke(_called, "__call__", args, kwargs)


def _called(obj: Any, /, *args: Any, **kwargs: Any) -> Any:
    return obj(*args, **kwargs)


def _getitem(self: AsyncFacade, key: Any) -> PendingCall[Any]:
    return state_of(self).invoke(operator.getitem, "__getitem__", (key,), {})


def _await_passed_on(self: AsyncFacade) -> Any:
    return state_of(self).obj().__await__()


def _refused(what: str, instead: str) -> Callable[..., Any]:
    def refuse(self: AsyncFacade, *args: Any) -> Any:
        name = type(state_of(self).obj()).__name__
        raise UsageError(f"{what} cannot be had of a facade of {name} without waiting: write `{instead}`")

    return refuse


def _passed_on(name: str) -> Callable[..., Any]:
    def pass_on(self: AsyncFacade, *args: Any) -> Any:
        obj = state_of(self).obj()
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
def class_for(abilities: Abilities) -> type[AsyncFacade]:
    """The class of a facade whose object has these abilities."""
    return type("AsyncFacade", (AsyncFacade,), {"__slots__": (), **dict(_special_methods(abilities))})
