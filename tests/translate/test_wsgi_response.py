"""What a WSGI app says, as ASGI messages: order of calls, lengths, and headers that must not pass."""

from __future__ import annotations

import gc
import sys
import traceback
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import ApplicationError, IncompleteResponse, InvalidHeader
from bridge.translate.headers import HOP_BY_HOP
from bridge.translate.wsgi_response import State, WSGIResponse
from bridge.types import ExcInfo

Pairs = list[tuple[str, str]]


def response_to(method: str = "GET", **options: bool) -> WSGIResponse:
    """The machine for one request."""
    return WSGIResponse(head=method == "HEAD", **options)


def started(status: str, pairs: Pairs, method: str = "GET", **options: bool) -> dict[str, Any]:
    """The start message of a response."""
    response = response_to(method, **options)
    response.start(status, pairs)
    return response.start_message()


def exc_info_of(error: BaseException) -> ExcInfo:
    """What `sys.exc_info()` gives where `error` is handled."""
    try:
        raise error
    except BaseException:
        kind, value, trace = sys.exc_info()
        assert kind is not None
        assert value is not None
        return kind, value, trace


# -- start_response


@pytest.mark.req("W-10")
def test_the_start_message_has_code_and_headers() -> None:
    assert started("404 Not Found", [("X-A", " v "), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]) == {
        "type": "http.response.start",
        "status": 404,
        "headers": [(b"x-a", b"v"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
    }


@pytest.mark.req("W-10")
def test_the_headers_key_is_present_without_headers() -> None:
    headers = started("200 OK", [])["headers"]
    assert headers == []
    assert type(headers) is list


@pytest.mark.req("H-08")
def test_no_header_is_added() -> None:
    assert started("200 OK", [("Server", "app"), ("Date", "now")])["headers"] == [
        (b"server", b"app"),
        (b"date", b"now"),
    ]


@pytest.mark.req("W-04", "W-06")
def test_the_list_that_the_app_gave_may_change_afterwards() -> None:
    """PEP 3333 lets middleware reuse it."""
    pairs = [("X-A", "1")]
    response = response_to()
    response.start("200 OK", pairs)
    pairs[0] = ("X-B", "2")
    pairs.append(("X-C", "3"))
    assert response.start_message()["headers"] == [(b"x-a", b"1")]


@pytest.mark.req("W-05")
def test_a_second_call_without_exc_info_raises() -> None:
    response = response_to()
    response.start("200 OK", [("X-A", "1")])
    with pytest.raises(ApplicationError, match="second time"):
        response.start("404 Not Found", [])
    # The first one stands.
    assert response.start_message()["status"] == 200


@pytest.mark.req("W-05")
def test_a_second_call_raises_after_output_too() -> None:
    response = response_to()
    response.start("200 OK", [])
    response.start_message()
    with pytest.raises(ApplicationError, match="second time"):
        response.start("404 Not Found", [])
    assert response.state is State.SENT


@pytest.mark.req("W-05")
@pytest.mark.parametrize("bad", [("OK", []), ("200 OK", [("X A", "1")]), ("200 OK", None)])
def test_a_first_call_that_raised_counts_as_a_call(bad: tuple[str, Any]) -> None:
    response = response_to()
    with pytest.raises(InvalidHeader):
        response.start(*bad)
    with pytest.raises(ApplicationError, match="second time"):
        response.start("200 OK", [])
    with pytest.raises(ApplicationError, match=r"before it called start_response\(\)"):
        response.start_message()


@pytest.mark.req("W-06")
def test_exc_info_before_output_replaces_status_and_headers_as_a_whole() -> None:
    response = response_to()
    response.start("200 OK", [("X-A", "1"), ("Content-Length", "5")])
    response.start("500 Oops", [("X-B", "2")], exc_info_of(ValueError()))
    assert response.start_message() == {
        "type": "http.response.start",
        "status": 500,
        "headers": [(b"x-b", b"2")],
    }
    # Nor does the first length bind the second body.
    assert response.accept(b"a longer page") == b"a longer page"
    response.finish()


@pytest.mark.req("W-06")
def test_exc_info_before_output_replaces_a_bodiless_status() -> None:
    response = response_to()
    response.start("204 No Content", [])
    response.start("500 Oops", [], exc_info_of(ValueError()))
    response.start_message()
    assert not response.bodiless
    assert response.accept(b"page") == b"page"


@pytest.mark.req("W-06", "X-05")
def test_exc_info_before_output_replaces_the_announcement_of_trailers() -> None:
    """Otherwise the server would wait for trailers that the error page does not have."""
    response = response_to(trailers=True)
    response.start("200 OK", [("Trailer", "X-Sum")])
    response.start("500 Oops", [("X-B", "2")], exc_info_of(ValueError()))
    assert not response.trailers
    assert "trailers" not in response.start_message()


@pytest.mark.req("W-06", "W-12")
def test_exc_info_before_output_replaces_what_was_dropped() -> None:
    response = response_to()
    response.start("200 OK", [("Connection", "close")])
    response.start("500 Oops", [], exc_info_of(ValueError()))
    assert not response.dropped


@pytest.mark.req("W-06")
def test_exc_info_with_the_first_call_is_an_ordinary_start() -> None:
    response = response_to()
    response.start("500 Oops", [], exc_info_of(ValueError()))
    assert response.start_message()["status"] == 500


@pytest.mark.req("W-06")
def test_exc_info_may_replace_more_than_once() -> None:
    response = response_to()
    response.start("200 OK", [])
    for code in (500, 501, 502):
        response.start(f"{code} x", [], exc_info_of(ValueError()))
    assert response.start_message()["status"] == 502


@pytest.mark.req("W-05", "W-06")
def test_a_replacement_that_raised_leaves_nothing_to_send() -> None:
    """The app asked for an error page and got an exception: the 200 must not go out instead."""
    response = response_to()
    response.start("200 OK", [])
    with pytest.raises(InvalidHeader):
        response.start("500 Oops\r\n", [], exc_info_of(ValueError()))
    with pytest.raises(ApplicationError):
        response.start_message()


@pytest.mark.req("W-07")
def test_exc_info_after_output_raises_that_exception_with_its_traceback() -> None:
    error = ValueError("original")
    exc_info = exc_info_of(error)
    response = response_to()
    response.start("200 OK", [])
    response.start_message()
    with pytest.raises(ValueError, match="original") as caught:
        response.start("500 Oops", [("X-B", "2")], exc_info)
    assert caught.value is error
    assert "exc_info_of" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert response.state is State.SENT


@pytest.mark.req("W-07")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exc_info_after_output_raises_any_exception(error: BaseException) -> None:
    response = response_to()
    response.start("200 OK", [])
    response.start_message()
    with pytest.raises(type(error)) as caught:
        response.start("500 Oops", [], exc_info_of(error))
    assert caught.value is error


class Traced(Exception):
    """An exception that can be referred to weakly."""


@pytest.mark.req("W-07")
@pytest.mark.parametrize("sent", [False, True], ids=["before output", "after output"])
def test_no_reference_to_exc_info_outlives_the_call(sent: bool) -> None:
    """Without the help of the cycle collector: the traceback holds the frames of the whole request."""
    response = response_to()
    response.start("200 OK", [])
    if sent:
        response.start_message()

    def fail() -> weakref.ref[Traced]:
        error = Traced()
        reference = weakref.ref(error)
        try:
            try:
                raise error
            except Traced:
                response.start("500 Oops", [], sys.exc_info())
        except Traced:
            assert sent
        # This frame is part of the traceback, too.
        del error
        return reference

    gc.disable()
    try:
        reference = fail()
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.req("W-08", "W-09", "W-11", "H-01", "H-02")
@pytest.mark.parametrize(
    ("status", "pairs"),
    [
        ("OK", []),
        ("200 OK\r\n", []),
        ("101 Switching Protocols", []),
        ("799 x", []),
        (200, []),
        ("200 OK", None),
        ("200 OK", [("X A", "1")]),
        ("200 OK", [("", "1")]),
        ("200 OK", [("X-A", "1\r\nX-Inj: 1")]),
        ("200 OK", [("X-A", "\u20ac")]),
        ("200 OK", [("X-A", 1)]),
        ("200 OK", [(b"X-A", "1")]),
    ],
)
def test_what_must_not_be_sent_raises_inside_the_call(status: Any, pairs: Any) -> None:
    response = response_to()
    with pytest.raises(InvalidHeader):
        response.start(status, pairs)
    assert response.state is State.EMPTY


@pytest.mark.req("W-15")
def test_there_is_no_start_message_without_start_response() -> None:
    response = response_to()
    with pytest.raises(ApplicationError, match=r"before it called start_response\(\)"):
        response.start_message()
    # It may still be called: with the first next(), say.
    response.start("200 OK", [])
    assert response.start_message()["status"] == 200


def test_there_is_one_start_message() -> None:
    response = response_to()
    response.start("200 OK", [])
    response.start_message()
    with pytest.raises(ApplicationError, match="started already"):
        response.start_message()


# -- hop-by-hop headers


@pytest.mark.req("W-12", "H-03")
@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_a_hop_by_hop_header_is_dropped_and_named(name: str) -> None:
    for spelling in (name, name.title()):
        response = response_to()
        response.start("200 OK", [("X-A", "1"), (spelling, "v"), ("X-B", "2")])
        assert response.dropped == [name.encode()]
        assert response.start_message()["headers"] == [(b"x-a", b"1"), (b"x-b", b"2")]


@pytest.mark.req("W-12", "H-03")
@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_a_hop_by_hop_header_raises_in_strict_mode(name: str) -> None:
    response = response_to(strict=True)
    with pytest.raises(InvalidHeader, match=name):
        response.start("200 OK", [(name, "v")])
    assert response.state is State.EMPTY


@pytest.mark.req("H-03")
@pytest.mark.parametrize(
    ("connection", "dropped"),
    [
        ("X-A", [b"connection", b"x-a"]),
        ("close, x-a", [b"connection", b"x-a"]),
        ("\tX-A ,close,, x-b\t", [b"connection", b"x-a", b"x-b"]),
        ("close", [b"connection"]),
        ("", [b"connection"]),
    ],
)
def test_what_connection_names_is_dropped_as_well(connection: str, dropped: list[bytes]) -> None:
    pairs = [("Connection", connection), ("X-A", "1"), ("X-B", "2"), ("X-C", "3")]
    # Wherever in the list the Connection header stands.
    for order in (pairs, [*pairs[1:], pairs[0]]):
        response = response_to()
        response.start("200 OK", order)
        assert sorted(response.dropped or []) == dropped
        names = [name for name, _ in response.start_message()["headers"]]
        assert names == [name for name in (b"x-a", b"x-b", b"x-c") if name not in dropped]


@pytest.mark.req("H-03")
def test_several_connection_headers_all_count() -> None:
    response = response_to()
    response.start("200 OK", [("Connection", "x-a"), ("X-A", "1"), ("X-B", "1"), ("connection", "X-B")])
    assert response.start_message()["headers"] == []


@pytest.mark.req("H-03", "H-04")
def test_connection_cannot_unframe_the_response() -> None:
    """A response that lost its length by a header of the app would lose the check of its end as well."""
    response = response_to()
    response.start("200 OK", [("Connection", "content-length"), ("Content-Length", "5")])
    assert response.start_message()["headers"] == [(b"content-length", b"5")]
    response.accept(b"abc")
    with pytest.raises(IncompleteResponse):
        response.finish()


@pytest.mark.req("H-03")
@pytest.mark.parametrize("name", ["Trailer", "X-Connection", "Upgrade-Insecure-Requests", "TE-Like", "Via"])
def test_other_headers_are_not_hop_by_hop(name: str) -> None:
    response = response_to(strict=True)
    response.start("200 OK", [(name, "v")])
    assert response.dropped is None
    assert response.start_message()["headers"] == [(name.lower().encode(), b"v")]


# -- lengths


@pytest.mark.req("H-04")
@pytest.mark.parametrize(
    "value",
    ["+3", "-1", "3, 3", "3,3", "1_0", "0x3", "3.0", "", "three", "\u00b2", "\u00b3\u00b9", "9" * 5000],
)
@pytest.mark.parametrize("others", [[], [("Connection", "close")]], ids=["alone", "beside another rule"])
def test_a_response_length_that_is_not_digits_raises(value: str, others: Pairs) -> None:
    with pytest.raises(InvalidHeader, match="Content-Length"):
        started("200 OK", [*others, ("Content-Length", value)])


@pytest.mark.req("H-04")
@pytest.mark.parametrize("count", [2, 3, 10])
def test_equal_response_lengths_collapse(count: int) -> None:
    pairs = [("X-A", "1"), *[("Content-Length", "5")] * count, ("X-B", "2")]
    assert started("200 OK", pairs)["headers"] == [(b"x-a", b"1"), (b"content-length", b"5"), (b"x-b", b"2")]


@pytest.mark.req("H-04")
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("values", [("5", "6"), ("5", "5", "6"), ("0", "5")])
def test_different_response_lengths_raise(status: str, values: tuple[str, ...]) -> None:
    with pytest.raises(InvalidHeader, match="several Content-Length"):
        started(status, [("Content-Length", value) for value in values])


@pytest.mark.req("W-18")
def test_a_response_without_chunks_has_a_start() -> None:
    response = response_to()
    response.start("200 OK", [])
    assert response.start_message()["type"] == "http.response.start"
    response.finish()


@pytest.mark.req("W-19")
def test_a_body_of_known_size_gets_its_length() -> None:
    response = response_to()
    response.start("200 OK", [("X-A", "1")])
    assert response.fits(5)
    assert response.start_message()["headers"] == [(b"x-a", b"1"), (b"content-length", b"5")]
    assert response.accept(b"hello") == b"hello"
    assert response.full
    response.finish()


@pytest.mark.req("W-19")
@pytest.mark.parametrize(("size", "fits"), [(5, True), (4, False), (6, False), (0, False)])
def test_a_length_that_the_app_gave_stays(size: int, fits: bool) -> None:
    response = response_to()
    response.start("200 OK", [("Content-Length", "5")])
    assert response.fits(size) is fits
    assert response.start_message()["headers"] == [(b"content-length", b"5")]


@pytest.mark.req("W-19", "W-22")
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_a_response_without_body_gets_no_length(method: str, status: str) -> None:
    response = response_to(method)
    response.start(status, [])
    assert not response.fits(5)
    assert response.start_message()["headers"] == []


@pytest.mark.req("W-19", "X-05")
def test_a_response_with_trailers_gets_no_length() -> None:
    """HTTP/1.1 sends trailers after a chunked body only."""
    response = response_to(trailers=True)
    response.start("200 OK", [("Trailer", "X-Sum")])
    assert not response.fits(5)
    assert response.start_message()["headers"] == [(b"trailer", b"X-Sum")]


@pytest.mark.req("W-20")
@pytest.mark.parametrize(
    ("chunks", "accepted", "surplus"),
    [
        ([b"abc"], [b"abc"], False),
        ([b"ab", b"c"], [b"ab", b"c"], False),
        ([b"abcd"], [b"abc"], True),
        ([b"ab", b"cd"], [b"ab", b"c"], True),
        ([b"abc", b"d"], [b"abc", b""], True),
        ([b"abc", b""], [b"abc", b""], False),
    ],
)
def test_no_more_than_the_length_is_accepted(
    chunks: list[bytes], accepted: list[bytes], surplus: bool
) -> None:
    response = response_to()
    response.start("200 OK", [("Content-Length", "3")])
    response.start_message()
    assert [response.accept(chunk) for chunk in chunks] == accepted
    assert (response.surplus, response.full) == (surplus, True)
    response.finish()


@pytest.mark.req("W-20")
def test_a_length_of_zero_accepts_nothing() -> None:
    response = response_to()
    response.start("200 OK", [("Content-Length", "0")])
    response.start_message()
    assert response.full
    assert response.accept(b"x") == b""
    assert response.surplus
    response.finish()


@pytest.mark.req("W-21")
@pytest.mark.parametrize("chunks", [[], [b"ab"], [b"a", b"", b"b"]])
def test_fewer_bytes_than_the_length_are_an_error(chunks: list[bytes]) -> None:
    response = response_to()
    response.start("200 OK", [("Content-Length", "5")])
    response.start_message()
    for chunk in chunks:
        response.accept(chunk)
    assert not response.full
    with pytest.raises(IncompleteResponse, match=f"{5 - len(b''.join(chunks))} bytes fewer .* of 5"):
        response.finish()


@pytest.mark.req("W-22", "W-21")
@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"abcdefgh", b"x"]])
def test_head_keeps_the_length_and_sends_no_byte(chunks: list[bytes]) -> None:
    response = response_to("HEAD")
    response.start("200 OK", [("Content-Length", "5")])
    assert response.start_message()["headers"] == [(b"content-length", b"5")]
    assert response.bodiless
    assert [response.accept(chunk) for chunk in chunks] == [b""] * len(chunks)
    response.finish()
    assert not response.surplus


