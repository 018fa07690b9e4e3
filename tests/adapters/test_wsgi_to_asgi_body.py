"""Request bodies under WSGIToASGI: reading, pre-buffer, 100-continue, truncation, limits, spooling."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import pytest
from support.drive import (
    TIMEOUT,
    Exchange,
    Message,
    Signal,
    checkpoint,
    disconnect,
    length,
    poll,
    post,
    requests,
    run,
    serve,
    together,
)
from support.scopes import http_scope
from support.wsgi_apps import Adapt, App, answer, echo

from bridge import ThreadPool
from bridge.exceptions import BodyTooLarge, ClientDisconnected, ServerError

TINY: dict[str, Any] = {"prebuffer": 1, "read_ahead": 1}
EXPECT = (b"expect", b"100-continue")
# Whole in the pre-buffer, streamed in tiny steps, or received only once the app reads.
WAYS: list[Any] = [
    pytest.param({}, [], id="whole"),
    pytest.param(TINY, [], id="streamed"),
    pytest.param({}, [EXPECT], id="on demand"),
]
every_way = pytest.mark.parametrize(("options", "headers"), WAYS)


def reader(read: Callable[[Any], Any], results: list[Any]) -> App:
    """An app that keeps what `read(wsgi.input)` gives, or the error that it raises, which goes on."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            results.append(read(environ["wsgi.input"]))
        except BaseException as error:
            results.append(error)
            raise
        start_response("200 OK", [])
        return [b"read"]

    return app


def reading(
    adapt: Adapt,
    read: Callable[[Any], Any],
    messages: list[Message],
    *headers: tuple[bytes, bytes],
    loop: str = "asyncio",
    **options: Any,
) -> Any:
    """What `read(wsgi.input)` gives for a POST whose body comes in these messages."""
    results: list[Any] = []
    serve(adapt(reader(read, results), **options), post(*headers), messages, loop=loop)
    return results[0]


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await checkpoint()


# -- reading


@pytest.mark.req("E-36")
@every_way
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda body: body.read(), b"hello world"),
        (lambda body: body.read(-1), b"hello world"),
        (lambda body: body.read(None), b"hello world"),
        (lambda body: body.read(0), b""),
        (lambda body: body.read(8), b"hello wo"),
        (lambda body: body.read(100), b"hello world"),
        (lambda body: [body.read(4) for _ in range(4)], [b"hell", b"o wo", b"rld", b""]),
        (lambda body: [body.read(2), body.read(0), body.read()], [b"he", b"", b"llo world"]),
    ],
)
def test_read_returns_what_was_asked_for(
    adapt: Adapt, loop: str, options: Any, headers: Any, read: Callable[[Any], Any], expected: Any
) -> None:
    """Whatever the messages are like: n bytes unless the end comes first."""
    messages = requests(b"hel", b"", b"lo w", b"o", b"rld", b"")
    assert reading(adapt, read, messages, *headers, loop=loop, **options) == expected


LINES = [b"li", b"ne\nab"]


