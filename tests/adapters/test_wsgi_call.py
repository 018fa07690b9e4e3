"""PEP 3333 as the app sees it: start_response, write, the iterable, its end; on a driver, not a server."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.drive import Exchange, Signal, checkpoint, disconnect, length, poll, post, requests, serve
from support.scopes import http_scope
from support.wsgi_apps import Adapt, Environs, Headers, Watched, after, answer, echo, returning

from bridge.exceptions import (
    ApplicationError,
    ApplicationExit,
    IncompleteResponse,
    InvalidHeader,
)

HEAD = {"method": "HEAD"}


class Boom(Exception):
    """What the apps of these tests raise."""


# -- the call


@pytest.mark.req("W-01")
def test_the_app_gets_two_positional_arguments(adapt: Adapt, loop: str) -> None:
    calls = []

    def app(*arguments: Any, **keywords: Any) -> list[bytes]:
        calls.append((len(arguments), keywords))
        arguments[1]("200 OK", [])
        return []

    assert serve(adapt(app), loop=loop).unwrap().status == 200
    assert calls == [(2, {})]


@pytest.mark.req("W-01")
def test_the_loop_turns_while_the_app_blocks(adapt: Adapt, loop: str) -> None:
    """The app waits for what only a turning loop can do."""
    ticked = Signal()
    loop_thread = threading.get_ident()
    app_threads = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        app_threads.append(threading.current_thread())
        ticked.wait()
        start_response("200 OK", [])
        return [b"done"]

    async def beside(exchange: Exchange) -> None:
        await poll(lambda: bool(app_threads))
        for _ in range(100):
            await checkpoint()
        assert not exchange.ended
        ticked.set()

    assert serve(adapt(app), loop=loop, beside=beside).unwrap().body == b"done"
    (thread,) = app_threads
    assert thread.ident != loop_thread
    assert thread.daemon
    assert thread.name.startswith("bridge-")


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.req("W-02")
def test_call_iteration_and_close_share_one_thread_and_one_context(adapt: Adapt, loop: str) -> None:
    """The token that the app's call got is reset in `close()`, which another Context would refuse."""
    waited = Signal()
    seen: dict[str, Any] = {}

    class Body(Watched):
        def close(self) -> None:
            super().close()
            variable.reset(seen["token"])

    body = Body([b"one", after(waited, b"two"), b"three"])

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen["thread"] = threading.get_ident()
        seen["token"] = variable.set("set by the call")
        start_response("200 OK", [])
        return body

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(3)
        waited.set()

    done = serve(adapt(app), loop=loop, beside=beside).unwrap()

    assert done.body == b"onetwothree"
    assert body.closed == 1
    assert set(body.threads) == {seen["thread"]}
    assert [context[variable] for context in body.contexts] == ["set by the call"] * 5


@pytest.mark.req("W-02")
def test_a_generator_may_reset_a_context_variable_when_the_client_is_gone(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The ValueError of `ContextVar.reset` in a foreign Context is what other adapters log here."""
    finalised = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        token = variable.set("streaming")
        try:
            while True:
                yield b"x" * 1000
        finally:
            variable.reset(token)
            finalised.append(threading.current_thread().name)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await exchange.sending(1)
        exchange.feed(disconnect())
        await exchange.receiving(1)
        exchange.release()

    serve(adapt(app, write_ahead=1), loop=loop, beside=beside).unwrap()
    assert len(finalised) == 1
    assert finalised[0].startswith("bridge-")
    assert caplog.records == []


@pytest.mark.req("W-02")
def test_the_context_is_a_copy_of_the_tasks(adapt: Adapt, loop: str) -> None:
    """What middleware has set before is visible in the app."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(variable.get())
        start_response("200 OK", [])
        return []

    adapter = adapt(app)

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        variable.set("by middleware")
        await adapter(scope, receive, send)

    serve(middleware, loop=loop).unwrap()
    assert seen == ["by middleware"]


@pytest.mark.parametrize("streams", [False, True])
def test_what_the_app_sets_is_visible_to_the_middleware_after_it(
    adapt: Adapt, loop: str, streams: bool
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        variable.set("by the app")
        return iter([b"a", b"b"]) if streams else [b"ab"]

    done = serve(adapt(app), loop=loop).unwrap()
    assert done.context[variable] == "by the app"


def test_a_request_does_not_see_the_context_of_another(adapt: Adapt, loop: str) -> None:
    """Even in the same worker thread."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(variable.get())
        variable.set("leaked")
        start_response("200 OK", [])
        return []

    adapter = adapt(app, threads=1)
    serve(adapter, loop=loop).unwrap()
    serve(adapter, loop=loop).unwrap()
    assert seen == ["unset", "unset"]


# -- start_response


@pytest.mark.req("W-03")
@pytest.mark.parametrize("arguments", [(), (None,)], ids=["two", "three"])
def test_start_response_takes_positional_arguments_and_returns_write(
    adapt: Adapt, loop: str, arguments: tuple[Any, ...]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("X-A", "1")], *arguments)
        write(b"written")
        return []

    done = serve(adapt(app), loop=loop).unwrap()
    assert (done.status, done.headers, done.body) == (200, [(b"x-a", b"1")], b"written")


@pytest.mark.req("W-04")
@pytest.mark.parametrize("empties", [0, 2])
def test_start_response_itself_sends_nothing(adapt: Adapt, loop: str, empties: int) -> None:
    """Nor do empty chunks after it."""
    waits, goes_on = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(empties):
            yield b""
        waits.set()
        goes_on.wait()
        yield b"body"

    async def beside(exchange: Exchange) -> None:
        await waits.come()
        for _ in range(20):
            await checkpoint()
        assert exchange.sends == 0
        goes_on.set()

    assert serve(adapt(app), loop=loop, beside=beside).unwrap().body == b"body"


def failing_over(*, before: list[bytes], after: list[bytes]) -> Any:
    """An app that names 200, yields `before`, fails, names 500 by exc_info, and yields `after`."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-A", "a"), ("Content-Length", "1000")])
        yield from before
        try:
            raise Boom
        except Boom:
            start_response("500 Broken", [("X-B", "b")], sys.exc_info())
        yield from after

    return app


