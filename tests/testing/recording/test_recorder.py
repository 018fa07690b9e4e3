"""The recorder records, and nobody notices."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastapi
import flask
import pytest
from support.drive import LOOPS, Exchange, Signal, disconnect, length, post, requests, run, serve
from support.leftovers import no_longer_there, own_garbage
from support.scopes import http_scope
from support.served import run_server
from support.wsgi_drive import Exchange as WSGIExchange
from support.wsgi_drive import drive, make_environ

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.exceptions import UsageError
from bridge.testing.recording import recorder as module
from bridge.testing.recording.marks import MARK
from bridge.testing.recording.recorder import Recorder
from bridge.testing.recording.recordings import Recorded, load
from bridge.testing.recording.redaction import Redaction
from bridge.testing.recording.writer import RecorderStats
from bridge.testing.validation.asgi import ASGIValidator
from bridge.testing.validation.wsgi import WSGIValidator
from bridge.translate.interface import Interface, interface_of

TIMEOUT = 20.0
ROOT = Path(module.__file__).parents[3]

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


def recorded(recorder: Recorder) -> list[Recorded]:
    assert recorder.close(TIMEOUT)
    return load(recorder.path)


def echo_wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("201 Made", [("Content-Type", "text/plain"), ("X-Case", "a"), ("x-case", "b")])
    yield b"you said "
    yield body


async def echo_asgi(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send(
        {"type": "http.response.start", "status": 201, "headers": [(b"x-case", b"a"), (b"x-case", b"b")]}
    )
    await send({"type": "http.response.body", "body": b"you said ", "more_body": True})
    await send({"type": "http.response.body", "body": body, "more_body": False})


# -- what it is


class ASGI2:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await echo_asgi(self.scope, receive, send)


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (echo_wsgi, Interface.WSGI),
        (echo_asgi, Interface.ASGI3),
        (ASGI2, Interface.ASGI3),
        (flask.Flask("x"), Interface.WSGI),
        (fastapi.FastAPI(), Interface.ASGI3),
        (WSGIToASGI(echo_wsgi), Interface.ASGI3),
        (ASGIToWSGI(echo_asgi), Interface.WSGI),
    ],
    ids=["wsgi", "asgi", "asgi2", "flask", "fastapi", "WSGIToASGI", "ASGIToWSGI"],
)
def test_it_has_the_interface_of_its_app(app: Any, interface: Interface, path: Path) -> None:
    recorder = Recorder(app, path)
    assert isinstance(recorder, Recorder)
    assert interface_of(recorder).interface is interface
    assert interface_of(Recorder(recorder, path)).interface is interface
    assert recorder.app is app


@pytest.mark.parametrize("app", [None, "x:app", lambda: None, 1])
def test_what_is_no_app_is_refused(app: Any, path: Path) -> None:
    with pytest.raises(UsageError, match="expects a WSGI or ASGI application"):
        Recorder(app, path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 1.5}, "from 0 to 1"),
        ({"sample": True}, "from 0 to 1"),
        ({"redact": "yes"}, "Redaction or None"),
        ({"max_body": -1}, "max_body"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_exchanges": 0}, "max_exchanges"),
        ({"max_waiting": 0}, "max_waiting"),
        ({"include": "("}, "include must be regular expressions"),
        ({"exclude": [1]}, "exclude must be regular expressions"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        Recorder(echo_wsgi, path, **options)


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_text("my notes")
    with pytest.raises(UsageError, match="is no recording"):
        Recorder(echo_wsgi, path)
    with pytest.raises(UsageError, match="path must be the name of a file"):
        Recorder(echo_wsgi, 7)  # type: ignore[arg-type]


def test_nothing_starts_and_no_file_is_made_before_the_first_request(path: Path) -> None:
    before = set(threading.enumerate())
    Recorder(echo_wsgi, path)
    assert set(threading.enumerate()) <= before
    assert not path.exists()


# -- what is recorded


def test_a_wsgi_exchange(path: Path) -> None:
    recorder = Recorder(echo_wsgi, path)
    answer = drive(
        recorder,
        method="POST",
        path="/a%20b/%C3%A9?q=%41&q=",
        body=b"hello",
        headers=[("X-A", "1")],
        strict=False,
    )
    assert (answer.status, answer.body) == (201, b"you said hello")
    (item,) = recorded(recorder)
    assert (item.request.method, item.request.target) == ("POST", "/a%20b/%C3%A9?q=%41&q=")
    assert item.request.content == b"hello"
    assert item.request.header("x-a") == "1"
    assert (item.response.status, item.response.reason) == (201, "Made")
    assert item.response.headers == (("Content-Type", "text/plain"), ("X-Case", "a"), ("x-case", "b"))
    assert item.response.chunks == (b"you said ", b"hello")
    assert item.response.elapsed > 0
    assert item.started is not None
    assert item.started.tzinfo is not None
    assert item.origin == "http://testserver"
    assert not item.cut
    assert not item.redacted


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("app", [echo_asgi, ASGI2], ids=["asgi3", "asgi2"])
def test_an_asgi_exchange(app: Any, loop: str, path: Path) -> None:
    recorder = Recorder(app, path)
    scope = post(length(5), path="/a b", query_string=b"q=%41")
    done = serve(recorder, scope, requests(b"he", b"llo"), loop=loop).unwrap()
    assert (done.status, done.body) == (201, b"you said hello")
    (item,) = recorded(recorder)
    assert (item.request.method, item.request.target) == ("POST", "/a%20b?q=%41")
    assert item.request.body == b"hello"
    assert item.response.headers == (("x-case", "a"), ("x-case", "b"))
    assert item.response.chunks == (b"you said ", b"hello")
    assert not item.cut


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_frameworks(server: str, path: Path) -> None:
    """Flask and FastAPI, with a form, JSON and an error; secrets are not in the file."""
    app: Any
    if server == "asgi":
        pytest.importorskip("python_multipart", reason="FastAPI reads forms by it")
    if server == "wsgi":
        app = flask.Flask("x")

        @app.post("/login")  # type: ignore[untyped-decorator]
        def login() -> Any:
            return flask.jsonify(token="hunter2-token", name=flask.request.form["name"])
    else:
        app = fastapi.FastAPI()

        @app.post("/login")  # type: ignore[untyped-decorator]
        def login_too(name: str = fastapi.Form()) -> dict[str, str]:
            return {"token": "hunter2-token", "name": name}

    recorder = Recorder(app, path)
    wsgi = recorder if server == "wsgi" else ASGIToWSGI(recorder)
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    for target in ("/login", "/nowhere?token=hunter2"):
        drive(
            wsgi, method="POST", path=target, body=b"name=me&password=hunter2", headers=[kind], strict=False
        )
    if isinstance(wsgi, ASGIToWSGI):
        wsgi.close()
    first, second = recorded(recorder)
    assert b"hunter2" not in path.read_bytes()
    assert MARK.sub("*", first.request.content.decode()) == "name=me&password=*"
    assert MARK.fullmatch(json.loads(first.response.body)["token"])
    assert json.loads(first.response.body)["name"] == "me"
    assert (first.response.status, second.response.status) == (200, 404)
    assert first.redacted


def test_everything_is_recorded_if_asked_for(path: Path) -> None:
    recorder = Recorder(echo_wsgi, path, redact=None)
    drive(recorder, path="/?token=hunter2", strict=False)
    (item,) = recorded(recorder)
    assert item.request.target == "/?token=hunter2"
    assert not item.redacted


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({"path": "/a%2Fb"}, "/a%2Fb"),
        ({"path": "/a", "SCRIPT_NAME": "/root"}, "/root/a"),
        ({"path": "/a", "RAW_URI": "http://host/a?"}, "/a"),
        ({"path": "/\u00ff"}, "/%C3%BF"),
    ],
)
def test_the_target_is_that_of_the_client(environ: dict[str, Any], target: str, path: Path) -> None:
    recorder = Recorder(echo_wsgi, path)
    given = make_environ(path=environ.pop("path"))
    given.update(environ)
    list(recorder(given, lambda *args: print))
    assert recorded(recorder)[0].request.target == target


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ({"path": "/a/b", "raw_path": b"/a%2Fb"}, "/a%2Fb"),
        ({"path": "/a b", "raw_path": None}, "/a%20b"),
        ({"path": "/rewritten", "raw_path": b"/original"}, "/rewritten"),
        ({"path": "/a", "raw_path": b"/a?x", "query_string": b"x"}, "/a?x"),
        ({"path": "/\ud800"}, "/%3F"),
        ({"path": ""}, "/"),
        ({"path": "*", "raw_path": b"*"}, "*"),
    ],
)
def test_the_target_of_a_scope(scope: dict[str, Any], target: str, path: Path) -> None:
    recorder = Recorder(echo_asgi, path)
    serve(recorder, http_scope(**scope), requests(b""))
    assert recorded(recorder)[0].request.target == target


def test_a_request_that_no_recording_can_hold_is_skipped(path: Path) -> None:
    recorder = Recorder(echo_asgi, path)
    done = serve(recorder, http_scope(path="host:443", raw_path=b"host:443", method="CONNECT"), requests(b""))
    assert done.status == 201
    assert recorder.stats == RecorderStats(skipped=1)
    assert recorded_nothing(recorder)


def recorded_nothing(recorder: Recorder) -> bool:
    recorder.close(TIMEOUT)
    return not os.path.exists(recorder.path)


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_bodies_beyond_the_limit_are_cut_and_say_so(server: str, path: Path) -> None:
    recorder = Recorder(echo_wsgi if server == "wsgi" else echo_asgi, path, max_body=4)
    if server == "wsgi":
        assert drive(recorder, method="POST", body=b"hello", strict=False).body == b"you said hello"
    else:
        assert serve(recorder, post(length(5)), requests(b"hel", b"lo")).body == b"you said hello"
    (item,) = recorded(recorder)
    assert (item.request.content, item.request_state) == (b"hell", "cut")
    assert (item.response.body, item.response_state) == (b"you ", "cut")


@pytest.mark.parametrize("read", [0, 2])
def test_a_body_that_the_app_did_not_read(read: int, path: Path) -> None:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(read)
        start_response("200 OK", [])
        return []

    recorder = Recorder(wsgi, path)
    drive(recorder, method="POST", body=b"hello", strict=False)
    (item,) = recorded(recorder)
    assert (item.request.content, item.request_state) == (b"hello"[:read], "unread")


async def unread(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize(
    ("scope", "state"),
    [
        (post(length(5)), "unread"),
        (post(length(0)), "whole"),
        (post((b"transfer-encoding", b"chunked")), "unread"),
        (post(), "whole"),
        (post(http_version="2"), "unread"),
        (http_scope(http_version="2"), "whole"),
    ],
)
def test_whether_there_was_a_body_to_read(scope: dict[str, Any], state: str, path: Path) -> None:
    recorder = Recorder(unread, path)
    serve(recorder, scope, requests(b""))
    assert recorded(recorder)[0].request_state == state


READS: list[Callable[[Any], object]] = [
    lambda file: file.read(5),
    lambda file: file.read(),
    lambda file: [file.readline(), file.readline(), file.readline()],
    lambda file: file.readlines(),
    lambda file: list(file),
    lambda file: file.readinto(bytearray(5)),
    lambda file: file.read1(5),
    lambda file: io.BufferedReader(file).read(),
]


@pytest.mark.parametrize("read", READS, ids=range(len(READS)))
def test_every_way_to_read(read: Callable[[Any], object], path: Path) -> None:
    """The app gets what it would get without the recorder, and all of it is recorded."""
    results = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        result = read(environ["wsgi.input"])
        results.append([bytes(each) for each in result] if isinstance(result, list) else result)
        start_response("200 OK", [])
        return []

    recorder = Recorder(app, path)
    for wsgi in (app, recorder):
        environ = make_environ(method="POST", body=b"")
        environ.update({"wsgi.input": io.BytesIO(b"he\nlo"), "CONTENT_LENGTH": "5"})
        wsgi(environ, lambda *args: print)
    assert results[0] == results[1]
    (item,) = recorded(recorder)
    assert (item.request.content, item.request_state) == (b"he\nlo", "whole")


def test_what_the_servers_file_does_not_have_is_not_there(path: Path) -> None:
    class Bare:
        def read(self, size: int = -1) -> bytes:
            return b""

    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append([hasattr(environ["wsgi.input"], name) for name in ("readinto", "fileno", "read1")])
        start_response("200 OK", [])
        return []

    environ = make_environ()
    environ["wsgi.input"] = Bare()
    Recorder(app, path)(environ, lambda *args: print)
    assert seen == [[False, False, False]]


def test_write(path: Path) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])(b"one ")
        return iter([b"two"])

    recorder = Recorder(app, path)
    assert drive(recorder, strict=False).body == b"one two"
    assert recorded(recorder)[0].response.body == b"one two"


def test_a_status_that_is_replaced(path: Path) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Oh", [("X", "1")], sys.exc_info())
        yield b"sorry"

    recorder = Recorder(app, path)
    assert drive(recorder, strict=False).status == 500
    (item,) = recorded(recorder)
    assert (item.response.status, item.response.headers, item.response.body) == (500, (("X", "1"),), b"sorry")


class Sized:
    def __init__(self) -> None:
        self.closed = 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"x"])

    def close(self) -> None:
        self.closed += 1


def test_servers_still_learn_the_length_of_a_response(path: Path) -> None:
    """wsgiref and Waitress set a Content-Length if the iterable says that it has one piece."""
    bodies: list[Any] = [[b"x"], (b"x",), Sized(), iter([b"x"])]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return bodies[int(environ["QUERY_STRING"])]

    recorder = Recorder(app, path)
    results = [recorder(make_environ(path=f"/?{number}"), lambda *args: print) for number in range(4)]
    assert results[0] is bodies[0]
    assert results[1] is bodies[1]
    assert len(results[2]) == 1
    assert not hasattr(results[3], "__len__")
    assert [list(result) for result in results] == [[b"x"]] * 4
    results[2].close()
    assert bodies[2].closed == 1
    assert [item.response.body for item in recorded(recorder)] == [b"x"] * 4


# -- what goes wrong


def test_an_app_that_raises(path: Path) -> None:
    def at_once(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("token=hunter2")

    def later(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise KeyError("no")

    for app, error in ((at_once, ValueError), (later, KeyError)):
        recorder = Recorder(app, path)
        with pytest.raises(error):
            drive(recorder, strict=False).unwrap()
        recorder.close(TIMEOUT)
    first, second = load(path)
    assert (first.response.status, MARK.sub("*", str(first.response.error))) == (0, "ValueError: token=*")
    assert (second.response.status, second.response.body) == (200, b"one")
    assert str(second.response.error) == "KeyError: 'no'"


@pytest.mark.parametrize("loop", LOOPS)
def test_an_asgi_app_that_raises(loop: str, path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("no")

    recorder = Recorder(app, path)
    assert isinstance(serve(recorder, loop=loop).error, ValueError)
    (item,) = recorded(recorder)
    assert str(item.response.error) == "ValueError: no"


def test_an_asgi_app_that_stops_half_way(path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if scope["path"] == "/gone":
            assert (await receive())["type"] == "http.disconnect"

    recorder = Recorder(app, path)
    serve(recorder, http_scope(path="/stops"))
    serve(recorder, http_scope(path="/gone"), [disconnect()])
    stops, gone = recorded(recorder)
    assert str(stops.response.error).startswith("IncompleteResponse")
    assert (gone.response.error, gone.response_state, gone.response.body) == (None, "unread", b"a")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_that_is_cancelled(loop: str, path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await receive()

    async def client(exchange: Exchange) -> None:
        await exchange.receiving(1)
        exchange.cancel()

    recorder = Recorder(app, path)
    assert serve(recorder, beside=client, loop=loop).cancelled
    (item,) = recorded(recorder)
    assert (item.response_state, item.response.error) == ("unread", None)


def test_a_server_that_closes_early(path: Path) -> None:
    recorder = Recorder(echo_wsgi, path)
    with WSGIExchange(recorder, strict=False) as exchange:
        exchange.call()
        assert exchange.next() == b"you said "
        exchange.close()
    (item,) = recorded(recorder)
    assert (item.response.body, item.response_state) == (b"you said ", "unread")


def test_a_path_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are served, and it is said once."""
    recorder = Recorder(echo_wsgi, tmp_path / "no" / "folder" / "x.jsonl")
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        for _ in range(3):
            assert drive(recorder, strict=False).status == 201
        assert recorder.flush(TIMEOUT)
    assert recorder.stats == RecorderStats(dropped=3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    recorder.close(TIMEOUT)


def test_a_full_queue_drops_and_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    redaction = Redaction()
    monkeypatch.setattr(redaction, "exchange", lambda item: (go.wait(TIMEOUT), item)[1])
    recorder = Recorder(echo_wsgi, path, redact=redaction, max_waiting=3)
    for _ in range(5):
        assert drive(recorder, strict=False).status == 201
    assert not recorder.flush(0.01)
    go.set()
    assert len(recorded(recorder)) == 3
    assert recorder.stats == RecorderStats(written=3, dropped=2)


def test_a_redaction_that_fails_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redaction = Redaction()
    monkeypatch.setattr(redaction, "exchange", lambda item: 1 / 0)
    recorder = Recorder(echo_wsgi, path, redact=redaction)
    drive(recorder, path="/?token=hunter2", strict=False)
    assert recorded_nothing(recorder)
    assert recorder.stats == RecorderStats(dropped=1)


def test_after_close_requests_pass(path: Path) -> None:
    recorder = Recorder(echo_wsgi, path)
    with recorder:
        drive(recorder, strict=False)
    assert drive(recorder, strict=False).status == 201
    assert len(load(path)) == 1


@own_garbage()
def test_a_recorder_that_is_forgotten_ends_its_thread(path: Path) -> None:
    before = set(threading.enumerate())
    recorder = Recorder(echo_wsgi, path)
    environ = make_environ()
    list(recorder(environ, lambda *args: print))
    assert recorder.flush(TIMEOUT)
    (thread,) = set(threading.enumerate()) - before
    assert thread.name == "bridge-recorder"
    del environ
    gone = weakref.ref(recorder)
    del recorder
    no_longer_there(gone)
    thread.join(TIMEOUT)
    assert not thread.is_alive()


# -- which are recorded


def test_paths(path: Path) -> None:
    recorder = Recorder(unread, path, include=["^/api/", "x$"], exclude="/health")
    for each in ("/api/1", "/api/health", "/", "/x", "/y?/api/"):
        target, _, query = each.partition("?")
        serve(recorder, http_scope(path=target, query_string=query.encode()), requests(b""))
    assert [item.request.path for item in recorded(recorder)] == ["/api/1", "/x"]
    assert recorder.stats == RecorderStats(written=2, skipped=3)


def test_a_sample_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    taken = []
    for name in ("a", "b"):
        recorder = Recorder(unread, tmp_path / name, sample=0.5, seed=7)
        for number in range(40):
            serve(recorder, http_scope(path=f"/{number}"), requests(b""))
        taken.append([item.request.target for item in recorded(recorder)])
    assert taken[0] == taken[1]
    assert 8 < len(taken[0]) < 32


def test_no_sample_and_a_number_of_exchanges(tmp_path: Path) -> None:
    none = Recorder(unread, tmp_path / "a", sample=0)
    some = Recorder(unread, tmp_path / "b", max_exchanges=2)
    for _ in range(3):
        serve(none, http_scope(), requests(b""))
        serve(some, http_scope(), requests(b""))
    assert recorded_nothing(none)
    assert len(recorded(some)) == 2
    assert some.stats == RecorderStats(written=2, skipped=1)


def test_a_file_does_not_grow_beyond_its_limit(path: Path) -> None:
    recorder = Recorder(echo_wsgi, path, max_bytes=2000)
    for _ in range(20):
        drive(recorder, strict=False)
    assert 0 < len(recorded(recorder)) < 20
    assert path.stat().st_size <= 2000
    assert recorder.stats.written + recorder.stats.skipped == 20


# -- that nobody notices


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "custom"])
def test_other_scopes_pass_untouched(kind: str, path: Path) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    given = ({"type": kind}, object(), object())
    recorder = Recorder(app, path)

    async def call() -> None:
        await recorder(*given)

    asyncio.run(call())
    assert all(one is other for one, other in zip(seen[0], given, strict=True))
    assert recorded_nothing(recorder)


