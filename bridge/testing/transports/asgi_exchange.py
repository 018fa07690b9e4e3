"""The client's side of one exchange with an ASGI app, where the client lives in another thread.

Who waits here, and what ends the wait: the client's thread waits at a gate for the app's next step. The
app's side opens it after each, and at the end of its task, which comes on every way out of it; the read
time-out ends it; and once a second the thread looks whether the loop is alive. The gate is closed
whenever the client goes through it, and the client looks at everything before it waits again.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterator
from typing import Any

from ...engines.gates import new_gate
from ...exceptions import LoopGone
from .app_side import AppSide
from .asgi_host import ASGIHost, Run
from .library import httpx2
from .wire import ERROR_FOLLOWS, read_timeout, read_timeout_of

# How often a waiting thread looks whether the loop is alive, in seconds.
_LOOK = 1.0


class ASGIExchange(AppSide):
    """One request and its response. The methods defined here are the client's, for one thread at a time.

    Args:
        host: where the app runs; it has started.
        scope: the app's.
        request: the client's.
    """

    def __init__(self, host: ASGIHost, scope: dict[str, Any], request: httpx2.Request) -> None:
        super().__init__(host.app, scope, request)
        self._host = host
        self._timeout = read_timeout_of(request)
        self._deadline: float | None = None
        self._gate = new_gate(host.loop_thread.allocate_lock)
        self._unread: Iterator[bytes] | None = None
        if self.lazy:
            assert isinstance(request.stream, httpx2.SyncByteStream)
            self._unread = iter(request.stream)
        self._run: Run | None = None

    def wake_client(self) -> None:
        try:
            self._gate.release()
        except RuntimeError:
            pass  # it is open already

    def start(self, context: contextvars.Context) -> None:
        """Hand the request to the loop; see `ASGIHost.run` for what it raises."""
        self._run = self._host.run(self.call, leave=self.client_left, context=context)

    def arrive(self) -> None:
        """Wait until the response begins.

        Raises:
            what the app raised before; IncompleteResponse: it ended without a response.
            ReadTimeout: neither came in time.
            LoopGone: the event loop has ended.
            what reading the request's body raised; LocalProtocolError: it has not the length it should.
        """
        self._set_deadline()
        while not (self.begun or self.ended):
            self._wait()
        if not self.begun:
            raise self.failed()

    def settle(self) -> None:
        """Wait, within bounds, for what may follow a complete response of 5xx: an exception."""
        deadline = time.monotonic() + ERROR_FOLLOWS
        while not self.ended and time.monotonic() < deadline:
            self._pass_gate(deadline)

    def pieces(self) -> Iterator[bytes]:
        """The pieces of the body, each when it comes.

        Raises:
            those of `arrive`, and of `check_end`.
        """
        out = self.out
        while True:
            self._set_deadline()
            while not out:
                # In this order: what was put before the end is seen after it.
                over = self.ended or self.response.complete
                if out:
                    break
                if over:
                    self.check_end()
                    return
                self._wait()
            piece = out.popleft()
            self.taken += len(piece)
            if self.app_waits_for_room:
                self._tell(self.room_made)
            yield piece

    def leave(self) -> None:
        """The client wants no more: if the response is not complete, the app is told. Does not wait."""
        if self._run is not None and not self.gone and not self.ended and not self.response.complete:
            self._run.leave_soon()

    def _set_deadline(self) -> None:
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self) -> None:
        """Wait for a step of the app, or give it of the request's body what it has asked for."""
        if self.wanted:
            self.wanted = False
            self._read_body()
            self._set_deadline()  # it was not the app that took the time
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            raise read_timeout(self._timeout, self.request)
        else:
            self._pass_gate(self._deadline)

    def _pass_gate(self, deadline: float | None) -> None:
        left = _LOOK if deadline is None else min(_LOOK, max(0.0, deadline - time.monotonic()))
        if self._gate.acquire(True, left) or self.ended:
            return
        if self._run is not None and self._run.ended:
            # Cancelled before its first step, so that it could not say so.
            self.raised = self.raised or asyncio.CancelledError()
            self.ended = True
        elif not self._host.alive():
            raise LoopGone("the event loop of the app has ended during the request")

    def _read_body(self) -> None:
        assert self._unread is not None
        self.take_piece(next(self._unread, None))
        self._tell(self.body_came)

    def _tell(self, callback: Callable[[], object]) -> None:
        try:
            self._host.submit(callback)
        except LoopGone:
            pass  # the next wait finds out