@pytest.mark.req("W-04", "W-06")
def test_after_an_empty_chunk_the_status_can_still_be_replaced(adapt: Adapt, loop: str) -> None:
    done = serve(adapt(failing_over(before=[b""], after=[b"z"])), loop=loop).unwrap()
    assert [start["status"] for start in done.starts] == [500]
    assert done.headers == [(b"x-b", b"b")]
    assert done.body == b"z"
    assert done.complete


@pytest.mark.req("W-06")
def test_exc_info_before_output_replaces_status_and_headers_as_a_whole(adapt: Adapt, loop: str) -> None:
    """The Content-Length of the first call does not count either, and the request ends well."""
    done = serve(adapt(failing_over(before=[], after=[b"error ", b"page"])), loop=loop).unwrap()
    assert (done.status, done.headers, done.body) == (500, [(b"x-b", b"b")], b"error page")
    assert done.complete


@pytest.mark.req("W-05")
@pytest.mark.parametrize("first", ["200 OK", "nonsense"])
def test_a_second_call_without_exc_info_raises(adapt: Adapt, loop: str, first: str) -> None:
    """Also when the first call raised."""
    raised = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            start_response(first, [])
        except InvalidHeader:
            raised.append("first")
        start_response("200 OK", [])
        return [b"not reached"]

    done = serve(adapt(app), loop=loop)
    assert type(done.error) is ApplicationError
    assert "second time" in str(done.error)
    assert done.sent == []
    assert raised == (["first"] if first == "nonsense" else [])


@pytest.mark.req("W-05")
def test_a_call_with_exc_info_after_a_failed_one_is_allowed(adapt: Adapt) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            start_response("200 OK", [("Bad Name", "x")])
        except InvalidHeader:
            start_response("500 Oops", [], sys.exc_info())
        return [b"page"]

    done = serve(adapt(app)).unwrap()
    assert (done.status, done.body) == (500, b"page")


@pytest.mark.req("W-07")
@pytest.mark.parametrize("catch", [False, True])
def test_exc_info_after_output_raises_that_exception(adapt: Adapt, loop: str, catch: bool) -> None:
    """With its traceback, inside the app; and out of the adapter, which never ends the response."""
    original = Boom("original")
    inside: list[BaseException] = []

    def fails_here() -> None:
        raise original

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            fails_here()
        except Boom:
            try:
                start_response("500 Broken", [], sys.exc_info())
            except Boom as error:
                inside.append(error)
                if not catch:
                    raise
        yield b"more"

    done = serve(adapt(app), loop=loop)
    assert inside == [original]
    assert [start["status"] for start in done.starts] == [200]
    if catch:  # an app that goes on all the same is not stopped: it has been told
        assert done.body == b"begunmore"
    else:
        assert done.error is original
        assert done.body == b"begun"
        assert not done.complete
        names = []
        traceback = original.__traceback__
        while traceback is not None:
            names.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "fails_here" in names


