"""The scope: exact from the wire, for every target and every header."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from bridge.testing.transports.asgi_scope import ScopeMaker


def scope_of(target: bytes = b"/", headers: Any = (), state: Any = None, **options: Any) -> dict[str, Any]:
    maker = ScopeMaker(
        options.get("root_path", ""), options.get("client", ("127.0.0.1", 50000)), options.get("extra")
    )
    request = httpx2.Request(
        "GET", options.get("url", "http://testserver/"), headers=list(headers), extensions={"target": target}
    )
    return maker.make(request, state)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/?", "/", b""),
        (b"/a?b=%C3%A9&c", "/a", b"b=%C3%A9&c"),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/%C3%A9", "/\u00e9", b""),
        (b"/\xc3\xa9", "/\u00e9", b""),
        (b"/%ff", "/\ufffd", b""),
        (b"/%2F%2f", "///", b""),
        (b"//a//b/", "//a//b/", b""),
        (b"/a/../b/./c", "/a/../b/./c", b""),
        (b"/a;p=1,2", "/a;p=1,2", b""),
        (b"/%", "/%", b""),
        (b"/%2541", "/%41", b""),
        (b"/a+b%20c", "/a+b c", b""),
        (b"*", "*", b""),
    ],
)
def test_targets(target: bytes, path: str, query: bytes) -> None:
    scope = scope_of(target)
    assert (scope["path"], scope["query_string"]) == (path, query)
    assert scope["raw_path"] == target.partition(b"?")[0]


def test_what_every_scope_says() -> None:
    scope = scope_of(root_path="/app", url="https://shop.example/")
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "GET", "https")
    assert (scope["client"], scope["server"]) == (("127.0.0.1", 50000), ("shop.example", 443))
    assert (scope["root_path"], scope["path"]) == ("/app", "/app/")
    assert scope["extensions"] == {"http.response.trailers": {}}
    assert "state" not in scope


@pytest.mark.parametrize(
    ("root", "target", "raw_path"),
    [
        ("/app", b"/x", b"/app/x"),
        ("/app", b"/app/x", b"/app/x"),
        ("/app", b"/app", b"/app"),
        ("/app", b"/apple", b"/app/apple"),
        ("/app", b"/%61pp/x", b"/%61pp/x"),
        ("/app", b"*", b"*"),
        ("/\u00e9", b"/x", b"/%C3%A9/x"),
        ("", b"/x", b"/x"),
    ],
)
def test_the_path_has_the_root_once(root: str, target: bytes, raw_path: bytes) -> None:
    scope = scope_of(target, root_path=root)
    assert (scope["root_path"], scope["raw_path"]) == (root, raw_path)


def test_headers_are_in_lower_case_in_order_and_repeated() -> None:
    given = [(b"X-B", b"2"), (b"x-a", b"\xff"), (b"X-B", b"1")]
    scope = scope_of(headers=given)
    assert scope["headers"] == [(b"host", b"testserver"), (b"x-b", b"2"), (b"x-a", b"\xff"), (b"x-b", b"1")]


def test_state_and_further_keys() -> None:
    state = {"db": 1}
    scope = scope_of(state=state, extra={"client": None, "user": "ada"})
    assert scope["state"] is state
    assert (scope["client"], scope["user"]) == (None, "ada")
    assert scope_of(client=None)["client"] is None
