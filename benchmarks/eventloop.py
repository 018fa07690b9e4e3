"""Event loops of the kind asked for, in this thread or in one of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

STOP_TIMEOUT = 5.0


def has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None


def new_loop(loop_name: str) -> asyncio.AbstractEventLoop:
    if loop_name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


def run(main: Coroutine[Any, Any, T], loop_name: str) -> T:
    """Run a coroutine in a new loop of the kind asked for."""
    loop = new_loop(loop_name)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class LoopThread:
    """A loop that runs in a daemon thread until `close`."""

    def __init__(self, loop_name: str) -> None:
        self.loop = new_loop(loop_name)
        self._thread = threading.Thread(target=self.loop.run_forever, name=f"{loop_name} loop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; what the loop still had to do is dropped."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(STOP_TIMEOUT)
        if not self._thread.is_alive():
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
