"""What an app relies on, as seen from outside while it answers requests.

`observed` puts a layer around an app that passes everything on unchanged and takes notes; the other
functions look at requests, responses and routes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .server_limits import Use

if TYPE_CHECKING:
    from ..testing.client import Client
    from ..testing.exchange import Request, Response

# What an app does within this many seconds after its response is the end of its call, not work.
AFTERWARDS = 0.05

# How many paths are asked whether they are WebSockets.
_MOST_PATHS = 50

# Seconds that a handshake may take; it is an attempt.
_HANDSHAKE = 3.0

# Mounts within mounts; one could contain itself.
_DEEPEST_MOUNT = 8


class Notes:
    """What was seen: each use with the first place where it was. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Use, str] = {}

    def add(self, use: Use, where: str) -> None:
        """Note it, unless it is known."""
        with self._lock:
            self._seen.setdefault(use, where)

    @property
    def seen(self) -> dict[Use, str]:
        """All of it, in the order of `Use`."""
        with self._lock:
            return {use: self._seen[use] for use in Use if use in self._seen}


def observed(app: Any, interface: str, notes: Notes) -> Any:
    """The app inside a layer that takes notes; of the same interface."""
    return _asgi(app, notes) if interface == "asgi" else _wsgi(app, notes)


def _asgi(app: Any, notes: Notes) -> Any:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        where = f"{scope['method']} {scope['path']}"
        ended: float | None = None

        async def watch(message: Any) -> None:
            nonlocal ended
            await send(message)
            kind = message.get("type")
            if kind == "http.response.trailers":
                notes.add(Use.TRAILERS, where)
            # The last piece of the body, and then of the trailers if there are any.
            more = message.get("more_body") or message.get("more_trailers")
            if kind in ("http.response.body", "http.response.trailers") and not more:
                ended = time.perf_counter()

        try:
            await app(scope, receive, watch)
        finally:
            if ended is not None and time.perf_counter() - ended > AFTERWARDS:
                notes.add(Use.AFTERWARDS, where)

    return asgi


def _wsgi(app: Any, notes: Notes) -> Any:
    def wsgi(environ: Any, start_response: Any) -> Any:
        started = False

        def watch(*args: Any) -> Any:
            nonlocal started
            started = True
            return start_response(*args)

        body = app(environ, watch)
        if not started:
            notes.add(Use.LATE_START, f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO') or '/'}")
        return body

    return wsgi


def note_exchange(request: Request, response: Response, notes: Notes) -> None:
    """What a request and its answer show."""
    where = request.label
    if request.content:
        notes.add(Use.UPLOAD, where)
        if not isinstance(request.body, bytes):
            notes.add(Use.CHUNKED_UPLOAD, where)
    if "%2f" in request.path.lower():
        notes.add(Use.ENCODED_SLASH, where)
    names = [name.lower() for name, _ in request.headers if name.lower() != "cookie"]
    if len(names) != len(set(names)):
        notes.add(Use.REPEATED_HEADERS, where)
    if sum(map(bool, response.chunks)) > 1:
        notes.add(Use.STREAM, f"{where}: {len(response.chunks)} pieces")
    if (response.header("Content-Type") or "").lower().startswith("text/event-stream"):
        notes.add(Use.EVENT_STREAM, where)
    if response.status and response.error is not None:
        notes.add(Use.BREAK_OFF, f"{where}: {type(response.error).__name__}")


def note_websockets(app: Any, client: Client, requests: Iterable[Request], notes: Notes) -> None:
    """See whether an ASGI app accepts a WebSocket: where its routes have one, and at the requests' paths."""
    protocols = getattr(app, "application_mapping", None)  # ProtocolTypeRouter of Channels
    if isinstance(protocols, Mapping) and "websocket" in protocols:
        notes.add(Use.WEBSOCKET, "its protocol router has them")
        return
    paths = [*_socket_routes(app), *(request.path for request in requests if request.method == "GET")]
    for path in list(dict.fromkeys(paths))[:_MOST_PATHS]:
        if accepts_websocket(client, path):
            notes.add(Use.WEBSOCKET, path)
            return


def accepts_websocket(client: Client, path: str) -> bool:
    """Whether a handshake is accepted. The session is closed at once."""
    accepted = False
    try:
        with client.websocket_connect(path, timeout=_HANDSHAKE):
            accepted = True
    except Exception:  # it refuses, or knows no WebSockets and fails in its own way
        pass
    return accepted


def _socket_routes(app: Any) -> Iterator[str]:
    """Paths of WebSocket routes without parameters, of apps that list their routes as Starlette does."""
    yield from _routes(getattr(app, "routes", None), "", _DEEPEST_MOUNT)


def _routes(routes: Any, prefix: str, depth: int) -> Iterator[str]:
    if not isinstance(routes, (list, tuple)) or not depth:
        return
    for route in routes:
        path = getattr(route, "path", None)
        if not isinstance(path, str) or "{" in path:
            continue
        if "WebSocket" in type(route).__name__:
            yield prefix + path
        else:
            yield from _routes(getattr(route, "routes", None), prefix + path, depth - 1)


def told(response: Response) -> str:
    """What became of a request, in words."""
    if response.error is not None:
        return f"raises {type(response.error).__name__}"
    return f"answers {response.status}"


def note_lifespan(request: Request, without: Response | None, answer: Response, notes: Notes) -> None:
    """Whether an app answers otherwise if its lifespan has not been run: by status, or by failing."""
    if without is not None and told(without) != told(answer):
        notes.add(Use.LIFESPAN, f"{request.label} {told(without)} without it, and {told(answer)} with it")
