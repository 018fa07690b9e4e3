"""An ASGI app at home: an event loop in a thread of its own, the app's lifespan, and its calls.

The transports and WebSocket sessions of one client share one host. A loop is never shared between
hosts, so that tests do not see each other's tasks.

Who waits, and what ends the wait: `start` waits for the lifespan's startup, bounded by
`startup_timeout`; a loop that ends meanwhile ends it too. `Run.wait` waits for the end of a call, for
as long as it is told, or until the loop is gone. `close` waits for calls, lifespan and thread, each
within a bound.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from ...adapters.asgi_runtime import Runtime, Settings
from ...adapters.asgi_to_wsgi import DEFAULT_STARTUP_TIMEOUT
from ...engines.asyncio_port import start_task
from ...engines.gates import Latch
from ...engines.loop_thread import LoopThread
from ...exceptions import AdapterClosed, LoopGone, UsageError
from ...types import ASGIApp
from ..ways import SHUTDOWN_TIMEOUT

logger = logging.getLogger("bridge.testing")

# What an app may do about a client that has left; then its task is cancelled. In seconds. Shorter than
# an adapter's: a test waits for it.
DISCONNECT_GRACE = 1.0
# A cancelled task ends at its next step; one that refuses to is left to the loop. In seconds.
CANCEL_GRACE = 1.0
_ON_LOOP = (
    "a Client was called on the event loop's thread of its own app, which it would block for ever; "
    "use an AsyncClient there, or call it in a worker thread (asyncio.to_thread)"
)
_FORKED = "this client was made in another process, whose event loop is not here; make one after the fork"

# Hosts that have started: what their loops still have to do. Without it, a client that is part of a ring of
# objects would go together with the coroutine of its lifespan, which the garbage collector then closes.
_living: dict[Runtime, set[Run]] = {}


class Run:
    """One call of the app on the loop.

    Attributes:
        ended: whether it is over.
        error: what it raised, valid once it has ended.
        task: the asyncio task; of use on the loop's thread alone.
    """

    __slots__ = ("_calls", "_context", "_function", "_leave", "_thread", "error", "task")

    def __init__(
        self,
        thread: LoopThread,
        calls: set[Run],
        function: Callable[[], Coroutine[Any, Any, None]],
        context: contextvars.Context,
        leave: Callable[[], bool] | None,
    ) -> None:
        self._thread = thread
        self._calls = calls
        self._function: Callable[[], Coroutine[Any, Any, None]] | None = function
        self._context = context
        self._leave = leave
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.task is not None and self.task.done()

    def begin(self) -> None:
        """Start the task. On the loop's thread."""
        self._calls.add(self)
        self.task = start_task(self._thread.port.loop, self._main(), self._context)
        # One that is cancelled before its first step never comes into `_main`.
        self.task.add_done_callback(lambda _: self._calls.discard(self))

    async def _main(self) -> None:
        function, self._function = self._function, None
        assert function is not None
        try:
            await function()
        except BaseException as error:  # SystemExit and its like would end the loop
            self.error = error
        finally:
            # No ring of references may keep the host alive: see `_living`.
            self._leave = None

    def leave(self) -> None:
        """Tell the app that its client has gone (`http.disconnect`), and cancel it after a grace.

        On the loop's thread. If the exchange was complete, nothing happens.
        """
        if not self.ended and (self._leave is None or self._leave()):
            self._thread.port.loop.call_later(DISCONNECT_GRACE, self.cancel)

    def cancel(self) -> None:
        """Cancel the task, if it is not over. On the loop's thread."""
        if self.task is not None and not self.task.done():
            self.task.cancel()

    def leave_soon(self) -> None:
        """`leave`, from any thread; does not wait."""
        _submit(self._thread, self.leave)

    def cancel_soon(self) -> None:
        """`cancel`, from any thread; does not wait."""
        _submit(self._thread, self.cancel)

    def wait(self, timeout: float | None) -> bool:
        """Wait until the call is over; return whether it is. From any thread but the loop's.

        Args:
            timeout: seconds; `None` waits until the app ends or the loop is gone.
        """
        latch = Latch()

        def tell() -> None:
            assert self.task is not None  # `begin` was submitted before
            self.task.add_done_callback(lambda _: latch.set())

        _submit(self._thread, tell)
        return latch.wait(timeout, self._thread.alive) or self.ended


