"""What was found broken in other adapters, each tried on ours. The names say in which, and what.

Found by running them: a2wsgi 1.10.10, asgiref 3.13.0, and the WSGI wrappers of Uvicorn 0.54.0,
Hypercorn 0.18.0 and Starlette 1.10.0. For ASGI under WSGI, where a2wsgi is the only one, the same is
shown on it as well, so that each test is known to see the fault; a later a2wsgi may have mended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib.metadata
import io
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import a2wsgi
import pytest
from support import asgi_apps
from support.asgi_apps import DISCONNECT, Ending, Lifespan, bridged, finish, http, read_messages
from support.drive import Exchange, Signal, disconnect, length, poll, post, requests, run, serve, together
from support.engines import PATIENCE, Thread, eventually, script
from support.scopes import ABSENT, http_scope
from support.wsgi_apps import Adapt, Environs, Watched, answer, returning
from support.wsgi_drive import ClosingInput, make_environ
from support.wsgi_drive import Exchange as WSGIExchange
from support.wsgi_drive import drive as drive_wsgi
from werkzeug.wrappers import Request

from bridge.engines import thread_pool


class Boom(Exception):
    """What the apps of these tests raise."""


def site(streams: list[Watched]) -> Any:
    """Server-sent events without end at /events, one word at /."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        if environ["PATH_INFO"] == "/":
            return [b"hello"]
        streams.append(Watched(itertools.repeat(tick)))
        return streams[-1]

    def tick() -> bytes:
        time.sleep(0.001)
        return b"data: tick\n\n"

    return app


@pytest.mark.req("W-26")
def test_a2wsgi_ten_departed_clients_of_a_stream_stop_the_server(adapt: Adapt, loop: str) -> None:
    """Nobody called `receive()` after the body, so the generators ran on, in all ten threads."""
    streams: list[Watched] = []
    adapter = adapt(site(streams), threads=10)
    clients = [Exchange(adapter, http_scope(path="/events")) for _ in range(10)]

    async def leave() -> None:
        for client in clients:
            await client.until_body(1)
            await client.receiving(1)
        for client in clients:
            client.feed(disconnect())
        for client in clients:
            await client.until_end()
        assert (await Exchange(adapter).go()).unwrap().body == b"hello"

    async def main() -> None:
        await together(*(client.go for client in clients), leave)

    run(main, loop)
    assert adapter.pool.drain(PATIENCE)
    assert [stream.closed for stream in streams] == [1] * 10


