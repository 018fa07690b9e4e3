"""The project as an ASGI app: Channels' router before Django, and a lifespan that makes the database.

Served natively as `frameworks.asgi_django.asgi:application`.
"""

from __future__ import annotations

import os
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "frameworks.asgi_django.settings")
# An ASGI app stands where URL patterns have views.
django_app: Any = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.urls import path, re_path  # noqa: E402
from support.asgi_probes import Named  # noqa: E402

from .consumers import Echo, Feed, Socket  # noqa: E402

router = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                path("channels/echo/<str:name>/", Echo.as_asgi()),
                path("channels/feed/", Feed.as_asgi()),
                re_path("", django_app),
            ]
        ),
        "websocket": URLRouter([path("ws/", Socket.as_asgi())]),
    }
)


def prepare() -> None:
    """Make the tables and a user."""
    from django.contrib.auth.models import User

    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_user("ada", password="lovelace")
    connections.close_all()


async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Channels' router and Django know no lifespan, so projects that need one put it around them."""
    if scope["type"] != "lifespan":
        await router(scope, receive, send)
        return
    await receive()
    await sync_to_async(prepare)()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


application = Named(with_lifespan)