def test_an_endless_wsgi_response_streams(path: Path) -> None:
    """Each chunk is there before the next one is made, and no more is held than is kept."""
    made = []
    closed = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                made.append(1)
                yield b"x" * 1000
        finally:
            closed.append(1)

    recorder = Recorder(app, path, max_body=1500)
    with WSGIExchange(recorder, strict=False) as exchange:
        exchange.call()
        for number in range(1, 100):
            assert exchange.next() == b"x" * 1000
            assert len(made) == number
        exchange.close()
    assert closed == [1]
    (item,) = recorded(recorder)
    assert (item.response.body, item.response_state) == (b"x" * 1500, "cut")


@pytest.mark.parametrize("loop", LOOPS)
def test_an_endless_asgi_response_streams(loop: str, path: Path) -> None:
    """Each message goes on at once, and `send()` returns no sooner than that of the server."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    exchange = Exchange(Recorder(app, path), http_scope(), turns=1)

    async def client(exchange: Exchange) -> None:
        exchange.hold()
        await exchange.sending(1)
        assert exchange.sends == len(exchange.sent) <= 2
        exchange.release()
        await exchange.until_body(3)
        exchange.cancel()

    assert run(lambda: exchange.go(client), loop).cancelled


@pytest.mark.parametrize("loop", LOOPS)
def test_a_response_ends_for_the_recording_when_it_ends_for_the_client(loop: str, path: Path) -> None:
    """What the app does afterwards is no part of it."""
    go = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await unread(scope, receive, send)
        await go.come()

    recorder = Recorder(app, path)

    async def client(exchange: Exchange) -> None:
        await exchange.sending(2)
        assert recorder.flush(TIMEOUT)
        assert recorder.stats.written == 1
        go.set()

    serve(recorder, http_scope(), requests(b""), beside=client, loop=loop)
    assert len(recorded(recorder)) == 1


def test_what_the_app_receives_after_its_response_is_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's thread may be reading the exchange by then; here it is busy with another one."""
    go = threading.Event()
    redaction = Redaction()
    monkeypatch.setattr(redaction, "exchange", lambda item: (go.wait(TIMEOUT), item)[1])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await unread(scope, receive, send)
        await receive()

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request", "body": b"late", "more_body": False}

    recorder = Recorder(app, path, redact=redaction)
    for _ in range(2):
        asyncio.run(recorder(post(length(4)), receive, send))
    go.set()
    assert [item.request.content for item in recorded(recorder)] == [b"", b""]


