"""WSGIToASGI: a WSGI app served by an ASGI server.

The way of a request: the loop builds the environ and receives the body up to the pre-buffer; one
job goes to the pool; the worker calls the app and hands back what it says. If that is a whole
response, one wake-up of the loop brings it and two `send` calls end it. Otherwise an `_Exchange`
streams both ways, with one pending `receive()` beside it that feeds the request body and watches
for `http.disconnect`.

`receive` and `send` are awaited on the request's own loop; `send` in the request's own task and
context only, because servers keep the context that resumes a connection.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .._version import __version__
from ..engines import asgiref_notes
from ..engines.contexts import carry_back
from ..engines.handoff import Inbound
from ..engines.ports import Port
from ..engines.running import running_port
from ..engines.thread_pool import DEFAULT_THREADS, ThreadPool
from ..exceptions import (
    BodyTooLarge,
    ClientDisconnected,
    PoolError,
    RequestError,
    UnsupportedScope,
    UsageError,
)
from ..translate.environ import EnvironBuilder
from ..translate.request_body import RequestBody
from ..types import ErrorStream, Hook, Message, Receive, Scope, Send, WSGIApp
from .arguments import require_seconds, require_size
from .lifespan import answer_lifespan
from .refusals import is_head, refuse, refuse_websocket
from .wsgi_call import DONE, END, FILE_SIZE, LAST, WSGICall
from .wsgi_input import Errors, FileWrapper

# Most requests are whole within this many bytes, so that no thread waits for a slow client.
DEFAULT_PREBUFFER = 64 * 1024
# How far either side may run ahead of the other: four of the 64 KiB pieces that servers move.
# Measured: less costs throughput, more gains none.
DEFAULT_AHEAD = 256 * 1024
# How long lifespan shutdown waits for running requests, in seconds: below what process managers
# allow before they kill (Gunicorn and Kubernetes: 30).
DEFAULT_SHUTDOWN_TIMEOUT = 10.0

# Pieces of body that wait together are sent as one message up to this size: joining is cheaper
# than a send for small ones, and larger ones are not copied.
_JOIN_LIMIT = 64 * 1024

_ENDS_BY_LENGTH = frozenset({"HTTP/1.0", "HTTP/1.1"})
_GONE = "the client disconnected, or the server cancelled the request, before the response was complete"


class WSGIToASGI:
    """An ASGI 3 application that runs a WSGI application in worker threads.

        app = WSGIToASGI(flask_app)          # uvicorn module:app

    It answers `http` scopes by the WSGI app, `lifespan` itself, and refuses `websocket`. It runs on
    asyncio, uvloop and trio. No thread is started before the first request.

    Args:
        app: the WSGI application (PEP 3333), called in a worker thread, in a copy of the Context
            of the ASGI task. Values that it sets in context variables are visible in the task afterwards.
        threads: how many requests may run at a time (default 40), if `pool` is not given.
        pool: a `ThreadPool` shared with other adapters.
        prebuffer: how many bytes of request body to receive before a thread is taken (default 64 KiB).
        read_ahead: how many bytes of a larger body may be held beyond what the app has read (256 KiB).
        write_ahead: how many bytes of response may wait for the client before the app's thread
            waits as well (256 KiB).
        max_body: the largest request body in bytes; larger ones get 413. `None`: no limit.
        spool: receive a body of unknown length (chunked) whole, into a temporary file, and set
            `CONTENT_LENGTH`, for frameworks that take a missing length for an empty body (Django).
        strict: hop-by-hop response headers raise in the app instead of being dropped with a warning.
        keep_underscore_headers: keep request headers with an underscore in their name. They can be
            mistaken for others, so a client could forge what a proxy sets.
        multiprocess: value of `wsgi.multiprocess`, which no scope tells.
        errors: the text stream behind `wsgi.errors`; `None` is `sys.stderr`, looked up at each write.
        on_startup: called by lifespan startup, in order: functions in a worker thread, coroutine
            functions on the loop. One that raises fails the startup.
        on_shutdown: the same at lifespan shutdown; all are called.
        shutdown_timeout: how many seconds lifespan shutdown waits for running requests, `None`
            without limit. Only a pool of its own is waited for, not a shared one.

    Raises:
        UsageError: an argument is not usable, for one an app that is an ASGI app already.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        threads: int = DEFAULT_THREADS,
        pool: ThreadPool | None = None,
        prebuffer: int = DEFAULT_PREBUFFER,
        read_ahead: int = DEFAULT_AHEAD,
        write_ahead: int = DEFAULT_AHEAD,
        max_body: int | None = None,
        spool: bool = False,
        strict: bool = False,
        keep_underscore_headers: bool = False,
        multiprocess: bool = True,
        errors: ErrorStream | None = None,
        on_startup: Sequence[Hook] = (),
        on_shutdown: Sequence[Hook] = (),
        shutdown_timeout: float | None = DEFAULT_SHUTDOWN_TIMEOUT,
    ) -> None:
        if not callable(app):
            raise UsageError(f"expected a WSGI application, a callable; got {type(app).__name__}")
        # Loaded on use: see `as_asgi`.
        from ..translate.interface import Interface, interface_of

        if interface_of(app).interface in (Interface.ASGI3, Interface.ASGI2):
            raise UsageError(
                f"expected a WSGI application; {type(app).__name__} is an ASGI application already: "
                "serve it as it is, or let bridge.as_asgi() decide whether to wrap"
            )
        require_size("prebuffer", prebuffer, at_least=1)
        require_size("read_ahead", read_ahead, at_least=1)
        require_size("write_ahead", write_ahead, at_least=1)
        if max_body is not None:
            require_size("max_body", max_body, at_least=0)
        if pool is not None and not isinstance(pool, ThreadPool):
            raise UsageError(f"pool must be a bridge.ThreadPool; got {type(pool).__name__}")
        if errors is not None and not hasattr(errors, "write"):
            raise UsageError(f"errors must be a text stream, which has write(); got {type(errors).__name__}")
        require_seconds("shutdown_timeout", shutdown_timeout)
        self.app = app
        self._owns_pool = pool is None
        self.pool = ThreadPool(threads) if pool is None else pool
        self._prebuffer = prebuffer
        self._read_ahead = read_ahead
        self._write_ahead = write_ahead
        self._max_body = max_body
        self._spool = spool
        self._strict = strict
        self._on_startup = _hooks("on_startup", on_startup)
        self._on_shutdown = _hooks("on_shutdown", on_shutdown)
        self._shutdown_timeout = shutdown_timeout
        self._port: Port | None = None
        self._environs = EnvironBuilder(
            {
                "wsgi.version": (1, 0),
                "wsgi.errors": Errors(errors),
                "wsgi.multithread": self.pool.multithread,
                "wsgi.multiprocess": bool(multiprocess),
                "wsgi.run_once": False,
                "wsgi.input_terminated": True,
                "wsgi.file_wrapper": FileWrapper,
                "GATEWAY_INTERFACE": "CGI/1.1",
                "SERVER_SOFTWARE": f"bridge/{__version__}",
            },
            keep_underscore_headers=keep_underscore_headers,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; see ASGI "Applications".

        Raises:
            UnsupportedScope: the scope is neither `http`, `websocket` nor `lifespan`.
            BaseException: what the WSGI app raised, unless the client was gone (W-23).
        """
        port = self._port
        if port is None or not port.is_current():
            asgiref_notes.prepare()
            port = self._port = running_port()
        if scope["type"] != "http":
            return await self._serve_other(scope, receive, send, port)

        try:
            environ, length, announces_body, expects_continue = self._environs.build(scope)
        except RequestError as refusal:
            return await refuse(send, refusal, head=is_head(scope))
        # Without a body there is nothing to receive, to limit or to feed to the app.
        body = None
        if announces_body:
            awaits_end = environ["SERVER_PROTOCOL"] not in _ENDS_BY_LENGTH
            body = RequestBody(length, self._max_body, awaits_end=awaits_end)
        chunks: list[bytes] = []
        if body is not None and not expects_continue:
            size = 0
            try:
                while not body.complete and body.error is None and size < self._prebuffer:
                    chunk = body.feed(await receive())
                    if chunk:
                        chunks.append(chunk)
                        size += len(chunk)
            except OSError:
                return None  # the client is gone before anything began
        if body is not None and type(body.error) is BodyTooLarge:
            return await refuse(send, body.error, head=is_head(scope))

        inbound = None
        spool = False
        if body is None:
            environ["wsgi.input"] = io.BytesIO()
        elif body.complete:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            environ["wsgi.input"] = io.BytesIO(data)
            if self._spool and length is None:
                environ["CONTENT_LENGTH"] = str(len(data))
        else:
            spool = self._spool and length is None
            inbound = Inbound(port, self._read_ahead, on_demand=expects_continue)
            for chunk in chunks:
                inbound.put(chunk)
            if body.error is not None:
                inbound.fail(body.error)
        call = WSGICall(self.app, environ, port, self._write_ahead, self._strict, inbound, spool)
        outbound = call.outbound
        gone = body is not None and body.gone
        if gone:
            # The app is called all the same: it finds out by reading, and may want to know (E-40).
            outbound.abort(ClientDisconnected(_GONE))
        try:
            self.pool.submit(call)
        except PoolError as refusal:
            return await refuse(send, refusal, head=is_head(scope))

        finished = started = False
        try:
            if gone:
                flag = outbound.park_until_closed()
                if flag is not None:
                    await flag
                return None
            closed = False
            items: list[Any] = []
            if inbound is None:
                flag = outbound.park()
                if flag is not None:
                    minded = port.mind(flag)
                    await flag
                    minded.discard(flag)
                closed = outbound.closed  # before `take`, so that nothing can come in between
                items = outbound.take()
            # Three items that end may also be an early hint, a start and the end.
            if len(items) == 3 and items[2] is END and type(items[1]) is bytes:
                started = True
                await send(items[0])
                await send({"type": "http.response.body", "body": items[1], "more_body": False})
            elif items or not closed:
                exchange = _Exchange(call, body, inbound, receive, send, items)
                if items and items[-1] is END:
                    await exchange.forward()
                else:
                    await port.run_beside(exchange.forward, exchange.watch)
                if exchange.receive_error is not None:
                    raise exchange.receive_error
                started = exchange.started
            if not outbound.aborted:
                flag = None if outbound.closed else outbound.park_until_closed()
                if flag is not None:
                    await flag
                finished = True
        except OSError:
            pass  # W-25: the client is gone
        finally:
            if not finished:
                self._abandon(call, inbound)
        if not finished:
            # Give the worker a moment to close the iterable, so that a request ends when it ends.
            flag = outbound.park_until_closed() if call.state != WSGICall.CANCELLED else None
            if flag is not None:
                minded = port.mind(flag)
                await flag
                minded.discard(flag)
            return None

        carry_back(call.context)
        if call.error is not None:
            error, call.error = call.error, None
            try:
                if not started and isinstance(error, (PoolError, BodyTooLarge)):
                    return await refuse(send, error, head=is_head(scope))
                raise error
            finally:
                del error
        return None

    def _abandon(self, call: WSGICall, inbound: Inbound | None) -> None:
        """The exchange has ended early: a waiting job never starts, a running one is told."""
        if not self.pool.cancel(call):
            reason = ClientDisconnected(_GONE)
            call.outbound.abort(reason)
            if inbound is not None:
                inbound.fail(reason)
            call.log_error()

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send, port: Port) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await answer_lifespan(
                receive,
                send,
                port,
                self.pool,
                on_startup=self._on_startup,
                on_shutdown=self._on_shutdown,
                drain=self._owns_pool,
                drain_timeout=self._shutdown_timeout,
            )
        elif kind == "websocket":
            await refuse_websocket(scope, receive, send)
        else:
            raise UnsupportedScope(f"expected a scope of type http, websocket or lifespan; got {kind!r}")

    def __repr__(self) -> str:
        return f"<WSGIToASGI of {self.app!r} on {self.pool!r}>"


def _hooks(name: str, hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    try:
        found: tuple[Any, ...] = tuple(hooks)
    except TypeError:
        found = (None,)  # a single function, perhaps
    if not all(callable(hook) for hook in found):
        raise UsageError(f"{name} must be a sequence of functions, such as [connect]; got {hooks!r}")
    return found


class _Exchange:
    """A request that streams: `forward` runs in the request's task, `watch` beside it.

    Both run on the loop's thread, so their fields need no lock.
    """

    __slots__ = (
        "_body",
        "_call",
        "_complete",
        "_inbound",
        "_items",
        "_receive",
        "_send",
        "receive_error",
        "started",
    )

    def __init__(
        self,
        call: WSGICall,
        body: RequestBody | None,
        inbound: Inbound | None,
        receive: Receive,
        send: Send,
        items: list[Any],
    ) -> None:
        self._call = call
        self._body = body or RequestBody(0)
        self._inbound = inbound
        self._receive = receive
        self._send = send
        self._items = items
        # Set just before the last `send`: servers say `http.disconnect` once it has been called.
        self._complete = False
        self.started = False
        self.receive_error: Exception | None = None

    async def forward(self) -> None:
        """Send what the worker hands over.

        Ends when the response is complete, the worker is done, or the client is gone.
        """
        outbound = self._call.outbound
        items = self._items
        self._items = []
        while not outbound.aborted:
            if items and await self._send_items(items):
                return
            flag = outbound.park()
            if flag is not None:
                del items  # not held while we wait
                await flag
            items = outbound.take()
            if not items and outbound.closed:
                # Taken after it was seen to be closed, so nothing can have come in between.
                items = outbound.take()
                if not items:
                    return

    async def _send_items(self, items: list[Any]) -> bool:
        """Send one batch; return whether the response is complete."""
        parts: list[bytes] = []
        size = 0
        for item in items:
            if type(item) is bytes:
                if size and size + len(item) > _JOIN_LIMIT:
                    await self._send_body(parts, size, True)
                    parts, size = [], 0
                parts.append(item)
                size += len(item)
            elif item is END:
                self._complete = True
                await self._send_body(parts, size, False)
                return True
            elif item is LAST:
                self._complete = True
                await self._send_body(parts, size, False)
                parts, size = [], 0
            elif item is DONE:
                return True
            else:
                await self._send_message(item)
        if parts:
            await self._send_body(parts, size, True)
        return False

    async def _send_message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
        elif message["type"] == "http.response.pathsend":
            self._complete = True
        await self._send(message)
        if message["type"] == "http.response.pathsend":
            self._call.outbound.dealt_with(FILE_SIZE)
        if self.started and self._inbound is not None:
            self._inbound.want()  # the final status is out, so no 100 Continue can follow

    async def _send_body(self, parts: list[bytes], size: int, more: bool) -> None:
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        del body
        self._call.outbound.dealt_with(size)

    async def watch(self) -> None:
        """Feed the request body to the worker, then wait for the client to leave (W-26)."""
        body = self._body
        inbound = self._inbound
        receive = self._receive
        try:
            if inbound is not None:
                await inbound.demand()
                while not body.complete and body.error is None:
                    await inbound.room()
                    chunk = body.feed(await receive())
                    if chunk:
                        inbound.put(chunk)
                if body.error is None:
                    inbound.end()
                else:
                    inbound.fail(body.error)
                    if isinstance(body.error, BodyTooLarge):
                        return  # the rest of it is not wanted
            while not body.gone:
                body.feed(await receive())
        except OSError:
            pass  # a server's way to say that the client is gone
        except Exception as error:
            if not self._complete:
                self.receive_error = error
        reason = ClientDisconnected(_GONE)
        if inbound is not None:
            inbound.fail(reason)
        if not self._complete:
            self._call.outbound.abort(reason)
