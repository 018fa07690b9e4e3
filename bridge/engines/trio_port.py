"""The port on trio. Imported only once trio runs the caller, so trio is never a dependency."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

import trio

from ..exceptions import LoopGone
from .ports import BRIEFLY


class TrioFlag:
    """A `trio.Event` that can be awaited itself."""

    __slots__ = ("event",)

    def __init__(self) -> None:
        self.event = trio.Event()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.event.wait().__await__()


class TrioStarted:
    """A coroutine in a system task, which trio cancels when the run ends."""

    __slots__ = ("_ended", "_scope")

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ended = False

    async def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it; what it raises must not reach trio, which would end the run."""
        try:
            with self._scope:
                await coroutine
        finally:
            self._ended = True

    def cancel(self) -> None:
        """Cancel it. On trio's thread."""
        self._scope.cancel()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended


class TrioPort:
    """One run of trio, known by its token. Trio coalesces wake-ups itself."""

    __slots__ = ("_old", "_pid", "_ticking", "_young", "token")

    loop = None

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.token = token
        self._pid = os.getpid()
        self._young: set[TrioFlag] = set()
        self._old: set[TrioFlag] = set()
        self._ticking = False

    @property
    def port(self) -> TrioPort:
        return self

    def flag(self) -> TrioFlag:
        return TrioFlag()

    def raise_flag(self, flag: TrioFlag) -> None:
        flag.event.set()

    def wake(self, flag: TrioFlag) -> None:
        self.call_soon(flag.event.set)

    def call_soon(self, callback: Callable[[], object]) -> None:
        try:
            self.token.run_sync_soon(callback)
        except trio.RunFinishedError:
            raise LoopGone("the trio run of this request has finished") from None

    def alive(self) -> bool:
        try:
            self.token.run_sync_soon(_nothing, idempotent=True)
        except trio.RunFinishedError:
            return False
        return os.getpid() == self._pid  # a forked child has but a copy of the run

    def is_current(self) -> bool:
        return trio.lowlevel.in_trio_task() and trio.lowlevel.current_trio_token() is self.token

    def mind(self, flag: TrioFlag) -> set[TrioFlag]:
        waiting = self._young
        waiting.add(flag)
        if not self._ticking:
            self._ticking = True
            trio.lowlevel.spawn_system_task(self._tick)
        return waiting

    async def _tick(self) -> None:
        while self._young or self._old:
            await trio.sleep(BRIEFLY)
            for flag in self._old:
                flag.event.set()
            self._old, self._young = self._young, set()
        self._ticking = False

    async def shielded(self, flag: TrioFlag) -> None:
        with trio.CancelScope(shield=True):
            await flag

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> TrioStarted:
        started = TrioStarted()
        trio.lowlevel.spawn_system_task(started.run, coroutine, context=context)
        return started

    async def run_beside(
        self, main: Callable[[], Awaitable[None]], companion: Callable[[], Awaitable[None]]
    ) -> None:
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(companion)
            try:
                await main()
            except Exception as caught:  # kept out of the nursery, which would wrap it in a group
                error = caught
            nursery.cancel_scope.cancel()
        if error is not None:
            try:
                raise error
            finally:
                error = None


def _nothing() -> None:
    pass
