"""Runs the lifespan of an ASGI app on the loop thread: startup, state, shutdown.

Everything here runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..exceptions import BridgeError, StartupFailed
from ..translate.lifespan import LifespanQuestions, Phase
from ..types import ASGIApp, Message

logger = logging.getLogger("bridge.lifespan")

# How long a lifespan task that was cancelled may take to end, in seconds.
_CANCEL_GRACE = 1.0


class LifespanHost:
    """One lifespan of one app (ASGI Lifespan 2.0).

    Args:
        app: the application.
        required: an app without lifespan fails the startup (mode `on`) instead of going without it.
        started: called once, with `None` when requests may come, else with why they may not.

    Attributes:
        state: what the app keeps for its requests.
        supported: whether the app takes part in lifespan; known once `started` was called.
    """

    def __init__(
        self, app: ASGIApp, *, required: bool, started: Callable[[BridgeError | None], object]
    ) -> None:
        self._app = app
        self._required = required
        self._started = started
        self._machine = LifespanQuestions()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        self.supported = False

    def start(self) -> None:
        """Call the app with a lifespan scope."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="bridge-lifespan")

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        error: BaseException | None = None
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as raised:
            error = raised
        self._end_of_app(error)
        del error  # its traceback refers to this frame

    def _end_of_app(self, error: BaseException | None) -> None:
        """The lifespan has ended by itself. Whoever waits is told first: a logging handler may raise."""
        phase = self._machine.phase
        self._machine.phase = Phase.ENDED
        self._stopped.set()
        cause = f"it raised {type(error).__name__}: {error}" if error is not None else "it returned"
        if phase in (Phase.WAITING, Phase.STARTING):
            if isinstance(error, asyncio.CancelledError):
                self._started(StartupFailed("the app's lifespan was cancelled before it had started up"))
            elif self._required:
                failure = StartupFailed(
                    f"the app ended its lifespan before startup was complete ({cause}), "
                    'and lifespan is "on"; use lifespan="auto" if the app has none'
                )
                failure.__cause__ = error
                self._started(failure)
                logger.error("%s", failure, exc_info=error)
            else:
                # L-06. Some apps raise on a scope that they do not know, others by mistake: hence the log.
                self._started(None)
                logger.info("the app has no lifespan: %s", cause)
        elif phase is Phase.RUNNING and error is not None and not isinstance(error, asyncio.CancelledError):
            logger.error("the app's lifespan ended while it should be running", exc_info=error)
        elif phase is Phase.STOPPING:
            logger.error("the app's lifespan ended without an answer to shutdown: %s", cause, exc_info=error)

    async def _receive(self) -> Message:
        if self._machine.phase is Phase.WAITING:
            return self._machine.startup()
        await self._stop.wait()
        if self._machine.phase is Phase.RUNNING:
            return self._machine.shutdown()
        await asyncio.get_running_loop().create_future()  # nothing will follow: until it is cancelled
        raise AssertionError("unreachable")

    async def _send(self, message: Message) -> None:
        before = self._machine.phase
        phase = self._machine.answer(message)
        failure = self._machine.failure
        if before is Phase.STOPPING:
            self._stopped.set()
            if failure is not None:
                logger.error("the app's lifespan shutdown failed: %s", failure)
        elif phase is Phase.RUNNING:
            self.supported = True
            self._started(None)
        else:
            # Starlette's message is a traceback: the log has all of it, the exception its last line.
            reason = (failure or "").strip().rpartition("\n")[2] or "it gave no reason"
            self._started(StartupFailed(f"the app's lifespan startup failed: {reason}"))
            logger.error("the app's lifespan startup failed: %s", failure)

    async def shutdown(self, timeout: float | None) -> None:
        """Ask for shutdown if the app runs, wait for the answer, and end the task."""
        task = self._task
        if task is None:
            return
        if self._machine.phase is Phase.RUNNING:
            self._stop.set()
            try:
                await asyncio.wait_for(self._stopped.wait(), timeout)
            except asyncio.TimeoutError:
                logger.error("the app's lifespan did not shut down within %s seconds", timeout)
        if not task.done():
            # It may have an exit to run after its answer.
            await asyncio.wait((task,), timeout=_CANCEL_GRACE if self._stopped.is_set() else 0)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=_CANCEL_GRACE)

    def cancel(self) -> None:
        """Give up a startup that takes too long."""
        if self._task is not None:
            self._task.cancel()
