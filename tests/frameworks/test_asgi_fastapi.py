"""The FastAPI site on Gunicorn and Waitress; the measure is what it answers without an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from frameworks.asgi_conversations import CONVERSATIONS, Seen, converse, converse_natively
from frameworks.asgi_fastapi_site import app
from frameworks.asgi_servers import THREADS, WSGI_SERVERS, served
from support.frameworks import Site, of_kind, request_id

pytestmark = pytest.mark.xdist_group("asgi fastapi")

# Which of these a server adds, and how it frames a body, is its own affair.
SERVERS_OWN = {"server", "date", "connection", "transfer-encoding", "content-length", "via"}


@pytest.fixture(scope="module")
def native() -> dict[str, list[Seen]]:
    return converse_natively(app)


@pytest.fixture(scope="module", params=list(WSGI_SERVERS))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with served(WSGI_SERVERS[request.param], "frameworks.asgi_fastapi_site:application") as site:
        yield site


def portable(answer: Seen) -> Seen:
    """What does not depend on the server: Waitress sorts headers by their names."""
    headers = [pair for pair in answer.headers if pair[0] not in SERVERS_OWN]
    return answer._replace(headers=sorted(headers, key=lambda pair: pair[0]))


@pytest.mark.req("S-01", "S-04", "S-09", "A-07", "A-08", "A-16", "A-18", "A-20")
# How often the site was visited before is not the same.
@pytest.mark.parametrize("title", [title for title in CONVERSATIONS if title != "state"])
def test_the_answers_are_those_without_a_server(
    site: Site, native: dict[str, list[Seen]], title: str
) -> None:
    asked = CONVERSATIONS[title]
    with site.new_client(headers={"Host": "testserver"}) as client:
        answers = converse(client, asked)
    for question, answer, wanted in zip(asked, answers, native[title], strict=True):
        assert portable(answer) == portable(wanted), question


@pytest.mark.req("L-04", "L-08", "A-01")
def test_the_lifespan_ran_once_whoever_came_first(site: Site) -> None:
    """Visitors at the same time, who all find the same state, on one loop."""

    def visit(_: int = 0) -> int:
        answer = site.client.get("/state").json()
        assert (answer["same_loop"], answer["assigned"]) == (True, False)
        return int(answer["visits"])

    before = visit()
    with ThreadPoolExecutor(THREADS) as visitors:
        list(visitors.map(visit, range(4 * THREADS)))
    assert visit() == before + 4 * THREADS + 1


@pytest.mark.req("A-18", "A-19")
def test_events_arrive_when_they_happen(site: Site) -> None:
    name = request_id()
    with (
        site.new_client() as browser,
        browser.stream("GET", "/events", headers={"X-Request-Id": name}) as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks) == b"data: first\n\n"
        site.open_gate(name)
        assert b"".join(chunks) == b"event: end\ndata: True\n\n"


@pytest.mark.req("A-19", "A-30")
def test_background_work_holds_neither_clients_nor_threads(site: Site) -> None:
    """More of it than the server has threads, and on one connection."""
    names = [request_id() for _ in range(2 * THREADS)]
    with site.new_client() as browser:
        for name in names:
            response = browser.get("/background", headers={"X-Request-Id": name, "X-Tenant": "ada"})
            assert (response.status_code, response.text) == (202, "accepted")
    for name in names:
        site.open_gate(name)
    for name in names:
        facts = site.facts(name, await_="second task")
        assert [fact["opened"] for fact in of_kind(facts, "first task")] == [True]
        assert [fact["tenant"] for fact in of_kind(facts, "first task")] == ["ada"]


@pytest.mark.req("A-24", "A-29")
@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_a_client_that_leaves_frees_its_thread(site: Site, path: str) -> None:
    """More clients than the server has threads; of a silent one the adapter knows by itself."""
    names = [request_id() for _ in range(2 * THREADS)]
    for name in names:
        with (
            site.new_client() as visitor,
            visitor.stream("GET", path, headers={"X-Request-Id": name}) as response,
        ):
            next(response.iter_raw())
    for name in names:
        assert of_kind(site.facts(name), "called")
    with site.new_client() as browser, ThreadPoolExecutor(THREADS) as visitors:
        pages = [visitors.submit(browser.get, "/") for _ in range(2 * THREADS)]
        assert {page.result().text for page in pages} == {"index"}


def test_a_dependency_is_given_back_after_its_response(site: Site) -> None:
    name = request_id()
    answer = site.client.get("/dependency", headers={"X-Request-Id": name})
    assert json.loads(answer.content)["session"] == "session"
    facts = site.facts(name, await_="returned")
    assert len(of_kind(facts, "connection given back")) == len(of_kind(facts, "session closed")) == 1


@pytest.mark.req("A-26")
def test_many_requests_on_one_connection(site: Site) -> None:
    """Bodies that are read, that are not read, and none; each request begins where the last has ended."""
    with site.new_client(limits=httpx2.Limits(max_connections=1)) as client:
        for size in (0, 10, 100_000, 0, 300_000):
            assert client.post("/count", content=b"x" * size).json()["size"] == size
            assert client.post("/nothing", content=b"x" * min(size, 1000)).status_code == 404
            assert client.get("/").text == "index"
