"""A `with` block of blocking code over an async context manager.

Entering and leaving happen in one task on the loop, which waits in between for the end of the block:
so cancel scopes, task groups and context variables work as they do under `async with`. That task is an
iteration (`iterate_on_loop`) with two steps: the first enters, the second leaves. There are no waits
here but those of an iteration.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..engines.ports import Place
from .iterate_on_loop import LoopIterator
from .members import abilities_of


class _Outcome:
    """What the thread has to say at the end of a `with` block, and the answer."""

    __slots__ = ("forgotten", "raised", "suppress")

    def __init__(self) -> None:
        self.raised: tuple[Any, Any, Any] = (None, None, None)
        self.suppress = False
        self.forgotten = False


async def _held(manager: Any, outcome: _Outcome) -> AsyncGenerator[Any, None]:
    """Enter a context manager, give what that has given, and leave it. All in the task that runs this."""
    cls: Any = type(manager)
    if abilities_of(manager).async_context_manager:
        enter, leave = cls.__aenter__, cls.__aexit__
    else:
        enter, leave = functools.partial(_enter, cls), functools.partial(_leave, cls)
    value = await enter(manager)
    try:
        yield value
        del value
    except BaseException as error:  # the task was cancelled, or nobody has the facade any more
        if outcome.forgotten or not await leave(manager, type(error), error, error.__traceback__):
            raise
    else:
        outcome.suppress = bool(await leave(manager, *outcome.raised))


async def _enter(cls: Any, manager: Any) -> Any:
    return cls.__enter__(manager)


async def _leave(cls: Any, manager: Any, *raised: Any) -> Any:
    return cls.__exit__(manager, *raised)


class Hold:
    """A context manager that a thread has entered, in a task that waits for the end of the block.

    Args:
        manager: what to enter, in either colour.
        place: gives the loop, when it is entered.
    """

    __slots__ = ("_outcome", "_steps")

    def __init__(self, manager: Any, place: Callable[[object], Place]) -> None:
        self._outcome = _Outcome()
        # Not patient: while the block runs, nobody waits, and what the block waits for may need the call.
        self._steps = LoopIterator(_held(manager, self._outcome), 0, place, patient=False)

    def enter(self) -> Any:
        """Enter it; what `as` names."""
        return next(self._steps)

    def leave(self, *raised: Any) -> bool:
        """Leave it with what the block has raised; whether that is dealt with."""
        self._outcome.raised = raised
        try:
            next(self._steps)
        except StopIteration:
            pass
        finally:
            self._outcome.raised = (None, None, None)
        return self._outcome.suppress

    def forget(self) -> None:
        """Never leave it."""
        self._outcome.forgotten = True
        self._steps.close()
