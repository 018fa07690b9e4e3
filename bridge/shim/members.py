"""What an object's members are, told without running any code of the object's: for both facades.

    kind_of          of one attribute: data, computed, a method, a coroutine method …
    abilities_of     of the object: what it can be used for (iteration, `with`, calls …), in either colour
    signature_of     of one method
    check_protocol   whether the object can be behind a facade of a given type

Decisions only: no thread, no loop. Nothing here knows which of the two facades asks.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Collection, Iterator
from inspect import Parameter
from typing import Any, NamedTuple

from ..exceptions import UsageError
from .to_async import is_async

_MISSING: Any = object()


class Kind(enum.Enum):
    """What an attribute of an object is."""

    DATA = enum.auto()  #: a plain value, in the object's dict, a slot or the class; reading it runs no code
    COMPUTED = enum.auto()  #: a property or another descriptor: reading it runs code
    CACHED = enum.auto()  #: a `functools.cached_property`: reading it may run code
    METHOD = enum.auto()  #: a function to call, bound or not; a class is none, but data
    COROUTINE_METHOD = enum.auto()  #: an `async def`, or what is marked as one
    ASYNC_GENERATOR_METHOD = enum.auto()  #: an `async def` with `yield`
    DYNAMIC = enum.auto()  #: not found, but the class has `__getattr__`, so anything may come of it
    MISSING = enum.auto()  #: there is none

    @property
    def is_method(self) -> bool:
        """Whether it is a method of any colour."""
        return self in _METHODS

    @property
    def is_computed(self) -> bool:
        """Whether reading it may run code of the object's."""
        return self in _COMPUTED


# Flags of code objects. A function's dict may hold a mark that tells that it is async.
_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_C_FUNCTIONS = frozenset({types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType})

_METHODS = frozenset({Kind.METHOD, Kind.COROUTINE_METHOD, Kind.ASYNC_GENERATOR_METHOD})
_COMPUTED = frozenset({Kind.COMPUTED, Kind.CACHED, Kind.DYNAMIC})


def kind_of(obj: object, name: str) -> Kind:
    """What `obj.name` is. Runs no code of the object's; from any thread.

    Nothing is kept from one time to the next, as a class may be changed while the program runs; a test
    that patches a method does so.
    """
    cls = type(obj)
    for base in cls.__mro__:
        attributes = base.__dict__
        if name in attributes:
            attribute = attributes[name]
            break
    else:
        attribute = _MISSING
    # A descriptor with `__set__` goes before the instance's dict, as it does for Python.
    plain = type(attribute) is types.FunctionType
    if plain or not (hasattr(type(attribute), "__set__") or isinstance(attribute, functools.cached_property)):
        value = instance_dict(obj).get(name, _MISSING)
        if value is not _MISSING:
            return _kind_of_value(value)
    if plain:
        return _kind_of_function(attribute)
    if attribute is _MISSING:
        return Kind.DYNAMIC if is_dynamic(cls) else Kind.MISSING
    return _kind_in_class(attribute)


def is_dynamic(cls: type) -> bool:
    """Whether the class finds attributes that are not there, by `__getattr__` or `__getattribute__`."""
    if _class_attribute(cls, "__getattr__") is not _MISSING:
        return True
    found = _class_attribute(cls, "__getattribute__")
    return found not in (object.__getattribute__, types.ModuleType.__getattribute__)


def instance_dict(obj: object) -> dict[str, Any]:
    """The object's own dict; an empty one if it has none."""
    if not type(obj).__dictoffset__:  # only slots, or of a type written in C
        return {}
    try:
        found = object.__getattribute__(obj, "__dict__")
    except (AttributeError, TypeError):  # a class, or what looks like one
        return {}
    return found if isinstance(found, dict) else {}


