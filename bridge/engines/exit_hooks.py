"""What is to be done when the interpreter exits, while executors still work."""

from __future__ import annotations

import threading
from collections.abc import Callable


def before_executors_end(function: Callable[[], object]) -> bool:
    """Have a function called at interpreter exit, before `concurrent.futures` shuts its executors down.

    A plain `atexit` function would come too late for what needs one (asyncio's default executor, say):
    they are shut down before, by a hook of `threading`, which calls the last registered first. A child
    that was forked calls its parent's as well.

    Returns:
        `False` if the interpreter is exiting already; then it will not be called.
    """
    try:
        import concurrent.futures.thread  # noqa: F401 - so that its own hook is there first

        threading._register_atexit(function)  # type: ignore[attr-defined]
    except RuntimeError:
        return False
    return True
