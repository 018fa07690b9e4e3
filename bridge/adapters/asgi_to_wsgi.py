"""ASGIToWSGI: an ASGI app served by a WSGI server.

The way of a request: the server's thread builds the scope and hands the call to the loop thread;
the app runs there as a task. The server's thread waits at one gate, reads the request body when the
app asks for it, and takes status, headers and body. A response that is complete in one go costs one
hop there and one back. What the app does after its last body goes on without that thread.

Everything in this module runs in the server's thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..engines.gates import Latch
from ..exceptions import (
    AdapterClosed,
    BodyTooLarge,
    ClientDisconnected,
    IncompleteResponse,
    LoopGone,
    RequestError,
    UsageError,
)
from ..translate.scope import ScopeBuilder
from ..types import ASGIApp, Environ, StartResponse
from .input_reader import InputReader

if TYPE_CHECKING:
    import asyncio

    from .asgi_call import ASGICall, File
    from .asgi_runtime import Runtime

logger = logging.getLogger("bridge.asgi")

# How far either side may run ahead of the other: four of the 64 KiB pieces that servers move.
DEFAULT_AHEAD = 256 * 1024
# As Hypercorn has it: models and caches may take a while to load.
DEFAULT_STARTUP_TIMEOUT = 60.0
# Below what process managers allow before they kill (Gunicorn and Kubernetes: 30).
DEFAULT_SHUTDOWN_TIMEOUT = 10.0
# An app that was told of a disconnect may want to save what it has; after this it is cancelled.
DEFAULT_DISCONNECT_GRACE = 5.0

# Pieces of body that wait together are joined up to this size: a server writes each by itself.
_JOIN_LIMIT = 64 * 1024
# What `wsgi.file_wrapper` is told to read at a time.
_FILE_BLOCK = 64 * 1024

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
        lifespan: str = "auto",
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
        self._background_wait = background_wait
        self._options = (
            lifespan,
            loop_factory,
            loop,
            startup_timeout,
            shutdown_timeout,
            write_ahead,
            read_ahead,
            float(disconnect_grace),
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

    def __enter__(self) -> ASGIToWSGI:
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

    def _enter(self) -> Runtime:
        """The runtime of this process, ready for requests."""
        if self._closed:
            raise AdapterClosed("the adapter has been closed, so it serves no request; make a new one")
        from . import asgi_runtime  # loaded on use: it brings asyncio

        pid = os.getpid()
        runtime = self._runtimes.get(pid)
        if runtime is None:
            runtime = self._runtimes.setdefault(
                pid, asgi_runtime.Runtime(self._asgi3, asgi_runtime.Settings(*self._options))
            )
        elif runtime.lost:
            logger.error("the event loop has ended under the app; starting another one")
            fresh = asgi_runtime.Runtime(self._asgi3, asgi_runtime.Settings(*self._options))
            # Of several threads that get here, one replaces it; the others take what they find.
            if self._runtimes.get(pid) is runtime:
                self._runtimes[pid] = fresh
            runtime = self._runtimes[pid]
        self._runtime = runtime
        runtime.enter()
        return runtime

    # -- requests

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
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
        if runtime.loop_thread.is_current():
            raise UsageError(
                "ASGIToWSGI was called on its own event loop's thread, which it would block for ever; "
                "call it in a worker thread (asyncio.to_thread, or bridge.WSGIToASGI around it)"
            )
        try:
            scope, length = self._scopes.build(environ)
            if length is not None and self._max_body is not None and length > self._max_body:
                raise BodyTooLarge(f"the request body of {length} bytes exceeds {self._max_body}")
        except RequestError as refusal:
            return _refuse(environ, start_response, refusal)
        reader = InputReader(environ, length, self._max_body)
        call = runtime.call(scope, reader.has_body)
        if self._background_wait != 0:
            call.finished = Latch()
        try:
            runtime.loop_thread.submit(call.start)
        except LoopGone:
            runtime = self._enter()  # another loop, if that is possible
            call = runtime.call(scope, reader.has_body)
            runtime.loop_thread.submit(call.start)
        exchange = _Exchange(call, reader, environ, self._background_wait)
        try:
            return exchange.begin(environ, start_response)
        except BaseException:
            call.leave()
            raise

    def __repr__(self) -> str:
        return f"<ASGIToWSGI of {self.app!r}>"


class _Exchange:
    """The server's side of a call, and the body that the server iterates (A-28)."""

    __slots__ = (
        "_background_wait",
        "_call",
        "_closed",
        "_dealt",
        "_environ",
        "_file",
        "_file_left",
        "_items",
        "_last",
        "_over",
        "_reader",
    )

    def __init__(
        self, call: ASGICall, reader: InputReader, environ: Environ, background_wait: float | None
    ) -> None:
        self._call = call
        self._reader = reader
        self._environ = environ
        self._background_wait = background_wait
        self._items: list[Any] = []  # taken from the call, not yet given to the server
        self._last = False  # none will follow those in `_items`
        self._dealt = 0  # size of the piece that the server has in hand
        self._over = False  # the server has all, or has been told that it will not get it
        self._closed = False
        self._file: Any = None
        self._file_left = 0

    def begin(self, environ: Environ, start_response: StartResponse) -> Any:
        """Serve the call until status and headers are known, and give these to the server."""
        call = self._call
        todo = call.arrive()
        while True:
            if todo.name == "TAKE":
                self._items, self._last = call.take()
                while self._items:
                    item = self._items.pop(0)
                    if len(item) == 2:
                        status, headers = item
                        start_response(status, headers)
                        if self._items and self._last and type(self._items[0]) is not bytes:
                            return self._file_response(environ)
                        return self
                    self._hint(environ, item.headers)
                if self._last:
                    return self._fail(environ, start_response)
            else:
                self._serve(todo)
            todo = call.next()

    def _serve(self, todo: Any) -> None:
        """Do what the call wants done while it has no output."""
        call = self._call
        if todo.name == "LOOK":
            if call.cancelled_before_start():
                call.end(IncompleteResponse("the app's task was cancelled before it ran"))
            return
        try:
            data, last = self._reader.read()
        except ClientDisconnected as error:
            # The app is told, and may go on for the grace; nobody is left to answer.
            call.leave()
            call.end(error)
        except BodyTooLarge as error:
            call.supply((error, True), 0, True)
        else:
            call.supply((data, last), len(data), last)

    def _hint(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        try:
            environ["wsgi.early_hints"](headers)
        except Exception:
            logger.warning("the server did not send early hints", exc_info=True)

    def _fail(self, environ: Environ, start_response: StartResponse) -> Any:
        """There is no response: a plain answer without details (A-25)."""
        error = self._call.error
        self._over = True
        if isinstance(error, AdapterClosed):
            raise error
        if isinstance(error, ClientDisconnected) and self._call.gone:
            # The body was cut short. The client may have closed its sending half only.
            return _answer(environ, start_response, "400 Bad Request", "The request body was incomplete.\n")
        if isinstance(error, RequestError):
            return _refuse(environ, start_response, error)
        return _answer(environ, start_response, "500 Internal Server Error", "Internal Server Error\n")

    # -- the iterator

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._file is not None:
            return self._next_of_file()
        call = self._call
        if self._dealt:
            call.dealt(self._dealt)
            self._dealt = 0
        try:
            while True:
                items = self._items
                while items:
                    if type(items[0]) is bytes:
                        return self._next_piece()
                    self._special(items.pop(0))
                    if self._file is not None:
                        return self._next_of_file()
                if self._last:
                    break
                todo = call.next()
                if todo.name == "TAKE":
                    self._items, self._last = call.take()
                else:
                    self._serve(todo)
        except BaseException:
            self._over = True
            call.leave()
            raise
        self._over = True
        error = call.error
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        raise StopIteration

    def _next_piece(self) -> bytes:
        items = self._items
        piece: bytes = items.pop(0)
        if items and type(items[0]) is bytes and len(piece) < _JOIN_LIMIT:
            pieces = [piece]
            size = len(piece)
            while items and type(items[0]) is bytes and size + len(items[0]) <= _JOIN_LIMIT:
                size += len(items[0])
                pieces.append(items.pop(0))
            piece = b"".join(pieces)
        self._dealt = len(piece)
        return piece

    def _special(self, item: Any) -> None:
        from .asgi_call import File, Trailers

        if type(item) is Trailers:
            self._environ["gunicorn.http2.send_trailers"](item.headers)
        elif type(item) is File:
            self._file, self._file_left = item.file, item.count

    # -- files

    def _file_response(self, environ: Environ) -> Any:
        """The body is a file: through the server's own wrapper if it can be sent as it is (X-06)."""
        from .asgi_call import File

        item: File = self._items[0]
        wrapper = environ.get("wsgi.file_wrapper")
        if type(item) is File and item.whole and wrapper is not None and len(self._items) == 1:
            self._over = True
            return wrapper(item.file, _FILE_BLOCK)
        return self

    def _next_of_file(self) -> bytes:
        data: bytes = self._file.read(min(_FILE_BLOCK, self._file_left))
        if data:
            self._file_left -= len(data)
            return data
        missing = self._file_left
        self._close_file()
        if missing:
            self._over = True
            raise IncompleteResponse(f"the file became shorter while it was sent: {missing} bytes are missing")
        return self.__next__()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- the end

    def close(self) -> None:
        """The server is done with the body. Before its end, that means that the client is gone (A-29)."""
        if self._closed:
            return
        self._closed = True
        self._close_file()
        for item in self._items:
            if type(item) not in (bytes, tuple) and hasattr(item, "file"):
                item.file.close()
        over = self._over or (self._last and not self._items and self._call.error is None)
        if not over:
            self._call.leave()
        elif self._call.finished is not None:
            self._call.finished.wait(self._background_wait, self._call.loop_thread.alive)

    def __del__(self) -> None:
        # For a server that drops the body without close().
        if not self._closed and not self._over:
            self._closed = True
            self._close_file()
            self._call.leave()


def _refuse(environ: Environ, start_response: StartResponse, refusal: RequestError) -> list[bytes]:
    from http import HTTPStatus

    status = HTTPStatus(refusal.status)
    return _answer(environ, start_response, f"{status.value} {status.phrase}", f"{status.phrase}: {refusal}\n")


def _answer(environ: Environ, start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = text.encode("utf-8")
    start_response(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    )
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def require_size(name: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UsageError(f"{name} must be a whole number of bytes, at least {at_least}; got {value!r}")


def require_seconds(name: str, value: object) -> None:
    if value is not None and not (isinstance(value, (int, float)) and value >= 0):
        raise UsageError(f"{name} must be a number of seconds, or None for no limit; got {value!r}")