def _class_attribute(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        found = base.__dict__.get(name, _MISSING)
        if found is not _MISSING:
            return found
    return _MISSING


def _has_special(cls: type, name: str) -> bool:
    found = _class_attribute(cls, name)
    return found is not _MISSING and found is not None  # `None`: the class takes back what its base can do


def _kind_in_class(attribute: Any) -> Kind:
    if isinstance(attribute, functools.cached_property):
        return Kind.CACHED
    if isinstance(attribute, types.MemberDescriptorType):  # a slot, or a C struct's member
        return Kind.DATA
    if isinstance(attribute, (property, types.GetSetDescriptorType)):
        return Kind.COMPUTED
    if isinstance(attribute, (classmethod, staticmethod)):
        return _kind_of_function(attribute.__func__)
    if isinstance(attribute, (functools.partialmethod, functools.singledispatchmethod)):
        return _kind_of_function(attribute.func)
    if isinstance(attribute, type) or not hasattr(type(attribute), "__get__"):
        return _kind_of_value(attribute)
    # Functions of all sorts, and descriptors that a decorator has made of one.
    return _kind_of_function(attribute) if callable(attribute) else Kind.COMPUTED


def _kind_of_value(value: Any) -> Kind:
    if isinstance(value, type) or not callable(value):
        return Kind.DATA
    return _kind_of_function(value)


def _kind_of_function(function: Any) -> Kind:
    kind = type(function)
    if kind in _C_FUNCTIONS:
        return Kind.METHOD
    if kind is types.FunctionType and not function.__dict__ and not function.__code__.co_flags & _ASYNC:
        return Kind.METHOD  # what most are, without asking all the questions below
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR_METHOD
    return Kind.COROUTINE_METHOD if is_async(function) else Kind.METHOD


class Abilities(NamedTuple):
    """What an object can be used for: which special methods its class has."""

    iterable: bool
    """`for`: `__iter__`, or the old protocol of `__getitem__`."""
    iterator: bool
    """`next`: `__next__`."""
    context_manager: bool
    """`with`: `__enter__` and `__exit__`."""
    async_iterable: bool
    """`async for`: `__aiter__`."""
    async_iterator: bool
    """`anext`: `__anext__`."""
    async_context_manager: bool
    """`async with`: `__aenter__` and `__aexit__`."""
    awaitable: bool
    """`await`: `__await__`, or a coroutine."""
    callable: bool
    """Calls: `__call__`."""
    subscriptable: bool
    """`obj[key]`: `__getitem__`."""
    settable: bool
    """`obj[key] = value` or `del obj[key]`."""
    container: bool
    """`item in obj`: `__contains__`, or by iteration."""
    sized: bool
    """`len`: `__len__`."""
    truth: bool
    """Whether it may be false: `__bool__` or `__len__`."""


_abilities: weakref.WeakKeyDictionary[type, Abilities] = weakref.WeakKeyDictionary()


def abilities_of(obj: object) -> Abilities:
    """What an object can be used for. Runs no code of the object's; from any thread."""
    cls = type(obj)
    found = _abilities.get(cls)
    if found is None:
        found = _abilities[cls] = _abilities_of_class(cls)
    return found


def _abilities_of_class(cls: type) -> Abilities:
    def has(name: str) -> bool:
        return _has_special(cls, name)

    iterable = has("__iter__") or (
        has("__getitem__") and has("__len__") and _class_attribute(cls, "__iter__") is _MISSING
    )
    return Abilities(
        iterable=iterable,
        iterator=has("__next__"),
        context_manager=has("__enter__") and has("__exit__"),
        async_iterable=has("__aiter__"),
        async_iterator=has("__anext__"),
        async_context_manager=has("__aenter__") and has("__aexit__"),
        awaitable=has("__await__"),
        callable=has("__call__"),
        subscriptable=has("__getitem__"),
        settable=has("__setitem__") or has("__delitem__"),
        container=has("__contains__") or iterable,
        sized=has("__len__"),
        truth=has("__bool__") or has("__len__"),
    )


def signature_of(obj: object, name: str) -> inspect.Signature | None:
    """The signature of the method `name` as bound to `obj`; `None` if it is unknown (many C functions)."""
    try:
        return inspect.signature(getattr(obj, name))
    except (ValueError, TypeError, AttributeError):
        return None


# -- protocols

# What one colour calls that, the other calls this. Either of the two will do behind a facade.
OTHER_COLOUR = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}
# The other special methods that a protocol may ask for. What every object has is none of them.
_SPECIAL = frozenset(
    {"__call__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__", "__bool__"}
)
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def check_protocol(obj: object, protocol: type, *, impossible: Collection[str] = ()) -> None:
    """See that every use that `protocol` allows of a facade can be handed on to `obj`.

    Each member of the protocol has to be there, methods as methods. A method has to take every call
    that the protocol's takes: the same parameters by name, kind and order, a default where the
    protocol has one, and no further parameter without a default. Annotations are left to type
    checkers, and so are signatures that are unknown. Of `async` and plain special methods, either
    will do: `__enter__` for `__aenter__`.

    Args:
        obj: the object behind the facade.
        protocol: a `typing.Protocol` or an abstract base class.
        impossible: special methods that the facade cannot have.

    Raises:
        UsageError: `protocol` is no class, or `obj` does not fit; the message lists all differences.
    """
    if not isinstance(protocol, type):
        raise UsageError(f"protocol must be a class, such as a typing.Protocol; got {protocol!r}")
    differences = []
    for name, declared in members_of(protocol).items():
        if name in impossible:
            differences.append(f"{name}: a facade cannot have it")
        else:
            difference = _difference(obj, name, declared)
            if difference is not None:
                differences.append(difference)
    if differences:
        listed = "\n".join(f"- {difference}" for difference in differences)
        raise UsageError(
            f"{type(obj).__qualname__} does not fit the protocol {protocol.__qualname__}:\n{listed}\n"
            "Change the protocol or the class, so that the facade can be what its type says"
        )