@pytest.mark.req("E-37")
@every_way
@pytest.mark.parametrize(
    ("read", "chunks", "expected"),
    [
        (lambda body: list(body), LINES, [b"line\n", b"ab"]),
        (lambda body: body.readlines(), LINES, [b"line\n", b"ab"]),
        (lambda body: [body.readline() for _ in range(3)], LINES, [b"line\n", b"ab", b""]),
        (lambda body: [body.readline(100), body.readline(100)], LINES, [b"line\n", b"ab"]),
        (lambda body: [body.readline(3), body.readline(3)], LINES, [b"lin", b"e\n"]),
        (lambda body: [body.readline(5), body.readline(1)], LINES, [b"line\n", b"a"]),
        (lambda body: [body.readline(0), body.readline(-1)], LINES, [b"", b"line\n"]),
        (lambda body: body.readline(None), LINES, b"line\n"),
        (lambda body: [body.readlines(3), body.readlines()], [b"cd\nef\ngh"], [[b"cd\n"], [b"ef\n", b"gh"]]),
        (lambda body: body.readlines(4), [b"cd\nef\ngh"], [b"cd\n", b"ef\n"]),
        (lambda body: body.readlines(6), [b"cd\nef\ngh"], [b"cd\n", b"ef\n"]),
        (lambda body: body.readlines(7), [b"cd\nef\ngh"], [b"cd\n", b"ef\n", b"gh"]),
        (lambda body: body.readlines(None), [b"cd\nef\ngh"], [b"cd\n", b"ef\n", b"gh"]),
        (lambda body: body.readlines(0), [b"cd\nef\ngh"], [b"cd\n", b"ef\n", b"gh"]),
        (lambda body: body.readlines(), [b""], []),
        (lambda body: list(body), [b"\n\n", b"\n"], [b"\n", b"\n", b"\n"]),
        (lambda body: [body.readline(), *body], [b"a\r\nb\rc\n"], [b"a\r\n", b"b\rc\n"]),
    ],
)
def test_lines_cross_the_borders_of_messages(
    adapt: Adapt, options: Any, headers: Any, read: Callable[[Any], Any], chunks: list[bytes], expected: Any
) -> None:
    assert reading(adapt, read, requests(*chunks), *headers, **options) == expected


@pytest.mark.req("E-36", "E-37")
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("options", [{}, TINY, {"prebuffer": 7, "read_ahead": 13}])
def test_any_mix_of_reads_agrees_with_a_file(adapt: Adapt, seed: int, options: Any) -> None:
    """The same calls on an `io.BytesIO` of the whole body are the oracle."""
    choice = random.Random(seed)
    data = bytes(choice.choices(b"ab\n", k=2000))
    calls = [
        choice.choice(
            [("read", 7), ("read", 0), ("readline", None), ("readline", 5), ("readlines", 9), ("read", 200)]
        )
        for _ in range(60)
    ]
    oracle = io.BytesIO(data)
    expected = [*(getattr(oracle, name)(size) for name, size in calls), oracle.read()]

    def read(body: Any) -> Any:
        return [*(getattr(body, name)(size) for name, size in calls), body.read()]

    chunks = []
    while data:
        size = choice.choice([1, 2, 3, 50, 400])
        chunks.append(data[:size])
        data = data[size:]
    assert reading(adapt, read, requests(*chunks), **options) == expected


@pytest.mark.req("E-38")
@every_way
def test_the_end_is_sticky(adapt: Adapt, loop: str, options: Any, headers: Any) -> None:
    """And `receive()` is not called for body again: the one call more waits for a disconnect."""
    ends: list[Any] = []

    def read(body: Any) -> bytes:
        data: bytes = body.read()
        ends.append([body.read(), body.read(1), body.readline(), body.readlines(), list(body)])
        return data

    results: list[Any] = []
    adapter = adapt(reader(read, results), **options)
    done = serve(adapter, post(*headers), requests(b"a", b"b", b"c"), loop=loop).unwrap()
    assert results == [b"abc"]
    assert ends == [[b"", b"", b"", [], []]]
    assert done.receives <= 4


