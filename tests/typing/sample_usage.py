"""Code as users write it, with the types that frameworks really have: it must pass mypy strict as it stands.

Nothing here runs; `test_typing.py` has it checked. A line that needs an ignore is a bug of `bridge`.
"""

from __future__ import annotations

import asyncio
import io
import sys
import wsgiref.validate
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable
from asgiref.typing import Scope as AsgirefScope
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route
from starlette.types import ASGIApp as StarletteASGIApp
from starlette.types import Receive as StarletteReceive
from starlette.types import Scope as StarletteScope
from starlette.types import Send as StarletteSend
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from bridge import ASGIToWSGI, PoolStats, ThreadPool, WSGIToASGI, as_asgi, as_wsgi
from bridge.compat import ASGIMiddleware, WSGIMiddleware, WsgiToAsgi
from bridge.exceptions import BridgeError, ClientDisconnected, PoolFull, UsageError
from bridge.types import ASGIApp as BridgeASGIApp
from bridge.types import Environ, Message, Receive, Scope, Send, StartResponse, WSGIApp

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse as TypeshedStartResponse
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


# -- WSGI apps of every kind


flask_app = Flask(__name__)
django_app: WSGIHandler = get_wsgi_application()


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def typeshed(environ: WSGIEnvironment, start_response: TypeshedStartResponse) -> Iterable[bytes]:
    try:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"hello")
    except OSError:
        start_response("500 Oops", [], sys.exc_info())
    return ()


def ours(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"hello")
    try:
        environ["wsgi.input"].read()
    except ClientDisconnected as error:
        start_response("400 Bad Request", [], (type(error), error, error.__traceback__))
    yield b"world"


class Object:
    """An app that is an object."""

    def __call__(self, environ: dict[str, object], start_response: TypeshedStartResponse) -> list[bytes]:
        start_response("204 No Content", [])
        return []


class Class:
    """An app that is a class, whose instances are the iterables."""

    def __init__(self, environ: WSGIEnvironment, start_response: TypeshedStartResponse) -> None:
        start_response("200 OK", [])

    def __iter__(self) -> Iterable[bytes]:
        yield b"hello"


def middleware(app: WSGIApplication) -> WSGIApplication:
    return wsgiref.validate.validator(app)


WSGIToASGI(flask_app)
WSGIToASGI(flask_app.wsgi_app)
WSGIToASGI(django_app)
WSGIToASGI(plain)
WSGIToASGI(typeshed)
WSGIToASGI(ours)
WSGIToASGI(Object())
WSGIToASGI(middleware(plain))
WSGIToASGI(ProxyFix(flask_app.wsgi_app, x_for=1))
WSGIToASGI(DispatcherMiddleware(flask_app, {"/plain": plain}))
declared: WSGIApp = flask_app
WSGIToASGI(declared)

# -- options


async def startup() -> None:
    """A coroutine function as a hook."""


def shutdown() -> int:
    return 0


pool = ThreadPool(20, streams=None, queue=100, queue_timeout=30, name="web")
adapter = WSGIToASGI(
    flask_app,
    pool=pool,
    prebuffer=1,
    read_ahead=1,
    write_ahead=1,
    max_body=10 * 1024 * 1024,
    spool=True,
    strict=True,
    keep_underscore_headers=False,
    multiprocess=False,
    errors=sys.stderr,
    on_startup=[startup, shutdown, lambda: print("up")],
    on_shutdown=(shutdown,),
    shutdown_timeout=None,
)
WSGIToASGI(flask_app, threads=4, errors=io.StringIO(), shutdown_timeout=5)
ThreadPool()
ThreadPool(streams="auto", queue=None, queue_timeout=0.5)

wrapped: WSGIApp = adapter.app
shared: ThreadPool = adapter.pool
stats: PoolStats = shared.stats()
numbers: tuple[int, float] = (stats.busy, stats.queue_wait)
text: str = shared.dump(older_than=2) + repr(adapter)
drained: bool = shared.drain(timeout=1.5) and shared.close()
with ThreadPool(2) as short_lived:
    threads: int = short_lived.threads

try:
    WSGIToASGI(flask_app, threads=0)
except UsageError as error:
    base: BridgeError = error
full: type[Exception] = PoolFull


# -- the adapter where an ASGI app is wanted


