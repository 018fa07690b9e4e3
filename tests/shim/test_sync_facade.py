"""Sync facades as a whole: loops, real objects, and what they can be made of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest
from support.drive import run
from support.engines import PATIENCE, Thread, script
from support.shim_service import Service, Session

from bridge import sync_to_async
from bridge.engines.loop_thread import LoopThread
from bridge.engines.running import running_port
from bridge.exceptions import UsageError, WouldDeadlock
from bridge.shim import persistent
from bridge.shim.async_facade import async_facade
from bridge.shim.sync_facade import sync_facade

pytestmark = pytest.mark.usefixtures("single")


# -- loops


def test_one_facade_stays_on_one_loop_whichever_thread_uses_it() -> None:
    """Also where async_to_sync would choose another one: connections live where they were made."""
    facade = sync_facade(Service())
    kept = facade.plain()[0]

    async def main() -> None:
        for thread_sensitive in (True, False):
            found = await sync_to_async(facade.plain, thread_sensitive=thread_sensitive)()
            assert found[0] is kept
        assert asyncio.get_running_loop() is not kept

    asyncio.run(main())
    assert Thread(facade.plain).outcome()[0] is kept


def test_a_facade_that_is_first_used_in_a_bridged_thread_uses_that_loop(loop: str) -> None:
    class Where:
        async def port(self) -> Any:
            return running_port()

    facade = sync_facade(Where())

    async def main() -> None:
        port = await sync_to_async(facade.port, thread_sensitive=False)()
        assert port.is_current()

    run(main, loop)
    run(main, loop)  # the first loop is gone, so the facade goes to the next one


def test_a_loop_may_be_chosen() -> None:
    def factory() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    try:
        found = sync_facade(Service(), loop_factory=factory).plain()[0]
        assert found is persistent.persistent_loop(factory).port.loop
    finally:
        thread: LoopThread | None = persistent._threads.pop(factory, None)
        if thread is not None:
            thread.release()
            assert thread.join(PATIENCE)


USES: dict[str, Callable[[Any], object]] = {
    "method": lambda facade: facade.get("a"),
    "plain method": lambda facade: facade.plain(),
    "property": lambda facade: facade.level,
    "iteration": lambda facade: next(facade.rows()),
    "with": lambda facade: facade.transaction().__enter__(),
    "len": len,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_refused_where_a_loop_runs(use: Callable[[Any], object], facade: Any, loop: str) -> None:
    facade.get("a")

    async def main() -> None:
        with pytest.raises(WouldDeadlock):
            use(facade)

    run(main, loop)


# -- real objects


def test_a_facade_of_an_async_facade_is_the_blocking_object_again() -> None:
    """As in a migration: what still blocks gets what is async already by way of a facade."""

    class Repository:
        def __init__(self) -> None:
            self.closed = False

        def get(self, number: int) -> int:
            return number * 2

        def rows(self) -> Iterator[int]:
            yield from range(3)

        async def fetch(self, number: int) -> int:
            return number

        @contextmanager
        def transaction(self) -> Iterator[int]:
            yield threading.get_ident()
            self.closed = True

    repository = Repository()
    facade = sync_facade(async_facade(repository))
    assert (facade.get(2), facade.fetch(3)) == (4, 3)
    assert list(facade.rows()) == [0, 1, 2]
    with facade.transaction() as ident:
        assert ident != threading.get_ident()
    assert repository.closed


def test_a_queue_of_asyncio_works_between_threads() -> None:
    queue = sync_facade(asyncio.Queue(maxsize=2))
    got: list[int] = []
    reader = Thread(lambda: got.extend(queue.get() for _ in range(10)))
    for number in range(10):
        queue.put(number)
    reader.outcome()
    assert got == list(range(10))
    assert (queue.qsize(), queue.empty(), queue.maxsize) == (0, True, 2)
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)


async def asgi_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_an_http_client_keeps_its_session_between_calls() -> None:
    httpx2 = pytest.importorskip("httpx2")
    client = sync_facade(
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asgi_app), base_url="http://testserver")
    )
    with client as same:
        assert same is client
        for path in ("/one", "/two"):
            response = client.get(path)
            assert type(response) is httpx2.Response
            assert response.text == f"012{path}"
        client.headers["x-own"] = "1"
        assert client.headers["x-own"] == "1"
        with client.stream("GET", "/stream") as streamed:
            assert streamed.status_code == 200
            assert b"".join(streamed.aiter_bytes()) == b"012/stream"
        with client.stream("GET", "/stream") as streamed:
            next(streamed.aiter_bytes())
        assert streamed.is_closed
    assert client.is_closed


def test_ctrl_c_ends_a_call_that_waits() -> None:
    out = script(
        """
import asyncio, os, signal
from bridge.shim import loop_call
from bridge.shim.sync_facade import sync_facade
loop_call._CANCEL_GRACE = 20.0  # however busy the machine is

class Slow:
    async def wait(self):
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)

    async def __aenter__(self):
        return 1

    async def __aexit__(self, *raised):
        print("left", raised[0].__name__, flush=True)

slow = sync_facade(Slow())
try:
    with slow:
        slow.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    )
    assert out.split("\n")[:3] == ["cancelled", "left KeyboardInterrupt", "interrupted"]


# -- what it is given


class Repository(Protocol):
    """What blocking code knows."""

    retries: int

    def get(self, key: str, *, default: int = 0) -> int: ...

    def rows(self, count: int = 3) -> Iterator[int]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[int]: ...


def test_a_protocol_is_checked(service: Service) -> None:
    repository = sync_facade(service, Repository)
    assert repository.get("a") == 1
    assert list(repository.rows(1)) == [0]
    assert len(repository) == 1


class Differs(Protocol):
    def get(self, key: str, other: int) -> int: ...

    def put(self, key: str) -> None: ...


class StillAsync(Protocol):
    async def get(self, key: str) -> int: ...


class AsyncWith(Protocol):
    async def __aenter__(self) -> Any: ...


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Differs, r"(?s)get.*put: the object has no such method"),
        (StillAsync, "write `def` instead of `async def` for get"),
        (AsyncWith, "__aenter__: a facade cannot have it"),
        ("Repository", "protocol must be a class"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(service: Service, protocol: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(service, protocol)


async def some_coroutine() -> None: ...


async def some_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: sync_facade(Service()), "a facade already"),
        (lambda: Service, "the class Service; give an instance"),
        (some_coroutine, "a coroutine; give what it returns"),
        (some_generator, "an async generator; use iterate_on_loop"),
        (lambda: some_coroutine, "use async_to_sync"),
    ],
    ids=["facade", "class", "coroutine", "generator", "function"],
)
def test_what_a_facade_is_no_use_for_is_refused_with_a_remedy(given: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(given())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrap": "Session"}, "wrap must be a class, or some classes"),
        ({"wrap": (Session, 3)}, "wrap must be a class, or some classes"),
        ({"wrap": 3}, "wrap must be a class, or some classes"),
        ({"read_ahead": -1}, "read_ahead must be a number of items"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sync_facade(Service(), **options)


def test_many_threads_may_use_one_facade(facade: Any) -> None:
    barrier = threading.Barrier(8)

    def work() -> list[int]:
        barrier.wait(PATIENCE)
        return [facade.get("a") + len(list(facade.rows(2))) for _ in range(10)]

    threads = [Thread(work) for _ in range(8)]
    assert [thread.outcome() for thread in threads] == [[3] * 10] * 8
