"""What an ASGI app sends, as a WSGI response: order of messages, lengths, and headers that must not pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import ApplicationError, IncompleteResponse, InvalidHeader, InvalidMessage
from bridge.translate import asgi_response, headers
from bridge.translate.asgi_response import ASGIResponse, State, unknown
from bridge.translate.headers import HOP_BY_HOP
from bridge.types import Message

Pairs = list[tuple[bytes, bytes]]
Step = Callable[[ASGIResponse], object]

HERE = os.path.abspath(__file__)


def start(status: object = 200, headers: Any = (), **more: Any) -> Message:
    """`http.response.start`."""
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: Any = b"", more_body: bool = False) -> Message:
    """`http.response.body`."""
    return {"type": "http.response.body", "body": data, "more_body": more_body}


def path(name: object = HERE) -> Message:
    """`http.response.pathsend`."""
    return {"type": "http.response.pathsend", "path": name}


def part(**more: Any) -> Message:
    """`http.response.zerocopysend`."""
    return {"type": "http.response.zerocopysend", "file": 7, **more}


def hint(*links: Any) -> Message:
    """`http.response.early_hint`."""
    return {"type": "http.response.early_hint", "links": list(links)}


def trailers(*headers: Any, more_trailers: bool = False) -> Message:
    """`http.response.trailers`."""
    return {"type": "http.response.trailers", "headers": list(headers), "more_trailers": more_trailers}


def length(size: int) -> tuple[bytes, bytes]:
    """The header of that name."""
    return b"Content-Length", b"%d" % size


def started(status: object = 200, headers: Any = (), *, head: bool = False, **more: Any) -> ASGIResponse:
    """A response whose start message has come; the server offers trailers."""
    response = ASGIResponse(head, trailers=True)
    response.start(start(status, headers, **more))
    return response


def headers_of(pairs: Any, status: int = 200) -> list[tuple[str, str]]:
    """What becomes of these headers."""
    return started(status, pairs).headers


def everything(response: ASGIResponse) -> dict[str, object]:
    """All that the machine remembers."""
    found = {name: getattr(response, name) for name in ASGIResponse.__slots__}
    return {**found, "headers": list(response.headers)}


def refuses(response: ASGIResponse, step: Step, error: type[Exception], match: str | None = None) -> None:
    """The step raises, and nothing has changed."""
    before = everything(response)
    with pytest.raises(error, match=match):
        step(response)
    assert everything(response) == before


# -- the states, and each step in each of them


def empty() -> ASGIResponse:
    return ASGIResponse(False, trailers=True)


def begun() -> ASGIResponse:
    return started()


def announcing() -> ASGIResponse:
    return started(trailers=True)


def output() -> ASGIResponse:
    """Some body has gone out."""
    response = started(trailers=True)
    response.body(body(b"x", True))
    response.shown = True
    return response


def trailing() -> ASGIResponse:
    response = started(trailers=True)
    response.body(body(b"x"))
    response.shown = True
    return response


def complete() -> ASGIResponse:
    response = started()
    response.body(body(b"x"))
    response.shown = True
    return response


STEPS: dict[str, Step] = {
    "start": lambda response: response.start(start()),
    "body, more": lambda response: response.body(body(b"abc", True)),
    "body, last": lambda response: response.body(body(b"abc")),
    "path": lambda response: response.path(path()),
    "file": lambda response: response.sent_file(3),
    "part": lambda response: response.part(part(count=3)),
    "hint": lambda response: response.hint(hint(b"</a.css>")),
    "trailers, more": lambda response: response.trailers(trailers((b"X-A", b"1"), more_trailers=True)),
    "trailers, last": lambda response: response.trailers(trailers((b"X-A", b"1"))),
}

PART = (7, None, 3, False)
LINK = [("Link", "</a.css>")]
TRAILER = [("x-a", "1")]

# State -> step -> what it returns and the state that follows; `None` where it raises.
# "file" is missing where it cannot happen: it follows a path that was accepted.
TABLE: dict[str, tuple[Callable[[], ASGIResponse], dict[str, tuple[object, State] | None]]] = {
    "empty": (
        empty,
        {
            "start": (None, State.STARTED),
            "body, more": None,
            "body, last": None,
            "path": None,
            "part": None,
            "hint": (LINK, State.EMPTY),
            "trailers, more": None,
            "trailers, last": None,
        },
    ),
    "started": (
        begun,
        {
            "start": None,
            "body, more": (b"abc", State.STARTED),
            "body, last": (b"abc", State.COMPLETE),
            "path": (HERE, State.STARTED),
            "file": (3, State.COMPLETE),
            "part": (PART, State.STARTED),
            "hint": (LINK, State.STARTED),
            "trailers, more": None,
            "trailers, last": None,
        },
    ),
    "started, trailers announced": (
        announcing,
        {
            "start": None,
            "body, more": (b"abc", State.STARTED),
            "body, last": (b"abc", State.TRAILERS),
            "path": (HERE, State.STARTED),
            "file": (3, State.TRAILERS),
            "part": (PART, State.STARTED),
            "hint": (LINK, State.STARTED),
            "trailers, more": None,
            "trailers, last": None,
        },
    ),
    "started, output": (
        output,
        {
            "start": None,
            "body, more": (b"abc", State.STARTED),
            "body, last": (b"abc", State.TRAILERS),
            "path": None,
            "part": (PART, State.STARTED),
            "hint": (None, State.STARTED),
            "trailers, more": None,
            "trailers, last": None,
        },
    ),
    "trailers": (
        trailing,
        {
            "start": None,
            "body, more": None,
            "body, last": None,
            "path": None,
            "part": None,
            "hint": (None, State.TRAILERS),
            "trailers, more": (TRAILER, State.TRAILERS),
            "trailers, last": (TRAILER, State.COMPLETE),
        },
    ),
    "complete": (
        complete,
        {
            "start": (None, State.COMPLETE),
            "body, more": (b"", State.COMPLETE),
            "body, last": (b"", State.COMPLETE),
            "path": (None, State.COMPLETE),
            "part": (None, State.COMPLETE),
            "hint": (None, State.COMPLETE),
            "trailers, more": ([], State.COMPLETE),
            "trailers, last": ([], State.COMPLETE),
        },
    ),
}

LEGAL = [
    pytest.param(made, STEPS[step], *outcome, id=f"{name}: {step}")
    for name, (made, row) in TABLE.items()
    for step, outcome in row.items()
    if outcome is not None
]
ILLEGAL = [
    pytest.param(made, STEPS[step], id=f"{name}: {step}")
    for name, (made, row) in TABLE.items()
    for step, outcome in row.items()
    if outcome is None
]


def test_the_table_has_every_step_in_every_state() -> None:
    assert {made().state for made, _ in TABLE.values()} == set(State)
    for name, (_, row) in TABLE.items():
        assert set(STEPS) - set(row) <= {"file"}, name


@pytest.mark.req("A-13", "A-22", "X-05")
@pytest.mark.parametrize(("made", "step", "returned", "following"), LEGAL)
def test_a_step_leads_on(
    made: Callable[[], ASGIResponse], step: Step, returned: object, following: State
) -> None:
    response = made()
    assert step(response) == returned
    assert response.state is following
    assert response.complete is (following is State.COMPLETE)


@pytest.mark.req("A-22", "X-06")
@pytest.mark.parametrize(("made", "step"), ILLEGAL)
def test_an_illegal_step_raises_and_changes_nothing(made: Callable[[], ASGIResponse], step: Step) -> None:
    refuses(made(), step, InvalidMessage)


@pytest.mark.req("A-23")
@pytest.mark.parametrize("step", [step for name, step in STEPS.items() if name != "file"])
def test_whatever_comes_after_the_end_is_ignored(step: Step) -> None:
    response = complete()
    before = everything(response)
    step(response)
    assert everything(response) == before
    response.finish()


@pytest.mark.req("A-23")
def test_even_malformed_messages_are_ignored_after_the_end() -> None:
    response = complete()
    response.start(start("nonsense"))
    assert response.body(body("text")) == b""
    assert response.path(path("relative")) is None
    assert response.part({"type": "http.response.zerocopysend"}) is None
    assert response.hint({"links": "text"}) is None
    assert response.trailers(trailers((b":bad", b""))) == []
    response.finish()


@pytest.mark.parametrize(
    ("made", "step", "words"),
    [
        (begun, "start", "http.response.start a second time"),
        (empty, "body, last", "http.response.body before http.response.start"),
        (empty, "path", "http.response.pathsend before http.response.start"),
        (empty, "part", "http.response.zerocopysend before http.response.start"),
        (trailing, "body, last", "http.response.body after the end of the body"),
        (begun, "trailers, last", "http.response.trailers before the end of the body"),
        (output, "path", "http.response.pathsend cannot follow http.response.body"),
    ],
)
def test_the_error_says_what_came_and_why_not(
    made: Callable[[], ASGIResponse], step: str, words: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        STEPS[step](made())
    assert words in str(caught.value)


@pytest.mark.req("A-22", "X-01")
@pytest.mark.parametrize("kind", ["http.response.push", "http.request", "websocket.send", "", None, 5])
def test_a_message_of_another_type_gets_an_error_that_names_it(kind: object) -> None:
    error = unknown(kind)
    assert isinstance(error, InvalidMessage)
    assert repr(kind) in str(error)


@pytest.mark.req("A-22")
def test_keys_that_are_not_known_are_ignored() -> None:
    response = ASGIResponse(False)
    response.start({**start(), "reason": "Fine", "extra": 1})
    assert response.body({**body(b"x"), "extra": 1}) == b"x"
    assert response.complete


# -- the start message


@pytest.mark.req("A-13")
def test_the_start_message_is_only_stored() -> None:
    response = started(404, [(b"X-A", b"1")])
    assert (response.status, response.headers) == ("404 Not Found", [("X-A", "1")])
    assert not response.shown
    response.body(body(b"", True))
    assert not response.shown, "the caller says so when it has handed them out"


@pytest.mark.req("A-15")
@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, "200 OK"),
        (404, "404 Not Found"),
        (299, "299 Unknown"),
        (599, "599 Unknown"),
        (HTTPStatus.IM_A_TEAPOT, "418 I'm a Teapot"),
        (HTTPStatus.OK, "200 OK"),
    ],
)
def test_the_status_line_has_a_code_and_a_phrase(status: int, line: str) -> None:
    for _ in range(2):  # the second time, it is remembered
        assert started(status).status == line


@pytest.mark.req("A-15")
def test_every_status_gets_a_phrase() -> None:
    for status in range(200, 600):
        code, space, phrase = started(status).status.partition(" ")
        assert (code, space) == (str(status), " ")
        assert phrase.strip() == phrase != ""


@pytest.mark.req("A-22")
@pytest.mark.parametrize(
    "status",
    [None, "200", "200 OK", b"200", 200.0, True, False, 0, -1, 99, 100, 101, 103, 199, 600, 999, 10**9, []],
    ids=repr,
)
def test_a_status_that_is_none_raises(status: object) -> None:
    refuses(ASGIResponse(False), lambda response: response.start(start(status)), InvalidMessage, "status")


@pytest.mark.req("A-22")
def test_a_status_is_needed() -> None:
    refuses(
        ASGIResponse(False),
        lambda response: response.start({"type": "http.response.start", "headers": []}),
        InvalidMessage,
        "status",
    )


@pytest.mark.req("A-22")
def test_a_start_that_was_refused_may_be_followed_by_another() -> None:
    response = ASGIResponse(False)
    refuses(response, lambda response: response.start(start(200, [(b"X A", b"1")])), InvalidHeader)
    response.start(start(500, [(b"X-B", b"2")]))
    assert (response.status, response.headers) == ("500 Internal Server Error", [("X-B", "2")])


@pytest.mark.req("A-22", "A-20")
def test_a_bodiless_start_that_was_refused_leaves_no_trace() -> None:
    response = ASGIResponse(False)
    refuses(response, lambda response: response.start(start(204, [(b"", b"")])), InvalidHeader)
    response.start(start(200))
    assert response.body(body(b"page")) == b"page"


# -- headers


def one_by_one(pairs: Pairs) -> Iterator[tuple[bytes, bytes]]:
    yield from pairs


@pytest.mark.req("A-16")
@pytest.mark.parametrize(
    "given_as",
    [
        list,
        tuple,
        one_by_one,
        lambda pairs: [list(pair) for pair in pairs],
        lambda pairs: (iter(pair) for pair in pairs),
        lambda pairs: [(bytearray(name), memoryview(value)) for name, value in pairs],
        lambda pairs: [(memoryview(name), bytearray(value)) for name, value in pairs],
    ],
    ids=["list", "tuple", "generator", "lists", "iterators", "bytearrays", "memoryviews"],
)
def test_headers_become_a_list_of_tuples_of_str(given_as: Callable[[Pairs], Any]) -> None:
    pairs = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=\xe9")]
    for _ in range(2):
        headers = headers_of(given_as(pairs))
        assert headers == [("Content-Type", "text/plain"), ("set-cookie", "a=1"), ("Set-Cookie", "b=\xe9")]
        assert type(headers) is list
        for pair in headers:
            assert type(pair) is tuple
            assert [type(text) for text in pair] == [str, str]


@pytest.mark.req("A-16")
def test_order_and_repeats_are_kept() -> None:
    pairs = [(b"x-b", b"1"), (b"set-cookie", b"a=1"), (b"x-a", b"2"), (b"set-cookie", b"a=1")]
    assert headers_of(pairs) == [("x-b", "1"), ("set-cookie", "a=1"), ("x-a", "2"), ("set-cookie", "a=1")]


@pytest.mark.req("A-16")
@pytest.mark.parametrize("message", [{}, {"headers": None}, {"headers": []}, {"headers": ()}], ids=repr)
def test_without_headers_there_are_none(message: dict[str, Any]) -> None:
    response = ASGIResponse(False)
    response.start({"type": "http.response.start", "status": 200, **message})
    assert response.headers == []
    assert type(response.headers) is list


@pytest.mark.req("A-16")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b" \t v \t", "v"),
        (b"a \t b", "a \t b"),
        (b"", ""),
        (b"  ", ""),
        (bytes(range(0x80, 0x100)), "".join(map(chr, range(0x80, 0x100)))),
        (b"\xa0v\xa0", "\xa0v\xa0"),  # no space, for HTTP
    ],
)
@pytest.mark.parametrize("name", [b"X-Any", b"Vary"], ids=["any", "remembered"])
def test_values_are_trimmed_and_latin_1(name: bytes, value: bytes, text: str) -> None:
    for _ in range(2):
        assert headers_of([(name, value)]) == [(name.decode(), text)]


@pytest.mark.req("H-08")
def test_no_header_is_added_or_removed() -> None:
    assert headers_of([]) == []
    pairs = [(b"server", b"app"), (b"date", b"now"), (b"trailer", b"x-sum")]
    assert headers_of(pairs) == [("server", "app"), ("date", "now"), ("trailer", "x-sum")]


@pytest.mark.req("H-01")
@pytest.mark.parametrize(
    "name",
    [b"", b"X A", b"X:", b":status", b"X-A\r\n", b"X-\xe9", b"X\x00", b"X\t", b"(x)", b'"x"', b"X\x7f"],
)
def test_a_name_that_is_no_token_raises(name: bytes) -> None:
    refuses(
        ASGIResponse(False),
        lambda response: response.start(start(200, [(b"X-A", b"1"), (name, b"v")])),
        InvalidHeader,
        "no header name",
    )


@pytest.mark.req("H-01")
def test_every_token_character_is_allowed_in_a_name() -> None:
    tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 9110 5.6.2
    allowed = []
    for code in range(256):
        name = b"x" + bytes([code])
        try:
            headers_of([(name, b"v")])
        except InvalidHeader:
            continue
        allowed.append(chr(code))
    assert sorted(allowed) == sorted(tokens)


@pytest.mark.req("H-02", "A-17")
@pytest.mark.parametrize("code", [*range(0x20), 0x7F])
@pytest.mark.parametrize("name", [b"X-Secret", b"Cache-Control", b"Content-Length", b"Connection"])
def test_a_control_character_in_a_value_raises(name: bytes, code: int) -> None:
    value = b"hidden" + bytes([code]) + b"X-Inj: 1"
    if code == 0x09 and name in (b"X-Secret", b"Cache-Control"):
        assert headers_of([(name, value)]) == [(name.decode(), value.decode())]
        return
    if code == 0x09 and name == b"Connection":
        return  # a token that names no header
    response = ASGIResponse(False)
    before = everything(response)
    with pytest.raises(InvalidHeader) as caught:
        response.start(start(200, [(name, value)]))
    assert everything(response) == before
    assert name.decode() in str(caught.value)
    assert "hidden" not in str(caught.value), "the value may be a secret"


@pytest.mark.req("H-02")
@pytest.mark.parametrize("value", [b"v\n", b"v\r\n", b"\r\n", b"v\x00", b"\x0bv", b"\nv"])
def test_a_control_character_at_an_end_is_not_trimmed_away(value: bytes) -> None:
    with pytest.raises(InvalidHeader):
        headers_of([(b"X-A", value)])


@pytest.mark.req("A-22")
@pytest.mark.parametrize(
    "pair",
    [
        ("x-a", b"1"),
        (b"x-a", "1"),
        ("x-a", "1"),
        (b"x-a", None),
        (None, b"1"),
        (b"x-a", 1),
        (b"x-a",),
        (b"x-a", b"1", b"2"),
        b"x-a",
        b"ab",
        "ab",
        None,
        5,
        [],
        ([], {}),
    ],
    ids=repr,
)
def test_a_header_that_is_no_pair_of_bytes_raises(pair: object) -> None:
    refuses(ASGIResponse(False), lambda response: response.start(start(200, [pair])), InvalidHeader, "bytes")


@pytest.mark.req("A-22")
@pytest.mark.parametrize("headers", [5, True, b"x-a: 1", "x-a: 1", {b"x-a": b"1"}, 1.5], ids=repr)
def test_headers_that_are_no_pairs_at_all_raise(headers: object) -> None:
    refuses(ASGIResponse(False), lambda response: response.start(start(200, headers)), ApplicationError)


@pytest.mark.req("A-17", "H-03")
@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_a_hop_by_hop_header_is_dropped(name: str) -> None:
    for spelling in (name, name.title(), name.upper()):
        pairs = [(b"x-a", b"1"), (spelling.encode(), b"v"), (b"x-b", b"2"), (spelling.encode(), b"w")]
        assert headers_of(pairs) == [("x-a", "1"), ("x-b", "2")]


@pytest.mark.req("A-17", "H-03")
@pytest.mark.parametrize(
    ("connection", "dropped"),
    [
        (b"X-A", {"x-a"}),
        (b"close, x-a", {"x-a"}),
        (b"\tX-A ,close,, x-b\t", {"x-a", "x-b"}),
        (b"close", set()),
        (b"", set()),
        (b"content-length, Set-Cookie, content-type", set()),
    ],
)
def test_what_connection_names_is_dropped_as_well(connection: bytes, dropped: set[str]) -> None:
    others = [(b"x-a", b"1"), (b"x-b", b"2"), (b"set-cookie", b"a=1"), (b"content-type", b"t"), length(3)]
    kept = [(name.decode(), value.decode()) for name, value in others if name.decode() not in dropped]
    pair = (b"Connection", connection)
    # Wherever in the list the Connection header stands.
    assert headers_of([pair, *others]) == kept
    assert headers_of([*others, pair]) == kept


@pytest.mark.req("H-03")
def test_several_connection_headers_count_together() -> None:
    pairs = [(b"connection", b"x-a"), (b"x-a", b"1"), (b"x-b", b"2"), (b"Connection", b"x-b"), (b"x-c", b"3")]
    assert headers_of(pairs) == [("x-c", "3")]


@pytest.mark.req("H-07")
def test_the_cost_of_headers_is_linear() -> None:
    """Twice 20 000 headers, of which each is special: seconds, if each were compared with all."""
    pairs = [(b"Connection", b"x-%d" % number) for number in range(20_000)]
    pairs += [(b"X-%d" % number, b"v") for number in range(20_000)]
    assert headers_of(pairs) == []


# -- Content-Length


@pytest.mark.req("H-04")
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([b"0"], 0),
        ([b"5"], 5),
        ([b" 5 "], 5),
        ([b"005"], 5),
        ([b"5", b"5", b"5"], 5),
        ([b"5", b"05"], 5),
        ([b"9" * 18], 10**18 - 1),
    ],
)
def test_the_length_is_read_and_equal_repeats_collapse(values: list[bytes], found: int | None) -> None:
    response = started(200, [(b"Content-Length", value) for value in values])
    assert response.length == found
    assert response.headers == [("Content-Length", value.strip().decode()) for value in values[:1]]


@pytest.mark.req("H-04")
@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"-1"],
        [b"+1"],
        [b"1.0"],
        [b"0x1"],
        [b"1_0"],
        [b"1 0"],
        [b"5, 5"],
        [b"5,6"],
        [b"\xb2"],  # a digit to str.isdigit
        [b"five"],
        [b"1" * 19],
        [b"5", b"6"],
        [b"5", b""],
    ],
)
@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("head", [False, True])
def test_an_ambiguous_length_raises(head: bool, status: int, values: list[bytes]) -> None:
    pairs = [(b"content-length", value) for value in values]
    refuses(
        ASGIResponse(head),
        lambda response: response.start(start(status, pairs)),
        InvalidHeader,
        "Content-Length",
    )


@pytest.mark.req("A-21")
@pytest.mark.parametrize(
    ("size", "chunks", "sent"),
    [
        (5, [b"hello"], [b"hello"]),
        (5, [b"he", b"llo"], [b"he", b"llo"]),
        (5, [b"hello!"], [b"hello"]),
        (5, [b"hell", b"o, world"], [b"hell", b"o"]),
        (5, [b"hello", b"again", b"x"], [b"hello", b"", b""]),
        (0, [b"x"], [b""]),
        (0, [b""], [b""]),
    ],
)
def test_no_byte_goes_out_beyond_the_length(size: int, chunks: list[bytes], sent: list[bytes]) -> None:
    response = started(200, [length(size)])
    for chunk, expected in zip(chunks, sent, strict=True):
        assert response.body(body(chunk, True)) == expected
    assert response.exhausted
    assert response.surplus is (b"".join(chunks) != b"".join(sent))
    assert response.body(body()) == b""
    response.finish()


@pytest.mark.req("A-21", "A-27")
@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"ab", b"", b"cd"]])
def test_fewer_bytes_than_the_length_raise_at_the_end(chunks: list[bytes]) -> None:
    response = started(200, [length(5)])
    for chunk in chunks:
        response.body(body(chunk, True))
    assert not response.exhausted
    response.body(body())
    assert response.complete
    missing = 5 - len(b"".join(chunks))
    refuses(response, ASGIResponse.finish, IncompleteResponse, f"{missing} bytes fewer .* of 5")


def test_nothing_is_exhausted_without_a_length() -> None:
    response = started()
    response.body(body(b"x", True))
    assert not response.exhausted
    assert response.length is None
    assert not response.surplus


# -- the body


@pytest.mark.parametrize(
    "data",
    [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c-")[::2]],
    ids=["bytes", "bytearray", "memoryview", "every other byte"],
)
def test_a_body_is_bytes_of_any_kind(data: Any) -> None:
    sent = started().body(body(data))
    assert sent == b"abc"
    assert type(sent) is bytes


def test_what_is_sent_does_not_change_with_the_buffer_it_came_in() -> None:
    buffer = bytearray(b"abc")
    sent = started().body(body(buffer))
    buffer[:] = b"xyz"
    assert sent == b"abc"


def test_a_body_and_more_of_it_may_be_left_out() -> None:
    response = started()
    assert response.body({"type": "http.response.body", "more_body": True}) == b""
    assert not response.complete
    assert response.body({"type": "http.response.body"}) == b""
    assert response.complete


@pytest.mark.req("A-22")
@pytest.mark.parametrize("data", ["text", "", None, 5, [b"a"], object], ids=repr)
def test_a_body_that_is_not_bytes_raises(data: object) -> None:
    for more in (False, True):
        refuses(started(), lambda response: response.body(body(data, more)), InvalidMessage, "bytes")  # noqa: B023


@pytest.mark.req("A-20")
@pytest.mark.parametrize(
    ("head", "status"), [(True, 200), (True, 404), (False, 204), (False, 304), (True, 204), (True, 304)]
)
@pytest.mark.parametrize("pairs", [[], [length(5)], [length(0)], [length(5), length(5)]])
def test_a_response_without_body_swallows_what_comes(head: bool, status: int, pairs: Pairs) -> None:
    response = started(status, [*pairs, (b"etag", b"x")], head=head)
    kept = [("Content-Length", pairs[0][1].decode())] if pairs and status != 204 else []
    assert response.headers == [*kept, ("etag", "x")]
    assert response.bodiless
    assert response.exhausted
    for chunk in (b"hello", b"", b"and more than the length"):
        assert response.body(body(chunk, True)) == b""
        assert response.state is State.STARTED
    assert response.body(body(b"end")) == b""
    assert response.complete
    assert not response.surplus
    assert response.length is None
    response.finish()


@pytest.mark.req("A-20")
def test_204_loses_its_length_however_it_is_spelled() -> None:
    assert headers_of([(b"CONTENT-length", b"0"), (b"X-A", b"1")], 204) == [("X-A", "1")]


@pytest.mark.req("A-20")
@pytest.mark.parametrize("status", [200, 205, 301, 404, 500])
def test_other_statuses_may_have_a_body(status: int) -> None:
    response = started(status)
    assert not response.bodiless
    assert response.body(body(b"x")) == b"x"


# -- the end of the app


@pytest.mark.req("A-27")
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (empty, "without a response"),
        (begun, "more_body false"),
        (announcing, "more_body false"),
        (output, "more_body false"),
        (trailing, "trailers that it had announced"),
    ],
)
@pytest.mark.parametrize("head", [False, True])
def test_an_app_that_ends_too_early_has_an_incomplete_response(
    made: Callable[[], ASGIResponse], words: str, head: bool
) -> None:
    response = made()
    response._head = head
    refuses(response, ASGIResponse.finish, IncompleteResponse, words)


@pytest.mark.req("A-27")
def test_a_complete_response_may_end() -> None:
    complete().finish()
    response = trailing()
    response.trailers(trailers())
    response.finish()


@pytest.mark.req("A-20", "A-27")
@pytest.mark.parametrize(("head", "status"), [(True, 200), (False, 204), (False, 304)])
def test_a_response_without_body_has_to_be_ended_all_the_same(head: bool, status: int) -> None:
    response = started(status, head=head)
    refuses(response, ASGIResponse.finish, IncompleteResponse, "more_body false")


# -- pathsend


@pytest.mark.req("X-06")
@pytest.mark.parametrize("name", [HERE, Path(HERE), "file", "../file"], ids=["str", "Path", "relative", "up"])
def test_a_path_is_given_back_and_nothing_changes_until_its_size_is_known(name: object) -> None:
    response = started()
    before = everything(response)
    assert response.path(path(name)) == str(name)
    assert everything(response) == before
    assert response.sent_file(10) == 10
    response.finish()


@pytest.mark.req("X-06")
@pytest.mark.parametrize("name", ["", None, 5, b"/file"], ids=repr)
def test_what_is_no_path_raises(name: object) -> None:
    refuses(started(), lambda response: response.path(path(name)), InvalidMessage, "absolute path")


@pytest.mark.req("X-06")
def test_a_path_is_needed() -> None:
    refuses(
        started(),
        lambda response: response.path({"type": "http.response.pathsend"}),
        InvalidMessage,
        "absolute path; got None",
    )


@pytest.mark.req("X-06", "A-21")
@pytest.mark.parametrize(
    ("announced", "size", "sent", "surplus"),
    [(None, 10, 10, False), (10, 10, 10, False), (4, 10, 4, True), (0, 10, 0, True), (0, 0, 0, False)],
)
def test_no_more_of_a_file_goes_out_than_the_length(
    announced: int | None, size: int, sent: int, surplus: bool
) -> None:
    response = started(200, [] if announced is None else [length(announced)])
    assert response.sent_file(size) == sent
    assert response.surplus is surplus
    response.finish()


@pytest.mark.req("X-06", "A-21", "A-27")
def test_a_file_that_is_shorter_than_the_length_raises_at_the_end() -> None:
    response = started(200, [length(10)])
    assert response.sent_file(4) == 4
    refuses(response, ASGIResponse.finish, IncompleteResponse, "6 bytes fewer .* of 10")


@pytest.mark.req("X-06", "A-20")
@pytest.mark.parametrize(("head", "status"), [(True, 200), (False, 204), (False, 304)])
def test_no_file_goes_out_where_there_is_no_body(head: bool, status: int) -> None:
    response = started(status, [length(10)], head=head, trailers=True)
    assert response.path(path()) == HERE
    assert response.sent_file(10) == 0
    assert not response.surplus
    assert response.complete
    response.finish()


@pytest.mark.req("X-06")
def test_a_file_is_the_whole_body() -> None:
    response = started()
    response.sent_file(10)
    assert response.path(path()) is None
    assert response.body(body(b"more")) == b""


# -- zerocopysend


@pytest.mark.req("X-07")
@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, (7, None, None, False)),
        ({"offset": 3}, (7, 3, None, False)),
        ({"offset": 0, "count": 0}, (7, 0, 0, False)),
        ({"offset": None, "count": None, "more_body": True}, (7, None, None, True)),
        ({"count": 5, "more_body": False}, (7, None, 5, False)),
    ],
)
def test_a_part_of_a_file_is_described(more: Mapping[str, Any], found: tuple[object, ...]) -> None:
    response = started()
    before = everything(response)
    assert response.part(part(**more)) == found
    assert everything(response) == before, "what is read from it is given to body()"


@pytest.mark.req("X-07")
def test_parts_repeat_and_mix_with_bodies() -> None:
    response = started(200, [length(8)])
    assert response.body(body(b"ab", True)) == b"ab"
    response.shown = True
    for _ in range(2):
        assert response.part(part(count=2, more_body=True)) == (7, None, 2, True)
        assert response.body(body(b"cd", True)) == b"cd"
    assert response.body(body(b"gh")) == b"gh"
    response.finish()


@pytest.mark.req("X-07")
@pytest.mark.parametrize("name", ["offset", "count"])
@pytest.mark.parametrize("value", [-1, "0", 1.5, b"1"], ids=repr)
def test_a_part_that_is_no_range_raises(name: str, value: object) -> None:
    refuses(started(), lambda response: response.part(part(**{name: value})), InvalidMessage, name)


@pytest.mark.req("X-07")
def test_a_part_needs_a_file() -> None:
    refuses(
        started(),
        lambda response: response.part({"type": "http.response.zerocopysend", "count": 1}),
        InvalidMessage,
        "no file",
    )


# -- early hints


@pytest.mark.req("X-03")
@pytest.mark.parametrize("made", [empty, begun, announcing])
def test_hints_are_taken_until_there_is_output(made: Callable[[], ASGIResponse]) -> None:
    response = made()
    before = everything(response)
    links = [b"</a.css>; rel=preload", b" </b.js> "]
    assert response.hint(hint(*links)) == [("Link", "</a.css>; rel=preload"), ("Link", "</b.js>")]
    assert response.hint(hint()) == []
    assert response.hint({"type": "http.response.early_hint"}) == []
    assert everything(response) == before
    response.shown = True
    assert response.hint(hint(*links)) is None


@pytest.mark.req("X-03")
@pytest.mark.parametrize("made", [output, trailing, complete])
def test_later_hints_are_ignored(made: Callable[[], ASGIResponse]) -> None:
    assert made().hint(hint(b"</a.css>")) is None


@pytest.mark.req("X-03")
@pytest.mark.parametrize("announces", [False, True])
def test_hints_after_the_end_are_ignored_though_nothing_has_been_handed_out(announces: bool) -> None:
    response = started(trailers=announces)
    response.body(body())
    assert not response.shown
    assert response.hint(hint(b"</a.css>")) is None


@pytest.mark.req("X-02", "H-02")
@pytest.mark.parametrize("link", [b"</a>\r\nX-Inj: 1", b"</a>\n", b"\x00", b"\x7f"])
def test_a_hint_with_a_control_character_raises(link: bytes) -> None:
    refuses(begun(), lambda response: response.hint(hint(b"</b>", link)), InvalidHeader, "Link")


@pytest.mark.req("A-22")
@pytest.mark.parametrize("links", ["</a>", b"</a>", ["</a>"], [None], [5], 5, True], ids=repr)
def test_hints_that_are_no_list_of_bytes_raise(links: object) -> None:
    message = {"type": "http.response.early_hint", "links": links}
    refuses(begun(), lambda response: response.hint(message), ApplicationError)


# -- trailers


@pytest.mark.req("X-05")
def test_trailers_end_the_response_with_the_last_message() -> None:
    response = started(trailers=True)
    assert response.body(body(b"x")) == b"x"
    complete = [response.complete]
    first = trailers((b"X-Sum", b" 1 "), (b"x-b", b"2"), more_trailers=True)
    assert response.trailers(first) == [("x-sum", "1"), ("x-b", "2")]
    complete.append(response.complete)
    assert response.trailers(trailers((b"X-C", b"3"))) == [("x-c", "3")]
    complete.append(response.complete)
    assert complete == [False, False, True]
    response.finish()


@pytest.mark.req("X-05")
@pytest.mark.parametrize("announced", [True, False])
def test_trailers_that_are_not_offered_are_dropped(announced: bool) -> None:
    response = ASGIResponse(False, trailers=False)
    message = trailers((b"x-sum", b"1"))
    assert response.trailers(message) == []
    response.start(start(trailers=announced))
    assert response.trailers(message) == []
    response.body(body(b"x", True))
    assert response.trailers(message) == []
    response.body(body())
    assert response.complete, "the response does not wait for them"
    assert response.trailers(message) == []
    response.finish()


@pytest.mark.req("X-05")
def test_trailers_that_were_not_announced_are_dropped() -> None:
    response = started()
    response.body(body(b"x"))
    assert response.complete
    assert response.trailers(trailers((b"x-sum", b"1"))) == []


@pytest.mark.req("X-05", "A-20")
@pytest.mark.parametrize(("head", "status"), [(True, 200), (False, 204), (False, 304)])
def test_a_response_without_body_has_no_trailers(head: bool, status: int) -> None:
    """Nothing of it goes out, so nothing would follow that they could."""
    response = started(status, head=head, trailers=True)
    assert response.exhausted
    response.body(body(b"x"))
    assert response.complete
    assert response.trailers(trailers((b"x-sum", b"1"))) == []
    response.finish()


@pytest.mark.req("X-05", "A-21")
def test_a_response_that_has_reached_its_length_is_not_exhausted_if_trailers_follow() -> None:
    response = started(200, [length(1)], trailers=True)
    response.body(body(b"x", True))
    assert not response.exhausted
    response.body(body())
    assert not response.exhausted
    response.trailers(trailers())
    response.finish()


@pytest.mark.req("X-05", "H-03", "H-04")
def test_headers_that_frame_the_message_are_no_trailers() -> None:
    unwanted = [(name.encode(), b"v") for name in HOP_BY_HOP] + [(b"Content-Length", b"5")]
    response = trailing()
    assert response.trailers(trailers(*unwanted, (b"x-sum", b"1"))) == [("x-sum", "1")]


@pytest.mark.req("X-05", "H-01", "H-02", "A-22")
@pytest.mark.parametrize(
    "pair",
    [(b":status", b"200"), (b"", b"1"), (b"X A", b"1"), (b"x-a", b"1\r\n"), ("x-a", b"1"), (b"x-a", "1"), 5],
    ids=repr,
)
@pytest.mark.parametrize("more", [False, True])
def test_trailers_that_must_not_be_sent_raise(pair: object, more: bool) -> None:
    message = trailers((b"x-b", b"2"), pair, more_trailers=more)
    refuses(trailing(), lambda response: response.trailers(message), InvalidHeader)


@pytest.mark.req("A-22")
@pytest.mark.parametrize("headers", [5, "x-a: 1", True], ids=repr)
def test_trailers_that_are_no_pairs_at_all_raise(headers: object) -> None:
    message = {"type": "http.response.trailers", "headers": headers}
    refuses(trailing(), lambda response: response.trailers(message), ApplicationError)


# -- what is remembered from response to response


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered yet, and what the test adds is forgotten afterwards."""
    monkeypatch.setattr(asgi_response, "_pair_cache", {})
    monkeypatch.setattr(asgi_response, "_status_lines", {})