@pytest.mark.req("E-36", "E-38")
@pytest.mark.parametrize(
    "scope",
    [http_scope(), http_scope(method="OPTIONS"), post(length(0)), http_scope(method="HEAD")],
    ids=["GET", "OPTIONS", "POST of length 0", "HEAD"],
)
def test_nothing_is_received_for_a_request_without_a_body(
    adapt: Adapt, loop: str, scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = "trio_port" if loop == "trio" else "asyncio_port"
    # However long the app takes on a busy machine: nobody asks meanwhile whether the client has left.
    monkeypatch.setattr(f"bridge.engines.{port}.BRIEFLY", TIMEOUT)
    results: list[Any] = []
    done = serve(
        adapt(reader(lambda body: [body.read(), body.readline()], results)), scope, loop=loop
    ).unwrap()
    assert results == [[b"", b""]]
    assert done.receives == 0


@pytest.mark.req("E-36")
def test_the_body_is_received_while_the_app_runs(adapt: Adapt, loop: str) -> None:
    """On demand: the app sees a piece before the client has sent the next."""
    seen = [Signal() for _ in range(3)]

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for number, signal in enumerate(seen):
            assert environ["wsgi.input"].read(2) == b"%02d" % number
            signal.set()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    script: list[Any] = [*requests(b"00", more=True), seen[0], *requests(b"01", more=True), seen[1]]
    script += [*requests(b"02", more=True), seen[2], *requests(b"rest")]
    assert serve(adapt(app, **TINY), post(), script, loop=loop).unwrap().body == b"rest"


@pytest.mark.req("E-43")
@pytest.mark.parametrize(
    "scope",
    [http_scope(), post(), post(length(3)), post((b"transfer-encoding", b"chunked")), post(EXPECT)],
    ids=["GET", "POST", "length", "chunked", "expect"],
)
@pytest.mark.parametrize("options", [{}, TINY, {"spool": True}])
def test_the_input_says_that_it_ends_by_itself(adapt: Adapt, scope: Any, options: Any) -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["wsgi.input_terminated"])
        return echo(environ, start_response)

    serve(adapt(app, **options), scope, requests(b"abc")).unwrap()
    assert seen == [True]


@pytest.mark.req("E-35", "E-43")
def test_a_chunked_body_is_read_without_a_length(adapt: Adapt, loop: str) -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append({key for key in environ if "LENGTH" in key or "TRANSFER" in key})
        return echo(environ, start_response)

    scope = post((b"transfer-encoding", b"chunked"), (b"te", b"trailers"))
    done = serve(adapt(app), scope, requests(b"abc", b"def"), loop=loop).unwrap()
    assert done.body == b"abcdef"
    assert seen == [set()]


# -- the pre-buffer


@pytest.mark.req("E-39")
@pytest.mark.parametrize("prebuffer", [None, 10])
def test_a_slow_upload_holds_no_thread_up_to_the_pre_buffer(
    adapt: Adapt, loop: str, prebuffer: int | None
) -> None:
    """64 KiB by default."""
    bound = 65536 if prebuffer is None else prebuffer
    adapter = adapt(echo) if prebuffer is None else adapt(echo, prebuffer=prebuffer)
    messages = requests(b"x" * (bound - 2), b"x", more=True)

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(3)
        await turns()
        assert adapter.pool.stats().started == 0
        exchange.feed(*requests(b"x", more=True))
        await poll(lambda: adapter.pool.stats().started == 1)
        exchange.feed(*requests(b"y"))

    done = serve(adapter, post(), messages, loop=loop, beside=beside).unwrap()
    assert done.body == b"x" * bound + b"y"


@pytest.mark.req("E-39")
def test_a_thread_is_taken_once_a_small_body_is_whole(adapt: Adapt, loop: str) -> None:
    adapter = adapt(echo)

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(2)
        await turns()
        assert adapter.pool.stats().started == 0
        exchange.feed(*requests(b"b"))

    done = serve(adapter, post(length(2)), requests(b"a", more=True), loop=loop, beside=beside).unwrap()
    assert done.body == b"ab"


@pytest.mark.req("E-39")
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_with_100_continue_nothing_is_received_before_the_app_reads(
    adapt: Adapt, loop: str, value: bytes
) -> None:
    called, reads = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(0)
        environ["wsgi.input"].readline(0)
        called.set()
        reads.wait()
        return echo(environ, start_response)

    async def beside(exchange: Exchange) -> None:
        await called.come()
        await turns()
        assert exchange.receives == 0
        reads.set()

    scope = post((b"expect", value), length(2))
    done = serve(adapt(app), scope, requests(b"ab"), loop=loop, beside=beside).unwrap()
    assert done.body == b"ab"
    assert done.receives >= 1


@pytest.mark.req("E-39")
@pytest.mark.parametrize("chunks", [[b"no"], [b"n", b"o"]])
def test_an_app_that_does_not_read_lets_no_100_continue_out(
    adapt: Adapt, loop: str, chunks: list[bytes]
) -> None:
    """`receive()` is called after the final status, if at all."""
    app = answer(*chunks, status="401 Unauthorized")
    done = serve(adapt(app), post(EXPECT, length(2)), requests(b"ab"), loop=loop).unwrap()
    assert (done.status, done.body) == (401, b"no")
    assert "receive" not in done.log[: done.log.index("http.response.start")]


