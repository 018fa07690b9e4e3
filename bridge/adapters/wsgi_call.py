"""One WSGI request in its worker thread: call the app, iterate, close, and hand over what it says.

Everything here runs in one thread and one copied Context (conformance W-02), but for `refuse` and
`describe`. What is handed to the request's task is a list of items in order:

    a dict           an ASGI message to send as it stands
    bytes            a piece of body that more follows
    END              the response is complete; what bytes came since the last message go with it
    LAST             the body is complete, a trailers message follows
    DONE             nothing follows (after trailers, or a file that the server sends itself)

A response that is complete in one go is one list: `[start, body, END]`.
"""

from __future__ import annotations

import contextvars
import enum
import logging
import os
import stat
from collections.abc import Iterable
from typing import Any

from ..engines.handoff import Inbound, Outbound
from ..engines.home import enter
from ..engines.ports import Port
from ..engines.thread_pool import Job, Worker
from ..exceptions import (
    ApplicationError,
    ApplicationExit,
    BodyTooLarge,
    ClientDisconnected,
    LoopGone,
    PoolError,
)
from ..translate import headers as header_rules
from ..translate.wsgi_response import State, WSGIResponse
from ..types import Environ, ExcInfo, Write, WSGIApp
from .wsgi_input import FileWrapper, spooled, streamed_input

logger = logging.getLogger("bridge.wsgi")


class Mark(enum.Enum):
    """What is handed over beside messages and bytes; see the module's docstring."""

    END = enum.auto()  #: the response is complete
    LAST = enum.auto()  #: the body is complete
    DONE = enum.auto()  #: nothing follows


END, LAST, DONE = Mark.END, Mark.LAST, Mark.DONE

# What a file that the server sends counts as: more than any limit, so that the thread waits for it.
FILE_SIZE = 1 << 62

# Exceptions that are no errors in an application but would end or stall the event loop (W-28).
_EXITS = (StopIteration, StopAsyncIteration)

# Errors of a call whose request has ended early that are not the app's.
_CONSEQUENCES = (ClientDisconnected, LoopGone, PoolError, BodyTooLarge)


