"""One event loop in a daemon thread of its own, shared by all who ask for the same kind of loop.

The thread runs from `start` (called by the first user) until `release` by the last. What is safe to
rely on:

- `start` returns when the loop runs, or raises; concurrent callers wait for the same start.
- What is given to `submit` runs on the loop's thread, in order, each once, in an empty Context; what it
  raises is logged. Callbacks that wait together cost one wake-up of the loop.
- A task that raises SystemExit or KeyboardInterrupt, or somebody's `loop.stop()`, does not end the
  loop: it is run again. `loop.close()` ends it.
- When the loop ends, its tasks are cancelled and its executor and generators closed, each within
  `_LAST_STEPS` seconds; what does not end then is left to the daemon thread.
- In a forked child there is no such thread: `alive` is false, and `LoopThread.shared` makes another.
  The parent's loop is not closed there, since both share what it polls.

Who waits, and what ends the wait: `start` waits for the thread, which sets the latch on every way
out; a thread that never comes to run (no memory; a host that stops threads) is given up after
`START_TIMEOUT`. `join` waits for the end for a bounded time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..exceptions import LoopGone, UsageError
from .asyncio_port import AsyncioPort
from .gates import Latch, native, threads_are_greenlets
from .thread_pool import start_native_thread

logger = logging.getLogger("bridge.loop")

# A thread begins within milliseconds; a host under load may take seconds.
START_TIMEOUT = 30.0
# Each step of closing a loop: cancelling its tasks, closing its generators, joining its executor.
_LAST_STEPS = 2.0

_LAST_STEP = "bridge-loop-last-step"

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopThread:
    """An event loop and its thread.

    Args:
        factory: makes the loop, in its thread.
        running: instead, a loop that runs already, in another thread; its owner runs and stops it.

    Attributes:
        port: the loop, as seen by the other engines; valid after `start`.
        pid: the process that it lives in.
        allocate_lock: makes a lock that works between real threads, also under gevent.
    """

    _shared: dict[tuple[int, LoopFactory], LoopThread] = {}
    # Parents' loops, seen from a forked child: kept, since closing them would disturb the parent.
    _inherited: list[LoopThread] = []
    # By process, as uWSGI forks without a word to Python: a lock that another thread of the parent
    # held would stay held in the child.
    _registry_locks: dict[int, Any] = {}

    def __init__(
        self, factory: LoopFactory | None = None, running: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.pid = os.getpid()
        self.allocate_lock: Callable[[], Any] = native("allocate_lock")
        self._factory = factory
        self._lock = native("allocate_lock")()
        self._started = Latch()
        self._ended = Latch()
        self._begun = False
        self._stopping = False
        self._stop: asyncio.Future[None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._error: BaseException | None = None
        self._users = 0
        self.port: AsyncioPort
        if running is not None:
            self.port = AsyncioPort(running)
            self._begun = True
            self._started.set()

    # -- sharing

    @classmethod
    def shared(cls, factory: LoopFactory) -> LoopThread:
        """The loop thread of this process for `factory`, to be given back by `release`. Not started yet."""
        pid = os.getpid()
        with cls._registry_lock():
            for key in [key for key in cls._shared if key[0] != pid]:
                cls._inherited.append(cls._shared.pop(key))
            thread = cls._shared.get((pid, factory))
            if thread is None or thread._stopping or thread._ended.is_set:
                thread = cls._shared[pid, factory] = cls(factory)
            thread._users += 1
            return thread

    @classmethod
    def _registry_lock(cls) -> Any:
        pid = os.getpid()
        lock = cls._registry_locks.get(pid)
        return lock or cls._registry_locks.setdefault(pid, native("allocate_lock")())

    def release(self) -> None:
        """One user less. The last one stops the loop, after what was submitted before; does not wait."""
        cls = type(self)
        with cls._registry_lock():
            self._users -= 1
            if self._users > 0 or self._factory is None:
                return
            if cls._shared.get((self.pid, self._factory)) is self:
                del cls._shared[self.pid, self._factory]
            self._stopping = True
        if self.alive():
            try:
                self.submit(self._stop_soon)
            except LoopGone:
                pass

    def join(self, timeout: float) -> bool:
        """Wait for the end of the loop, if it has been told to stop; return whether it has ended."""
        if self._stopping and not self.is_current():
            self._ended.wait(timeout, self.alive)
        return self._ended.is_set

    # -- its life

    def start(self) -> None:
        """Start the thread if it has not been, and wait until the loop runs.

        Raises:
            LoopGone: it did not start, or has ended.
            UsageError: the factory did not make an asyncio event loop.
        """
        with self._lock:
            begins, self._begun = not self._begun, True
        if begins:
            try:
                start_native_thread(lambda _: self._main(), None, "bridge-loop")
            except BaseException as error:
                self._error = error
                self._started.set()
                self._ended.set()
        if not self._started.wait(START_TIMEOUT, lambda: True):
            raise LoopGone(f"the thread of the event loop did not begin within {START_TIMEOUT:.0f} seconds")
        if self._error is not None:
            if isinstance(self._error, UsageError):
                raise UsageError(*self._error.args) from self._error.__cause__
            raise LoopGone(f"the event loop could not be started: {self._error}") from self._error
        if self._ended.is_set:
            raise LoopGone("the event loop has ended")

    def _main(self) -> None:
        try:
            loop = self._make_loop()
            self.port = AsyncioPort(loop)
            loop.call_soon(self._started.set)
        except BaseException as error:
            self._error = error
            self._ended.set()
            self._started.set()
            return
        try:
            self._run_loop(loop)
            if loop.is_closed():
                logger.error("the event loop was closed by somebody else")
                asyncio.set_event_loop(None)
            else:
                self._close(loop)
        finally:
            self._ended.set()

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        # By `run_until_complete`, not `run_forever`: AnyIO takes the task that is given to it for the
        # one that all others belong to, and its worker threads live as long. Without, they would end
        # with each request, and every blocking call would start a thread.
        main: asyncio.Task[None] | None = None
        while not self._is_over(loop):
            if main is None or main.done():
                main = loop.create_task(self._until_stopped(), name="bridge-loop")
            try:
                loop.run_until_complete(main)
            except BaseException as error:
                if self._is_over(loop):
                    break
                # Somebody's loop.stop() is a RuntimeError here; SystemExit comes from somebody's task.
                logger.error("the event loop was stopped (%r); it runs on", error)
        if main is not None:
            if loop.is_closed():
                # It cannot be ended any more; asyncio would complain of it.
                main._log_destroy_pending = False  # type: ignore[attr-defined]
            else:
                main.cancel()

    def _is_over(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._stopping or loop.is_closed()

    async def _until_stopped(self) -> None:
        self._stop = asyncio.get_running_loop().create_future()
        if not self._stopping:
            await self._stop

    def _stop_soon(self) -> None:
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(None)

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        assert self._factory is not None
        try:
            loop = self._factory()
        except Exception as error:
            raise UsageError(f"loop_factory raised {type(error).__name__}: {error}") from error
        if not isinstance(loop, asyncio.AbstractEventLoop):
            raise UsageError(
                f"loop_factory must return an asyncio event loop; it returned {type(loop).__name__}"
            )
        if loop.is_running():
            raise UsageError(
                "loop_factory returned an event loop that runs already; give it as loop, or make a new one"
            )
        if threads_are_greenlets() and type(loop).__module__.partition(".")[0] == "uvloop":
            loop.close()
            raise UsageError(
                "uvloop cannot run threads that gevent has patched, so blocking calls of the app would "
                "never return; leave loop_factory at None under gevent"
            )
        asyncio.set_event_loop(loop)
        # The loop's own default could not be closed within a bounded time before Python 3.12.
        self._executor = ThreadPoolExecutor(thread_name_prefix="bridge-executor")
        loop.set_default_executor(self._executor)
        return loop

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for step in (self._end_tasks, loop.shutdown_asyncgens, self._close_executor):
                self._last_step(loop, step)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _last_step(
        self, loop: asyncio.AbstractEventLoop, step: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        task = loop.create_task(asyncio.wait_for(step(), _LAST_STEPS), name=_LAST_STEP)
        while not (task.done() or loop.is_closed()):
            try:
                loop.run_until_complete(task)
            except BaseException as error:
                # Of the step, or of a task that would not be cancelled: that one ends the run, not the step.
                logger.warning("closing the event loop: %s", str(error) or type(error).__name__)

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks()
        # The step itself, and what waits for it with a time-out.
        current = asyncio.current_task()
        others = [task for task in tasks if task is not current and task.get_name() != _LAST_STEP]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    async def _close_executor(self) -> None:
        loop = asyncio.get_running_loop()
        executor = self._executor
        assert executor is not None
        closed = asyncio.Event()

        def close() -> None:
            executor.shutdown(wait=True, cancel_futures=True)
            try:
                loop.call_soon_threadsafe(closed.set)
            except RuntimeError:
                pass  # the loop did not wait for as long

        try:
            threading.Thread(target=close, name="bridge-executor-close", daemon=True).start()
        except RuntimeError:  # the interpreter exits, and waits for the executor's threads itself
            executor.shutdown(wait=False, cancel_futures=True)
        else:
            await closed.wait()

    @property
    def started(self) -> bool:
        """Whether the start is over, well or not."""
        return self._started.is_set

    def alive(self) -> bool:
        """Whether the loop runs, in this process. From any thread."""
        if self._factory is None:
            return self.port.alive()
        return self._started.is_set and not self._ended.is_set and os.getpid() == self.pid

    def is_current(self) -> bool:
        """Whether the caller runs on the loop."""
        return self._started.is_set and self._error is None and self.port.is_current()

    # -- its work

    def submit(self, callback: Callable[[], object]) -> None:
        """Run `callback` soon on the loop's thread; from any thread.

        Raises:
            LoopGone: the loop is closed.
        """
        self.port.call_soon(callback)

    call_soon = submit

    def __repr__(self) -> str:
        state = "alive" if self.alive() else "ended" if self._ended.is_set else "not started"
        return f"<LoopThread {state}>"