@pytest.mark.req("E-39", "W-26")
def test_after_the_final_status_a_disconnect_is_noticed_though_the_app_never_read(
    adapt: Adapt, loop: str
) -> None:
    """A stream to a client that had asked for 100-continue."""
    closed = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        exchange.feed(disconnect())
        await closed.come()

    serve(adapt(app), post(EXPECT, length(2)), loop=loop, beside=beside).unwrap()


# -- truncation

READS: list[Any] = [
    lambda body: body.read(),
    lambda body: body.read(100),
    lambda body: body.readline(),
    lambda body: body.readline(100),
    lambda body: body.readlines(),
    lambda body: list(body),
    lambda body: [body.read(1) for _ in range(100)],
]


@pytest.mark.req("E-40")
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "headers", [[], [length(100)], [EXPECT, length(100)]], ids=["chunked", "length", "expect"]
)
@pytest.mark.parametrize("options", [{}, TINY], ids=["default", "tiny"])
def test_a_disconnect_before_the_end_raises_in_every_read(
    adapt: Adapt, read: Any, headers: Any, options: Any
) -> None:
    """In the pending one and in all later ones: the three bytes never look like the body."""
    errors: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        for again in (read, *READS):
            try:
                again(body)
            except OSError as error:
                errors.append(error)
        start_response("200 OK", [])
        return [b"saved"]

    done = serve(adapt(app, **options), post(*headers), [*requests(b"abc", more=True), disconnect()])
    assert len(errors) == 1 + len(READS)
    assert {type(error) for error in errors} == {ClientDisconnected}
    assert done.unwrap().sent == []


@pytest.mark.req("E-40")
def test_a_read_that_waits_is_woken_by_the_disconnect(adapt: Adapt, loop: str) -> None:
    results: list[Any] = []
    adapter = adapt(reader(lambda body: [body.read(1), body.read(1)], results), **TINY)

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(2)
        await poll(lambda: adapter.pool.stats().streaming == 1)
        exchange.feed(disconnect())

    serve(adapter, post(), requests(b"a", more=True), loop=loop, beside=beside).unwrap()
    assert isinstance(results[0], OSError)


@pytest.mark.req("E-40")
@every_way
@pytest.mark.parametrize("messages", [requests(b"abc"), requests(b"a", b"bc"), requests(b"")], ids=repr)
def test_an_end_before_the_content_length_raises(
    adapt: Adapt, loop: str, options: Any, headers: Any, messages: list[Message]
) -> None:
    result = reading(adapt, lambda body: body.read(), messages, length(100), *headers, loop=loop, **options)
    assert isinstance(result, ClientDisconnected)


@pytest.mark.req("E-40")
def test_an_app_may_answer_a_body_that_ended_early(adapt: Adapt, loop: str) -> None:
    """The client is still there: the server has cut the body short by itself."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError:
            start_response("400 Bad Request", [])
        return [b"short"]

    done = serve(adapt(app), post(length(100)), requests(b"abc"), loop=loop).unwrap()
    assert (done.status, done.body) == (400, b"short")


@pytest.mark.req("E-40")
@every_way
@pytest.mark.parametrize(
    "messages",
    [requests(b"abcdef"), requests(b"ab", b"cdef"), requests(b"abcd", b"ef"), requests(b"abcd", more=True)],
    ids=repr,
)
def test_no_more_than_the_content_length_is_read(
    adapt: Adapt, loop: str, options: Any, headers: Any, messages: list[Message]
) -> None:
    result = reading(adapt, lambda body: body.read(), messages, length(4), *headers, loop=loop, **options)
    assert result == b"abcd"


@pytest.mark.req("E-40")
def test_a_receive_that_fails_with_oserror_is_a_disconnect(adapt: Adapt, loop: str) -> None:
    """Before the app runs, nothing began; while it reads, its read raises."""
    results: list[Any] = []
    adapter = adapt(reader(lambda body: body.read(), results), **TINY)
    done = serve(adapter, post(), [OSError("gone")], loop=loop).unwrap()
    assert (done.sent, results) == ([], [])
    done = serve(adapter, post(), [*requests(b"a", more=True), OSError("gone")], loop=loop).unwrap()
    assert done.sent == []
    assert isinstance(results[0], ClientDisconnected)


@pytest.mark.parametrize("when", [0, 1])
def test_a_receive_that_fails_otherwise_fails_the_request(adapt: Adapt, loop: str, when: int) -> None:
    """The server's error comes out, and a read that waits raises."""
    error = RuntimeError("the server broke")
    results: list[Any] = []
    adapter = adapt(reader(lambda body: body.read(), results), **TINY)
    done = serve(adapter, post(), [*requests(b"a", more=True)[:when], error], loop=loop)
    assert done.error is error
    assert adapter.pool.drain(TIMEOUT)
    assert [isinstance(result, OSError) for result in results] == [True] * when


