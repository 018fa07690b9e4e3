"""ASGI middleware around a WSGI app: Starlette's own, and what context variables see on either side."""

from __future__ import annotations

import contextvars
import gzip
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, request, session
from flask.typing import ResponseReturnValue
from frameworks.flask_site import BLOB, flask_app
from frameworks.mounted_site import HeaderMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from bridge import WSGIToASGI

BACKENDS = ["asyncio", "trio"]


def served_by(middleware: list[Middleware], wsgi_app: Any = flask_app, **options: Any) -> TestClient:
    """A client for a WSGI app inside a Starlette app that has middleware."""
    app = Starlette(routes=[Mount("/", WSGIToASGI(wsgi_app, threads=2))], middleware=middleware)
    return TestClient(app, follow_redirects=False, **options)


# -- Starlette's middleware


@pytest.mark.parametrize("backend", BACKENDS)
def test_base_http_middleware_passes_bodies_both_ways(backend: Any) -> None:
    client = served_by([Middleware(HeaderMiddleware)], backend=backend)
    response = client.post("/body", content=BLOB)
    assert response.headers["x-middleware"] == "passed"
    assert response.json()["size"] == len(BLOB)
    assert client.get("/file").content == BLOB
    head = client.head("/file")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(BLOB)))


def test_gzip_middleware_compresses_whole_responses_streams_and_files() -> None:
    client = served_by([Middleware(GZipMiddleware, minimum_size=100)])
    for path, expected in {"/file": BLOB, "/text-file": open_source()}.items():
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["content-encoding"] == "gzip"
            raw = b"".join(response.iter_raw())
        assert len(raw) < len(expected)
        assert gzip.decompress(raw) == expected
    plain = client.get("/file", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == BLOB
    small = client.get("/", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers
    assert small.text == "index"


def open_source() -> bytes:
    from frameworks import flask_site

    with open(flask_site.__file__, "rb") as source:
        return source.read()


@pytest.mark.req("X-12", "W-10")
def test_the_session_of_starlette_and_that_of_flask_live_side_by_side() -> None:
    old = Flask("old")
    old.secret_key = "of Flask"

    @old.get("/")
    def count() -> ResponseReturnValue:
        session["count"] = session.get("count", 0) + 1
        outer = request.environ["asgi.scope"]["session"]
        outer["seen by flask"] = outer.get("seen by flask", 0) + 10
        return f"{session['count']} {outer['seen by flask']} {outer.get('user')}"

    def log_in(request: Request) -> PlainTextResponse:
        request.session["user"] = "ada"
        return PlainTextResponse("hello")

    app = Starlette(
        routes=[Route("/login", log_in), Mount("/old", WSGIToASGI(old))],
        middleware=[Middleware(SessionMiddleware, secret_key="of Starlette", session_cookie="outer")],
    )
    with TestClient(app) as client:
        client.get("/login")
        assert client.get("/old/").text == "1 10 ada"
        response = client.get("/old/")
        assert response.text == "2 20 ada"
        cookies = [cookie.partition("=")[0] for cookie in response.headers.get_list("set-cookie")]
        assert sorted(cookies) == ["outer", "session"]


@pytest.mark.req("W-23")
def test_an_exception_of_the_wsgi_app_reaches_the_handlers_of_starlette() -> None:
    def failing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise KeyError(environ["PATH_INFO"])

    def handle(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"handled {error!r}", 418)

    app = Starlette(routes=[Mount("/old", WSGIToASGI(failing))], exception_handlers={KeyError: handle})
    response = TestClient(app).get("/old/x")
    assert (response.status_code, response.text) == (418, "handled KeyError('/x')")


# -- context variables

inward: contextvars.ContextVar[str] = contextvars.ContextVar("inward", default="unset")
outward: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("outward", default=())


def add(what: str) -> None:
    outward.set((*outward.get(), what))


def context_app() -> Flask:
    app = Flask("contexts")

    @app.get("/")
    def whole() -> ResponseReturnValue:
        add("view")
        response = Response(inward.get())
        response.call_on_close(lambda: add("close"))
        return response

    @app.get("/stream")
    def stream() -> ResponseReturnValue:
        def chunks() -> Iterator[str]:
            add("first chunk")
            yield inward.get()
            add("last chunk")
            yield "!"

        response = Response(chunks())
        response.call_on_close(lambda: add("close"))
        return response

    @app.get("/broken")
    def broken() -> ResponseReturnValue:
        add("view")
        raise ZeroDivisionError

    return app


class RawMiddleware:
    """Plain ASGI: sets one variable before the app runs, and reads the other afterwards."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: tuple[str, ...] = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        inward.set("from the middleware")
        try:
            await self.app(scope, receive, send)
        finally:
            self.seen = outward.get()


@pytest.mark.req("W-02")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("path", "text", "seen"),
    [
        ("/", "from the middleware", ("view", "close")),
        ("/stream", "from the middleware!", ("first chunk", "last chunk", "close")),
    ],
)
def test_context_variables_cross_the_adapter_in_both_directions(
    path: str, text: str, seen: tuple[str, ...], backend: Any
) -> None:
    middleware = RawMiddleware(WSGIToASGI(context_app()))
    assert TestClient(middleware, backend=backend).get(path).text == text
    assert middleware.seen == seen


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_app_set_before_it_failed_is_seen_too(
    backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = context_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    middleware = RawMiddleware(WSGIToASGI(app))
    with caplog.at_level(logging.CRITICAL), pytest.raises(ZeroDivisionError):
        TestClient(middleware, backend=backend).get("/broken")
    assert middleware.seen == ("view",)


@pytest.mark.req("W-02")
def test_context_variables_of_one_request_are_not_those_of_the_next() -> None:
    """The pool's one thread serves both; nothing of the first request's Context is left in it."""
    adapter = WSGIToASGI(context_app(), threads=1)
    first, second = RawMiddleware(adapter), RawMiddleware(adapter)
    for middleware in (first, second):
        TestClient(middleware).get("/")
        assert middleware.seen == ("view", "close")


def test_a_variable_that_base_http_middleware_sets_is_seen_by_the_app() -> None:
    class Naming(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> StarletteResponse:
            inward.set("from the base middleware")
            return await call_next(request)

    client = served_by([Middleware(Naming)], context_app())
    assert client.get("/").text == "from the base middleware"
    assert client.get("/stream").text == "from the base middleware!"
