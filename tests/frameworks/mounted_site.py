"""The old apps inside new ones: Flask and Django below Starlette and FastAPI, in every way a path can go.

Served as `frameworks.mounted_site:app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import FastAPI
from frameworks.django_site.wsgi import application as django_app
from frameworks.flask_site import flask_app
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from support.frameworks_probes import gates, journal

from bridge import WSGIToASGI

App: TypeAlias = Any
"""An ASGI application."""


def dispatcher(prefix: str, app: App) -> App:
    """What a hand-written ASGI dispatcher does: divide by prefix, lengthen `root_path`, redirect nothing."""

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        root = scope.get("root_path", "")
        below = scope["path"].removeprefix(root) if root else scope["path"]
        if below == prefix or below.startswith(prefix + "/"):
            await app({**scope, "root_path": root + prefix}, receive, send)
        else:
            await PlainTextResponse("not in the dispatcher", 404)(scope, receive, send)

    return dispatch


def native(request: Request) -> Response:
    return PlainTextResponse("native")


def in_starlette(prefix: str, app: App) -> App:
    return Starlette(routes=[Route("/native", native), Mount(prefix, app)])


def in_fastapi(prefix: str, app: App) -> App:
    outer = FastAPI()
    outer.mount(prefix, app)
    return outer


Mounting: TypeAlias = tuple[str, Callable[[App], App]]
"""Where an app is, and what puts it there."""

MOUNTINGS: Mapping[str, Mounting] = {
    "bare": ("", lambda app: app),
    "dispatcher": ("/legacy", lambda app: dispatcher("/legacy", app)),
    "Starlette": ("/legacy", lambda app: in_starlette("/legacy", app)),
    "Starlette, at the root": ("", lambda app: in_starlette("/", app)),
    "Starlette, with a parameter": (
        "/tenants/a%20b/old",
        lambda app: in_starlette("/tenants/{name}/old", app),
    ),
    "Starlette, a non-ASCII path": ("/caf%C3%A9", lambda app: in_starlette("/café", app)),
    "FastAPI": ("/legacy", lambda app: in_fastapi("/legacy", app)),
    "Starlette in Starlette": (
        "/outer/legacy",
        lambda app: in_starlette("/outer", in_starlette("/legacy", app)),
    ),
    "FastAPI in Starlette in FastAPI": (
        "/a/b/legacy",
        lambda app: in_fastapi("/a", in_starlette("/b", in_fastapi("/legacy", app))),
    ),
    "dispatcher in Starlette": (
        "/outer/legacy",
        lambda app: in_starlette("/outer", dispatcher("/legacy", app)),
    ),
}

ADAPTERS: Mapping[str, WSGIToASGI] = {
    "flask": WSGIToASGI(flask_app, threads=4),
    "django": WSGIToASGI(django_app, threads=4),
}


def probe(request: Request) -> Response:
    query = request.query_params
    return JSONResponse(journal.ask(query["of"], query["await"], int(query["count"])))


def open_gate(request: Request) -> Response:
    gates.open(request.query_params["gate"])
    return PlainTextResponse("open")


class HeaderMiddleware(BaseHTTPMiddleware):
    """Starlette's kind of middleware, which runs what it wraps in a task of its own."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Middleware"] = "passed"
        return response


app = Starlette(
    routes=[
        Mount("/flask", ADAPTERS["flask"]),
        Mount("/django", ADAPTERS["django"]),
        Mount("/fast", in_fastapi("/flask", ADAPTERS["flask"])),
        Mount("/fast-django", in_fastapi("/django", ADAPTERS["django"])),
        # As a proxy that does not strip would ask, if it serves this app at /kept.
        Mount("/kept", routes=[Mount("/flask", ADAPTERS["flask"]), Mount("/django", ADAPTERS["django"])]),
        Mount("/behind", ADAPTERS["flask"], middleware=[Middleware(HeaderMiddleware)]),
        Route("/probe", probe),
        Route("/open", open_gate),
    ]
)