def test_a_message_of_another_kind_is_the_servers_error(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(echo), post(), [{"type": "websocket.receive"}], loop=loop)
    assert isinstance(done.error, ServerError)
    assert "websocket.receive" in str(done.error)


def test_a_message_may_leave_out_its_optional_keys(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(echo), post(), [{"type": "http.request"}], loop=loop).unwrap()
    assert done.body == b""


# -- memory


@pytest.mark.req("E-41")
@pytest.mark.parametrize("read", [0, 1, 100_000, 1_000_000])
def test_memory_is_bounded_while_the_app_does_not_read(adapt: Adapt, loop: str, read: int) -> None:
    """By pre-buffer, read-ahead and one message: then `receive()` is not called."""
    piece, prebuffer, read_ahead = 65536, 65536, 262144
    paused, goes_on = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        size = len(environ["wsgi.input"].read(read))
        paused.set()
        goes_on.wait()
        while chunk := environ["wsgi.input"].read(piece):
            size += len(chunk)
        start_response("200 OK", [])
        return [b"%d" % size]

    async def beside(exchange: Exchange) -> None:
        await paused.come()
        before = -1
        while before != exchange.receives:  # until it is at rest
            before = exchange.receives
            await turns()
        assert exchange.receives * piece - read <= prebuffer + read_ahead + piece
        goes_on.set()

    messages = requests(*[b"x" * piece] * 100)
    adapter = adapt(app, prebuffer=prebuffer, read_ahead=read_ahead)
    done = serve(adapter, post(), messages, loop=loop, beside=beside).unwrap()
    assert done.body == b"%d" % (100 * piece)


@pytest.mark.req("E-41")
def test_the_read_ahead_is_used_while_the_app_does_not_read(adapt: Adapt, loop: str) -> None:
    """Up to the bound, the loop does not wait for the app."""
    ahead = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ahead.wait()
        return echo(environ, start_response)

    async def beside(exchange: Exchange) -> None:
        await exchange.receiving(10)
        await turns()
        assert exchange.receives == 10
        ahead.set()

    adapter = adapt(app, prebuffer=10, read_ahead=100)
    done = serve(adapter, post(), requests(*[b"x" * 10] * 50), loop=loop, beside=beside).unwrap()
    assert done.body == b"x" * 500


@pytest.mark.req("E-41")
def test_an_upload_that_is_not_read_does_not_hold_up_the_response(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(answer(b"no"), **TINY), post(), requests(*[b"x"] * 50), loop=loop).unwrap()
    assert done.body == b"no"
    assert done.receives <= 3


def test_waiting_uploads_do_not_take_the_threads_of_others(adapt: Adapt, loop: str) -> None:
    """They lend their slots: two uploads stand still in a pool of two, and a third request is answered."""
    pool = ThreadPool(2)
    uploads = adapt(echo, pool=pool, **TINY)
    quick = adapt(answer(b"quick"), pool=pool)
    slow = [Exchange(uploads, post(), requests(b"a", more=True)) for _ in range(2)]

    async def client() -> None:
        await poll(lambda: pool.stats().streaming == 2)
        for _ in range(3):
            assert (await Exchange(quick).go()).unwrap().body == b"quick"
        for exchange in slow:
            exchange.feed(*requests(b"b"))

    async def main() -> None:
        await together(*(exchange.go for exchange in slow), client)

    run(main, loop)
    assert [exchange.unwrap().body for exchange in slow] == [b"ab", b"ab"]


