"""The format of recordings: what is saved is loaded, and what is damaged is named."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.exceptions import InvalidRecording, UsageError
from bridge.testing.exchange import Request, Response
from bridge.testing.recording.recordings import (
    Recorded,
    RecordedError,
    dump,
    from_json,
    line,
    load,
    parse_lines,
    save,
)

_headers = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=3).map(tuple)
_pieces = st.lists(st.binary(max_size=6), max_size=3).map(tuple)
_targets = st.text(max_size=8).map(lambda text: "/" + text.encode("utf-8", "replace").decode())
_requests = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "x-odd"]),
    _targets | st.just("*"),
    _headers,
    st.binary(max_size=20) | _pieces,
    st.text(max_size=5),
)
_errors = st.none() | st.builds(RecordedError, st.sampled_from(["ValueError", ""]), st.text(max_size=5))
_plain_responses = st.builds(
    Response,
    st.integers(0, 599),
    st.text(max_size=5),
    _headers,
    _pieces,
    _headers,
    _errors,
    st.floats(0, 100),
)
responses = st.builds(
    lambda response, history: replace(response, history=tuple(history)),
    _plain_responses,
    st.lists(_plain_responses, max_size=2),
)
_states: Any = st.sampled_from(["whole", "cut", "unread", "dropped"])
items = st.builds(
    Recorded,
    _requests,
    responses,
    st.none() | st.datetimes(timezones=st.just(timezone.utc)),
    _states,
    _states,
    st.booleans(),
    st.sampled_from(["", "http://testserver", "https://shop.example:8443"]),
)


def without_errors(response: Response) -> Response:
    """Exceptions are equal to themselves only."""
    return replace(response, error=None, history=tuple(without_errors(each) for each in response.history))


def assert_same(one: Recorded, other: Recorded) -> None:
    assert replace(one, response=without_errors(one.response)) == replace(
        other, response=without_errors(other.response)
    )
    for left, right in zip(
        (one.response, *one.response.history), (other.response, *other.response.history), strict=True
    ):
        assert (left.error and str(left.error)) == (right.error and str(right.error))
        assert type(left.error) is type(right.error)


@settings(max_examples=50)
@given(items)
def test_any_exchange_survives_a_line(item: Recorded) -> None:
    data = line(item)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert_same(from_json(json.loads(data)), item)
    (loaded,) = parse_lines(data, "x")
    assert_same(loaded, item)


@pytest.mark.parametrize("name", ["a.jsonl", "a.har", "a"])
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    saved = [
        Recorded(
            Request("POST", "/a?b=\u00e9", (("X-A", "\u00e9"),), b"\xff\x00"),
            Response(200, "OK", (), (b"a", b"b")),
        ),
        Recorded(
            Request("GET", "/"),
            Response(0, error=RecordedError("ValueError", "no\u2028no")),
            datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=2))),
            origin="https://shop.example",
            response_state="cut",
        ),
    ]
    save(tmp_path / name, saved)
    for loaded, item in zip(load(tmp_path / name, origin="*"), saved, strict=True):
        assert_same(loaded, item)


def test_text_is_written_as_text() -> None:
    value = json.loads(
        line(Recorded(Request("POST", "/", (), "caf\u00e9".encode()), Response(200, chunks=(b"\xff",))))
    )
    assert value["request"]["body"] == "caf\u00e9"
    assert value["response"]["body"] == {"base64": "/w=="}


def test_only_an_origin(tmp_path: Path) -> None:
    saved = [Recorded(Request(), Response(200), origin=origin) for origin in ("http://a", "http://b", "")]
    save(tmp_path / "x", saved)
    assert load(tmp_path / "x") == saved
    assert load(tmp_path / "x", origin="*") == saved
    assert load(tmp_path / "x", origin="http://b") == saved[1:2]


GOOD: dict[str, Any] = {
    "recording": 1,
    "request": {"method": "GET", "target": "/"},
    "response": {"status": 200},
}


def changed(path: str, value: Any) -> bytes:
    copy = json.loads(json.dumps(GOOD))
    *way, last = path.split(".")
    place = copy
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return dump(copy)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (b"{", "expected a JSON object"),
        (b"\xff", "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        (b"[]", "expected an object"),
        (b"1", "expected an object"),
        (changed("recording", None), "'recording' is missing"),
        (changed("recording", 2), "version 1 of recordings; got 2"),
        (changed("recording", True), "should be of type int"),
        (changed("request", None), "'request' is missing"),
        (changed("request", "GET /"), "request should be of type dict"),
        (changed("request.method", None), "request: the key 'method' is missing"),
        (changed("request.method", "A B"), "a method is a token"),
        (changed("request.target", "x"), "a target begins"),
        (changed("request.headers", [["a"]]), "headers should be pairs"),
        (changed("request.headers", {"a": "b"}), "headers should be of type list"),
        (changed("request.body", 1), "body should be text"),
        (changed("request.body", {"base64": "!"}), "not base64"),
        (changed("request.body", "\ud800"), "surrogate"),
        (changed("request.chunks", [1]), "do not add up"),
        (changed("request.chunks", [-1, 1]), "do not add up"),
        (changed("request.state", "lost"), "state should be one of"),
        (changed("response.status", "200"), "status should be of type int"),
        (changed("response.elapsed", "1"), "elapsed should be of type int or float"),
        (changed("response.error", {"type": 1}), "type should be of type str"),
        (changed("response.history", [1]), "history: expected an object"),
        (changed("started", "yesterday"), "ISO 8601"),
        (changed("redacted", 1), "redacted should be of type bool"),
    ],
)
def test_a_damaged_line_is_named(second: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(dump(GOOD) + b"\n" + second + b"\n" + dump(GOOD) + b"\n")
    with pytest.raises(InvalidRecording, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")


def test_a_last_line_that_breaks_off_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    good = dump(GOOD) + b"\n"
    path.write_bytes(good + good[:30])
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        assert len(load(path)) == 1
    assert f"{path}, line 2: breaks off" in caplog.text


def test_a_single_line_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(dump(GOOD)[:30])
    with pytest.raises(InvalidRecording, match="line 1"):
        load(tmp_path / "a")


def test_empty_lines_and_unknown_keys_mean_nothing() -> None:
    data = b"\n" + changed("request.more", 1) + b"\r\n\n" + changed("more", 1)
    assert len(parse_lines(data, "x")) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path / "missing")


def test_a_recorded_error_can_be_pickled_and_says_what_it_was() -> None:
    error = pickle.loads(pickle.dumps(RecordedError("ValueError", "no")))
    assert (str(error), error.kind) == ("ValueError: no", "ValueError")


def test_an_exchange_is_cut_if_a_body_is_not_whole() -> None:
    whole = Recorded(Request(), Response(200))
    assert not whole.cut
    assert replace(whole, request_state="unread").cut
    assert replace(whole, response_state="cut").cut
