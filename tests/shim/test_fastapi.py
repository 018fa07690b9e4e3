"""FastAPI (and so Starlette) with our functions: blocking endpoints share the server's loop with async ones.

On Uvicorn, and on Hypercorn with asyncio and trio; in `TestClient`, and behind `ASGIToWSGI`.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient
from frameworks.asgi_servers import served, uvicorn
from support import shim_fastapi_site
from support.engines import eventually
from support.frameworks import Site, of_kind, request_id
from support.frameworks_probes import PATIENCE
from support.served import HOST
from support.shim_upstream import Upstream
from support.wsgi_client import client_for

from bridge import ASGIToWSGI, WSGIToASGI, async_to_sync, sync_to_async

pytestmark = [pytest.mark.xdist_group("shim_fastapi"), pytest.mark.usefixtures("single_of_module")]

APP = "support.shim_fastapi_site:app"


def hypercorn(target: str, port: int) -> Sequence[str]:
    return [sys.executable, "-m", "hypercorn", "--bind", f"{HOST}:{port}", "--log-level", "warning", target]


def hypercorn_trio(target: str, port: int) -> Sequence[str]:
    return [*hypercorn(target, port), "--worker-class", "trio"]


SERVERS: dict[str, tuple[str, Callable[[str, int], Sequence[str]]]] = {
    "uvicorn": ("uvicorn", uvicorn),
    "hypercorn": ("hypercorn", hypercorn),
    "hypercorn-trio": ("hypercorn", hypercorn_trio),
}


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[Site]:
    library, command = SERVERS[request.param]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    with served(command, APP, UPSTREAM=upstream.url) as served_site:
        yield served_site
        assert "Traceback" not in served_site.log(), served_site.log()


# -- on servers


def test_async_to_sync_in_a_blocking_endpoint_runs_on_the_servers_loop(site: Site) -> None:
    for _ in range(3):
        facts = site.client.get("/where").json()
        assert facts["loop"] == facts["lifespan"]
        assert facts["thread"] != facts["worker"]


def test_sync_to_async_in_an_async_endpoint_runs_in_a_worker_that_knows_its_loop(site: Site) -> None:
    facts = site.client.get("/where-async").json()
    assert facts["loop"] == facts["view"] == facts["lifespan"]
    assert facts["thread"] != facts["worker"]


def test_endpoints_of_both_kinds_share_one_client_and_its_connections(site: Site, upstream: Upstream) -> None:
    assert site.client.get("/upstream-async").json() == "async"
    upstream.reset()
    for _ in range(3):
        assert site.client.get("/upstream").json() == "blocking"
        assert site.client.get("/upstream-async").json() == "async"
    assert (len(upstream.requests), upstream.connections) == (6, 0)


def test_blocking_endpoints_use_the_client_at_the_same_time(site: Site) -> None:
    with ThreadPoolExecutor(8) as visitors:
        answers = visitors.map(
            lambda _: httpx2.get(f"{site.url}/upstream", trust_env=False).json(), range(24)
        )
        assert list(answers) == ["blocking"] * 24


def test_nested_calls_stay_in_one_thread_and_on_one_loop(site: Site) -> None:
    levels = site.client.get("/nested").json()
    loops = {loop for loop, _ in levels[1::2]}
    assert len(levels) == 8
    assert len(loops) == len({thread for _, thread in levels[::2]}) == 1
    assert {thread for _, thread in levels[1::2]}.isdisjoint({thread for _, thread in levels[::2]})
    assert loops == {site.client.get("/where").json()["lifespan"]}


def test_an_exception_of_the_coroutine_is_the_endpoint_s(site: Site) -> None:
    response = site.client.get("/refused")
    assert (response.status_code, response.json()) == (418, {"detail": "by a coroutine"})


@pytest.mark.parametrize("path", ["/dependencies", "/dependencies-async"])
def test_dependencies_of_both_kinds(site: Site, upstream: Upstream, path: str) -> None:
    """A context variable that blocking code of an async dependency sets is there for the endpoint."""
    upstream.reset()
    answer = site.client.get(path, params={"tag": "käse"}).json()
    assert answer == ["dependency", "computed", "käse", "käse"]
    # FastAPI ends dependencies after the response.
    eventually(lambda: upstream.requests == ["/dependency", "/dependency-ends"], str(upstream.requests))


def test_background_tasks_of_both_kinds(site: Site) -> None:
    name = request_id()
    assert site.client.get("/background", params={"name": name}).json() == "accepted"
    loop = site.client.get("/where").json()["lifespan"]
    facts = of_kind(site.facts(name, await_="background", count=2), "background")
    assert [(fact["loop"], fact["answer"]) for fact in facts] == [(loop, "later"), (loop, "later-async")]


def test_a_blocking_generator_calls_async_code_for_each_piece(site: Site) -> None:
    name = request_id()
    loop = site.client.get("/where").json()["lifespan"]
    text = site.client.get("/stream", params={"name": name}).text
    assert text.splitlines() == [f"{number} {loop}" for number in range(3)]
    assert of_kind(site.facts(name, await_="closed"), "closed")


def test_the_same_generator_in_one_thread(site: Site) -> None:
    pytest.importorskip("bridge.shim.iterate_in_thread")
    name = request_id()
    loop = site.client.get("/where").json()["lifespan"]
    text = site.client.get("/stream-in-thread", params={"name": name}).text
    assert text.splitlines() == [f"{number} {loop}" for number in range(3)]
    facts = of_kind(site.facts(name, await_="closed"), "closed")
    assert len(facts) == 1


def test_a_generator_is_closed_in_its_thread_when_the_client_leaves(site: Site) -> None:
    pytest.importorskip("bridge.shim.iterate_in_thread")
    name = request_id()
    with site.new_client() as visitor, visitor.stream("GET", "/endless", params={"name": name}) as response:
        next(response.iter_raw())
    begun, closed = site.facts(name, await_="closed")
    assert (begun["what"], closed["what"]) == ("begun", "closed")
    assert closed["thread"] == begun["thread"]
    assert closed["loop"] == site.client.get("/where").json()["lifespan"]


def test_anyios_way_back_works_in_its_own_threads_and_with_a_token_in_ours(site: Site) -> None:
    facts = site.client.get("/from-thread").json()
    loop = facts.pop("lifespan")
    assert "Not running inside an AnyIO worker thread" in facts.pop("ours")
    assert [(how, fact["loop"]) for how, fact in facts.items()] == [
        ("theirs", loop),
        ("theirs, through ours", loop),
        ("ours, with a token", loop),
    ]


def test_blocking_code_answers_a_websocket(site: Site) -> None:
    websockets = pytest.importorskip("websockets")
    client = pytest.importorskip("websockets.sync.client")
    with client.connect(f"ws://{HOST}:{site.port}/socket", proxy=None, open_timeout=PATIENCE) as websocket:
        websocket.send("hello")
        received = [websocket.recv(PATIENCE) for _ in range(3)]
        # The server closes first: on trio, Hypercorn 0.18 fails if both sides close at once.
        with pytest.raises(websockets.ConnectionClosedOK):
            websocket.recv(PATIENCE)
    assert received == ["blocking code got hello", "socket", "the endpoint got hello"]


def test_blocking_code_that_waits_for_a_websocket_learns_that_it_is_closed(site: Site) -> None:
    client = pytest.importorskip("websockets.sync.client")
    name = request_id()
    url = f"ws://{HOST}:{site.port}/listen?name={name}"
    with client.connect(url, proxy=None, open_timeout=PATIENCE):
        pass
    assert of_kind(site.facts(name, await_="gone"), "gone")


# -- in process

BACKENDS = ("asyncio", "trio")


def mixed_app() -> FastAPI:
    """An app with no lifespan; its answers name the loops that its coroutines ran on."""
    app = FastAPI()

    @app.get("/")
    def blocking() -> int:
        return async_to_sync(shim_fastapi_site.here)()["loop"]

    @app.get("/async")
    async def asynchronous() -> list[int]:
        def get() -> int:
            return async_to_sync(shim_fastapi_site.here)()["loop"]

        return [shim_fastapi_site.loop(), await sync_to_async(get)(), await sync_to_async(get)()]

    return app


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_test_client_that_is_entered_has_one_loop(backend: Literal["asyncio", "trio"]) -> None:
    with TestClient(mixed_app(), backend=backend) as client:
        loops = {client.get("/").json(), client.get("/").json(), *client.get("/async").json()}
    assert len(loops) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_test_client_that_is_not_entered_has_a_loop_for_each_request(
    backend: Literal["asyncio", "trio"],
) -> None:
    """None of which is used again, though threads may be (Trio keeps its own for later runs)."""
    client = TestClient(mixed_app(), backend=backend)
    for _ in range(5):
        assert client.get("/").status_code == 200
        assert len(set(client.get("/async").json())) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_nesting_does_not_need_a_second_thread_of_anyios(backend: Literal["asyncio", "trio"]) -> None:
    """With one thread for blocking endpoints: what they come back to is the thread that waits for them."""

    async def get_levels() -> list[list[int]]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        with anyio.fail_after(PATIENCE):
            return await anyio.to_thread.run_sync(shim_fastapi_site.nested)

    levels = anyio.run(get_levels, backend=backend)
    assert len({thread for _, thread in levels[::2]}) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_websocket_of_a_test_client(
    backend: Literal["asyncio", "trio"], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM", upstream.url)
    with (
        TestClient(shim_fastapi_site.app, backend=backend) as client,
        client.websocket_connect("/socket") as websocket,
    ):
        websocket.send_text("hello")
        received = [websocket.receive_text() for _ in range(3)]
    assert received == ["blocking code got hello", "socket", "the endpoint got hello"]


def test_behind_asgi_to_wsgi_all_endpoints_run_on_the_adapters_loop() -> None:
    app = ASGIToWSGI(mixed_app(), lifespan="off")
    try:
        with client_for(app) as client:
            loops = {client.get("/").json(), client.get("/").json(), *client.get("/async").json()}
    finally:
        app.close()
    assert len(loops) == 1


def test_behind_asgi_to_wsgi_the_blocking_code_of_a_request_has_one_thread() -> None:
    app = FastAPI()

    @app.get("/")
    async def threads() -> list[int]:
        return [threading.get_ident(), *[await sync_to_async(threading.get_ident)() for _ in range(3)]]

    bridged = ASGIToWSGI(app, lifespan="off")
    try:
        with client_for(bridged) as client:
            loop_thread, *workers = client.get("/").json()
    finally:
        bridged.close()
    assert len(set(workers)) == 1
    assert loop_thread not in workers


@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_behind_asgi_to_wsgi_blocking_code_reads_the_body_and_writes_a_large_response(
    thread_sensitive: bool,
) -> None:
    """The server's thread has to fetch the one and take the other meanwhile."""
    size = 3_000_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> bytes:
            return await Request(scope, receive).body()

        async def write(body: bytes) -> None:
            await Response(body)(scope, receive, send)

        def blocking() -> None:
            async_to_sync(write)(async_to_sync(read)())

        await sync_to_async(blocking, thread_sensitive=thread_sensitive)()

    bridged = ASGIToWSGI(app, lifespan="off")
    try:
        with client_for(bridged) as client:
            assert len(client.post("/", content=b"x" * size).content) == size
    finally:
        bridged.close()


