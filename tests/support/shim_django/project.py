"""The project's one app."""

from __future__ import annotations

from django.apps import AppConfig


class Project(AppConfig):
    """Its table is in `models`."""

    name = "support.shim_django"
    label = "shim_django"
