"""Starlette, FastAPI, Litestar and Quart behind `ASGIToWSGI`, beside the same apps without it.

Each site is asked the same questions twice: by Starlette's `TestClient`, which is an ASGI server, and
through the adapter by the strict WSGI server of `support.wsgi_drive`. What comes back must be equal.
What a client cannot see the sites note in the journal.
"""

from __future__ import annotations

import gc
import importlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeAlias

import httpx2
import pytest
from frameworks.asgi_common import BLOB, HERE, Life
from frameworks.asgi_conversations import CONVERSATIONS, EXPECTED, STATIC, converse, converse_natively
from support.asgi_probes import Facts, gates, journal
from support.frameworks import of_kind, request_id
from support.served import wait_until
from support.wsgi_client import client_for
from support.wsgi_drive import ClosingInput, Exchange, drive

from bridge import ASGIToWSGI

TIMEOUT = 30.0
# What an app that does not end when its client is gone is given, in these tests.
GRACE = 0.2


# -- the sites

App: TypeAlias = Any


class Site:
    """A site and what is known of it.

    Attributes:
        name: of the framework.
        app: the ASGI app.
        life: what its lifespans have done.
        native: what it answers without the adapter, by the names of `CONVERSATIONS`.
        lived: how many lifespans it had before the adapter's.
        wsgi: the adapter.
    """

    def __init__(self, name: str) -> None:
        module = importlib.import_module(f"frameworks.asgi_{name}_site")
        self.name = name
        self.app: App = module.app
        self.life: Life = module.life
        self.native = converse_natively(self.app)
        self.lived = len(self.life.events)
        self.wsgi: Any = None

    def facts(self, name: str, await_: str) -> list[Facts]:
        """What the site noted about a request, once it has noted `await_`."""
        facts = journal.ask(name, await_)
        assert of_kind(facts, await_), facts
        return facts

    def exchange(self, path: str, name: str, **options: Any) -> Exchange:
        """A request with this id, step by step."""
        return Exchange(self.wsgi, path=path, HTTP_X_REQUEST_ID=name, **options)


def _uvloop() -> Any:
    import uvloop

    return uvloop.new_event_loop()


NAMES = ("starlette", "fastapi", "litestar", "quart", "fastapi on uvloop")


