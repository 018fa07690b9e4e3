"""A Django project through `WSGIToASGI` on a real Uvicorn."""

from __future__ import annotations

import hashlib
import re
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from support.frameworks import Site, of_kind, request_id, serve

# These are the site's; it can be imported in its own process only, where Django is set up.
THREADS = 4
BLOB = bytes(range(256)) * 1024

pytestmark = pytest.mark.xdist_group("django_on_uvicorn")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as directory:
        environ = {"DJANGO_SITE_DIR": directory, "DJANGO_SETTINGS_MODULE": "frameworks.django_site.settings"}
        with serve("frameworks.django_site.asgi:app", environ=environ, lifespan="on") as served:
            yield served


def finished_once(site: Site, name: str) -> list[dict[str, Any]]:
    """Assert that a request finished once, in the thread that ran it; return its facts.

    Asked twice: the second answer comes from after another whole request, so a second signal that
    the first came too early for has had its chance.
    """
    site.facts(name, await_="finished")
    facts = site.facts(name)
    assert len(of_kind(facts, "started")) == len(of_kind(facts, "finished")) == 1, facts
    assert facts[-1]["what"] == "finished", facts
    assert len({fact["thread"] for fact in facts}) == 1, facts
    return facts


def csrf_token(form: httpx2.Response) -> str:
    match = re.search("name=csrfmiddlewaretoken value='([^']+)'", form.text)
    assert match is not None, form.text
    return match[1]


# -- sessions and forms


def log_in(browser: httpx2.Client, password: str) -> httpx2.Response:
    token = csrf_token(browser.get("/login/"))
    return browser.post("/login/", data={"name": "ada", "password": password, "csrfmiddlewaretoken": token})


def test_a_user_logs_in_with_a_form_and_a_session(site: Site) -> None:
    with site.new_client() as browser:
        assert browser.get("/whoami/").text == "nobody"
        response = log_in(browser, "lovelace")
        assert (response.status_code, response.headers["location"]) == (302, "/whoami/")
        assert browser.get("/whoami/").text == "ada"
    assert site.client.get("/whoami/").text == "nobody"


def test_a_wrong_password_is_refused(site: Site) -> None:
    with site.new_client() as browser:
        assert log_in(browser, "byron").status_code == 401
        assert browser.get("/whoami/").text == "nobody"


def test_a_form_with_its_csrf_token_is_accepted_and_writes_to_the_database(site: Site) -> None:
    text = f"käse {request_id()}"
    with site.new_client(follow_redirects=True) as browser:
        token = browser.get("/notes/").json()["csrf"]
        response = browser.post("/notes/", data={"text": text, "csrfmiddlewaretoken": token})
        assert response.status_code == 200
        assert text in response.json()["notes"]


@pytest.mark.parametrize("token", ["", "x" * 64])
def test_a_form_without_its_csrf_token_is_refused(site: Site, token: str) -> None:
    text = request_id()
    with site.new_client() as browser:
        browser.get("/notes/")
        assert browser.post("/notes/", data={"text": text, "csrfmiddlewaretoken": token}).status_code == 403
        assert text not in browser.get("/notes/").json()["notes"]


# -- bodies


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.req("E-36", "E-41")
@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\r\n--not the boundary\r\n", "InMemoryUploadedFile"), (BLOB * 16, "TemporaryUploadedFile")],
    ids=["small", "large"],
)
def test_an_upload_arrives_whole_in_memory_or_in_a_file(site: Site, data: bytes, kind: str) -> None:
    response = site.client.post("/upload/", data={"text": "ü"}, files={"file": ("größe.bin", data)})
    assert response.json() == {
        "fields": {"text": "ü"},
        "files": {
            "file": {"name": "größe.bin", "size": len(data), "sha256": digest_of(data), "kind": kind},
        },
    }


@pytest.mark.req("E-42")
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_chunked_body_has_a_length_when_it_is_spooled(site: Site, size: int) -> None:
    data = (BLOB * 12)[:size]
    pieces = (data[start : start + 70_001] for start in range(0, size, 70_001))
    assert site.client.post("/spooled/body/", content=pieces).json() == {
        "size": size,
        "sha256": digest_of(data),
        "content_length": str(size),
    }


@pytest.mark.req("E-42")
def test_a_chunked_upload_is_parsed_when_it_is_spooled(site: Site) -> None:
    form = httpx2.Request("POST", site.url, files={"large": ("large.bin", BLOB * 8)}, data={"text": "t"})
    data = form.read()
    response = site.client.post(
        "/spooled/upload/",
        content=iter([data[:1000], data[1000:]]),
        headers={"Content-Type": form.headers["content-type"]},
    )
    answer = response.json()
    assert answer["fields"] == {"text": "t"}
    assert answer["files"]["large"]["sha256"] == digest_of(BLOB * 8)