# -- the limit


@pytest.mark.parametrize("headers", [[length(11)], [length(11), EXPECT], [length(10**18)]], ids=repr)
def test_an_announced_body_above_the_limit_gets_413_unread(adapt: Adapt, loop: str, headers: Any) -> None:
    adapter = adapt(echo, max_body=10)
    done = serve(adapter, post(*headers), requests(b"x" * 11), loop=loop).unwrap()
    assert (done.status, done.receives) == (413, 0)
    assert done.complete
    assert adapter.pool.stats().started == 0


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 6], [b"x"] * 11], ids=repr)
def test_a_body_above_the_limit_gets_413_in_the_pre_buffer(
    adapt: Adapt, loop: str, chunks: list[bytes]
) -> None:
    """Without a thread; what follows is not received."""
    adapter = adapt(echo, max_body=10)
    messages = requests(*chunks, more=True)
    done = serve(adapter, post(), [*messages, *requests(b"x", b"x")], loop=loop).unwrap()
    assert done.status == 413
    assert done.receives == len(chunks)
    assert adapter.pool.stats().started == 0


@pytest.mark.parametrize("headers", [[], [EXPECT]], ids=["streamed", "on demand"])
def test_a_body_above_the_limit_gets_413_while_it_streams(adapt: Adapt, loop: str, headers: Any) -> None:
    """The app's read raises; if the app lets that go, it is the answer."""
    results: list[Any] = []
    adapter = adapt(reader(lambda body: body.read(), results), max_body=10, **TINY)
    messages = requests(*[b"x"] * 30)
    done = serve(adapter, post(*headers), messages, loop=loop).unwrap()
    assert (done.status, done.complete) == (413, True)
    assert isinstance(results[0], BodyTooLarge)
    assert done.receives <= 12


def test_a_body_above_the_limit_after_the_start_aborts_the_response(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].read()

    done = serve(adapt(app, max_body=2, **TINY), post(), requests(b"a", b"b", b"c"), loop=loop)
    assert isinstance(done.error, BodyTooLarge)
    assert (done.body, done.complete) == (b"begun", False)


