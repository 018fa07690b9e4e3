"""A Starlette app that uses what real ones use, and notes in `journal` what a client cannot see.

The sites `asgi_*_site.py` have the same addresses and answer in the same shape.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from frameworks.asgi_common import HERE, Life, Planned, Pool, Refused, count_visit, open_pool, tenant
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket
from support.asgi_probes import Named, current_request, gates, journal, noting, pass_gate

life = Life()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with open_pool(life) as pool:
        yield {"pool": pool, "visits": []}


def pool_of(request: Request) -> Pool:
    pool: Pool = request.state.pool
    return pool


# -- routing, forms, sessions


async def index(request: Request) -> Response:
    return PlainTextResponse("index")


async def item(request: Request) -> Response:
    return JSONResponse(
        {"number": request.path_params["number"], "q": request.query_params.getlist("q"), "método": "ü"}
    )


async def form(request: Request) -> Response:
    async with request.form() as fields:
        return JSONResponse({"fields": [[name, str(value)] for name, value in fields.multi_items()]})


async def take_json(request: Request) -> Response:
    try:
        return JSONResponse({"got": await request.json()})
    except ValueError:
        raise HTTPException(400, "not JSON") from None


async def login(request: Request) -> Response:
    request.session["name"] = request.query_params["name"]
    response = RedirectResponse(request.url_for("whoami"), 303)
    response.set_cookie("first", "1", path="/")
    response.set_cookie("second", "2", httponly=True)
    return response


async def whoami(request: Request) -> Response:
    return JSONResponse({"name": request.session.get("name"), "cookies": sorted(request.cookies)})


# -- bodies


async def upload(request: Request) -> Response:
    async with request.form() as data:
        fields, files = {}, {}
        for name, value in data.items():
            if isinstance(value, UploadFile):
                content = await value.read()
                files[name] = {
                    "name": value.filename,
                    "type": value.content_type,
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            else:
                fields[name] = value
    return JSONResponse({"fields": fields, "files": files})


async def count(request: Request) -> Response:
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
    except ClientDisconnect:
        journal.note("broken off", size=size)
        raise
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


# -- streams and files


async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


async def stream_sync(request: Request) -> Response:
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain", headers={"X-Kind": "sync"})


async def events(request: Request) -> Response:
    """One event, another once the gate is open."""

    async def feed() -> AsyncIterator[str]:
        yield "data: first\n\n"
        opened = await pass_gate()
        yield f"event: end\ndata: {opened}\n\n"

    return StreamingResponse(feed(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def endless(request: Request) -> Response:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(16384)
                await asyncio.sleep(0)
        finally:
            note()

    return StreamingResponse(feed())


async def silent(request: Request) -> Response:
    """One event, then nothing for ever."""

    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            note()

    return StreamingResponse(feed(), media_type="text/event-stream")


async def file(request: Request) -> Response:
    return FileResponse(pool_of(request).blob, filename="größe.bin")


# -- after the response, and around it


async def background(request: Request) -> Response:
    def in_a_thread() -> None:
        journal.note("first task", opened=gates.wait(current_request.get()), tenant=tenant.get())

    async def on_the_loop() -> None:
        journal.note("second task", same_loop=asyncio.get_running_loop() is pool_of(request).loop)

    tasks = BackgroundTasks([BackgroundTask(in_a_thread), BackgroundTask(on_the_loop)])
    return PlainTextResponse("accepted", 202, background=tasks)


async def broken_background(request: Request) -> Response:
    async def fail() -> None:
        await pass_gate()
        raise Planned("in a background task")

    return PlainTextResponse("accepted", 202, background=BackgroundTask(fail))


async def state(request: Request) -> Response:
    """The lifespan's state: objects are shared, assignments are not."""
    assigned = hasattr(request.state, "mine")
    request.state.mine = True
    request.state.visits.append(1)
    pool = pool_of(request)
    async with pool.connection() as number:
        await asyncio.sleep(0)
        return JSONResponse(
            {
                "assigned": assigned,
                "visits": len(request.state.visits),
                "connection": number,
                "same_loop": asyncio.get_running_loop() is pool.loop,
            }
        )


