"""The project's one app."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Listens to Django's signals from the first request on."""

    name = "frameworks.asgi_django"

    def ready(self) -> None:
        from . import signals  # noqa: F401
