"""What an ASGI app raised behind `ASGIToWSGI`, which answers with 500 and logs it, as servers do.

A test wants the exception itself. The app inside the adapter is wrapped in a `Tap`, which notes what
comes of each call in an `Outcome`. The outcome of a request is found through a context variable: the
adapters call the app in a copy of their caller's Context, so it gets through any number of them, and
requests that run at the same time do not see each other's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from ...engines.gates import Latch
from ...exceptions import IncompleteResponse
from ...types import ASGIApp, Message, Receive, Scope, Send
from .library import httpx2
from .wire import ERROR_FOLLOWS, is_app_error, wants_late_errors


class Outcome:
    """What has come of one call of the app so far. Written on the app's loop, read by the client.

    Attributes:
        begun: a body message was sent, so that a response may have gone out.
        complete: the last one was.
        raised: what the app raised.
        ended: set at the end of the call.
    """

    __slots__ = ("begun", "complete", "ended", "raised")

    def __init__(self) -> None:
        self.begun = False
        self.complete = False
        self.raised: BaseException | None = None
        self.ended = Latch()

    @property
    def error(self) -> BaseException | None:
        """What the app raised, if it is a failure of the request."""
        if self.raised is None and self.ended.is_set and not self.begun:
            return IncompleteResponse("the app ended without a response")
        return self.raised if self.raised is not None and is_app_error(self.raised) else None

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the call, for at most `timeout` seconds; return whether it has come.

        Not on the app's loop. If that ends under the app, the time-out ends the wait.
        """
        return self.ended.wait(timeout, lambda: True)


# A file of `pathsend` is the whole body, and has no `more_body`.
_BODIES = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})

_outcome: ContextVar[Outcome | None] = ContextVar("bridge.testing.outcome", default=None)


class Tap:
    """An ASGI app that notes what comes of the calls of another.

    Args:
        app: the ASGI 3 application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Of the calls in progress. The loop's thread alone changes it, others copy it.
        self._outcomes: set[Outcome] = set()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is in progress; return whether that was within `timeout` seconds.

        Not on the app's loop.
        """
        deadline = time.monotonic() + timeout
        return all(outcome.wait(max(0.0, deadline - time.monotonic())) for outcome in list(self._outcomes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope: exactly as the app does."""
        outcome = _outcome.get() if scope["type"] == "http" else None
        if outcome is None:
            await self.app(scope, receive, send)
            return

        async def noting_send(message: Message) -> None:
            await send(message)
            if message["type"] in _BODIES:
                outcome.begun = True
                outcome.complete = outcome.complete or not message.get("more_body", False)

        self._outcomes.add(outcome)
        try:
            await self.app(scope, receive, noting_send)
        except BaseException as error:
            outcome.raised = error
            raise
        finally:
            self._outcomes.discard(outcome)
            outcome.ended.set()

    def __repr__(self) -> str:
        return f"<Tap of {self.app!r}>"


def _late_error(outcome: Outcome, response: httpx2.Response, request: httpx2.Request) -> bool:
    """Whether an exception is to be waited for that follows a response of 5xx."""
    return response.status_code >= 500 and wants_late_errors(True, request) and not outcome.ended.is_set


def _to_raise(outcome: Outcome, request: httpx2.Request) -> BaseException | None:
    """What the app raised, if the request is to raise it although there is a response."""
    if outcome.begun and not (outcome.complete and wants_late_errors(True, request)):
        return None
    return outcome.error


class TappedTransport(httpx2.BaseTransport):
    """A transport to an app with a `Tap` somewhere inside, which raises what the app raised.

    Args:
        inner: the transport that calls the app.
        raise_app_exceptions: `False` leaves everything as the adapter makes it.
    """

    def __init__(self, inner: httpx2.BaseTransport, raise_app_exceptions: bool) -> None:
        self._inner = inner
        self._raises = raise_app_exceptions

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            what the app raised before its response had begun, or after one of 5xx; those of `inner`.
        """
        outcome = Outcome()
        token = _outcome.set(outcome)
        try:
            response = self._inner.handle_request(request)
        except Exception as error:
            if self._raises and outcome.error is not None and error is not outcome.error:
                raise outcome.error from None
            raise
        finally:
            _outcome.reset(token)
        if not self._raises:
            return response
        if _late_error(outcome, response, request):
            outcome.wait(ERROR_FOLLOWS)
        error_of_app = _to_raise(outcome, request)
        if error_of_app is not None:
            response.close()
            raise error_of_app
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _TappedBody(response.stream, outcome)
        return response

    def close(self) -> None:
        self._inner.close()


class _TappedBody(httpx2.SyncByteStream):
    """A body that breaks off with what the app raised."""

    def __init__(self, inner: httpx2.SyncByteStream, outcome: Outcome) -> None:
        self._inner = inner
        self._outcome = outcome

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except Exception as error:
            if self._outcome.error is not None and error is not self._outcome.error:
                raise self._outcome.error from None
            raise

    def close(self) -> None:
        self._inner.close()


class AsyncTappedTransport(httpx2.AsyncBaseTransport):
    """The same for async transports."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, raise_app_exceptions: bool) -> None:
        self._inner = inner
        self._raises = raise_app_exceptions

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see `TappedTransport.handle_request`."""
        outcome = Outcome()
        token = _outcome.set(outcome)
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as error:
            if self._raises and outcome.error is not None and error is not outcome.error:
                raise outcome.error from None
            raise
        finally:
            _outcome.reset(token)
        if not self._raises:
            return response
        if _late_error(outcome, response, request):
            await asyncio.to_thread(outcome.wait, ERROR_FOLLOWS)
        error_of_app = _to_raise(outcome, request)
        if error_of_app is not None:
            await response.aclose()
            raise error_of_app
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _AsyncTappedBody(response.stream, outcome)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _AsyncTappedBody(httpx2.AsyncByteStream):
    """A body that breaks off with what the app raised."""

    def __init__(self, inner: httpx2.AsyncByteStream, outcome: Outcome) -> None:
        self._inner = inner
        self._outcome = outcome

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                yield piece
        except Exception as error:
            if self._outcome.error is not None and error is not self._outcome.error:
                raise self._outcome.error from None
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()
