"""What an `ASGIToWSGI` has in one process: the event loop, the app's lifespan, the calls in progress.

A runtime is used once: from its first `enter`, through startup, to `close`. A forked child and a
process whose loop has ended get another one.

Who waits, and what ends the wait: `enter` waits for the startup, which the lifespan's task reports
on every way out of it; after `startup_timeout` the first waiter whose patience is over fails it for
all, and a loop that has ended does the same. `close` waits for the shutdown, of which each step is
bounded, and a little longer than all of them together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from ..engines.crossing import TAKE
from ..engines.exit_hooks import before_executors_end
from ..engines.gates import Latch, native, patched_late
from ..engines.loop_thread import LoopThread
from ..exceptions import AdapterClosed, BridgeError, LoopGone, StartupFailed, UsageError
from ..types import ASGIApp, Environ, Scope, StartResponse
from .asgi_call import ASGICall
from .asgi_exchange import Exchange, start_head
from .input_reader import InputReader
from .lifespan_host import LifespanHost
from .refusals import Body

logger = logging.getLogger("bridge.lifespan")

# A cancelled task ends at its next step; one that refuses to is left to the loop. In seconds.
_CANCEL_GRACE = 1.0
# What `close` allows beyond the bounds of its steps, and for the end of the loop, in seconds.
_MARGIN = 2.0
_LOOP_END = 5.0
# Requests in progress at interpreter exit have lost their server, others their client: this is for
# what they do about it.
_EXIT_GRACE = 0.5


CLOSED = "the adapter has been closed, so it serves no request; make a new one"
ON_LOOP = (
    "ASGIToWSGI was called on its own event loop's thread, which it would block for ever; call it in "
    "a worker thread (asyncio.to_thread, or bridge.WSGIToASGI around it)"
)


class Settings(NamedTuple):
    """The options of an adapter that its runtimes need; see `ASGIToWSGI`."""

    lifespan: str
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    loop: asyncio.AbstractEventLoop | None
    startup_timeout: float | None
    shutdown_timeout: float | None
    write_ahead: int
    read_ahead: int
    disconnect_grace: float
    background_wait: float | None
    local_class: Any = None  # of threads, when the adapter was made


class Runtime:
    """One process's share of an adapter.

    Attributes:
        pid: the process.
        ready: requests may come.
        state: what lifespan keeps for requests, `None` if the app has no lifespan.
        calls: those in progress; the loop's thread alone changes it.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.pid = os.getpid()
        self.ready = False
        self.state: dict[str, Any] | None = None
        self.app = app
        self.settings = settings
        self._lock = native("allocate_lock")()
        self._thread: LoopThread | None = None
        self._begun = False
        self._deadline: float | None = None
        self._started = Latch()
        self._failure: BridgeError | None = None
        self._host: LifespanHost | None = None
        self._owns_thread = False  # there is a loop thread to give back
        self._successor: Runtime | None = None
        self._closed = False
        self._closing = Latch()
        self.calls: set[ASGICall] = set()

    # -- startup

    def enter(self) -> None:
        """Return when requests may come. The first caller begins the startup, all wait for it (L-04, L-05).

        Raises:
            StartupFailed: the lifespan failed; the same every time (L-07).
            AdapterClosed: it was closed.
            LoopGone: the event loop did not start, or has ended.
            UsageError: `loop_factory` makes no event loop; or the caller is the event loop itself,
                which cannot wait for what it has to do.
        """
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = self._find_thread()
            thread = self._thread
            on_loop = thread is not None and not self._started.is_set and thread.is_current()
            begins = thread is not None and not self._begun and not on_loop
            self._begun = self._begun or begins
        if on_loop:
            raise UsageError(ON_LOOP)
        timeout = self.settings.startup_timeout
        if begins:
            self._deadline = None if timeout is None else time.monotonic() + timeout
            try:
                self._begin()
            except BaseException as error:
                self._report(error if isinstance(error, BridgeError) else LoopGone(f"startup: {error!r}"))
                self._release()
                raise
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if not self._started.wait(left, self._may_start):
            if self._may_start():
                late = f"the app's lifespan did not start up within {timeout:g} seconds (startup_timeout)"
                if self._report(StartupFailed(late)):
                    logger.error("%s", late)
            else:
                self._report(LoopGone("the event loop has ended during startup"))
            # If the thread of the loop has yet to come, the startup will find that it is over.
            if thread is not None and thread.alive():
                self._submit(self._cancel_startup)
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args) from self._failure.__cause__

    def _find_thread(self) -> LoopThread:
        settings = self.settings
        if settings.loop is not None:
            return LoopThread(running=settings.loop)
        self._owns_thread = True
        return LoopThread.shared(settings.loop_factory or asyncio.new_event_loop)

    @property
    def loop_thread(self) -> LoopThread:
        """Where everything of the app runs; there is one once the startup has begun."""
        assert self._thread is not None
        return self._thread

    def _begin(self) -> None:
        if self.settings.local_class is not None and patched_late(self.settings.local_class):
            logger.warning(
                "gevent has patched this process after the app was imported, so the app's blocking calls in "
                "threads may hang; run gevent.monkey.patch_all() first (with gunicorn --preload, at the top "
                "of the configuration file)"
            )
        thread = self.loop_thread
        thread.start()
        if not thread.alive():
            raise LoopGone("the event loop given as loop does not run; start it in a thread of its own first")
        if self._closed:  # meanwhile
            raise AdapterClosed(CLOSED)
        _close_at_exit(self)
        if self.settings.lifespan == "off":
            self._report(None)
        else:
            self._submit(self._start_lifespan)

    def _start_lifespan(self) -> None:
        # On the loop's thread, as asyncio's events belong to the loop that they are made on.
        if self._closed or self._started.is_set:
            return  # it is too late: nobody would wait for it, nor end it
        try:
            self._host = LifespanHost(self.app, required=self.settings.lifespan == "on", started=self._report)
            self._host.start()
        except BaseException as error:
            self._report(StartupFailed(f"the app's lifespan could not be started: {error!r}"))

    def _cancel_startup(self) -> None:
        # On the loop's thread, so it has begun by now or never will.
        if self._host is not None:
            self._host.cancel()

    def _report(self, failure: BridgeError | None) -> bool:
        """The startup has ended, well or not; return whether this is the first to say so. From any thread."""
        with self._lock:
            if self._started.is_set or self._failure is not None:
                return False
            self._failure = failure
            if failure is None:
                if self._host is not None and self._host.supported:
                    self.state = self._host.state
                self.ready = True
        self._started.set()
        return True

    def _may_start(self) -> bool:
        thread = self._thread
        return thread is None or not thread.started or thread.alive()

    def _submit(self, callback: Callable[[], object]) -> None:
        try:
            self.loop_thread.submit(callback)
        except LoopGone:
            pass  # whoever waits for it looks whether the loop is alive

    @property
    def lost(self) -> bool:
        """Whether its loop has ended without `close`, so that another runtime may take its place."""
        return self._started.is_set and not self._closed and not self._may_start()

    def successor(self) -> Runtime:
        """The runtime that takes its place when it is lost: one, whoever asks."""
        with self._lock:
            if self._successor is None:
                self._successor = Runtime(self.app, self.settings)
            return self._successor

    # -- requests

    def hand_over(self, scope: Scope, has_body: bool) -> ASGICall:
        """Hand a request to the loop thread.

        Raises:
            LoopGone: the loop is closed; nothing has happened.
            UsageError: this is the loop's thread (A-03).
        """
        thread = self.loop_thread
        if thread.is_current():
            raise UsageError(ON_LOOP)
        if self.state is not None:
            scope["state"] = self.state.copy()
        call = ASGICall(self, scope, has_body)
        thread.submit(call.start)
        return call

    def meet(
        self, call: ASGICall, reader: InputReader, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve a call that was handed over until its response begins; return the body of that."""
        try:
            todo = call.arrive()
            whole = call.whole() if todo == TAKE else None
            if whole is not None:  # the ordinary response
                head, piece = whole
                start_head(environ, start_response, head)
                return Body(piece)
        except BaseException:
            call.leave()
            raise
        exchange = Exchange(call, reader, environ, self.settings.background_wait)
        try:
            return exchange.begin(start_response, todo)
        except BaseException:
            exchange.abandon()
            raise

    # -- shutdown

    def close(self, *, at_exit: bool = False) -> None:
        """End requests and lifespan, and give back the loop; see `ASGIToWSGI.close`. From any thread."""
        with self._lock:
            first, self._closed = not self._closed, True
            begun = self._begun
            thread = self._thread
        self.ready = False
        _running.discard(self)
        self._report(AdapterClosed(CLOSED))
        self._failure = AdapterClosed(CLOSED)
        if thread is None or self.pid != os.getpid():
            return
        if not begun:
            self._release()
            return
        if not thread.started:
            return  # whoever starts it finds out, and gives it back
        if not thread.alive():
            self._release()
            return
        if first:
            self._submit(partial(self._begin_shutdown, at_exit))
        if thread.is_current():
            return  # it cannot be waited for here; it takes its course
        timeout = self.settings.shutdown_timeout
        bound = None if timeout is None else 2 * timeout + 4 * _CANCEL_GRACE + _MARGIN
        if not self._closing.wait(bound, thread.alive):
            if thread.alive():
                logger.error("the event loop does not respond, so the app could not be shut down")
            self._release()
        else:
            thread.join(_LOOP_END)

    def close_soon(self) -> None:
        """Begin what `close` does, and let the loop finish it. For finalizers, so it takes no lock."""
        if self._begun and not self._closed and self.pid == os.getpid():
            self._closed = True
            self.ready = False
            self._submit(partial(self._begin_shutdown, False))

    def _release(self) -> None:
        """Give back the loop thread, once."""
        with self._lock:
            owns, self._owns_thread = self._owns_thread, False
        if owns:
            self.loop_thread.release()

    def _begin_shutdown(self, at_exit: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._shutdown(at_exit))

        def ended(_: object) -> None:
            _shutdowns.discard(task)
            self._release()
            self._closing.set()

        _shutdowns.add(task)
        task.add_done_callback(ended)

    async def _shutdown(self, at_exit: bool) -> None:
        timeout = self.settings.shutdown_timeout
        requests: set[asyncio.Task[None]] = set()
        if at_exit:
            # Their server is gone, so nobody takes what they send; its threads must not wait for them.
            for call in list(self.calls):
                if not call.ended and call.task is not None:
                    requests.add(call.task)
                    call.abort(AdapterClosed("the interpreter exits"))
            if requests:
                await asyncio.wait(requests, timeout=_EXIT_GRACE)
            for task in requests:
                task.cancel()
        left = {call.task for call in self.calls if call.gone and call.task is not None}
        if left:  # their grace is shorter now
            await asyncio.wait(left, timeout=_EXIT_GRACE)
            for task in left:
                task.cancel()
        tasks = {call.task for call in self.calls if call.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        pending = {call.task: call for call in self.calls if call.task is not None}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=_CANCEL_GRACE)
        for task, call in pending.items():
            if not task.done():
                call.abort(AdapterClosed(CLOSED))  # its server's thread shall not wait for it
                logger.error("a task refuses to be cancelled: %s", call)
        if self._host is not None:
            await self._host.shutdown(timeout)


# Shutdowns in progress: asyncio itself keeps tasks by weak references only.
_shutdowns: set[asyncio.Task[None]] = set()

# Runtimes to be closed at interpreter exit.
_running: weakref.WeakSet[Runtime] = weakref.WeakSet()
_registered = False


def _close_at_exit(runtime: Runtime) -> None:
    """Close `runtime` at interpreter exit, before the executors that a shutdown may need end (L-10)."""
    global _registered
    _running.add(runtime)
    if not _registered:
        # If it is exiting already, no request will follow.
        _registered = before_executors_end(_close_all)


def _close_all() -> None:
    for runtime in list(_running):
        if runtime.pid == os.getpid():
            try:
                runtime.close(at_exit=True)
            except Exception:
                logger.exception("closing at interpreter exit")