@pytest.mark.req("W-22")
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("lengths", [[], ["0"], ["5"], ["5", "5"]])
def test_204_and_304_lose_length_and_body(status: str, method: str, lengths: list[str]) -> None:
    response = response_to(method)
    response.start(status, [("ETag", '"x"'), *(("Content-Length", length) for length in lengths)])
    assert response.start_message()["headers"] == [(b"etag", b'"x"')]
    assert response.bodiless
    assert response.accept(b"hello") == b""
    response.finish()


@pytest.mark.req("W-22")
@pytest.mark.parametrize(
    "status", ["200 OK", "205 Reset Content", "301 Moved Permanently", "404 Not Found", "500 x"]
)
def test_other_statuses_may_have_a_body(status: str) -> None:
    response = response_to()
    response.start(status, [])
    response.start_message()
    assert not response.bodiless
    assert response.accept(b"x") == b"x"


# -- trailers


@pytest.mark.req("X-05")
def test_trailers_are_announced_if_the_server_offers_them() -> None:
    message = started("200 OK", [("Trailer", "X-Sum")], trailers=True)
    assert message["trailers"] is True
    assert message["headers"] == [(b"trailer", b"X-Sum")]


@pytest.mark.req("X-05")
def test_trailers_are_not_announced_if_the_server_does_not_offer_them() -> None:
    assert "trailers" not in started("200 OK", [("Trailer", "X-Sum")])