@pytest.mark.req("W-07")
def test_no_reference_to_exc_info_outlives_the_call(adapt: Adapt) -> None:
    references = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            raise Boom
        except Boom as error:
            references.append(weakref.ref(error))
            start_response("500 Broken", [], sys.exc_info())
        references.append(references[0]())  # type: ignore[arg-type]  # None, unless it is held
        return [b"page"]

    serve(adapt(app)).unwrap()
    assert references[1] is None


@pytest.mark.req("W-08")
@pytest.mark.parametrize(
    ("status", "code"),
    [("204", 204), ("299 ", 299), ("200 OK", 200), ("404 Not Found", 404), ("418 Café", 418)],
)
def test_a_status_is_three_digits_with_or_without_a_reason(adapt: Adapt, status: str, code: int) -> None:
    assert serve(adapt(answer(status=status))).unwrap().status == code


@pytest.mark.req("W-08", "W-09")
@pytest.mark.parametrize(
    "status",
    ["2000 x", "OK", "200 OK\r\n", "200\tOK", "20", "", " 200 OK", "200OK", "٢٠٠ OK", b"200 OK", 200, None,
     "200 OK\x00", "100 Continue", "101 Switching Protocols", "199 x", "600 x", "799 x", "999 x", "099 x"],
)  # fmt: skip
def test_a_wrong_status_raises_where_it_is_named(adapt: Adapt, status: Any) -> None:
    """So the app can still make an error page."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(InvalidHeader):
            start_response(status, [])
        start_response("500 Wrong status", [], (InvalidHeader, InvalidHeader(), None))
        return [b"page"]

    assert serve(adapt(app)).unwrap().status == 500


@pytest.mark.req("W-10")
def test_headers_reach_the_server_as_lower_case_bytes_in_order(adapt: Adapt, loop: str) -> None:
    headers = [
        ("Set-Cookie", "b=2"),
        ("X-Trim", " \tcaf\u00e9 \t"),
        ("Set-Cookie", "a=1"),
        ("x-empty", ""),
        ("X-UPPER", "Kept As It Is"),
        ("X-Tab", "a\tb"),
    ]
    done = serve(adapt(answer(b"a", b"b", headers=headers)), loop=loop).unwrap()
    assert done.headers == [
        (b"set-cookie", b"b=2"),
        (b"x-trim", b"caf\xe9"),
        (b"set-cookie", b"a=1"),
        (b"x-empty", b""),
        (b"x-upper", b"Kept As It Is"),
        (b"x-tab", b"a\tb"),
    ]


@pytest.mark.req("W-10")
def test_the_headers_key_is_there_without_headers(adapt: Adapt) -> None:
    done = serve(adapt(answer(b"a", b"b"))).unwrap()
    assert done.starts == [{"type": "http.response.start", "status": 200, "headers": []}]


WRONG_HEADERS: list[Any] = [
    [("X A", "v")],
    [("X:", "v")],
    [("", "v")],
    [(":status", "200")],
    [("X-\u00e9", "v")],
    [("X\r\nY", "v")],
    [("X-A", "1\r\nX-Inj: 1")],
    [("X-A", "1\nX-Inj: 1")],
    [("X-A", "\x00")],
    [("X-A", "a\x7f")],
    [("X-A", "a\x1b[31m")],
    [("X-A", "\u20ac")],
    [("X-A", b"bytes")],
    [(b"X-A", "v")],
    [("X-A", 5)],
    [("X-A", None)],
    [("X-A",)],
    [("X-A", "v", "w")],
    [5],
    (("X-A", "v"),),
    {"X-A": "v"},
    None,
    "X-A: v",
]


@pytest.mark.req("W-11", "H-01", "H-02")
@pytest.mark.parametrize("headers", WRONG_HEADERS, ids=repr)
def test_wrong_headers_raise_where_they_are_named(adapt: Adapt, headers: Any) -> None:
    """Inside the app; if it lets the error go, nothing was sent, so the server answers 500."""
    inside = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            start_response("200 OK", headers)
        except InvalidHeader as error:
            inside.append(error)
            raise
        return [b"not reached"]

    done = serve(adapt(app))
    assert [done.error] == inside
    assert done.sent == []
    assert "Inj" not in str(done.error)


@pytest.mark.req("W-12", "H-03")
def test_hop_by_hop_headers_are_dropped_with_one_warning(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [
        ("Connection", "close, X-Private"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "close"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic"),
        ("Trailers", "x"),
        ("X-Private", "1"),
        ("X-Public", "1"),
        ("Trailer", "X-Sum"),
    ]
    done = serve(adapt(answer(b"a", b"b", headers=headers)), loop=loop).unwrap()
    assert done.headers == [(b"x-public", b"1"), (b"trailer", b"X-Sum")]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "transfer-encoding" in record.getMessage()


@pytest.mark.req("W-12", "H-04")
def test_only_one_content_length_reaches_the_server(adapt: Adapt) -> None:
    equal: Headers = [("Content-Length", "2"), ("Content-Length", "2")]
    done = serve(adapt(answer(b"ab", headers=equal))).unwrap()
    assert done.headers == [(b"content-length", b"2")]


@pytest.mark.req("H-04")
@pytest.mark.parametrize("values", [("2", "3"), ("+2",), ("2_0",), ("-1",), ("",), ("2, 2",), ("²",)])
def test_a_wrong_content_length_raises(adapt: Adapt, values: tuple[str, ...]) -> None:
    headers = [("Content-Length", value) for value in values]
    done = serve(adapt(answer(b"ab", headers=headers)))
    assert isinstance(done.error, InvalidHeader)
    assert done.sent == []


@pytest.mark.req("H-08")
def test_date_and_server_are_the_apps_or_the_servers(adapt: Adapt) -> None:
    assert serve(adapt(answer(b"a", b"b"))).headers == []
    headers = [("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "mine")]
    done = serve(adapt(answer(b"a", b"b", headers=headers)))
    assert done.headers == [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")]


# -- write()


@pytest.mark.req("W-13")
def test_what_is_written_comes_before_what_is_iterated(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"w1")
        write(b"")
        write(b"w2")
        return [b"i1"]

    done = serve(adapt(app), loop=loop).unwrap()
    assert done.body == b"w1w2i1"
    assert done.complete
    assert done.header(b"content-length") is None  # it was not the one element of the list alone


@pytest.mark.req("W-13")
def test_write_returns_only_when_there_is_room(adapt: Adapt, loop: str) -> None:
    """A client that does not read stops the writer after a bounded number of bytes."""
    written = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        for number in range(50):
            write(b"x" * 100)
            written.append(number)
        return []

    adapter = adapt(app, write_ahead=1000)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert len(written) == 10
        exchange.release()

    assert serve(adapter, loop=loop, beside=beside).unwrap().body == b"x" * 5000
    assert len(written) == 50


@pytest.mark.req("W-13")
@pytest.mark.parametrize("data", ["text", None, 5, bytearray(b"x"), memoryview(b"x"), [b"x"]])
def test_write_takes_bytes_only(adapt: Adapt, data: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])(data)
        return []

    done = serve(adapt(app))
    assert type(done.error) is ApplicationError
    assert done.sent == []


@pytest.mark.req("W-20")
@pytest.mark.parametrize("pieces", [[b"12345"], [b"123", b"45"], [b"1234", b"5"]])
def test_write_past_the_content_length_raises(adapt: Adapt, loop: str, pieces: list[bytes]) -> None:
    """The client gets no byte more than was announced."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "4")])
        for piece in pieces:
            write(piece)
        return []

    done = serve(adapt(app), loop=loop)
    assert type(done.error) is ApplicationError
    assert done.body == b"1234"


