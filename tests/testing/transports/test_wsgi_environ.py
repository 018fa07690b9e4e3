"""The environ: exact from the wire, for every target and every header."""

from __future__ import annotations

import io
import sys
from typing import Any
from wsgiref import validate

import httpx2
import pytest

from bridge.testing.transports.wsgi_environ import EnvironMaker

CLIENT = ("127.0.0.1", 50000)


def environ_of(
    target: bytes = b"/",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    url: str = "http://testserver/",
    root_path: str = "",
    **options: Any,
) -> dict[str, Any]:
    maker = EnvironMaker(root_path, options.get("client", CLIENT), options.get("extra"))
    request = httpx2.Request("GET", url, headers=headers or [], extensions={"target": target})
    return maker.make(request, io.BytesIO())


@pytest.mark.parametrize(
    ("target", "path_info", "query"),
    [
        (b"/", "/", ""),
        (b"/?", "/", ""),
        (b"/a?b=%C3%A9&c", "/a", "b=%C3%A9&c"),
        (b"/a?b?c", "/a", "b?c"),
        (b"/%C3%A9", "/\xc3\xa9", ""),
        (b"/\xc3\xa9", "/\xc3\xa9", ""),
        (b"/%ff", "/\xff", ""),
        (b"/%2F%2f", "///", ""),
        (b"//a//b/", "//a//b/", ""),
        (b"/a/../b/./c", "/a/../b/./c", ""),
        (b"/a;p=1,2", "/a;p=1,2", ""),
        (b"/%", "/%", ""),
        (b"/%zz%4", "/%zz%4", ""),
        (b"/%2541", "/%41", ""),
        (b"/%00", "/\x00", ""),
        (b"/a+b%20c", "/a+b c", ""),
        (b"*", "*", ""),
    ],
)
def test_targets(target: bytes, path_info: str, query: str) -> None:
    environ = environ_of(target)
    raw = target.decode("latin-1")
    assert environ["PATH_INFO"] == path_info
    assert environ["QUERY_STRING"] == query
    assert (environ["RAW_URI"], environ["REQUEST_URI"], environ["SCRIPT_NAME"]) == (raw, raw, "")


@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        (b"/app/x", "/x"),
        (b"/app", ""),
        (b"/app/", "/"),
        (b"/apple", "/apple"),
        (b"/x", "/x"),
        (b"/%61pp/x", "/x"),
    ],
)
def test_the_root_is_not_repeated_in_the_path(target: bytes, path_info: str) -> None:
    environ = environ_of(target, root_path="/app")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", path_info)


def test_a_root_that_is_not_ascii() -> None:
    environ = environ_of(b"/%C3%A9/x", root_path="/\u00e9")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/\xc3\xa9", "/x")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-One", b"1")], {"HTTP_X_ONE": "1"}),
        ([(b"x-a", b"1"), (b"X-B", b"2"), (b"X-A", b"3")], {"HTTP_X_A": "1,3", "HTTP_X_B": "2"}),
        ([(b"Cookie", b"a=1"), (b"Cookie", b"b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([(b"X", b"\xe9\xff")], {"HTTP_X": "\xe9\xff"}),
        ([(b"X", b"")], {"HTTP_X": ""}),
        (
            [(b"Content-Type", b"text/x"), (b"Content-Length", b"0")],
            {"CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "0"},
        ),
        ([(b"Transfer-Encoding", b"chunked")], {}),
        ([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")], {}),
        ([(b"X_Forged", b"1"), (b"Proxy", b"evil")], {}),
    ],
    ids=["one", "repeated", "cookies", "latin-1", "empty", "content", "chunked", "both", "dropped"],
)
def test_headers(headers: list[tuple[bytes, bytes]], expected: dict[str, str]) -> None:
    given = {
        key: value
        for key, value in environ_of(headers=headers).items()
        if key.startswith(("HTTP_", "CONTENT_")) and key != "HTTP_HOST"
    }
    assert given == expected


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://testserver/", ("testserver", "80", "http")),
        ("https://shop.example/", ("shop.example", "443", "https")),
        ("http://[::1]:8080/", ("::1", "8080", "http")),
    ],
)
def test_the_server(url: str, server: tuple[str, str, str]) -> None:
    environ = environ_of(url=url)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["wsgi.url_scheme"]) == server
    assert environ["HTTP_HOST"] == httpx2.URL(url).netloc.decode()
    assert environ.get("HTTPS") == ("on" if url.startswith("https") else None)


def test_the_client() -> None:
    assert (environ_of()["REMOTE_ADDR"], environ_of()["REMOTE_PORT"]) == ("127.0.0.1", "50000")
    assert "REMOTE_ADDR" not in environ_of(client=None)


def test_further_keys_go_over_the_others_and_each_request_has_its_own_environ() -> None:
    extra = {"REMOTE_USER": "ada", "wsgi.multithread": False}
    maker = EnvironMaker("", CLIENT, extra)
    request = httpx2.Request("GET", "http://testserver/")
    first, second = maker.make(request, io.BytesIO()), maker.make(request, io.BytesIO())
    assert (first["REMOTE_USER"], first["wsgi.multithread"]) == ("ada", False)
    first["REMOTE_USER"] = "grace"
    assert second["REMOTE_USER"] == "ada"


def test_the_standard_library_finds_nothing_wrong_with_it() -> None:
    environ = environ_of(b"/a%20b?c", [(b"Content-Type", b"text/plain"), (b"Content-Length", b"0")])
    environ["wsgi.errors"] = sys.__stderr__
    del environ["HTTP_HOST"]
    validate.check_environ(environ)  # type: ignore[attr-defined]
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.input_terminated"] is True
