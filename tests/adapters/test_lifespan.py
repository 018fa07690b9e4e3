"""Lifespan answered for a WSGI app: hooks, the release of the pool, and servers that have none."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import Any

import pytest
from support.drive import Exchange, Signal, checkpoint, poll, run, serve, together
from support.scopes import http_scope, lifespan_scope
from support.wsgi_apps import Adapt, Environs, answer

from bridge import ThreadPool
from bridge.exceptions import ServerError

STARTUP = {"type": "lifespan.startup"}
SHUTDOWN = {"type": "lifespan.shutdown"}
STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


class Boom(Exception):
    """What the hooks of these tests raise."""


@pytest.mark.req("L-01")
def test_startup_and_shutdown_are_answered(adapt: Adapt, loop: str) -> None:
    """And the app, which knows nothing of them, is not called; then the call returns."""
    app = Environs()
    done = serve(adapt(app), lifespan_scope(), [STARTUP, SHUTDOWN], loop=loop).unwrap()
    assert done.sent == [STARTED, STOPPED]
    assert app.seen == []


@pytest.mark.req("L-01")
def test_shutdown_is_not_answered_before_it_is_asked_for(adapt: Adapt, loop: str) -> None:
    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(2)
        for _ in range(20):
            await checkpoint()
        assert exchange.sent == [STARTED]
        exchange.feed(SHUTDOWN)

    done = serve(adapt(answer()), lifespan_scope(), [STARTUP], loop=loop, beside=beside).unwrap()
    assert done.sent == [STARTED, STOPPED]


@pytest.mark.req("L-01")
def test_a_lifespan_that_begins_wrongly_is_the_servers_error(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(answer()), lifespan_scope(), [SHUTDOWN], loop=loop)
    assert isinstance(done.error, ServerError)
    done = serve(adapt(answer()), lifespan_scope(), [STARTUP, STARTUP], loop=loop)
    assert isinstance(done.error, ServerError)


@pytest.mark.req("L-01")
def test_a_lifespan_may_be_cancelled(adapt: Adapt, loop: str) -> None:
    """As servers do at exit."""

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(2)
        exchange.cancel()

    done = serve(adapt(answer()), lifespan_scope(), [STARTUP], loop=loop, beside=beside)
    assert done.cancelled
    assert done.sent == [STARTED]


class Held:
    """An app that waits until it is released."""

    def __init__(self) -> None:
        self.entered = Signal()
        self.released = Signal()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.entered.set()
        self.released.wait()
        start_response("200 OK", [])
        return [b"late"]


@pytest.mark.req("L-01")
def test_shutdown_waits_for_running_requests_and_lets_the_threads_end(adapt: Adapt, loop: str) -> None:
    app = Held()
    adapter = adapt(app)
    request = Exchange(adapter)
    lifespan = Exchange(adapter, lifespan_scope(), [STARTUP, app.entered, SHUTDOWN])
    before = set(threading.enumerate())

    async def client() -> None:
        await app.entered.come()
        await lifespan.receiving(2)
        for _ in range(20):
            await checkpoint()
        assert lifespan.sent == [STARTED]
        app.released.set()

    async def main() -> None:
        await together(request.go, lifespan.go, client)
        assert adapter.pool.stats().threads == 0
        await poll(lambda: set(threading.enumerate()) <= before)

    run(main, loop)
    assert lifespan.unwrap().sent == [STARTED, STOPPED]
    assert request.unwrap().body == b"late"


@pytest.mark.req("L-01")
def test_shutdown_does_not_hang_on_a_stuck_worker(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says which requests it leaves behind, and escapes their paths."""
    app = Held()
    adapter = adapt(app, shutdown_timeout=0.05)
    request = Exchange(adapter, http_scope(path="/stuck\n"))
    lifespan = Exchange(adapter, lifespan_scope(), [STARTUP, app.entered, SHUTDOWN])

    async def stop() -> None:
        await lifespan.go()
        app.released.set()

    async def main() -> None:
        await together(request.go, stop)

    run(main, loop)
    assert lifespan.unwrap().sent == [STARTED, STOPPED]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "GET '/stuck\\n'" in record.getMessage()


@pytest.mark.req("L-01")
def test_a_shared_pool_is_not_waited_for(adapt: Adapt, loop: str) -> None:
    """Others use it."""
    app = Held()
    pool = ThreadPool(2)
    other, adapter = adapt(app, pool=pool), adapt(answer(), pool=pool, shutdown_timeout=None)
    request = Exchange(other)
    lifespan = Exchange(adapter, lifespan_scope(), [STARTUP, app.entered, SHUTDOWN])

    async def stop() -> None:
        await lifespan.go()
        assert not app.released.is_set
        app.released.set()

    async def main() -> None:
        await together(request.go, stop)

    run(main, loop)
    assert lifespan.unwrap().sent == [STARTED, STOPPED]


@pytest.mark.req("L-01")
def test_requests_are_served_after_a_shutdown(adapt: Adapt, loop: str) -> None:
    """One adapter may live through several lifespans, as in test suites."""
    adapter = adapt(answer(b"x"))
    for _ in range(2):
        assert serve(adapter, lifespan_scope(), [STARTUP, SHUTDOWN], loop=loop).unwrap().sent[-1] == STOPPED
        assert serve(adapter, loop=loop).unwrap().body == b"x"


