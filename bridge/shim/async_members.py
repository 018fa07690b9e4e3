"""What becomes of each member of a blocking object behind an `async_facade`.

    AsyncFacade    stands before the object; it has no attributes of its own
    FacadeState    what the facade knows: the object, where calls run, what comes back as a facade
    _AsyncMethod   what a facade gives for a method

The way of `await facade.method(argument)`: `AsyncFacade.__getattribute__` asks what `method` is
(`members.kind_of`, which runs no code of the object's) and gives an `_AsyncMethod`. A call of that makes a
`PendingCall`; facades among the arguments are replaced by their objects. The rest is the call's
(`facade_calls`), until its result comes by here once more, in the thread: `FacadeState.convert`.
Special methods are in `async_operators`; what is done with the facade itself is in `async_facade`.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

from ..exceptions import PoolClosed, UsageError
from .facade_calls import Entered, PendingAttribute, PendingCall
from .facade_places import GONE, PLAIN, Held, OwnPlace, Place
from .iterate_in_thread import DEFAULT_READ_AHEAD, ThreadIterator
from .members import Abilities, Kind, abilities_of, instance_dict, kind_of
from .to_async import mark_coroutine_function

# They can be entered, and are iterators, but nobody waits for them.
_NEVER_BLOCKS = (memoryview,)


class Options(NamedTuple):
    """What all facades that come from one have in common.

    Attributes:
        place: where calls run.
        read_ahead: as given by the user.
        wrap: classes whose instances come back as facades.
        class_for: the class of a facade whose object has these abilities.
    """

    place: Place
    read_ahead: int | None
    wrap: tuple[type, ...]
    class_for: Callable[[Abilities], type[AsyncFacade]]


class FacadeState:
    """What a facade knows. Its end is the object's, in the thread that the object belongs to.

    Attributes:
        held: the object.
        options: what it has in common with others; `place` is of these.
        origin: it came from no other facade.
        ahead: how many items of what a call gives may be made before they are asked for.
        reader: of an iterator, kept from `async for` to `async for`.
        entered: by way of the facade itself; `async with` may be nested.
        facade: whose it is.
    """

    __slots__ = ("__weakref__", "ahead", "entered", "facade", "held", "options", "origin", "place", "reader")

    def __init__(self, held: Held, options: Options, origin: bool) -> None:
        self.held = held
        self.options = options
        self.place = options.place
        self.origin = origin
        self.ahead = DEFAULT_READ_AHEAD if options.read_ahead is None else options.read_ahead
        self.reader: ThreadIterator[Any] | None = None
        self.entered: list[Entered] = []
        self.facade: weakref.ref[AsyncFacade] | None = None
        options.place.hold(held)

    def obj(self) -> Any:
        """The object.

        Raises:
            PoolClosed: the facade was closed.
        """
        obj = self.held.obj
        if obj is GONE:
            raise PoolClosed("this facade has been closed; make a new one")
        return obj

    def read_ahead(self, obj: Any) -> int:
        """For iterations over `obj` itself: nothing ahead of what somebody else may go on with, or notice."""
        if self.held.lent:
            return 0
        chosen = self.options.read_ahead
        if chosen is not None:
            return chosen
        stateful = abilities_of(obj).iterator and not isinstance(obj, Generator)
        if stateful and any(not name.startswith("_") for name in dir(type(obj))):
            return 0
        return DEFAULT_READ_AHEAD

    def convert(self, value: Any, lent: bool = False) -> Any:
        """A value for the task: plain data as it is, what would go on to block as a facade.

        Args:
            value: what a method returns, or an attribute is.
            lent: the object keeps it.
        """
        if value is self.held.obj:
            facade = None if self.facade is None else self.facade()
            return self.new_facade() if facade is None else facade
        return converted(self.options, value, lent)

    def new_facade(self) -> AsyncFacade:
        """A facade of this state, with the abilities of the object."""
        facade = object.__new__(self.options.class_for(abilities_of(self.obj())))
        _set_state(facade, self)
        self.facade = weakref.ref(facade)
        return facade

    def invoke(
        self, function: Callable[..., Any] | None, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> PendingCall[Any]:
        """A call of `function(obj, *args, **kwargs)`, or of the object's method `name`."""
        if self.reader is not None and name in ("send", "throw") and self.reader.reads_ahead:
            raise UsageError(
                f"{self.name_of(name)} would reach the generator too late: it has gone on, to read ahead. "
                "Make the facade that it comes from with read_ahead=0"
            )
        for argument in args:
            if is_facade(argument):
                args = tuple([self.unwrapped(each) for each in args])
                break
        if kwargs:
            kwargs = {key: self.unwrapped(argument) for key, argument in kwargs.items()}
        return PendingCall(self, function, name, args, kwargs)

    def unwrapped(self, argument: Any) -> Any:
        """An argument as the object may use it: instead of a facade of the same thread, its object."""
        if not is_facade(argument):
            return argument
        state = state_of(argument)
        place = state.place
        if isinstance(place, OwnPlace) and place.home is not self.place.home:
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
            if self.reader is not None:
                held.context = self.reader.context
            self.options.place.let_go(held)


