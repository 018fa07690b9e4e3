"""A server in process for WSGI apps behind an async client: each request runs in a thread of its own.

The thread does one step at a time: the call up to the first piece of body, each further piece, `close()`. It
is the same one for all of them, as WSGI wants it.

Who waits, and what ends the wait: the client awaits the end of a step; the read time-out and cancellation
end that wait, and then the thread closes the response after the step. The thread waits for the next step,
which is at the latest the end: the response's `aclose()`, its garbage collection, or the transport's
`aclose()` gives it. While it reads a request body that comes from an async iterator, it waits for the loop,
and looks once a second whether that still runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from ...exceptions import ClientDisconnected
from ...types import WSGIApp
from .async_asgi import require_asyncio
from .library import httpx2
from .wire import DEFAULT_CLIENT, logger, read_timeout, read_timeout_of
from .wsgi import WSGITransport

# How long `aclose` waits for apps that are in the middle of a step, in seconds: as for ASGI apps.
_CLOSE_TIMEOUT = 10.0
_LOOK = 1.0

_Step = Callable[[], Any]


class AsyncWSGITransport(httpx2.AsyncBaseTransport):
    """Sends requests to a WSGI app (PEP 3333) from an asyncio loop.

    Args:
        app, raise_app_exceptions, root_path, client, extra: see `WSGITransport`.

    Raises:
        UsageError: an option is not usable.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] | None = DEFAULT_CLIENT,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._transport = WSGITransport(
            app, raise_app_exceptions=raise_app_exceptions, root_path=root_path, client=client, extra=extra
        )
        self._workers: set[_Worker] = set()

    async def start(self) -> None:
        """Nothing is to be started.

        Raises:
            UsageError: no asyncio loop runs here.
        """
        require_asyncio()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return when the response has begun.

        Raises:
            those of `WSGITransport.handle_request`; ReadTimeout: the app did not answer in time. Its
            thread goes on until then.
        """
        loop = require_asyncio()
        sent = httpx2.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_sync_stream(request.stream, loop),
            extensions=request.extensions,
        )
        sent.method = request.method
        worker = _Worker(loop, request, self._workers)
        try:
            response = await worker.do(lambda: self._transport.handle_request(sent), keep=True)
        except BaseException:
            worker.leave()
            raise
        assert isinstance(response, httpx2.Response)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(worker, response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close responses that are still open, and wait for the threads, within a bound."""
        workers = list(self._workers)
        for worker in workers:
            worker.leave()
        if workers and not await asyncio.to_thread(_join, workers):
            logger.error("a WSGI app does not come to an end; its thread is left: %r", self._transport.app)

    async def wait_idle(self, timeout: float) -> bool:
        """Always true: a WSGI app has no work after the end of its response."""
        return True


def _join(workers: list[_Worker]) -> bool:
    deadline = time.monotonic() + _CLOSE_TIMEOUT
    for worker in workers:
        worker.thread.join(max(0.0, deadline - time.monotonic()))
    return not any(worker.thread.is_alive() for worker in workers)


class _Worker:
    """The thread of one request."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, request: httpx2.Request, workers: set[_Worker]
    ) -> None:
        self._loop = loop
        self._request = request
        self._workers = workers
        self._timeout = read_timeout_of(request)
        self._steps: queue.SimpleQueue[tuple[_Step, asyncio.Future[Any], bool] | None] = queue.SimpleQueue()
        self._stream: Any = None
        context = contextvars.copy_context()
        self.thread = threading.Thread(
            target=context.run, args=(self._work,), name="bridge-testing-wsgi", daemon=True
        )
        workers.add(self)
        self.thread.start()

    async def do(self, step: _Step, *, keep: bool = False) -> Any:
        """Have the thread do a step.

        Args:
            keep: its result is a response, to be closed in the thread.

        Raises:
            what it raises; ReadTimeout.
        """
        done = self._loop.create_future()
        self._steps.put((step, done, keep))
        await asyncio.wait((done,), timeout=self._timeout)
        if not done.done():
            raise read_timeout(self._timeout, self._request)
        return done.result()

    def leave(self) -> None:
        """No step will follow: close the response, and end the thread."""
        self._steps.put(None)

    def _work(self) -> None:
        try:
            while True:
                job = self._steps.get()
                if job is None:
                    return
                step, done, keep = job
                result: Any = None
                error: BaseException | None = None
                try:
                    result = step()
                    if keep:
                        self._stream = result.stream
                except BaseException as raised:
                    error = raised
                self._report(done, result, error)
                del step, done, job, result, error
        finally:
            self._close()
            try:
                self._loop.call_soon_threadsafe(self._workers.discard, self)
            except RuntimeError:
                pass  # the loop is closed, and with it the transport

    def _report(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        def report() -> None:
            if not done.done():
                if error is None:
                    done.set_result(result)
                else:
                    done.set_exception(_transportable(error))
                    done.exception()  # whoever waited may be gone: no word of an exception never retrieved

        try:
            self._loop.call_soon_threadsafe(report)
        except RuntimeError:
            self.leave()  # the loop is closed; nobody will ask for more

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except Exception:
                logger.exception("the close() of the app's response raised")


def _transportable(error: BaseException) -> BaseException:
    """A future takes no StopIteration."""
    if isinstance(error, StopIteration):
        replacement = RuntimeError("the app raised StopIteration")
        replacement.__cause__ = error
        return replacement
    return error


_END = object()


class _Body(httpx2.AsyncByteStream):
    """The response's body, as it comes."""

    def __init__(self, worker: _Worker, stream: httpx2.SyncByteStream) -> None:
        self._worker = worker
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._stream)
        try:
            while True:
                piece = await self._worker.do(lambda: next(pieces, _END))
                if piece is _END:
                    break
                yield piece
            await self._worker.do(self._stream.close)
        finally:
            self._worker.leave()

    async def aclose(self) -> None:
        self._worker.leave()

    def __del__(self) -> None:
        self._worker.leave()


def _sync_stream(stream: Any, loop: asyncio.AbstractEventLoop) -> httpx2.SyncByteStream:
    """A request's body, for a thread."""
    if isinstance(stream, httpx2.SyncByteStream):
        return stream
    return _FromLoop(stream, loop)


class _FromLoop(httpx2.SyncByteStream):
    """A body that is read on the loop, on behalf of a thread."""

    def __init__(self, stream: httpx2.AsyncByteStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._stream.__aiter__()

        async def following() -> bytes | None:
            try:
                return await pieces.__anext__()
            except StopAsyncIteration:
                return None

        while True:
            piece = self._wait_for(asyncio.run_coroutine_threadsafe(following(), self._loop))
            if piece is None:
                return
            yield piece

    def _wait_for(self, piece: concurrent.futures.Future[bytes | None]) -> bytes | None:
        while True:
            try:
                return piece.result(_LOOK)
            except concurrent.futures.TimeoutError:
                if piece.done():
                    raise  # it is the body's own
                if not self._loop.is_running():
                    raise ClientDisconnected("the event loop of the client has ended") from None
