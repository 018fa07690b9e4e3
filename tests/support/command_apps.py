"""Modules with apps for the tests of `bridge check`, `compare`, `record` and `replay`."""

from __future__ import annotations

from pathlib import Path

from .serve_apps import write

SHOP = """
from flask import Flask, jsonify, redirect, request, session

app = Flask(__name__)
app.secret_key = "for tests"
LINKS = '<a href="/item/1">1</a> <a href="/item/2">2</a> <a href="/logout">out</a> <a href="/old">old</a>'

@app.get("/")
def index():
    return f"<!doctype html><title>shop</title>{LINKS}<form action=/find><input name=q></form>"

@app.get("/item/<int:number>")
def item(number):
    return jsonify(number=number, price=number * PRICE, tags=["a", "b"], id=id(app))

@app.get("/find")
def find():
    return f"nothing of {request.args['q']!r}"

@app.get("/old")
def old():
    return redirect("/item/1")

@app.get("/logout")
def logout():
    raise AssertionError("a crawl must not log out")

@app.post("/visit")
def visit():
    session["visits"] = session.get("visits", 0) + request.json["times"]
    return jsonify(visits=session["visits"])

@app.get("/late")
def late():
    def pieces():
        yield "one "
        yield "two"
    return pieces()
"""
"""A Flask site; `PRICE` is defined behind it."""

API = """
import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, Path, Request, WebSocket
from fastapi.responses import StreamingResponse

@asynccontextmanager
async def lifespan(app):
    app.state.notes = ["one", "two"]
    yield

app = FastAPI(lifespan=lifespan)

@app.get("/")
async def index(request: Request):
    return request.app.state.notes

@app.get("/notes/{number}")
async def note(number: Annotated[int, Path(ge=1)], loud: bool = False):
    return {"number": number, "loud": loud}

@app.post("/notes")
async def add(note: dict[str, str]):
    return note

@app.get("/events")
async def events():
    async def pieces():
        for number in range(3):
            yield f"data: {number}\\n\\n"
    return StreamingResponse(pieces(), media_type="text/event-stream")

@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    await socket.close()
"""
"""A FastAPI app that needs its lifespan."""

DJANGO = """
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests", ALLOWED_HOSTS=["localhost"], ROOT_URLCONF=__name__, MIDDLEWARE=[], DEBUG=False
)

import django
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

def index(request):
    return JsonResponse({"path": request.path, "query": request.GET.dict()})

urlpatterns = [path("", index), path("notes/", index)]
asgi, wsgi = get_asgi_application(), get_wsgi_application()
"""
"""A Django project in one file, of both interfaces. Only for a process of its own: settings are global."""


BARE = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})
"""
"""Apps of both interfaces that are soon imported."""


def shop(folder: Path, name: str = "shop", price: int = 10) -> Path:
    """Write the Flask site as a module."""
    return write(folder / f"{name}.py", f"{SHOP}\nPRICE = {price}\n")
