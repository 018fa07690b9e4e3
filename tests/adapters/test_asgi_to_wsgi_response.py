"""Responses: when status and headers go out, streams and their bounds, errors, files, extensions."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import threading
import time
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from support.asgi_apps import (
    Ending,
    Scopes,
    ask,
    body,
    bridged,
    finish,
    http,
    in_progress,
    no_loop_left,
    respond,
    sending,
    start,
)
from support.drive import Signal
from support.engines import Thread, eventually
from support.wsgi_drive import Answer, Exchange, drive, make_environ

from bridge import ASGIToWSGI
from bridge.adapters import asgi_call
from bridge.exceptions import (
    ApplicationExit,
    IncompleteResponse,
    InvalidHeader,
    InvalidMessage,
)


class Boom(Exception):
    """What the apps of these tests raise."""


class BaseBoom(BaseException):
    """The same, outside of `Exception`."""


def length(number: int) -> tuple[bytes, bytes]:
    """A Content-Length header."""
    return (b"content-length", b"%d" % number)


def refused(*messages: Any, error: type[Exception] = InvalidMessage, **request: Any) -> Exception:
    """What the last of these messages raises in `send()`; the client then gets 500."""
    errors: list[Exception] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except Exception as raised:
            errors.append(raised)
            raise

    answer = ask(app, **request)
    assert len(errors) == 1, "nothing was raised"
    assert isinstance(errors[0], error)
    if answer.error is None:
        assert answer.status == 500
    else:  # the response had begun
        assert answer.error is errors[0]
    return errors[0]


# -- status and headers


@pytest.mark.req("A-13", "A-14")
def test_status_and_headers_are_held_until_something_follows() -> None:
    """Neither the start nor an empty body sends them: an error that comes next can still be told."""
    held, may_go_on = Signal(), Signal()
    heads: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(202, [(b"x-a", b"1")]))
        await send(body(b"", more=True))
        held.set()
        await may_go_on.come()
        await send(body(b"x", more=True))
        await send(body())

    with bridged(app) as wsgi:
        call = Thread(lambda: wsgi(make_environ(), lambda *head: heads.append(head)))
        held.wait()
        assert heads == []
        assert not call.over
        may_go_on.set()
        iterable = call.outcome()
        assert heads == [("202 Accepted", [("x-a", "1")])]  # before the first next()
        assert list(iterable) == [b"x"]
        iterable.close()


@pytest.mark.req("A-14")
@pytest.mark.parametrize("chunks", [(), (b"x",), (b"x", b"y")], ids=len)
def test_a_server_that_reads_the_head_before_it_iterates_gets_it(chunks: tuple[bytes, ...]) -> None:
    """Granian does, so a lazily started 404 became `200 OK`."""
    with bridged(respond(*chunks, status=404, headers=[(b"x-a", b"1")])) as wsgi, Exchange(wsgi) as exchange:
        answer = exchange.call()
        assert (answer.status, answer.reason, answer.headers) == (404, "Not Found", [("x-a", "1")])
        assert exchange.rest() == b"".join(chunks)


@pytest.mark.req("A-15")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (200, "OK"),
        (204, "No Content"),
        (299, "Unknown"),
        (304, "Not Modified"),
        (404, "Not Found"),
        (418, "I'm a Teapot"),
        (499, "Unknown"),
        (503, "Service Unavailable"),
        (599, "Unknown"),
    ],
)
def test_the_status_line_has_a_phrase(code: int, reason: str) -> None:
    answer = ask(respond(status=code)).unwrap()
    assert (answer.status, answer.reason) == (code, reason)


@pytest.mark.req("A-16", "H-08")
@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_headers_become_a_list_of_pairs_of_str(kind: Any) -> None:
    """In order, repeats and all, trimmed, as latin-1; and nothing is added."""
    headers = kind(
        [
            (b"Content-Type", b"text/plain"),
            (b"set-cookie", b"a=1"),
            (b"x-name", b" \tcaf\xe9\t "),
            [b"set-cookie", b"b=2"],
            (b"x-empty", b""),
            (bytearray(b"x-other"), memoryview(b"bytes")),
            (b"date", b"yesterday"),
            (b"server", b"mine"),
        ]
    )
    with bridged(sending({"type": "http.response.start", "status": 200, "headers": headers}, body())) as wsgi:
        answer = drive(wsgi).unwrap()
    assert type(answer.headers) is list
    assert answer.headers == [
        ("Content-Type", "text/plain"),
        ("set-cookie", "a=1"),
        ("x-name", "caf\u00e9"),
        ("set-cookie", "b=2"),
        ("x-empty", ""),
        ("x-other", "bytes"),
        ("date", "yesterday"),
        ("server", "mine"),
    ]


@pytest.mark.req("A-16", "H-08")
@pytest.mark.parametrize("headers", [{}, {"headers": None}, {"headers": []}], ids=repr)
def test_headers_may_be_missing(headers: dict[str, Any]) -> None:
    answer = ask(sending({"type": "http.response.start", "status": 200, **headers}, body(b"x"))).unwrap()
    assert (answer.headers, answer.body) == ([], b"x")


@pytest.mark.req("A-17", "H-03")
def test_hop_by_hop_headers_are_removed() -> None:
    """All of the set, and what `connection` names; but nothing that frames or describes the message."""
    names = [
        *("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"),
        *("proxy-authenticate", "proxy-authorization", "trailers"),
    ]
    headers = [(name.encode(), b"x-private, close") for name in names]
    headers += [(name.title().encode(), b"x") for name in names]
    headers += [(b"Connection", b"content-length, set-cookie"), (b"X-Private", b"1"), (b"trailer", b"x-sum")]
    headers += [length(1), (b"set-cookie", b"a=1"), (b"x-public", b"1")]
    answer = ask(respond(b"x", headers=headers)).unwrap()
    assert answer.headers == [
        ("trailer", "x-sum"),
        ("content-length", "1"),
        ("set-cookie", "a=1"),
        ("x-public", "1"),
    ]


@pytest.mark.req("A-17", "A-22", "H-01")
@pytest.mark.parametrize(
    "name",
    [b"X A", b"X:", b"", b":status", b"X\r\nY", b"caf\xe9", b"X\x00", b"X(", b"X\t", "X-A", None],
    ids=repr,
)
def test_a_header_name_that_is_no_token_raises(name: Any) -> None:
    error = refused(start(headers=[(name, b"secret")]), error=InvalidHeader)
    assert "secret" not in str(error)


@pytest.mark.req("A-17", "A-22", "H-02", "H-06")
@pytest.mark.parametrize(
    "value", [b"1\r\nX-Inj: 1", b"1\n", b"\r", b"a\x00b", b"\x1f", b"\x7f", b"\x0b", "str", 7, None], ids=repr
)
def test_a_header_value_with_a_control_character_raises(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Some servers would put it on the wire. The error names the header, not the value."""
    if isinstance(value, bytes):
        value = b"secret" + value
    error = refused(start(headers=[(b"x-token", value)]), error=InvalidHeader)
    assert "x-token" in str(error)
    assert "secret" not in str(error)
    assert "secret" not in caplog.text


