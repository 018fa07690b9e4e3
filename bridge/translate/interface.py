"""Which interface an object speaks: WSGI, ASGI 3, ASGI 2, or a factory that makes such an app.

Nothing is called and no framework is imported: what counts is how the object may be called. The
evidence, strongest first:

1. The marks that asgiref defines (`_asgi_single_callable`, `_asgi_double_callable`).
2. It is, or its `__call__` is, a coroutine function that takes three arguments: ASGI 3. WSGI apps
   are never coroutine functions.
3. The names of the parameters: `scope, receive, send`; `scope` alone; `environ, start_response`.
4. How many positional arguments are required: three is ASGI 3 (a plain function may return what is
   awaited), two is WSGI, none is a factory. A single one says ASGI 2 only by the name `scope`, since
   any helper takes one argument.

A wrapper that takes `*args` says nothing; what it declares to wrap (`__wrapped__`, the work of
`functools.wraps`) is looked at then, and only then: a decorator that adapts one interface to the
other often carries the name of the function it adapts.
"""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
from dataclasses import dataclass

# No chain of decorators is as long; a chain that is a ring must end somewhere.
_MOST_WRAPPERS = 50
_ENVIRON_NAMES = frozenset({"environ", "env", "environment"})


class Interface(enum.Enum):
    """What a callable is to a server."""

    WSGI = "WSGI"  #: called with (environ, start_response), PEP 3333
    ASGI3 = "ASGI"  #: awaited with (scope, receive, send)
    ASGI2 = "ASGI 2"  #: called with (scope), the result awaited with (receive, send)
    FACTORY = "factory"  #: called without arguments, makes an app
    UNKNOWN = "unknown"  #: none of these, or not to be told apart


@dataclass(frozen=True)
class Verdict:
    """An interface, and the evidence for it as half a sentence (`"it …"`)."""

    interface: Interface
    reason: str

    @property
    def is_app(self) -> bool:
        """Whether a server can call the object for a request, as it is or adapted."""
        return self.interface in (Interface.WSGI, Interface.ASGI3, Interface.ASGI2)


def interface_of(app: object) -> Verdict:
    """Tell which interface `app` speaks; never raises and never calls it.

    See the module's description for the rules.
    """
    try:
        return _interface_of(app)
    except Exception as error:  # a proxy for what is not there, such as flask.request between requests
        return Verdict(Interface.UNKNOWN, f"cannot be looked at: it raises {type(error).__name__}")


def _interface_of(app: object) -> Verdict:
    if getattr(app, "_asgi_single_callable", None) is True:
        return Verdict(Interface.ASGI3, "is marked as a single ASGI callable")
    if getattr(app, "_asgi_double_callable", None) is True:
        return Verdict(Interface.ASGI2, "is marked as a double ASGI callable")
    if isinstance(app, type):
        return _of_class(app)
    if not callable(app):
        return Verdict(Interface.UNKNOWN, "cannot be called")
    return _of_callable(app)


