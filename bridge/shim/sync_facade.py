"""`sync_facade`: whole async objects for blocking code.

What users call is here: it checks what it is given and makes the first facade of an object. What the
facade is and does is elsewhere, in the order in which a call goes through it:

    sync_members     what becomes of each member; where calls run, and what comes back as a facade
    sync_operators   special methods: `for`, `with`, `len`, `facade[key]`
    loop_call        a call, as `async_to_sync` does it
    iterate_on_loop  an iterator, in a task of its own
    sync_blocks      a context manager that was entered, in a task of its own

Everything that may run code of the object's runs on one loop.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, TypeVar, overload

from ..engines.loop_thread import LoopFactory
from ..exceptions import UsageError
from .arguments import require_read_ahead
from .iterate_on_loop import DEFAULT_READ_AHEAD
from .members import check_protocol, members_of
from .sync_members import IMPOSSIBLE, Shared, facade_of, is_facade
from .sync_operators import class_for
from .thread_call import name_of
from .to_async import is_async

P = TypeVar("P")


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
    require_read_ahead(read_ahead)
    if protocol is not None:
        check_protocol(obj, protocol, impossible=IMPOSSIBLE)
        _refuse_async(protocol)
    return facade_of(obj, Shared(read_ahead, classes, loop_factory, class_for))


def _remedy(obj: Any) -> str:
    """What is wrong with an object, and what to do about it; "" if nothing is."""
    if is_facade(obj):
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