class ASGIHost:
    """Runs one ASGI app for clients that live in ordinary threads.

    Any number of threads may use it at the same time. Nothing is started before `start`, which the
    other methods call if it is needed. Ended by `close`, or when it is garbage.

    Args:
        app: an ASGI 3 application.
        lifespan: `"auto"` runs the app's lifespan if it has one; `"on"` fails without one; `"off"`
            does not run it.
        loop_factory: makes the event loop, such as `uvloop.new_event_loop`; `None`:
            `asyncio.new_event_loop`.
        startup_timeout: how many seconds lifespan startup may take, `None` without limit.
        shutdown_timeout: how many seconds `close` gives to calls that still run, and then to
            lifespan shutdown, `None` without limit.

    Raises:
        UsageError: `loop_factory` is no function, `lifespan` none of the three.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: str = "auto",
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        startup_timeout: float | None = DEFAULT_STARTUP_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
    ) -> None:
        if lifespan not in ("auto", "on", "off"):
            raise UsageError(f"lifespan is one of auto, on, off; got {lifespan!r}")
        if loop_factory is not None and not callable(loop_factory):
            raise UsageError(
                f"loop_factory is a function that makes an event loop; got {type(loop_factory).__name__}"
            )
        self.app = app
        make = loop_factory or asyncio.new_event_loop

        def own_loop() -> asyncio.AbstractEventLoop:  # a key of its own among the shared loop threads
            return make()

        self._shutdown_timeout = shutdown_timeout
        self._calls: set[Run] = set()
        self._closed = False
        self._runtime = Runtime(
            app,
            Settings(
                lifespan=lifespan,
                loop_factory=own_loop,
                loop=None,
                startup_timeout=startup_timeout,
                shutdown_timeout=shutdown_timeout,
                write_ahead=1,
                read_ahead=1,
                disconnect_grace=DISCONNECT_GRACE,
                background_wait=0.0,
            ),
        )

    def start(self) -> None:
        """Start the loop's thread and the lifespan, and wait until the app has started up.

        Does nothing if they run already.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `"on"`.
            AdapterClosed: the host was closed.
            LoopGone: the event loop could not be started, or has ended.
            UsageError: `loop_factory` makes no event loop; or the caller is the loop itself, or a
                process that was forked.
        """
        runtime = self._runtime
        if runtime.pid != os.getpid():
            raise UsageError(_FORKED)
        if runtime.ready:
            if runtime.loop_thread.is_current():
                raise UsageError(_ON_LOOP)
            return
        if self._closed:
            raise AdapterClosed("the client has been closed, so it sends no request; make a new one")
        _living[runtime] = self._calls
        runtime.enter()

    @property
    def state(self) -> dict[str, Any] | None:
        """A shallow copy of the lifespan's state for one scope; `None` if the app has no lifespan.

        Valid once the host has started. ASGI Lifespan 2.0, "Lifespan State".
        """
        state = self._runtime.state
        return None if state is None else state.copy()

    @property
    def loop_thread(self) -> LoopThread:
        """The loop and its thread; there is one once the host has started."""
        return self._runtime.loop_thread

    def submit(self, callback: Callable[[], object]) -> None:
        """Run a function soon on the loop's thread, in an empty context; does not wait.

        Raises:
            LoopGone: the loop has ended.
        """
        self._runtime.loop_thread.submit(callback)

    def alive(self) -> bool:
        """Whether the loop runs in this process, so that waiting for it can have an end."""
        return self._runtime.loop_thread.alive()

    def run(
        self,
        function: Callable[[], Coroutine[Any, Any, None]],
        *,
        leave: Callable[[], bool] | None = None,
        context: contextvars.Context | None = None,
    ) -> Run:
        """Start the host if need be, and run a coroutine function as a task on the loop; do not wait.

        Args:
            function: called without arguments on the loop's thread; usually it awaits the app with
                a scope, `receive` and `send`.
            leave: tells the app that its client has gone, and returns whether there was one; called
                on the loop's thread, at the latest by `close`. If there was, the task is cancelled
                after a grace (`DISCONNECT_GRACE`); else it is work after the end of a response, and
                goes on. `None` stands for a client that is always there.
            context: the task's own; `None`: a copy of the caller's at this moment.

        Raises:
            those of `start`.
        """
        self.start()
        thread = self._runtime.loop_thread
        # An empty context is false, so it has to be asked for by identity.
        own = contextvars.copy_context() if context is None else context
        run = Run(thread, self._calls, function, own, leave)
        thread.submit(run.begin)
        return run

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call of the app is in progress, not even after the end of its response.

        Returns:
            whether that was within `timeout` seconds; also if the host has not started.
        """
        if not self._runtime.ready or not self.alive():
            return True
        idle = Latch()

        def look() -> None:
            tasks = [call.task for call in self._calls if call.task is not None]
            if tasks:
                waiting = asyncio.ensure_future(asyncio.wait(tasks, timeout=timeout))
                waiting.add_done_callback(lambda done: None if any_left(tasks) else idle.set())
            else:
                idle.set()

        def any_left(tasks: list[asyncio.Task[None]]) -> bool:
            return not all(task.done() for task in tasks)

        _submit(self.loop_thread, look)
        return idle.wait(timeout, self.alive)

    def close(self) -> None:
        """End it: calls in progress, lifespan, loop, thread. Does nothing the second time.

        Clients that are still there are gone now, as far as their apps can tell. What works on after
        the end of a response (background tasks) is waited for, up to `shutdown_timeout`; then it is
        cancelled. On the loop's own thread it returns at once, and the loop does the rest.
        """
        first, self._closed = not self._closed, True
        runtime = self._runtime
        if first and runtime.ready and runtime.pid == os.getpid():
            thread = runtime.loop_thread
            done = Latch()
            timeout = self._shutdown_timeout
            try:
                thread.submit(lambda: self._end_calls(done))
            except LoopGone:
                done.set()
            if not thread.is_current():
                bound = None if timeout is None else timeout + CANCEL_GRACE + 1.0
                if not done.wait(bound, thread.alive) and thread.alive():
                    logger.error("the event loop does not respond, so calls of the app could not be ended")
        runtime.close()
        _living.pop(runtime, None)

    def _end_calls(self, done: Latch) -> None:
        task = asyncio.get_running_loop().create_task(end_calls(self._calls, self._shutdown_timeout))
        task.add_done_callback(lambda _: done.set())

    # The registry is bound here, as the globals of a module may be gone when the interpreter exits.
    def __del__(self, _living: dict[Runtime, set[Run]] = _living) -> None:
        runtime = getattr(self, "_runtime", None)
        if runtime is not None:
            runtime.close_soon()
            _living.pop(runtime, None)


class Call(Protocol):
    """A call of the app, as far as `end_calls` is concerned."""

    task: asyncio.Task[None] | None

    def leave(self) -> None:
        """Tell the app that its client has gone, if that matters to it."""


async def end_calls(calls: Iterable[Call], timeout: float | None) -> None:
    """End calls of the app; on its loop. Clients that are still there are gone now, as far as it can tell.

    Args:
        calls: those in progress.
        timeout: seconds that they may take, `None` without limit; then they are cancelled. One that refuses
            to be is left to the loop, with a word of it in the log.
    """
    ending = list(calls)
    for call in ending:
        call.leave()
    tasks = [call.task for call in ending if call.task is not None and not call.task.done()]
    if not tasks:
        return
    _, pending = await asyncio.wait(tasks, timeout=timeout)
    for task in pending:
        task.cancel()
    if pending:
        _, pending = await asyncio.wait(pending, timeout=CANCEL_GRACE)
    for task in pending:
        logger.error("a task of the app refuses to be cancelled: %r", task)


def _submit(thread: LoopThread, callback: Callable[[], object]) -> None:
    try:
        thread.submit(callback)
    except LoopGone:
        pass  # then its tasks are gone too
