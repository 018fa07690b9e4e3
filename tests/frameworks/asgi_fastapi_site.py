"""A FastAPI app that uses what real ones use, and notes in `journal` what a client cannot see.

The addresses and answers are those of `asgi_starlette_site`; besides, `/dependency` and validation.
Served as `frameworks.asgi_fastapi_site:application`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Form, Header, HTTPException, Query, Request, UploadFile
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from frameworks.asgi_common import HERE, Life, Planned, Pool, Refused, count_visit, open_pool, tenant
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocket
from support.asgi_probes import Named, current_request, gates, journal, noting, pass_gate

from bridge import ASGIToWSGI

life = Life()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with open_pool(life) as pool:
        yield {"pool": pool, "visits": []}


fastapi_app = FastAPI(lifespan=lifespan)
fastapi_app.add_middleware(SessionMiddleware, secret_key="tests")


@fastapi_app.middleware("http")
async def add_header(request: Request, call_next: RequestResponseEndpoint) -> Response:
    tenant.set(request.headers.get("x-tenant", "nobody"))
    response = await call_next(request)
    response.headers["X-Middleware"] = f"passed {request.method}"
    return response


@fastapi_app.exception_handler(Refused)
async def on_refusal(request: Request, error: Refused) -> Response:
    return JSONResponse({"refused": str(error)}, 409)


# -- dependencies


def pool_of(request: Request) -> Pool:
    pool: Pool = request.state.pool
    return pool


PoolDependency = Annotated[Pool, Depends(pool_of)]


async def connection(pool: PoolDependency) -> AsyncIterator[int]:
    """Given back once the response is out, also if the endpoint fails."""
    async with pool.connection() as number:
        journal.note("connection taken")
        try:
            yield number
        except Exception as error:
            journal.note("connection saw", error=type(error).__name__)
            raise
        finally:
            journal.note("connection given back")


def session_in_a_thread() -> Iterator[str]:
    """A dependency without async: both halves run in the thread pool."""
    journal.note("session opened")
    try:
        yield "session"
    finally:
        journal.note("session closed")


@fastapi_app.get("/dependency")
async def dependency(
    number: Annotated[int, Depends(connection)],
    session: Annotated[str, Depends(session_in_a_thread)],
    pool: PoolDependency,
    fail: bool = False,
) -> dict[str, Any]:
    if fail:
        raise Refused("with a dependency open")
    return {"session": session, "connections_in_use": 2 - pool.free}


# -- routing, forms, sessions


@fastapi_app.get("/", response_class=PlainTextResponse)
async def index() -> str:
    return "index"


@fastapi_app.get("/folder/", response_class=PlainTextResponse)
async def folder() -> str:
    return "index"


@fastapi_app.get("/items/{number}", name="item")
async def item(number: int, q: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006
    return {"number": number, "q": q, "método": "ü"}


@fastapi_app.post("/form")
async def form(request: Request) -> dict[str, Any]:
    async with request.form() as fields:
        return {"fields": [[name, str(value)] for name, value in fields.multi_items()]}


class Order(BaseModel):
    """What a JSON body has to be."""

    name: str = Field(max_length=10)
    amount: int = 1


@fastapi_app.post("/order", status_code=201)
async def order(order: Order, x_note: Annotated[str | None, Header()] = None) -> dict[str, Any]:
    return {"order": order, "note": x_note}


@fastapi_app.post("/json")
async def take_json(request: Request) -> dict[str, Any]:
    try:
        return {"got": await request.json()}
    except ValueError:
        raise HTTPException(400, "not JSON") from None


@fastapi_app.get("/login")
async def login(request: Request, name: str) -> Response:
    request.session["name"] = name
    response = RedirectResponse(request.url_for("whoami"), 303)
    response.set_cookie("first", "1", path="/")
    response.set_cookie("second", "2", httponly=True)
    return response


@fastapi_app.get("/whoami", name="whoami")
async def whoami(request: Request) -> dict[str, Any]:
    return {"name": request.session.get("name"), "cookies": sorted(request.cookies)}


# -- bodies


@fastapi_app.post("/upload")
async def upload(file: UploadFile, text: Annotated[str | None, Form()] = None) -> dict[str, Any]:
    content = await file.read()
    return {
        "fields": {"text": text},
        "files": {
            "file": {
                "name": file.filename,
                "type": file.content_type,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        },
    }


@fastapi_app.post("/count")
async def count(request: Request) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
    except ClientDisconnect:
        journal.note("broken off", size=size)
        raise
    return {"size": size, "sha256": digest.hexdigest()}


# -- streams and files


@fastapi_app.get("/stream")
async def stream() -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


@fastapi_app.get("/stream-sync")
def stream_sync() -> Response:
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain", headers={"X-Kind": "sync"})


@fastapi_app.get("/events")
async def events() -> Response:
    async def feed() -> AsyncIterator[str]:
        yield "data: first\n\n"
        opened = await pass_gate()
        yield f"event: end\ndata: {opened}\n\n"

    return StreamingResponse(feed(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@fastapi_app.get("/endless")
async def endless() -> Response:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(16384)
                await asyncio.sleep(0)
        finally:
            note()

    return StreamingResponse(feed())


@fastapi_app.get("/silent")
async def silent() -> Response:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            note()

    return StreamingResponse(feed(), media_type="text/event-stream")


@fastapi_app.get("/file")
async def file(pool: PoolDependency) -> FileResponse:
    return FileResponse(pool.blob, filename="größe.bin")


# -- after the response, and around it


@fastapi_app.get("/background", status_code=202, response_class=PlainTextResponse)
async def background(tasks: BackgroundTasks, pool: PoolDependency) -> str:
    def in_a_thread() -> None:
        journal.note("first task", opened=gates.wait(current_request.get()), tenant=tenant.get())

    async def on_the_loop() -> None:
        journal.note("second task", same_loop=asyncio.get_running_loop() is pool.loop)

    tasks.add_task(in_a_thread)
    tasks.add_task(on_the_loop)
    return "accepted"


@fastapi_app.get("/broken-background", status_code=202, response_class=PlainTextResponse)
async def broken_background(tasks: BackgroundTasks) -> str:
    async def fail() -> None:
        await pass_gate()
        raise Planned("in a background task")

    tasks.add_task(fail)
    return "accepted"


@fastapi_app.get("/state")
async def state(request: Request, pool: PoolDependency) -> dict[str, Any]:
    assigned = hasattr(request.state, "mine")
    request.state.mine = True
    request.state.visits.append(1)
    async with pool.connection() as number:
        await asyncio.sleep(0)
        return {
            "assigned": assigned,
            "visits": len(request.state.visits),
            "connection": number,
            "same_loop": asyncio.get_running_loop() is pool.loop,
        }


@fastapi_app.get("/context")
async def context() -> dict[str, str]:
    async def of_a_task() -> str:
        return tenant.get()

    inside = await asyncio.gather(asyncio.to_thread(tenant.get), of_a_task())
    return {"here": tenant.get(), "thread": inside[0], "task": inside[1]}


@fastapi_app.get("/thread")
def in_a_thread() -> dict[str, Any]:
    """Without async: FastAPI runs it in a thread."""
    journal.note("in a thread", visits=count_visit())
    time.sleep(0.001)
    try:
        asyncio.get_running_loop()
        on_a_loop = True
    except RuntimeError:
        on_a_loop = False
    return {
        "tenant": tenant.get(),
        "on_a_loop": on_a_loop,
        "main_thread": threading.current_thread() is threading.main_thread(),
    }


# -- errors


@fastapi_app.get("/broken")
async def broken() -> None:
    raise Planned("in an endpoint")


@fastapi_app.get("/broken-stream")
async def broken_stream() -> Response:
    async def feed() -> AsyncIterator[bytes]:
        yield b"first"
        raise Planned("in a stream")

    return StreamingResponse(feed())


@fastapi_app.get("/teapot")
async def teapot() -> None:
    raise HTTPException(418, "short and stout", headers={"X-Spout": "here"})


@fastapi_app.get("/refused")
async def refused() -> None:
    raise Refused("not today")


# -- links


@fastapi_app.get("/go")
async def go(request: Request) -> Response:
    return RedirectResponse(request.url_for("item", number=3))


@fastapi_app.get("/where")
async def where(request: Request) -> dict[str, str]:
    return {
        "root": request.scope["root_path"],
        "path": request.scope["path"],
        "link": request.url_for("item", number=3).path,
        "external": str(request.url_for("item", number=3)),
        "url": str(request.url),
    }


# -- for tests over a real server


@fastapi_app.get("/probe")
async def probe(of: str, await_: Annotated[str, Query(alias="await")], count: int) -> list[dict[str, Any]]:
    return await asyncio.to_thread(journal.ask, of, await_, count)


@fastapi_app.get("/open", response_class=PlainTextResponse)
async def open_gate(gate: str) -> str:
    gates.open(gate)
    return "open"


@fastapi_app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


fastapi_app.mount("/static", StaticFiles(directory=HERE), name="static")

app = Named(fastapi_app)
application = ASGIToWSGI(app)
