"""Which event loop runs the caller: a port to it, made with what is imported already."""

from __future__ import annotations

import sys
import threading

from ..exceptions import UsageError
from .ports import Port, in_trio_task


def running_port() -> Port:
    """A new port to the loop that runs the calling task.

    Raises:
        UsageError: neither asyncio nor trio runs the caller.
    """
    # Asked first: in trio's guest mode, an asyncio loop runs underneath.
    if in_trio_task():
        from . import trio_port

        return trio_port.TrioPort(sys.modules["trio"].lowlevel.current_trio_token())
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        raise UsageError(
            "expected to be awaited on a running asyncio or trio event loop; found neither. "
            "Serve the app with an ASGI server, or await it inside asyncio.run() or trio.run()"
        )
    from . import asyncio_port

    return asyncio_port.AsyncioPort(loop)


class _Last(threading.local):
    port: Port | None = None


last = _Last()
"""The port that `shared_port` gave in this thread."""


def shared_port() -> Port:
    """As `running_port`, but the same as last time while the same loop runs in this thread.

    What goes through one port has its wake-ups coalesced. The last loop of a thread is kept until
    the next one, or the end of the thread.
    """
    port = last.port
    if port is not None and port.is_current():
        return port
    port = last.port = running_port()
    return port
