"""WSGIToASGI as a whole: its options, the scopes it takes, the environ it gives, and PEP 3333's validator.

Bodies, disconnects and extensions have files of their own beside this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import io
import itertools
import logging
import sys
import threading
import wsgiref.validate
from typing import Any

import pytest
from support.drive import (
    TIMEOUT,
    Exchange,
    Signal,
    checkpoint,
    length,
    poll,
    post,
    requests,
    run,
    serve,
    together,
)
from support.engines import eventually, threads_named
from support.scopes import ABSENT, http_scope
from support.wsgi_apps import Adapt, App, Environs, answer, echo

import bridge
from bridge import ThreadPool, WSGIToASGI
from bridge.exceptions import InvalidHeader, UnsupportedScope, UsageError

# -- the simplest things


def test_an_ordinary_request_is_answered(adapt: Adapt, loop: str) -> None:
    """In two messages; and without a `receive()`, as there is no body to wait for."""
    done = serve(adapt(answer(b"hello", headers=[("Content-Type", "text/plain")])), loop=loop).unwrap()
    assert done.log == ["http.response.start", "http.response.body"]
    assert done.sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
        },
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]


def test_a_hundred_requests_at_a_time_get_each_its_own_answer(adapt: Adapt, loop: str) -> None:
    adapter = adapt(lambda environ, start_response: echo(environ, start_response), threads=4)
    bodies = [b"%d" % number * 100 for number in range(100)]
    exchanges = [
        Exchange(adapter, post(), requests(*(body[start : start + 50] for start in range(0, len(body), 50))))
        for body in bodies
    ]

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges))

    run(main, loop)
    assert [exchange.unwrap().body for exchange in exchanges] == bodies


def test_blocking_requests_run_at_a_time(adapt: Adapt, loop: str) -> None:
    """All of them must have come before the first can go on; asgiref would serve them in turn."""
    barrier = threading.Barrier(12)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        barrier.wait(10)
        start_response("200 OK", [])
        return [b"x"]

    adapter = adapt(app)
    exchanges = [Exchange(adapter) for _ in range(12)]

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges))

    run(main, loop)
    assert all(exchange.unwrap().complete for exchange in exchanges)


@pytest.mark.req("W-01")
@pytest.mark.parametrize("kind", ["http2", "", "lifespan.startup", None])
def test_an_unknown_scope_type_raises(adapt: Adapt, loop: str, kind: Any) -> None:
    """The server then knows that it is not served, and the app is not called."""
    app = Environs()
    done = serve(adapt(app), {"type": kind}, loop=loop)
    assert isinstance(done.error, UnsupportedScope)
    assert isinstance(done.error, ValueError)
    assert repr(kind) in str(done.error)
    assert (app.seen, done.receives, done.sends) == ([], 0, 0)


@pytest.mark.req("W-30")
def test_no_thread_is_started_before_the_first_request() -> None:
    before = set(threading.enumerate())
    adapter = WSGIToASGI(answer())
    assert set(threading.enumerate()) <= before
    assert adapter.pool.stats().threads == 0


@pytest.mark.req("W-30")
def test_an_adapter_may_be_made_without_a_loop_or_on_one(adapt: Adapt) -> None:
    async def main() -> None:
        (await Exchange(adapt(answer())).go()).unwrap()

    run(main)


@pytest.mark.req("W-30")
def test_outside_of_a_known_loop_the_message_says_what_is_missing() -> None:
    """As under an async library that is neither asyncio nor trio."""
    call = WSGIToASGI(answer())(http_scope(), None, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"asyncio or trio"):
        call.send(None)


def test_dropped_adapters_leave_no_threads(adapt: Adapt) -> None:
    """A hundred of them left a hundred threads with others."""

    def workers() -> set[threading.Thread]:
        return {each for each in threads_named("bridge") if not each.name.endswith("-governor")}

    before = workers()
    for _ in range(20):
        serve(WSGIToASGI(answer(b"x"))).unwrap()
    gc.collect()
    eventually(lambda: workers() <= before, "the end of all workers")


# -- options


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": "4"},
        {"threads": None},
        {"pool": 5},
        {"pool": "pool"},
        {"prebuffer": 0},
        {"prebuffer": None},
        {"prebuffer": "64k"},
        {"prebuffer": 1.5},
        {"prebuffer": True},
        {"read_ahead": 0},
        {"read_ahead": -1},
        {"read_ahead": None},
        {"write_ahead": 0},
        {"write_ahead": None},
        {"write_ahead": b"1"},
        {"max_body": -1},
        {"max_body": "1M"},
        {"max_body": 1.5},
        {"errors": "stderr"},
        {"errors": object()},
        {"on_startup": lambda: None},
        {"on_startup": 5},
        {"on_startup": ["connect"]},
        {"on_shutdown": None},
        {"on_shutdown": [None]},
        {"shutdown_timeout": -1},
        {"shutdown_timeout": "10"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=name):
        WSGIToASGI(answer(), **options)


def test_options_are_keywords() -> None:
    with pytest.raises(TypeError):
        WSGIToASGI(answer(), 4)  # type: ignore[call-arg]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not called")


class ASGIObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not called")


@pytest.mark.parametrize(
    "app",
    [None, "module:app", 5, asgi_app, ASGIObject(), WSGIToASGI(answer())],
    ids=lambda app: type(app).__name__,
)
def test_what_is_no_wsgi_app_is_refused(app: Any) -> None:
    with pytest.raises(UsageError, match="WSGI"):
        WSGIToASGI(app)


def test_an_app_may_be_any_callable(adapt: Adapt) -> None:
    """Frameworks' apps are objects, and wrappers may say nothing of what they take."""

    class Site:
        def __call__(self, environ: Any, start_response: Any) -> Any:
            return answer(b"object")(environ, start_response)

        def method(self, environ: Any, start_response: Any) -> Any:
            return answer(b"method")(environ, start_response)

    def vague(*arguments: Any) -> Any:
        return answer(b"vague")(*arguments)

    for app, body in ((Site(), b"object"), (Site().method, b"method"), (vague, b"vague")):
        assert serve(adapt(app)).unwrap().body == body