def test_trailers_and_files_that_the_server_sends(path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"a"})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"y", b"2")]})

    async def file(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/etc/hosts"})

    async def nowhere(message: Any) -> None:
        pass

    async def nothing() -> Any:
        return {"type": "http.disconnect"}

    for each in (app, file):
        recorder = Recorder(each, path)
        asyncio.run(recorder(http_scope(), nothing, nowhere))
        recorder.close(TIMEOUT)
    first, second = load(path)
    assert first.response.trailers == (("x", "1"), ("y", "2"))
    assert not first.cut
    assert (second.response.body, second.response_state) == (b"", "cut")


def test_compressed_responses_stay_readable(path: Path) -> None:
    body = gzip.compress(b'{"token": "hunter2", "a": 1}')

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Encoding", "gzip")])
        return [body]

    recorder = Recorder(app, path)
    assert drive(recorder, strict=False).body == body
    (item,) = recorded(recorder)
    value = json.loads(gzip.decompress(item.response.body))
    assert MARK.fullmatch(value["token"])
    assert value["a"] == 1


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_no_rule_is_broken_on_either_side(server: str, path: Path) -> None:
    """With a validator around the recorder and one within."""
    if server == "wsgi":
        inner = WSGIValidator(echo_wsgi)
        outer = WSGIValidator(Recorder(inner, path))
        answer = drive(outer, method="POST", body=b"hello", strict=False).unwrap()
        assert answer.body == b"you said hello"
        outer.assert_clean()
        inner.assert_clean()
    else:
        within = ASGIValidator(echo_asgi)
        around = ASGIValidator(Recorder(within, path))
        done = serve(around, post(length(5)), requests(b"hello")).unwrap()
        assert done.body == b"you said hello"
        around.assert_clean()
        within.assert_clean()


# -- threads and processes


@pytest.mark.parametrize("name", ["a.jsonl", "a.har"])
def test_many_threads(name: str, tmp_path: Path) -> None:
    recorder = Recorder(echo_wsgi, tmp_path / name)

    def ask(number: int) -> int:
        environ = make_environ(path=f"/{number}")
        return len(list(recorder(environ, lambda *args: print)))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(200))) == {2}
    items = recorded(recorder)
    assert sorted(int(item.request.path[1:]) for item in items) == list(range(200))
    assert recorder.stats == RecorderStats(written=200)


