"""Context variables that come back from where a call has run.

A call that goes to another thread runs in a copy of its caller's Context; what it sets there is
carried back afterwards, as if the call had run in place.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

_UNSET: Any = object()

# Values that know which thread they belong to, by type: what makes one for the calling thread.
# asgiref's `Local` keeps such values; `asgiref_notes` adds them here.
movers: dict[type, Callable[[Any], Any]] = {}


def carry_back(context: contextvars.Context, *skipped: contextvars.ContextVar[Any] | None) -> None:
    """Set in the current context what differs in `context`, but for the variables `skipped`."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value and variable not in skipped:
            mover = movers.get(type(value))
            variable.set(value if mover is None else mover(value))


def has_movable(context: contextvars.Context) -> bool:
    """Whether `settle` would do anything in this context."""
    for value in context.values():  # noqa: SIM110 - a generator would cost more than all the rest
        if type(value) in movers:
            return True
    return False


def settle(
    context: contextvars.Context | None = None, skipped: contextvars.ContextVar[Any] | None = None
) -> None:
    """Let values that were copied into the current context belong to the calling thread.

    Args:
        context: the current context, if it is at hand.
        skipped: a variable to leave alone.
    """
    if context is None:
        context = contextvars.copy_context()
    for variable, value in context.items():
        mover = movers.get(type(value))
        if mover is not None and variable is not skipped:
            variable.set(mover(value))