def test_the_app_and_the_pool_are_attributes() -> None:
    app = answer()
    pool = ThreadPool(3)
    adapter = WSGIToASGI(app, pool=pool, threads=7)
    assert adapter.app is app
    assert adapter.pool is pool
    assert WSGIToASGI(app, threads=7).pool.threads == 7
    assert WSGIToASGI(app).pool.threads == 40
    assert "ThreadPool" in repr(adapter)


@pytest.mark.req("E-05", "W-29")
def test_threads_bound_how_many_requests_run(adapt: Adapt, loop: str) -> None:
    running: set[int] = set()
    most = []
    released = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        running.add(threading.get_ident())
        most.append(len(running))
        released.wait()
        running.discard(threading.get_ident())
        start_response("200 OK", [])
        return []

    adapter = adapt(app, threads=3)
    exchanges = [Exchange(adapter) for _ in range(10)]

    async def client() -> None:
        await poll(lambda: len(most) == 3)
        for _ in range(50):
            await checkpoint()
        assert adapter.pool.stats().queued == 7
        released.set()

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges), client)

    run(main, loop)
    assert max(most) == 3


def environ_of(adapt: Adapt, scope: Any = None, **options: Any) -> dict[str, Any]:
    app = Environs()
    serve(adapt(app, **options), scope).unwrap()
    return app.seen[0]


@pytest.mark.req("E-05")
@pytest.mark.parametrize(
    ("options", "multithread"),
    [
        ({}, True),
        ({"threads": 2}, True),
        ({"threads": 1}, False),
        ({"pool": ThreadPool(1)}, False),
        ({"pool": ThreadPool(5), "threads": 1}, True),
    ],
    ids=repr,
)
def test_multithread_says_whether_threads_may_meet(
    adapt: Adapt, options: dict[str, Any], multithread: bool
) -> None:
    environ = environ_of(adapt, **options)
    assert environ["wsgi.multithread"] is multithread
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.version"] == (1, 0)


