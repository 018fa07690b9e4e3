"""The project behind a WSGI server, and the same once more below `/mounted` of an old site.

Served as `frameworks.asgi_django.wsgi:application`.
"""

from __future__ import annotations

from typing import Any

from werkzeug.middleware.dispatcher import DispatcherMiddleware

from bridge import ASGIToWSGI

from .asgi import application as asgi_application

bridged: Any = ASGIToWSGI(asgi_application, lifespan="on")
application = DispatcherMiddleware(bridged, {"/mounted": bridged})
