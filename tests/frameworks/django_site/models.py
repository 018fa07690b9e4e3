"""One table."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """A line of text and the thread that wrote it."""

    text: models.TextField[str, str] = models.TextField()
    thread: models.BigIntegerField[int, int] = models.BigIntegerField()
