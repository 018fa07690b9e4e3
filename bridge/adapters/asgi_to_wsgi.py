"""ASGIToWSGI: an ASGI app served by a WSGI server.

The way of a request: the server's thread builds the scope and hands the call to the loop thread;
the app runs there as a task (`asgi_call`). The server's thread waits at one gate, reads the request
body when the app asks for it, and takes status, headers and body (`asgi_exchange`). A response that
is complete in one go costs one hop there and one back. What the app does after its last body goes
on without that thread. `asgi_runtime` is what all requests of a process share.

Everything in this module runs in the server's thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..engines.gates import thread_local_class
from ..exceptions import AdapterClosed, BodyTooLarge, LoopGone, RequestError, UsageError
from ..translate.scope import ScopeBuilder
from ..types import ASGIApp, Environ
from .arguments import require_seconds, require_size
from .input_reader import InputReader
from .refusals import answer_wsgi

if TYPE_CHECKING:
    import asyncio

    from .asgi_runtime import Runtime

_Self = TypeVar("_Self", bound="ASGIToWSGI")

logger = logging.getLogger("bridge.asgi")

# How far either side may run ahead of the other: four of the 64 KiB pieces that servers move.
DEFAULT_AHEAD = 256 * 1024
# As Hypercorn has it: models and caches may take a while to load.
DEFAULT_STARTUP_TIMEOUT = 60.0
# Below what process managers allow before they kill (Gunicorn and Kubernetes: 30).
DEFAULT_SHUTDOWN_TIMEOUT = 10.0
# An app that was told of a disconnect may want to save what it has; after this it is cancelled.
DEFAULT_DISCONNECT_GRACE = 5.0

_LIFESPAN_MODES = ("auto", "on", "off")


class ASGIToWSGI:
    """A WSGI application that runs an ASGI 3 application on an event loop in a thread of its own.

        application = ASGIToWSGI(fastapi_app)          # gunicorn --threads 8 module:application

    Nothing is started at import: the loop starts with the first request of a process, and anew
    after a fork. There is one a process (and `loop_factory`), shared by lifespan, all requests and
    all adapters. Any number of threads, or gevent's greenlets, may call it at a time.

    Lifespan startup runs once in each process, before its first request; shutdown at `close()` or
    at interpreter exit. It is a context manager: `start()` on entry, `close()` on exit.

    Args:
        app: the ASGI application. It is called on the loop's thread, in a copy of the Context of the
            calling thread.
        lifespan: `"auto"` runs the app's lifespan if it has one; `"on"` fails without one; `"off"`
            does not run it.
        loop_factory: makes the asyncio event loop, such as `uvloop.new_event_loop`. `None`:
            `asyncio.new_event_loop`.
        loop: instead, an asyncio event loop that runs in another thread; its owner stops it.
        read_ahead: how many bytes of request body may be held beyond what the app has received (256 KiB).
        write_ahead: how many bytes of response may wait for the server before the app's `send()`
            waits as well (256 KiB).
        max_body: the largest request body in bytes; larger ones get 413. `None`: no limit.
        startup_timeout: how many seconds lifespan startup may take (60), `None` without limit.
        shutdown_timeout: how many seconds requests and background work may take to end at
            `close()`, and then lifespan shutdown (10), `None` without limit.
        disconnect_grace: how many seconds an app may go on after `http.disconnect`; then its task is
            cancelled (5).
        background_wait: how many seconds the end of a response waits for the app's work after its
            last body; 0 does not wait, `None` has no limit. The work goes on in any case.

    Raises:
        UsageError: an argument is not usable, for one an app that is a WSGI app already.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: Literal["auto", "on", "off"] = "auto",
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        read_ahead: int = DEFAULT_AHEAD,
        write_ahead: int = DEFAULT_AHEAD,
        max_body: int | None = None,
        startup_timeout: float | None = DEFAULT_STARTUP_TIMEOUT,
        shutdown_timeout: float | None = DEFAULT_SHUTDOWN_TIMEOUT,
        disconnect_grace: float = DEFAULT_DISCONNECT_GRACE,
        background_wait: float | None = 0.0,
    ) -> None:
        if not callable(app):
            raise UsageError(f"expected an ASGI application, a callable; got {type(app).__name__}")
        # Loaded on use: see `as_wsgi`.
        from ..translate.interface import Interface, interface_of

        interface = interface_of(app).interface
        if interface is Interface.WSGI:
            raise UsageError(
                f"expected an ASGI application; {type(app).__name__} is a WSGI application already: "
                "serve it as it is, or let bridge.as_wsgi() decide whether to wrap"
            )
        if lifespan not in _LIFESPAN_MODES:
            raise UsageError(f"lifespan must be one of {', '.join(_LIFESPAN_MODES)}; got {lifespan!r}")
        if loop_factory is not None and not callable(loop_factory):
            raise UsageError(
                f"loop_factory must be a function that makes an event loop; got {type(loop_factory).__name__}"
            )
        if loop is not None and loop_factory is not None:
            raise UsageError("loop and loop_factory exclude each other; give one of them")
        if loop is not None and not hasattr(loop, "call_soon_threadsafe"):
            raise UsageError(f"loop must be an asyncio event loop; got {type(loop).__name__}")
        require_size("read_ahead", read_ahead, at_least=1)
        require_size("write_ahead", write_ahead, at_least=1)
        if max_body is not None:
            require_size("max_body", max_body, at_least=0)
        for name, seconds in (
            ("startup_timeout", startup_timeout),
            ("shutdown_timeout", shutdown_timeout),
            ("background_wait", background_wait),
        ):
            require_seconds(name, seconds)
        if disconnect_grace is None:
            raise UsageError("disconnect_grace must be a number of seconds; got None")
        require_seconds("disconnect_grace", disconnect_grace)
        self.app = app
        self._max_body = max_body
        self._options = (
            lifespan,
            loop_factory,
            loop,
            startup_timeout,
            shutdown_timeout,
            write_ahead,
            read_ahead,
            float(disconnect_grace),
            background_wait,
            thread_local_class(),
        )
        if interface is Interface.ASGI2:
            from .as_asgi import single_callable

            self._asgi3: ASGIApp = single_callable(app)
        else:
            self._asgi3 = app
        self._scopes = ScopeBuilder()
        # By process: after a fork, the parent's is kept (see `LoopThread`) and never used.
        self._runtimes: dict[int, Runtime] = {}
        self._runtime: Runtime | None = None
        self._closed = False

    # -- life

    def start(self) -> None:
        """Start the event loop and the app's lifespan in this process now, not with the first request.

        For the hook of a server that runs in each worker process after it was forked. Does nothing
        if they run already.

        Raises:
            StartupFailed: the lifespan failed, took too long, or is missing in mode `on`.
            AdapterClosed: the adapter was closed.
        """
        self._enter()

    def close(self) -> None:
        """End it in this process: requests and background work (bounded), lifespan, event loop.

        Requests that come from now on raise `AdapterClosed`. Does nothing if it is closed already.
        On the event loop's own thread it returns at once, and the loop does the rest.
        """
        self._closed = True
        runtime = self._runtime
        if runtime is not None:
            runtime.close()

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        runtime = getattr(self, "_runtime", None)
        if runtime is not None:
            runtime.close_soon()

    def _is_closed(self) -> bool:
        return self._closed

    def _enter(self) -> Runtime:
        """The runtime of this process, ready for requests."""
        from . import asgi_runtime  # loaded on use: it brings asyncio

        if self._closed:
            raise AdapterClosed(asgi_runtime.CLOSED)
        pid = os.getpid()
        runtime = self._runtimes.get(pid)
        if runtime is None:
            runtime = self._runtimes.setdefault(
                pid, asgi_runtime.Runtime(self._asgi3, asgi_runtime.Settings(*self._options))
            )
        elif runtime.lost:
            logger.error("the event loop has ended under the app; starting another one")
            runtime = self._runtimes[pid] = runtime.successor()
        self._runtime = runtime
        if self._is_closed():
            # close() came meanwhile, and perhaps before there was a runtime to close.
            runtime.close()
        runtime.enter()
        return runtime

    # -- requests

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request; see PEP 3333.

        Returns:
            The response's body: an iterator with `close()`, or the server's own `wsgi.file_wrapper`
            around a file. `start_response` has been called by then (A-14).

        Raises:
            StartupFailed, AdapterClosed: no request is served.
            LoopGone: the event loop ended during the request.
            UsageError: called on the event loop's own thread, where waiting would block it for ever.
        """
        runtime = self._runtime
        if runtime is None or not runtime.ready or runtime.pid != os.getpid():
            runtime = self._enter()
        try:
            scope, length = self._scopes.build(environ)
            if length is not None and self._max_body is not None and length > self._max_body:
                raise BodyTooLarge(f"the request body of {length} bytes exceeds {self._max_body}")
        except RequestError as refusal:
            return answer_wsgi(environ, start_response, refusal.status)
        reader = InputReader(environ, length, self._max_body)
        try:
            call = runtime.hand_over(scope, reader.has_body)
        except LoopGone:
            runtime = self._enter()  # another loop, if that is possible
            call = runtime.hand_over(scope, reader.has_body)
        return runtime.meet(call, reader, environ, start_response)

    def __repr__(self) -> str:
        return f"<ASGIToWSGI of {self.app!r}>"