@pytest.mark.req("H-02")
def test_no_error_shows_a_header_value(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the shape of the headers is wrong altogether."""
    for headers in (
        [b"set-cookie: sid=secret"],
        [(b"set-cookie", b"sid=secret", b"")],
        ["set-cookie: secret"],
    ):
        error = refused(
            {"type": "http.response.start", "status": 200, "headers": headers}, error=InvalidHeader
        )
        assert "secret" not in str(error)
    assert "secret" not in caplog.text


@pytest.mark.req("H-02")
def test_a_tab_inside_a_value_is_allowed() -> None:
    # `wsgiref.validate` does not know.
    answer = ask(respond(headers=[(b"x-a", b"1\t2")]), validated=False).unwrap()
    assert answer.headers == [("x-a", "1\t2")]


@pytest.mark.req("H-04")
@pytest.mark.parametrize(
    "values", [[b"x"], [b"+1"], [b"1", b"2"], [b""], [b"\xb2"], [b"1, 1"], [b"-1"], [b"1_0"]]
)
def test_a_content_length_that_cannot_be_meant_raises(values: list[bytes]) -> None:
    refused(start(headers=[(b"content-length", value) for value in values]), error=InvalidHeader)


@pytest.mark.req("H-04")
def test_equal_content_lengths_collapse() -> None:
    answer = ask(respond(b"x", headers=[length(1), (b"Content-Length", b"1")])).unwrap()
    assert answer.headers == [("content-length", "1")]


@pytest.mark.req("H-07")
def test_many_headers_take_linear_time() -> None:
    """Both ways, and none is too many. Quadratic work would take minutes."""
    heads: list[Any] = []
    headers = [(b"x-%d" % number, b"v" * 20) for number in range(20_000)] + [(b"x-a", b"v" * 20)] * 60_000
    app = Scopes()
    environ = make_environ(
        headers=[(f"x-{number}", "v") for number in range(20_000)], HTTP_X_B="1," * 500_000
    )
    with bridged(app) as wsgi:
        began = time.process_time()
        list(wsgi(environ, lambda *head: heads.append(head)))
        assert len(app.seen[0]["headers"]) == 20_002  # with Host and X-B
    with bridged(respond(headers=headers)) as wsgi:
        list(wsgi(make_environ(), lambda *head: heads.append(head)))
        assert time.process_time() - began < 10
    assert len(heads[1][1]) == 80_000


# -- the body


@pytest.mark.req("A-18")
def test_every_piece_goes_on_without_waiting_for_a_later_one() -> None:
    """Each is sent only when the one before has been received."""
    received = [Signal() for _ in range(10)]

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for number, signal in enumerate(received):
            await send(body(b"%d" % number, more=True))
            await signal.come()
        await send(body())

    with bridged(app) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        for number, signal in enumerate(received):
            assert exchange.next() == b"%d" % number
            signal.set()
        assert exchange.next() is None


@pytest.mark.req("A-18")
@pytest.mark.parametrize("write_ahead", [1, 10_000, 262_144])
@pytest.mark.parametrize("size", [100, 5000, 100_000])
def test_a_slow_client_slows_the_app(write_ahead: int, size: int) -> None:
    """`send()` waits once that many bytes are queued, beyond what the server has in hand."""
    sent: list[int] = []
    total = (2 * write_ahead + 20 * size + 130_000) // size * size

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for _ in range(total // size):
            await send(body(b"x" * size, more=True))
            sent.append(size)
        await send(body())

    with bridged(app, write_ahead=write_ahead) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        (running,) = in_progress(wsgi)
        received = 0
        for _ in range(3):
            eventually(lambda: running._blocked, "the app waits")
            assert sum(sent) <= received + write_ahead + 2 * size + 65_536
            received += len(exchange.next() or b"")
        assert received + len(exchange.rest()) == total


@pytest.mark.req("A-18")
def test_by_default_a_stalled_client_costs_no_more_than_the_bound() -> None:
    """256 KiB and what is in hand, of a stream without end."""
    sent: list[int] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        while True:
            await send(body(b"x" * 65_536, more=True))
            sent.append(65_536)

    with bridged(app) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        (running,) = in_progress(wsgi)
        eventually(lambda: running._blocked, "the app waits")
        assert 262_144 <= sum(sent) + 65_536 <= 262_144 + 3 * 65_536


@pytest.mark.req("A-18")
def test_empty_pieces_are_not_passed_on() -> None:
    """The driver refuses them; some servers take them for the end."""
    app = respond(b"", b"a", b"", b"", b"b", b"")
    assert ask(app).unwrap().body == b"ab"


@pytest.mark.req("A-18")
@pytest.mark.parametrize("count", [1, 10, 3000])
def test_pieces_keep_their_order(count: int) -> None:
    pieces = [b"%d," % number for number in range(count)]
    assert ask(respond(*pieces), {"write_ahead": 50}).unwrap().body == b"".join(pieces)


@pytest.mark.req("A-18")
def test_pieces_that_wait_together_may_be_joined_to_a_bound() -> None:
    """A server writes each by itself; a large one is not copied."""
    sent, large = Signal(), b"y" * 100_000

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more=True))
        for _ in range(1000):
            await send(body(b"x" * 1000, more=True))
        await send(body(large, more=True))
        await send(body())
        sent.set()

    with bridged(app, write_ahead=10_000_000) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        sent.wait()
        exchange.rest()
    answer = exchange.answer
    assert answer.body == b"first" + b"x" * 1_000_000 + large
    assert len(answer.chunks) < 50
    assert max(len(chunk) for chunk in answer.chunks[:-1]) <= 65_536
    assert answer.chunks[-1] is large


@pytest.mark.req("A-18", "A-22")
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_kinds_of_bytes_become_bytes(kind: Any) -> None:
    """Starlette sends memoryviews. What the app does to a bytearray later does not matter."""
    data = bytearray(b"abc")

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send({"type": "http.response.body", "body": kind(data), "more_body": True})
        data[0:1] = b"z"
        await send(body())

    assert ask(app).unwrap().body == b"abc"


@pytest.mark.req("A-18")
def test_a_body_may_be_missing_from_its_message() -> None:
    app = sending(start(), {"type": "http.response.body", "more_body": True}, {"type": "http.response.body"})
    assert ask(app).unwrap().chunks == []


@pytest.mark.req("A-19")
@pytest.mark.parametrize("chunks", [[b"x"], [b"x", b""], [b"x", b"y"], [b""]], ids=repr)
def test_the_end_does_not_wait_for_the_app_to_return(chunks: list[bytes]) -> None:
    ending, may_end = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            for chunk in chunks[:-1]:
                await send(body(chunk, more=True))
            await send(body(chunks[-1]))
            await may_end.come()

    with bridged(app) as wsgi:
        assert drive(wsgi).unwrap().body == b"".join(chunks)
        assert not ending.over.is_set
        may_end.set()
        ending.over.wait()
    assert ending.error is None


@pytest.mark.req("A-20")
@pytest.mark.parametrize(
    ("method", "status", "kept"),
    [
        ("HEAD", 200, True),
        ("HEAD", 404, True),
        ("HEAD", 204, False),
        ("GET", 204, False),
        ("GET", 304, True),
        ("HEAD", 304, True),
        ("POST", 304, True),
    ],
)
@pytest.mark.parametrize("chunks", [(b"abc",), (b"a", b"bc"), (), (b"much longer than announced",)], ids=repr)
def test_a_response_without_body_has_none(
    method: str, status: int, kept: bool, chunks: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the app sends. Content-Length stays, except with 204."""
    app = respond(*chunks, status=status, headers=[length(3), (b"x-a", b"1")])
    answer = ask(app, method=method).unwrap()
    assert (answer.status, answer.chunks) == (status, [])
    assert answer.header("content-length") == ("3" if kept else None)
    assert answer.header("x-a") == "1"
    assert caplog.records == []


@pytest.mark.req("A-01", "A-20")
@pytest.mark.parametrize(("method", "headers"), [("HEAD", []), ("GET", [length(1)])], ids=["HEAD", "length"])
def test_an_app_that_streams_on_unheard_leaves_the_loop_to_others(method: str, headers: Any) -> None:
    """Its `send()` no longer waits for the client, and may be all that it awaits."""
    other_served, ending = Signal(), Ending()
    served_first: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await finish(send)
            other_served.set()
            return
        async with ending:
            await send(start(headers=headers))
            while not other_served.is_set:
                try:
                    await send(body(b"x", more=True))
                except OSError:
                    break
            served_first.append(other_served.is_set)

    with bridged(http(app)) as wsgi:
        drive(wsgi, method=method)
        drive(wsgi, path="/other")
        ending.over.wait()
    assert served_first == [True]


@pytest.mark.req("A-20", "A-24")
def test_an_endless_stream_that_nobody_hears_is_stopped() -> None:
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            while True:
                await send(body(b"x", more=True))
                await asyncio.sleep(0)

    with bridged(app, disconnect_grace=0.05) as wsgi:
        drive(wsgi, method="HEAD")
        ending.over.wait()
    assert isinstance(ending.error, (OSError, asyncio.CancelledError))


@pytest.mark.req("A-21")
@pytest.mark.parametrize(
    "chunks", [(b"abcdef",), (b"ab", b"cdef"), (b"abc", b"def"), (b"abc", b"", b"d")], ids=repr
)
def test_what_exceeds_content_length_is_cut_and_logged(
    chunks: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(respond(*chunks, headers=[length(3)]), path="/a%0Db?token=secret").unwrap()
    assert answer.body == b"abc"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.asgi", "WARNING")
    assert "Content-Length" in record.getMessage()
    assert r"GET '/a\rb'" in record.getMessage()
    assert "secret" not in record.getMessage()


@pytest.mark.req("A-21")
@pytest.mark.parametrize("chunks", [(b"ab",), (b"a", b"b"), ()], ids=repr)
def test_a_body_that_falls_short_of_content_length_raises_at_its_end(chunks: tuple[bytes, ...]) -> None:
    """So that the server closes the connection."""
    answer = ask(respond(*chunks, headers=[length(5)]))
    assert isinstance(answer.error, IncompleteResponse)
    assert answer.body == b"".join(chunks)


@pytest.mark.req("A-21")
def test_an_exact_length_is_whole() -> None:
    assert ask(respond(b"ab", b"c", headers=[length(3)])).unwrap().body == b"abc"
    assert ask(respond(headers=[length(0)])).unwrap().body == b""


# -- what the app may not send

INVALID: list[tuple[Any, ...]] = [
    (body(b"x"),),
    (body(b"x", more=True),),
    (start(), start()),
    (start(), body(b"x", more=True), start()),
    ({"type": "http.response.started", "status": 200},),
    ({"type": "websocket.accept"},),
    ({"type": "http.request"},),
    ({"type": None},),
    ({"type": "http.response.start"},),
    (start("200"),),  # type: ignore[arg-type]
    (start(200.0),),  # type: ignore[arg-type]
    (start(True),),
    (start(None),),  # type: ignore[arg-type]
    (start(100),),
    (start(101),),
    (start(103),),
    (start(199),),
    (start(600),),
    (start(999),),
    (start(0),),
    (start(-200),),
    (start(), body("text")),  # type: ignore[arg-type]
    (start(), body(["x"])),  # type: ignore[arg-type]
    (start(), body(7)),  # type: ignore[arg-type]
    (start(), {"type": "http.response.push", "path": "/"}),
    (start(), {"type": "http.response.debug", "info": {}}),
    ({"type": "http.response.pathsend", "path": __file__},),
    ({"type": "http.response.zerocopysend", "file": 0},),
]


@pytest.mark.req("A-22", "X-01", "X-10")
@pytest.mark.parametrize("messages", INVALID, ids=repr)
def test_an_invalid_message_raises_in_send(messages: tuple[Any, ...]) -> None:
    """And if the app lets it pass, the client gets 500, or an aborted response."""
    refused(*messages)


@pytest.mark.req("A-22")
@pytest.mark.parametrize(
    "messages", [each for each in INVALID if body(b"x", more=True) not in each[:-1]], ids=repr
)
def test_an_app_that_recovers_from_an_invalid_message_is_served(messages: tuple[Any, ...]) -> None:
    """The state is as before."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages[:-1]:
            await send(message)
        with pytest.raises(InvalidMessage):
            await send(messages[-1])
        if len(messages) == 1:
            await send(start())
        await send(body(b"recovered"))

    answer = ask(app).unwrap()
    assert (answer.status, answer.body) == (200, b"recovered")


@pytest.mark.req("A-22")
def test_extra_keys_are_ignored() -> None:
    app = sending(start(extra=1, trailers=True), body(b"x", extra=1, more_trailers=True))
    assert ask(app).unwrap().body == b"x"


@pytest.mark.req("A-12", "A-23")
def test_messages_after_a_complete_response_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Background code sends what it likes; a debug log tells."""
    late = [
        start(500),
        body(b"late", more=True),
        body(b"late"),
        {"type": "http.response.trailers", "headers": [(b"x-a", b"1")]},
        {"type": "http.response.pathsend", "path": __file__},
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.zerocopysend", "file": -1},
        {"type": "http.response.unknown"},
    ]
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await finish(send, b"whole")
            for message in late:
                await send(message)

    with caplog.at_level(logging.DEBUG, "bridge.asgi"), bridged(app) as wsgi:
        answer = drive(wsgi, **{"wsgi.early_hints": lambda headers: None})  # type: ignore[arg-type]
        ending.over.wait()
    assert answer.unwrap().body == b"whole"
    assert ending.error is None
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert len(caplog.records) >= 1


# -- errors of the app

ERRORS = [
    Boom("secret detail"),
    OSError("secret"),
    BaseBoom("secret"),
    SystemExit("secret"),
    KeyboardInterrupt(),
]
ERRORS += [GeneratorExit(), StopAsyncIteration(), asyncio.CancelledError()]
PLAIN = b"500 Internal Server Error\n"


def raising(error: BaseException, *messages: Any) -> Any:
    """An app that sends these messages and raises."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise error

    return app


@pytest.mark.req("A-25", "H-06")
@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize(
    "messages",
    [(), (start(201, [(b"x-a", b"secret")]),), (start(), body(b"", more=True))],
    ids=["at once", "after start", "after an empty body"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_error_before_any_output_gives_a_plain_500(
    error: BaseException, messages: tuple[Any, ...], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without details for the client; the log has all of them, and nothing but the path of the request."""
    with bridged(raising(error, *messages)) as wsgi:
        answer = drive(
            wsgi, method=method, path="/pa%0Ath?token=hidden", headers=[("Authorization", "hidden")]
        ).unwrap()
        assert drive(wsgi, path="/again").status == 500  # the loop lives on
    assert answer.status == 500
    assert answer.body == (b"" if method == "HEAD" else PLAIN)
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("content-length") == str(len(PLAIN))
    assert answer.header("x-a") is None
    record = caplog.records[0]
    assert (record.name, record.levelname) == ("bridge.asgi", "ERROR")
    assert rf"{method} '/pa\nth'" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "hidden" not in caplog.text
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert answer.errors == ""


def raising_synchronously(scope: Any, receive: Any, send: Any) -> Any:
    raise ValueError


def not_awaitable(scope: Any, receive: Any, send: Any) -> Any:
    return None


def wrong_signature(scope: Any) -> Any:
    return None


@pytest.mark.req("A-25")
@pytest.mark.parametrize("call", [raising_synchronously, not_awaitable, wrong_signature])
def test_an_app_that_cannot_be_awaited_gives_a_500(call: Any, caplog: pytest.LogCaptureFixture) -> None:
    class App:
        """What it is told by, to the adapter, is the signature."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    app = App()
    with bridged(app, lifespan="off") as wsgi:
        wsgi._asgi3 = call
        assert drive(wsgi).status == 500
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] in (ValueError, TypeError)


@pytest.mark.req("A-26")
@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("more", [0, 2])
def test_an_error_after_output_is_raised_in_the_iterator(error: BaseException, more: int) -> None:
    """So that the server aborts the connection; what a server could not survive is wrapped."""
    pieces = [body(b"x", more=True)] * (1 + more)
    with bridged(raising(error, start(), *pieces)) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
            received = b""
            with pytest.raises(Exception) as caught:  # noqa: PT012 - how many steps it takes is not said
                while True:
                    chunk = exchange.next()
                    assert chunk is not None, "the body ended normally"
                    received += chunk
            assert received == b"x" * (1 + more)
            # Asked again, it does not pretend to be at its end.
            with pytest.raises(Exception):  # noqa: B017
                exchange.next()
        assert drive(wsgi).error is not None  # the loop lives on
    if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
        assert caught.value is error
    else:
        assert isinstance(caught.value, (ApplicationExit, IncompleteResponse))
        assert caught.value.__cause__ is error


@pytest.mark.req("A-25", "A-26")
def test_stop_iteration_of_the_app_does_not_end_the_body() -> None:
    """A coroutine cannot raise it, but an awaitable can."""

    class Stopping:
        def __init__(self, *messages: Any, send: Any) -> None:
            self.messages = messages
            self.send = send

        def __await__(self) -> Any:
            for message in self.messages:
                yield from self.send(message).__await__()
            return self

        def __iter__(self) -> Any:
            return self

    class Raises:
        def __await__(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            raise KeyError("no StopIteration")

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Stopping(start(), body(b"x", more=True), send=send)
        await Raises()

    answer = ask(app)
    assert isinstance(answer.error, KeyError)
    assert answer.body == b"x"


@pytest.mark.req("A-27")
@pytest.mark.parametrize("messages", [(), (start(),), (start(), body(b"", more=True))], ids=len)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_app_that_returns_without_a_response_gives_500(
    messages: tuple[Any, ...], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    if method == "HEAD" and len(messages) == 2:
        return  # for HEAD, an empty body is a body
    answer = ask(sending(*messages), method=method).unwrap()
    assert (answer.status, answer.body) == (500, b"" if method == "HEAD" else PLAIN)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is IncompleteResponse


@pytest.mark.req("A-27")
@pytest.mark.parametrize("headers", [[], [length(5)]], ids=["no length", "length"])
def test_an_app_that_returns_in_the_middle_of_a_response_aborts_it(headers: Any) -> None:
    answer = ask(sending(start(headers=headers), body(b"half", more=True)))
    assert isinstance(answer.error, IncompleteResponse)
    assert answer.body == b"half"


class RaisingFilter(logging.Filter):
    """A filter with a mistake; a handler that loses its connection is the same."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise Boom


@pytest.mark.req("A-25")
@pytest.mark.parametrize("messages", [(), (start(), body(b"x", more=True)), (start(), body(b"x"))], ids=len)
def test_logging_that_raises_does_not_hang_the_request(messages: tuple[Any, ...]) -> None:
    raiser = RaisingFilter()
    logger = logging.getLogger("bridge.asgi")
    logger.addFilter(raiser)
    adapter = ASGIToWSGI(raising(Boom(), *messages))
    try:
        with no_loop_left():
            for _ in range(2):
                answer = drive(adapter)
                assert answer.status == 500 or answer.body == b"x"
            adapter.close()
        del answer, adapter
        gc.collect()  # asyncio tells of such errors when tasks are collected: here, not in some other test
    finally:
        logger.removeFilter(raiser)


# -- the iterable


@pytest.mark.req("A-28")
@pytest.mark.parametrize(
    "app",
    [respond(b"x"), respond(b"x", b"y"), respond(), respond(status=204), raising(Boom())],
    ids=["one piece", "stream", "empty", "204", "500"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_body_is_an_iterator_with_an_idempotent_close(app: Any, method: str) -> None:
    """granian calls `close()` without looking whether there is one."""
    extra = {"CONTENT_LENGTH": "invalid"} if method == "POST" else {}
    with bridged(app) as wsgi:
        iterable: Any = wsgi({**make_environ(method), **extra}, lambda status, headers: None)
        assert iter(iterable) is iterable
        assert not hasattr(iterable, "__len__")
        iterable.close()
        iterable.close()
        used: Any = wsgi({**make_environ(method), **extra}, lambda status, headers: None)
        for _ in used:
            pass
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(used)
        used.close()
        used.close()


# -- work after the response


@pytest.mark.req("A-30")
def test_work_after_the_last_body_runs_on_without_the_servers_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its errors are logged, and change nothing."""
    ending, may_end = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await finish(send, b"done")
            await may_end.come()
            raise Boom

    with bridged(app) as wsgi:
        assert drive(wsgi, path="/a%0Ab?token=secret").unwrap().body == b"done"
        assert len(in_progress(wsgi)) == 1  # it is tracked
        may_end.set()
        ending.over.wait()
        eventually(lambda: caplog.records)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.asgi", "ERROR")
    assert r"GET '/a\nb'" in record.getMessage()
    assert "secret" not in caplog.text
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom


def working(ending: Ending, may_end: Signal) -> Any:
    """An app that goes on after its response until it may end."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send(body(b"do", more=True))
            await send(body(b"ne"))
            await may_end.come()

    return app


@pytest.mark.req("A-30")
@pytest.mark.parametrize("wait", [None, 60])
def test_close_waits_for_the_work_if_it_is_told_to(wait: float | None) -> None:
    ending, may_end = Ending(), Signal()
    with bridged(working(ending, may_end), background_wait=wait) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        assert exchange.rest() == b"done"
        (running,) = in_progress(wsgi)
        closing = exchange.close_soon()
        eventually(lambda: running.finished._gates, "close() waits")
        assert not closing.done
        assert not ending.over.is_set
        may_end.set()
        closing.result()
        assert ending.over.is_set


@pytest.mark.req("A-30")
@pytest.mark.parametrize("wait", [0, 0.05])
def test_close_waits_for_no_longer_than_that_and_the_work_goes_on(wait: float) -> None:
    ending, may_end = Ending(), Signal()
    with bridged(working(ending, may_end), background_wait=wait) as wsgi:
        began = time.monotonic()
        drive(wsgi)
        assert time.monotonic() - began >= wait
        assert not ending.over.is_set
        may_end.set()
        ending.over.wait()
    assert ending.error is None


@pytest.mark.req("A-29", "A-30")
def test_nobody_waits_for_work_once_the_client_has_gone() -> None:
    ending, may_end = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send(body(b"x", more=True))
            await may_end.come()

    with bridged(app, background_wait=None) as wsgi:
        with Exchange(wsgi) as exchange:
            exchange.call()
        assert not ending.over.is_set
        may_end.set()


@pytest.mark.req("A-30", "X-06")
def test_close_waits_for_work_after_a_file_as_well(tmp_path: Path) -> None:
    ending, may_end = Ending(), Signal()
    file = tmp_path / "file"
    file.write_bytes(b"content")

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start())
            await send({"type": "http.response.pathsend", "path": str(file)})
            await may_end.come()

    with bridged(app, background_wait=None) as wsgi, Exchange(wsgi, **FILES) as exchange:
        exchange.call()
        assert exchange.rest() == b"content"
        (running,) = in_progress(wsgi)
        closing = exchange.close_soon()
        eventually(lambda: running.finished._gates, "close() waits")
        assert not closing.done
        may_end.set()
        closing.result()
        assert ending.over.is_set


# -- extensions: what is offered

HTTP_2: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/2.0"}
FILES: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}


class Nothing:
    """A function of a server's that does nothing."""

    def __call__(self, headers: Any) -> None: ...

    def __repr__(self) -> str:
        return "nothing"


nothing = Nothing()


@pytest.mark.req("X-01", "X-02", "X-05", "X-10")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, set()),
        ({"wsgi.early_hints": nothing}, {"early_hint"}),
        ({"wsgi.early_hints": nothing, "SERVER_PROTOCOL": "HTTP/1.0"}, set()),
        ({"wsgi.early_hints": None}, set()),
        ({"wsgi.early_hints": True}, set()),
        ({"wsgi.early_hints": nothing, **HTTP_2}, {"early_hint"}),
        ({"gunicorn.http2.send_trailers": nothing, **HTTP_2}, {"trailers"}),
        ({"gunicorn.http2.send_trailers": nothing}, set()),
        ({"gunicorn.http2.send_trailers": None, **HTTP_2}, set()),
        ({"wsgi.file_wrapper": FileWrapper}, set()),
    ],
    ids=str,
)
def test_what_is_offered_is_what_the_request_can_honour(environ: dict[str, Any], expected: set[str]) -> None:
    """Push and debug never are."""
    app = Scopes()
    ask(app, **environ).unwrap()
    names = {"pathsend", "zerocopysend", *expected}
    assert app.seen[0]["extensions"] == {f"http.response.{name}": {} for name in names}


