"""bridge.compat: the signatures of a2wsgi and asgiref, and what each of their options comes to."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import threading
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import a2wsgi
import asgiref.sync
import asgiref.wsgi
import pytest
from support.drive import TIMEOUT, Exchange, Step, poll, run, serve, together
from support.scopes import http_scope, lifespan_scope
from support.wsgi_apps import answer, returning

from bridge import WSGIToASGI
from bridge.compat import SEND_QUEUE_UNIT, WSGIMiddleware, WsgiToAsgi
from bridge.exceptions import UsageError

Adapter = TypeVar("Adapter", bound=WSGIToASGI)


class Keep(Protocol):
    """Gives back an adapter whose threads end with the test."""

    def __call__(self, adapter: Adapter) -> Adapter: ...


@pytest.fixture
def keep() -> Iterator[Keep]:
    kept: list[WSGIToASGI] = []

    def keep(adapter: Adapter) -> Adapter:
        kept.append(adapter)
        return adapter

    yield keep
    for adapter in kept:
        assert adapter.pool.drain(TIMEOUT)


THEIRS_AND_OURS: list[tuple[Any, Any]] = [
    (a2wsgi.WSGIMiddleware, WSGIMiddleware),
    (asgiref.wsgi.WsgiToAsgi, WsgiToAsgi),
]


@pytest.mark.parametrize(("theirs", "ours"), THEIRS_AND_OURS, ids=["a2wsgi", "asgiref"])
def test_the_signature_is_that_of_the_original(theirs: Any, ours: Any) -> None:
    def shape(cls: Any) -> list[tuple[str, Any, Any]]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(cls).parameters.values()]

    assert shape(ours) == shape(theirs)


def test_the_signature_takes_what_uvicorns_takes() -> None:
    uvicorns: Any = importlib.import_module("uvicorn.middleware.wsgi").WSGIMiddleware
    for name, parameter in inspect.signature(uvicorns).parameters.items():
        assert inspect.signature(WSGIMiddleware).parameters[name].default == parameter.default


@pytest.mark.parametrize("cls", [WSGIMiddleware, WsgiToAsgi])
def test_both_are_the_adapter(cls: Any, keep: Keep) -> None:
    app = answer(b"hello", headers=[("X-A", "b")])
    adapter = keep(cls(app))
    assert isinstance(adapter, WSGIToASGI)
    assert adapter.app is app
    exchange = serve(adapter)
    assert (exchange.status, exchange.body, exchange.header(b"x-a")) == (200, b"hello", b"b")
    messages: list[Step] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    exchange = serve(adapter, lifespan_scope(), messages)
    assert [message["type"] for message in exchange.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


# --- a2wsgi


def test_workers_is_the_number_of_threads() -> None:
    assert WSGIMiddleware(answer(b"")).pool.threads == 10
    assert WSGIMiddleware(answer(b""), workers=3).pool.threads == 3
    assert WSGIMiddleware(answer(b""), 4, 5).pool.threads == 4
    with pytest.raises(UsageError):
        WSGIMiddleware(answer(b""), workers=0)


@pytest.mark.parametrize("size", [1, 3])
def test_send_queue_size_bounds_what_waits_for_the_client(size: int, keep: Keep) -> None:
    """In units of 64 KiB: so many and the one that is too much are asked for while the client stalls."""
    pulled = 0

    def body(environ: dict[str, Any]) -> Iterator[bytes]:
        nonlocal pulled
        for _ in range(20):
            pulled += 1
            yield b"x" * SEND_QUEUE_UNIT

    adapter = keep(WSGIMiddleware(returning(body), send_queue_size=size))
    assert adapter.send_queue_size == size

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1 and pulled > size)
        await asyncio.sleep(0.05)  # more would be pulled now
        assert pulled == size + 1
        exchange.release()

    exchange = serve(adapter, beside=beside).unwrap()
    assert len(exchange.body) == 20 * SEND_QUEUE_UNIT


@pytest.mark.parametrize("size", [0, -1])
def test_an_unlimited_send_queue_is_refused(size: int) -> None:
    """a2wsgi takes 0 for no limit at all; that must not silently become something else."""
    with pytest.raises(UsageError, match="send_queue_size"):
        WSGIMiddleware(answer(b""), send_queue_size=size)


def test_the_script_name_of_the_process_is_not_taken(monkeypatch: pytest.MonkeyPatch, keep: Keep) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/from-the-environment")
    app = keep(WSGIMiddleware(returning(lambda environ: [environ["SCRIPT_NAME"].encode()])))
    assert serve(app, http_scope(root_path="/root", path="/root/x")).body == b"/root"


# --- asgiref


def test_the_attributes_have_asgirefs_names() -> None:
    app = answer(b"")
    adapter = WsgiToAsgi(app, 7)
    assert (adapter.wsgi_application, adapter.duplicate_header_limit) == (app, 7)
    assert WsgiToAsgi(wsgi_application=app, duplicate_header_limit=0).duplicate_header_limit == 0


def headers(*names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, b"%d" % number) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("limit", "given", "status"),
    [
        pytest.param(2, headers(b"x", b"x"), 200, id="as many as allowed"),
        pytest.param(2, headers(b"x", b"x", b"x"), 400, id="one more"),
        pytest.param(2, headers(b"x", b"y", b"z", b"x"), 200, id="many different ones"),
        pytest.param(2, headers(b"x-a", b"X-A", b"x_a"), 400, id="one name in the environ"),
        pytest.param(2, headers(b"cookie", b"cookie", b"cookie"), 400, id="cookies too"),
        pytest.param(100, headers(*[b"x"] * 100), 200, id="asgiref's default"),
        pytest.param(100, headers(*[b"x"] * 101), 400, id="above asgiref's default"),
        pytest.param(0, headers(*[b"x"] * 500), 200, id="0 is no limit"),
        pytest.param(None, headers(*[b"x"] * 500), 200, id="None is no limit"),
        pytest.param(2, [], 200, id="no headers"),
    ],
)
def test_too_many_of_one_header_is_a_bad_request(
    limit: int | None, given: list[tuple[bytes, bytes]], status: int, keep: Keep
) -> None:
    """The answers are those of the original, which the same request is put to."""
    calls = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ)
        start_response("200 OK", [])
        return [b""]

    exchange = serve(keep(WsgiToAsgi(app, limit)), http_scope(headers=given))
    assert exchange.status == status
    assert len(calls) == (status == 200)
    original: Any = asgiref.wsgi.WsgiToAsgi
    assert status_of(original(app, limit), http_scope(headers=given)) == status


def status_of(app: Any, scope: dict[str, Any]) -> int:
    """The status that an adapter sends which keeps fewer rules than `serve` demands."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def go() -> None:
        # Without it, asgiref keeps its thread until the process ends.
        async with asgiref.sync.ThreadSensitiveContext():
            await app(scope, receive, send)

    asyncio.run(go())
    return int(sent[0]["status"])


def test_requests_run_at_a_time(keep: Keep) -> None:
    """asgiref has one thread for all requests; two that wait for each other would never end there."""
    barrier = threading.Barrier(2)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        barrier.wait(TIMEOUT)
        start_response("200 OK", [])
        return [b""]

    adapter = keep(WsgiToAsgi(app))
    pair = [Exchange(adapter), Exchange(adapter)]

    async def both() -> None:
        await together(pair[0].go, pair[1].go)

    run(both)
    assert [exchange.unwrap().status for exchange in pair] == [200, 200]