@pytest.mark.req("E-05")
@pytest.mark.parametrize(("options", "expected"), [({}, True), ({"multiprocess": False}, False)])
def test_multiprocess_is_what_it_is_told(adapt: Adapt, options: dict[str, Any], expected: bool) -> None:
    assert environ_of(adapt, **options)["wsgi.multiprocess"] is expected


@pytest.mark.req("E-30")
@pytest.mark.parametrize("keep", [False, True])
def test_underscore_headers_are_kept_on_request(adapt: Adapt, keep: bool) -> None:
    scope = http_scope(headers=[(b"host", b"h"), (b"x-a", b"good"), (b"x_a", b"evil"), (b"x_b", b"1")])
    environ = environ_of(adapt, scope, keep_underscore_headers=keep)
    assert environ["HTTP_X_A"] == ("good,evil" if keep else "good")
    assert environ.get("HTTP_X_B") == ("1" if keep else None)


@pytest.mark.req("W-12")
def test_strict_makes_hop_by_hop_headers_errors(adapt: Adapt, caplog: pytest.LogCaptureFixture) -> None:
    app = answer(b"x", headers=[("Connection", "close")])
    done = serve(adapt(app, strict=True))
    assert isinstance(done.error, InvalidHeader)
    assert "connection" in str(done.error).lower()
    assert done.sent == []
    assert caplog.records == []
    assert serve(adapt(app)).unwrap().status == 200