class WSGICall(Job):
    """Serves one request as a job of the pool.

    Args:
        app: the WSGI application.
        environ: complete but for `wsgi.input` if `inbound` is given.
        port: the loop of the request's task.
        write_ahead: how many bytes of body may wait for the task.
        strict: hop-by-hop response headers are errors.
        inbound: the request body, if it has not come whole.
        spool: read that body to its end first, and set `CONTENT_LENGTH` (E-42).

    Attributes:
        outbound: where the items go; closed when the call is over.
        context: the Context of the call, a copy of the task's.
        error: why the call failed, for the task to raise; `None` if it did not.
    """

    __slots__ = (
        "_app",
        "_environ",
        "_hinted",
        "_response",
        "_spool",
        "_trailers",
        "_worker",
        "complete",
        "context",
        "error",
        "outbound",
        "port",
    )

    def __init__(
        self,
        app: WSGIApp,
        environ: Environ,
        port: Port,
        write_ahead: int,
        strict: bool,
        inbound: Inbound | None,
        spool: bool,
    ) -> None:
        self.state = Job.WAITING
        self.enqueued = 0.0
        self._app = app
        self._environ = environ
        self.port = port
        self.outbound = Outbound(port, write_ahead)
        self.context = contextvars.copy_context()
        self.error: BaseException | None = None
        self._spool = spool
        self._worker: Worker | None = None
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._hinted = False
        self.complete = False

        trailers = False
        extensions = environ["asgi.scope"].get("extensions")
        if extensions:
            trailers = "http.response.trailers" in extensions
            if trailers:
                environ["bridge.send_trailers"] = self.send_trailers
            if "http.response.early_hint" in extensions:
                environ["wsgi.early_hints"] = self.early_hints
        if inbound is not None:
            environ["wsgi.input"] = streamed_input(inbound, self._lend_slot)
        self._response = WSGIResponse(environ["REQUEST_METHOD"] == "HEAD", strict, trailers)

    # -- as a job

    def run(self, worker: Worker) -> None:
        self._worker = worker
        enter(self.port)
        try:
            self.context.run(self._serve)
        except BaseException as error:
            self._failed(error)
        finally:
            # The app may keep start_response; let it keep no more than that.
            self._environ = {}
            self._worker = None
            if not self.outbound.closed:
                self.outbound.close()

    def refuse(self, error: PoolError) -> None:
        self.error = error
        self.outbound.close()

    def describe(self) -> str:
        environ = self._environ
        # Control characters are escaped: a path may hold a decoded line break (H-06).
        return f"{environ.get('REQUEST_METHOD', '?')} {environ.get('PATH_INFO', '')!r}"

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, _EXITS) or not isinstance(error, Exception):
            exit_ = ApplicationExit(
                f"the WSGI app raised {type(error).__name__}, which would end the server's loop"
            )
            exit_.__cause__ = error
            error = exit_
        self.error = error
        if self.outbound.aborted:
            self.log_error()

    def log_error(self) -> None:
        """Tell of the error that no task will raise, since the request has ended early.

        Called by whichever of thread and task comes last, so that an error cannot be lost between
        them; what is only a consequence of that end is not worth a line.
        """
        error, self.error = self.error, None
        if error is not None and not isinstance(error, _CONSEQUENCES):
            logger.error("the WSGI app raised, but its request has ended early", exc_info=error)

    def _lend_slot(self) -> None:
        if self._worker is not None:
            self._worker.lend_slot()

    # -- the call

    def _serve(self) -> None:
        spool = None
        iterable: Any = None
        try:
            if self._spool:
                spool, size = spooled(self._environ["wsgi.input"])
                self._environ["wsgi.input"] = spool
                self._environ["CONTENT_LENGTH"] = str(size)
            iterable = self._app(self._environ, self.start_response)
            if (type(iterable) is list or type(iterable) is tuple) and len(iterable) == 1:
                # Most responses are complete in one go. Lists and tuples have no close() to wait for.
                chunk = iterable[0]
                response = self._response
                if type(chunk) is bytes and response.fits(len(chunk)) and not self._hinted:
                    self.complete = True
                    self.outbound.put_all([response.start_message(), chunk, END])
                    return
            self._send_all(iterable)
        finally:
            # W-24: once, on every path. What it raises must not hide why we are here.
            close = getattr(iterable, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException:
                    logger.exception("close() of the WSGI app's iterable raised")
            if spool is not None:
                spool.close()

    def _send_all(self, iterable: Any) -> None:
        if type(iterable) is FileWrapper and self._send_path(iterable):
            return
        expected = "the WSGI app must return an iterable of bytes, such as [b'...'] (PEP 3333)"
        if isinstance(iterable, str):
            raise ApplicationError(f"{expected}; got str: encode it")
        try:
            chunks = iter(iterable)
        except TypeError as error:
            raise ApplicationError(f"{expected}; got {type(iterable).__name__}") from error
        for chunk in chunks:
            if type(chunk) is not bytes:
                chunk = _as_bytes(chunk, "yielded by the WSGI app")
            if chunk:
                if self.complete or self._send(chunk):
                    # Of a wrapped file the length decides how much is sent (PEP 3333): no mistake.
                    if not self._response.bodiless and type(iterable) is not FileWrapper:
                        logger.warning("the WSGI app produced more than its Content-Length; the rest was cut")
                    break
            elif self.outbound.aborted:
                break
        if not self.complete:
            self._finish()

    def _send(self, chunk: bytes) -> bool:
        """Hand over a non-empty chunk, and the start before it; return whether the rest does not matter."""
        response = self._response
        items: list[Any] = []
        if response.state is not State.SENT:
            items.append(response.start_message())
        chunk = response.accept(chunk)
        if response.bodiless:
            self.complete = True
            items.append(END)
            self.outbound.put(items, 0)
            return True
        if chunk:
            items.append(chunk)
        if response.full and not response.trailers:
            self.complete = True
            items.append(END)
            self.outbound.put(items, len(chunk))
            return response.surplus
        worker = self._worker
        assert worker is not None
        worker.note_streaming()
        if self.outbound.put(items, len(chunk)):
            worker.lend_slot()
            self.outbound.wait()
        return response.surplus

    def _finish(self) -> None:
        """The app has said all."""
        response = self._response
        items: list[Any] = []
        if response.state is not State.SENT:
            start = response.start_message()
            # An announced length that was not produced fails before anything was sent.
            response.finish()
            items.append(start)
        else:
            response.finish()
        if response.trailers:
            message = {
                "type": "http.response.trailers",
                "headers": self._trailers or [],
                "more_trailers": False,
            }
            items += [LAST, message, DONE]
        else:
            items.append(END)
        self.complete = True
        self.outbound.put(items, 0)

    def _send_path(self, wrapper: FileWrapper) -> bool:
        """Have the server send a whole regular file, if it offers to and the file is one (X-09)."""
        extensions = self._environ["asgi.scope"].get("extensions")
        response = self._response
        if not extensions or "http.response.pathsend" not in extensions or response.state is not State.NAMED:
            return False
        try:
            path = wrapper.filelike.name
            if not isinstance(path, str) or not os.path.isabs(path) or wrapper.filelike.tell() != 0:
                return False
            opened = os.fstat(wrapper.filelike.fileno())
            named = os.stat(path)
        except (AttributeError, OSError, ValueError):
            return False
        if not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, named):
            return False
        if not response.fits(opened.st_size):
            return False
        items = [response.start_message(), {"type": "http.response.pathsend", "path": path}, DONE]
        self.complete = True
        # Wait until it is sent: close() of the wrapper may delete the file.
        self.outbound.put(items, FILE_SIZE)
        self._lend_slot()
        self.outbound.wait()
        return True

    # -- what the app may call

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Write:
        """PEP 3333's `start_response`, in the worker's thread."""
        try:
            self._response.start(status, headers, exc_info)
        finally:
            exc_info = None
        dropped = self._response.dropped
        if dropped is not None:
            self._response.dropped = None
            logger.warning(
                "hop-by-hop response headers are the server's and were dropped: %s",
                ", ".join(name.decode("ascii") for name in dropped),
            )
        return self.write

    def write(self, data: bytes, /) -> None:
        """PEP 3333's `write`: hand the bytes over before returning, waiting for room if need be."""
        data = _as_bytes(data, "given to write()")
        if not data:
            return
        if self.complete and not self._response.bodiless:
            raise ApplicationError("write() was called past the response's Content-Length")
        if not self.complete:
            self._send(data)
        if self._response.surplus:
            raise ApplicationError("write() was called past the response's Content-Length")

    def early_hints(self, headers: Iterable[tuple[str, str]], /) -> None:
        """`wsgi.early_hints`: have the server send 103 with the `Link` headers given (X-04, RFC 8297)."""
        links = []
        for name, value in headers:
            if name.lower() == "link":
                links.append(header_rules.response_value(name, value))
            else:
                logger.warning("early hints carry Link headers only; %r was dropped", name)
        if links and self._response.state is not State.SENT:
            self._hinted = True
            self.outbound.put([{"type": "http.response.early_hint", "links": links}], 0)

    def send_trailers(self, headers: list[tuple[str, str]], /) -> None:
        """`bridge.send_trailers`: name the trailers, at any time before the iterable ends (X-05).

        They are sent only if the response announced them by a `Trailer` header.
        """
        self._trailers = header_rules.response_headers(headers)


def _as_bytes(data: object, what: str) -> bytes:
    if isinstance(data, bytes):
        return bytes(data)
    hint = " (encode it first)" if isinstance(data, str) else ""
    raise ApplicationError(f"body data {what} must be bytes, got {type(data).__name__}{hint}")