@pytest.mark.req("X-05")
def test_trailers_are_not_announced_if_the_app_has_none() -> None:
    assert "trailers" not in started("200 OK", [("X-A", "1")], trailers=True)


@pytest.mark.req("X-05", "W-22")
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_a_response_without_body_announces_no_trailers(method: str, status: str) -> None:
    """Nothing would follow, and a server that was told to wait would wait for ever."""
    response = response_to(method, trailers=True)
    response.start(status, [("Trailer", "X-Sum")])
    assert not response.trailers
    assert "trailers" not in response.start_message()


# -- anything at all


@pytest.mark.req("W-20", "W-21", "W-22")
@given(
    st.sampled_from(["GET", "HEAD"]),
    st.sampled_from([200, 204, 304, 404]),
    st.none() | st.integers(0, 12),
    st.lists(st.binary(max_size=5), max_size=5),
)
def test_what_is_sent_matches_what_is_announced(
    method: str, code: int, length: int | None, chunks: list[bytes]
) -> None:
    """Never more bytes than announced, fewer only with an error, none where none are allowed."""
    response = response_to(method)
    response.start(f"{code} x", [] if length is None else [("Content-Length", str(length))])
    announced = dict(response.start_message()["headers"]).get(b"content-length")
    sent = b"".join([response.accept(chunk) for chunk in chunks])
    produced = b"".join(chunks)
    try:
        response.finish()
        complete = True
    except IncompleteResponse:
        complete = False
    if method == "HEAD" or code in (204, 304):
        assert (sent, complete) == (b"", True)
        assert announced == (None if code in (204, 304) or length is None else b"%d" % length)
    elif length is None:
        assert (sent, complete, announced) == (produced, True, None)
    else:
        assert (sent, announced) == (produced[:length], b"%d" % length)
        assert complete == (len(produced) >= length)
        assert response.surplus == (len(produced) > length)