@needs_fork
def test_after_a_fork_the_child_records_too(path: Path) -> None:
    """The thread of the parent is not there in the child, whatever it was doing."""
    code = (
        "import os, sys\n"
        "from bridge.testing.recording.recorder import Recorder\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'x']\n"
        f"recorder = Recorder(app, {os.fspath(path)!r})\n"
        "def ask(path):\n"
        "    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': path}\n"
        "    recorder(environ, lambda *args: None)\n"
        "for n in range(20): ask('/parent')\n"
        "children = []\n"
        "for child in range(2):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        for n in range(20): ask('/child')\n"
        "        sys.exit(0 if recorder.stats.dropped == 0 else 3)\n"
        "    children.append(pid)\n"
        "for n in range(20): ask('/parent')\n"
        "assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]\n"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    paths = [item.request.path for item in load(path)]
    assert (paths.count("/parent"), paths.count("/child")) == (40, 40)


SERVED = """
import os
from bridge.testing.recording.recorder import Recorder

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [b"x" * 3000]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    headers = [(b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 3000})

app = Recorder({"wsgi": wsgi, "asgi": asgi}[os.environ["APP_KIND"]], os.environ["RECORDING"])
"""


def gunicorn(port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "-w",
        "2",
        "--threads",
        "2",
        "-b",
        f"127.0.0.1:{port}",
        "recorded:app",
    ]


def uvicorn(port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(port), "recorded:app"]


@pytest.mark.skipif(sys.platform == "win32", reason="the servers are those of Unix")
@pytest.mark.parametrize(
    ("argv", "kind", "name"),
    [(gunicorn, "wsgi", "a.jsonl"), (uvicorn, "asgi", "a.har")],
    ids=["gunicorn", "uvicorn"],
)
def test_two_worker_processes_share_a_file(argv: Any, kind: str, name: str, tmp_path: Path) -> None:
    """Every line is whole, no exchange is missing, and those of both workers are there."""
    pytest.importorskip(argv.__name__)
    (tmp_path / "recorded.py").write_text(SERVED)
    folder = tmp_path / "run"
    folder.mkdir()
    environment = {
        "APP_KIND": kind,
        "RECORDING": str(tmp_path / name),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    with run_server(argv, folder, environment) as server:
        url = "http://{}:{}".format(*server.address)
        pids: set[str] = set()
        asked = 0

        def ask(number: int) -> str:
            with urllib.request.urlopen(f"{url}/{number}", timeout=TIMEOUT) as response:
                return str(response.headers["x-pid"])

        # The second worker may take its time to start.
        deadline = time.monotonic() + TIMEOUT
        with ThreadPoolExecutor(6) as pool:
            while asked < 150 or (len(pids) < 2 and time.monotonic() < deadline):
                pids.update(pool.map(ask, range(asked, asked + 30)))
                asked += 30
        server.terminate()
        server.wait(TIMEOUT)
    items = load(tmp_path / name, origin="*")
    assert sorted(int(item.request.path[1:]) for item in items) == list(range(asked))
    assert {item.response.header("x-pid") for item in items} == pids
    assert len(pids) == 2
