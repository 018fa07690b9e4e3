"""Blocking code from async code, and the reverse: one function, one iterator or a whole object at a time.

General layout, each part importing only those above it:

    arguments                  checks of options that several functions have
    thread_call, loop_call     one call of either kind: what crosses, who waits for whom
    placement                  which thread, which loop: decisions only
    shared_thread, own_thread  threads that blocking code is bound to
    persistent, lending        loops for threads that no task waits for
    reports                    waits that may never end, told with the stacks of both sides
    to_async, to_sync          sync_to_async and async_to_sync
    iterate_in_thread, loop_iteration, iterate_on_loop
                               iterators and generators, in bounded memory, closed where they ran
    members                    what an object has, and whether a protocol fits it
    facade_calls, async_facade, sync_facade
                               whole objects
    blocking                   calls that block an event loop, found in development

Names are imported when they are asked for, so that `import bridge` stays light.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

from ..lazy_names import lazily

if TYPE_CHECKING:
    from .async_facade import async_facade as async_facade
    from .async_facade import facade_call as facade_call
    from .async_facade import facade_close as facade_close
    from .async_facade import open_facade as open_facade
    from .blocking import detect_blocking as detect_blocking
    from .iterate_in_thread import iterate_in_thread as iterate_in_thread
    from .iterate_on_loop import iterate_on_loop as iterate_on_loop
    from .sync_facade import sync_facade as sync_facade
    from .to_async import sync_to_async as sync_to_async
    from .to_sync import async_to_sync as async_to_sync

_HOMES = {
    "async_facade": "async_facade",
    "async_to_sync": "to_sync",
    "detect_blocking": "blocking",
    "facade_call": "async_facade",
    "facade_close": "async_facade",
    "iterate_in_thread": "iterate_in_thread",
    "iterate_on_loop": "iterate_on_loop",
    "open_facade": "async_facade",
    "sync_facade": "sync_facade",
    "sync_to_async": "to_async",
}

__all__ = [
    "async_facade",
    "async_to_sync",
    "detect_blocking",
    "facade_call",
    "facade_close",
    "iterate_in_thread",
    "iterate_on_loop",
    "open_facade",
    "sync_facade",
    "sync_to_async",
]


class _Shim(types.ModuleType):
    """A package whose names are functions, where a submodule of the same name is imported as well."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Shim

__getattr__, __dir__ = lazily(__name__, _HOMES)
