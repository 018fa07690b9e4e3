"""asgiref's async_to_sync in a worker: on the server's own loop, with the contexts that it expects."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from support.drive import Exchange, Signal, post, requests, run, serve, together
from support.wsgi_apps import Adapt

from bridge.engines import asgiref_notes

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
on_asyncio = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def calling(function: Any) -> Any:
    """An app whose answer is `function(environ)`."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        result = str(function(environ)).encode()
        start_response("200 OK", [])
        return [result]

    return app


async def where() -> tuple[Any, int]:
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), threading.get_ident()


@on_asyncio
def test_async_to_sync_runs_on_the_servers_loop(adapt: Adapt, loop: str) -> None:
    """Not on a new one in a new thread."""
    seen: list[tuple[Any, int]] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)())))

    async def main() -> None:
        (await Exchange(adapter).go()).unwrap()
        assert seen == [(asyncio.get_running_loop(), threading.get_ident())]

    run(main, loop)


@on_asyncio
def test_that_holds_in_generators_and_close(adapt: Adapt, loop: str) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            for _ in range(2):
                seen.append(async_to_sync(where)()[0])
                yield b"x"
        finally:
            seen.append(async_to_sync(where)()[0])

    adapter = adapt(app)

    async def main() -> None:
        (await Exchange(adapter).go()).unwrap()
        assert seen == [asyncio.get_running_loop()] * 3

    run(main, loop)


@on_asyncio
def test_each_loop_in_turn_is_the_one_that_is_used(adapt: Adapt, loop: str) -> None:
    """A worker that has served a loop that is gone does not wait for it."""
    seen: list[Any] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)()[0])), threads=1)
    loops: list[Any] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        (await Exchange(adapter).go()).unwrap()

    for _ in range(3):
        run(main, loop)
        run(main, "asyncio")
    assert seen == loops


def test_under_trio_async_to_sync_has_an_asyncio_loop_of_its_own(adapt: Adapt) -> None:
    """Also after the worker has served an asyncio loop."""
    seen: list[Any] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)())), threads=1)
    for loop in ("trio", "asyncio", "trio"):
        serve(adapter, loop=loop).unwrap()
    assert len(seen) == 3
    assert len({id(found) for found, _ in seen}) == 3


def test_objects_of_the_loop_can_be_used_across_requests(adapt: Adapt) -> None:
    """As an `AsyncClient` or a pool of database connections: bound to the loop at first use."""
    lock = asyncio.Lock()

    async def use() -> str:
        async with lock:
            await asyncio.sleep(0)
            return "used"

    adapter = adapt(calling(lambda environ: async_to_sync(use)()))

    async def main() -> None:
        exchanges = [Exchange(adapter) for _ in range(10)]
        await together(*(exchange.go for exchange in exchanges))
        assert {exchange.unwrap().body for exchange in exchanges} == {b"used"}

    run(main)


def test_an_error_of_the_coroutine_comes_out(adapt: Adapt, loop: str) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("inside")

    done = serve(adapt(calling(lambda environ: async_to_sync(fails)())), loop=loop)
    assert isinstance(done.error, LookupError)


def test_the_loop_serves_others_while_the_coroutine_waits(adapt: Adapt) -> None:
    async def waits() -> str:
        await goes_on.come()
        return "done"

    goes_on = Signal()
    slow = Exchange(adapt(calling(lambda environ: async_to_sync(waits)())))
    quick = Exchange(adapt(calling(lambda environ: "quick")))

    async def client() -> None:
        assert (await quick.go()).unwrap().body == b"quick"
        goes_on.set()

    async def main() -> None:
        await together(slow.go, client)

    run(main)
    assert slow.unwrap().body == b"done"


def test_sync_to_async_inside_comes_back_to_the_workers_thread(adapt: Adapt) -> None:
    """asgiref's rule for thread-sensitive code: Django's ORM relies on it."""
    threads: list[int] = []

    async def mixed() -> None:
        threads.append(await sync_to_async(threading.get_ident)())

    def call(environ: Any) -> None:
        threads.append(threading.get_ident())
        async_to_sync(mixed)()

    serve(adapt(calling(call))).unwrap()
    assert threads[0] == threads[1]


def test_context_variables_go_in_and_out(adapt: Adapt, loop: str) -> None:
    """From ASGI middleware into a coroutine of the app, and from there to the middleware again."""

    async def coroutine() -> str:
        found = variable.get()
        variable.set("by the coroutine")
        return found

    adapter = adapt(calling(lambda environ: async_to_sync(coroutine)()))

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        variable.set("by middleware")
        await adapter(scope, receive, send)
        assert variable.get() == "by the coroutine"

    assert serve(middleware, loop=loop).unwrap().body == b"by middleware"


def test_an_asgiref_local_is_the_same_in_the_app_and_its_coroutines(adapt: Adapt, loop: str) -> None:
    """Django keeps the active language and much else in one."""
    local = Local()

    async def coroutine() -> str:
        found: str = local.value
        local.value = "by the coroutine"
        return found

    def call(environ: Any) -> str:
        local.value = "by the app"
        return f"{async_to_sync(coroutine)()}, {local.value}"

    done = serve(adapt(calling(call)), loop=loop).unwrap()
    assert done.body == b"by the app, by the coroutine"


def test_an_asgiref_local_does_not_leak_into_the_next_request(adapt: Adapt, loop: str) -> None:
    """Even in the same worker thread."""
    local = Local()

    def call(environ: Any) -> str:
        found: str = getattr(local, "value", "none")
        local.value = "leaked"
        return found

    adapter = adapt(calling(call), threads=1)
    assert [serve(adapter, loop=loop).unwrap().body for _ in range(2)] == [b"none"] * 2


def test_a_body_can_be_read_inside_a_coroutine_of_the_loop_only_when_it_is_there(adapt: Adapt) -> None:
    """The usual case: the body is in the pre-buffer, so reading it does not wait for the loop."""

    def call(environ: Any) -> str:
        async def read() -> bytes:
            data: bytes = environ["wsgi.input"].read()
            return data

        return async_to_sync(read)().decode()

    assert serve(adapt(calling(call)), post(), requests(b"a", b"b")).unwrap().body == b"ab"


def test_the_note_is_what_asgiref_reads_and_for_one_thread() -> None:
    asgiref_notes.prepare()
    found: list[Any] = []

    def probe() -> None:
        for loop in ("first", "second", None):
            asgiref_notes.enter(loop)
            noted = SyncToAsync.threadlocal
            found.append((noted.main_event_loop, noted.main_event_loop_pid))

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    assert found == [("first", os.getpid()), ("second", os.getpid()), (None, os.getpid())]
    assert getattr(SyncToAsync.threadlocal, "main_event_loop", "absent") not in ("first", "second")
