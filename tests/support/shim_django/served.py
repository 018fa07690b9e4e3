"""The project as servers of either kind get it: Django's own two handlers, and each behind an adapter.

`wsgi` and `asgi_on_wsgi` are for WSGI servers, `asgi` and `wsgi_on_asgi` for ASGI servers. All of them note
the thread that the server serves a request in, as `X-Server-Thread`.
"""

from __future__ import annotations

import os
import threading
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "support.shim_django.settings")

from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connections

from bridge import ASGIToWSGI, WSGIToASGI


def naming_the_thread(app: Any) -> Any:
    """WSGI middleware: which thread calls the app."""

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, ("X-Server-Thread", str(threading.get_ident()))], *rest)

        return app(environ, start)

    return middleware


django_wsgi = get_wsgi_application()
django_asgi: Any = get_asgi_application()
call_command("migrate", run_syncdb=True, verbosity=0)
connections.close_all()

wsgi = naming_the_thread(django_wsgi)
wsgi_on_asgi = WSGIToASGI(naming_the_thread(django_wsgi), threads=8)
asgi = django_asgi
asgi_on_wsgi = naming_the_thread(ASGIToWSGI(django_asgi, lifespan="off"))