def converted(options: Options, value: Any, lent: bool = False) -> Any:
    """As `FacadeState.convert`, without the state, for what the state refers to."""
    # By its type: what claims to be something else, such as a proxy, is not asked.
    kind = type(value)
    if kind in PLAIN or issubclass(kind, (type, AsyncFacade)):
        return value
    abilities = abilities_of(value)
    asynchronous = abilities.async_iterator or abilities.async_context_manager
    blocks = (abilities.iterator or abilities.context_manager) and not asynchronous
    wrapped = bool(options.wrap) and isinstance(value, options.wrap)
    if wrapped or (blocks and not issubclass(kind, _NEVER_BLOCKS)):
        return FacadeState(Held(value, lent=lent), options, False).new_facade()
    return value


def is_facade(value: object) -> bool:
    """Whether `async_facade` has made it. By its type, so that no code of the value's runs."""
    return issubclass(type(value), AsyncFacade)


def state_of(facade: object) -> FacadeState:
    """What a facade knows.

    Raises:
        UsageError: it is no facade.
    """
    if not is_facade(facade):
        raise UsageError(f"expected a facade made by async_facade or open_facade; got {facade!r}")
    return _get_state(facade)


def require_origin(facade: object) -> FacadeState:
    """What a facade knows that came from no other one.

    Raises:
        UsageError: it is none.
    """
    state = state_of(facade)
    if not state.origin:
        raise UsageError(f"{facade!r} came from another facade and shares its thread; close that one")
    return state


class _AsyncMethod:
    # What `async_facade` gives for a method; a comment, as `__doc__` is the method's.

    __slots__ = ("__weakref__", "_name", "_state")

    def __init__(self, state: FacadeState, name: str) -> None:
        self._state = state
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> PendingCall[Any]:
        """A call that has not begun; see `PendingCall`."""
        return self._state.invoke(None, self._name, args, kwargs)

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


mark_coroutine_function(_AsyncMethod)


class AsyncFacade:
    """What `async_facade` and `open_facade` return; see there.

    Its attributes are those of the object. There are subclasses with the special methods that the
    object can be used by.
    """

    __slots__ = ("__weakref__", "_bridge_facade_state")

    # And not `__getattr__` alone, for which Python first makes an AttributeError for each method.
    def __getattribute__(self, name: str) -> Any:
        if name[:2] == "__":
            return object.__getattribute__(self, name)
        return _member(_get_state(self), name)

    def __getattr__(self, name: str) -> Any:
        return _member(_get_state(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        state = state_of(self)
        obj = state.obj()
        _require_plain(obj, name, f"setattr, {name!r}, value", "__setattr__")
        setattr(obj, name, state.unwrapped(value))

    def __delattr__(self, name: str) -> None:
        obj = state_of(self).obj()
        _require_plain(obj, name, f"delattr, {name!r}", "__delattr__")
        delattr(obj, name)

    def __dir__(self) -> Iterable[str]:
        obj = state_of(self).obj()
        return sorted({*dir(type(obj)), *instance_dict(obj)})

    def __repr__(self) -> str:
        obj = state_of(self).held.obj
        of = "a closed object" if obj is GONE else type(obj).__qualname__
        return f"<async facade of {of}>"

    def __copy__(self) -> Any:
        raise _refusal(self, "copied", "copy.copy")

    def __deepcopy__(self, memo: Any) -> Any:
        raise _refusal(self, "copied", "copy.deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise _refusal(self, "pickled", "pickle.dumps")


_state_slot: Any = vars(AsyncFacade)["_bridge_facade_state"]
_get_state: Callable[[Any], FacadeState] = _state_slot.__get__
_set_state: Callable[[Any, FacadeState], None] = _state_slot.__set__


def _member(state: FacadeState, name: str) -> Any:
    """What a facade gives for an attribute."""
    obj = state.obj()
    kind = kind_of(obj, name)
    if kind is Kind.METHOD:
        return _AsyncMethod(state, name)
    if kind is Kind.DATA:
        return state.convert(getattr(obj, name), lent=True)
    if kind.is_method:
        return getattr(obj, name)  # async already
    if name == "aclose" and kind in (Kind.MISSING, Kind.DYNAMIC) and abilities_of(obj).iterator:
        return functools.partial(_close_iterator, state)
    if kind.is_computed and not (kind is Kind.DYNAMIC and name.startswith("__")):
        return PendingAttribute(state, name, functools.partial(_call_attribute, state, name))
    if kind is Kind.DYNAMIC:
        raise AttributeError(f"{type(obj).__name__!r} object has no attribute {name!r}")
    return getattr(obj, name)  # raises as the object does


def _call_attribute(state: FacadeState, name: str, /, *args: Any, **kwargs: Any) -> PendingCall[Any]:
    return state.invoke(None, name, args, kwargs)


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
    name = type(state_of(facade).obj()).__name__
    return UsageError(
        f"a facade of {name} cannot be {what}, as that would run the object's code on the event loop: "
        f"write `await facade_call(facade, {function})`"
    )


async def _close_iterator(state: FacadeState) -> None:
    """`aclose` of the facade of an iterator: a generator is closed."""
    reader = state.reader
    if reader is not None:
        await reader.aclose()
    await state.place.see_through(_close, state.held)


def _close(held: Held) -> None:
    if isinstance(held.obj, Generator):
        held.run_where_it_was_read(held.obj.close)
