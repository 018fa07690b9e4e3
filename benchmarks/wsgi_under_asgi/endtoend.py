"""WSGI applications on real servers: through the adapters on Uvicorn, and on WSGI servers."""

from __future__ import annotations

from collections.abc import Container

from benchmarks.contenders import BRIDGE
from benchmarks.endtoend import Scenario
from benchmarks.measure import Settings
from benchmarks.serve import GTHREAD_THREADS, WAITRESS_THREADS
from benchmarks.wsgi_under_asgi import adapters

LABELS = {
    BRIDGE: "bridge on Uvicorn",
    "a2wsgi": "a2wsgi on Uvicorn",
    "asgiref": "asgiref on Uvicorn",
    "starlette": "Starlette's adapter on Uvicorn",
    "hypercorn": "Hypercorn's adapter on Uvicorn",
    "uvicorn": "Uvicorn's own adapter",
    "django-asgi": "Django's ASGI handler on Uvicorn",
    "gunicorn": f"Gunicorn gthread, {GTHREAD_THREADS} threads",
    "waitress": f"Waitress, {WAITRESS_THREADS} threads",
    "hypercorn-server": "Hypercorn, WSGI",
    "granian": "Granian, WSGI",
}


def _absent(settings: Settings) -> Container[str]:
    return adapters.missing()


SCENARIOS = (
    Scenario(
        "http-flask",
        "Flask hello over HTTP",
        "flask",
        (
            *adapters.BY_NAME,
            "gunicorn",
            "waitress",
            "hypercorn-server",
            "granian",
        ),
        (BRIDGE, "gunicorn", "waitress", "hypercorn-server", "granian"),
        rounds=7,
        reference="gunicorn",
        labels=LABELS,
        absent=_absent,
    ),
    Scenario(
        "http-django",
        "Django sync view over HTTP",
        "django",
        (BRIDGE, "a2wsgi", "django-asgi", "gunicorn"),
        (BRIDGE, "django-asgi"),
        rounds=9,
        reference="gunicorn",
        labels=LABELS,
        absent=_absent,
    ),
)