def sites(*names: str) -> list[Any]:
    """Parameters for the fixture of that name."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"asgi {name}")) for name in names]


@pytest.fixture(scope="module", params=sites(*NAMES))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    name, _, loop = request.param.partition(" on ")
    site = Site(name)
    factory = _uvloop if loop else None
    with ASGIToWSGI(site.app, disconnect_grace=GRACE, loop_factory=factory) as site.wsgi:
        yield site
    assert site.life.events[site.lived :] == ["startup", "shutdown"]


@pytest.fixture
def client(site: Site) -> Iterator[httpx2.Client]:
    with client_for(site.wsgi) as client:
        yield client


# -- the same as without the adapter


@pytest.mark.req("S-01", "S-04", "S-05", "S-08", "S-09", "A-07", "A-09", "A-16", "A-20", "L-08")
@pytest.mark.parametrize("title", CONVERSATIONS)
def test_the_answers_are_those_of_the_app_without_the_adapter(
    site: Site, client: httpx2.Client, title: str
) -> None:
    answers = converse(client, CONVERSATIONS[title])
    for answer, native in zip(answers, site.native[title], strict=True):
        assert (answer.status, answer.headers) == (native.status, native.headers)
        assert answer.body == native.body
    expected = EXPECTED.get(title, [])
    assert [answer.status for answer in answers][: len(expected)] == expected


def test_the_conversations_are_about_something(site: Site) -> None:
    """What they show, for each site: bodies, cookies, ranges, state, and what middleware adds."""
    native = site.native
    assert native["a page"][0].body == b"index"
    assert native["a page"][1].body == b""
    assert dict(native["a page"][0].headers)["x-middleware"] == "passed GET"
    assert [name for name, _ in native["a session and cookies"][1].headers].count("set-cookie") == 3
    assert b'"ada"' in native["a session and cookies"][2].body
    assert str(len(BLOB) + 70_000).encode() in native["a chunked body"][0].body
    assert native["a file"][0].body == BLOB
    assert native["a static file"][0].body == (HERE / "asgi_common.py").read_bytes()
    assert b'"same_loop":true' in native["state"][1].body
    assert b'"visits":2' in native["state"][1].body
    assert native["context variables"][0].body.count(b'"ada"') == 3
    assert b'"on_a_loop":false' in native["a plain function"][0].body
    if site.name in ("starlette", "fastapi"):
        assert [answer.status for answer in native["ranges of a file"]][:5] == [206, 206, 206, 416, 206]


# -- lifespan


@pytest.mark.req("L-04", "L-08", "S-16", "A-01")
def test_the_lifespan_runs_once_on_the_loop_of_the_requests(site: Site, client: httpx2.Client) -> None:
    visits = []
    for _ in range(3):
        answer = client.get("/state").json()
        assert (answer["assigned"], answer["same_loop"]) == (False, True)
        visits.append(answer["visits"])
    assert visits == [visits[0], visits[0] + 1, visits[0] + 2]
    assert site.life.events[site.lived :] == ["startup"]


@pytest.mark.req("A-01", "L-04")
def test_requests_of_many_threads_share_a_resource_of_the_loop(site: Site) -> None:
    """Two connections for eight threads: who waits for one waits on the loop."""

    def visit(number: int) -> tuple[bool, str]:
        answer = drive(site.wsgi, path="/state").unwrap()
        other = drive(site.wsgi, path="/context", HTTP_X_TENANT=f"tenant-{number}").unwrap()
        return b'"same_loop":true' in answer.body, other.body.decode()

    with ThreadPoolExecutor(8) as visitors:
        answers = list(visitors.map(visit, range(64)))
    assert all(same_loop for same_loop, _ in answers)
    assert [body.count(f'"tenant-{number}"') for number, (_, body) in enumerate(answers)] == [3] * 64


# The others use the loop's own executor.
@pytest.mark.parametrize("site", sites("starlette", "fastapi", "fastapi on uvloop"), indirect=True)
def test_plain_functions_reuse_their_threads(site: Site) -> None:
    """As on an ASGI server: AnyIO keeps its threads only on a loop that it knows to have a main task."""
    name = request_id()
    for _ in range(10):
        site.exchange("/thread", name).run().unwrap()
    visits = [fact["visits"] for fact in of_kind(journal.ask(name), "in a thread")]
    assert len(visits) == 10
    # New threads among them.
    assert visits.count(1) <= 2


# -- streams


@pytest.mark.req("A-14", "A-18", "A-19")
def test_events_arrive_when_they_happen(site: Site) -> None:
    name = request_id()
    with site.exchange("/events", name) as exchange:
        answer = exchange.call()
        assert answer.status == 200
        assert str(answer.header("content-type")).startswith("text/event-stream")
        first = b""
        while b"first" not in first:
            first += exchange.next() or b""
        gates.open(name)
        last = exchange.rest()
    assert b"data: True" in last
    assert b"event: end" in last


@pytest.mark.req("A-24", "A-29")
@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_a_client_that_leaves_ends_the_generator(
    site: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The silent one learns of it by its task's cancellation, once its grace is over."""
    name = request_id()
    leave(site.wsgi, path, name, caplog)