@pytest.mark.req("X-01", "X-10")
@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.push", "path": "/", "headers": []},
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.informational", "status": 103},
    ],
    ids=lambda message: message["type"],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_message_of_an_extension_that_is_not_offered_is_unknown(message: Any, begun: bool) -> None:
    error = refused(*([start()] if begun else []), message)
    assert message["type"] in str(error)


# -- early hints


@pytest.mark.req("X-02", "X-03")
def test_early_hints_reach_the_server_before_the_response() -> None:
    """In the request's own thread; several messages, before and after the start, while that is held."""
    log: list[Any] = []
    threads: set[int] = set()

    def hints(headers: Any) -> None:
        threads.add(threading.get_ident())
        log.append(headers)

    environ: dict[str, Any] = {"wsgi.early_hints": hints}
    app = sending(
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b" </b.js>; rel=preload "]},
        {"type": "http.response.early_hint", "links": [b"</caf\xe9>; rel=preload"]},
        start(201),
        {"type": "http.response.early_hint", "links": [b"</c>; rel=preload"]},
        {"type": "http.response.early_hint", "links": []},
        {"type": "http.response.early_hint"},
        body(b"", more=True),
        {"type": "http.response.early_hint", "links": [b"</d>; rel=preload"]},
        body(b"x", more=True),
        {"type": "http.response.early_hint", "links": [b"</late>; rel=preload"]},
        body(),
        {"type": "http.response.early_hint", "links": [b"</later>; rel=preload"]},
    )
    with bridged(app) as wsgi, Exchange(wsgi, **environ) as exchange:
        assert exchange.call().status == 201
        assert exchange.rest() == b"x"
        assert threads == {exchange.thread}
    assert log == [
        [("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")],
        [("Link", "</caf\u00e9>; rel=preload")],
        [("Link", "</c>; rel=preload")],
        [("Link", "</d>; rel=preload")],
    ]


