"""A Flask site whose `async_to_sync` is ours: on WSGI servers, behind `WSGIToASGI`, in Flask's test client.

One line, `site.async_to_sync = async_to_sync`, has every async function of the site run on one loop: the
process's own where a WSGI server calls the site, the server's where an ASGI server does.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
import trio
from flask import Flask, request
from frameworks.asgi_servers import WSGI_SERVERS, served
from support import shim_flask_site
from support.drive import LOOPS
from support.drive import serve as drive
from support.frameworks import Site, request_id, serve
from support.scopes import http_scope
from support.shim_upstream import Upstream

from bridge import WSGIToASGI, async_to_sync, sync_to_async
from bridge.exceptions import WouldDeadlock
from bridge.shim.persistent import persistent_loop

pytestmark = [pytest.mark.xdist_group("shim_flask"), pytest.mark.usefixtures("single_of_module")]

SITE = "support.shim_flask_site:site"
APP = "support.shim_flask_site:app"
SERVERS = (*WSGI_SERVERS, "uvicorn")


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[Site]:
    """The site on a server of either kind."""
    name = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    upstream.reset()
    with ExitStack() as stack:
        if name == "uvicorn":
            served_site = stack.enter_context(serve(APP, environ={"UPSTREAM": upstream.url}, lifespan="on"))
        else:
            command = WSGI_SERVERS[name]
            served_site = stack.enter_context(served(command, SITE, UPSTREAM=upstream.url))
        yield served_site


def loop_of(site: Site) -> int:
    """The loop that async functions of the site run on."""
    loop: int = site.client.get("/items/1").json()["loop"]
    return loop


# -- one loop for everything


def test_every_async_hook_runs_on_one_loop_in_every_request(site: Site) -> None:
    loop = loop_of(site)
    for _ in range(3):
        response = site.client.get("/hooks")
        marks = response.json()
        assert [what for what, _ in marks] == ["before", "view", "template", "after"]
        assert {facts["loop"] for _, facts in marks} == {loop}
        assert response.headers["x-signal-loop"] == str(loop)


def test_requests_in_different_threads_meet_on_the_loop(site: Site) -> None:
    with ThreadPoolExecutor(2) as visitors:
        answers = visitors.map(lambda _: httpx2.get(f"{site.url}/meet", trust_env=False).text, range(2))
        assert sorted(answers) == ["first", "second"]


def test_one_client_keeps_its_connection_over_async_and_blocking_views(
    site: Site, upstream: Upstream
) -> None:
    """A client that is used on another loop than its first fails, or connects once more."""
    paths = {"/upstream": "async", "/upstream-sync": "sync"}
    upstream.reset()
    for _ in range(3):
        for path, answer in paths.items():
            assert site.client.get(path).text == answer
    assert len(upstream.requests) == 6
    assert upstream.connections <= 1  # none, if another test came first


def test_a_loop_factory_has_threads_of_the_site_s_own_share_a_client_with_its_views(
    site: Site, upstream: Upstream
) -> None:
    """Behind an ASGI server, nothing tells such a thread which loop that is; so both use another one."""
    upstream.reset()
    for _ in range(2):
        assert site.client.get("/kept").text == "kept"
        assert site.client.get("/kept-thread").text == "thread"
    assert (upstream.requests, upstream.connections) == (["/kept", "/thread"] * 2, 1)


def test_blueprints_and_method_views_run_on_it_too(site: Site) -> None:
    loop = loop_of(site)
    assert site.client.get("/shop/pen").json() == {"name": "pen", "loops": [loop, loop]}
    assert site.client.get("/items/7").json() == {"got": 7, "loop": loop}
    assert site.client.delete("/items/7").json() == {"deleted": 7, "loop": loop}


# -- errors


def test_an_async_error_handler_gets_what_an_async_view_raises(site: Site) -> None:
    response = site.client.get("/planned")
    answer = response.json()
    assert (response.status_code, answer["planned"], answer["view"]) == (418, "by an async view", "planned")
    assert {facts["loop"] for _, facts in answer["marks"]} == {loop_of(site)}


@pytest.mark.parametrize(("path", "status"), [("/missing", 404), ("/broken", 500)])
def test_an_async_view_may_abort_or_fail(site: Site, path: str, status: int) -> None:
    name = request_id()
    assert site.client.get(path, headers={"X-Request-Id": name}).status_code == status
    (torn_down,) = site.facts(name, await_="teardown")
    assert (torn_down["path"], torn_down["loop"]) == (path, loop_of(site))
    assert torn_down["error"] == ("ZeroDivisionError" if status == 500 else "NoneType")


# -- Flask's contexts


def test_flasks_contexts_are_visible_wherever_the_view_goes(site: Site) -> None:
    """In the view, in two tasks of it, and on both sides of functions that run in threads."""
    with site.new_client() as browser:
        for count in (1, 2):
            seen = browser.post("/contexts", data={"value": "käse"}).json()
            assert seen == [["käse", "käse", count, "support.shim_flask_site", "/contexts"]] * 5


def test_a_copied_request_context_goes_to_threads_of_all_kinds(site: Site) -> None:
    answer = site.client.get("/copied", params={"value": "käse"}).json()
    view = answer.pop("view")
    assert [each["value"] for each in answer.values()] == ["käse"] * 3
    assert answer["worker"]["loop"] == answer["pool"]["loop"] == view["loop"]


def test_thread_sensitive_calls_come_back_to_the_worker(site: Site) -> None:
    answer = site.client.get("/threads").json()
    loop, worker, loop_again, worker_again = answer["path"]
    assert loop == loop_again != worker == worker_again == answer["worker"]


@pytest.mark.parametrize("path", ["/stream", "/stream-sync"])
def test_a_stream_calls_async_code_for_each_piece_in_its_request_s_context(site: Site, path: str) -> None:
    text = site.client.get(path, params={"of": "piece"}).text
    loop = loop_of(site)
    assert text.splitlines() == [f"piece {number} {loop}" for number in range(3)]


# -- after the response


def test_a_task_that_a_view_leaves_behind_goes_on_and_finds_a_thread(site: Site) -> None:
    """The loop does not end with the view, and the thread that waited for the view is not asked for."""
    name = request_id()
    assert site.client.get("/leave", params={"name": name}).status_code == 200
    loop_thread, ours, theirs = site.client.get("/left", params={"name": name}).json()
    assert ours == theirs != loop_thread


# -- in process


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kept", [False, True], ids=["server", "kept"])
def test_behind_the_adapter_the_loop_is_the_server_s_unless_a_factory_names_another(
    loop: str, kept: bool
) -> None:
    """So async views that need asyncio can be served on trio."""
    site = Flask("loops")
    if kept:
        site.async_to_sync = functools.partial(  # type: ignore[method-assign]
            async_to_sync, loop_factory=asyncio.new_event_loop
        )
    else:
        site.async_to_sync = async_to_sync  # type: ignore[method-assign, assignment]
    seen: list[Any] = []

    def current() -> Any:
        on_trio = trio.lowlevel.in_trio_task()
        return trio.lowlevel.current_trio_token() if on_trio else asyncio.get_running_loop()

    @site.get("/")
    async def view() -> str:
        seen.append(current())
        return await sync_to_async(lambda: request.path)()

    @site.teardown_request
    async def teardown(error: BaseException | None) -> None:
        seen.append(current())

    bridged = WSGIToASGI(site)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current())
        await bridged(scope, receive, send)

    assert drive(app, http_scope(), loop=loop).unwrap().body == b"/"
    server, *rest = seen
    assert rest == [persistent_loop().port.loop if kept else server] * 2


def test_flasks_test_client_runs_async_views_on_the_loop_that_is_kept(upstream: Upstream) -> None:
    with shim_flask_site.site.test_client() as browser:
        answers = [browser.get("/items/1").json["loop"] for _ in range(2)]  # type: ignore[index]
        assert answers == [id(persistent_loop().port.loop)] * 2


def test_flasks_test_client_passes_on_what_an_async_view_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shim_flask_site.site.config, "PROPAGATE_EXCEPTIONS", True)
    with shim_flask_site.site.test_client() as browser, pytest.raises(ZeroDivisionError):
        browser.get("/broken")


def test_a_command_runs_async_code_on_that_loop(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM", upstream.url)
    monkeypatch.setattr(shim_flask_site, "clients", shim_flask_site.Clients())
    runner = shim_flask_site.site.test_cli_runner()
    for path in ("/one", "/two"):
        done = runner.invoke(args=["fetch", path])
        assert (done.exit_code, done.output) == (0, f"{path[1:]} for support.shim_flask_site\n")
    async_to_sync(shim_flask_site.clients.close)()


def test_calling_the_site_from_a_running_loop_says_what_to_write_instead() -> None:
    """A test that is async and uses Flask's test client, for example."""

    async def main() -> None:
        with shim_flask_site.site.test_client() as browser:
            browser.get("/items/1")

    with pytest.raises(WouldDeadlock, match=r"call the blocking code .* by `await sync_to_async"):
        asyncio.run(main())


def test_an_async_test_calls_flasks_client_by_the_other_function() -> None:
    async def main() -> None:
        # Not in a `with` block, for which Flask would keep the request's context, to be left elsewhere.
        browser = shim_flask_site.site.test_client()
        response = await sync_to_async(browser.get)("/items/1")
        assert response.json == {"got": 1, "loop": id(asyncio.get_running_loop())}

    asyncio.run(main())


def test_without_the_line_each_async_view_has_a_loop_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the line is for; should Flask begin to keep a loop, the how-to is out of date."""
    monkeypatch.delattr(shim_flask_site.site, "async_to_sync")
    seen: list[Any] = []

    async def view() -> str:
        seen.append((asyncio.get_running_loop(), threading.get_ident()))
        return ""

    with shim_flask_site.site.test_request_context():
        for _ in range(2):
            shim_flask_site.site.ensure_sync(view)()
    assert seen[0][0] is not seen[1][0]
    seen.clear()
    gc.collect()  # what the threads of those loops wait for
