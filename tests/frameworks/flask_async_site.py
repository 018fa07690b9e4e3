"""A Flask app with async views inside a Starlette app, whose lifespan owns an HTTP client.

Served as `frameworks.flask_async_site:app`. `UPSTREAM` names the server that the views call.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from asgiref.sync import async_to_sync, sync_to_async
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from starlette.applications import Starlette
from starlette.routing import Mount
from support.frameworks_probes import PATIENCE

from bridge import WSGIToASGI

flask_app = Flask(__name__)

tag: contextvars.ContextVar[str] = contextvars.ContextVar("tag", default="unset")
lazy_client: httpx2.AsyncClient | None = None
"""Made by the first request that needs it, on whatever loop its view runs."""


class Planned(Exception):
    """Raised by views on purpose."""


def new_client() -> httpx2.AsyncClient:
    """A client that keeps its connections however long the next request takes to come. There is no TLS."""
    limits = httpx2.Limits(keepalive_expiry=None)
    return httpx2.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE, limits=limits)


def state() -> dict[str, Any]:
    """What the outer app's lifespan made."""
    found: dict[str, Any] = request.environ["asgi.scope"]["state"]
    return found


def here() -> dict[str, int]:
    """Which loop and thread run this coroutine."""
    return {"loop": id(asyncio.get_running_loop()), "thread": threading.get_ident()}


@flask_app.get("/async")
async def async_view() -> ResponseReturnValue:
    await asyncio.sleep(0)
    return jsonify(here(), state()["where"])


@flask_app.get("/sync")
def sync_view() -> ResponseReturnValue:
    """Plain asgiref in a sync view, twice."""

    async def inner() -> dict[str, int]:
        await asyncio.sleep(0)
        return here()

    return jsonify(async_to_sync(inner)(), async_to_sync(inner)(), state()["where"])


@flask_app.get("/upstream")
async def upstream() -> ResponseReturnValue:
    """Call another server with the client of the lifespan."""
    response = await state()["client"].get(os.environ["UPSTREAM"] + "/lifespan")
    return Response(response.content)


@flask_app.get("/upstream-sync")
def upstream_sync() -> ResponseReturnValue:
    """The same from a sync view, with plain asgiref."""
    response = async_to_sync(state()["client"].get)(os.environ["UPSTREAM"] + "/sync")
    return Response(response.content)


@flask_app.get("/upstream-lazy")
async def upstream_lazy() -> ResponseReturnValue:
    """The same with a client that the first request made."""
    global lazy_client
    if lazy_client is None:
        lazy_client = new_client()
        state()["close"].append(lazy_client.aclose)
    response = await lazy_client.get(os.environ["UPSTREAM"] + "/lazy")
    return Response(response.content)


@flask_app.get("/meet")
async def meet() -> ResponseReturnValue:
    """Return once two requests are here: they wait on one primitive of one loop."""
    waiting: list[asyncio.Future[None]] = state()["waiting"]
    loop = asyncio.get_running_loop()
    if waiting:
        other = waiting.pop()
        if other.get_loop() is not loop:
            return "the first is on another loop"
        other.set_result(None)
        return "second"
    mine = loop.create_future()
    waiting.append(mine)
    await asyncio.wait_for(mine, PATIENCE)
    return "first"


@flask_app.get("/back")
def back() -> ResponseReturnValue:
    """From the worker to the loop, and from there to threads: which ones?"""

    async def inner() -> dict[str, int]:
        return {
            "loop": threading.get_ident(),
            "sensitive": await sync_to_async(threading.get_ident, thread_sensitive=True)(),
            "again": await sync_to_async(threading.get_ident, thread_sensitive=True)(),
            "insensitive": await sync_to_async(threading.get_ident, thread_sensitive=False)(),
        }

    return jsonify({"worker": threading.get_ident(), **async_to_sync(inner)()})


@flask_app.get("/deep")
async def deep() -> ResponseReturnValue:
    """loop -> worker -> loop -> worker -> loop: no step may wait for itself."""

    async def innermost() -> dict[str, int]:
        await asyncio.sleep(0)
        return here()

    def lower() -> dict[str, int]:
        return async_to_sync(innermost)()

    async def middle() -> dict[str, int]:
        return await sync_to_async(lower, thread_sensitive=True)()

    def upper() -> dict[str, int]:
        return async_to_sync(middle)()

    return jsonify(here(), await sync_to_async(upper, thread_sensitive=True)())


@flask_app.get("/tag")
async def change_tag() -> ResponseReturnValue:
    """Context variables go from the sync part to the view and back to the sync part."""
    before = tag.get()
    tag.set("view")
    return jsonify(before)


@flask_app.before_request
async def before() -> None:
    tag.set("before")


@flask_app.after_request
def after(response: Response) -> Response:
    response.headers["X-Tag"] = tag.get()
    return response


@flask_app.get("/planned")
async def planned() -> ResponseReturnValue:
    await asyncio.sleep(0)
    raise Planned("from an async view")


@flask_app.errorhandler(Planned)
async def handle(error: Planned) -> ResponseReturnValue:
    return jsonify(planned=str(error), loop=id(asyncio.get_running_loop())), 418


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    close: list[Any] = []
    async with new_client() as client:
        yield {"client": client, "where": here(), "waiting": [], "close": close}
        for function in close:
            await function()


app = Starlette(routes=[Mount("/", WSGIToASGI(flask_app, threads=4))], lifespan=lifespan)