@pytest.mark.req("H-02", "X-02")
@pytest.mark.parametrize("link", [b"</a>\r\nX-Inj: 1", b"\x00", b"</a>\x7f", "</a>", None], ids=repr)
def test_a_link_with_a_control_character_raises(link: Any) -> None:
    log: list[Any] = []
    environ: dict[str, Any] = {"wsgi.early_hints": log.append}
    refused({"type": "http.response.early_hint", "links": [link]}, error=InvalidHeader, **environ)
    assert log == []


@pytest.mark.req("X-02")
def test_links_are_a_list() -> None:
    environ: dict[str, Any] = {"wsgi.early_hints": nothing}
    refused({"type": "http.response.early_hint", "links": b"</a>"}, **environ)


@pytest.mark.req("X-02")
def test_early_hints_that_the_server_cannot_send_do_not_harm_the_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def hints(headers: Any) -> None:
        raise OSError("no")

    environ: dict[str, Any] = {"wsgi.early_hints": hints}
    app = sending({"type": "http.response.early_hint", "links": [b"</a>"]}, start(), body(b"x"))
    assert ask(app, **environ).unwrap().body == b"x"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.asgi", "WARNING")


# -- trailers


def trailing(log: list[Any]) -> dict[str, Any]:
    """An environ whose server takes trailers, into `log`."""
    return {"gunicorn.http2.send_trailers": lambda headers: log.append(headers), **HTTP_2}


