"""What a test leaves behind: threads that it has started, objects that ought to be gone.

What other tests of the process have left, or leave meanwhile, does not count.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.engines import eventually

# Python 3.12 begins with a few hundred frozen objects.
_FROZEN_AT_START = 1000
# So many objects are looked at within a few milliseconds.
_MANY = 20_000


@contextmanager
def no_thread_left(*, daemons: bool = True) -> Iterator[None]:
    """Wait at the end until each thread that was started meanwhile has ended; a decorator as well.

    Args:
        daemons: daemon threads count too.
    """
    before = set(threading.enumerate())
    yield

    def left() -> list[threading.Thread]:
        now = threading.enumerate()
        return [each for each in now if each not in before and (daemons or not each.daemon)]

    try:
        eventually(lambda: not left())
    except AssertionError:
        raise AssertionError(f"threads were left: {left()}") from None


@contextmanager
def own_garbage() -> Iterator[None]:
    """Let `gc.collect` look at nothing but what is made within; a decorator as well.

    In a process that has loaded a thousand tests, nearly all the time of a collection goes into what was
    there before; and what others have left would be finalized in the middle of this test.
    """
    if gc.get_freeze_count() > _FROZEN_AT_START:
        # What was there at the start is frozen already, and thawing would end that.
        if len(gc.get_objects()) > _MANY:
            gc.collect()
            gc.freeze()
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def no_longer_there(reference: weakref.ref[Any]) -> None:
    """Wait until an object is gone, which other threads may hold for a moment longer."""
    eventually(lambda: gc.collect() >= 0 and reference() is None, "the end of an object")
