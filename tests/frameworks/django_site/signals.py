"""What Django's signals tell of requests and connections, noted for the tests."""

from __future__ import annotations

import threading
from typing import Any

from django.core.signals import request_finished, request_started
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from support.frameworks_probes import current_request, journal

connections_opened: list[int] = []
"""The thread of each database connection that was opened, in order."""


@receiver(request_started)
def name_request(sender: object, environ: dict[str, Any], **kwargs: object) -> None:
    current_request.set(environ.get("HTTP_X_REQUEST_ID", "unnamed"))
    journal.note("started")


@receiver(request_finished)
def note_finished(sender: object, **kwargs: object) -> None:
    journal.note("finished")


@receiver(connection_created)
def note_connection(sender: object, **kwargs: object) -> None:
    connections_opened.append(threading.get_ident())
