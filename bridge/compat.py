"""The adapters of a2wsgi and asgiref by name and signature, so that one import line is all that changes.

    from a2wsgi import WSGIMiddleware                     →  from bridge.compat import WSGIMiddleware
    from uvicorn.middleware.wsgi import WSGIMiddleware    →  from bridge.compat import WSGIMiddleware
    from starlette.middleware.wsgi import WSGIMiddleware  →  from bridge.compat import WSGIMiddleware
    from asgiref.wsgi import WsgiToAsgi                   →  from bridge.compat import WsgiToAsgi
    from a2wsgi import ASGIMiddleware                     →  from bridge.compat import ASGIMiddleware

The first two are `WSGIToASGI` in all but their arguments, the last is `ASGIToWSGI`. New code has
more to choose from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .adapters.asgi_to_wsgi import ASGIToWSGI
from .adapters.refusals import is_head, refuse
from .adapters.wsgi_to_asgi import WSGIToASGI
from .exceptions import BadRequest, UsageError
from .types import ASGIApp, Receive, Scope, Send, WSGIApp

if TYPE_CHECKING:
    import asyncio

# The unit of `send_queue_size` in bytes: the size of a message in which servers and file wrappers
# move large bodies.
SEND_QUEUE_UNIT = 64 * 1024


class WSGIMiddleware(WSGIToASGI):
    """`a2wsgi.WSGIMiddleware`, and with it Uvicorn's and Starlette's, which have no `send_queue_size`.

    Args:
        app: the WSGI application.
        workers: how many requests may run at a time: `WSGIToASGI(threads=workers)`.
        send_queue_size: how much of a response may wait for the client before the app's thread
            waits as well. a2wsgi counts messages of any size; here one stands for 64 KiB, that is
            `WSGIToASGI(write_ahead=send_queue_size * 65536)`. There is no unlimited queue, which is
            what 0 asks a2wsgi for.

    What differs from a2wsgi besides: there is no `executor` (look at `pool`), and the variable
    `SCRIPT_NAME` of the process's environment is not consulted (set the server's root path).

    Raises:
        UsageError: `workers` or `send_queue_size` is below 1.
    """

    def __init__(self, app: WSGIApp, workers: int = 10, send_queue_size: int = 10) -> None:
        if send_queue_size < 1:
            raise UsageError(
                f"send_queue_size must be at least 1 (64 KiB); got {send_queue_size!r}. "
                "An unlimited queue would hold whole downloads in memory for slow clients"
            )
        super().__init__(app, threads=workers, write_ahead=send_queue_size * SEND_QUEUE_UNIT)
        self.send_queue_size = send_queue_size


class WsgiToAsgi(WSGIToASGI):
    """`asgiref.wsgi.WsgiToAsgi`.

    Args:
        wsgi_application: the WSGI application.
        duplicate_header_limit: a request in which a header occurs more often than this gets 400,
            without a call of the app; 0 or `None` is no limit. As in asgiref, names that are one in
            the environ (`x-a`, `X-A`, `x_a`) are counted together.

    What differs from asgiref: requests run at a time, up to 40, where asgiref has one thread for
    all. An app that is not thread-safe needs `WSGIToASGI(app, threads=1)`. Request bodies stream
    instead of being stored first.
    """

    def __init__(self, wsgi_application: WSGIApp, duplicate_header_limit: int | None = 100) -> None:
        super().__init__(wsgi_application)
        self.wsgi_application = wsgi_application
        self.duplicate_header_limit = duplicate_header_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; see `WSGIToASGI`."""
        limit = self.duplicate_header_limit
        # No name can occur too often among so few headers: what nearly every request pays is this.
        if limit and scope["type"] == "http" and len(scope["headers"]) > limit:
            error = _repeated_too_often(scope["headers"], limit)
            if error is not None:
                return await refuse(send, error, head=is_head(scope))
        return await super().__call__(scope, receive, send)


def _repeated_too_often(headers: Iterable[tuple[bytes, bytes]], limit: int) -> BadRequest | None:
    counts = Counter(bytes(name).lower().replace(b"_", b"-") for name, _ in headers)
    name, count = counts.most_common(1)[0]
    if count <= limit:
        return None
    return BadRequest(f"the header {name!r} occurs {count} times, {limit} are allowed")


class ASGIMiddleware(ASGIToWSGI):
    """`a2wsgi.ASGIMiddleware`.

    Args:
        app: the ASGI application.
        wait_time: how many seconds the end of a response waits for the app's work after its last
            body; `None` without limit: `ASGIToWSGI(background_wait=wait_time)`. The client has the
            whole body by then, but the server's thread is held; 0 is better in nearly every case.
        loop: an asyncio event loop that runs in another thread; `None` makes one.

    What differs from a2wsgi besides: the app's lifespan is run; work that outlives `wait_time` goes
    on, where a2wsgi cancels it; a loop of its own is started with the first request, not here.
    """

    def __init__(
        self, app: ASGIApp, wait_time: float | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(app, background_wait=wait_time, loop=loop)
        self.wait_time = wait_time