def leave(wsgi: App, path: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Take one chunk and no more; wait for the end of the app and of its generator."""

    def visit() -> None:
        with Exchange(wsgi, path=path, HTTP_X_REQUEST_ID=name) as exchange:
            exchange.call()
            assert exchange.next()
            exchange.close()

    def ended() -> bool:
        kinds = {fact["what"] for fact in journal.ask(name)}
        if kinds & {"returned", "raised"} and "generator closed" not in kinds:
            # Starlette and Litestar leave a generator that they do not exhaust to the garbage collector.
            gc.collect()
        return {"generator closed"} < kinds and bool(kinds & {"returned", "raised"})

    # Litestar makes an error of its own of the disconnect. The record of that would keep the generator.
    with caplog.at_level(logging.CRITICAL, "bridge"):
        visit()
        wait_until(ended, TIMEOUT, "the end of the app and its generator")


@pytest.mark.req("A-10")
@pytest.mark.parametrize("end", [[], [ConnectionResetError("reset")]], ids=["short", "broken"])
def test_an_upload_that_breaks_off_never_looks_complete(site: Site, end: list[BaseException]) -> None:
    name = request_id()
    body = ClosingInput(b"x" * 70_000, *end)
    exchange = site.exchange("/count", name, method="POST", CONTENT_LENGTH="100000", **{"wsgi.input": body})
    answer = exchange.run()
    assert answer.status != 200
    broken = of_kind(site.facts(name, "broken off"), "broken off")
    assert [fact["size"] <= 70_000 for fact in broken] == [True]


@pytest.mark.req("A-26")
@pytest.mark.parametrize("site", sites("starlette", "litestar", "quart"), indirect=True)
def test_a_stream_that_fails_is_not_ended_well(site: Site) -> None:
    with site.exchange("/broken-stream", request_id()) as exchange:
        exchange.call()
        assert exchange.next() == b"first"
        with pytest.raises(BaseException):  # noqa: B017 -- each framework has its own
            exchange.rest()
        assert not exchange.exhausted


@pytest.mark.parametrize("site", sites("fastapi"), indirect=True)
def test_a_stream_that_fails_behind_base_http_middleware_is_ended_by_that(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Starlette's doing, on every server: the failure comes when the response is complete already."""
    name = request_id()
    assert site.exchange("/broken-stream", name).run().unwrap().body == b"first"
    site.facts(name, "raised")
    wait_until(lambda: "Planned" in caplog.text, TIMEOUT, "the error in the log")


# -- errors, and work after the response


@pytest.mark.req("A-25")
def test_an_error_is_the_frameworks_own_page_and_logged_once(
    site: Site, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.get("/broken").status_code == 500
    # Starlette and FastAPI raise again what they have answered, Litestar and Quart do not.
    wanted = 1 if site.name in ("starlette", "fastapi") else 0

    def planned() -> int:
        records = [record for record in caplog.records if record.name.startswith("bridge")]
        return sum(bool(record.exc_info) and "Planned" in str(record.exc_info) for record in records)

    wait_until(lambda: planned() >= wanted, TIMEOUT, "the error in the log")
    assert planned() == wanted


@pytest.mark.req("A-19", "A-30")
def test_background_work_goes_on_after_the_response(site: Site) -> None:
    """It neither holds the client nor loses its loop and context."""
    name = request_id()
    answer = site.exchange("/background", name, HTTP_X_TENANT="ada").run().unwrap()
    assert (answer.status, answer.body) == (202, b"accepted")
    assert not of_kind(journal.ask(name), "first task")
    gates.open(name)
    facts = site.facts(name, "second task")
    assert [fact["what"] for fact in facts if fact["what"].endswith("task")] == ["first task", "second task"]
    assert [fact["opened"] for fact in of_kind(facts, "first task")] == [True]
    assert [fact["tenant"] for fact in of_kind(facts, "first task")] == ["ada"]
    assert [fact["same_loop"] for fact in of_kind(facts, "second task")] == [True]


@pytest.mark.req("A-30")
# Quart's tasks are its own, and it logs their errors itself.
@pytest.mark.parametrize("site", sites("starlette", "fastapi", "litestar"), indirect=True)
def test_background_work_that_fails_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    name = request_id()
    answer = site.exchange("/broken-background", name).run().unwrap()
    assert (answer.status, answer.body) == (202, b"accepted")
    gates.open(name)
    site.facts(name, "raised")

    wait_until(lambda: "Planned: in a background task" in caplog.text, TIMEOUT, "the error in the log")


@pytest.mark.parametrize("site", sites("fastapi", "litestar"), indirect=True)
def test_a_dependency_is_given_back_when_its_request_is_over(site: Site) -> None:
    """Also when the endpoint fails."""
    for path, status in (("/dependency", 200), ("/dependency?fail=1", 409)):
        name = request_id()
        assert site.exchange(path, name).run().unwrap().status == status
        kinds = [fact["what"] for fact in site.facts(name, "returned")]
        assert kinds.count("connection taken") == kinds.count("connection given back") == 1
    assert b'"connections_in_use":1' in drive(site.wsgi, path="/dependency").unwrap().body


@pytest.mark.parametrize("site", sites("fastapi"), indirect=True)
def test_a_dependency_sees_the_error_and_may_run_in_threads(site: Site) -> None:
    name = request_id()
    site.exchange("/dependency?fail=1", name).run().unwrap()
    facts = site.facts(name, "returned")
    assert [fact["error"] for fact in of_kind(facts, "connection saw")] == ["Refused"]
    threads = [fact["thread"] for fact in facts if fact["what"].startswith("session")]
    assert len(threads) == 2
    assert facts[0]["thread"] not in threads


# -- files


class FileWrapper:
    """A server's `wsgi.file_wrapper`."""

    def __init__(self, file: IO[bytes], size: int = 8192) -> None:
        self.file = file
        self.size = size
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.size), b"")

    def close(self) -> None:
        self.closed = True
        self.file.close()


