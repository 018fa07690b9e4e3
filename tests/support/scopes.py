"""Full ASGI scopes, as an ordinary server makes them, with whatever a test wants to differ."""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from urllib.parse import quote


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""As the value of an override: the scope has no such key."""

Headers: TypeAlias = list[tuple[bytes, bytes]]


def http_scope(**overrides: Any) -> dict[str, Any]:
    """A new `http` scope of a GET over TCP and HTTP/1.1, with `overrides` put over it.

    `raw_path` follows `path` unless it is given; an override of `ABSENT` removes the key. No value
    is shared between two scopes.
    """
    path = overrides.get("path", "/")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": quote(path, errors="surrogatepass").encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {},
    }
    scope.update(overrides)
    return {key: value for key, value in scope.items() if value is not ABSENT}


def lifespan_scope(**overrides: Any) -> dict[str, Any]:
    """A new `lifespan` scope, with `overrides` put over it; `ABSENT` removes a key."""
    scope: dict[str, Any] = {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "state": {},
    }
    scope.update(overrides)
    return {key: value for key, value in scope.items() if value is not ABSENT}