# -- what the app returns


class IsNotIterable:
    """Has what an iterable has but for `__iter__`."""

    def close(self) -> None:
        raise AssertionError("is called only for what was an iterable")


@pytest.mark.req("W-14")
@pytest.mark.parametrize(
    "returned",
    [None, 5, object(), "text", "", ["text"], [5], [None], [bytearray(b"x")], b"bytes", [b"x", "y"]],
)
def test_anything_but_an_iterable_of_bytes_is_an_application_error(adapt: Adapt, returned: Any) -> None:
    done = serve(adapt(returning(lambda environ: returned)))
    assert type(done.error) is ApplicationError
    assert "bytes" in str(done.error)
    assert not done.complete


@pytest.mark.req("W-14")
def test_a_str_chunk_is_named_with_its_remedy(adapt: Adapt) -> None:
    done = serve(adapt(returning(lambda environ: iter([b"begun", "text"]))))
    assert "got str (encode it first)" in str(done.error)
    assert done.body == b"begun"
    assert not done.complete


@pytest.mark.req("W-14")
def test_a_subclass_of_bytes_is_bytes(adapt: Adapt) -> None:
    class Marked(bytes):
        pass

    done = serve(adapt(returning(lambda environ: [Marked(b"a")]))).unwrap()
    assert done.chunks == [b"a"]
    assert type(done.chunks[0]) is bytes


