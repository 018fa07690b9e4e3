"""A Django project that lives by ASGI, with Channels, on Gunicorn and Waitress; Uvicorn is the measure."""

from __future__ import annotations

import hashlib
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from frameworks.asgi_common import BLOB
from frameworks.asgi_servers import THREADS, WSGI_SERVERS, served, uvicorn
from support.frameworks import Site, of_kind, request_id
from support.served import wait_until

pytestmark = pytest.mark.xdist_group("asgi_django")

SETTINGS = "frameworks.asgi_django.settings"
SMALL = b"\r\n--not the boundary\r\n"


@pytest.fixture(scope="module", params=list(WSGI_SERVERS))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    command = WSGI_SERVERS[request.param]
    with tempfile.TemporaryDirectory() as directory:
        environ = {"DJANGO_SITE_DIR": directory, "DJANGO_SETTINGS_MODULE": SETTINGS}
        with served(command, "frameworks.asgi_django.wsgi:application", **environ) as site:
            yield site
            assert "Traceback" not in site.log(), site.log()


@pytest.fixture(scope="module")
def native() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as directory:
        environ = {"DJANGO_SITE_DIR": directory, "DJANGO_SETTINGS_MODULE": SETTINGS}
        with served(uvicorn, "frameworks.asgi_django.asgi:application", **environ) as site:
            yield site


# -- the same as on Uvicorn

# Which headers a server adds, and how it frames a body, is its own affair.
SERVERS_OWN = {"server", "date", "connection", "transfer-encoding", "content-length", "via"}

Ask = Callable[[httpx2.Client], httpx2.Response]
QUESTIONS: dict[str, Ask] = {
    "a page": lambda client: client.get("/"),
    "HEAD": lambda client: client.head("/"),
    "a sync view": lambda client: client.get("/sync/"),
    "no such page": lambda client: client.get("/nothing/?x=1"),
    "a redirect to the slash": lambda client: client.get("/sync"),
    "a redirect": lambda client: client.get("/go/"),
    "links": lambda client: client.get("/where/"),
    "escapes": lambda client: client.get("/where/%C3%A9%2F%20/%FF"),
    "writing": lambda client: client.post("/notes/", data={"text": "käse"}),
    "reading": lambda client: client.get("/notes/?text=none"),
    "reading in a thread": lambda client: client.get("/notes-sync/?text=none"),
    "a transaction": lambda client: client.get("/transaction/?text=rolled-back"),
    "a form without its token": lambda client: client.post("/login/", data={"name": "ada"}),
    "nobody": lambda client: client.get("/whoami/"),
    "an upload": lambda client: client.post("/upload/", data={"text": "ü"}, files={"f": ("ö.bin", SMALL)}),
    "a large upload": lambda client: client.post("/upload/", files={"f": ("large.bin", BLOB * 16)}),
    "a broken form": lambda client: client.post(
        "/upload/", content=b"--x", headers={"Content-Type": "multipart/form-data"}
    ),
    "a body": lambda client: client.post("/body/", content=BLOB * 4),
    "an empty body": lambda client: client.post("/body/", content=b""),
    "a chunked body": lambda client: client.post("/body/", content=iter([BLOB, b"x" * 70_000])),
    "a stream": lambda client: client.get("/stream/"),
    "the head of a stream": lambda client: client.head("/stream/"),
    "a file": lambda client: client.get("/file/"),
    "an error": lambda client: client.get("/broken/"),
    "context variables": lambda client: client.get("/context/?value=ada"),
    "channels": lambda client: client.post("/channels/echo/ada/", content=BLOB),
    "channels, no body": lambda client: client.get("/channels/echo/b%20b/"),
    "a websocket's address": lambda client: client.get("/ws/"),
}