def trailers(*headers: tuple[bytes, bytes], more: bool | None = None) -> dict[str, Any]:
    """A message with trailers."""
    message = {"type": "http.response.trailers", "headers": list(headers)}
    return message if more is None else {**message, "more_trailers": more}


@pytest.mark.req("X-05")
@pytest.mark.parametrize("chunks", [[], [b"x"], [b"x", b"y"]], ids=len)
def test_trailers_delay_the_end(chunks: list[bytes]) -> None:
    """They come after the body; the end comes after the last of them."""
    log: list[Any] = []
    may_end, ending = Signal(), Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start(trailers=True))
            for chunk in chunks:
                await send(body(chunk, more=True))
            await send(body())
            await send(trailers((b"X-Sum", b" 1 "), more=True))
            await may_end.come()
            await send(trailers((b"x-more", b"2"), (b"Connection", b"x"), more=False))

    with bridged(app) as wsgi, Exchange(wsgi, **trailing(log)) as exchange:
        exchange.call()
        rest = Thread(exchange.rest)
        eventually(lambda: log, "the first trailers")
        assert exchange.answer.body == b"".join(chunks)
        assert not exchange.exhausted
        may_end.set()
        rest.outcome()
        ending.over.wait()
    assert ending.error is None
    assert log == [[("x-sum", "1")], [("x-more", "2")]]