for_starlette: StarletteASGIApp = adapter
ours_too: BridgeASGIApp = adapter

starlette_app = Starlette(
    routes=[
        Mount("/flask", app=WSGIToASGI(flask_app)),
        Mount("/django", WSGIToASGI(django_app)),
        Route("/direct", endpoint=WSGIToASGI(plain)),
    ],
    middleware=[Middleware(CORSMiddleware, allow_origins=["*"])],
)
starlette_app.mount("/legacy", WSGIToASGI(flask_app))
starlette_app.mount("/compat", WSGIMiddleware(flask_app))
starlette_app.mount("/asgiref", WsgiToAsgi(flask_app))
fastapi_app = FastAPI()
fastapi_app.mount("/legacy", WSGIToASGI(django_app))
fastapi_app.mount("/sure", as_asgi(flask_app))
CORSMiddleware(WSGIToASGI(flask_app))
WSGIMiddleware(flask_app, workers=20, send_queue_size=4)
WsgiToAsgi(plain, duplicate_header_limit=None)


class StarletteStyle:
    """An ASGI middleware with Starlette's types around a WSGI app."""

    def __init__(self, app: StarletteASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: StarletteScope, receive: StarletteReceive, send: StarletteSend) -> None:
        await self.app(scope, receive, send)
        await adapter(scope, receive, send)


async def asgiref_style(scope: AsgirefScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """An ASGI app with asgiref's types."""


async def our_style(scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    await send(message)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await adapter(scope, receive, send)


async def untyped(scope: Any, receive: Any, send: Any) -> None:
    await adapter(scope, receive, send)


StarletteStyle(adapter)
StarletteStyle(as_asgi(flask_app, threads=2))

# -- as_asgi takes anything


third: ASGI3Application = asgiref_style
for anything in (flask_app, django_app, starlette_app, fastapi_app, ASGIHandler(), our_style, third, adapter):
    made: BridgeASGIApp = as_asgi(anything)
    also: StarletteASGIApp = as_asgi(anything)


# -- inside a view


@flask_app.get("/sync")
def sync_view() -> str:
    async def fetch() -> int:
        return 1

    return str(async_to_sync(fetch)())


@fastapi_app.get("/async")
async def async_view() -> dict[str, int]:
    return {"busy": (await sync_to_async(pool.stats)()).busy}


def served(app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
    """What a server does with an app."""


served(adapter)

# -- the other direction: ASGI apps of every kind, in the hands of WSGI


async def plain_asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def ours_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [], "seen": message["type"]})


async def starlette_asgi(scope: StarletteScope, receive: StarletteReceive, send: StarletteSend) -> None:
    await receive()


async def asgiref_asgi(scope: AsgirefScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await receive()


django_asgi: ASGIHandler = ASGIHandler()
ASGIToWSGI(FastAPI())
ASGIToWSGI(Starlette())
ASGIToWSGI(django_asgi)
ASGIToWSGI(plain_asgi)
ASGIToWSGI(ours_asgi)
ASGIToWSGI(starlette_asgi)
ASGIToWSGI(asgiref_asgi)
ASGIToWSGI(WSGIToASGI(flask_app))


def uvloop_or_not() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


ASGIToWSGI(
    FastAPI(),
    lifespan="on",
    loop_factory=uvloop_or_not,
    read_ahead=1,
    write_ahead=1,
    max_body=None,
    startup_timeout=None,
    shutdown_timeout=1,
    disconnect_grace=0.5,
    background_wait=None,
)

as_wsgi_application: WSGIApplication = ASGIToWSGI(FastAPI())
validated: WSGIApplication = wsgiref.validate.validator(ASGIToWSGI(FastAPI()))
DispatcherMiddleware(flask_app, {"/v2": ASGIToWSGI(FastAPI())})
maybe_wrapped: WSGIApplication = as_wsgi(FastAPI(), lifespan="off")
ASGIMiddleware(FastAPI(), wait_time=1.0, loop=None)
ASGIMiddleware(Starlette(), 0)


def hooks() -> None:
    adapter = ASGIToWSGI(FastAPI())
    adapter.start()
    adapter.close()
    with ASGIToWSGI(FastAPI()) as application:
        application({}, lambda status, headers: None)