def seen(response: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [(name.lower(), value) for name, value in response.headers.multi_items()]
    kept = [pair for pair in headers if pair[0] not in SERVERS_OWN]
    # Waitress sends them in the order of their names.
    return response.status_code, sorted(kept, key=lambda pair: pair[0]), response.content


@pytest.mark.req("S-01", "S-04", "S-09", "A-07", "A-08", "A-16", "A-20", "L-04")
@pytest.mark.parametrize("title", QUESTIONS)
def test_the_answers_are_those_on_uvicorn(site: Site, native: Site, title: str) -> None:
    answers = []
    for each in (site, native):
        with each.new_client(headers={"Host": "testserver"}) as client:
            answers.append(seen(QUESTIONS[title](client)))
    assert answers[0] == answers[1]


def test_the_answers_are_what_they_ought_to_be(native: Site) -> None:
    """So that the comparison is not one of two failures."""
    ask = {title: QUESTIONS[title](native.client) for title in QUESTIONS}
    assert ask["a page"].headers["x-sync"] == ask["a page"].headers["x-async"] == "passed GET"
    assert ask["writing"].json() == {"found": 1}
    assert ask["a transaction"].json() == {"left": 0}
    assert ask["an upload"].json()["files"]["f"]["kind"] == "InMemoryUploadedFile"
    assert ask["a large upload"].json()["files"]["f"]["kind"] == "TemporaryUploadedFile"
    assert ask["a large upload"].json()["files"]["f"]["sha256"] == hashlib.sha256(BLOB * 16).hexdigest()
    assert ask["a chunked body"].json()["size"] == len(BLOB) + 70_000
    assert ask["a stream"].text.count("of 0\n") == 5
    assert ask["a file"].content == BLOB
    assert ask["context variables"].json() == {"values": ["ada", "ada"]}
    assert ask["channels"].content == b"ada: " + BLOB
    statuses = {"no such page": 404, "an error": 500, "a form without its token": 403, "a broken form": 400}
    assert {title: ask[title].status_code for title in statuses} == statuses


# -- sessions


def log_in(browser: httpx2.Client, password: str) -> httpx2.Response:
    match = re.search("name=csrfmiddlewaretoken value='([^']+)'", browser.get("/login/").text)
    assert match is not None
    form = {"name": "ada", "password": password, "csrfmiddlewaretoken": match[1]}
    return browser.post("/login/", data=form)


def test_a_user_logs_in_with_a_form_and_a_session(site: Site) -> None:
    with site.new_client() as browser:
        assert log_in(browser, "byron").status_code == 401
        response = log_in(browser, "lovelace")
        assert (response.status_code, response.headers["location"]) == (302, "/whoami/")
        assert browser.get("/whoami/").text == "ada"
    assert site.client.get("/whoami/").text == "nobody"


# -- the database, and the end of a request


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "HEAD /",
        "GET /sync/",
        "GET /nothing/",
        "GET /stream/",
        "GET /file/",
        "POST /body/",
        "GET /broken/",
    ],
)
def test_a_request_starts_and_finishes_once(site: Site, line: str) -> None:
    name = request_id()
    site.client.request(*line.split(), headers={"X-Request-Id": name})
    site.facts(name, await_="returned")
    # Asked again after another whole request: a second signal would have had its chance.
    facts = site.facts(name)
    assert len(of_kind(facts, "started")) == len(of_kind(facts, "finished")) == 1, facts


def assert_none_open(site: Site) -> None:
    """No connection to the database is left, once the last requests have quite ended."""
    wait_until(lambda: site.client.get("/descriptors/").json()["open"] == 0, 30, "all connections closed")


def test_a_request_has_one_connection_which_its_end_closes(site: Site) -> None:
    """100 requests, 8 at a time. One that was closed elsewhere than where it is would stay open."""
    text = request_id()

    def touch(_: int) -> dict[str, int]:
        answer: dict[str, int] = site.client.get("/touch/", params={"text": text}).json()
        return answer

    with ThreadPoolExecutor(THREADS) as visitors:
        answers = list(visitors.map(touch, range(100)))
    assert {answer["connections"] for answer in answers} == {1}
    assert max(answer["count"] for answer in answers) == 100
    assert_none_open(site)


# -- streams, and clients that leave