def test_a2wsgi_ten_open_streams_leave_no_thread_for_others(
    adapt: Adapt, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream lends its slot once it has lasted for a while and others wait."""
    monkeypatch.setattr(thread_pool, "STREAMING_LONG", 0.02)
    adapter = adapt(site([]), threads=10)
    clients = [Exchange(adapter, http_scope(path="/events")) for _ in range(10)]

    async def another() -> None:
        for client in clients:
            await client.until_body(1)
        assert (await Exchange(adapter).go()).unwrap().body == b"hello"
        for client in clients:
            client.feed(disconnect())

    async def main() -> None:
        await together(*(client.go for client in clients), another)

    run(main, loop)


@pytest.mark.req("W-25")
@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("middleware")])
def test_a2wsgi_an_exception_in_send_deadlocks_request_and_thread(
    adapt: Adapt, loop: str, error: Exception
) -> None:
    """Its only thread; the second request must be served all the same."""
    bodies: list[Watched] = []

    def make(environ: dict[str, Any]) -> Watched:
        bodies.append(Watched([b"x" * 1000] * 100))
        return bodies[-1]

    adapter = adapt(returning(make), threads=1, write_ahead=10)
    for fail_at in (1, 3):
        done = serve(adapter, loop=loop, fail_send={fail_at: error})
        assert done.error is (None if isinstance(error, OSError) else error)
    assert serve(adapter, loop=loop).unwrap().body == b"x" * 100_000
    assert [body.closed for body in bodies] == [1, 1, 1]


@pytest.mark.req("E-40")
@pytest.mark.parametrize("headers", [[length(100)], []], ids=["length", "chunked"])
def test_a2wsgi_uvicorn_starlette_hypercorn_truncated_uploads_look_complete(
    adapt: Adapt, loop: str, headers: Any
) -> None:
    """Three of a hundred bytes, and the client is gone: it said "SAVED 3 of 100"."""
    saved = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        saved.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"SAVED"]

    for options in ({}, {"prebuffer": 1, "read_ahead": 1}):
        messages = [*requests(b"abc", more=True), disconnect()]
        assert serve(adapt(app, **options), post(*headers), messages, loop=loop).unwrap().sent == []
    assert saved == []


@pytest.mark.req("E-40", "E-43")
def test_granian_werkzeug_takes_a_truncated_terminated_input_for_whole(adapt: Adapt) -> None:
    """Werkzeug guards itself only where `wsgi.input_terminated` is not set; so our stream has to raise."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(Request(environ).get_data())
        return []

    messages = [*requests(b"abc", more=True), disconnect()]
    for headers in ([length(100)], [(b"transfer-encoding", b"chunked")]):
        assert serve(adapt(app), post(*headers), messages).unwrap().sent == []
    assert seen == []


@pytest.mark.req("E-43")
def test_all_flask_sees_no_body_in_a_chunked_request(adapt: Adapt) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = Request(environ).get_data()
        start_response("200 OK", [])
        return [body]

    scope = post((b"transfer-encoding", b"chunked"))
    assert serve(adapt(app), scope, requests(b"abc", b"def")).unwrap().body == b"abcdef"


@pytest.mark.req("E-37")
@pytest.mark.parametrize("options", [{}, {"prebuffer": 1, "read_ahead": 1}], ids=["whole", "streamed"])
def test_a2wsgi_readline_with_a_size_loses_and_splits_lines(adapt: Adapt, options: Any) -> None:
    """A form of 200 000 bytes in 64 KiB messages was read by `readline(65536)` to a third of it."""
    lines = [b'{"id": %d}\n' % number for number in range(16_000)]
    data = b"".join(lines)
    found = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        while line := environ["wsgi.input"].readline(65536):
            found.append(line)
        start_response("200 OK", [])
        return []

    pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)]
    serve(adapt(app, **options), post(length(len(data))), requests(*pieces)).unwrap()
    assert found == lines
    assert json.loads(found[-1]) == {"id": 15_999}


@pytest.mark.req("E-36", "E-37")
@pytest.mark.parametrize("options", [{}, {"prebuffer": 1, "read_ahead": 1}], ids=["whole", "streamed"])
def test_a2wsgi_reading_by_none_and_hints(adapt: Adapt, options: Any) -> None:
    """TypeError, IndexError, a newline too many, hints taken for counts."""
    results: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        results.append([body.readline(None), body.readlines(6), body.readlines(), body.read(None)])
        results.append([body.readlines(), body.readline(None), body.read(-1)])
        start_response("200 OK", [])
        return []

    messages = requests(b"a\nbbb\ncc", b"c\nddd\neee", b"\nf")
    serve(adapt(app, **options), post(), messages).unwrap()
    assert results == [
        [b"a\n", [b"bbb\n", b"ccc\n"], [b"ddd\n", b"eee\n", b"f"], b""],
        [[], b"", b""],
    ]


@pytest.mark.req("E-36")
@pytest.mark.parametrize("options", [{}, {"prebuffer": 1, "read_ahead": 1}], ids=["whole", "streamed"])
def test_a2wsgi_a_negative_size_is_never_taken_for_the_end(adapt: Adapt, options: Any) -> None:
    """`read(-2)` was empty. It is the rest, or an error, as with files."""
    results: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with contextlib.suppress(ValueError):
            results.append(environ["wsgi.input"].read(-2))
        start_response("200 OK", [])
        return []

    serve(adapt(app, **options), post(), requests(b"ab", b"c")).unwrap()
    assert results in ([], [b"abc"])


