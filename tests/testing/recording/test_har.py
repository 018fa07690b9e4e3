"""HAR as browsers write it, and as bridge does."""

from __future__ import annotations

import base64
import json
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from bridge.exceptions import InvalidRecording
from bridge.testing.exchange import Request, Response
from bridge.testing.recording import codings, har
from bridge.testing.recording.recordings import Recorded, load

from .test_recordings import assert_same, items


def entry(url: str = "https://shop.example/", method: str = "GET", **more: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": method,
        "url": url,
        "httpVersion": "h2",
        "headers": [],
        **more.pop("request", {}),
    }
    response: dict[str, Any] = {
        "status": 200,
        "statusText": "",
        "headers": [],
        "content": {"size": 2, "mimeType": "text/plain", "text": "ok"},
        **more.pop("response", {}),
    }
    return {
        "startedDateTime": "2026-01-02T03:04:05.678Z",
        "time": 12.5,
        "request": request,
        "response": response,
        **more,
    }


def named(**values: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]


def read(*entries: dict[str, Any], origin: str | None = None) -> list[Recorded]:
    document = har.document_of(json.dumps({"log": {"version": "1.2", "entries": entries}}).encode())
    assert document is not None
    return har.entries_of(document, "x.har", origin=origin)


CHROME = entry(
    "https://shop.example/notes?q=caf%C3%A9#top",
    "POST",
    request={
        "headers": [
            {"name": ":authority", "value": "shop.example"},
            {"name": ":method", "value": "POST"},
            {"name": ":path", "value": "/notes"},
            {"name": ":scheme", "value": "https"},
            *named(accept="*/*", accept_encoding="gzip, deflate, br, zstd", content_length="7"),
            *named(content_type="application/x-www-form-urlencoded", cookie="a=b"),
        ],
        "postData": {
            "mimeType": "application/x-www-form-urlencoded",
            "text": "a=b&c=d",
            "params": [{"name": "a", "value": "b"}, {"name": "c", "value": "d"}],
        },
    },
    response={
        "status": 201,
        "headers": [
            *named(content_encoding="br", content_type="application/json", date="today"),
            {"name": "set-cookie", "value": "a=1; Path=/\nb=2; Path=/"},
        ],
        "content": {
            "size": 10,
            "mimeType": "application/json",
            "compression": -3,
            "text": '{"id": "\u00e9"}',
        },
    },
    _resourceType="fetch",
    _initiator={"type": "script"},
)