@pytest.mark.req("X-05")
def test_one_message_of_trailers_is_enough() -> None:
    log: list[Any] = []
    app = sending(start(trailers=True), body(b"x"), trailers((b"x-sum", b"1")))
    assert ask(app, **trailing(log)).unwrap().body == b"x"
    assert log == [[("x-sum", "1")]]


@pytest.mark.req("X-05")
def test_trailers_that_are_not_offered_are_dropped() -> None:
    """The flag is ignored, so the response does not hang."""
    ending, ended = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await send(start(trailers=True))
            await send(body(b"x"))
            await ended.come()
            await send(trailers((b"x-sum", b"1")))

    with bridged(app) as wsgi:
        assert drive(wsgi).unwrap().body == b"x"
        ended.set()
        ending.over.wait()
    assert ending.error is None


@pytest.mark.req("X-05")
@pytest.mark.parametrize(
    "pair", [(b":status", b"1"), (b"x a", b"1"), (b"x-a", b"1\r\n2"), (b"x-a", "1")], ids=repr
)
def test_invalid_trailers_raise(pair: Any) -> None:
    refused(start(trailers=True), body(b"x"), trailers(pair), error=InvalidHeader, **trailing([]))


@pytest.mark.req("X-05")
def test_trailers_before_the_end_of_the_body_raise() -> None:
    refused(start(trailers=True), body(b"x", more=True), trailers((b"x-sum", b"1")), **trailing([]))


@pytest.mark.req("A-27", "X-05")
def test_trailers_that_never_come_abort_the_response() -> None:
    answer = ask(sending(start(trailers=True), body(b"x")), **trailing([]))
    assert isinstance(answer.error, IncompleteResponse)


@pytest.mark.req("X-05")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_response_without_body_has_no_trailers(method: str) -> None:
    log: list[Any] = []
    app = sending(start(204 if method == "GET" else 200, trailers=True), body(), trailers((b"x-sum", b"1")))
    assert ask(app, method=method, **trailing(log)).unwrap().body == b""
    assert log == []