@pytest.mark.req("E-32", "H-07")
def test_a2wsgi_starlette_uvicorn_hypercorn_repeated_headers_take_quadratic_time(adapt: Adapt) -> None:
    """80 000 values: 38 s in a2wsgi, 5 s in the others, on the event loop; linear work takes a tenth."""
    app = Environs()
    adapter = adapt(app)
    scope = http_scope(headers=[(b"x-a", b"v" * 20)] * 80_000)
    started = time.process_time()
    serve(adapter, scope).unwrap()
    assert time.process_time() - started < 2
    assert len(app.seen[0]["HTTP_X_A"]) == 80_000 * 21 - 1


@pytest.mark.req("W-24")
def test_asgiref_starlette_uvicorn_close_is_never_called(adapt: Adapt, loop: str) -> None:
    """Normally, after an error, and when the Content-Length is reached early."""
    bodies = [Watched([b"x"]), Watched([b"x", Boom()]), Watched([b"abc", b"def"])]
    headers: list[Any] = [[], [], [("Content-Length", "3")]]
    for body, fields in zip(bodies, headers, strict=True):
        serve(
            adapt(returning(functools.partial(lambda body, environ: body, body), headers=fields)), loop=loop
        )
    assert [body.closed for body in bodies] == [1, 1, 1]


@pytest.mark.req("W-29")
def test_asgiref_one_thread_serves_all(adapt: Adapt, loop: str) -> None:
    """Twelve requests that wait for each other."""
    barrier = threading.Barrier(12)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        barrier.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"x"]

    adapter = adapt(app)
    exchanges = [Exchange(adapter) for _ in range(12)]

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges))

    run(main, loop)
    assert [exchange.unwrap().body for exchange in exchanges] == [b"x"] * 12


@pytest.mark.req("W-18", "W-22")
@pytest.mark.parametrize(
    ("method", "status", "chunks"),
    [
        ("HEAD", "200 OK", [b"page"]),
        ("HEAD", "200 OK", []),
        ("GET", "204 No Content", []),
        ("GET", "200 OK", []),
    ],
)
def test_hypercorn_every_empty_body_is_a_500(
    adapt: Adapt, loop: str, method: str, status: str, chunks: list[bytes]
) -> None:
    done = serve(adapt(answer(*chunks, status=status)), http_scope(method=method), loop=loop).unwrap()
    assert done.status == int(status[:3])
    assert done.chunks == [b""]
    assert done.complete