@pytest.mark.req("W-15")
def test_start_response_may_be_called_in_the_first_next(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("404 Not Found", [("X-Late", "1")])
        yield b"late"

    done = serve(adapt(app), loop=loop).unwrap()
    assert (done.status, done.headers, done.body) == (404, [(b"x-late", b"1")], b"late")


@pytest.mark.req("W-15")
def test_empty_chunks_may_come_before_start_response(adapt: Adapt) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("200 OK", [])
        yield b"x"

    assert serve(adapt(app)).unwrap().body == b"x"


@pytest.mark.req("W-15")
@pytest.mark.parametrize("returned", [[b"x"], [b"x", b"y"], [b""], []], ids=repr)
def test_a_response_without_start_response_is_an_error(
    adapt: Adapt, loop: str, returned: list[bytes]
) -> None:
    """Nothing is sent, so the server answers 500; a body without a start is what others send."""
    body = Watched(returned)
    for value in (returned, body):
        done = serve(adapt(lambda environ, start_response, value=value: value), loop=loop)
        assert type(done.error) is ApplicationError
        assert "start_response" in str(done.error)
        assert done.sent == []
    assert body.closed == 1


@pytest.mark.req("W-16")
def test_empty_chunks_are_neither_sent_nor_the_end(adapt: Adapt, loop: str) -> None:
    chunks = [b"", b"a", b"", b"", b"b", b""]
    done = serve(adapt(returning(lambda environ: iter(chunks))), loop=loop).unwrap()
    assert done.body == b"ab"
    assert b"" not in done.chunks[:-1]
    assert done.complete


@pytest.mark.req("W-17")
def test_a_chunk_goes_on_before_the_next_is_made(adapt: Adapt, loop: str) -> None:
    """Each chunk is made only after the client has the one before."""
    arrived = [Signal() for _ in range(4)]

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        for signal in arrived:
            yield b"event"
            signal.wait()

    async def beside(exchange: Exchange) -> None:
        for number, signal in enumerate(arrived, 1):
            await exchange.until_body(5 * number)
            signal.set()

    done = serve(adapt(app), loop=loop, beside=beside).unwrap()
    assert done.chunks == [b"event"] * 4 + [b""]


@pytest.mark.req("W-17")
def test_a_written_chunk_goes_on_before_write_is_called_again(adapt: Adapt, loop: str) -> None:
    arrived = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        arrived.wait()
        write(b"2")
        return []

    async def beside(exchange: Exchange) -> None:
        await exchange.until_body(1)
        arrived.set()

    assert serve(adapt(app), loop=loop, beside=beside).unwrap().body == b"12"


@pytest.mark.req("W-17")
@pytest.mark.parametrize("size", [1000, 3000, 25_000])
def test_a_stalled_client_stops_the_generator_after_a_bounded_number_of_bytes(
    adapt: Adapt, loop: str, size: int
) -> None:
    """`next()` is not called while more than `write_ahead` bytes wait; one chunk may exceed it."""
    body = Watched([b"x" * size] * 100)
    adapter = adapt(returning(lambda environ: body), write_ahead=10_000)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert body.pulled == 10_000 // size + 1
        exchange.release()

    done = serve(adapter, loop=loop, beside=beside).unwrap()
    assert len(done.body) == 100 * size
    assert done.complete


@pytest.mark.req("W-17")
def test_small_chunks_that_queue_up_leave_in_one_message(adapt: Adapt, loop: str) -> None:
    made = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(100):
            yield b"%02d" % number
        made.set()

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await made.come()
        exchange.release()

    done = serve(adapt(app), loop=loop, beside=beside).unwrap()
    assert done.body == b"".join(b"%02d" % number for number in range(100))
    assert len(done.chunks) <= 3


@pytest.mark.req("W-18")
@pytest.mark.parametrize(
    "make",
    [
        lambda environ: [],
        lambda environ: iter([]),
        lambda environ: [b""],
        lambda environ: [b"x"],
        lambda environ: (b"x", b"y"),
        lambda environ: iter([b"x"] * 50),
    ],
    ids=["empty list", "empty iterator", "empty chunk", "one", "two", "many"],
)
def test_exactly_one_message_is_final_and_it_is_the_last(
    adapt: Adapt, loop: str, make: Callable[[Any], Any]
) -> None:
    done = serve(adapt(returning(make)), loop=loop).unwrap()
    bodies = [message for message in done.sent if message["type"] == "http.response.body"]
    assert [message["more_body"] for message in bodies].count(False) == 1
    assert done.sent[-1]["more_body"] is False
    assert done.body == b"".join(make({}))


# -- lengths


@pytest.mark.req("W-19")
@pytest.mark.parametrize("kind", [list, tuple])
def test_the_length_of_a_single_element_is_set(adapt: Adapt, loop: str, kind: Any) -> None:
    """And start and body leave in one go."""
    done = serve(adapt(returning(lambda environ: kind([b"hello"]))), loop=loop).unwrap()
    assert done.headers == [(b"content-length", b"5")]
    assert done.chunks == [b"hello"]


@pytest.mark.req("W-19")
def test_an_empty_element_has_length_zero(adapt: Adapt) -> None:
    assert serve(adapt(answer(b""))).unwrap().headers == [(b"content-length", b"0")]


@pytest.mark.req("W-19")
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_length_is_invented_where_no_body_may_follow(adapt: Adapt, status: str) -> None:
    assert serve(adapt(answer(b"", status=status))).unwrap().headers == []


@pytest.mark.req("W-19", "W-22")
@pytest.mark.parametrize("chunks", [[b""], [b"abc"]])
def test_no_length_is_invented_for_head(adapt: Adapt, chunks: list[bytes]) -> None:
    assert serve(adapt(answer(*chunks)), http_scope(**HEAD)).unwrap().headers == []


@pytest.mark.req("W-19")
def test_a_length_of_the_apps_own_is_kept(adapt: Adapt) -> None:
    done = serve(adapt(answer(b"abc", headers=[("Content-Length", "3")]))).unwrap()
    assert done.headers == [(b"content-length", b"3")]


@pytest.mark.req("W-19", "W-24")
def test_nothing_but_exact_lists_and_tuples_is_measured(adapt: Adapt) -> None:
    """A subclass may say anything about its length; only iteration and `close()` are used."""

    class Lazy(list[bytes]):
        def __len__(self) -> int:
            raise AssertionError("the length was asked for")

        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("an item was asked for")

        def __bool__(self) -> bool:
            raise AssertionError("the truth was asked for")

    done = serve(adapt(returning(lambda environ: Lazy([b"x"])))).unwrap()
    assert (done.headers, done.body) == ([], b"x")


@pytest.mark.req("W-20")
@pytest.mark.parametrize(
    "chunks", [[b"123456"], [b"123", b"456"], [b"1234", b"56", b"78"], [b"1234", b"", b"5"]]
)
@pytest.mark.parametrize("as_list", [True, False])
def test_bytes_beyond_the_content_length_are_cut(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture, chunks: list[bytes], as_list: bool
) -> None:
    make = (lambda environ: list(chunks)) if as_list else (lambda environ: iter(chunks))
    done = serve(adapt(returning(make, headers=[("Content-Length", "4")])), loop=loop).unwrap()
    assert done.body == b"1234"
    assert done.complete
    (record,) = caplog.records
    assert "Content-Length" in record.getMessage()


@pytest.mark.req("W-20", "W-24")
def test_iteration_stops_when_the_content_length_is_exceeded(adapt: Adapt, loop: str) -> None:
    body = Watched(b"xx" for _ in iter(int, 1))
    adapter = adapt(returning(lambda environ: body, headers=[("Content-Length", "3")]))
    done = serve(adapter, loop=loop).unwrap()
    assert done.body == b"xxx"
    assert body.pulled == 2
    assert body.closed == 1


@pytest.mark.req("W-20")
def test_a_response_of_the_announced_length_ends_with_its_last_byte(adapt: Adapt, loop: str) -> None:
    """The client does not wait for what the app does after it."""
    complete = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"12"
        complete.wait()

    async def beside(exchange: Exchange) -> None:
        await exchange.until(lambda: exchange.complete)
        complete.set()

    done = serve(adapt(app), loop=loop, beside=beside).unwrap()
    assert done.chunks == [b"12"]


@pytest.mark.req("W-21", "W-24")
@pytest.mark.parametrize("chunks", [[], [b""], [b"12"], [b"1", b"2"]], ids=repr)
def test_fewer_bytes_than_announced_is_an_error_and_no_end(
    adapt: Adapt, loop: str, chunks: list[bytes]
) -> None:
    body = Watched(chunks)
    adapter = adapt(returning(lambda environ: body, headers=[("Content-Length", "4")]))
    done = serve(adapter, loop=loop)
    assert type(done.error) is IncompleteResponse
    assert done.body == b"".join(chunks)
    assert not done.complete
    assert body.closed == 1


@pytest.mark.req("W-21")
def test_a_written_response_may_be_short_as_well(adapt: Adapt) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "4")])(b"12")
        return []

    done = serve(adapt(app))
    assert type(done.error) is IncompleteResponse
    assert not done.complete


