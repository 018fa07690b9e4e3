"""What the ASGI sites are asked, and what of their answers has to be equal everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx2
from frameworks.asgi_common import BLOB
from starlette.testclient import TestClient
from support.wsgi_client import HOST

App: TypeAlias = Any

STATIC = "/static/asgi_common.py"


class Asked(NamedTuple):
    """One request; `options` are those of `httpx2.Client.request`."""

    method: str
    path: str
    options: dict[str, Any]


class Seen(NamedTuple):
    """What a client sees of an answer, without what differs from time to time."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def ask(method: str, path: str, **options: Any) -> Asked:
    return Asked(method, path, options)


JSON = {"Content-Type": "application/json"}
PLAIN = {"Accept-Encoding": "identity"}


def ranged(value: str, path: str = "/file", method: str = "GET", **headers: str) -> Asked:
    return ask(method, path, headers={**PLAIN, **headers, "Range": value})


CONVERSATIONS: dict[str, list[Asked]] = {
    "a page": [ask("GET", "/"), ask("HEAD", "/")],
    "methods": [ask("OPTIONS", "/"), ask("DELETE", "/"), ask("PUT", "/items/3", content=b"x")],
    "unknown": [ask("GET", "/nothing"), ask("GET", "/static/missing.txt"), ask("GET", "/../etc/passwd")],
    "a path parameter": [ask("GET", "/items/3"), ask("GET", "/items/x"), ask("GET", "/items/-1")],
    "escapes": [ask("GET", "/n%C3%B6/%2F%20?x=%2F"), ask("GET", "/%FF"), ask("GET", "/a%252Fb")],
    "a query": [ask("GET", "/items/3?q=a&q=%C3%A9&q=&x=1"), ask("GET", "/items/3?q=%ff&&=")],
    "a form": [
        ask("POST", "/form", data={"a": ["1", "2"], "größe": "ü&="}),
        ask("POST", "/form", content=b"", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    ],
    "JSON": [
        ask("POST", "/json", json={"x": [1, None, "ü"]}),
        ask("POST", "/json", content=b"{", headers=JSON),
        ask("POST", "/json", content=b"\xff", headers=JSON),
    ],
    "a session and cookies": [
        ask("GET", "/whoami"),
        ask("GET", "/login?name=ada"),
        ask("GET", "/whoami"),
        ask("GET", "/login?name=bob"),
        ask("GET", "/whoami"),
    ],
    "an upload": [
        ask("POST", "/upload", data={"text": "ü"}, files={"file": ("größe.bin", BLOB, "application/x-blob")}),
        ask("POST", "/upload", data={"text": "t"}, files={"file": ("e.txt", b"", "text/plain")}),
    ],
    "an incomplete form": [
        ask("POST", "/upload", content=b"--x", headers={"Content-Type": "multipart/form-data"})
    ],
    "a body": [ask("POST", "/count", content=BLOB * 4), ask("POST", "/count", content=b"")],
    "a chunked body": [ask("POST", "/count", content=(BLOB, b"", b"x" * 70_000))],
    "a body that is not read": [ask("POST", "/nothing", content=BLOB)],
    "streams": [ask("GET", "/stream"), ask("GET", "/stream-sync"), ask("HEAD", "/stream")],
    "a compressed stream": [ask("GET", "/stream", headers={"Accept-Encoding": "gzip"})],
    "a file": [
        ask("GET", "/file", headers=PLAIN),
        ask("HEAD", "/file", headers=PLAIN),
        ask("GET", "/file", headers={"Accept-Encoding": "gzip"}),
    ],
    "ranges of a file": [
        ranged("bytes=10-19"),
        ranged("bytes=262140-"),
        ranged("bytes=-5"),
        ranged("bytes=999999-"),
        ranged("bytes=0-1,65535-65537"),
        ranged("lines=1-2"),
        ranged("bytes=10-19", method="HEAD"),
    ],
    "a static file": [
        ask("GET", STATIC, headers=PLAIN),
        ask("HEAD", STATIC, headers=PLAIN),
        ranged("bytes=3-7", STATIC),
        ask("POST", STATIC),
    ],
    "state": [ask("GET", "/state"), ask("GET", "/state")],
    "context variables": [ask("GET", "/context", headers={"X-Tenant": "ada"}), ask("GET", "/context")],
    "a plain function": [ask("GET", "/thread", headers={"X-Tenant": "ada"})],
    "dependencies": [ask("GET", "/dependency"), ask("GET", "/dependency?fail=1"), ask("GET", "/dependency")],
    "errors": [ask("GET", "/broken"), ask("GET", "/teapot"), ask("HEAD", "/teapot"), ask("GET", "/refused")],
    "redirects": [ask("GET", "/go"), ask("GET", "/folder"), ask("GET", "/folder?x=1"), ask("GET", "/where")],
    "another host": [ask("GET", "/where", headers={"Host": "example.org:8080"})],
    "CORS": [
        ask("GET", "/", headers={"Origin": "https://front.example"}),
        ask(
            "OPTIONS",
            "/form",
            headers={"Origin": "https://front.example", "Access-Control-Request-Method": "POST"},
        ),
        ask("GET", "/", headers={"Origin": "https://other.example"}),
    ],
    "a websocket's address": [
        ask("GET", "/ws"),
        ask("GET", "/ws", headers={"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}),
    ],
    "validation": [
        ask("POST", "/order", json={"name": "tea"}, headers={"X-Note": "for two"}),
        ask("POST", "/order", json={"name": "a name that is too long", "amount": "many"}),
        ask("POST", "/order", content=b"{}", headers={"Content-Type": "text/plain"}),
        ask("GET", "/openapi.json"),
        ask("GET", "/docs"),
    ],
}

# Of each site: what this conversation is to show, beyond being equal.
EXPECTED = {
    "a page": [200],
    "a query": [200],
    "a form": [200],
    "JSON": [200, 400],
    "a session and cookies": [200, 303, 200, 303, 200],
    "an upload": [200],
    "a body": [200, 200],
    "a chunked body": [200],
    "streams": [200, 200],
    "a file": [200],
    "state": [200, 200],
    "context variables": [200, 200],
    "a plain function": [200],
    "errors": [500, 418],
}


# What differs from time to time: signatures and random values, the time, and names of their own.
_VOLATILE = re.compile(r"(?<=session=)[^;]+")
_TIMES = {"date", "expires"}
_BOUNDARY = re.compile(r"(?<=boundary=)\w+")


def seen(response: httpx2.Response) -> Seen:
    boundary = _BOUNDARY.search(response.headers.get("content-type", ""))
    body = response.content
    headers = [(name.lower(), value) for name, value in response.headers.multi_items()]
    if boundary is not None:
        body = body.replace(boundary[0].encode(), b"boundary")
    return Seen(
        response.status_code,
        [
            (name, "" if name in _TIMES else _BOUNDARY.sub("boundary", _VOLATILE.sub("...", value)))
            for name, value in headers
        ],
        body,
    )


def converse(client: httpx2.Client, asked: list[Asked]) -> list[Seen]:
    """Ask one after the other, as a visitor whose cookies are kept; follow no redirect."""
    client.cookies.clear()
    answers = []
    for method, path, options in asked:
        if isinstance(options.get("content"), tuple):
            options = {**options, "content": iter(options["content"])}
        answers.append(seen(client.request(method, path, **options)))
    return answers


def sending_files(app: App) -> App:
    """An ASGI server that offers `http.response.pathsend`, as `ASGIToWSGI` does and `TestClient` does not.

    Apps use it where it is offered; Starlette compresses no file that leaves in this way.
    """

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def send_files(message: Any) -> None:
            if message["type"] == "http.response.pathsend":
                message = {"type": "http.response.body", "body": Path(message["path"]).read_bytes()}
            await send(message)

        if scope["type"] == "http":
            scope = {**scope, "extensions": {**scope["extensions"], "http.response.pathsend": {}}}
        await app(scope, receive, send_files if scope["type"] == "http" else send)

    return server


def converse_natively(app: App) -> dict[str, list[Seen]]:
    """What an app answers in all conversations without the adapter; its lifespan is run for each."""
    answers = {}
    for title, asked in CONVERSATIONS.items():
        client = TestClient(
            sending_files(app), base_url=HOST, raise_server_exceptions=False, follow_redirects=False
        )
        with client:
            answers[title] = converse(client, asked)
    return answers