# -- what the how-to says of AnyIO


def ways_back(token: Any, portal: Any) -> dict[str, Any]:
    """By which ways async code is reached from this thread: the loop that it ran on, or the error."""

    async def loop() -> int:
        await anyio.sleep(0)
        return shim_fastapi_site.loop()

    ways: dict[str, Callable[[], int]] = {
        "run": lambda: anyio.from_thread.run(loop),
        "run with a token": lambda: anyio.from_thread.run(loop, token=token),
        "a portal": lambda: portal.call(loop),
        "async_to_sync": lambda: async_to_sync(loop)(),
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        try:
            found[name] = way()
        except RuntimeError as error:
            found[name] = type(error)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_in_our_workers_anyios_way_back_needs_a_token_or_a_portal(
    backend: str, thread_sensitive: bool
) -> None:
    async def main() -> None:
        here = shim_fastapi_site.loop()
        async with anyio.from_thread.BlockingPortal() as portal:
            call = sync_to_async(ways_back, thread_sensitive=thread_sensitive)
            ours = await call(anyio.lowlevel.current_token(), portal)
            theirs = await anyio.to_thread.run_sync(ways_back, anyio.lowlevel.current_token(), portal)
        assert theirs == dict.fromkeys(theirs, here)
        assert ours == {**theirs, "run": ours["run"]}
        assert issubclass(ours["run"], RuntimeError)

    anyio.run(main, backend=backend)


def test_in_the_workers_of_the_adapter_async_to_sync_is_the_way_back() -> None:
    found: list[Any] = []

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        found.append(environ["asgi.scope"]["app_loop"])
        found.append(async_to_sync(shim_fastapi_site.here)()["loop"])
        with pytest.raises(RuntimeError, match="AnyIO worker thread"):
            anyio.from_thread.run(shim_fastapi_site.here)
        start_response("204 No Content", [])
        return []

    bridged = WSGIToASGI(wsgi_app)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["app_loop"] = shim_fastapi_site.loop()
        await bridged(scope, receive, send)

    assert TestClient(app).get("/").status_code == 204
    assert found[0] == found[1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (lambda function: async_to_sync(function)(), "finished"),
        (anyio.from_thread.run, "cancelled"),
    ],
    ids=["async_to_sync", "anyio"],
)
def test_cancelling_the_task_that_waits_for_anyios_thread(
    backend: str, call: Callable[[Any], object], outcome: str
) -> None:
    """AnyIO waits for the thread; it cancels what its own `run` waits for, which ours does not know of."""
    outcomes: list[str] = []

    async def main() -> None:
        begun, go_on = anyio.Event(), anyio.Event()

        async def work() -> None:
            begun.set()
            try:
                await go_on.wait()
                outcomes.append("finished")
            except anyio.get_cancelled_exc_class():
                outcomes.append("cancelled")
                raise

        def blocking() -> None:
            try:
                call(work)
            except BaseException as error:
                outcomes.append(type(error).__name__)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, blocking)
                await begun.wait()
                tasks.cancel_scope.cancel()
                if outcome == "finished":
                    go_on.set()

    anyio.run(main, backend=backend)
    assert outcomes[0] == outcome