@pytest.mark.usefixtures("forgetful")
def test_the_number_of_remembered_headers_is_bounded() -> None:
    limit = headers.CACHE_LIMIT
    most = 0
    for number in range(2 * limit + 10):
        assert headers_of([(b"vary", b"x-%d" % number)]) == [("vary", f"x-{number}")]
        most = max(most, len(asgi_response._pair_cache))
    assert most == limit
    assert headers_of([(b"vary", b"x-0")]) == [("vary", "x-0")]


@pytest.mark.usefixtures("forgetful")
def test_headers_that_differ_each_time_or_are_secret_are_not_remembered() -> None:
    pairs = [
        (b"set-cookie", b"session=secret"),
        (b"authorization", b"Bearer secret"),
        (b"location", b"/reset?token=secret"),
        (b"www-authenticate", b"Digest nonce=secret"),
        (b"etag", b"x"),
        (b"date", b"now"),
        (b"x-request-id", b"1"),
        (b"connection", b"close"),
    ]
    headers_of(pairs)
    assert asgi_response._pair_cache == {}


@pytest.mark.usefixtures("forgetful")
def test_long_values_are_not_remembered() -> None:
    limit = headers.CACHED_VALUE_LIMIT
    headers_of([(b"vary", b"x" * (limit + 1))])
    assert asgi_response._pair_cache == {}
    headers_of([(b"vary", b"x" * limit)])
    assert len(asgi_response._pair_cache) == 1