@pytest.mark.req("W-05", "W-08", "W-11", "H-01", "H-02", "H-04")
@given(
    st.one_of(st.text(max_size=8), st.sampled_from(["200 OK", "204 No Content", "500 x"])),
    st.lists(
        st.tuples(
            st.one_of(
                st.text(max_size=8), st.sampled_from(["Connection", "Content-Length", "Trailer", "Te"])
            ),
            st.one_of(st.text(max_size=8), st.sampled_from(["0", "5", "close", "content-length"])),
        ),
        max_size=5,
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_start_is_taken_or_refused_as_a_whole(
    status: str, pairs: Pairs, strict: bool, trailers: bool
) -> None:
    response = WSGIResponse(head=False, strict=strict, trailers=trailers)
    try:
        response.start(status, pairs)
    except InvalidHeader:
        assert response.state is State.EMPTY
        return
    message = response.start_message()
    names = [name for name, _ in message["headers"]]
    assert 200 <= message["status"] <= 599
    assert not {name.encode() for name in HOP_BY_HOP} & set(names)
    assert names.count(b"content-length") <= 1
    assert all(name == name.lower() for name in names)


@pytest.mark.req("W-06")
def test_exc_info_without_an_exception_is_an_error() -> None:
    """`sys.exc_info()` outside of an except block holds nothing to raise."""
    response = WSGIResponse(False)
    response.start("200 OK", [])
    with pytest.raises(ApplicationError, match="exc_info"):
        response.start("500 Oops", [], (None, None, None))