@pytest.mark.req("E-30", "E-31")
def test_all_headers_are_smuggled_into_the_environ(adapt: Adapt) -> None:
    app = Environs()
    headers = [
        (b"x-forwarded-user", b"alice"),
        (b"x_forwarded_user", b"admin"),
        (b"X_Forwarded-User", b"admin"),
        (b"proxy", b"http://evil"),
        (b"content_length", b"99"),
        (b"content_type", b"evil/evil"),
    ]
    serve(adapt(app), http_scope(headers=headers)).unwrap()
    (environ,) = app.seen
    assert environ["HTTP_X_FORWARDED_USER"] == "alice"
    assert {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH", "CONTENT_TYPE"}.isdisjoint(environ)


@pytest.mark.req("E-33")
def test_all_cookie_crumbs_are_joined_by_a_comma(adapt: Adapt) -> None:
    """The session was lost: `{'sid': 'abc,theme=dark'}`."""
    cookies = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        cookies.append(dict(Request(environ).cookies))
        start_response("200 OK", [])
        return []

    scope = http_scope(headers=[(b"cookie", b"sid=abc"), (b"cookie", b"theme=dark")])
    serve(adapt(app), scope).unwrap()
    assert cookies == [{"sid": "abc", "theme": "dark"}]


@pytest.mark.req("W-06", "W-23")
@pytest.mark.parametrize("handled", [True, False])
def test_a2wsgi_starlette_uvicorn_the_error_page_has_status_200(
    adapt: Adapt, loop: str, handled: bool
) -> None:
    """An error after `start_response` and before any byte: 200, then raised into the server."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            raise Boom
        except Boom:
            if not handled:
                raise
            start_response("500 Error", [], sys.exc_info())
            yield b"error page"

    done = serve(adapt(app), loop=loop)
    if handled:
        assert (done.unwrap().status, done.body) == (500, b"error page")
    else:
        assert isinstance(done.error, Boom)
        assert done.sent == []


@pytest.mark.req("E-19")
def test_asgiref_a_non_ascii_query_is_called_too_many_headers(adapt: Adapt) -> None:
    app = Environs()
    assert serve(adapt(app), http_scope(query_string=b"q=\xff\xe9")).unwrap().status == 200
    assert app.seen[0]["QUERY_STRING"] == "q=\xff\xe9"


@pytest.mark.req("W-10")
def test_asgiref_starlette_uvicorn_latin_1_response_headers_are_a_500(adapt: Adapt) -> None:
    done = serve(adapt(answer(b"x", headers=[("X-Name", "caf\u00e9")]))).unwrap()
    assert done.header(b"x-name") == b"caf\xe9"


@pytest.mark.req("E-06", "E-07")
def test_a2wsgi_script_name_is_taken_from_the_process(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    """And then doubled."""
    monkeypatch.setenv("SCRIPT_NAME", "/pre")
    app = Environs()
    serve(adapt(app), http_scope(path="/pre/x")).unwrap()
    assert (app.seen[0]["SCRIPT_NAME"], app.seen[0]["PATH_INFO"]) == ("", "/pre/x")


@pytest.mark.req("E-09")
def test_all_a_root_path_is_stripped_in_the_middle_of_a_segment(adapt: Adapt) -> None:
    """Hypercorn's dispatcher even sent `/older/x` to the mount of `/old`."""
    app = Environs()
    serve(adapt(app), http_scope(path="/older/x", root_path="/old")).unwrap()
    assert app.seen[0]["PATH_INFO"] == "/older/x"


@pytest.mark.req("W-17")
def test_uvicorn_a_client_that_does_not_read_fills_the_memory(adapt: Adapt, loop: str) -> None:
    """123 MiB in a second."""
    body = Watched(itertools.repeat(b"x" * 65536))
    adapter = adapt(returning(lambda environ: body))

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert body.pulled * 65536 <= 262144 + 65536
        exchange.feed(disconnect())
        exchange.release()

    serve(adapter, loop=loop, beside=beside).unwrap()


@pytest.mark.req("E-41")
def test_hypercorn_a_body_of_more_than_64_kib_is_refused(adapt: Adapt, loop: str) -> None:
    sizes = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        sizes.append(len(environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"x"]

    messages = requests(*[b"x" * 65536] * 300)
    assert serve(adapt(app), post(length(300 * 65536)), messages, loop=loop).unwrap().status == 200
    assert sizes == [300 * 65536]


@pytest.mark.req("W-03")
def test_all_but_a2wsgi_there_is_no_write(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        print(
            "hello", file=io.TextIOWrapper(Writer(start_response("200 OK", [])), write_through=True), end=""
        )
        return []

    class Writer(io.BytesIO):
        def __init__(self, write: Any) -> None:
            super().__init__()
            self._write = write

        def write(self, data: Any) -> int:
            self._write(bytes(data))
            return len(data)

    assert serve(adapt(app), loop=loop).unwrap().body == b"hello"


@pytest.mark.req("W-28")
@pytest.mark.parametrize("kind", [StopIteration, SystemExit])
def test_asgiref_stop_iteration_never_completes_and_system_exit_ends_the_server(
    adapt: Adapt, loop: str, kind: type[BaseException]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise kind

    adapter = adapt(app)
    others: list[int | None] = []

    async def main() -> None:
        broken = await Exchange(adapter).go()
        assert isinstance(broken.error, Exception)
        others.append((await Exchange(adapt(answer(b"x"))).go()).status)

    run(main, loop)
    assert others == [200]


@pytest.mark.req("W-02")
def test_others_close_runs_in_another_thread_and_context(adapt: Adapt, loop: str) -> None:
    """Django's `request_finished` closes the database connections of the thread that it runs in."""
    local = threading.local()
    closed = []

    class Body(Watched):
        def close(self) -> None:
            super().close()
            closed.append(local.connection)

    goes_on = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        local.connection = environ["PATH_INFO"]
        start_response("200 OK", [])
        goes_on.wait()
        return Body([b"a", b"b"])

    adapter = adapt(app)
    exchanges = [Exchange(adapter, http_scope(path=f"/{number}")) for number in range(5)]

    async def release() -> None:
        await poll(lambda: adapter.pool.stats().started == 5)
        goes_on.set()

    async def main() -> None:
        await together(*(exchange.go for exchange in exchanges), release)

    run(main, loop)
    assert sorted(closed) == [f"/{number}" for number in range(5)]


# -- ASGI under WSGI

needs_a2wsgi = pytest.mark.skipif(
    importlib.metadata.version("a2wsgi") != "1.10.10", reason="this is about a2wsgi 1.10.10"
)


@contextlib.contextmanager
def rival(app: Any, **options: Any) -> Iterator[Any]:
    """`a2wsgi.ASGIMiddleware` on a loop that ends with the test, and with it whatever is left there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    try:
        yield a2wsgi.ASGIMiddleware(app, loop=loop, **options)
    finally:
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        gc.collect()  # asyncio complains of tasks that are destroyed: here, not in some other test


def call_rival(middleware: Any, **changes: Any) -> tuple[str, bytes]:
    """What a2wsgi answers: the status line and the body."""
    heads: list[str] = []
    environ = {**make_environ(), **changes}
    body = middleware(
        {key: value for key, value in environ.items() if value is not ABSENT},
        lambda status, headers, exc_info=None: heads.append(status),
    )
    data = b"".join(body)  # it calls start_response meanwhile
    return "".join(heads), data


def aborted_upload() -> dict[str, Any]:
    """Three of a hundred bytes."""
    return {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "100", "wsgi.input": ClosingInput(b"abc")}


def counting_reads(counts: list[int]) -> Any:
    """An app that reads its body, and gives up after a thousand messages."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        counts.append(0)
        message = await receive()
        while message.get("more_body") and counts[-1] < 1000:
            counts[-1] += 1
            message = await receive()
        if message["type"] == "http.request":
            await finish(send, b"read")

    return app


@needs_a2wsgi
def test_a2wsgi_is_busy_for_ever_with_an_aborted_upload() -> None:
    """It hands the app an empty message again and again; two of them make a worker unusable."""
    counts: list[int] = []
    with rival(counting_reads(counts)) as middleware:
        call_rival(middleware, **aborted_upload())
    assert counts == [1000]


@pytest.mark.req("A-10")
def test_an_aborted_upload_is_told_once_and_does_not_hold_the_worker() -> None:
    counts: list[int] = []
    with bridged(counting_reads(counts)) as wsgi:
        for _ in range(10):
            assert drive_wsgi(wsgi, **aborted_upload()).status == 400
        assert drive_wsgi(wsgi).body == b"read"
    assert counts == [1] * 10 + [0]


SILENT: dict[str, Callable[[Any], Any]] = {
    "returns": lambda send: asyncio.sleep(0),
    "start only": lambda send: send(asgi_apps.start()),
    "cancelled": lambda send: _raise(asyncio.CancelledError()),
    "exits": lambda send: _raise(SystemExit(1)),
}


async def _raise(error: BaseException) -> None:
    raise error


@needs_a2wsgi
def test_a2wsgi_hangs_when_the_app_says_nothing() -> None:
    """And when it has a fork behind it. In a process of its own, as nothing frees such threads."""
    lines = script(
        """
import asyncio, io, os, signal, threading
import a2wsgi

async def app(scope, receive, send):
    path = scope["path"]
    if path == "/cancelled":
        raise asyncio.CancelledError
    if path == "/exits":
        raise SystemExit
    if path == "/good":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"good"})

def request(path):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "h", "SERVER_PORT": "80",
               "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO()}
    return b"".join(middleware(environ, lambda *head: None))

def in_thread(path):
    thread = threading.Thread(target=request, args=(path,), daemon=True)
    thread.start()
    thread.join(0.2)
    print(path, "hangs" if thread.is_alive() else "ends", flush=True)

middleware = a2wsgi.ASGIMiddleware(app)
print(request("/good").decode(), flush=True)
pid = os.fork() if hasattr(os, "fork") else None
if pid == 0:
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    request("/good")
    os._exit(0)
if pid is not None:
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    print("fork", "hangs" if killed else "ends", flush=True)
for path in ("/returns", "/cancelled"):
    in_thread(path)
threading.excepthook = lambda *args: None
in_thread("/exits")
os._exit(0)
""",
        timeout=20,
    ).splitlines()
    assert lines[0] == "good"
    assert {line.split()[1] for line in lines[1:]} == {"hangs"}
    assert len(lines) >= 4


@pytest.mark.req("A-25", "A-27")
@pytest.mark.parametrize("kind", SILENT)
def test_an_app_that_says_nothing_is_a_500(kind: str) -> None:
    """A fork is tried with the adapter's other tests."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await SILENT[kind](send)

    with bridged(app) as wsgi:
        assert [drive_wsgi(wsgi).status for _ in range(2)] == [500, 500]


def streaming(ending: Ending, turned: Signal) -> Any:
    """An app that streams for ever, and says after some turns of the loop that it might have ended."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/turn":
            for _ in range(100):
                await asyncio.sleep(0)
            turned.set()
            await finish(send)
            return
        async with ending:
            await send(asgi_apps.start())
            while True:
                await send(asgi_apps.body(b"tick", more=True))
                await asyncio.sleep(0)

    return app


@needs_a2wsgi
def test_a2wsgi_leaves_the_task_of_a_client_that_has_gone() -> None:
    """It is neither told nor cancelled, and its `finally` never runs."""
    ending, turned = Ending(), Signal()
    with rival(streaming(ending, turned)) as middleware:
        body = middleware(make_environ(), lambda *head: None)
        assert next(body) == b"tick"
        body.close()
        call_rival(middleware, PATH_INFO="/turn")
        turned.wait()
        # Unless the collector takes it meanwhile: nothing refers to such a task.
        assert not ending.over.is_set or isinstance(ending.error, GeneratorExit)


@pytest.mark.req("A-24", "A-29")
def test_the_task_of_a_client_that_has_gone_is_told_and_ends() -> None:
    endings = [Ending() for _ in range(50)]
    with bridged(http(lambda *call: streaming(endings[int(call[0]["path"][1:])], Signal())(*call))) as wsgi:
        for number in range(50):
            with WSGIExchange(wsgi, path=f"/{number}") as exchange:
                exchange.call()
                assert (exchange.next() or b"").startswith(b"tick")
        for ending in endings:
            ending.over.wait()
    assert {type(ending.error).__name__ for ending in endings} == {"ClientDisconnected"}


@http
async def size_of_body(scope: Any, receive: Any, send: Any) -> None:
    """Says how long the request's body is."""
    messages = await read_messages(receive)
    await finish(send, b"%d" % sum(len(message["body"]) for message in messages))


def chunked() -> dict[str, Any]:
    """A body that a server has decoded."""
    return {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": ABSENT,
        "wsgi.input": ClosingInput(b"abc"),
        "wsgi.input_terminated": True,
    }


# What an environ holds besides, and what a2wsgi raises for it.
ODD_ENVIRONS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "path": ({"PATH_INFO": "/\xff"}, UnicodeDecodeError),
    "query": ({"QUERY_STRING": "q=\xe9"}, UnicodeEncodeError),
    "unix socket": ({"SERVER_PORT": ""}, ValueError),
    "protocol": ({"SERVER_PROTOCOL": "INCLUDED"}, IndexError),
    "headers": ({}, KeyError),
}


@http
async def no_headers(scope: Any, receive: Any, send: Any) -> None:
    """A start message may do without headers."""
    await send({"type": "http.response.start", "status": 200})
    await send(asgi_apps.body(b"fine"))


@needs_a2wsgi
def test_a2wsgi_loses_chunked_bodies_and_raises_for_lawful_requests() -> None:
    with rival(size_of_body) as middleware:
        assert call_rival(middleware, **chunked()) == ("200 OK", b"0")
        other = a2wsgi.ASGIMiddleware(no_headers, loop=middleware.loop)
        for environ, error in ODD_ENVIRONS.values():
            with pytest.raises(error):
                call_rival(other, **environ)


@pytest.mark.req("A-08")
def test_chunked_bodies_arrive() -> None:
    with bridged(size_of_body) as wsgi:
        assert drive_wsgi(wsgi, **chunked()).body == b"3"


@pytest.mark.req("A-16", "S-02", "S-05", "S-08", "S-14")
@pytest.mark.parametrize("environ", [pair[0] for pair in ODD_ENVIRONS.values()], ids=list(ODD_ENVIRONS))
def test_lawful_requests_are_served(environ: dict[str, Any]) -> None:
    with bridged(no_headers) as wsgi:
        assert drive_wsgi(wsgi, **environ).unwrap().body == b"fine"


class Backgrounded:
    """An app that works after its response, and fails at that."""

    def __init__(self) -> None:
        self.may_end = Signal()
        self.ending = Ending()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        async with self.ending:
            await finish(send, b"done")
            await self.may_end.come()
            raise Boom


@needs_a2wsgi
def test_a2wsgi_holds_the_response_for_background_work_and_swallows_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Backgrounded()
    with rival(app) as middleware:
        body = middleware(make_environ(), lambda *head: None)
        assert next(body) == b"done"
        rest = Thread(lambda: list(body))
        other = Backgrounded()
        other.may_end.set()
        with rival(other) as beside:  # another request has time to begin and end meanwhile
            call_rival(beside)
        assert not rest.over
        app.may_end.set()
        rest.outcome()
        app.ending.over.wait()
    assert caplog.records == []


@pytest.mark.req("A-19", "A-30")
def test_background_work_holds_nobody_and_its_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = Backgrounded()
    with bridged(app) as wsgi:
        assert drive_wsgi(wsgi).body == b"done"
        assert not app.ending.over.is_set
        app.may_end.set()
        eventually(lambda: caplog.records)
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is Boom


@needs_a2wsgi
def test_a2wsgi_runs_no_lifespan_and_a_thread_for_each_adapter() -> None:
    app = Lifespan()
    with rival(app) as middleware:
        call_rival(middleware)
    assert app.log == ["/"]
    before = set(threading.enumerate())
    adapters: list[Any] = [a2wsgi.ASGIMiddleware(app) for _ in range(5)]
    assert len(set(threading.enumerate()) - before) == 5
    for adapter in adapters:
        adapter.loop.call_soon_threadsafe(adapter.loop.stop)
    eventually(lambda: set(threading.enumerate()) <= before)
    for adapter in adapters:
        adapter.loop.close()


@pytest.mark.req("A-01", "L-04")
def test_the_lifespan_runs_and_adapters_share_a_thread() -> None:
    apps = [Lifespan() for _ in range(5)]

    def own() -> asyncio.AbstractEventLoop:  # a fixture of another module may use the ordinary one
        return asyncio.new_event_loop()

    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        for app in apps:
            stack.enter_context(bridged(app, loop_factory=own)).start()
        assert len(set(threading.enumerate()) - before) == 1
    assert [app.log for app in apps] == [["startup", "shutdown", "left"]] * 5


def test_a_disconnect_is_all_that_the_app_of_an_aborted_upload_gets() -> None:
    """The message that a2wsgi never sends."""
    messages: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.extend([await receive(), await receive()])

    with bridged(app) as wsgi:
        drive_wsgi(wsgi, **aborted_upload())
    assert messages == [{"type": "http.request", "body": b"abc", "more_body": True}, DISCONNECT]