def members_of(protocol: type) -> dict[str, Any]:
    """What a protocol asks for, by name: what its class has there, `None` where it has but an annotation."""
    members: dict[str, Any] = {}
    for base in reversed(protocol.__mro__):
        if base is object or base.__module__ == "typing" or base is typing.Generic:
            continue
        for name in (*_annotated(base), *vars(base)):
            if not name.startswith("_") or name in _SPECIAL or name in OTHER_COLOUR:
                members[name] = vars(base).get(name, members.get(name))
    return members


def _annotated(cls: type) -> Iterator[str]:
    if sys.version_info >= (3, 14):
        # Annotations may name what is imported for type checkers only.
        annotationlib: Any = importlib.import_module("annotationlib")
        return iter(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))
    return iter(inspect.get_annotations(cls))


def _difference(obj: object, name: str, declared: Any) -> str | None:
    """What is wrong with one member, `None` if it is all right."""
    asks_for_method = declared is not None and _kind_in_class(declared).is_method
    if name in OTHER_COLOUR:
        names = (name, OTHER_COLOUR[name])
        if any(_has_special(type(obj), either) for either in names):
            return None
        return f"{name}: the object has neither {names[0]} nor {names[1]}"
    kind = kind_of(obj, name)
    if kind is Kind.MISSING:
        return f"{name}: the object has no such {'method' if asks_for_method else 'attribute'}"
    if kind is Kind.DYNAMIC:
        return None  # nothing is known before it is asked for
    if not asks_for_method:
        if kind.is_method and isinstance(declared, (property, functools.cached_property)):
            return f"{name}: a property in the protocol, but a method of the object"
        return None
    if not kind.is_method:
        return f"{name}: a method in the protocol, but not in the object"
    wanted, found = _declared_signature(declared), signature_of(obj, name)
    if wanted is None or found is None:
        return None
    reasons = list(_refusals(wanted, found))
    if not reasons:
        return None
    return f"{name}: the protocol has {name}{_shown(wanted)}, the object {name}{_shown(found)}: " + "; ".join(
        reasons
    )


def _declared_signature(declared: Any) -> inspect.Signature | None:
    """The signature of a method of a protocol class, without `self`."""
    try:
        if isinstance(declared, staticmethod):
            return inspect.signature(declared.__func__)
        signature = inspect.signature(declared.__func__ if isinstance(declared, classmethod) else declared)
    except (ValueError, TypeError, AttributeError):
        return None
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind in _POSITIONAL:
        del parameters[0]
    return signature.replace(parameters=parameters)


def _shown(signature: inspect.Signature) -> str:
    """The signature without its annotations."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _refusals(wanted: inspect.Signature, found: inspect.Signature) -> Iterator[str]:
    """Why a function with the signature `found` does not take every call that `wanted` allows."""
    takes = found.parameters
    of_kind = {parameter.kind: parameter for parameter in takes.values()}
    more_positional = Parameter.VAR_POSITIONAL in of_kind
    more_named = Parameter.VAR_KEYWORD in of_kind
    positions = [parameter.name for parameter in takes.values() if parameter.kind in _POSITIONAL]
    met: set[str] = set()
    place = 0
    for parameter in wanted.parameters.values():
        name, kind = parameter.name, parameter.kind
        if kind is Parameter.VAR_POSITIONAL:
            if not more_positional:
                yield f"*{name} is not taken"
            continue
        if kind is Parameter.VAR_KEYWORD:
            if not more_named:
                yield f"**{name} is not taken"
            continue
        same = takes.get(name)
        if kind in _POSITIONAL:
            at_place = positions[place] if place < len(positions) else None
            place += 1
            if kind is Parameter.POSITIONAL_ONLY:
                same = takes.get(at_place) if at_place is not None else None
                if same is None and not more_positional:
                    yield f"{name} is not taken by position"
                    continue
            elif at_place != name and not (at_place is None and more_positional):
                if same is None and not (at_place is None and more_named):
                    yield f"{name} is not taken"
                elif same is None or same.kind is Parameter.KEYWORD_ONLY:
                    yield f"{name} is not taken by position"
                    met.add(name)
                else:
                    yield f"{name} is at another position"
                    met.add(name)
                continue
        if kind in _NAMED and (same is None or same.kind not in _NAMED) and not more_named:
            yield f"{name} is not taken" if same is None else f"{name} is not taken by name"
            met.add(name)
            continue
        if same is None or same.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        met.add(same.name)
        if parameter.default is not Parameter.empty and same.default is Parameter.empty:
            yield f"{name} has no default"
    for parameter in takes.values():
        optional = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        if parameter.name not in met and not optional and parameter.default is Parameter.empty:
            yield f"{parameter.name} is required"
