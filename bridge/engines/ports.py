"""What may be asked of an async library.

A port belongs to one event loop. Everything that crosses from a thread to that loop goes through
its `wake`, so wake-ups can be coalesced in one place.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

# How long a wait counts as brief: after it, a waiting task looks after other things as well.
BRIEFLY = 0.1


class Flag(Protocol):
    """A one-shot event of one task: awaiting it ends once it is raised."""

    def __await__(self) -> Any: ...


class Started(Protocol):
    """What `Port.start` has started."""

    def cancel(self) -> object:
        """Cancel it. On the loop's thread."""

    def done(self) -> bool:
        """Whether it has ended. From any thread."""


class Place(Protocol):
    """Where coroutines can be run: a `Port`, or a `LoopThread`."""

    @property
    def port(self) -> Port:
        """The loop."""

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run `callback` soon on the loop's thread; from any thread. Raises `LoopGone`."""

    def alive(self) -> bool:
        """Whether the loop can still run what is given to it. From any thread."""


class Port(Place, Protocol):
    """One event loop, as seen by the engines."""

    @property
    def loop(self) -> Any:
        """The asyncio event loop, `None` where there is none (trio)."""

    def flag(self) -> Any:
        """A new `Flag`. Call on the loop's thread."""

    def raise_flag(self, flag: Any) -> None:
        """Raise a flag on the loop's thread; nothing happens if it is raised or cancelled already."""

    def wake(self, flag: Any) -> None:
        """Raise a flag soon, from any thread. Flags that wait together cost one wake-up of the loop.

        Raises:
            LoopGone: the loop is closed.
        """

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run `callback` soon on the loop's thread, in any Context; call from any thread.

        What it raises is logged. Callbacks that wait together cost one wake-up of the loop.

        Raises:
            LoopGone: the loop is closed.
        """

    def alive(self) -> bool:
        """Whether the loop can still run what is given to it. Call from any thread."""

    def is_current(self) -> bool:
        """Whether this port's loop runs the caller."""

    def mind(self, flag: Any) -> set[Any]:
        """Raise the flag anyway once it has waited for `BRIEFLY`, at the latest twice that.

        Returns:
            A set to discard the flag from when its wait is over.
        """

    async def shielded(self, flag: Any) -> None:
        """Await a flag in a task that has been cancelled, until it is raised or the task is cancelled again.

        Under trio, where a cancelled scope stays cancelled, until it is raised.
        """

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> Started:
        """Run a coroutine in a task of its own. On the loop's thread; what it raises is nobody's.

        Its first step may be taken before this returns.
        """

    async def run_beside(
        self, main: Callable[[], Awaitable[None]], companion: Callable[[], Awaitable[None]]
    ) -> None:
        """Run `main` in the calling task with `companion` beside it.

        When `main` ends, raises or is cancelled, `companion` is cancelled and its end is awaited.
        `companion` must not raise.
        """


def in_trio_task() -> bool:
    """Whether trio runs the caller. Does not import it."""
    # There may be a module without contents: while a thread imports it (HTTP clients do so on first
    # use), or where its import has been forbidden by `None`.
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if lowlevel is None or not lowlevel.in_trio_task():
        return False
    # Under an asyncio loop that blocking code has started inside a task of trio's, it is asyncio that
    # runs a task; under trio in guest mode, whose steps are callbacks of a loop, it is not.
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    return loop is None or asyncio is None or asyncio.current_task(loop) is None
