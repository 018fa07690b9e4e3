"""Run one function in a thread while a task waits: for hooks and for draining, not for requests."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from ..exceptions import LoopGone, PoolError
from .ports import Port
from .thread_pool import Job, ThreadPool, Worker, start_thread


class _Call(Job):
    """A function as a job. Its task is woken on every way out; a loop that is gone has no task."""

    __slots__ = ("_context", "_flag", "_function", "_port", "error", "result")

    def __init__(self, port: Port, function: Callable[[], object]) -> None:
        super().__init__()
        self._port = port
        self._function = function
        self._context = contextvars.copy_context()
        self._flag = port.flag()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, worker: Worker | None) -> None:
        try:
            self.result = self._context.run(self._function)
        except BaseException as error:
            self.error = error
        self._wake()

    def refuse(self, error: PoolError) -> None:
        self.error = error
        self._wake()

    def _wake(self) -> None:
        try:
            self._port.wake(self._flag)
        except LoopGone:
            pass

    async def outcome(self) -> Any:
        await self._flag
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        return self.result


async def run_in_pool(pool: ThreadPool, port: Port, function: Callable[[], object]) -> Any:
    """Await `function` in a worker of `pool`. Cancelling the wait does not stop a function that runs."""
    call = _Call(port, function)
    pool.submit(call)
    try:
        return await call.outcome()
    finally:
        pool.cancel(call)


async def run_in_new_thread(port: Port, function: Callable[[], object], name: str) -> Any:
    """Await `function` in a daemon thread of its own."""
    call = _Call(port, function)
    start_thread(call.run, None, name)
    return await call.outcome()
