"""ASGI applications on real servers: through the adapters on Gunicorn's threads, and on Uvicorn."""

from __future__ import annotations

from collections.abc import Container

from benchmarks.asgi_under_wsgi import adapters
from benchmarks.contenders import BRIDGE, NATIVE, on_loop
from benchmarks.endtoend import Scenario
from benchmarks.measure import Settings
from benchmarks.serve import GTHREAD_THREADS

UVLOOP = on_loop(BRIDGE, "uvloop")

LABELS = {
    BRIDGE: "bridge on Gunicorn gthread",
    UVLOOP: "bridge on Gunicorn gthread, uvloop",
    "a2wsgi": "a2wsgi on Gunicorn gthread",
    "gunicorn": "a bare WSGI hello on Gunicorn gthread",
    NATIVE: "Uvicorn",
}


def _absent(settings: Settings) -> Container[str]:
    absent = set(adapters.missing())
    if "uvloop" not in settings.loops:
        absent.add(UVLOOP)
    return absent


SCENARIOS = (
    Scenario(
        "http-starlette",
        f"Starlette hello over HTTP, {GTHREAD_THREADS} threads in Gunicorn",
        "starlette",
        (BRIDGE, UVLOOP, "a2wsgi", "gunicorn", NATIVE),
        (BRIDGE, NATIVE),
        rounds=7,
        reference="a2wsgi",
        labels=LABELS,
        absent=_absent,
    ),
    Scenario(
        "http-fastapi",
        f"FastAPI hello over HTTP, {GTHREAD_THREADS} threads in Gunicorn",
        "fastapi",
        (BRIDGE, "a2wsgi", NATIVE),
        (BRIDGE,),
        rounds=7,
        reference="a2wsgi",
        labels=LABELS,
        absent=_absent,
    ),
)
