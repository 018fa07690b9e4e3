"""An ASGI app on a server in whose processes nothing else tells when the app has started, or has not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..types import ASGIApp, Message, Receive, Scope, Send


class Watched:
    """The app; once its lifespan has started up, or failed to, that is told.

    An app without lifespan counts as started. Requests are handed on as they come.

    Args:
        app: the app.
        started: called on the event loop, without arguments, when it has started.
        failed: called there with the reason when it has not.
    """

    def __init__(self, app: ASGIApp, started: Callable[[], object], failed: Callable[[str], object]) -> None:
        self._app = app
        self._started = started
        self._failed = failed

    # Not a coroutine function: requests have no need of another coroutine around the app's.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._lifespan(scope, receive, send)
        return self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = False

        async def tell(message: Message) -> None:
            nonlocal told
            if not told and message["type"] == "lifespan.startup.failed":
                told = True
                self._failed(message.get("message", ""))
            elif not told and message["type"] == "lifespan.startup.complete":
                told = True
                self._started()
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            if not told:
                self._started()
