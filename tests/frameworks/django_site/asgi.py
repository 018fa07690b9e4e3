"""The project behind an ASGI server: as it is, and under `/spooled` with bodies spooled first."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management import call_command
from django.db import connections
from support.frameworks_probes import current_request, journal

from bridge import ThreadPool, WSGIToASGI

from .wsgi import application

THREADS = 4


def prepare() -> None:
    """Make the tables and a user; the connection for it is closed again."""
    from django.contrib.auth.models import User

    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_user("ada", password="lovelace")
    connections.close_all()

    from . import signals

    signals.connections_opened.clear()


pool = ThreadPool(THREADS)
# A hook, because Django refuses its database to code on an event loop's thread, which imports this.
streaming = WSGIToASGI(application, pool=pool, on_startup=[prepare])
spooling = WSGIToASGI(application, pool=pool, spool=True)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Choose the adapter by path, and tell the views which loop serves them."""
    scope["tests.loop"] = id(asyncio.get_running_loop())
    root = scope.get("root_path", "") + "/spooled"
    if scope["type"] != "http" or not scope["path"].startswith(root + "/"):
        await streaming(scope, receive, send)
        return
    try:
        await spooling({**scope, "root_path": root}, receive, send)
    finally:
        # Noted here as well, since the app is not called if its body never becomes whole.
        current_request.set(dict(scope["headers"]).get(b"x-request-id", b"unnamed").decode())
        journal.note("adapter returned")
