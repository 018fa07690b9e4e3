"""The port on trio. Imported only once trio runs the caller, so trio is never a dependency."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

import trio

from ..exceptions import LoopGone
from .ports import BRIEFLY, Port


class TrioFlag:
    """A `trio.Event` that can be awaited itself."""

    __slots__ = ("event",)

    def __init__(self) -> None:
        self.event = trio.Event()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.event.wait().__await__()


class TrioPort:
    """One run of trio, known by its token. Trio coalesces wake-ups itself."""

    __slots__ = ("token",)

    loop = None

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.token = token

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
            self.token.run_sync_soon(_nothing)
        except trio.RunFinishedError:
            return False
        return True

    async def wait_briefly(self, flag: TrioFlag) -> None:
        with trio.move_on_after(BRIEFLY):
            await flag

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


def port_of(token: trio.lowlevel.TrioToken, known: Port | None) -> TrioPort:
    """The port of a trio run; `known` is returned if it is that one."""
    if isinstance(known, TrioPort) and known.token is token:
        return known
    return TrioPort(token)
