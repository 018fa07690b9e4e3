"""The vocabulary of both interfaces, as loose as frameworks really are.

Flask, Django, Starlette, FastAPI and asgiref each type the same shapes a little differently.
The aliases here accept all of them at the public edge, and are used inside as they stand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, Protocol, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
"""What an ASGI server knows of a connection: `type`, `path`, `headers` and more."""

Message: TypeAlias = MutableMapping[str, Any]
"""One ASGI event; `type` names it."""

Receive: TypeAlias = Callable[[], Awaitable[Message]]
"""Awaited for the next event from the client."""

Send: TypeAlias = Callable[[Message], Awaitable[None]]
"""Awaited with an event for the client."""

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application: called once a connection with `(scope, receive, send)`."""

Environ: TypeAlias = dict[str, Any]
"""What a WSGI server knows of a request (PEP 3333, "environ Variables")."""

ExcInfo: TypeAlias = (
    "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"
)
"""What `sys.exc_info()` gives; outside of an `except` block, three times `None`."""

WSGIApp: TypeAlias = Callable[[Any, Any], Iterable[bytes]]
"""A WSGI application: called once a request with `(environ, start_response)`."""

Write: TypeAlias = Callable[[bytes], object]
"""The imperative way to send body bytes, returned by `start_response`."""


class StartResponse(Protocol):
    """What a WSGI application calls to name its status and headers (PEP 3333)."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Write: ...


class ErrorStream(Protocol):
    """Where `wsgi.errors` writes to: any text stream, `sys.stderr` for one."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


Hook: TypeAlias = Callable[[], object]
"""A start-up or shutdown hook: a plain function (run in a worker thread) or a coroutine function."""