@pytest.mark.usefixtures("forgetful")
def test_what_was_refused_is_not_remembered() -> None:
    for _ in range(2):
        with pytest.raises(InvalidHeader):
            headers_of([(b"vary", b"a\r\nb")])
    assert asgi_response._pair_cache == {}


@pytest.mark.usefixtures("forgetful")
@pytest.mark.req("H-04")
def test_the_rules_hold_for_remembered_headers() -> None:
    for _ in range(3):
        assert started(200, [length(5)]).length == 5
        assert headers_of([(b"Content-Length", b"5"), (b"content-length", b"5")]) == [("Content-Length", "5")]
        with pytest.raises(InvalidHeader):
            headers_of([length(5), length(6)])
        with pytest.raises(InvalidHeader):
            headers_of([(b"content-length", b"x")])
    assert len(asgi_response._pair_cache) == 4


@pytest.mark.usefixtures("forgetful")
def test_each_status_is_remembered_once() -> None:
    for _ in range(2):
        for status in range(1000):
            try:
                started(status)
            except InvalidMessage:
                assert not 200 <= status <= 599
    assert sorted(asgi_response._status_lines) == list(range(200, 600))
    assert started(HTTPStatus.OK).status == "200 OK"
    assert len(asgi_response._status_lines) == 400


