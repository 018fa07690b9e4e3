"""A Litestar app with the addresses and answers of `asgi_starlette_site`."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from frameworks.asgi_common import HERE, Life, Planned, Pool, Refused, count_visit, open_pool, tenant
from litestar import Litestar, MediaType, Request, Response, get, post, websocket
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.connection import WebSocket
from litestar.datastructures import Cookie, State, UploadFile
from litestar.di import NamedDependency, Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import (
    ClientException,
    HTTPException,
    InternalServerException,
    SerializationException,
)
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.static_files import create_static_files_router
from support.asgi_probes import Named, current_request, gates, journal, noting, pass_gate

life = Life()
AnyRequest = Request[Any, Any, State]


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with open_pool(life) as pool:
        app.state.pool = pool
        app.state.visits = []
        yield


def url_for(request: AnyRequest, name: str, **parameters: Any) -> str:
    """The public path of a route: Litestar's `route_reverse` knows nothing of where the app is mounted."""
    root: str = request.scope["root_path"]
    return root + request.app.route_reverse(name, **parameters)


# -- routing, forms, sessions


@get("/", media_type=MediaType.TEXT)
async def index() -> str:
    return "index"


@get("/items/{number:int}", name="item")
async def item(request: AnyRequest) -> dict[str, Any]:
    return {
        "number": request.path_params["number"],
        "q": request.query_params.getall("q", []),
        "método": "ü",
    }


@post("/form", status_code=200)
async def form(request: AnyRequest) -> dict[str, Any]:
    return {"fields": [[name, value] for name, value in (await request.form()).multi_items()]}


@post("/json", status_code=200)
async def take_json(request: AnyRequest) -> dict[str, Any]:
    try:
        return {"got": await request.json()}
    except SerializationException:
        raise ClientException("not JSON") from None


@get("/login", status_code=303)
async def login(request: AnyRequest) -> Redirect:
    request.set_session({"name": request.query_params["name"]})
    return Redirect(
        url_for(request, "whoami"),
        status_code=303,
        cookies=[Cookie("first", "1"), Cookie("second", "2", httponly=True)],
    )


@get("/whoami", name="whoami")
async def whoami(request: AnyRequest) -> dict[str, Any]:
    return {"name": request.session.get("name"), "cookies": sorted(request.cookies)}


# -- bodies


@post("/upload", status_code=200)
async def upload(
    data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, Any]:
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
    return {"fields": fields, "files": files}


@post("/count", status_code=200)
async def count(request: AnyRequest) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
    except InternalServerException:
        # Litestar's own way of telling that the client has gone.
        journal.note("broken off", size=size)
        raise
    return {"size": size, "sha256": digest.hexdigest()}


# -- streams and files


@get("/stream")
async def stream() -> Stream:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return Stream(lines, media_type=MediaType.TEXT)


@get("/stream-sync", sync_to_thread=True)
def stream_sync() -> Stream:
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"

    return Stream(lines, media_type=MediaType.TEXT, headers={"X-Kind": "sync"})


@get("/events")
async def events() -> ServerSentEvent:
    async def feed() -> AsyncIterator[dict[str, Any]]:
        yield {"data": "first"}
        opened = await pass_gate()
        yield {"data": str(opened), "event": "end"}

    return ServerSentEvent(feed())


@get("/endless")
async def endless() -> Stream:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(16384)
                await asyncio.sleep(0)
        finally:
            note()

    return Stream(feed())


@get("/silent")
async def silent() -> Stream:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            note()

    return Stream(feed(), media_type="text/event-stream")


@get("/file")
async def file(state: State) -> File:
    return File(state.pool.blob, filename="größe.bin")


# -- after the response, and around it


async def connection(state: State) -> AsyncIterator[int]:
    """A dependency: given back when the handler has returned."""
    async with state.pool.connection() as number:
        journal.note("connection taken")
        try:
            yield number
        finally:
            journal.note("connection given back")


@get("/dependency", dependencies={"number": Provide(connection)})
async def dependency(number: NamedDependency[int], state: State, request: AnyRequest) -> dict[str, Any]:
    if "fail" in request.query_params:
        raise Refused("with a dependency open")
    return {"session": "session", "connections_in_use": 2 - state.pool.free}


