"""Requests from files of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.exceptions import InvalidRecording, UsageError
from bridge.testing.exchange import Request, Response
from bridge.testing.recording.recordings import Recorded, save
from bridge.testing.sources.files import from_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests"


def read(path: Path, content: str | bytes, **options: Any) -> list[Request]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return from_file(path, **options)


def test_plain_text(path: Path) -> None:
    text = (
        "\ufeff# what the shop is asked\r\n\r\nGET /notes?page=2\r\n/about   # by default GET\n"
        "\tPOST\t/notes\nDELETE https://shop.example/notes/1?x=2#top\nHEAD https://shop.example\nOPTIONS *\n"
        "GET /a#b\nGET /\u00e9 HTTP/1.1\n"
    )
    assert [request.label for request in read(path, text)] == [
        "GET /notes?page=2",
        "GET /about",
        "POST /notes",
        "DELETE /notes/1?x=2",
        "HEAD /",
        "OPTIONS *",
        "GET /a%23b",
        "GET /%C3%A9",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("GET /a /b", "expected 'METHOD /path'"),
        ("notes", "a target begins"),
        ("GET notes", "a target begins"),
        ("G(T /", "a method is a token"),
        ("GET http://[/", "is no URL"),
        ("please send a request", "expected 'METHOD /path'"),
    ],
)
def test_a_line_that_is_no_request(path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidRecording, match=message) as caught:
        read(path, f"GET /\n\n{line}\n")
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_text_in_another_coding(path: Path) -> None:
    with pytest.raises(InvalidRecording, match="line 2: expected text in UTF-8"):
        read(path, b"GET /\nGET /\xe9\n")


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_file(path: Path, content: str) -> None:
    with pytest.raises(InvalidRecording, match="is empty"):
        read(path, content)


def test_nothing_but_comments(path: Path) -> None:
    with pytest.raises(InvalidRecording, match="holds no request"):
        read(path, "# GET /\n")


SHORTHANDS: list[Any] = [
    "/notes",
    "POST /notes",
    ["PUT", "/notes/1"],
    {"method": "POST", "url": "/notes", "json": {"text": "hello"}, "name": "create"},
]
REQUESTS = [Request.of(tuple(each) if isinstance(each, list) else each) for each in SHORTHANDS]


def test_a_json_list(path: Path) -> None:
    assert read(path, json.dumps(SHORTHANDS, indent=2)) == REQUESTS
    assert read(path, b"\xef\xbb\xbf" + json.dumps(SHORTHANDS).encode()) == REQUESTS


def test_json_lines(path: Path) -> None:
    text = "\n\n".join(json.dumps(each) for each in (SHORTHANDS[3], SHORTHANDS[0], SHORTHANDS[2]))
    assert read(path, text) == [REQUESTS[3], REQUESTS[0], REQUESTS[2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n"/a",\n7 8]', "line 3: expected a JSON list"),
        ('["/a", 7]', "request 2: a request is"),
        ('["/a", {"method": "GET"}]', "request 2: a request needs a url"),
        ('["/a", {"url": "/", "headers": 1}]', "request 2: "),
        ('["/a", ["a", "b", "c"]]', "request 2: a request is"),
        ("[" * 100_000, "expected a JSON list"),
        ('{"url": "/"}\n{"url":}\n', "line 2: expected a recorded exchange, or a request"),
        ('{"url": "/"}\n{"uri": "/"}\n', "line 2: a request has the keys"),
        ('{"url"', "line 1: expected a recorded exchange"),
        ('{"recording": 1}\n', "line 1: "),
        ('{"recording": 1', "line 1: "),
        ('{"log": {"entries": [{}]}}', "entry 1: the key 'request' is missing"),
        ('{"log": {"entries": [', "expected a HAR"),
    ],
)
def test_what_is_wrong_is_named(path: Path, content: str, message: str) -> None:
    with pytest.raises(InvalidRecording, match=message):
        read(path, content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.har"])
def test_recordings(tmp_path: Path, name: str) -> None:
    items = [
        Recorded(request, Response(200), origin=origin)
        for request, origin in zip(REQUESTS, ["http://a", "http://a", "http://b", "http://a"], strict=True)
    ]
    save(tmp_path / name, items)
    assert from_file(tmp_path / name, origin="*") == REQUESTS
    assert from_file(tmp_path / name, origin="http://b") == [REQUESTS[2]]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        from_file(tmp_path / "none")