@pytest.mark.req("E-44")
def test_errors_replaces_stderr(adapt: Adapt, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write("told")
        start_response("200 OK", [])
        return []

    serve(adapt(app, errors=stream)).unwrap()
    assert stream.getvalue() == "told"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("write_ahead", [1, 1000])
def test_write_ahead_bounds_what_waits_for_the_client(adapt: Adapt, loop: str, write_ahead: int) -> None:
    made = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        for number in range(100):
            made.append(number)
            yield b"x" * 100

    adapter = adapt(app, write_ahead=write_ahead)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert len(made) == write_ahead // 100 + 1
        exchange.release()

    assert len(serve(adapter, loop=loop, beside=beside).unwrap().body) == 10_000


# -- the environ (the translation itself is tested under tests/translate)


@pytest.mark.req("E-01", "E-02", "E-03")
def test_the_environ_is_a_new_plain_dict(adapt: Adapt, loop: str) -> None:
    """What the app does to it reaches neither the scope nor the next request."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((type(environ), sorted(environ)))
        wrong = [key for key, value in environ.items() if "." not in key and type(value) is not str]
        assert wrong == []
        environ.clear()
        environ["REQUEST_METHOD"] = "MINE"
        start_response("200 OK", [])
        return []

    adapter = adapt(app)
    scope = http_scope(headers=[(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2")])
    before = copy.deepcopy(scope)
    serve(adapter, scope, loop=loop).unwrap()
    serve(adapter, scope, loop=loop).unwrap()
    assert scope == before
    assert seen[0] == seen[1]
    assert seen[0][0] is dict
    assert {
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT",
        "SERVER_PROTOCOL", "wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors",
        "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once",
    } <= set(seen[0][1])  # fmt: skip


@pytest.mark.req("E-06")
def test_the_gateway_names_itself_and_the_process_stays_out(
    adapt: Adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://evil")
    monkeypatch.setenv("SCRIPT_NAME", "/from-the-process")
    environ = environ_of(adapt)
    assert environ["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert environ["SERVER_SOFTWARE"] == f"bridge/{bridge.__version__}"
    assert "HTTP_PROXY" not in environ
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.req("H-05")
def test_forwarded_headers_change_nothing(adapt: Adapt) -> None:
    headers = [
        (b"host", b"h"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-prefix", b"/evil"),
        (b"forwarded", b"for=6.6.6.6;proto=https;host=evil"),
    ]
    environ = environ_of(adapt, http_scope(headers=headers, path="/p"))
    plain = environ_of(adapt, http_scope(headers=headers[:1], path="/p"))
    for key in ("wsgi.url_scheme", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME", "PATH_INFO"):
        assert environ[key] == plain[key]
    assert environ["HTTP_HOST"] == "h"


@pytest.mark.req("H-07")
def test_ten_thousand_headers_are_served(adapt: Adapt) -> None:
    """No cap turns a valid request into an error."""
    headers = [(b"host", b"h"), *((b"x-a", b"v" * 20) for _ in range(10_000))]
    assert len(environ_of(adapt, http_scope(headers=headers))["HTTP_X_A"]) == 21 * 10_000 - 1


@pytest.mark.req("E-36", "E-39")
@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_get_of_http_2_may_have_a_body_without_a_header(
    adapt: Adapt, loop: str, version: str, body: bytes
) -> None:
    """Its frames announce it, so there is nothing for it but to receive."""
    done = serve(adapt(echo), http_scope(http_version=version), requests(body), loop=loop).unwrap()
    assert done.body == body


# -- PEP 3333's own validator around the app


def reads_all(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 10_000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def reads_lines(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    lines = [environ["wsgi.input"].readline(), *environ["wsgi.input"].readlines(5), *environ["wsgi.input"]]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return lines


def streams(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"a"
    yield b""
    yield environ["wsgi.input"].read(1)


def writes(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    write(b"ab")
    return [b"c"]


def is_empty(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


def fails_over(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError
    except ValueError:
        start_response("500 Oops", [("Content-Type", "text/html")], sys.exc_info())
    return [b"page"]


def complains(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.errors"].write("a\n")
    environ["wsgi.errors"].writelines(["b\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x"]


def wraps_a_file(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"content"), 3)


VALID_APPS: list[App] = [
    reads_all, reads_lines, streams, writes, is_empty, fails_over, complains, wraps_a_file,
]  # fmt: skip

# Every kind of section E that the validator has to accept. `OPTIONS *` is marked otherwise (E-18).
KINDS: dict[str, dict[str, Any]] = {
    "GET": http_scope(),
    "HEAD": http_scope(method="HEAD"),
    "POST": post(),
    "POST with length": post(length(6), (b"content-type", b"text/plain")),
    "PUT": post(length(6), method="PUT"),
    "DELETE": http_scope(method="DELETE"),
    "OPTIONS": http_scope(method="OPTIONS"),
    "lower-case method": http_scope(method="get"),
    "chunked": post((b"transfer-encoding", b"chunked")),
    "100-continue": post((b"expect", b"100-continue"), length(6)),
    "Content-Length in capitals": post((b"Content-Length", b"6"), (b"Content-Type", b"a/b")),
    "no headers": http_scope(headers=[]),
    "odd headers": http_scope(
        headers=[
            (b"host", b"h"),
            (b"x-empty", b""),
            (b"x-latin", b"caf\xe9"),
            (b"x_u", b"1"),
            (b"proxy", b"p"),
        ]
    ),
    "repeated headers": http_scope(
        headers=[(b"x-a", b"1"), (b"x-a", b"2"), (b"cookie", b"a"), (b"cookie", b"b")]
    ),
    "non-ASCII path": http_scope(path="/caf\u00e9/\u20ac"),
    "invalid UTF-8 in the path": http_scope(path="/\ufffd", raw_path=b"/%FF"),
    "empty path": http_scope(path="", raw_path=b""),
    "root path": http_scope(root_path="/api", path="/api/x"),
    "root path alone": http_scope(root_path="/api", path="/api"),
    "root path that was stripped": http_scope(root_path="/api", path="/x"),
    "root path by chance": http_scope(root_path="/api", path="/apix"),
    "root path of a slash": http_scope(root_path="/", path="/x"),
    "root path with a slash behind": http_scope(root_path="/caf\u00e9/", path="/caf\u00e9/x"),
    "root path without a slash": http_scope(root_path="api", path="/api/x"),
    "root path of None": http_scope(root_path=None),
    "absolute form": http_scope(path="http://h:99/p", raw_path=b"http://h:99/p"),
    "non-ASCII query": http_scope(query_string=b"a=\xff%20"),
    "no query": http_scope(query_string=None),
    "HTTP/1.0": http_scope(http_version="1.0"),
    "HTTP/1 of granian": http_scope(http_version="1"),
    "HTTP/2": http_scope(http_version="2"),
    "HTTP/3": http_scope(http_version="3"),
    "https": http_scope(scheme="https"),
    "ws scheme": http_scope(scheme="ws"),
    "IPv6": http_scope(server=("::1", 8000), client=("::1", 5)),
    "port as str": http_scope(server=("127.0.0.1", "8000"), client=["127.0.0.1", "5"]),
    "unix socket": http_scope(server=("/run/a.sock", None), client=None),
    "unix socket of granian": http_scope(server=("/run/a.sock", "0"), client=("", "0")),
    "unix socket of gunicorn": http_scope(server=("/", "r"), client=None),
    "no server": http_scope(server=None, client=None),
    "minimal": http_scope(
        **dict.fromkeys(
            ["raw_path", "root_path", "scheme", "server", "client", "extensions", "state", "query_string"],
            ABSENT,
        )
    ),
    "tls": http_scope(scheme="https", extensions={"tls": {"tls_version": 0x0304, "server_cert": "PEM"}}),
    "all extensions": http_scope(
        extensions={f"http.response.{name}": {} for name in ("early_hint", "trailers", "pathsend", "push")}
    ),
}


@pytest.mark.req("W-31", "E-02", "E-03")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"prebuffer": 1, "read_ahead": 1}], ids=["whole", "streamed"])
def test_the_validator_of_the_standard_library_passes(
    adapt: Adapt, kind: str, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for app in VALID_APPS:
        scope = copy.deepcopy(KINDS[kind])
        if scope["method"] == "HEAD" and app is writes:
            continue  # the validator does not count what is written, and then finds the length wrong
        adapter = adapt(wsgiref.validate.validator(app), **options)
        serve(adapter, scope, requests(b"abc", b"\nde")).unwrap()
        assert adapter.pool.drain(TIMEOUT)
    # What it finds in a destructor, such as a missing close(), it prints.
    assert "garbage collected" not in capsys.readouterr().err


@pytest.mark.req("W-31")
@pytest.mark.parametrize("loop_kind", ["POST", "POST with length", "100-continue", "HEAD"])
def test_the_validator_passes_on_every_loop(adapt: Adapt, loop: str, loop_kind: str) -> None:
    adapter = adapt(wsgiref.validate.validator(reads_all))
    serve(adapter, copy.deepcopy(KINDS[loop_kind]), requests(b"abc", b"def"), loop=loop).unwrap()


@pytest.mark.req("W-31", "E-04")
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD:wsgiref.validate.WSGIWarning")
def test_the_validator_only_warns_of_an_unknown_method(adapt: Adapt) -> None:
    serve(adapt(wsgiref.validate.validator(reads_all)), http_scope(method="PURGE"), requests(b"")).unwrap()


@pytest.mark.req("W-31")
def test_the_validator_is_content_when_the_client_leaves(
    adapt: Adapt, loop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" for _ in itertools.count())

    adapter = adapt(wsgiref.validate.validator(app))
    serve(adapter, loop=loop, fail_send={3: OSError("gone")}).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    gc.collect()
    assert capsys.readouterr().err == ""


# -- logging


@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_ordinary_request_logs_nothing(
    adapt: Adapt, loop: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "bridge")
    serve(adapt(answer(*[b"x"] * size)), loop=loop).unwrap()
    assert [record for record in caplog.records if record.name.startswith("bridge")] == []


def test_the_loop_is_not_blocked_by_a_stuck_worker_at_its_end(adapt: Adapt) -> None:
    """`asyncio.run` ends although the app does not: the worker is a daemon's."""
    released = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        released.wait()
        start_response("200 OK", [])
        return []

    adapter = adapt(app)

    async def main() -> None:
        task = asyncio.create_task(Exchange(adapter).go())
        await poll(lambda: adapter.pool.stats().started == 1)
        assert not task.done()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
    released.set()
