"""What WSGIValidator finds in real servers and frameworks: what docs/project/validator-findings-wsgi.md says.

This module is also the application that the servers run: `application`, which is `app` behind a
validator that collects, and beside it a path that tells what was collected.

    python tests/testing/validation/test_wsgi_findings.py granian

prints what is found in one of them, or in all.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_wsgi.servers import SERVERS, Limit, Server
from support.served import TESTS, RunningServer, die_with_parent, run_server, wait_until
from support.wsgi_drive import make_environ

import bridge
from bridge.testing.validation.violations import Violation
from bridge.testing.validation.wsgi import WSGIValidator

TEXT = ("Content-Type", "text/plain")
PIECE = 65536
# A response that no server and no socket takes at once.
PIECES = 400
# How long (seconds) a request waits for a second one that is sent at the same time.
TOGETHER = 10.0


class Boom(Exception):
    """Raised on purpose."""


class Streamed:
    """An iterable that counts how many of it are not closed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        closed.append(1)


opened: list[int] = []
closed: list[int] = []
entered: list[int] = []
begun: list[int] = []
together = threading.Event()


def stream(*steps: Any) -> Streamed:
    """Yields bytes, calls functions, raises exceptions."""

    def chunks() -> Iterator[bytes]:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
            else:
                yield step

    opened.append(1)
    return Streamed(chunks())


def length(environ: dict[str, Any]) -> int:
    try:
        return int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def take(environ: dict[str, Any], read: Any) -> list[bytes]:
    """The body by `read(most)`, not beyond its length, or to its end if the server promises one."""
    if environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated"):
        return list(iter(lambda: read(8), b""))
    left = length(environ)
    pieces = []
    while left > 0 and (piece := read(left)):
        left -= len(piece)
        pieces.append(piece)
    return pieces


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """One probe for each path; all of it as PEP 3333 has it, apart from reading beyond the length."""
    probe = environ["PATH_INFO"]
    body = environ["wsgi.input"]
    if probe == "/late":
        return stream(lambda: start_response("200 OK", [TEXT]), b"late")
    if probe == "/failing-late":
        return stream(
            lambda: start_response("200 OK", [TEXT]),
            b"first",
            lambda: tell_of_error(start_response),
            b"more",
        )
    write = start_response("200 OK", [TEXT])
    if probe == "/failing-early":
        tell_of_error(start_response)
        return [b"sorry"]
    if probe == "/together":
        entered.append(1)
        if len(entered) == 1:
            assert together.wait(TOGETHER)
        else:
            together.set()
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    if probe == "/truncated":
        first = body.read(4)
        begun.append(1)
        return [first, *iter(lambda: body.read(8), b"")]
    if probe in ("/body", "/chunked"):
        return take(environ, lambda most: body.read(min(most, 8))) or [b""]
    if probe == "/line-of-two":
        return [body.readline(2)]
    if probe == "/lines":
        return [body.readline(), body.read(1)]
    if probe == "/all-lines":
        return [*body.readlines(), body.read(4), b"."]
    if probe == "/iterated":
        return [*body, body.read(4), b"."]
    if probe == "/beyond":
        return [body.read(length(environ) + 6), b"."]
    if probe == "/stream":
        return stream(b"one", b"", b"two")
    if probe == "/failing":
        return stream(b"one", Boom())
    if probe == "/big":
        return stream(*[bytes(PIECE)] * PIECES)
    if probe == "/write":
        write(b"written")
        return stream(b"and yielded")
    if probe == "/file" and "wsgi.file_wrapper" in environ:
        return environ["wsgi.file_wrapper"](io.BytesIO(b"a file"))
    if probe == "/errors":
        environ["wsgi.errors"].write("\u20ac\n")
        environ["wsgi.errors"].flush()
    return [b"ok"]


def tell_of_error(start_response: Any) -> None:
    try:
        raise Boom
    except Boom:
        start_response("500 Internal Server Error", [TEXT], sys.exc_info())


if "WSGI_FINDINGS" in os.environ:
    die_with_parent()
# What the app does on purpose is left out.
validator = WSGIValidator(
    app, on_violation="collect", level="SHOULD", ignore=("write/used", "input/beyond-length")
)


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """The validated app, and what was found in it."""
    if environ["PATH_INFO"] != "/found":
        return validator(environ, start_response)
    facts = {
        "open": len(opened) - len(closed),
        "begun": len(begun),
        "found": [vars(each) for each in validator.violations],
    }
    body = json.dumps(facts).encode()
    start_response("200 OK", [TEXT, ("Content-Length", str(len(body)))])
    return [body]


# -- the requests