async def context(request: Request) -> Response:
    inside = await asyncio.gather(asyncio.to_thread(tenant.get), _tenant())
    return JSONResponse({"here": tenant.get(), "thread": inside[0], "task": inside[1]})


async def _tenant() -> str:
    return tenant.get()


def in_a_thread(request: Request) -> Response:
    """A plain function, which Starlette runs in a thread of its own."""
    journal.note("in a thread", visits=count_visit())
    time.sleep(0.001)
    return JSONResponse(
        {
            "tenant": tenant.get(),
            "on_a_loop": _running_loop() is not None,
            "main_thread": threading.current_thread() is threading.main_thread(),
        }
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# -- errors


async def broken(request: Request) -> Response:
    raise Planned("in an endpoint")


async def broken_stream(request: Request) -> Response:
    async def feed() -> AsyncIterator[bytes]:
        yield b"first"
        raise Planned("in a stream")

    return StreamingResponse(feed())


async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout", headers={"X-Spout": "here"})


async def refused(request: Request) -> Response:
    raise Refused("not today")


async def on_refusal(request: Request, error: Exception) -> Response:
    return JSONResponse({"refused": str(error)}, 409)


# -- links


async def go(request: Request) -> Response:
    return RedirectResponse(request.url_for("item", number=3))


async def where(request: Request) -> Response:
    return JSONResponse(
        {
            "root": request.scope["root_path"],
            "path": request.scope["path"],
            "link": request.url_for("item", number=3).path,
            "external": str(request.url_for("item", number=3)),
            "url": str(request.url),
        }
    )


# -- the app


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


class TenantMiddleware:
    """Plain ASGI middleware: a context variable in, a header out."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-tenant", tenant.get().encode())]
            await send(message)

        if scope["type"] == "http":
            tenant.set(dict(scope["headers"]).get(b"x-tenant", b"nobody").decode())
        await self.app(scope, receive, send_with_header if scope["type"] == "http" else send)


class HeaderMiddleware(BaseHTTPMiddleware):
    """Starlette's own kind, which runs what it wraps in a task of its own."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Middleware"] = f"passed {request.method}"
        return response


site = [
    Route("/", index),
    Route("/items/{number:int}", item, name="item"),
    Route("/form", form, methods=["POST"]),
    Route("/json", take_json, methods=["POST"]),
    Route("/login", login),
    Route("/whoami", whoami, name="whoami"),
    Route("/upload", upload, methods=["POST"]),
    Route("/count", count, methods=["POST"]),
    Route("/stream", stream),
    Route("/stream-sync", stream_sync),
    Route("/events", events),
    Route("/endless", endless),
    Route("/silent", silent),
    Route("/file", file),
    Route("/background", background),
    Route("/broken-background", broken_background),
    Route("/state", state),
    Route("/context", context),
    Route("/thread", in_a_thread),
    Route("/broken", broken),
    Route("/teapot", teapot),
    Route("/refused", refused),
    Route("/go", go),
    Route("/where", where),
    Route("/folder/", index),
    WebSocketRoute("/ws", ws),
    Mount("/static", StaticFiles(directory=HERE), name="static"),
]

starlette_app = Starlette(
    routes=[
        # Outside of `HeaderMiddleware`, which ends what has failed as if it were whole.
        Route("/broken-stream", broken_stream),
        Mount("", routes=site, middleware=[Middleware(HeaderMiddleware)]),
    ],
    middleware=[
        Middleware(TenantMiddleware),
        Middleware(SessionMiddleware, secret_key="tests"),
        Middleware(CORSMiddleware, allow_origins=["https://front.example"], allow_credentials=True),
        Middleware(GZipMiddleware, minimum_size=500),
    ],
    exception_handlers={Refused: on_refusal},
    lifespan=lifespan,
)

app = Named(starlette_app)