def test_an_app_may_answer_a_body_above_the_limit_itself(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except BodyTooLarge:
            start_response("413 Too large", [("Content-Type", "text/html")])
        return [b"<p>sorry"]

    done = serve(adapt(app, max_body=2, **TINY), post(), requests(b"a", b"b", b"c"), loop=loop).unwrap()
    assert (done.status, done.body) == (413, b"<p>sorry")


@pytest.mark.parametrize("options", [{}, TINY])
@pytest.mark.parametrize("headers", [[], [length(10)]], ids=["chunked", "length"])
def test_a_body_of_the_limit_is_let_through(adapt: Adapt, loop: str, options: Any, headers: Any) -> None:
    adapter = adapt(echo, max_body=10, **options)
    assert serve(adapter, post(*headers), requests(b"x" * 5, b"y" * 5), loop=loop).unwrap().status == 200


@pytest.mark.parametrize(("chunk", "status"), [(b"", 200), (b"x", 413)])
def test_a_limit_of_zero_allows_no_body(adapt: Adapt, chunk: bytes, status: int) -> None:
    assert serve(adapt(echo, max_body=0), post(), requests(chunk)).unwrap().status == status


# -- spooling


def spool_probe(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """As Django reads: exactly CONTENT_LENGTH bytes, none without."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size) if size else b""
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


@pytest.mark.req("E-42")
@pytest.mark.parametrize("options", [{}, TINY])
@pytest.mark.parametrize("headers", [[], [(b"transfer-encoding", b"chunked")], [EXPECT]], ids=repr)
@pytest.mark.parametrize("data", [b"", b"abc", b"x" * 200_000, b"y" * 1_500_000], ids=len)
def test_spooling_gives_a_body_of_unknown_length_its_length(
    adapt: Adapt, loop: str, options: Any, headers: Any, data: bytes
) -> None:
    """In memory or, when it is large, in a file."""
    pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)] or [b""]
    adapter = adapt(spool_probe, spool=True, **options)
    done = serve(adapter, post(*headers), requests(*pieces), loop=loop).unwrap()
    assert done.header(b"x-length") == b"%d" % len(data)
    assert done.body == data


@pytest.mark.req("E-42")
def test_without_spooling_the_length_stays_unknown(adapt: Adapt) -> None:
    done = serve(adapt(spool_probe), post(), requests(b"abc")).unwrap()
    assert (done.header(b"x-length"), done.body) == (b"none", b"")


@pytest.mark.req("E-42")
def test_a_body_of_known_length_streams_though_spooling_is_on(adapt: Adapt, loop: str) -> None:
    """The app is called before the body is there."""
    read = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert environ["wsgi.input"].read(1) == b"a"
        read.set()
        return echo(environ, start_response)

    script: list[Any] = [*requests(b"a", more=True), read, *requests(b"b")]
    assert serve(adapt(app, spool=True, **TINY), post(length(2)), script, loop=loop).unwrap().body == b"b"


@pytest.mark.req("E-42")
def test_a_request_without_a_body_gets_no_length_by_spooling(adapt: Adapt) -> None:
    assert serve(adapt(spool_probe, spool=True)).unwrap().header(b"x-length") == b"none"


@pytest.mark.req("E-40", "E-42")
def test_the_app_is_not_called_for_a_truncated_body_that_is_spooled(adapt: Adapt, loop: str) -> None:
    calls = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ)
        return echo(environ, start_response)

    adapter = adapt(app, spool=True, **TINY)
    done = serve(adapter, post(), [*requests(b"a", more=True), disconnect()], loop=loop).unwrap()
    assert (calls, done.sent) == ([], [])


@pytest.mark.req("E-42")
def test_the_spool_is_closed_after_the_request(adapt: Adapt) -> None:
    kept = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        kept.append(environ["wsgi.input"])
        return echo(environ, start_response)

    adapter = adapt(app, spool=True, **TINY)
    serve(adapter, post(), requests(b"a", b"b")).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert kept[0].closed


@pytest.mark.req("E-42")
def test_a_spooled_body_above_the_limit_gets_413(adapt: Adapt, loop: str) -> None:
    adapter = adapt(echo, spool=True, max_body=2, **TINY)
    assert serve(adapter, post(), requests(b"a", b"b", b"c"), loop=loop).unwrap().status == 413


@pytest.mark.req("E-36", "E-38")
@pytest.mark.parametrize("options", [{}, TINY], ids=["whole", "streamed"])
def test_a_framed_body_is_over_when_the_server_says_so(adapt: Adapt, loop: str, options: Any) -> None:
    """On HTTP/2 and 3 the last byte may come before the end of the stream, which has to be received."""
    messages = [*requests(b"ab", b"cd", more=True), *requests(b"")]
    scope = post(length(4), http_version="2")
    done = serve(adapt(echo, **options), scope, messages, loop=loop).unwrap()
    assert done.body == b"abcd"
    assert done.received[:3] == messages


@pytest.mark.req("E-36", "E-38")
def test_an_empty_framed_body_is_over_when_the_server_says_so(adapt: Adapt, loop: str) -> None:
    """A response before that makes Hypercorn 0.18 drop the connection."""
    scope = post(length(0), http_version="2")
    done = serve(adapt(echo), scope, [3, *requests(b"")], loop=loop).unwrap()
    assert done.body == b""
    assert done.log[0] == "receive"
    assert done.received[:1] == requests(b"")


@pytest.mark.req("E-36")
def test_an_empty_body_of_http_1_has_nothing_to_receive(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(echo), post(length(0)), loop=loop).unwrap()
    assert (done.body, done.received) == (b"", [])
