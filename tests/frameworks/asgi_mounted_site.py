"""The new apps inside old ones: ASGI apps below WSGI dispatchers, in every way a path can go.

Each app has the same addresses: `/`, `/where`, `/item/<number>/` and `/go`, which redirects to an item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import fastapi
import flask
import litestar
import quart
from frameworks.django_site.wsgi import application as django_app
from frameworks.flask_site import flask_app
from litestar.datastructures import State
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from bridge import ASGIToWSGI, WSGIToASGI

App: TypeAlias = Any
"""A WSGI application, or an ASGI one."""

# -- Starlette and FastAPI


async def index(request: Request) -> Response:
    return PlainTextResponse("index")


async def where(request: Request) -> Response:
    link = request.url_for("item", number=3)
    root, path = request.scope["root_path"], request.scope["path"]
    return JSONResponse({"root": root, "path": path, "link": link.path, "external": str(link)})


async def item(request: Request) -> Response:
    return PlainTextResponse(f"item {request.path_params['number']}")


async def go(request: Request) -> Response:
    return RedirectResponse(request.url_for("item", number=3))


ROUTES = [Route("/", index), Route("/where", where), Route("/item/{number:int}/", item), Route("/go", go)]
starlette_app = Starlette(routes=ROUTES)
fastapi_app = fastapi.FastAPI()
fastapi_app.add_api_route("/", lambda: PlainTextResponse("index"))
fastapi_app.add_api_route("/where", where, response_model=None)
fastapi_app.add_api_route(
    "/item/{number}/", lambda number: PlainTextResponse(f"item {number}"), name="item", response_model=None
)
fastapi_app.add_api_route("/go", go, response_model=None)

# -- Litestar


@litestar.get("/", media_type="text/plain")
async def litestar_index() -> str:
    return "index"


def path_of_item(request: litestar.Request[Any, Any, State]) -> str:
    return str(request.scope["root_path"]) + request.app.route_reverse("item", number=3) + "/"


@litestar.get("/where")
async def litestar_where(request: litestar.Request[Any, Any, State]) -> dict[str, str]:
    return {
        "root": request.scope["root_path"],
        "path": request.scope["path"],
        "link": path_of_item(request),
        "external": str(request.base_url) + request.app.route_reverse("item", number=3).lstrip("/") + "/",
    }


@litestar.get("/item/{number:int}", name="item", media_type="text/plain")
async def litestar_item(request: litestar.Request[Any, Any, State]) -> str:
    return f"item {request.path_params['number']}"


@litestar.get("/go", status_code=302)
async def litestar_go(request: litestar.Request[Any, Any, State]) -> litestar.response.Redirect:
    return litestar.response.Redirect(path_of_item(request), status_code=302)


litestar_app = litestar.Litestar(
    [litestar_index, litestar_where, litestar_item, litestar_go], openapi_config=None, logging_config=None
)

# -- Quart

quart_app = quart.Quart(__name__)


@quart_app.get("/")
async def quart_index() -> str:
    return "index"


@quart_app.get("/where")
async def quart_where() -> dict[str, str]:
    return {
        "root": quart.request.root_path,
        "path": quart.request.root_path + quart.request.path,
        "link": quart.url_for("item", number=3),
        "external": quart.url_for("item", number=3, _external=True),
    }


@quart_app.get("/item/<int:number>/", endpoint="item")
async def quart_item(number: int) -> str:
    return f"item {number}"


@quart_app.get("/go")
async def quart_go() -> Any:
    return quart.redirect(quart.url_for("item", number=3))


# -- the adapters, and what they are put into

BRIDGED: Mapping[str, ASGIToWSGI] = {
    "starlette": ASGIToWSGI(starlette_app),
    "fastapi": ASGIToWSGI(fastapi_app),
    "litestar": ASGIToWSGI(litestar_app),
    "quart": ASGIToWSGI(quart_app),
}


def in_dispatcher(prefix: str, app: App, others: Mapping[str, App] | None = None) -> App:
    mounts = {prefix: app, **(others or {})}
    return DispatcherMiddleware(flask_app.wsgi_app, mounts)


def in_flask(prefix: str, app: App) -> App:
    """As the documentation of Flask has it: the outer app stays a Flask app."""
    outer = flask.Flask(__name__)
    outer.add_url_rule("/native", view_func=lambda: "native", endpoint="native")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {prefix: app})  # type: ignore[method-assign]
    return outer


def in_starlette(prefix: str, app: App) -> App:
    """Below an ASGI app that is itself below a WSGI server: three crossings to the app."""
    return ASGIToWSGI(Starlette(routes=[Mount(prefix, WSGIToASGI(app, threads=2))]))


MOUNTINGS: Mapping[str, tuple[str, Callable[[App], App]]] = {
    "bare": ("", lambda app: app),
    "dispatcher": ("/v2", lambda app: in_dispatcher("/v2", app)),
    "dispatcher, two segments": ("/api/v2", lambda app: in_dispatcher("/api/v2", app)),
    # The keys of a dispatcher are compared with what the environ has.
    "dispatcher, a non-ASCII path": (
        "/caf%C3%A9",
        lambda app: in_dispatcher("/café".encode().decode("latin-1"), app),
    ),
    "dispatcher, the rest of the site": ("", lambda app: DispatcherMiddleware(app, {"/old": flask_app})),
    "Flask": ("/v2", lambda app: in_flask("/v2", app)),
    "Django's site beside it": ("/v2", lambda app: DispatcherMiddleware(django_app, {"/v2": app})),
    "dispatcher in dispatcher": ("/outer/v2", lambda app: in_dispatcher("/outer", in_dispatcher("/v2", app))),
    "dispatcher in Starlette": ("/outer/v2", lambda app: in_starlette("/outer", in_dispatcher("/v2", app))),
}
