"""A Flask app behind a real Uvicorn: sessions, streams, files, errors, bodies, and the end of a request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
from collections.abc import Iterator

import httpx2
import pytest
from frameworks.flask_site import BLOB, THREADS, flask_app
from support.frameworks import Site, of_kind, request_id, serve
from support.frameworks_probes import Facts, gates, journal
from support.scopes import http_scope
from werkzeug.test import create_environ

from bridge import WSGIToASGI
from bridge.types import Message

pytestmark = pytest.mark.xdist_group("flask_app")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve("frameworks.flask_site:app") as served:
        yield served


def natively(
    method: str, path: str, *, headers: dict[str, str] | None = None, leave: bool = False
) -> list[str]:
    """What Flask does in a request when nothing is between it and the caller, in order.

    Args:
        leave: take only one chunk, then close the iterable.
    """
    name = request_id()
    gates.open(name)
    environ = create_environ(path, method=method, headers={"X-Request-Id": name, **(headers or {})})
    iterable = flask_app(environ, lambda status, headers, exc_info=None: lambda data: None)
    for _ in iterable:
        if leave:
            break
    iterable.close()  # type: ignore[attr-defined]
    return [fact["what"] for fact in journal.ask(name)]


def ended_as(site: Site, name: str, expected: list[str]) -> list[Facts]:
    """Assert that a request came to its end as expected, all of it in one thread; return its facts.

    Asked twice: the second answer comes from after another whole request, so what happens once too
    often, and later, has had its chance.
    """
    assert len(expected) > 2, "there is nothing to compare"
    site.facts(name, await_=expected[-1], count=expected.count(expected[-1]))
    facts = site.facts(name)
    assert [fact["what"] for fact in facts] == expected
    assert len({fact["thread"] for fact in facts}) == 1, facts
    return facts


# -- sessions


def test_a_session_cookie_survives_from_request_to_request(site: Site) -> None:
    with site.new_client() as browser:
        assert [browser.get("/count").json() for _ in range(3)] == [1, 2, 3]
    assert site.client.get("/count").json() == 1
    site.client.cookies.clear()


@pytest.mark.req("W-10")
def test_two_cookies_of_one_response_stay_two_headers(site: Site) -> None:
    with site.new_client() as browser:
        response = browser.get("/count")
        cookies = response.headers.get_list("set-cookie")
        assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["second", "session"]


# -- errors


def test_an_error_handler_makes_the_response(site: Site) -> None:
    response = site.client.get("/planned")
    assert (response.status_code, response.json()) == (418, {"planned": "for the error handler"})


def test_the_error_pages_of_flask_arrive(site: Site) -> None:
    missing = site.client.get("/miss%C3%A9")
    assert (missing.status_code, missing.text) == (404, "no /missé here")
    assert site.client.get("/forbidden").status_code == 403
    wrong_method = site.client.put("/count")
    assert (wrong_method.status_code, set(wrong_method.headers["allow"].split(", "))) == (
        405,
        {"GET", "HEAD", "OPTIONS"},
    )


def test_an_unhandled_exception_is_flasks_own_500(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> httpx2.Response:
        transport = httpx2.ASGITransport(WSGIToASGI(flask_app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            answer: httpx2.Response = await client.get("/broken")
            return answer

    with caplog.at_level(logging.CRITICAL, flask_app.logger.name):
        response = asyncio.run(main())
    assert response.status_code == 500
    assert "Internal Server Error" in response.text


@pytest.mark.req("W-23", "W-24")
def test_an_exception_in_a_stream_never_ends_the_response_as_if_whole() -> None:
    name = request_id()
    sent: list[Message] = []

    async def main() -> None:
        messages: Iterator[Message] = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = http_scope(path="/broken-stream", headers=[(b"x-request-id", name.encode())])
        await WSGIToASGI(flask_app)(scope, receive, send)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(asyncio.wait_for(main(), 30))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"so far"
    assert sent[1]["more_body"]
    assert [fact["what"] for fact in journal.ask(name, "closed")] == ["called", "teardown", "closed"]


# -- streams


@pytest.mark.req("W-02", "W-17")
def test_a_stream_arrives_chunk_by_chunk_and_keeps_its_request_context(site: Site) -> None:
    name = request_id()
    with site.new_client() as browser:
        browser.get("/count")
        with browser.stream("GET", "/stream?name=flask", headers={"X-Request-Id": name}) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"first of flask and 1\n"
            assert [fact["what"] for fact in site.facts(name)][-1] == "first made"
            site.open_gate(name)
            assert b"".join(chunks) == b"last"
    ended_as(site, name, natively("GET", "/stream?name=x"))


@pytest.mark.req("W-24", "W-26")
def test_a_client_that_leaves_in_mid_stream_ends_the_generator_and_tears_down_once(site: Site) -> None:
    names = [request_id() for _ in range(2 * THREADS)]
    for name in names:
        with (
            site.new_client() as visitor,
            visitor.stream("GET", "/endless", headers={"X-Request-Id": name}) as response,
        ):
            next(response.iter_raw())
    expected = natively("GET", "/endless", leave=True)
    for name in names:
        (stopped,) = of_kind(ended_as(site, name, expected), "stopped")
        assert stopped["error"] == "GeneratorExit"


@pytest.mark.req("W-24", "W-26")
def test_a_client_that_leaves_a_silent_stream_ends_it_at_the_next_event(site: Site) -> None:
    name = request_id()
    with (
        site.new_client() as visitor,
        visitor.stream("GET", "/events", headers={"X-Request-Id": name}) as response,
    ):
        assert next(response.iter_raw()) == b"data: hello\n\n"
    site.open_gate(name)
    ended_as(site, name, natively("GET", "/events", leave=True))


@pytest.mark.req("W-24")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/nothing"),
        ("GET", "/missing"),
        ("GET", "/planned"),
        ("GET", "/file"),
    ],
)
def test_call_on_close_and_teardown_run_once(site: Site, method: str, path: str) -> None:
    name = request_id()
    site.client.request(method, path, headers={"X-Request-Id": name})
    facts = ended_as(site, name, natively(method, path))
    assert len(of_kind(facts, "teardown")) == 1
    # Werkzeug hands a file to the server as it is, so it has no place for call_on_close().
    last = "file closed" if (method, path) == ("GET", "/file") else "closed"
    assert len(of_kind(facts, last)) == 1


@pytest.mark.req("W-24", "W-26")
def test_teardown_and_call_on_close_run_once_when_the_client_leaves(site: Site) -> None:
    """A stream without context: there Flask tears down when the view has returned, and closes at the end."""
    name = request_id()
    with (
        site.new_client() as visitor,
        visitor.stream("GET", "/endless-without-context", headers={"X-Request-Id": name}) as response,
    ):
        next(response.iter_raw())
    facts = ended_as(site, name, natively("GET", "/endless-without-context", leave=True))
    assert len(of_kind(facts, "teardown")) == len(of_kind(facts, "closed")) == 1


@pytest.mark.req("W-17", "W-29")
def test_streams_that_stand_still_do_not_keep_others_out(site: Site) -> None:
    """More streams than threads wait for their gates, and an ordinary request is answered beside them."""
    names = [request_id() for _ in range(THREADS + 2)]
    with site.new_client(limits=httpx2.Limits(max_connections=None)) as visitor:
        streams = []
        try:
            for name in names:
                request = visitor.build_request("GET", "/stream?name=x", headers={"X-Request-Id": name})
                streams.append(visitor.send(request, stream=True))
            bodies = [stream.iter_raw() for stream in streams]
            assert {next(body) for body in bodies} == {b"first of x and 0\n"}
            assert site.client.get("/").text == "index"
            for name in names:
                site.open_gate(name)
            assert [b"".join(body) for body in bodies] == [b"last"] * len(names)
        finally:
            for stream in streams:
                stream.close()


# -- files


@pytest.mark.req("X-08", "W-02")
def test_send_file_goes_through_the_file_wrapper_and_closes_the_file_once(site: Site) -> None:
    name = request_id()
    response = site.client.get("/file", headers={"X-Request-Id": name})
    assert response.headers["x-body-type"] == "bridge"
    assert response.content == BLOB
    assert int(response.headers["content-length"]) == len(BLOB)
    ended_as(site, name, natively("GET", "/file"))


@pytest.mark.req("X-08")
def test_send_file_by_path(site: Site) -> None:
    from frameworks import flask_site

    response = site.client.get("/text-file")
    with open(flask_site.__file__, "rb") as source:
        assert response.content == source.read()
    assert "filename*=UTF-8''sit%C3%A9.py" in response.headers["content-disposition"]


@pytest.mark.req("X-08")
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-70000", 100, 70001),
        ("bytes=-10", len(BLOB) - 10, len(BLOB)),
        ("bytes=262000-", 262000, len(BLOB)),
    ],
)
def test_a_range_of_a_file(site: Site, asked: str, start: int, stop: int) -> None:
    name = request_id()
    response = site.client.get("/file", headers={"Range": asked, "X-Request-Id": name})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BLOB)}"
    assert response.content == BLOB[start:stop]
    facts = ended_as(site, name, natively("GET", "/file", headers={"Range": asked}))
    assert len(of_kind(facts, "file closed")) == 1


def test_a_range_outside_the_file_is_refused(site: Site) -> None:
    assert site.client.get("/file", headers={"Range": f"bytes={len(BLOB)}-"}).status_code == 416


@pytest.mark.req("W-22")
def test_head_of_a_file_has_its_length_and_no_body(site: Site) -> None:
    name = request_id()
    host = f"Host: 127.0.0.1:{site.port}\r\n"
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        head = f"HEAD /file HTTP/1.1\r\n{host}X-Request-Id: {name}\r\n\r\n"
        connection.sendall(f"{head}GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode())
        with connection.makefile("rb") as reader:
            received = reader.read()
    # The next response follows the head at once, so no byte of a body was in between.
    head_of_file, _, rest = received.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(BLOB) in head_of_file.lower()
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n"), rest[:100]
    assert rest.endswith(b"\r\n\r\nindex")
    ended_as(site, name, natively("HEAD", "/file"))


@pytest.mark.req("W-22")
def test_a_file_that_has_not_changed_is_a_304_without_a_body(site: Site) -> None:
    name = request_id()
    response = site.client.get("/file", headers={"If-None-Match": '"blob"', "X-Request-Id": name})
    assert (response.status_code, response.content) == (304, b"")
    assert "content-length" not in response.headers
    ended_as(site, name, natively("GET", "/file", headers={"If-None-Match": '"blob"'}))


# -- bodies


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.req("E-35", "E-38", "E-43")
def test_a_chunked_body_is_read_to_its_end(site: Site) -> None:
    data = BLOB * 8
    pieces = (data[start : start + 50_001] for start in range(0, len(data), 50_001))
    answer = site.client.post("/body", content=pieces).json()
    assert answer == {
        "size": len(data),
        "sha256": digest_of(data),
        "content_length": None,
        "transfer_encoding": None,
        "rest": "",
    }


@pytest.mark.req("E-43")
def test_an_empty_chunked_body_is_empty(site: Site) -> None:
    pieces: Iterator[bytes] = iter(())
    assert site.client.post("/body", content=pieces).json()["size"] == 0


@pytest.mark.req("E-36")
def test_a_body_with_a_length_is_read_in_pieces(site: Site) -> None:
    data = BLOB * 4 + b"odd end"
    answer = site.client.post("/body", content=data).json()
    assert (answer["size"], answer["sha256"]) == (len(data), digest_of(data))
    assert answer["content_length"] == len(data)


@pytest.mark.req("E-37", "E-43")
def test_a_chunked_body_is_iterated_by_lines(site: Site) -> None:
    pieces = iter([b"li", b"ne\nab", b"", b"c\n\nd"])
    assert site.client.post("/lines", content=pieces).json() == ["line\n", "abc\n", "\n", "d"]


@pytest.mark.req("E-43")
def test_json_may_come_in_chunks(site: Site) -> None:
    value = {"name": "käse", "items": list(range(5000))}
    data = json.dumps(value).encode()
    response = site.client.post(
        "/json", content=iter([data[:7], data[7:]]), headers={"Content-Type": "application/json"}
    )
    assert response.json() == value


@pytest.mark.req("E-36", "E-41")
def test_a_large_form_with_files(site: Site) -> None:
    large, small = BLOB * 32, b"\r\n--not the boundary\r\n"
    response = site.client.post(
        "/form",
        data={"text": "ü" * 300_000, "many": ["1", "2"]},
        files=[("file", ("large.bin", large)), ("file", ("smäll.txt", small))],
    )
    answer = response.json()
    assert answer["fields"] == {"text": ["ü" * 300_000], "many": ["1", "2"]}
    assert answer["files"] == [
        {"field": "file", "filename": "large.bin", "size": len(large), "sha256": digest_of(large)},
        {"field": "file", "filename": "smäll.txt", "size": len(small), "sha256": digest_of(small)},
    ]


@pytest.mark.req("E-40")
@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_an_upload_whose_client_leaves_never_looks_complete(site: Site, framing: str) -> None:
    name = request_id()
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        part = bytes(200_000)  # beyond the pre-buffer, so that the app is called
        body = part if "Length" in framing else b"%x\r\n%b\r\n" % (len(part), part)
        head = f"POST /upload-from-the-slow HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n{framing}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert of_kind(site.facts(name, await_="reading"), "reading")
    ended_as(site, name, ["called", "reading", "read failed", "teardown", "closed"])
