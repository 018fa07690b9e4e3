"""Real frameworks under `ASGIValidator`: clean, or what they break is named here and in the documentation.

Most run in this process, called by `ASGIToWSGI`, so that it is judged as their server as well. Django
needs a process of its own, where Uvicorn serves it together with Channels.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask, Response, redirect, request, send_file
from frameworks.asgi_common import BLOB
from frameworks.asgi_conversations import CONVERSATIONS, converse
from frameworks.asgi_servers import served, uvicorn
from served.wire import TIMEOUT
from starlette.testclient import TestClient
from support.served import wait_until
from support.wsgi_client import client_for
from testing.validation.asgi_planting import CONNECT, Server, call, scope_of
from testing.validation.asgi_probing import converse_with_socket

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.testing import ASGIValidator
from bridge.testing.validation.violations import Violation

PAGE = Path(__file__).parents[3] / "docs" / "project" / "validator-findings.md"

Rules = set[tuple[str, str, str]]

BODY_OF_HEAD = ("app", "http.response.body/head", "SHOULD")
CHANGED = ("app", "scope/changed", "SHOULD")
CAPITALS = ("app", "http.response.start/headers/name/lower-case", "MUST")

BEFORE_CONNECT = ("app", "websocket/order/before-connect", "SHOULD")

# WebSockets of a known path are clean everywhere; those of an unknown one are refused in this way.
WEBSOCKETS: dict[str, Rules] = {
    "starlette": {BEFORE_CONNECT},
    "fastapi": {BEFORE_CONNECT},
    "litestar": {BEFORE_CONNECT},
    "quart": set(),
}

PUBLISHED: dict[str, Rules] = {
    "starlette": {BODY_OF_HEAD, CHANGED},
    "fastapi": {BODY_OF_HEAD, CHANGED},
    "litestar": {BODY_OF_HEAD},
    "quart": {BODY_OF_HEAD},
    "flask": set(),
    "django": {CAPITALS, BODY_OF_HEAD},
    "channels": set(),
    "testclient": {
        ("server", "http.scope/asgi/missing", "MUST"),
        ("server", "lifespan.scope/asgi/missing", "MUST"),
        ("server", "websocket.scope/asgi/missing", "MUST"),
        ("server", "http.scope/raw_path/agrees", "SHOULD"),
    },
    "transport": {("server", "http.scope/server/port/none", "MUST")},
}


def rules(found: list[Violation]) -> Rules:
    return {(each.side, each.rule, each.level) for each in found}


def validated(app: Any) -> ASGIValidator:
    return ASGIValidator(app, on_violation="collect", level="SHOULD")


@pytest.mark.parametrize("name", ["starlette", "fastapi", "litestar", "quart"])
def test_a_framework_breaks_what_is_published_and_the_adapter_nothing(name: str) -> None:
    """All conversations: pages, forms, uploads, streams, files, ranges, errors, redirects, sessions."""
    validator = validated(importlib.import_module(f"frameworks.asgi_{name}_site").app)
    with ASGIToWSGI(validator) as wsgi, client_for(wsgi) as client:
        for asked in CONVERSATIONS.values():
            converse(client, asked)
    assert rules(validator.violations) == PUBLISHED[name], [str(each) for each in validator.violations[:5]]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("name", WEBSOCKETS)
def test_a_framework_breaks_what_is_published_of_websockets(name: str, known: bool) -> None:
    app = importlib.import_module(f"frameworks.asgi_{name}_site").app
    path = "/ws" if known else "/nowhere"
    server = Server(scope_of("websocket", {"path": path, "raw_path": path.encode()}), [CONNECT])
    assert rules(call(app, server)) == (set() if known else WEBSOCKETS[name])


# -- Flask


def flask_app() -> Flask:
    app = Flask(__name__)

    @app.get("/")
    def index() -> str:
        return "index"

    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data(), headers={"X-Length": str(len(request.get_data()))})

    @app.get("/stream")
    def stream() -> Response:
        return Response(iter([b"a", b"", b"b" * 100_000]))

    @app.get("/file")
    def file() -> Response:
        return send_file(__file__)

    @app.get("/go")
    def go() -> Any:
        return redirect("/")

    @app.get("/nothing")
    def nothing() -> tuple[str, int]:
        return "", 204

    @app.get("/broken")
    def broken() -> str:
        raise ValueError("broken")

    return app


def test_flask_in_the_adapter_is_clean_and_so_is_the_other_adapter_around_it() -> None:
    validator = validated(WSGIToASGI(flask_app()))
    with ASGIToWSGI(validator) as wsgi, client_for(wsgi) as client:
        asked = ["/", "/stream", "/file", "/go", "/nothing", "/missing", "/n%C3%B6/%2F?q=%FF", "/broken"]
        statuses = [client.request(method, path).status_code for path in asked for method in ("GET", "HEAD")]
        assert set(statuses) == {200, 204, 302, 404, 500}
        assert client.post("/echo", content=BLOB).content == BLOB
        assert client.post("/echo", content=iter([b"ab", b"", b"c"])).content == b"abc"
    assert rules(validator.violations) == PUBLISHED["flask"], [str(each) for each in validator.violations]


# -- Django, with Channels

SETTINGS = "frameworks.asgi_django.settings"


@pytest.fixture(scope="module")
def django() -> Iterator[httpx2.Client]:
    with tempfile.TemporaryDirectory() as directory:
        environ = {
            "DJANGO_SITE_DIR": directory,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "VALIDATED_APP": "frameworks.asgi_django.asgi:application",
        }
        with served(uvicorn, "testing.validation.asgi_probe:app", **environ) as site:
            yield site.client


def _found(client: httpx2.Client) -> Rules:
    """What was found since the last call, once no call of the app is under way."""
    answer: dict[str, Any] = {}

    def idle() -> bool:
        answer.update(client.get("/violations").json())
        return not answer["active"]

    wait_until(idle, TIMEOUT, "the end of all calls of the app")
    return {(side, rule, level) for rule, side, level, came, where in answer["violations"]}


pytestmark = pytest.mark.xdist_group("asgi frameworks under the validator")


@pytest.mark.skipif(sys.platform == "win32", reason="the server is ended by a signal")
def test_django_breaks_what_is_published(django: httpx2.Client) -> None:
    paths = ["/", "/sync/", "/sync", "/nothing/", "/go/", "/where/%C3%A9%2F%FF", "/notes/?text=x"]
    paths += ["/stream/", "/file/", "/broken/", "/whoami/"]
    statuses = {django.get(path).status_code for path in paths}
    statuses |= {
        django.head("/").status_code,
        django.post("/upload/", files={"f": ("large.bin", BLOB * 16)}).status_code,
        django.post("/body/", content=iter([BLOB, b"x"])).status_code,
        django.post("/login/", data={"name": "ada"}).status_code,
    }
    assert statuses >= {200, 302, 404, 403, 500}
    assert _found(django) == PUBLISHED["django"]


@pytest.mark.skipif(sys.platform == "win32", reason="the server is ended by a signal")
def test_websockets_of_channels_are_clean(django: httpx2.Client) -> None:
    _found(django)
    converse_with_socket(("127.0.0.1", int(django.base_url.port or 0)), "/ws/")
    assert _found(django) == PUBLISHED["channels"]


# -- test clients as servers


async def _plain(scope: Any, receive: Any, send: Any) -> None:
    """An app that keeps all rules."""
    message = await receive()
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
    else:
        while message.get("more_body"):
            message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        await receive()


def test_starlettes_test_client_breaks_what_is_published() -> None:
    validator = validated(_plain)
    with TestClient(validator) as client:
        assert client.get("/").text == "ok"
        assert client.post("/", content=b"abc").text == "ok"
        assert client.get("/a%252Fb").text == "ok"
        with client.websocket_connect("/"):
            pass
    assert rules(validator.violations) == PUBLISHED["testclient"]


def test_the_transport_of_httpx_breaks_what_is_published() -> None:
    validator = validated(_plain)

    async def main() -> None:
        transport = httpx2.ASGITransport(validator)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            assert (await client.get("/")).text == "ok"
            assert (await client.post("/", content=b"abc")).text == "ok"
            assert (await client.get("/a%252Fb?x=1")).text == "ok"

    asyncio.run(main())
    assert rules(validator.violations) == PUBLISHED["transport"]


# -- the page

_ROWS = {
    "Starlette": "starlette",
    "FastAPI": "fastapi",
    "Litestar": "litestar",
    "Quart": "quart",
    "Flask": "flask",
    "Django": "django",
    "Channels": "channels",
    "`TestClient`": "testclient",
    "`ASGITransport`": "transport",
}


def test_the_page_says_what_is_asserted_here() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## Frameworks and test clients")[2]
    rows: dict[str, set[tuple[str, str]]] = {}
    for line in text.partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = _ROWS.get(cells[0].split(" ")[0])
        if name is not None:
            found = {(rule, cells[2]) for rule in re.findall(r"`([^`]+/[^`]+)`", cells[1])}
            rows[name] = rows.get(name, set()) | found
    assert rows == {
        name: {(rule, level) for side, rule, level in found | WEBSOCKETS.get(name, set())}
        for name, found in PUBLISHED.items()
    }
