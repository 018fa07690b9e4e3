"""Who serves a WSGI app under an ASGI server: bridge and its rivals.

Each adapter runs as it comes, with its own default number of threads, unless a scenario needs the
same number for all. `build` takes a WSGI app and a number of threads (`None`: the adapter's default)
and gives an ASGI app.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from benchmarks.contenders import BRIDGE, Contender

FLOOR_THREADS = 10


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
