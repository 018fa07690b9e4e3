"""Blocking code of an ASGI app behind `ASGIToWSGI`: one thread for a request, however it gets there."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asgiref.sync
import pytest
from support.engines import PATIENCE, Thread, eventually

from bridge import ASGIToWSGI
from bridge.engines import call_thread
from bridge.shim.to_async import sync_to_async
from bridge.shim.to_sync import async_to_sync

both = pytest.mark.parametrize(
    ("to_async", "to_sync"),
    [
        (sync_to_async, async_to_sync),
        (asgiref.sync.sync_to_async, asgiref.sync.async_to_sync),
        (sync_to_async, asgiref.sync.async_to_sync),
        (asgiref.sync.sync_to_async, async_to_sync),
    ],
    ids=["ours", "asgirefs", "ours and asgirefs", "asgirefs and ours"],
)

View = Callable[[Any, Any], Awaitable[object]]


def answering(view: View) -> Any:
    """An app whose answer is what `view(receive, send)` returns."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = str(await view(receive, send)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture
def wsgi() -> Iterator[Callable[[Any], ASGIToWSGI]]:
    """Wraps ASGI apps on a loop of their own, and closes the adapters."""
    made = []

    def wrap(app: Any) -> ASGIToWSGI:
        adapter = ASGIToWSGI(app, lifespan="off", loop_factory=lambda: asyncio.new_event_loop())
        made.append(adapter)
        return adapter

    yield wrap
    for adapter in made:
        adapter.close()


def get(app: ASGIToWSGI, body: io.BufferedIOBase | None = None, length: int = 0) -> str:
    """The body of the response to one request."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST" if length else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": body or io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    if length:
        environ["CONTENT_LENGTH"] = str(length)
    status = []
    chunks = app(environ, lambda line, *_: status.append(line))
    try:
        answer = b"".join(chunks).decode()
    finally:
        getattr(chunks, "close", lambda: None)()
    assert status == ["200 OK"], (status, answer)
    return answer


@both
def test_the_calls_of_a_request_share_a_thread_that_is_not_the_servers(
    wsgi: Any, to_async: Any, to_sync: Any
) -> None:
    """The server's own has to fetch the body and to send, whatever the app does meanwhile."""

    async def view(receive: Any, send: Any) -> object:
        found = {await to_async(threading.get_ident)() for _ in range(3)}
        found |= set(await asyncio.gather(*(to_async(threading.get_ident)() for _ in range(3))))

        def nested() -> None:
            found.add(threading.get_ident())
            found.add(to_sync(to_async(threading.get_ident))())

        await to_async(nested)()
        return f"{len(found)} {threading.get_ident() in found} {server in found}"

    server = threading.get_ident()
    assert get(wsgi(answering(view))) == "1 False False"


@both
def test_two_requests_run_at_a_time(wsgi: Any, to_async: Any, to_sync: Any) -> None:
    barrier = threading.Barrier(2)

    async def view(receive: Any, send: Any) -> object:
        await to_async(barrier.wait)(PATIENCE)
        return await to_async(threading.get_ident)()

    app = wsgi(answering(view))
    threads = [Thread(lambda: get(app)) for _ in range(2)]
    assert len({thread.outcome() for thread in threads}) == 2


def test_threads_are_kept_from_request_to_request(wsgi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the app keeps for each: as many threads as requests at a time, not as many as requests."""

    async def view(receive: Any, send: Any) -> object:
        return await sync_to_async(threading.get_ident)()

    monkeypatch.setattr(call_thread, "_idle_of", {})  # without those of other tests
    before = set(threading.enumerate())

    def all_idle() -> bool:
        mine = [found for found in set(threading.enumerate()) - before if found.name == "bridge-call"]
        return len(mine) == len(call_thread._idle())

    app = wsgi(answering(view))
    seen = set()
    for _ in range(20):
        eventually(all_idle, "the thread of the last request is given back")
        seen.add(get(app))
    assert len(seen) == 1


def app_calls(app: ASGIToWSGI) -> set[Any]:
    runtime = app._runtime
    return set() if runtime is None else runtime.calls


@both
def test_a_blocking_function_may_wait_for_the_body(wsgi: Any, to_async: Any, to_sync: Any) -> None:
    """It is the server's thread that fetches it, and so must not be the one that waits."""

    async def view(receive: Any, send: Any) -> object:
        def blocking() -> int:
            return int(to_sync(read)())

        async def read() -> int:
            size, more = 0, True
            while more:
                message = await receive()
                size += len(message["body"])
                more = message["more_body"]
            return size

        return await to_async(blocking)()

    size = 1 << 20
    assert get(wsgi(answering(view)), io.BytesIO(bytes(size)), size) == str(size)


@both
def test_a_blocking_function_may_wait_for_a_slow_response(wsgi: Any, to_async: Any, to_sync: Any) -> None:
    """Beyond what is written ahead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def write() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(64):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        await to_async(to_sync(write))()

    assert len(get(wsgi(app))) == 64 * 65536


@both
def test_work_after_the_response_is_in_the_same_thread(wsgi: Any, to_async: Any, to_sync: Any) -> None:
    """As Django's `request_finished`, which gives connections back."""
    seen: list[int] = []
    done = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await to_async(threading.get_ident)())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        seen.append(await to_async(threading.get_ident)())
        done.set()

    get(wsgi(app))
    assert done.wait(PATIENCE)
    assert len(set(seen)) == 1


@both
def test_a_task_that_outlives_the_request_goes_to_the_shared_thread(
    wsgi: Any, to_async: Any, to_sync: Any
) -> None:
    goes_on = threading.Event()
    seen: list[int] = []
    done = threading.Event()
    tasks = []

    async def later() -> None:
        await asyncio.to_thread(goes_on.wait, PATIENCE)
        seen.append(await to_async(threading.get_ident)())
        done.set()

    async def view(receive: Any, send: Any) -> object:
        tasks.append(asyncio.create_task(later()))
        return await to_async(threading.get_ident)()

    app = wsgi(answering(view))
    own = get(app)
    eventually(lambda: not app_calls(app), "the request is over")
    goes_on.set()
    assert done.wait(PATIENCE)
    assert str(seen[0]) != own
    assert asyncio.run(asgiref.sync.sync_to_async(threading.get_ident)()) == seen[0]


def test_an_app_without_blocking_code_has_no_such_thread(wsgi: Any) -> None:
    async def view(receive: Any, send: Any) -> object:
        return ""

    before = {thread for thread in threading.enumerate() if thread.name == "bridge-call"}
    get(wsgi(answering(view)))
    assert {thread for thread in threading.enumerate() if thread.name == "bridge-call"} <= before
