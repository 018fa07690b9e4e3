"""Plain requests as httpx2 sends them, and plain responses of what it got: nothing added, nothing lost."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from bridge.exceptions import AdapterClosed, StartupFailed, UsageError
from bridge.testing import Request
from bridge.testing.transports import plain

BASE = httpx2.URL("http://testserver/base/")
HOST = (b"Host", b"testserver")


def sent(request: Request, headers: Any = (), cookies: Any = None) -> httpx2.Request:
    client = httpx2.Client(headers=headers, cookies=cookies, transport=httpx2.BaseTransport())
    made = plain.to_library(request, BASE, client.headers, client.cookies)
    client.close()
    return made


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request("GET", "/"), [HOST]),
        (Request("GET", "/", (("X", "1"), ("x", "2"))), [HOST, (b"X", b"1"), (b"x", b"2")]),
        (Request("GET", "/", (("hOST", "other"),)), [(b"hOST", b"other")]),
        (Request("GET", "/", (("X", "\xff"),)), [HOST, (b"X", b"\xff")]),
        (Request("POST", "/"), [HOST, (b"Content-Length", b"0")]),
        (Request("DELETE", "/"), [HOST]),
        (Request("DELETE", "/", (), b"abc"), [HOST, (b"Content-Length", b"3")]),
        (Request("POST", "/", (), (b"a", b"b")), [HOST, (b"Transfer-Encoding", b"chunked")]),
        (Request("POST", "/", (("content-length", "2"),), (b"a", b"b")), [HOST, (b"content-length", b"2")]),
    ],
    ids=[
        "GET",
        "repeated",
        "host",
        "latin-1",
        "POST",
        "DELETE",
        "DELETE with a body",
        "pieces",
        "sized pieces",
    ],
)
def test_headers(request_: Request, expected: list[tuple[bytes, bytes]]) -> None:
    assert sent(request_).headers.raw == expected


def test_headers_of_the_client_are_sent_but_not_those_of_the_library() -> None:
    request = Request("GET", "/", (("X-Both", "request"),))
    made = sent(request, {"X-Both": "client", "X-Client": "1", "Accept": "text/plain"})
    assert made.headers.raw == [
        HOST,
        (b"X-Client", b"1"),
        (b"Accept", b"text/plain"),
        (b"X-Both", b"request"),
    ]


def test_cookies_of_the_client_are_sent_unless_the_request_has_some() -> None:
    assert sent(Request(), cookies={"a": "1"}).headers["Cookie"] == "a=1"
    assert sent(Request("GET", "/", (("Cookie", "b=2"),)), cookies={"a": "1"}).headers["Cookie"] == "b=2"


@pytest.mark.parametrize("target", ["/", "/%2e/../x", "//a//", "/a%2Fb?", "*", "/" + "x" * 70000])
def test_the_target_is_sent_as_it_is(target: str) -> None:
    made = sent(Request("GET", target))
    assert made.extensions["target"] == target.encode()


def test_methods_keep_their_case() -> None:
    assert sent(Request("gEt", "/")).method == "gEt"


def test_bodies() -> None:
    assert sent(Request("POST", "/", (), b"abc")).read() == b"abc"
    assert list(sent(Request("POST", "/", (), (b"a", b"b"))).stream) == [b"a", b"b"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), True),
        (httpx2.ReadTimeout(""), True),
        (SystemExit(), True),
        (KeyboardInterrupt(), False),
        (UsageError(), False),
        (AdapterClosed(), False),
        (StartupFailed(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_which_errors_are_answers(error: BaseException, expected: bool) -> None:
    assert plain.is_answer(error) is expected


def test_a_response() -> None:
    headers = [(b"X-Kept", b"\xff"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]
    response = httpx2.Response(
        404, headers=headers, extensions={"reason_phrase": b"Not H\xe9re", "bridge.trailers": [("X", "1")]}
    )
    error = ValueError()
    before = plain.nothing(ValueError(), 0.0, ())
    made = plain.from_library(response, [b"a", b"b"], error, 0.0, (before,))
    assert (made.status, made.reason, made.chunks) == (404, "Not H\xe9re", (b"a", b"b"))
    assert made.headers == (("X-Kept", "\xff"), ("Set-Cookie", "a"), ("Set-Cookie", "b"))
    assert (made.trailers, made.error, made.history) == ((("X", "1"),), error, (before,))
    assert made.elapsed > 0
    assert plain.from_library(httpx2.Response(200), [], None, 0.0, ()).reason == ""


def hops(**options: Any) -> plain.Hops:
    """The hops of a GET for `/old` by a client that follows redirects, at most two."""
    client = httpx2.Client(base_url=BASE, transport=httpx2.BaseTransport(), max_redirects=2)
    return plain.Hops(client, "/old", **{"follow_redirects": True, **options})


def redirect(target: str) -> httpx2.Response:
    """A response that leads to `target`."""
    response = httpx2.Response(302)
    response.next_request = httpx2.Request("GET", f"http://testserver{target}")
    return response


def test_hops_lead_from_redirect_to_redirect() -> None:
    """What came on the way is the history of the answer."""
    chain = hops()
    assert chain.sent.extensions["target"] == b"/old"
    assert chain.came(redirect("/new"), [b"moved"], None) is None
    assert chain.sent.url.path == "/new"
    final = chain.came(httpx2.Response(200), [b"here"], None)
    assert final is not None
    assert (final.status, final.body) == (200, b"here")
    assert [(each.status, each.body, each.history) for each in final.history] == [(302, b"moved", ())]


def test_a_redirect_is_the_answer_if_redirects_are_not_followed() -> None:
    answer = hops(follow_redirects=False).came(redirect("/new"), [], None)
    assert answer is not None
    assert (answer.status, answer.history) == (302, ())


def test_a_redirect_that_broke_off_is_the_answer() -> None:
    error = ValueError()
    answer = hops().came(redirect("/new"), [b"mov"], error)
    assert answer is not None
    assert (answer.status, answer.error) == (302, error)


def test_more_redirects_than_the_client_follows_are_an_error() -> None:
    chain = hops()
    assert chain.came(redirect("/1"), [], None) is None
    assert chain.came(redirect("/2"), [], None) is None
    answer = chain.came(redirect("/3"), [], None)
    assert answer is not None
    assert isinstance(answer.error, httpx2.TooManyRedirects)
    assert [each.status for each in answer.history] == [302, 302, 302]


def test_an_error_after_a_redirect_has_the_history() -> None:
    chain = hops()
    chain.came(redirect("/new"), [], None)
    error = httpx2.ReadTimeout("")
    answer = chain.failed(error)
    assert (answer.status, answer.error, [each.status for each in answer.history]) == (0, error, [302])


def test_a_closed_client_has_no_hops() -> None:
    client = httpx2.Client(base_url=BASE, transport=httpx2.BaseTransport())
    client.close()
    with pytest.raises(UsageError, match="has been closed"):
        plain.Hops(client, "/", follow_redirects=False)


def test_a_redirect_does_not_go_to_the_old_target() -> None:
    response = httpx2.Response(302)
    assert plain.next_hop(response) is None
    response.next_request = httpx2.Request(
        "GET", "http://testserver/new", extensions={"target": b"/old", "x": 1}
    )
    following = plain.next_hop(response)
    assert following is not None
    assert following.extensions == {"x": 1}