def break_off(site: Site, path: str, name: str, framing: str, *, await_: str) -> None:
    """Send half a multipart body, and leave once the site has noted `await_`, if that is anything."""
    form = httpx2.Request("POST", site.url, files={"large": ("large.bin", BLOB * 2)})
    data = form.read()
    head = [f"POST {path} HTTP/1.1", "Host: x", f"X-Request-Id: {name}"]
    head += [f"Content-Type: {form.headers['content-type']}", framing.format(len(data)), "", ""]
    part = data[: len(data) // 2]
    if "chunked" in framing:
        part = b"%x\r\n%b\r\n" % (len(part), part)
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall("\r\n".join(head).encode() + part)
        if await_:
            assert of_kind(site.facts(name, await_=await_), await_)


@pytest.mark.req("E-40")
def test_an_upload_whose_client_leaves_never_looks_complete(site: Site) -> None:
    """The read fails, which Django turns into an error of its own; no half file is handed to the view."""
    name = request_id()
    break_off(site, "/upload/", name, "Content-Length: {}", await_="called")
    facts = finished_once(site, name)
    assert [fact["what"] for fact in facts] == ["started", "called", "broken off", "finished"]


@pytest.mark.req("E-40", "E-42")
def test_an_upload_whose_client_leaves_is_not_handed_over_when_it_is_spooled(site: Site) -> None:
    name = request_id()
    break_off(site, "/spooled/upload/", name, "Transfer-Encoding: chunked", await_="")
    facts = site.facts(name, await_="adapter returned")
    assert [fact["what"] for fact in facts] == ["adapter returned"]


# -- streams, and the end of a request


@pytest.mark.req("W-02", "W-17")
def test_a_stream_arrives_chunk_by_chunk(site: Site) -> None:
    name = request_id()
    with (
        site.new_client() as browser,
        browser.stream("GET", "/stream/", headers={"X-Request-Id": name}) as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        assert [fact["what"] for fact in site.facts(name)] == ["started", "called", "first made"]
        site.open_gate(name)
        assert b"".join(chunks) == b"last"
    finished_once(site, name)


@pytest.mark.req("W-02", "W-24")
@pytest.mark.parametrize(
    "line", ["GET /", "HEAD /", "GET /missing", "GET /file/", "HEAD /file/", "POST /upload/", "GET /async/"]
)
def test_request_finished_fires_once_in_the_requests_own_thread(site: Site, line: str) -> None:
    name = request_id()
    site.client.request(*line.split(), headers={"X-Request-Id": name})
    finished_once(site, name)


@pytest.mark.req("W-02", "W-24")
def test_requests_at_the_same_time_finish_each_in_its_own_thread(site: Site) -> None:
    names = [request_id() for _ in range(THREADS)]
    with site.new_client() as browser:
        streams = []
        try:
            for name in names:
                request = browser.build_request("GET", "/stream/", headers={"X-Request-Id": name})
                streams.append(browser.send(request, stream=True))
            bodies = [stream.iter_raw() for stream in streams]
            assert [next(body) for body in bodies] == [b"first"] * len(names)
            for name in reversed(names):
                site.open_gate(name)
            assert [b"".join(body) for body in bodies] == [b"last"] * len(names)
        finally:
            for stream in streams:
                stream.close()
    threads = {finished_once(site, name)[0]["thread"] for name in names}
    assert len(threads) == len(names)


@pytest.mark.req("X-08")
def test_a_file_response_goes_through_the_file_wrapper(site: Site) -> None:
    name = request_id()
    response = site.client.get("/file/", headers={"X-Request-Id": name})
    assert response.content == BLOB
    assert response.headers["content-length"] == str(len(BLOB))
    # Django hangs the end of the request on the wrapped file's close().
    finished_once(site, name)


@pytest.mark.req("W-24", "W-26")
def test_a_client_that_leaves_in_mid_stream_still_finishes_its_request(site: Site) -> None:
    names = [request_id() for _ in range(2 * THREADS)]
    for name in names:
        with (
            site.new_client() as visitor,
            visitor.stream("GET", "/endless/", headers={"X-Request-Id": name}) as response,
        ):
            next(response.iter_raw())
    for name in names:
        assert len(of_kind(finished_once(site, name), "generator closed")) == 1


@pytest.mark.req("W-24", "W-26")
def test_a_client_that_leaves_a_silent_stream_still_finishes_its_request(site: Site) -> None:
    name = request_id()
    with (
        site.new_client() as visitor,
        visitor.stream("GET", "/events/", headers={"X-Request-Id": name}) as response,
    ):
        assert next(response.iter_raw()) == b"data: hello\n\n"
    site.open_gate(name)
    assert len(of_kind(finished_once(site, name), "generator closed")) == 1


# -- database connections


@pytest.mark.req("W-02", "W-29")
def test_database_connections_are_reused_by_the_threads_of_the_pool(site: Site) -> None:
    """100 requests, 8 at a time: no more connections than threads, each used by one thread only."""
    text = request_id()
    before = len(site.client.get("/connections/").json())

    def touch(_: int) -> dict[str, int]:
        answer: dict[str, int] = site.client.get("/touch/", params={"text": text}).json()
        return answer

    with ThreadPoolExecutor(8) as visitors:
        answers = list(visitors.map(touch, range(100)))
    assert max(answer["count"] for answer in answers) == 100
    pairs = {(answer["thread"], answer["connection"]) for answer in answers}
    assert len(pairs) == len({thread for thread, _ in pairs}) == len({opened for _, opened in pairs})
    opened = site.client.get("/connections/").json()[before:]
    assert len(opened) == len(set(opened)) <= THREADS


@pytest.mark.req("W-02")
def test_the_asynchronous_orm_uses_the_connections_of_the_workers(site: Site) -> None:
    before = len(site.client.get("/connections/").json())
    for _ in range(20):
        assert site.client.get("/async-database/").json() == {"found": 1}
    opened = site.client.get("/connections/").json()[before:]
    assert len(opened) == len(set(opened)) <= THREADS


# -- async views


def test_async_views_run_on_the_servers_loop(site: Site) -> None:
    answers = [site.client.get("/async/").json() for _ in range(5)]
    assert {answer["loop"] for answer in answers} == {answers[0]["server_loop"]}
    assert all(answer["main_thread"] for answer in answers)


# -- errors


def test_an_exception_in_a_view_is_djangos_own_500(site: Site) -> None:
    name = request_id()
    response = site.client.get("/broken/", headers={"X-Request-Id": name})
    assert response.status_code == 500
    finished_once(site, name)