# -- files by path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that the adapter opens, as they are opened."""
    files: list[Any] = []
    original = asgi_call._open

    def note(path: str) -> tuple[Any, int]:
        file, size = original(path)
        files.append(file)
        return file, size

    monkeypatch.setattr(asgi_call, "_open", note)
    return files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of some size."""
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


def pathsend(path: object, status: int = 200, headers: Any = (), **extra: Any) -> Any:
    """An app that sends a file by its path."""
    return sending(start(status, headers, **extra), {"type": "http.response.pathsend", "path": path})


@pytest.mark.req("X-06")
def test_a_file_goes_through_the_servers_wrapper(file: Path, opened: list[Any]) -> None:
    """So that the server may use `sendfile`."""
    with bridged(pathsend(str(file), headers=[(b"x-a", b"1")])) as wsgi:
        answer = drive(wsgi, **FILES).unwrap()
    assert type(answer.iterable) is FileWrapper
    assert answer.headers == [("x-a", "1")]
    assert answer.body == file.read_bytes()
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("A-18", "X-06")
def test_without_a_wrapper_it_goes_in_pieces(file: Path, opened: list[Any]) -> None:
    answer = ask(pathsend(str(file))).unwrap()
    assert answer.body == file.read_bytes()
    assert max(map(len, answer.chunks)) <= 65_536
    assert [each.closed for each in opened] == [True]


WRAPPED = pytest.mark.parametrize("environ", [{}, FILES], ids=["pieces", "wrapper"])


@pytest.mark.req("X-06")
@WRAPPED
def test_an_empty_file_is_an_empty_body(tmp_path: Path, environ: Any, opened: list[Any]) -> None:
    (tmp_path / "empty").touch()
    assert ask(pathsend(str(tmp_path / "empty")), **environ).unwrap().body == b""
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("A-20", "X-06")
@WRAPPED
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_body_sends_no_file(
    file: Path, environ: Any, method: str, status: int, opened: list[Any]
) -> None:
    app = pathsend(str(file), status, [length(file.stat().st_size)])
    answer = ask(app, method=method, **environ).unwrap()
    assert (answer.status, answer.chunks) == (status, [])
    assert answer.header("content-length") == (None if status == 204 else str(file.stat().st_size))
    assert all(each.closed for each in opened)


@pytest.mark.req("A-21", "X-06")
@WRAPPED
def test_a_file_is_cut_at_content_length(
    file: Path, environ: Any, opened: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(pathsend(str(file), headers=[length(100_000)]), **environ).unwrap()
    assert answer.body == file.read_bytes()[:100_000]
    assert [each.closed for each in opened] == [True]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.req("A-21", "X-06")
@WRAPPED
def test_a_file_shorter_than_content_length_aborts_the_response(
    file: Path, environ: Any, opened: list[Any]
) -> None:
    """On a connection that is kept alive, the next response would be taken for the rest."""
    answer = ask(pathsend(str(file), headers=[length(file.stat().st_size + 1)]), **environ)
    assert isinstance(answer.error, IncompleteResponse)
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-06")
@WRAPPED
def test_a_file_of_just_the_announced_length_is_whole(file: Path, environ: Any) -> None:
    answer = ask(pathsend(str(file), headers=[length(file.stat().st_size)]), **environ).unwrap()
    assert answer.body == file.read_bytes()
    assert (type(answer.iterable) is FileWrapper) is bool(environ)


@pytest.mark.req("A-26", "X-06")
def test_a_file_that_shrinks_while_it_is_sent_aborts_the_response(file: Path, opened: list[Any]) -> None:
    with bridged(pathsend(str(file))) as wsgi, Exchange(wsgi) as exchange:
        exchange.call()
        exchange.next()
        file.write_bytes(b"")
        with pytest.raises(IncompleteResponse):
            exchange.rest()
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-06")
@WRAPPED
def test_a_relative_path_is_one_of_the_working_directory(
    file: Path, environ: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension asks for an absolute one; Starlette's `FileResponse("file")` sends what it was given."""
    from starlette.responses import FileResponse

    monkeypatch.chdir(file.parent)
    assert ask(pathsend(file.name), **environ).unwrap().body == file.read_bytes()
    with bridged(FileResponse(file.name)) as wsgi:
        answer = drive(wsgi, **environ).unwrap()
    assert (answer.status, answer.body) == (200, file.read_bytes())


@pytest.mark.req("X-06")
@pytest.mark.parametrize("path", ["", b"/bytes", None, 7], ids=repr)
def test_what_is_no_path_raises(path: Any) -> None:
    refused(start(), {"type": "http.response.pathsend", "path": path})


@pytest.mark.req("X-06")
def test_a_path_is_required() -> None:
    refused(start(), {"type": "http.response.pathsend"})


@pytest.mark.req("X-06")
@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_file_that_cannot_be_opened_raises_in_send(tmp_path: Path, kind: str) -> None:
    """While nothing is out, so the app may answer otherwise."""
    path = tmp_path / "missing" if kind == "missing" else tmp_path

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with pytest.raises(OSError):
            await send({"type": "http.response.pathsend", "path": str(path)})
        await send(body(b"instead"))

    assert ask(app).unwrap().body == b"instead"
    assert ask(pathsend(str(path))).unwrap().status == 500


@pytest.mark.req("X-06")
def test_a_file_and_a_body_do_not_mix(file: Path, opened: list[Any]) -> None:
    refused(start(), body(b"x", more=True), {"type": "http.response.pathsend", "path": str(file)})
    assert opened == []
    # After it, the response is complete.
    app = sending(
        start(), {"type": "http.response.pathsend", "path": str(file)}, body(b"x", more=True), body(b"y")
    )
    assert ask(app).unwrap().body == file.read_bytes()
    app = sending(start(), *[{"type": "http.response.pathsend", "path": str(file)}] * 2)
    assert ask(app).unwrap().body == file.read_bytes()
    assert all(each.closed for each in opened)


@pytest.mark.req("A-29", "X-06")
@WRAPPED
@pytest.mark.parametrize("pulls", [0, 1])
def test_a_client_that_leaves_has_the_file_closed(
    file: Path, environ: Any, pulls: int, opened: list[Any]
) -> None:
    with bridged(pathsend(str(file))) as wsgi, Exchange(wsgi, **environ) as exchange:
        exchange.call()
        for _ in range(pulls):
            exchange.next()
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("A-29", "X-06")
@pytest.mark.parametrize("pulls", [0, 1])
def test_a_server_that_drops_the_body_has_the_file_closed(file: Path, pulls: int, opened: list[Any]) -> None:
    with bridged(pathsend(str(file))) as wsgi:
        iterable: Any = wsgi(make_environ(), lambda status, headers: None)
        for _ in range(pulls):
            next(iterable)
        del iterable
        assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-06")