@pytest.mark.req("W-21", "W-22")
@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_a_bodiless_response_is_not_short(adapt: Adapt, loop: str, method: str, status: str) -> None:
    app = answer(status=status, headers=[("Content-Length", "4")])
    assert serve(adapt(app), http_scope(method=method), loop=loop).unwrap().complete


@pytest.mark.req("W-22", "W-24")
@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"", b"abc"], [b"a", b"b", b"c"]], ids=repr)
@pytest.mark.parametrize("as_list", [True, False])
def test_head_has_no_body_and_keeps_its_length(
    adapt: Adapt, loop: str, chunks: list[bytes], as_list: bool
) -> None:
    body = Watched(chunks)
    make = (lambda environ: list(chunks)) if as_list else (lambda environ: body)
    adapter = adapt(returning(make, headers=[("Content-Length", "3")]))
    done = serve(adapter, http_scope(**HEAD), loop=loop).unwrap()
    assert done.headers == [(b"content-length", b"3")]
    assert done.chunks == [b""]
    assert done.complete
    assert body.closed == (not as_list)


@pytest.mark.req("W-22")
def test_head_does_not_run_an_endless_generator(adapt: Adapt, loop: str) -> None:
    body = Watched(b"x" for _ in iter(int, 1))
    serve(adapt(returning(lambda environ: body)), http_scope(**HEAD), loop=loop).unwrap()
    assert body.pulled == 1
    assert body.closed == 1