@get("/background", media_type=MediaType.TEXT, status_code=202)
async def background(state: State) -> Response[str]:
    def in_a_thread() -> None:
        journal.note("first task", opened=gates.wait(current_request.get()), tenant=tenant.get())

    async def first() -> None:
        await asyncio.to_thread(in_a_thread)

    async def second() -> None:
        journal.note("second task", same_loop=asyncio.get_running_loop() is state.pool.loop)

    tasks = BackgroundTasks([BackgroundTask(first), BackgroundTask(second)])
    return Response("accepted", status_code=202, background=tasks)


@get("/broken-background", media_type=MediaType.TEXT, status_code=202)
async def broken_background() -> Response[str]:
    async def fail() -> None:
        await pass_gate()
        raise Planned("in a background task")

    return Response("accepted", status_code=202, background=BackgroundTask(fail))


@get("/state")
async def state(request: AnyRequest, state: State) -> dict[str, Any]:
    pool: Pool = state.pool
    assigned = "mine" in request.state
    request.state.mine = True
    state.visits.append(1)
    async with pool.connection() as number:
        await asyncio.sleep(0)
        return {
            "assigned": assigned,
            "visits": len(state.visits),
            "connection": number,
            "same_loop": asyncio.get_running_loop() is pool.loop,
        }


@get("/context")
async def context() -> dict[str, str]:
    async def of_a_task() -> str:
        return tenant.get()

    inside = await asyncio.gather(asyncio.to_thread(tenant.get), of_a_task())
    return {"here": tenant.get(), "thread": inside[0], "task": inside[1]}


@get("/thread", sync_to_thread=True)
def in_a_thread() -> dict[str, Any]:
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


@get("/broken")
async def broken() -> None:
    raise Planned("in an endpoint")


@get("/broken-stream")
async def broken_stream() -> Stream:
    async def feed() -> AsyncIterator[bytes]:
        yield b"first"
        raise Planned("in a stream")

    return Stream(feed())


@get("/teapot")
async def teapot() -> None:
    raise HTTPException("short and stout", status_code=418, headers={"X-Spout": "here"})


@get("/refused")
async def refused() -> None:
    raise Refused("not today")


def on_refusal(request: AnyRequest, error: Refused) -> Response[dict[str, str]]:
    return Response({"refused": str(error)}, status_code=409)


# -- links


@get("/go", status_code=307)
async def go(request: AnyRequest) -> Redirect:
    return Redirect(url_for(request, "item", number=3), status_code=307)


@get("/where")
async def where(request: AnyRequest) -> dict[str, str]:
    link = url_for(request, "item", number=3)
    return {
        "root": request.scope["root_path"],
        "path": request.scope["path"],
        "link": link,
        "external": str(request.base_url).rstrip("/") + request.app.route_reverse("item", number=3),
        "url": str(request.url),
    }


# -- the app


@websocket("/ws")
async def ws(socket: WebSocket[Any, Any, State]) -> None:
    await socket.accept()
    await socket.close()


def tenant_middleware(app: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = (b"x-middleware", f"passed {scope['method']}".encode())
                message["headers"] = [*message["headers"], added]
            await send(message)

        if scope["type"] == "http":
            tenant.set(dict(scope["headers"]).get(b"x-tenant", b"nobody").decode())
            await app(scope, receive, send_with_header)
        else:
            await app(scope, receive, send)

    return middleware


litestar_app = Litestar(
    route_handlers=[
        index,
        item,
        form,
        take_json,
        login,
        whoami,
        upload,
        count,
        stream,
        stream_sync,
        events,
        endless,
        silent,
        file,
        dependency,
        background,
        broken_background,
        state,
        context,
        in_a_thread,
        broken,
        broken_stream,
        teapot,
        refused,
        go,
        where,
        ws,
        create_static_files_router("/static", directories=[HERE]),
    ],
    middleware=[tenant_middleware, CookieBackendConfig(secret=b"0123456789abcdef").middleware],
    exception_handlers={Refused: on_refusal},
    lifespan=[lifespan],
    openapi_config=None,
    logging_config=None,
)

app = Named(litestar_app)
