"""Who is measured: bridge, the other WSGI-under-ASGI adapters, the floor and the native application.

Each adapter runs as it comes, with its own default number of threads, unless a scenario needs the
same number for all.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FLOOR = "floor"
NATIVE = "native"
BRIDGE = "bridge"
FLOOR_THREADS = 10


@dataclass(frozen=True)
class Contender:
    """One adapter."""

    name: str
    """The short key used in results, budgets and on the command line of the servers."""
    label: str
    """What the tables call it."""
    distribution: str
    """The package whose version the report names."""
    build: Callable[[Any, int | None], Any]
    """Makes an ASGI app of a WSGI app and a number of threads (`None`: the adapter's default)."""


def _bridge(app: Any, threads: int | None) -> Any:
    from bridge import WSGIToASGI

    return WSGIToASGI(app) if threads is None else WSGIToASGI(app, threads=threads)


def _a2wsgi(app: Any, threads: int | None) -> Any:
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(app) if threads is None else WSGIMiddleware(app, workers=threads)


def _asgiref(app: Any, threads: int | None) -> Any:
    # One thread for the whole process, whatever is asked for.
    module: Any = importlib.import_module("asgiref.wsgi")
    return module.WsgiToAsgi(app)


def _starlette(app: Any, threads: int | None) -> Any:
    # Threads come from anyio's limiter of the running loop: 40.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("starlette.middleware.wsgi")
    return module.WSGIMiddleware(app)


def _hypercorn(app: Any, threads: int | None) -> Any:
    # Threads come from the loop's default executor. The limit on request bodies (64 KiB) is lifted,
    # or no upload could be measured.
    from hypercorn.middleware import AsyncioWSGIMiddleware

    return AsyncioWSGIMiddleware(app, max_body_size=1 << 40)


def _uvicorn(app: Any, threads: int | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("uvicorn.middleware.wsgi")
        build = module._WSGIMiddleware
        return build(app) if threads is None else build(app, workers=threads)


ADAPTERS = (
    Contender(BRIDGE, "bridge", "wsgi-asgi-bridge", _bridge),
    Contender("a2wsgi", "a2wsgi", "a2wsgi", _a2wsgi),
    Contender("asgiref", "asgiref", "asgiref", _asgiref),
    Contender("starlette", "Starlette", "starlette", _starlette),
    Contender("hypercorn", "Hypercorn's adapter", "hypercorn", _hypercorn),
    Contender("uvicorn", "Uvicorn's adapter", "uvicorn", _uvicorn),
)

BY_NAME = {contender.name: contender for contender in ADAPTERS}

LABELS = {
    FLOOR: "floor (run_in_executor)",
    NATIVE: "native ASGI",
    "executor": "direct call in an executor",
    "pool40": "plain pool of 40",
    "django-asgi": "Django's ASGI handler",
    **{contender.name: contender.label for contender in ADAPTERS},
}


def _nothing(environ: Any, start_response: Any) -> Any:
    raise AssertionError("never called")


def missing() -> dict[str, str]:
    """The adapters that cannot be measured here, each with the reason."""
    reasons = {}
    for contender in ADAPTERS:
        try:
            contender.build(_nothing, None)
        except ImportError as exc:
            reasons[contender.name] = str(exc)
    return reasons


def available() -> list[Contender]:
    """The adapters that are installed."""
    absent = missing()
    return [contender for contender in ADAPTERS if contender.name not in absent]


def close(asgi_app: Any) -> None:
    """End the threads of an adapter made by `Contender.build`, as far as it allows."""
    for attribute in ("pool", "executor"):
        owner: Any = getattr(asgi_app, attribute, None)
        if hasattr(owner, "close"):
            owner.close(5)
        elif hasattr(owner, "shutdown"):
            owner.shutdown(wait=False)
