"""Real frameworks through each way: their streams, states, sessions, error pages and background work."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import pytest
from support.asgi_apps import no_complaints, no_loop_left
from support.engines import script

from bridge.testing import Client
from bridge.testing.ways import Via

VIAS: list[Via] = ["native", "asgi", "wsgi", "roundtrip"]
every_via = pytest.mark.parametrize("via", VIAS)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("asgi_exchange", "tap"):
        monkeypatch.setattr(f"bridge.testing.transports.{module}.ERROR_FOLLOWS", 10.0)
    with no_complaints(), no_loop_left():
        yield


class Boom(Exception):
    """What the apps of these tests raise."""


@cache
def flask_app() -> Any:
    from flask import Flask, Response, redirect, request, session

    app = Flask("client_frameworks")
    app.secret_key = "for tests"

    @app.route("/hello/<name>")
    def hello(name: str) -> str:
        return f"hello {name} {request.args.get('q')}"

    @app.route("/login", methods=["POST"])
    def login() -> Any:
        session["user"] = request.form["user"]
        return redirect("/me")

    @app.route("/me")
    def me() -> str:
        return str(session.get("user"))

    @app.route("/upload", methods=["POST"])
    def upload() -> str:
        file = request.files["file"]
        return f"{file.filename}: {len(file.read())}"

    @app.route("/events")
    def events() -> Response:
        def generate() -> Iterator[str]:
            number = 0
            while True:
                yield f"data: {number}\n\n"
                number += 1

        return Response(generate(), mimetype="text/event-stream")

    @app.route("/boom")
    def boom() -> str:
        raise Boom

    return app


@every_via
def test_flask(via: Via) -> None:
    with Client(flask_app(), via=via, follow_redirects=True) as client:
        assert client.get("/hello/\u00e9%2F?q=\u00fc").status_code == 404  # the slash divides
        assert client.get("/hello/\u00e9", params={"q": "\u00fc"}).text == "hello \u00e9 \u00fc"
        assert client.post("/login", data={"user": "ada"}).text == "ada"
        assert client.get("/me").text == "ada"
        big = b"x" * 300_000
        assert client.post("/upload", files={"file": ("big.bin", big)}).text == "big.bin: 300000"
        with client.stream("GET", "/events") as response:
            lines = response.iter_lines()
            assert [next(lines) for _ in range(3)] == ["data: 0", "", "data: 1"]
        assert client.get("/boom").status_code == 500


@every_via
def test_flask_that_lets_exceptions_go(via: Via) -> None:
    app = flask_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    try:
        with Client(app, via=via) as client, pytest.raises(Boom):
            client.get("/boom")
    finally:
        app.config["PROPAGATE_EXCEPTIONS"] = None


def starlette_app(log: list[str]) -> Any:
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        log.append("up")
        yield {"db": "open"}
        log.append("down")

    async def state(request: Request) -> JSONResponse:
        return JSONResponse({"db": request.state.db, "body": (await request.body()).decode()})

    async def events(request: Request) -> StreamingResponse:
        async def generate() -> AsyncIterator[str]:
            try:
                while True:
                    yield "data: x\n\n"
            finally:
                log.append("events ended")

        return StreamingResponse(generate(), media_type="text/event-stream")

    async def background(request: Request) -> PlainTextResponse:
        return PlainTextResponse("done", background=BackgroundTask(log.append, "background"))

    async def boom(request: Request) -> PlainTextResponse:
        raise Boom

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    return Starlette(
        routes=[
            Route("/state", state, methods=["POST"]),
            Route("/events", events),
            Route("/background", background),
            Route("/boom", boom),
        ],
        middleware=[Middleware(Passing)],
        lifespan=lifespan,
    )


@every_via
def test_starlette(via: Via) -> None:
    log: list[str] = []
    with Client(starlette_app(log), via=via) as client:
        assert log == ["up"]
        assert client.post("/state", content=iter([b"a", b"b"])).json() == {"db": "open", "body": "ab"}
        with client.stream("GET", "/events") as response:
            assert next(response.iter_lines()) == "data: x"
        assert client.get("/background").text == "done"
        assert client.wait_for_background()
        assert "background" in log
        with pytest.raises(Boom):
            client.get("/boom")
        page = client.exchange("/boom")
        assert (page.status, page.body, page.error) == (500, b"Internal Server Error", None)
    assert sorted(log) == ["background", "down", "events ended", "up"]


@pytest.mark.parametrize("via", ["native", "wsgi"])
def test_an_error_page_is_a_response_where_exceptions_are_not_to_be_raised(via: Via) -> None:
    with Client(starlette_app([]), via=via, raise_app_exceptions=False) as client:
        assert client.get("/boom").text == "Internal Server Error"


@every_via
def test_fastapi(via: Via) -> None:
    from fastapi import FastAPI, HTTPException

    app = FastAPI()

    @app.get("/items/{number}")
    def item(number: int, q: str | None = None) -> dict[str, Any]:
        if number == 404:
            raise HTTPException(404, "no such item")
        return {"number": number, "q": q}

    @app.post("/items")
    async def create(item: dict[str, int]) -> dict[str, int]:
        return {name: value + 1 for name, value in item.items()}

    with Client(app, via=via) as client:
        assert client.get("/items/5", params={"q": "\u00e9"}).json() == {"number": 5, "q": "\u00e9"}
        assert client.get("/items/404").json() == {"detail": "no such item"}
        assert client.get("/items/x").status_code == 422
        assert client.post("/items", json={"a": 1}).json() == {"a": 2}
        response = client.exchange({"url": "/items", "method": "POST", "json": {"a": 1}})
        assert (response.status, response.body) == (200, b'{"a":2}')


DJANGO = """
import io
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["testserver"], ROOT_URLCONF="__main__", SECRET_KEY="for tests", DEBUG=False,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
import django

django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path


def show(request, name):
    request.session["seen"] = request.session.get("seen", 0) + 1
    return HttpResponse(f"{name} {request.GET.get('q')} {request.session['seen']}")


def upload(request):
    return HttpResponse(str(len(request.FILES["file"].read())))


def stream(request):
    return StreamingHttpResponse(iter(["a", "b"]))


urlpatterns = [path("show/<name>", show), path("upload", upload), path("stream", stream)]

from bridge.testing import Client

for app in (get_wsgi_application(), get_asgi_application()):
    for via in ("native", "asgi", "wsgi", "roundtrip"):
        with Client(app, via=via) as client:
            client.get("/show/x")
            assert client.get("/show/\u00e9", params={"q": "\u00fc"}).text == "\u00e9 \u00fc 2", via
            big = io.BytesIO(b"x" * 300_000)
            assert client.post("/upload", files={"file": ("f", big)}).text == "300000", via
            assert client.get("/missing").status_code == 404, via
            assert client.get("/stream").text == "ab", via
print("fine")
"""


def test_django() -> None:
    """In a process of its own, as its settings are those of a process."""
    code = "import warnings; warnings.simplefilter('ignore')" + DJANGO
    assert script(code, timeout=50).strip() == "fine"