@pytest.mark.req("L-03")
def test_requests_are_served_without_a_lifespan(adapt: Adapt, loop: str) -> None:
    """Daphne has none, nor have many test clients. Then the hooks do not run either."""
    calls: list[str] = []
    adapter = adapt(answer(b"x"), on_startup=[lambda: calls.append("startup")])
    assert serve(adapter, loop=loop).unwrap().body == b"x"
    assert calls == []


# -- hooks


@pytest.mark.req("L-02")
def test_hooks_run_in_order_in_a_worker_or_on_the_loop(adapt: Adapt, loop: str) -> None:
    calls: list[tuple[str, bool]] = []
    loop_thread = threading.get_ident()

    def note(name: str) -> None:
        calls.append((name, threading.get_ident() == loop_thread))

    async def anote(name: str) -> None:
        await checkpoint()
        note(name)

    class Hook:
        async def __call__(self) -> None:
            await anote("object")

    async def start() -> None:
        await anote("coroutine function")

    adapter = adapt(
        answer(),
        on_startup=[lambda: note("function"), start, Hook(), functools.partial(anote, "partial")],
        on_shutdown=(functools.partial(note, "down"), functools.partial(anote, "adown")),
    )
    done = serve(adapter, lifespan_scope(), [STARTUP, SHUTDOWN], loop=loop).unwrap()
    assert done.sent == [STARTED, STOPPED]
    assert calls == [
        ("function", False),
        ("coroutine function", True),
        ("object", True),
        ("partial", True),
        ("down", False),
        ("adown", True),
    ]


@pytest.mark.req("L-02")
def test_no_request_is_promised_before_the_hooks_have_run(adapt: Adapt, loop: str) -> None:
    called, goes_on = Signal(), Signal()

    def hook() -> None:
        called.set()
        goes_on.wait()

    async def beside(exchange: Exchange) -> None:
        await called.come()
        for _ in range(20):
            await checkpoint()
        assert exchange.sent == []
        goes_on.set()

    adapter = adapt(answer(), on_startup=[hook])
    done = serve(adapter, lifespan_scope(), [STARTUP, SHUTDOWN], loop=loop, beside=beside).unwrap()
    assert done.sent == [STARTED, STOPPED]


def fail() -> None:
    raise Boom("no database")


async def afail() -> None:
    raise Boom("no database")


@pytest.mark.req("L-02")
@pytest.mark.parametrize("hook", [fail, afail])
def test_a_failing_startup_hook_fails_the_startup(
    adapt: Adapt, loop: str, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With a message; what comes after it is not called, and shutdown is not waited for."""
    calls: list[str] = []
    adapter = adapt(answer(), on_startup=[hook, lambda: calls.append("later")])
    done = serve(adapter, lifespan_scope(), [STARTUP], loop=loop).unwrap()
    assert done.sent == [{"type": "lifespan.startup.failed", "message": "Boom: no database"}]
    assert done.receives == 1
    assert calls == []
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [Boom]


@pytest.mark.req("L-02")
@pytest.mark.parametrize("hook", [fail, afail])
def test_a_failing_shutdown_hook_fails_the_shutdown_after_all_were_called(
    adapt: Adapt, loop: str, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    adapter = adapt(answer(), on_shutdown=[hook, lambda: calls.append("later")])
    done = serve(adapter, lifespan_scope(), [STARTUP, SHUTDOWN], loop=loop).unwrap()
    assert done.sent == [STARTED, {"type": "lifespan.shutdown.failed", "message": "Boom: no database"}]
    assert calls == ["later"]
    assert adapter.pool.stats().threads == 0
    assert len(caplog.records) == 1


@pytest.mark.req("L-02", "W-28")
def test_a_hook_that_raises_stop_iteration_fails_the_startup(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not leave the lifespan waiting."""

    def hook() -> None:
        next(iter([]))

    done = serve(adapt(answer(), on_startup=[hook]), lifespan_scope(), [STARTUP], loop=loop).unwrap()
    assert [message["type"] for message in done.sent] == ["lifespan.startup.failed"]


@pytest.mark.req("L-02")
def test_a_hook_in_a_worker_may_call_coroutines_by_asgiref(adapt: Adapt) -> None:
    """On the server's loop, as requests do: what it opens there can be used by them."""
    from asgiref.sync import async_to_sync

    loops: list[Any] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        async_to_sync(note)()
        start_response("200 OK", [])
        return []

    adapter = adapt(app, on_startup=[async_to_sync(note)], on_shutdown=[lambda: async_to_sync(note)()])
    served = Signal()
    lifespan = Exchange(adapter, lifespan_scope(), [STARTUP, served, SHUTDOWN])

    async def client() -> None:
        await lifespan.sending(1)
        (await Exchange(adapter).go()).unwrap()
        served.set()

    async def main() -> None:
        await together(lifespan.go, client)
        assert loops == [asyncio.get_running_loop()] * 3

    run(main)
    lifespan.unwrap()