@pytest.mark.req("A-18", "A-19")
@pytest.mark.parametrize("path", ["/events/", "/channels/feed/"])
def test_events_arrive_when_they_happen(site: Site, path: str) -> None:
    name = request_id()
    with (
        site.new_client() as browser,
        browser.stream("GET", path, headers={"X-Request-Id": name}) as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks) == b"data: first\n\n"
        site.open_gate(name)
        assert b"".join(chunks) == b"data: True\n\n"


@pytest.mark.req("A-24", "A-29")
def test_clients_that_leave_end_their_streams(site: Site) -> None:
    """More of them than the server has threads, so that none may be held."""
    names = [request_id() for _ in range(2 * THREADS)]
    for name in names:
        with (
            site.new_client() as visitor,
            visitor.stream("GET", "/endless/", headers={"X-Request-Id": name}) as response,
        ):
            next(response.iter_raw())
    for name in names:
        facts = site.facts(name, await_="finished")
        assert len(of_kind(facts, "finished")) == 1, facts
        # Django's way to end: it has been told, and has cancelled the view, before `send()` raises.
        assert of_kind(site.facts(name, await_="returned"), "returned")
    assert_none_open(site)


@pytest.mark.req("A-29")
def test_a_client_that_leaves_while_the_view_waits_cancels_it(site: Site) -> None:
    """Nothing is written that could fail: the adapter looks at the server's socket, or asks Waitress."""
    name = request_id()
    head = f"GET /slow/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall(head.encode())
        assert of_kind(site.facts(name, await_="waiting"), "waiting")
    facts = site.facts(name, await_="returned")
    assert len(of_kind(facts, "cancelled")) == len(of_kind(facts, "finished")) == 1, facts


@pytest.mark.req("A-01")
def test_a_request_that_waits_holds_up_no_other(site: Site) -> None:
    names = [request_id() for _ in range(THREADS - 2)]

    def wait(name: str) -> Any:
        with site.new_client() as visitor:
            return visitor.get("/slow/", headers={"X-Request-Id": name}).json()

    with ThreadPoolExecutor(len(names)) as visitors:
        waiting = [visitors.submit(wait, name) for name in names]
        for name in names:
            site.facts(name, await_="waiting")
        assert site.client.get("/").text == "index"
        for name in reversed(names):
            site.open_gate(name)
        assert [future.result() for future in waiting] == [{"opened": True}] * len(names)


@pytest.mark.req("A-10")
@pytest.mark.parametrize("framing", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_an_upload_whose_client_leaves_never_looks_complete(site: Site, framing: str) -> None:
    """Waitress takes bodies whole before it calls the app, Gunicorn does not; the view sees it by neither."""
    name = request_id()
    head = ["POST /body/ HTTP/1.1", "Host: x", f"X-Request-Id: {name}", framing.format(2 * len(BLOB)), "", ""]
    part = BLOB if "Length" in framing else b"%x\r\n%b\r\n" % (len(BLOB), BLOB)
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall("\r\n".join(head).encode() + part)
    # Later requests, more than there are threads, are answered as ever.
    for _ in range(2 * THREADS):
        assert site.client.post("/body/", content=SMALL).json()["size"] == len(SMALL)
    assert of_kind(site.facts(name), "read") == []


# -- mounted below an old site


@pytest.mark.req("S-03", "S-04")
def test_links_below_a_dispatcher_are_public_urls(site: Site) -> None:
    assert site.client.get("/mounted/where/").json() == {
        "root": "/mounted",
        "path": "/where/",
        "full_path": "/mounted/where/",
        "link": "/mounted/item/3/",
        "external": f"{site.url}/mounted/item/3/",
        "method": "GET",
        "secure": False,
    }
    assert site.client.get("/mounted/item/3/").text == "item 3"
    assert site.client.get("/mounted/go/").headers["location"] == "/mounted/item/3/"
    assert site.client.get("/mounted/item/3").headers["location"] == "/mounted/item/3/"
    assert site.client.get("/mounted/").text == "index"
    assert site.client.get("/mounted").headers["location"] == "/mounted/"