LINES = b"one\ntwo\nthree\nfour"
NEXT = b"GET /next HTTP/1.1\r\nHost: testserver\r\nConnection: close\r\n\r\n"


def request(method: str, target: str, *headers: str, body: bytes = b"", claims: int | None = None) -> bytes:
    """A request whose `Content-Length` is what it has, or what it claims to have."""
    lines = [f"{method} {target} HTTP/1.1", "Host: testserver", "Connection: close", *headers]
    if body and not any(each.startswith("Transfer-Encoding") for each in headers):
        lines.append(f"Content-Length: {len(body) if claims is None else claims}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


REQUESTS = [
    request("GET", "/plain"),
    b"GET /old HTTP/1.0\r\n\r\n",
    request("HEAD", "/plain"),
    request("PURGE", "/plain?"),
    request("OPTIONS", "*"),
    request("GET", "http://other.example:99/absolute"),
    request("GET", "//double//slash"),
    request("GET", "/a%2Fb%C3%A9%FF?raw=%FF"),
    request("GET", "/headers", "X-Latin: caf\xe9", "X-Empty:", "Proxy: x", "X-Tab: a\tb"),
    request("GET", "/underscores", "Content_Type: text/plain", "Content_Length: 4"),
    request("POST", "/plus-length", "Content-Length: +4") + b"text",
    request("POST", "/body", body=b"twenty bytes of text"),
    request("POST", "/line-of-two", body=LINES),
    request("POST", "/lines", body=LINES),
    request("POST", "/chunked", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    request("GET", "/stream"),
    request("GET", "/late"),
    request("GET", "/failing"),
    request("GET", "/failing-late"),
    request("GET", "/failing-early"),
    request("GET", "/write"),
    request("GET", "/file"),
    request("GET", "/errors"),
]
TRUNCATED_UPLOAD = request("POST", "/truncated", body=b"text", claims=20)
# To some servers the client has to say that it sends no more, as they read on where the body is over.
READING_ON = ("cheroot", "werkzeug", "wsgiref")
READ_ON = [
    request("POST", "/all-lines", body=LINES),
    request("POST", "/iterated", body=LINES + NEXT, claims=len(LINES)),
    request("POST", "/beyond", body=b"text" + NEXT, claims=4),
]


def ask(
    address: tuple[str, int],
    raw: bytes,
    *,
    end: bool = False,
    before_end: Callable[[], object] = lambda: None,
    enough: int | None = None,
) -> bytes:
    """The answer, up to the end of the connection or until it is enough.

    With `end`, the client closes its side once it has sent everything and `before_end` has returned.
    """
    received = bytearray()
    with socket.create_connection(address, 10.0) as connection:
        connection.sendall(raw)
        if end:
            before_end()
            connection.shutdown(socket.SHUT_WR)
        try:
            while data := connection.recv(PIECE):
                received += data
                if enough is not None and len(received) >= enough:
                    break
        except ConnectionError:
            pass
    return bytes(received)


def facts(running: RunningServer) -> dict[str, Any]:
    answer = ask(running.address, request("GET", "/found"))
    found: dict[str, Any] = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
    return found


def findings(spec: Server, directory: Path) -> list[Violation]:
    """What the validator finds in a server, all requests taken together."""
    with run_server(
        lambda port: spec.argv("testing.validation.test_wsgi_findings:application", port, 1),
        directory,
        {"WSGI_FINDINGS": "1"},
    ) as running:
        for raw in REQUESTS:
            ask(running.address, raw)
        for raw in READ_ON:
            ask(running.address, raw, end=spec.name in READING_ON)

        def until_it_is_read() -> None:
            # Granian gives the request up when the client has closed its side, however far it is.
            if spec.name == "granian":
                wait_until(lambda: facts(running)["begun"] > 0, 30.0, "the body is being read")

        ask(running.address, TRUNCATED_UPLOAD, end=True, before_end=until_it_is_read)
        # Without patches, a greenlet that waits as a thread does holds up all others.
        if not spec.lacks(Limit.ONE_AT_A_TIME) and spec.name != "pywsgi":
            both = [
                threading.Thread(target=ask, args=(running.address, request("GET", "/together")))
                for _ in "12"
            ]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
        # A client that leaves in the middle; its response has to be closed nevertheless.
        ask(running.address, request("GET", "/big"), enough=2 * PIECE)
        wait_until(lambda: facts(running)["open"] == 0, 30.0, "every iterable is closed")
        return [Violation(**each) for each in facts(running)["found"]]


Found = dict[tuple[str, str], str]


def first_of_each(violations: list[Violation]) -> Found:
    """Rule and what came, with the path of the first request in which it was found."""
    found: Found = {}
    for each in violations:
        path = each.where.partition(",")[0].partition(" ")[2]
        found.setdefault((each.rule, re.sub(r"(?<=Cheroot/)[\d.]+", "…", each.came)), path)
    return found


TRUNCATED: Found = {("input/truncated", "the end after 4 of 20 bytes"): "/truncated"}
PLUS: Found = {("environ/CONTENT_LENGTH", "'+4'"): "/plus-length"}
ABSOLUTE: Found = {
    (
        "environ/PATH_INFO",
        "'http://other.example:99/absolute'",
    ): "http://other.example:99/absolute"
}
NO_END: Found = {
    ("input/surplus", "38 bytes of 18"): "/iterated",
    ("input/surplus", "10 bytes of 4"): "/beyond",
}
AGAIN: Found = {
    ("iterable/again", "iter() after 1 chunks"): "/plain",
    ("iterable/again", "iter() after 0 chunks"): "/plain",  # of the response to HEAD
}

EXPECTED: dict[str, Found] = {
    "gunicorn-sync": TRUNCATED,
    "gunicorn-gthread": TRUNCATED,
    "gunicorn-gevent": TRUNCATED,
    "waitress": {},
    "cheroot": {
        ("environ/SERVER_NAME", "'Cheroot/…'"): "/plain",
        ("environ/wsgi.input", "ChunkedRFile without __iter__"): "/chunked",
        ("input/truncated", "the end after 0 of 18 bytes"): "/all-lines",
        ("input/end", "4 bytes after the end"): "/all-lines",
        ("input/surplus", "38 bytes of 18"): "/iterated",
        **PLUS,
        **TRUNCATED,
    },
    "werkzeug": {("environ/str", "REMOTE_PORT of type int"): "/plain", **PLUS, **TRUNCATED, **NO_END},
    "wsgiref": {**ABSOLUTE, **PLUS, **TRUNCATED, **NO_END},
    "pywsgi": {**AGAIN, **ABSOLUTE, **PLUS},
    "pywsgi-patched": {
        ("call/multithread", "2 threads in the application"): "/together",
        **AGAIN,
        **ABSOLUTE,
        **PLUS,
    },
    "granian": {
        ("start_response/write", "NoneType"): "/plain",
        ("start_response/not-raised", "it returned"): "/failing-late",
        ("environ/SERVER_PROTOCOL", "'HTTP/1'"): "/old",
        ("environ/content-header", "HTTP_CONTENT_TYPE"): "/underscores",
        ("environ/content-header", "HTTP_CONTENT_LENGTH"): "/underscores",
        ("input/readline-size", "3 bytes where 2 were asked for"): "/line-of-two",
        ("input/line", "a line without its newline, and then more"): "/lines",
        ("input/truncated", "the end after 15 of 18 bytes"): "/all-lines",
        ("input/truncated", "the end after 3 of 18 bytes"): "/iterated",
        ("input/end", "4 bytes after the end"): "/iterated",
        **TRUNCATED,
    },
    "uwsgi": {
        ("input/readline-size", "4 bytes where 2 were asked for"): "/line-of-two",
        **ABSOLUTE,
        **PLUS,
    },
    "mod_wsgi": {},
}

# -- frameworks, as the application


def in_process(framework: Any) -> list[Violation]:
    """What is found in a framework's application by a server that has no faults."""
    checked = WSGIValidator(framework, on_violation="collect", level="SHOULD")
    for method, path, body in (
        ("GET", "/plain", b""),
        ("HEAD", "/plain", b""),
        ("GET", "/nothing", b""),
        ("GET", "/cookie", b""),
        ("GET", "/stream", b""),
        ("GET", "/absent", b""),
        ("POST", "/body", b"text"),
    ):
        # A stream that has more than the PEP promises, as many servers' have.
        extra: dict[str, Any] = {"wsgi.input": io.BytesIO(body)}
        written: list[bytes] = []
        response = checked(make_environ(method, path, body, **extra), lambda *_: written.append)  # noqa: B023
        for _ in response:
            pass
        if hasattr(response, "close"):
            response.close()
    return checked.violations


def flask_app() -> Any:
    from flask import Flask, Response, make_response
    from flask import request as current

    site = Flask("findings")

    @site.get("/plain")
    def plain() -> Any:
        return "text"

    @site.get("/nothing")
    def nothing() -> Any:
        return "", 204

    @site.get("/cookie")
    def cookie() -> Any:
        response = make_response("text")
        response.set_cookie("name", "value")
        return response

    @site.get("/stream")
    def streamed() -> Any:
        return Response(iter([b"one", b"two"]), mimetype="text/plain")

    @site.post("/body")
    def uploaded() -> Any:
        return current.get_data()

    return site


def django_app() -> Any:
    """With the middleware of a new project. Settings are of the process: call it in one of its own."""
    import types

    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    settings.configure(
        SECRET_KEY="key",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="findings_urls",
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )

    def cookie(request: Any) -> Any:
        response = HttpResponse("text")
        response.set_cookie("name", "value")
        return response

    urls = types.ModuleType("findings_urls")
    vars(urls)["urlpatterns"] = [
        path("plain", lambda request: HttpResponse("text")),
        path("nothing", lambda request: HttpResponse(status=204)),
        path("cookie", cookie),
        path("stream", lambda request: StreamingHttpResponse(iter([b"one", b"two"]))),
        path("body", lambda request: HttpResponse(request.body)),
    ]
    sys.modules["findings_urls"] = urls
    django.setup()
    return WSGIHandler()


TYPE_WITH_204: Found = {("headers/content-type/forbidden", "Content-Type with 204"): "/nothing"}
IN_FLASK: Found = {("input/attribute", "readinto was asked for"): "/body", **TYPE_WITH_204}
IN_DJANGO: Found = {
    ("headers/content-length/forbidden", "Content-Length with 204"): "/nothing",
    ("headers/value/white-space", "white space at the start of the value of b'Set-Cookie'"): "/cookie",
    ("body/head", "4 bytes"): "/plain",
    **TYPE_WITH_204,
}


def test_flask_has_these_faults_and_no_others() -> None:
    violations = in_process(flask_app())
    assert first_of_each(violations) == IN_FLASK
    assert {each.side for each in violations} == {"app"}


def test_django_has_these_faults_and_no_others() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testing.validation.test_wsgi_findings", "django"],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(Path(str(bridge.__file__)).resolve().parents[1])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    violations = [Violation(**each) for each in json.loads(done.stdout)]
    assert first_of_each(violations) == IN_DJANGO
    assert {each.side for each in violations} == {"app"}


PAGE = Path(__file__).resolve().parents[3] / "docs" / "project" / "validator-findings-wsgi.md"

# With --preload the same code serves.
TESTED = [each for each in SERVERS if each.missing is None and "preload" not in each.name]


@pytest.mark.skipif(sys.platform != "linux", reason="the servers are started as process groups of Linux")
@pytest.mark.parametrize(
    "spec",
    [pytest.param(each, id=each.name, marks=pytest.mark.xdist_group(f"wsgi-{each.name}")) for each in TESTED],
)
def test_a_server_has_these_faults_and_no_others(spec: Server, tmp_path: Path) -> None:
    """All of them the server's: the app is in order, and closed in each case."""
    violations = findings(spec, tmp_path)
    assert first_of_each(violations) == EXPECTED[spec.name]
    assert {each.side for each in violations} <= {"server"}


def sections() -> dict[str, str]:
    """The page's sections by the name of the server."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


# Ways of serving that have one section.
SECTION = {
    "gunicorn-sync": "Gunicorn",
    "gunicorn-gthread": "Gunicorn",
    "gunicorn-gevent": "Gunicorn",
    "waitress": "Waitress",
    "cheroot": "Cheroot",
    "werkzeug": "Werkzeug",
    "wsgiref": "wsgiref",
    "pywsgi": "gevent's pywsgi",
    "pywsgi-patched": "gevent's pywsgi",
    "granian": "Granian",
    "uwsgi": "uWSGI",
    "mod_wsgi": "mod_wsgi",
    "flask": "Flask",
    "django": "Django",
}


@pytest.mark.parametrize("name", sorted(set(SECTION.values())))
def test_the_page_tells_what_was_found_and_nothing_else(name: str) -> None:
    """The rows of each server's table are the rules that it breaks."""
    all_expected = {**EXPECTED, "flask": IN_FLASK, "django": IN_DJANGO}
    rules = {rule for spec, title in SECTION.items() if title == name for rule, _ in all_expected[spec]}
    (section,) = (text for title, text in sections().items() if title.startswith(f"{name} "))
    told = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert told == rules


if __name__ == "__main__" and sys.argv[1:] == ["django"]:
    print(json.dumps([vars(each) for each in in_process(django_app())]))
elif __name__ == "__main__":
    for server in SERVERS:
        if (
            server.missing is None
            and "preload" not in server.name
            and (server.name in sys.argv or not sys.argv[1:])
        ):
            with tempfile.TemporaryDirectory() as name:
                violations = findings(server, Path(name))
            print(server.name)
            sides = {each.rule: (each.side, each.level) for each in violations}
            for (rule, came), path in first_of_each(violations).items():
                print("   ", *sides[rule], rule, "|", came, "|", path)
