"""The HTTP client library that the transports and clients are made for, or a clear word if it is missing."""

from __future__ import annotations

from ...exceptions import MissingDependency

try:
    import httpx2 as httpx2
except ImportError as error:
    raise MissingDependency(
        "the clients of bridge.testing need httpx2; pip install 'wsgi-asgi-bridge[testing]'"
    ) from error