# -- anything at all

ODD = st.none() | st.booleans() | st.integers(-1, 600) | st.text(max_size=3) | st.binary(max_size=3)
NAMES = st.sampled_from([b"Content-Length", b"content-length", b"Connection", b"TE", b"Trailer", b"x-a"])
VALUES = st.sampled_from([b"0", b"3", b"5", b"close", b"x-a, content-length", b" v "])
HEADERS = st.lists(st.tuples(NAMES, VALUES) | st.tuples(ODD, ODD) | ODD, max_size=3)
FLAGS = st.booleans() | ODD


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly one of the values, at times something odd."""
    return values | values | values | ODD


MESSAGES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "start": st.fixed_dictionaries(
        {"status": maybe(st.sampled_from([200, 204, 304, 404]))},
        optional={"headers": maybe(HEADERS), "trailers": FLAGS},
    ),
    "body": st.fixed_dictionaries({}, optional={"body": maybe(st.binary(max_size=4)), "more_body": FLAGS}),
    "path": st.fixed_dictionaries({}, optional={"path": maybe(st.just(HERE))}),
    "part": st.fixed_dictionaries({}, optional={"file": ODD, "offset": ODD, "count": ODD}),
    "hint": st.fixed_dictionaries({}, optional={"links": maybe(st.lists(st.just(b"</a>") | ODD))}),
    "trailers": st.fixed_dictionaries({}, optional={"headers": maybe(HEADERS), "more_trailers": FLAGS}),
}
ANY_MESSAGE = st.sampled_from(list(MESSAGES)).flatmap(
    lambda kind: st.tuples(st.just(kind), MESSAGES[kind], st.integers(0, 6))
)


@pytest.mark.req("A-17", "A-20", "A-21", "A-22", "A-23", "A-27")
@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(NAMES, VALUES), max_size=2),
    st.lists(ANY_MESSAGE, max_size=8),
)
def test_whatever_is_sent_the_response_is_sound(
    head: bool, offered: bool, pairs: Pairs, messages: list[tuple[str, dict[str, Any], int]]
) -> None:
    """Never more bytes than announced, an end only if whole, and no error that is not the app's."""
    response = ASGIResponse(head, offered)
    sent = 0
    # The first one mostly succeeds, or else there would be little to see.
    for kind, message, size in [("start", dict(start(200, pairs)), 0), *messages]:
        before = everything(response)
        try:
            result = getattr(response, kind)(message)
        except ApplicationError:
            assert everything(response) == before
            continue
        if kind == "body":
            sent += len(result)
        elif kind == "path" and result is not None:
            sent += response.sent_file(size)
        response.shown = response.shown or sent > 0
        before_state: Any = before["state"]
        assert before_state.value <= response.state.value
        if before_state is State.COMPLETE:
            assert everything(response) == before
        if response.bodiless:
            assert sent == 0
        elif response.length is not None:
            assert sent <= response.length
            assert response.exhausted or sent < response.length or offered
    names = [name.lower() for name, _ in response.headers]
    assert not HOP_BY_HOP & set(names)
    assert names.count("content-length") <= 1
    try:
        response.finish()
    except IncompleteResponse:
        assert not response.complete or sent < (response.length or 0)
    else:
        assert response.complete
        assert response.bodiless or response.length in (None, sent)
