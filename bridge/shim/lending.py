"""The loop that has lent the calling thread: worker threads of AnyIO (Starlette, FastAPI) and Trio.

A blocking endpoint of FastAPI runs in a thread of AnyIO's, whose loop is the server's. What it calls
by `async_to_sync` belongs on that loop, where the app's clients and database pools are.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from ..engines.asyncio_port import AsyncioPort
from ..engines.ports import Port


class _Lent(threading.local):
    port: Port | None = None
    nobodys = False  # AnyIO has said that the thread is none of its own, as which it begins and ends


_lent = _Lent()


def lending_loop() -> Port | None:
    """A port to the loop that has lent this thread, `None` if it is no worker of theirs or the loop is gone.

    The first time in a thread this asks the loop, which costs a round trip.
    """
    port = _lent.port
    if port is not None and port.loop is not None and port.alive():
        return port  # AnyIO's threads stay with their loop, while Trio's go from run to run
    modules = sys.modules
    if "trio" not in modules and (_lent.nobodys or "anyio" not in modules):
        return None
    _lent.port = None
    for library, ask in (("anyio", _ask_anyio), ("trio", _ask_trio)):
        from_thread: Any = getattr(sys.modules.get(library), "from_thread", None)
        if from_thread is not None:
            try:
                port = ask(from_thread)
            except RuntimeError:  # not one of its threads; or its loop has ended
                _lent.nobodys = library == "anyio"
                continue
            if port is not None:
                _lent.port = port
                return port
    return None


def _ask_anyio(from_thread: Any) -> Port | None:
    loop = from_thread.run_sync(_running_asyncio_loop)
    return None if loop is None else AsyncioPort(loop)


def _running_asyncio_loop() -> Any:
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def _ask_trio(from_thread: Any) -> Port | None:
    trio: Any = sys.modules["trio"]
    token = from_thread.run_sync(trio.lowlevel.current_trio_token)
    from ..engines import trio_port

    return trio_port.TrioPort(token)