# -- AnyIO's cancellation, which on asyncio comes again with every turn of the loop


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_time_out_of_anyios_waits_for_a_function_that_is_not_to_be_abandoned(backend: str) -> None:
    async def main() -> list[str]:
        events: list[str] = []
        begun, go_on = anyio.Event(), threading.Event()

        def blocking() -> None:
            async_to_sync(set_begun)()
            assert go_on.wait(PATIENCE)
            events.append("function")

        async def set_begun() -> None:
            begun.set()

        async def call() -> None:
            try:
                await sync_to_async(blocking, thread_sensitive=False, abandon_on_cancel=False)()
            finally:
                events.append("task")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await begun.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for _ in range(5):
                    await anyio.sleep(0)
                go_on.set()
        return events

    assert anyio.run(main, backend=backend) == ["function", "task"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_time_out_of_anyios_lets_a_coroutine_that_a_function_waits_for_clean_up(backend: str) -> None:
    async def main() -> list[str]:
        events: list[str] = []
        begun, go_on = anyio.Event(), anyio.Event()

        async def work() -> None:
            try:
                begun.set()
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await go_on.wait()
                events.append("cleaned up")

        def blocking() -> None:
            try:
                async_to_sync(work)()
            finally:
                events.append("function")

        async def call() -> None:
            try:
                await sync_to_async(blocking, thread_sensitive=False)()
            finally:
                events.append("task")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await begun.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for _ in range(5):
                    await anyio.sleep(0)
                go_on.set()
        return events

    assert anyio.run(main, backend=backend) == ["cleaned up", "function", "task"]
