"""Notes the beginning and the end of each request in the journal."""

from __future__ import annotations

from typing import Any

from django.core.signals import request_finished, request_started
from django.dispatch import receiver
from support.asgi_probes import journal


@receiver(request_started)
def note_started(sender: object, **kwargs: Any) -> None:
    journal.note("started")


@receiver(request_finished)
def note_finished(sender: object, **kwargs: Any) -> None:
    journal.note("finished")
