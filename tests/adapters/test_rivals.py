"""What was found broken in other adapters, each tried on ours. The names say in which, and what.

Found by running them: a2wsgi 1.10.10, asgiref 3.13.0, and the WSGI wrappers of Uvicorn 0.54.0,
Hypercorn 0.18.0 and Starlette 1.10.0.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.drive import Exchange, Signal, disconnect, length, poll, post, requests, run, serve, together
from support.scopes import http_scope
from support.wsgi_apps import Adapt, Environs, Watched, answer, returning
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
    assert adapter.pool.drain(5)
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
    started = time.perf_counter()
    serve(adapter, scope).unwrap()
    assert time.perf_counter() - started < 2
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
        barrier.wait(10)
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
