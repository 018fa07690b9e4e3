"""`async_to_sync`: async functions for blocking code. How it runs them is in `loop_call`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, SupportsIndex, TypeVar, overload

from ..engines.loop_thread import LoopFactory
from ..exceptions import UnsuitableFunction
from .loop_call import LoopCall, find_loop
from .thread_call import name_of, reference_to

P = ParamSpec("P")
R = TypeVar("R")
# Of a method: the instance, and what is left of the parameters without it.
S = TypeVar("S")
Q = ParamSpec("Q")


class AsyncToSync(Generic[P, R]):
    """What `async_to_sync` returns: a call of it runs the coroutine on a loop, and waits.

    It has the function's name, docstring and attributes.

    Attributes:
        awaitable: the function.
    """

    def __init__(
        self, awaitable: Callable[P, Awaitable[R]], force_new_loop: bool, loop_factory: LoopFactory | None
    ) -> None:
        functools.update_wrapper(self, awaitable)
        self.awaitable = awaitable
        self._force_new_loop = force_new_loop
        self._loop_factory = loop_factory
        # It is no coroutine function, whatever was copied with the function's attributes.
        self.__dict__.pop("_is_coroutine", None)
        self.__dict__.pop("_is_coroutine_marker", None)
        bound_to = getattr(awaitable, "__self__", None)
        if bound_to is not None:
            self.__self__ = bound_to

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the coroutine, wait for its end, and return what it returns.

        Raises:
            WouldDeadlock: an event loop runs in the calling thread.
            LoopGone: the loop has ended.
            BaseException: what the coroutine raises.
        """
        place = find_loop(self.awaitable, self._force_new_loop, self._loop_factory)
        return LoopCall(self.awaitable, args, kwargs, place).outcome()  # type: ignore[no-any-return]

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncToSync[P, R]: ...

    @overload
    def __get__(
        self: AsyncToSync[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> Callable[Q, R]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method: bound to the instance."""
        return self if instance is None else MethodType(self, instance)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return reference_to(self) or super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"<async_to_sync of {name_of(self.awaitable)}>"


@overload
def async_to_sync(
    awaitable: Callable[P, Awaitable[R]],
    *,
    force_new_loop: bool = False,
    loop_factory: LoopFactory | None = None,
) -> AsyncToSync[P, R]: ...


@overload
def async_to_sync(
    awaitable: None = None, *, force_new_loop: bool = False, loop_factory: LoopFactory | None = None
) -> Callable[[Callable[P, Awaitable[R]]], AsyncToSync[P, R]]: ...


def async_to_sync(
    awaitable: Callable[..., Any] | None = None,
    *,
    force_new_loop: bool = False,
    loop_factory: LoopFactory | None = None,
) -> Any:
    """Make an async function callable from blocking code: a call runs it on an event loop, and waits.

        response = async_to_sync(client.get)("https://example.org/")

        @async_to_sync
        async def view(request): ...

    Drop-in for `asgiref.sync.async_to_sync`. It runs on the loop whose task waits for what the calling
    thread does: the server's, in a request behind `WSGIToASGI`; that of the caller of `sync_to_async`,
    ours or asgiref's; that of AnyIO's and Trio's worker threads (a blocking endpoint of FastAPI). In
    any other thread it runs on one loop that the process keeps for this, so an `AsyncClient` or a pool
    of connections can be used in the next call again.

    While the thread waits, thread-sensitive `sync_to_async` calls of the coroutine run in it, so
    nesting the two never deadlocks. Context variables go in and come back; the coroutine finds the
    exception that its caller is handling in `sys.exc_info()`. If the thread is ended while it waits
    (KeyboardInterrupt), the coroutine is cancelled; if the coroutine is cancelled, the caller gets
    `asyncio.CancelledError`.

    Args:
        awaitable: what to call on the loop's thread, and await: an async function, or any callable
            that returns an awaitable. Left out, the result is a decorator; of a method, too.
        force_new_loop: run on a new loop in a new thread, which ends with the call.
        loop_factory: makes the loop that is kept, such as `uvloop.new_event_loop`; the call goes
            there even where there would be another loop to run on. One is kept for each factory, so
            give the same function each time, and not a new lambda.

    Returns:
        A callable with the function's signature, name and docstring.

    Raises:
        UnsuitableFunction: `awaitable` cannot be called.

    Of a call:
        what the coroutine raises; `WouldDeadlock` in a thread in which an event loop runs;
        `UnsuitableFunction` if what the function returns cannot be awaited; `LoopGone` if the loop
        ends under it.
    """
    if awaitable is None:
        return functools.partial(async_to_sync, force_new_loop=force_new_loop, loop_factory=loop_factory)
    if not callable(awaitable):
        raise UnsuitableFunction(
            f"async_to_sync expects an async function; got {awaitable!r}. Give it the function itself, and "
            "call the result: async_to_sync(function)(…)"
        )
    if isinstance(awaitable, AsyncToSync):
        raise UnsuitableFunction(f"{name_of(awaitable)} is a result of async_to_sync already; call it")
    if inspect.isasyncgenfunction(awaitable):
        raise UnsuitableFunction(
            f"async_to_sync expects an async function, but {name_of(awaitable)} is an async generator; in "
            "blocking code, iterate over bridge.shim.iterate_on_loop(…) of what it returns"
        )
    return AsyncToSync(awaitable, force_new_loop, loop_factory)
