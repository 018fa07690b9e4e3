"""A FastAPI site that mixes blocking and async code with `bridge.sync_to_async` and `bridge.async_to_sync`.

Served as `support.shim_fastapi_site:app`, on asyncio and on trio. `UPSTREAM` names the server that it calls.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import httpx2
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from bridge import async_to_sync, sync_to_async
from support.frameworks_probes import PATIENCE, current_request, journal

tag: contextvars.ContextVar[str] = contextvars.ContextVar("tag", default="unset")


class Connection:
    """The client of one run of the app, and where it was made."""

    client: httpx2.AsyncClient
    loop: int

    async def get(self, path: str) -> str:
        """What the upstream server answers."""
        response = await self.client.get(os.environ["UPSTREAM"] + path)
        return response.text


connection = Connection()


def loop() -> int:
    """The running loop, of either library."""
    return hash(anyio.lowlevel.current_token())


async def here() -> dict[str, int]:
    """Which loop and thread run this, after a turn of the loop."""
    await anyio.sleep(0)
    return {"loop": loop(), "thread": threading.get_ident()}


def note(name: str, what: str, **facts: Any) -> None:
    """Note a fact for the request of this name."""
    token = current_request.set(name)
    try:
        journal.note(what, **facts)
    finally:
        current_request.reset(token)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        connection.client, connection.loop = client, loop()
        yield


app = FastAPI(lifespan=lifespan)


# -- endpoints of either kind


@app.get("/where")
def where() -> dict[str, int]:
    return {"lifespan": connection.loop, "worker": threading.get_ident(), **async_to_sync(here)()}


@app.get("/where-async")
async def where_async() -> dict[str, int]:
    def blocking() -> dict[str, int]:
        return {"worker": threading.get_ident(), **async_to_sync(here)()}

    in_pool = await sync_to_async(blocking, thread_sensitive=False)()
    return {"lifespan": connection.loop, "view": loop(), **in_pool}


@app.get("/upstream")
def upstream() -> str:
    return async_to_sync(connection.get)("/blocking")


@app.get("/upstream-async")
async def upstream_async() -> str:
    return await connection.get("/async")


@app.get("/nested")
def nested() -> list[list[int]]:
    """From AnyIO's thread to the loop and back, four times: loops and threads by level."""
    levels: list[list[int]] = []

    async def inner(depth: int) -> None:
        levels.append([loop(), threading.get_ident()])
        if depth:
            await sync_to_async(outer)(depth - 1)

    def outer(depth: int) -> None:
        levels.append([0, threading.get_ident()])
        async_to_sync(inner)(depth)

    outer(3)
    return levels


@app.get("/refused")
def refused() -> str:
    async def refuse() -> str:
        await anyio.sleep(0)
        raise HTTPException(418, "by a coroutine")

    return async_to_sync(refuse)()


# -- dependencies


def fetched() -> Iterator[str]:
    """Blocking, with an end."""
    yield async_to_sync(connection.get)("/dependency")
    async_to_sync(connection.get)("/dependency-ends")


async def computed(request: Request) -> AsyncIterator[str]:
    """Async, with blocking code; what it sets is for the endpoint."""

    def set_tag() -> str:
        tag.set(request.query_params["tag"])
        return "computed"

    yield await sync_to_async(set_tag)()


Fetched = Annotated[str, Depends(fetched)]
Computed = Annotated[str, Depends(computed)]


@app.get("/dependencies")
def dependencies(first: Fetched, second: Computed) -> list[str]:
    async def read() -> str:
        return tag.get()

    return [first, second, tag.get(), async_to_sync(read)()]


@app.get("/dependencies-async")
async def dependencies_async(first: Fetched, second: Computed) -> list[str]:
    return [first, second, tag.get(), await sync_to_async(tag.get)()]


# -- work after the response


@app.get("/background")
async def background(tasks: BackgroundTasks, name: str) -> str:
    def blocking() -> None:
        where = async_to_sync(here)()
        note(name, "background", loop=where["loop"], answer=async_to_sync(connection.get)("/later"))

    async def asynchronous() -> None:
        await sync_to_async(note)(
            name, "background", loop=loop(), answer=await connection.get("/later-async")
        )

    tasks.add_task(blocking)
    tasks.add_task(asynchronous)
    return "accepted"


@app.get("/probe")
def probe(request: Request) -> Any:
    query = request.query_params
    return journal.ask(query["of"], query["await"], int(query["count"]))


# -- streams


def pieces(name: str) -> Iterator[str]:
    """A blocking generator that calls async code for each piece."""
    try:
        for number in range(3):
            where = async_to_sync(here)()
            yield f"{async_to_sync(connection.get)(f'/{number}')} {where['loop']}\n"
    finally:
        note(name, "closed")


@app.get("/stream")
def stream(name: str) -> StreamingResponse:
    """Starlette takes each piece in some thread of AnyIO's."""
    return StreamingResponse(pieces(name), media_type="text/plain")


@app.get("/stream-in-thread")
async def stream_in_thread(name: str) -> StreamingResponse:
    """All of it in one worker of ours."""
    from bridge.shim import iterate_in_thread

    return StreamingResponse(iterate_in_thread(pieces(name)), media_type="text/plain")


def endless(name: str) -> Iterator[str]:
    """Until it is closed."""
    note(name, "begun")
    try:
        while True:
            yield "piece\n" * 100
    finally:
        note(name, "closed", loop=async_to_sync(here)()["loop"])


@app.get("/endless")
async def endless_in_thread(name: str) -> StreamingResponse:
    from bridge.shim import iterate_in_thread

    return StreamingResponse(iterate_in_thread(endless(name)), media_type="text/plain")


# -- WebSockets


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    """Blocking code answers, by the async methods of the socket."""
    await websocket.accept()

    def converse() -> str:
        text = async_to_sync(websocket.receive_text)()
        async_to_sync(websocket.send_text)(f"blocking code got {text}")
        async_to_sync(websocket.send_text)(async_to_sync(connection.get)("/socket"))
        return text

    await websocket.send_text(f"the endpoint got {await sync_to_async(converse, thread_sensitive=False)()}")
    await websocket.close()


@app.websocket("/listen")
async def listen(websocket: WebSocket, name: str) -> None:
    """Blocking code waits for what never comes."""
    await websocket.accept()

    def wait() -> None:
        try:
            async_to_sync(websocket.receive_text)()
        except WebSocketDisconnect:
            note(name, "gone")

    await sync_to_async(wait, thread_sensitive=False)()


# -- AnyIO's way back to the loop


@app.get("/from-thread")
async def from_thread() -> dict[str, Any]:
    """`anyio.from_thread.run` in threads of theirs and ours."""

    def bare() -> Any:
        try:
            return anyio.from_thread.run(here)
        except RuntimeError as error:
            return str(error)

    def with_token(token: Any) -> Any:
        return anyio.from_thread.run(here, token=token)

    async def thread_sensitive() -> Any:
        return await sync_to_async(bare)()

    def theirs_through_ours() -> Any:
        return async_to_sync(thread_sensitive)()

    in_pool: Any = sync_to_async(bare, thread_sensitive=False)
    return {
        "lifespan": connection.loop,
        "theirs": await anyio.to_thread.run_sync(bare),
        "theirs, through ours": await anyio.to_thread.run_sync(theirs_through_ours),
        "ours": await in_pool(),
        "ours, with a token": await sync_to_async(with_token, thread_sensitive=False)(
            anyio.lowlevel.current_token()
        ),
    }