def test_an_entry_of_chrome() -> None:
    """Pseudo-headers are none, `Set-Cookie` is one for each cookie, the body is not compressed any more."""
    (item,) = read(CHROME)
    assert item.request == Request(
        "POST",
        "/notes?q=caf%C3%A9",
        (
            ("Host", "shop.example"),
            ("accept", "*/*"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", "a=b"),
        ),
        b"a=b&c=d",
    )
    assert item.response == Response(
        201,
        "",
        (
            ("content-type", "application/json"),
            ("date", "today"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2; Path=/"),
        ),
        ('{"id": "\u00e9"}'.encode(),),
        elapsed=0.0125,
    )
    assert item.origin == "https://shop.example"
    assert item.started == datetime(2026, 1, 2, 3, 4, 5, 678000, timezone.utc)
    assert not item.cut


FIREFOX = entry(
    "http://127.0.0.1:8000/upload",
    "POST",
    request={
        "httpVersion": "HTTP/1.1",
        "headers": named(
            Host="127.0.0.1:8000", Content_Type="multipart/form-data; boundary=----x", Content_Length="88"
        ),
        "postData": {
            "mimeType": "multipart/form-data; boundary=----x",
            "params": [],
            "text": '------x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\u00ff\r\n------x--\r\n',
        },
    },
    response={
        "status": 302,
        "statusText": "Found",
        "headers": [*named(Location="/"), *named(Set_Cookie="a=1"), *named(Set_Cookie="b=2")],
        "content": {"mimeType": "text/html; charset=iso-8859-1", "size": 4, "text": "caf\u00e9"},
        "redirectURL": "/",
    },
    startedDateTime="2026-01-02T03:04:05.678+01:00",
)


def test_an_entry_of_firefox() -> None:
    (item,) = read(FIREFOX)
    assert item.request.header("host") == "127.0.0.1:8000"
    assert item.request_state == "cut", "neither as UTF-8 nor as bytes is it as long as it was"
    assert item.response.all("set-cookie") == ["a=1", "b=2"]
    assert item.response.body == b"caf\xe9"
    assert (item.response.status, item.response.reason) == (302, "Found")


SAFARI = entry(
    "https://shop.example/pixel.gif",
    request={"headers": named(Accept="image/*")},
    response={
        "content": {
            "mimeType": "image/gif",
            "size": 3,
            "encoding": "base64",
            "text": base64.b64encode(b"GIF").decode(),
        },
    },
    _fetchType="Network Load",
    startedDateTime="2026-01-02T03:04:05",
    time=-1,
)


def test_an_entry_of_safari() -> None:
    (item,) = read(SAFARI)
    assert item.response.body == b"GIF"
    assert item.response.elapsed == 0
    assert item.started == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "left_out",
    [
        entry(
            response={"status": 0, "content": {"size": 0, "mimeType": "x-unknown"}}, _error="net::ERR_BLOCKED"
        ),
        entry("wss://shop.example/ws", _resourceType="websocket", response={"status": 101}),
        entry("https://shop.example/ws", _resourceType="websocket", response={"status": 101}),
        entry("data:text/plain,hello"),
        entry("blob:https://shop.example/1-2"),
        entry("chrome-extension://abc/x.js"),
        entry(_fromCache="memory"),
        entry(_fetchType="Memory Cache"),
    ],
)
def test_what_was_no_exchange_with_a_server_is_left_out(left_out: dict[str, Any]) -> None:
    assert len(read(left_out, CHROME)) == 1


@pytest.mark.parametrize(
    ("request_part", "body", "state"),
    [
        (
            {"postData": {"mimeType": "x", "text": "\u00e9"}, "headers": named(content_length="2")},
            b"\xc3\xa9",
            "whole",
        ),
        (
            {"postData": {"mimeType": "x", "text": "\u00e9"}, "headers": named(content_length="1")},
            b"\xe9",
            "whole",
        ),
        ({"postData": {"mimeType": "x", "text": "abc"}, "headers": named(content_length="9")}, b"abc", "cut"),
        ({"postData": {"mimeType": "x", "text": "AP8=", "encoding": "base64"}}, b"\x00\xff", "whole"),
        ({"headers": named(content_length="9")}, b"", "cut"),
        ({"headers": named(content_length="0")}, b"", "whole"),
        (
            {
                "postData": {
                    "mimeType": "application/x-www-form-urlencoded",
                    "params": [{"name": "a b", "value": "&"}, {"name": "c"}],
                }
            },
            b"a+b=%26&c=",
            "whole",
        ),
        (
            {
                "postData": {
                    "mimeType": "multipart/form-data; boundary=x",
                    "params": [{"name": "a", "value": "1"}],
                }
            },
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
            "whole",
        ),
        (
            {
                "postData": {
                    "mimeType": "multipart/form-data; boundary=x",
                    "params": [{"name": "a", "fileName": "f"}],
                }
            },
            b"",
            "cut",
        ),
    ],
)
def test_bodies_of_requests(request_part: dict[str, Any], body: bytes, state: str) -> None:
    (item,) = read(entry(method="POST", request=request_part))
    assert (item.request.content, item.request_state) == (body, state)


@pytest.mark.parametrize(
    ("response_part", "method", "body", "state"),
    [
        ({"content": {"size": 5, "mimeType": "text/plain"}}, "GET", b"", "cut"),
        ({"content": {"size": 0, "mimeType": "text/plain"}}, "GET", b"", "whole"),
        ({"content": {}}, "GET", b"", "whole"),
        ({"status": 304}, "GET", b"", "whole"),
        ({"status": 204}, "GET", b"", "whole"),
        ({}, "HEAD", b"", "whole"),
        ({"content": {"mimeType": "x; charset=no-such", "text": "\u00e9"}}, "GET", b"\xc3\xa9", "whole"),
    ],
)
def test_bodies_of_responses(response_part: dict[str, Any], method: str, body: bytes, state: str) -> None:
    (item,) = read(entry(method=method, response=response_part))
    assert (item.response.body, item.response_state) == (body, state)


def test_header_values_beyond_latin1_are_utf8_on_the_wire() -> None:
    (item,) = read(entry(response={"headers": named(x="\u20ac")}))
    assert item.response.header("x") == "\xe2\x82\xac"


def test_only_one_origin_unless_told(caplog: pytest.LogCaptureFixture) -> None:
    entries = [entry("https://A.example/1"), entry("https://cdn.example/2"), entry("https://a.example/3")]
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        assert [item.request.target for item in read(*entries)] == ["/1", "/3"]
    assert (
        "only entries of https://a.example were taken; 1 of other origins were left out: "
        "https://cdn.example (1)" in caplog.text
    )
    assert "origin='*'" in caplog.text
    assert [item.request.target for item in read(*entries, origin="https://cdn.example")] == ["/2"]
    assert len(read(*entries, origin="*")) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"response": {}}, "the key 'request' is missing"),
        ({"request": {}, "response": {}}, "the key 'url' is missing"),
        ({"request": {"url": "http://a/"}, "response": {"status": 200}}, "the key 'method' is missing"),
        (
            {"request": {"url": "http://a/", "method": "A B"}, "response": {"status": 200}},
            "a method is a token",
        ),
        ({"request": {"url": "http://[/", "method": "GET"}, "response": {"status": 200}}, "Invalid"),
        ([], "list indices"),
        (entry(response={"content": {"text": "!", "encoding": "base64"}}), "base64"),
    ],
)
def test_an_entry_that_is_none_is_named(wrong: Any, message: str) -> None:
    with pytest.raises(InvalidRecording, match=message) as caught:
        read(CHROME, wrong)
    assert str(caught.value).startswith("x.har, entry 2: ")