def describe(value: object) -> str:
    """What `value` is, for a message: `flask.Flask`, `function`, `class shop.App`, `module shop`, `None`.

    A type is named by the shortest path under which the modules loaded so far offer it.
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"class {_public_name(value)}"
    if inspect.ismodule(value):
        return f"module {value.__name__}"
    kind = type(value)
    if kind is types.FunctionType and inspect.iscoroutinefunction(value):
        return "coroutine function"
    return kind.__name__ if kind.__module__ in ("builtins", "types") else _public_name(kind)


def _public_name(kind: type) -> str:
    """`flask.Flask` for the class that `flask.app` defines and `flask` exports."""
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        if getattr(sys.modules.get(prefix), kind.__qualname__, None) is kind:
            return f"{prefix}.{kind.__qualname__}"
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True)
class _Shape:
    """How a callable may be called with positional arguments alone."""

    names: tuple[str, ...]
    required: int
    unlimited: bool  # it has *args
    demands_keywords: bool  # a keyword-only argument without default

    def takes(self, count: int) -> bool:
        if self.demands_keywords or count < self.required:
            return False
        return self.unlimited or count <= len(self.names)

    @property
    def vague(self) -> bool:
        """Whether the signature fits several interfaces and names none."""
        return self.unlimited and self.required < 2

    def __str__(self) -> str:
        shown = [*self.names, "*args"] if self.unlimited else self.names
        return f"({', '.join(shown)})"


def _shape(call: object) -> _Shape | None:
    """The shape of `call` itself, not of what it wraps; `None` if it has no signature (some C code)."""
    try:
        signature = inspect.signature(call, follow_wrapped=False)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    names = []
    required = 0
    unlimited = demands_keywords = False
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
            required += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            unlimited = True
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            demands_keywords = True
    return _Shape(tuple(names), required, unlimited, demands_keywords)


def _of_callable(app: object) -> Verdict:
    call = app
    awaitable = False
    for _ in range(_MOST_WRAPPERS):
        awaitable = awaitable or _is_coroutine_function(call)
        shape = _shape(call)
        if shape is None:
            if awaitable:
                return Verdict(Interface.ASGI3, "is a coroutine function")
            return Verdict(Interface.UNKNOWN, "does not tell which arguments it takes")
        wrapped = _wrapped(call)
        if not shape.vague or wrapped is None:
            break
        call = wrapped
    else:
        return Verdict(Interface.UNKNOWN, "is wrapped too many times")
    if _is_async_generator_function(call):
        return Verdict(Interface.UNKNOWN, "is an async generator function, which cannot be awaited")
    return _of_coroutine_shape(shape) if awaitable else _of_plain_shape(shape)


def _of_coroutine_shape(shape: _Shape) -> Verdict:
    if shape.takes(3):
        return Verdict(Interface.ASGI3, f"is awaited with {shape}")
    if shape.takes(0):
        return Verdict(
            Interface.UNKNOWN,
            "is awaited without arguments; a factory must be a plain function, "
            "as no event loop runs yet when it is called",
        )
    return Verdict(Interface.UNKNOWN, f"is awaited with {shape}, not with (scope, receive, send)")


def _of_plain_shape(shape: _Shape) -> Verdict:
    reason = f"is called with {shape}"
    first, second, third = (*shape.names, "", "", "")[:3]
    if third == "start_response":
        return Verdict(Interface.UNKNOWN, f"{reason}: a method of a class instead of an instance, it seems")
    if first == "scope" and second == "receive" and shape.takes(3):
        return Verdict(Interface.ASGI3, reason)
    if first == "scope" and shape.takes(1):
        return Verdict(Interface.ASGI2, reason)
    if shape.takes(2) and (first in _ENVIRON_NAMES or second == "start_response"):
        return Verdict(Interface.WSGI, reason)
    if shape.required == 3 and shape.takes(3):
        return Verdict(Interface.ASGI3, reason)
    if shape.required == 2 and shape.takes(2):
        return Verdict(Interface.WSGI, reason)
    if shape.takes(0) and not shape.unlimited:
        return Verdict(Interface.FACTORY, "can be called without arguments")
    if shape.vague:
        return Verdict(Interface.UNKNOWN, f"{reason}, which fits every interface")
    return Verdict(Interface.UNKNOWN, f"{reason}, which fits no interface")


def _of_class(kind: type) -> Verdict:
    """What calling the class does: it makes the response (an app), or an app (a factory)."""
    shape = _shape(kind)
    if shape is None:
        return Verdict(Interface.UNKNOWN, "is a class that does not tell which arguments it takes")
    reason = f"is a class made with {shape}"
    if shape.takes(3) and shape.required > 0 and hasattr(kind, "__await__"):
        return Verdict(Interface.ASGI3, f"{reason} whose instances are awaited")
    if shape.takes(2) and shape.required > 0 and hasattr(kind, "__iter__"):
        return Verdict(Interface.WSGI, f"{reason} whose instances are iterated over")
    call = getattr(kind, "__call__", None) if _instances_are_callable(kind) else None  # noqa: B004
    if call is not None:
        instance_call = functools.partial(call, None)
        if shape.takes(0) and interface_of(instance_call).is_app:
            return Verdict(Interface.FACTORY, "is a class whose instances are apps")
        within = _shape(instance_call)
        if shape.takes(1) and shape.required == 1 and within is not None and within.takes(2):
            if _is_coroutine_function(call):
                return Verdict(Interface.ASGI2, f"{reason} whose instances are awaited with (receive, send)")
        elif interface_of(instance_call).is_app:
            return Verdict(Interface.UNKNOWN, f"{reason}: its instances are apps, the class is not")
    return Verdict(Interface.UNKNOWN, f"{reason}, which fits no interface")


def _instances_are_callable(kind: type) -> bool:
    return any("__call__" in base.__dict__ for base in kind.__mro__)


def _wrapped(call: object) -> object | None:
    """What a decorator declares to wrap: on the function itself, or on that of a bound `__call__`."""
    if isinstance(call, functools.partial):
        inner = _wrapped(call.func)
        return functools.partial(inner, *call.args, **call.keywords) if callable(inner) else None
    inner = getattr(call, "__wrapped__", None)
    if callable(inner):
        return _bound_like(call, inner)
    if not inspect.isroutine(call):
        method = getattr(call, "__call__", None)  # noqa: B004
        if inspect.ismethod(method):
            return _wrapped(method)
    return None


def _bound_like(call: object, inner: object) -> object:
    """A wrapped function takes `self` where the bound method around it does not."""
    if inspect.ismethod(call) and inspect.isfunction(inner):
        return functools.partial(inner, call.__self__)
    return inner


def _is_coroutine_function(call: object) -> bool:
    while isinstance(call, functools.partial):
        call = call.func
    if _marked_as_coroutine(call):
        return True
    method = None if inspect.isroutine(call) or isinstance(call, type) else getattr(call, "__call__", None)  # noqa: B004
    return method is not None and _marked_as_coroutine(method)


def _marked_as_coroutine(call: object) -> bool:
    """A coroutine function, or a function that says it returns a coroutine.

    Before `inspect.markcoroutinefunction` (Python 3.12) libraries set `_is_coroutine`, asyncio's own
    mark, which is a bare object.
    """
    if inspect.iscoroutinefunction(call):
        return True
    mark = getattr(call, "_is_coroutine", None)
    return mark is True or type(mark) is object


def _is_async_generator_function(call: object) -> bool:
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.isasyncgenfunction(call) or inspect.isasyncgenfunction(getattr(call, "__call__", None))  # noqa: B004
