"""A Quart app with the addresses and answers of `asgi_starlette_site`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

from frameworks.asgi_common import HERE, Life, Planned, Pool, Refused, count_visit, open_pool, tenant
from quart import (
    Quart,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    session,
    url_for,
    websocket,
)
from quart.typing import ResponseReturnValue
from support.asgi_probes import Named, current_request, gates, journal, noting, pass_gate

life = Life()

quart_app = Quart(__name__, static_folder=str(HERE), static_url_path="/static")
quart_app.config.update(SECRET_KEY="tests", RESPONSE_TIMEOUT=None, BODY_TIMEOUT=30)


lifetime = AsyncExitStack()


@quart_app.before_serving
async def start() -> None:
    quart_app.extensions["pool"] = await lifetime.enter_async_context(open_pool(life))
    quart_app.extensions["visits"] = []


@quart_app.after_serving
async def stop() -> None:
    await lifetime.aclose()


def the_pool() -> Pool:
    pool: Pool = quart_app.extensions["pool"]
    return pool


@quart_app.before_request
async def take_tenant() -> None:
    tenant.set(request.headers.get("X-Tenant", "nobody"))


@quart_app.after_request
async def add_header(response: Any) -> Any:
    response.headers["X-Middleware"] = f"passed {request.method}"
    return response


@quart_app.teardown_request
async def note_teardown(error: BaseException | None) -> None:
    journal.note("teardown", error=type(error).__name__)


# -- routing, forms, sessions


@quart_app.get("/")
async def index() -> ResponseReturnValue:
    return Response("index", content_type="text/plain")


@quart_app.get("/folder/")
async def folder() -> ResponseReturnValue:
    return Response("index", content_type="text/plain")


@quart_app.get("/items/<int:number>")
async def item(number: int) -> ResponseReturnValue:
    return {"number": number, "q": request.args.getlist("q"), "método": "ü"}


@quart_app.post("/form")
async def form() -> ResponseReturnValue:
    fields = await request.form
    return {"fields": [[name, value] for name, value in fields.items(multi=True)]}


@quart_app.post("/json")
async def take_json() -> ResponseReturnValue:
    return {"got": await request.get_json()}


@quart_app.get("/login")
async def login() -> ResponseReturnValue:
    session["name"] = request.args["name"]
    response = await make_response(redirect(url_for("whoami"), 303))
    response.set_cookie("first", "1", path="/")
    response.set_cookie("second", "2", httponly=True)
    return response


@quart_app.get("/whoami")
async def whoami() -> ResponseReturnValue:
    return {"name": session.get("name"), "cookies": sorted(request.cookies)}


# -- bodies


@quart_app.post("/upload")
async def upload() -> ResponseReturnValue:
    files = {}
    for name, value in (await request.files).items():
        content = value.read()
        files[name] = {
            "name": value.filename,
            "type": value.content_type,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    return {"fields": dict(await request.form), "files": files}


@quart_app.post("/count")
async def count() -> ResponseReturnValue:
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in request.body:
            digest.update(piece)
            size += len(piece)
    except asyncio.CancelledError:
        # Quart's own way of telling that the client has gone.
        journal.note("broken off", size=size)
        raise
    return {"size": size, "sha256": digest.hexdigest()}


# -- streams and files


def streamed(pieces: Any, content_type: str, headers: dict[str, str] | None = None) -> Response:
    return Response(pieces, headers=headers, content_type=content_type)


@quart_app.get("/stream")
async def stream() -> ResponseReturnValue:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return streamed(lines(), "text/plain")


@quart_app.get("/stream-sync")
async def stream_sync() -> ResponseReturnValue:
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"

    return streamed(lines(), "text/plain", {"X-Kind": "sync"})


@quart_app.get("/events")
async def events() -> ResponseReturnValue:
    async def feed() -> AsyncIterator[str]:
        yield "data: first\n\n"
        opened = await pass_gate()
        yield f"event: end\ndata: {opened}\n\n"

    return streamed(feed(), "text/event-stream", {"Cache-Control": "no-store"})


@quart_app.get("/endless")
async def endless() -> ResponseReturnValue:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(16384)
                await asyncio.sleep(0)
        finally:
            note()

    return streamed(feed(), "application/octet-stream")


@quart_app.get("/silent")
async def silent() -> ResponseReturnValue:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            note()

    return streamed(feed(), "text/event-stream")


@quart_app.get("/file")
async def file() -> ResponseReturnValue:
    return await send_file(the_pool().blob, as_attachment=True, conditional=True)


# -- after the response, and around it


@quart_app.get("/background")
async def background() -> ResponseReturnValue:
    def in_a_thread() -> None:
        journal.note("first task", opened=gates.wait(current_request.get()), tenant=tenant.get())

    async def both() -> None:
        await asyncio.to_thread(in_a_thread)
        journal.note("second task", same_loop=asyncio.get_running_loop() is the_pool().loop)

    quart_app.add_background_task(both)
    return Response("accepted", 202, content_type="text/plain")


@quart_app.get("/state")
async def state() -> ResponseReturnValue:
    pool = the_pool()
    quart_app.extensions["visits"].append(1)
    async with pool.connection() as number:
        await asyncio.sleep(0)
        return {
            "assigned": False,
            "visits": len(quart_app.extensions["visits"]),
            "connection": number,
            "same_loop": asyncio.get_running_loop() is pool.loop,
        }


@quart_app.get("/context")
async def context() -> ResponseReturnValue:
    async def of_a_task() -> str:
        return tenant.get()

    inside = await asyncio.gather(asyncio.to_thread(tenant.get), of_a_task())
    return {"here": tenant.get(), "thread": inside[0], "task": inside[1]}


@quart_app.get("/thread")
def in_a_thread() -> ResponseReturnValue:
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


@quart_app.get("/broken")
async def broken() -> ResponseReturnValue:
    raise Planned("in an endpoint")


@quart_app.get("/broken-stream")
async def broken_stream() -> ResponseReturnValue:
    async def feed() -> AsyncIterator[bytes]:
        yield b"first"
        raise Planned("in a stream")

    return streamed(feed(), "application/octet-stream")


@quart_app.get("/teapot")
async def teapot() -> ResponseReturnValue:
    abort(Response("short and stout", 418, {"X-Spout": "here"}))


@quart_app.get("/refused")
async def refused() -> ResponseReturnValue:
    raise Refused("not today")


@quart_app.errorhandler(Refused)
async def on_refusal(error: Refused) -> ResponseReturnValue:
    return jsonify(refused=str(error)), 409


# -- links


@quart_app.get("/go")
async def go() -> ResponseReturnValue:
    return redirect(url_for("item", number=3))


@quart_app.get("/where")
async def where() -> ResponseReturnValue:
    return {
        "root": request.root_path,
        "path": request.scope["path"],
        "link": url_for("item", number=3),
        "external": url_for("item", number=3, _external=True),
        "url": request.url,
    }


@quart_app.websocket("/ws")
async def ws() -> None:
    await websocket.accept()


# Planned errors are not for the test run's output.
quart_app.logger.addFilter(lambda record: not (record.exc_info and record.exc_info[0] is Planned))
quart_app.logger.setLevel(logging.ERROR)

app = Named(quart_app)