def test_entries_must_be_a_list() -> None:
    with pytest.raises(InvalidRecording, match="list of entries"):
        har.entries_of({"log": {"entries": {}}}, "x.har")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"recording": 1}\n{"recording": 1}\n', b"GET /", b"\xff\xfe"]
)
def test_other_files_are_no_har(data: bytes) -> None:
    assert har.document_of(data) is None


@pytest.mark.parametrize(
    "data", [b'{"log": {"entries": [', b'\xef\xbb\xbf{\r\n  "log"  : {"entries": [}', b'{"log":\xff']
)
def test_a_broken_har_is_told_from_another_file(data: bytes) -> None:
    with pytest.raises(InvalidRecording, match="expected a HAR"):
        har.document_of(data)


def test_a_byte_order_mark_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf" + json.dumps({"log": {"entries": [CHROME]}}).encode())
    assert len(load(tmp_path / "a")) == 1


@settings(max_examples=50)
@given(items)
def test_what_bridge_writes_it_reads(item: Recorded) -> None:
    document = har.document_of(har.HEAD + har.entry(item) + har.TAIL)
    assert document is not None
    (loaded,) = har.entries_of(document, "x", origin="*")
    assert_same(loaded, item)


def test_what_bridge_writes_is_plain_har() -> None:
    """Compressed bodies stand there decoded, as other tools expect."""
    body = codings.encode(b'{"a": 1}', ("gzip",))
    item = Recorded(
        Request("POST", "/a?b=c&d", (("Content-Type", "text/plain"),), b"hello"),
        Response(200, "OK", (("Content-Encoding", "gzip"), ("Content-Type", "application/json")), (body,)),
        origin="https://shop.example",
    )
    written = json.loads(har.entry(item))
    assert written["request"]["url"] == "https://shop.example/a?b=c&d"
    assert written["request"]["queryString"] == [{"name": "b", "value": "c"}, {"name": "d", "value": ""}]
    assert written["request"]["postData"] == {"mimeType": "text/plain", "params": [], "text": "hello"}
    assert written["response"]["content"] == {"size": 8, "mimeType": "application/json", "text": '{"a": 1}'}