@pytest.mark.req("W-22")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_what_is_written_for_a_bodiless_response_is_not_sent(
    adapt: Adapt, loop: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        status = "200 OK" if method == "HEAD" else "204 No Content"
        write = start_response(status, [])
        write(b"one")
        write(b"two")
        return [b"three"]

    done = serve(adapt(app), http_scope(method=method), loop=loop).unwrap()
    assert done.chunks == [b""]
    assert caplog.records == []


@pytest.mark.req("W-22")
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"a", b"bc"]], ids=repr)
def test_no_body_and_no_length_with_204_and_304(
    adapt: Adapt, loop: str, status: str, chunks: list[bytes]
) -> None:
    app = answer(*chunks, status=status, headers=[("Content-Length", "3"), ("ETag", '"e"')])
    done = serve(adapt(app), loop=loop).unwrap()
    assert done.headers == [(b"etag", b'"e"')]
    assert done.chunks == [b""]


# -- errors


def raising(when: str, error: BaseException) -> Any:
    """An app that raises `error` at a certain moment."""

    def body() -> Iterator[bytes]:
        if when == "first next":
            raise error
        yield b"" if when == "after an empty chunk" else b"begun"
        raise error

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if when == "before start_response":
            raise error
        start_response("200 OK", [])
        if when == "after start_response":
            raise error
        return Watched(body())

    return app


SILENT = ["before start_response", "after start_response", "first next", "after an empty chunk"]


@pytest.mark.req("W-23")
@pytest.mark.parametrize("when", SILENT)
def test_an_error_before_output_propagates_and_nothing_is_sent(adapt: Adapt, loop: str, when: str) -> None:
    error = Boom()
    done = serve(adapt(raising(when, error)), loop=loop)
    assert done.error is error
    assert done.sent == []


@pytest.mark.req("W-23")
def test_an_error_after_output_propagates_and_the_response_never_ends(adapt: Adapt, loop: str) -> None:
    error = Boom()
    done = serve(adapt(raising("later", error)), loop=loop)
    assert done.error is error
    assert done.body == b"begun"
    assert not done.complete


@pytest.mark.req("W-23")
def test_an_error_after_write_propagates_and_the_response_never_ends(adapt: Adapt, loop: str) -> None:
    error = Boom()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])(b"begun")
        raise error

    done = serve(adapt(app), loop=loop)
    assert done.error is error
    assert done.body == b"begun"
    assert not done.complete


@pytest.mark.req("W-28")
@pytest.mark.parametrize("when", [*SILENT, "later"])
@pytest.mark.parametrize(
    "kind", [StopIteration, StopAsyncIteration, SystemExit, KeyboardInterrupt, GeneratorExit]
)
def test_exits_become_ordinary_errors(adapt: Adapt, loop: str, when: str, kind: type[BaseException]) -> None:
    """They would end the loop, or never complete a future. The original is the cause, and the loop lives."""
    error = kind("stop")
    adapter = adapt(raising(when, error), threads=1)
    done = serve(adapter, loop=loop)
    if kind in (StopIteration, StopAsyncIteration) and isinstance(done.error, RuntimeError):
        pass  # a generator has converted it already (PEP 479)
    else:
        assert type(done.error) is ApplicationExit
        assert kind.__name__ in str(done.error)
    assert done.error is not None
    assert done.error.__cause__ is error
    assert serve(adapt(answer(b"alive"), pool=adapter.pool), loop=loop).unwrap().body == b"alive"


@pytest.mark.req("W-28")
def test_an_iterator_that_raises_stop_iteration_in_next_has_ended(adapt: Adapt) -> None:
    """That is its protocol, not an error."""
    assert serve(adapt(returning(lambda environ: Watched([b"x", StopIteration()])))).unwrap().complete


