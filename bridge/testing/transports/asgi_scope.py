"""The `http` scope of a request, as a server makes it from what came over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...translate.text import quote_path, unquote_path
from .library import httpx2
from .wire import is_below, server_of, target_of

SPEC_VERSION = "2.5"


class ScopeMaker:
    """Makes the scopes of one client.

    Args:
        root_path: as in the scope. It is put before a path that is not below it: `path` is the whole path,
            and the app's part of it is the same as behind a WSGI server.
        client: address and port of the client, `None` if it has none.
        extra: keys that are put over each scope.
    """

    __slots__ = ("_client", "_extra", "_raw_root", "_root", "_root_path")

    def __init__(
        self, root_path: str, client: tuple[str, int] | None, extra: Mapping[str, Any] | None
    ) -> None:
        self._root_path = root_path
        self._root = root_path.encode("utf-8")
        self._raw_root = quote_path(self._root).encode("ascii")
        self._client = client
        self._extra = dict(extra) if extra else None

    def make(self, request: httpx2.Request, state: dict[str, Any] | None) -> dict[str, Any]:
        """The scope of one request (ASGI HTTP 2.5, "HTTP Connection Scope").

        Args:
            request: what the client sends.
            state: the request's own copy of the lifespan's state, `None` if there is none.
        """
        url = request.url
        raw_path, _, query = target_of(request).partition(b"?")
        if self._root and raw_path != b"*" and not is_below(unquote_path(raw_path), self._root):
            raw_path = self._raw_root + raw_path
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": path_of(raw_path),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": self._root_path,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._client,
            "server": server_of(url),
            "extensions": {"http.response.trailers": {}},
        }
        if state is not None:
            scope["state"] = state
        if self._extra is not None:
            scope.update(self._extra)
        return scope


def path_of(raw_path: bytes) -> str:
    """The decoded path: percent escapes, then UTF-8; bytes that are none become U+FFFD."""
    return unquote_path(raw_path).decode("utf-8", "replace")
