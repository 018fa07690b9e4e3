"""Both adapters around each other: what goes in comes out, and nothing waits for itself.

Hypothesis makes the requests and responses; the native app, called without any adapter, says what is
right.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drive import Exchange as ASGIExchange
from support.drive import requests, run
from support.scopes import http_scope
from support.wsgi_drive import Exchange, drive, make_environ

from bridge import ASGIToWSGI, ThreadPool, WSGIToASGI

# Long enough for the slowest example on a busy machine; examples take milliseconds.
PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
# Any bytes but what no request line can hold; a path that begins with two slashes would name a host.
PATHS = st.binary(max_size=30).map(lambda raw: b"/" + raw.lstrip(b"/"))
TEXT_PATHS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: "/" + text.lstrip("/")
)
QUERIES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="#\x7f"), max_size=30
)
TOKENS = st.from_regex(r"x(-[a-z0-9]{1,6}){1,2}", fullmatch=True)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
).map(str.strip)
HEADERS = st.dictionaries(TOKENS, VALUES, max_size=5)
BODIES = st.binary(max_size=3000)
STATUSES = st.sampled_from(
    ["200 OK", "201 Created", "404 Not Found", "418 I'm a Teapot", "503 Service Unavailable"]
)
CHUNKS = st.lists(st.binary(min_size=1, max_size=500), max_size=5)

# What the two adapters add to an environ or change in it by design.
_ADDED = ("wsgi.", "asgi.", "bridge.")
_CHANGED = {"SERVER_SOFTWARE", "GATEWAY_INTERFACE", "RAW_URI", "REQUEST_URI", "REMOTE_PORT"}


class Echo:
    """A WSGI app that notes what it is called with and answers what it is told."""

    def __init__(self, status: str = "200 OK", headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}
        self.chunks: list[bytes] = []
        self.seen: dict[str, Any] = {}
        self.body = b""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        self.seen = {
            key: value for key, value in environ.items() if not key.startswith(_ADDED) and key not in _CHANGED
        }
        self.seen["scheme"] = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(self.status, [*self.headers.items(), ("Content-Type", "text/plain")])
        return iter(self.chunks)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(4) as pool:
        yield pool


@pytest.fixture(scope="module")
def wrapped(pool: ThreadPool) -> Iterator[tuple[list[Echo], ASGIToWSGI]]:
    """WSGI in ASGI in WSGI; the app is the last of the list, so that examples share the threads."""
    current: list[Echo] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return current[-1](environ, start_response)

    with ASGIToWSGI(WSGIToASGI(app, pool=pool)) as adapter:
        yield current, adapter


@pytest.mark.req("S-20", "S-04", "S-08", "S-09")
@PROPERTY
@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES)
def test_a_request_survives_wsgi_to_asgi_to_wsgi(
    wrapped: tuple[list[Echo], ASGIToWSGI],
    method: str,
    path: bytes,
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    current, adapter = wrapped
    native, through = Echo(), Echo()

    def environ() -> dict[str, Any]:
        return make_environ(
            method,
            body=body,
            headers=headers.items(),
            PATH_INFO=path.decode("latin-1"),
            QUERY_STRING=query,
            SCRIPT_NAME="/caf\u00c3\u00a9",
            CONTENT_LENGTH=str(len(body)),
        )

    drive(native, environ(), strict=False).unwrap()
    current[:] = [through]
    drive(adapter, environ()).unwrap()
    assert through.body == native.body
    # Bytes that are no UTF-8 survive by way of raw_path.
    assert through.seen == native.seen


@pytest.mark.req("S-20")
@PROPERTY
@given(status=STATUSES, headers=HEADERS, chunks=CHUNKS)
def test_a_response_survives_wsgi_to_asgi_to_wsgi(
    wrapped: tuple[list[Echo], ASGIToWSGI], status: str, headers: dict[str, str], chunks: list[bytes]
) -> None:
    current, adapter = wrapped
    app = Echo(status, headers)
    app.chunks = chunks
    native = drive(app, strict=False).unwrap()
    current[:] = [app]
    through = drive(adapter).unwrap()
    assert (through.status, through.body) == (native.status, native.body)
    assert sorted(through.headers) == sorted((name.lower(), value) for name, value in native.headers)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that answers with what it was called with."""
    body: bytes = b""
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        more = message.get("more_body", False)
    seen = {key: scope[key] for key in ("method", "path", "root_path", "query_string", "scheme", "raw_path")}
    headers = sorted((name, value) for name, value in scope["headers"] if name != b"content-length")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send(
        {"type": "http.response.body", "body": repr((seen, headers, body)).encode(), "more_body": False}
    )


@pytest.fixture(scope="module")
def asgi_wrapped(pool: ThreadPool) -> Iterator[WSGIToASGI]:
    """ASGI in WSGI in ASGI."""
    with ASGIToWSGI(echo) as adapter:
        yield WSGIToASGI(adapter, pool=pool)


@pytest.mark.req("S-20")
@PROPERTY
@given(
    method=METHODS,
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
        lambda text: "/" + text.lstrip("/")
    ),
    query=st.binary(max_size=30).map(lambda raw: raw.replace(b"#", b"")),
    headers=HEADERS,
    body=BODIES,
)
def test_a_request_survives_asgi_to_wsgi_to_asgi(
    asgi_wrapped: WSGIToASGI, method: str, path: str, query: bytes, headers: dict[str, str], body: bytes
) -> None:
    def answer(app: Any) -> tuple[int | None, bytes]:
        scope = http_scope(
            method=method,
            path="/root" + path,
            raw_path=quote("/root" + path, safe="/!$&'()*+,;=:@~").encode(),
            root_path="/root",
            query_string=query,
            headers=[
                (b"host", b"example.org"),
                *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
                (b"content-length", b"%d" % len(body)),
            ],
        )
        exchange = ASGIExchange(app, scope, requests(body))
        run(exchange.go)
        assert exchange.error is None
        return exchange.status, exchange.body

    assert answer(asgi_wrapped) == answer(echo)


def test_four_deep_with_pools_of_one_thread_does_not_deadlock() -> None:
    calls: list[int] = []

    async def innermost(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        calls.append(threading.get_ident())
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"deep", "more_body": False})

    first = ASGIToWSGI(innermost)
    second = WSGIToASGI(first, threads=1)
    third = ASGIToWSGI(second)
    fourth = WSGIToASGI(third, threads=1)
    with first, third, ASGIToWSGI(fourth) as outermost:
        exchanges = [Exchange(outermost) for _ in range(8)]
        try:
            pending = [exchange.call_soon() for exchange in exchanges]
            for call in pending:
                call.result()
            assert [exchange.rest() for exchange in exchanges] == [b"deep"] * 8
        finally:
            for exchange in exchanges:
                exchange.close()
        # One loop for all of them.
        assert len(set(calls)) == 1
        assert len(calls) == 8