@pytest.mark.req("W-28")
@pytest.mark.parametrize("kind", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, Boom])
def test_an_error_in_close_is_logged(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    """The response is complete by then."""
    body = Watched([b"x"], close_error=kind())
    done = serve(adapt(returning(lambda environ: body)), loop=loop).unwrap()
    assert done.complete
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is kind


# -- close()


@pytest.mark.req("W-24")
def test_an_error_in_close_does_not_replace_an_earlier_one(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = Boom("first")
    body = Watched([b"x", error], close_error=ValueError("second"))
    done = serve(adapt(returning(lambda environ: body)), loop=loop)
    assert done.error is error
    assert body.closed == 1
    (record,) = caplog.records
    assert "close()" in record.getMessage()


@pytest.mark.req("W-24")
def test_close_runs_after_the_last_body_message_was_handed_over(adapt: Adapt, loop: str) -> None:
    """Its own message goes to the client even while `close()` blocks."""
    complete = Signal()

    class Body(Watched):
        def close(self) -> None:
            super().close()
            complete.wait()

    async def beside(exchange: Exchange) -> None:
        await exchange.until(lambda: exchange.complete)
        assert not exchange.ended
        complete.set()

    body = Body([b"x"])
    done = serve(adapt(returning(lambda environ: body)), loop=loop, beside=beside).unwrap()
    assert done.body == b"x"
    assert body.closed == 1


@pytest.mark.req("W-24")
@pytest.mark.parametrize(
    "chunks",
    [[], [b""], [b"x"], [b"x"] * 20, [Boom()], [b"x", Boom()], ["text"], [b"x", 5]],
    ids=["empty", "empty chunk", "one", "many", "fails at once", "fails later", "text", "wrong later"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once_whatever_the_iterable_does(
    adapt: Adapt, loop: str, chunks: list[Any], method: str
) -> None:
    body = Watched(chunks)
    serve(adapt(returning(lambda environ: body)), http_scope(method=method), loop=loop)
    assert body.closed == 1


@pytest.mark.req("W-24")
def test_close_is_called_of_an_iterable_that_cannot_be_iterated(adapt: Adapt) -> None:
    closed = []

    class Broken:
        def __iter__(self) -> Any:
            raise Boom

        def close(self) -> None:
            closed.append(1)

    done = serve(adapt(returning(lambda environ: Broken())))
    assert type(done.error) is Boom
    assert closed == [1]


@pytest.mark.req("W-24")
def test_close_is_called_of_what_is_returned_not_of_its_iterator(adapt: Adapt) -> None:
    """An iterable may make a new iterator, and own what `close()` frees itself."""
    inner, closed = Watched([b"x"]), []

    class Iterable:
        def __iter__(self) -> Any:
            return inner

        def close(self) -> None:
            closed.append(1)

    serve(adapt(returning(lambda environ: Iterable()))).unwrap()
    assert (closed, inner.closed) == ([1], 0)


# -- more than one thing at a time


def test_a_request_is_described_without_raw_control_characters(adapt: Adapt) -> None:
    """In the dump of stuck workers: a path may hold a decoded line break (H-06)."""
    ready, goes_on = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ready.set()
        goes_on.wait()
        start_response("200 OK", [])
        return []

    adapter = adapt(app)
    dumps = []

    async def beside(exchange: Exchange) -> None:
        await ready.come()
        dumps.append(adapter.pool.dump(older_than=0.0))
        goes_on.set()

    serve(adapter, http_scope(path="/a\r\nFAKE LOG LINE\x1b[31m"), beside=beside).unwrap()
    assert "GET '/a\\r\\nFAKE LOG LINE\\x1b[31m'" in dumps[0]


def test_environ_is_let_go_of_after_the_request(adapt: Adapt) -> None:
    """An app that keeps `start_response` keeps no more than that."""
    kept = []

    class Large:
        pass

    references = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["large"] = Large()
        references.append(weakref.ref(environ["large"]))
        kept.append(start_response)
        start_response("200 OK", [])
        return [b"x"]

    serve(adapt(app)).unwrap()
    assert references[0]() is None


def test_each_request_of_a_pool_of_one_is_answered_for_itself(adapt: Adapt, loop: str) -> None:
    adapter = adapt(echo, threads=1)
    for body in (b"first", b"second"):
        assert serve(adapter, post(length(len(body))), requests(body), loop=loop).unwrap().body == body


def test_one_environ_a_request(adapt: Adapt) -> None:
    app = Environs()
    adapter = adapt(app)
    serve(adapter).unwrap()
    serve(adapter).unwrap()
    assert app.seen[0] is not app.seen[1]
    assert app.seen[0]["asgi.scope"] is not app.seen[1]["asgi.scope"]