@pytest.mark.req("X-06")
def test_a_file_goes_through_the_servers_file_wrapper(site: Site) -> None:
    """Where the framework knows how to leave a file to its server; the others send it themselves."""
    wrapper: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    answer = drive(site.wsgi, path="/file", strict=False, **wrapper).unwrap()
    assert answer.body == BLOB
    assert answer.header("content-length") == str(len(BLOB))
    if site.name in ("starlette", "fastapi"):
        assert isinstance(answer.iterable, FileWrapper)
        assert answer.iterable.closed
    part = drive(site.wsgi, path="/file", strict=False, HTTP_RANGE="bytes=5-9", **wrapper).unwrap()
    assert part.body == (BLOB if part.status == 200 else BLOB[5:10])
    size = (HERE / "asgi_common.py").stat().st_size
    head = drive(site.wsgi, path=STATIC, strict=False, method="HEAD", **wrapper).unwrap()
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(size))


# -- both of Starlette's ways to notice that a client is gone


def claiming(version: str, app: App) -> App:
    """The app, told that its server knows this version of the HTTP messages."""

    async def told(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "asgi": {**scope["asgi"], "spec_version": version}}
        await app(scope, receive, send)

    return told


@pytest.mark.req("A-11", "A-29")
@pytest.mark.xdist_group("asgi starlette")
@pytest.mark.parametrize("version", ["2.1", "2.3", "2.4", "2.5"])
def test_streams_of_both_strategies(version: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before 2.4 Starlette listens for the disconnect while it sends, and so learns of it at once."""
    starlette: Any = importlib.import_module("frameworks.asgi_starlette_site")
    grace = 60.0 if version < "2.4" else GRACE
    with ASGIToWSGI(claiming(version, starlette.app), lifespan="off", disconnect_grace=grace) as wsgi:
        assert drive(wsgi, path="/stream").unwrap().body.endswith(b"line 4\n")
        for path in ("/endless", "/silent"):
            name = request_id()
            leave(wsgi, path, name, caplog)
        answer = drive(wsgi, path="/count", method="POST", body=BLOB).unwrap()
        assert str(len(BLOB)).encode() in answer.body
