"""The special methods of a sync facade, and the classes that have them.

Python looks for these in the class, so there is a class of facades for each class of objects. Async
special methods become plain ones (`__aiter__`, `__aenter__`); those that are plain already run on the
loop's thread, as methods do.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from .members import abilities_of
from .sync_members import Items, SyncFacade, state_of

_UNSET: Any = object()


def _iter(self: SyncFacade) -> Iterator[Any]:
    state = state_of(self)
    return Items(state.obj, state.shared)


def _iter_itself(self: SyncFacade) -> SyncFacade:
    # Of an object that is its own iterator, nothing is read ahead: who stops halfway goes on with it.
    return self


def _iter_plain(self: SyncFacade) -> Iterator[Any]:
    state = state_of(self)
    items: list[Any] = state.call(list, state.obj)
    return map(state.shared.given, items)


def _next(self: SyncFacade) -> Any:
    state = state_of(self)
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
    state = state_of(self)
    item = state.call(next, state.obj, _UNSET)
    if item is _UNSET:
        raise StopIteration
    return item


def _enter_with(self: SyncFacade) -> Any:
    return state_of(self).enter(self)


def _exit_with(self: SyncFacade, *raised: Any) -> bool:
    return state_of(self).leave(*raised)


_WITH: dict[str, Any] = {"__enter__": _enter_with, "__exit__": _exit_with}


def _call(self: SyncFacade, /, *args: Any, **kwargs: Any) -> Any:
    state = state_of(self)
    return state.shared.call(state.obj, args, kwargs)


def _special(name: str) -> Callable[..., Any]:
    """The special method `name` of the object, on the loop's thread."""

    def method(self: SyncFacade, *args: Any) -> Any:
        state = state_of(self)
        return state.call(getattr(type(state.obj), name), state.obj, *args)

    method.__name__ = name
    return method


def _contains(self: SyncFacade, item: Any) -> bool:
    state = state_of(self)
    return bool(state.call(_in, item, state.obj))


def _in(item: Any, container: Any) -> bool:
    return item in container


def _len(self: SyncFacade) -> Any:
    state = state_of(self)
    return state.call(len, state.obj)


def _bool(self: SyncFacade) -> Any:
    state = state_of(self)
    return state.call(bool, state.obj)


_classes: weakref.WeakKeyDictionary[type, dict[bool, type[SyncFacade]]] = weakref.WeakKeyDictionary()


def class_for(obj: Any, entered: bool) -> type[SyncFacade]:
    """The class of a facade of such an object; `entered`: it can be left by `with` in any case."""
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