@WRAPPED
def test_a_start_response_that_raises_has_the_file_closed(
    file: Path, environ: Any, opened: list[Any]
) -> None:
    def refuse(status: str, headers: Any) -> None:
        raise Boom

    with bridged(pathsend(str(file))) as wsgi:
        with pytest.raises(Boom):
            wsgi({**make_environ(), **environ}, refuse)
        assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-06")
def test_a_wrapper_that_raises_has_the_file_closed(file: Path, opened: list[Any]) -> None:
    def wrapper(file: Any, size: int) -> None:
        raise Boom

    with bridged(pathsend(str(file))) as wsgi:
        with pytest.raises(Boom):
            wsgi({**make_environ(), "wsgi.file_wrapper": wrapper}, lambda status, headers: None)
        assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-05", "X-06")
@WRAPPED
def test_trailers_may_follow_a_file(file: Path, environ: Any, opened: list[Any]) -> None:
    log: list[Any] = []
    app = sending(
        start(trailers=True),
        {"type": "http.response.pathsend", "path": str(file)},
        trailers((b"x-sum", b"1")),
    )
    answer = ask(app, **environ, **trailing(log)).unwrap()
    assert answer.body == file.read_bytes()
    assert log == [[("x-sum", "1")]]
    assert [each.closed for each in opened] == [True]


@pytest.mark.req("X-06")
def test_early_hints_may_precede_a_file(file: Path) -> None:
    log: list[Any] = []
    app = sending(
        start(),
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.pathsend", "path": str(file)},
    )
    answer = ask(app, **{"wsgi.early_hints": log.append}, **FILES).unwrap()
    assert answer.body == file.read_bytes()
    assert log == [[("Link", "</a>")]]


# -- open files


def zerocopy(file: Any, *, more: bool | None = None, **options: Any) -> dict[str, Any]:
    """A message with an open file."""
    message = {"type": "http.response.zerocopysend", "file": file, **options}
    return message if more is None else {**message, "more_body": more}


@pytest.mark.req("X-07")
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_offset_and_count_say_what_is_sent(file: Path, buffering: int) -> None:
    """It may repeat and mix with body, and the file stays open for the app to close."""
    data = file.read_bytes()
    with file.open("rb", buffering=buffering) as opened_file:
        app = sending(
            start(),
            zerocopy(opened_file, offset=10, count=5, more=True),
            body(b"-", more=True),
            zerocopy(opened_file, offset=3, count=2, more=True),
            zerocopy(opened_file, offset=len(data) - 4, more=True),
            zerocopy(opened_file, offset=0, count=0, more=True),
            zerocopy(opened_file, offset=100, count=100_000),
        )
        assert ask(app).unwrap().body == data[10:15] + b"-" + data[3:5] + data[-4:] + data[100:100_100]
        assert not opened_file.closed


@pytest.mark.req("X-07")
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
@pytest.mark.parametrize("how", ["read", "seek"])
def test_without_offset_it_starts_at_the_current_position(file: Path, buffering: int, how: str) -> None:
    """That of the file object, which may have read ahead of it."""
    data = file.read_bytes()
    with file.open("rb", buffering=buffering) as opened_file:
        if how == "read":
            opened_file.read(3)
        else:
            opened_file.seek(3)
        app = sending(start(), zerocopy(opened_file, count=4, more=True), zerocopy(opened_file))
        assert ask(app).unwrap().body == data[3:]


@pytest.mark.req("X-07")
def test_a_file_may_be_a_descriptor(file: Path) -> None:
    with file.open("rb", buffering=0) as opened_file:
        app = sending(start(), zerocopy(opened_file.fileno(), count=300, more=True), body(b"."))
        assert ask(app).unwrap().body == file.read_bytes()[:300] + b"."


@pytest.mark.req("A-18", "X-07")
def test_an_open_file_goes_in_pieces_that_count_against_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 2_000_000)
    with (
        path.open("rb") as opened_file,
        bridged(sending(start(), zerocopy(opened_file)), write_ahead=100_000) as wsgi,
        Exchange(wsgi) as exchange,
    ):
        exchange.call()
        (running,) = in_progress(wsgi)
        eventually(lambda: running._blocked, "the app waits")
        assert running._held <= 100_000 + 65_536
        assert exchange.rest() == b"x" * 2_000_000


@pytest.mark.req("A-20", "A-21", "X-07")
@pytest.mark.parametrize(("method", "expected"), [("GET", 5), ("HEAD", 0)])
def test_an_open_file_keeps_to_content_length(file: Path, method: str, expected: int) -> None:
    with file.open("rb") as opened_file:
        app = sending(start(headers=[length(5)]), zerocopy(opened_file))
        assert ask(app, method=method).unwrap().body == file.read_bytes()[:expected]


@pytest.mark.req("X-07")
def test_a_count_beyond_the_end_of_the_file_raises() -> None:
    """What was promised is not there."""
    with open(__file__, "rb") as opened_file:
        size = len(opened_file.read())
        error = refused(start(), zerocopy(opened_file, offset=0, count=size + 1), error=IncompleteResponse)
    assert "1 bytes" in str(error)


@pytest.mark.req("A-22", "X-07")
@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.zerocopysend"},
        zerocopy(0, offset=-1),
        zerocopy(0, offset="1"),
        zerocopy(0, count=-1),
        zerocopy(0, count=1.5),
    ],
    ids=repr,
)
def test_an_invalid_part_of_a_file_raises(message: Any) -> None:
    refused(start(), message)


@pytest.mark.req("X-07")
def test_a_file_that_cannot_be_read_raises_in_send() -> None:
    with open(__file__, "rb") as closed:
        pass
    refused(start(), zerocopy(closed), error=ValueError)
    refused(start(), zerocopy(closed, offset=1), error=ValueError)
    refused(start(), zerocopy(io.BytesIO(b"x"), offset=0), error=OSError)  # it has no descriptor


@pytest.mark.req("A-29", "X-07")
def test_a_client_that_leaves_stops_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 2_000_000)
    ending = Ending()
    with path.open("rb") as opened_file:

        @http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            async with ending:
                await send(start())
                await send(zerocopy(opened_file))

        with bridged(app, write_ahead=100_000) as wsgi:
            with Exchange(wsgi) as exchange:
                exchange.call()
                exchange.next()
            ending.over.wait()
        assert isinstance(ending.error, OSError)
        assert not opened_file.closed


def test_an_answer_is_what_the_tests_above_look_at() -> None:
    """A sanity check of `refused`: an app that is served makes it fail."""
    with pytest.raises(AssertionError, match="nothing was raised"):
        refused(start())
    assert isinstance(ask(respond(b"x")), Answer)
