"""What is served: small ASGI applications, bare and made with frameworks."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.answers import HELLO, HELLO_RAW, Expected


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_RAW})
    await send({"type": "http.response.body", "body": HELLO})


async def trivial() -> bytes:
    """What the floor runs on its loop."""
    return HELLO


FRAMEWORK_ANSWER = Expected(
    200, [(b"content-length", b"13"), (b"content-type", b"text/plain; charset=utf-8")], HELLO
)
"""Starlette's and FastAPI's."""


@functools.cache
def starlette_hello() -> Any:
    """A Starlette application with one endpoint."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def index(request: Request) -> PlainTextResponse:
        return PlainTextResponse(HELLO)

    return Starlette(routes=[Route("/", index)])


@functools.cache
def fastapi_hello() -> Any:
    """A FastAPI application with one endpoint."""
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def index() -> str:
        return HELLO.decode()

    return app
