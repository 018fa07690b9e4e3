"""Differences that were planted are found, by kind and place; equivalences that were planted are not.

Each row is two answers to one request: the old one is given by a WSGI app, the new one by an ASGI app,
and both go through `compare()` with real clients. Each row is also compared with itself.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import pytest

from bridge.testing.client import Client
from bridge.testing.comparison.compare import compare
from bridge.testing.comparison.result import Comparison
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Request, RequestLike, Response

NOW = 1_700_000_000.0
JSON = ("Content-Type", "application/json")
HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
XML = ("Content-Type", "application/xml")
PNG = ("Content-Type", "image/png")


@dataclass(frozen=True)
class Answer:
    """What an app answers: status, headers, pieces of the body; then it raises, if it does."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (TEXT,)
    chunks: tuple[bytes, ...] = (b"hello",)
    error: Exception | None = None
    before: Exception | None = None
    seconds: float | None = None
    effect: Any = None


def text(body: bytes, *headers: tuple[str, str], status: int = 200) -> Answer:
    return Answer(status, headers or (TEXT,), (body,))


def plain(*headers: tuple[str, str]) -> Answer:
    return Answer(200, (TEXT, *headers))


def cookie(line: str) -> Answer:
    return plain(("Set-Cookie", line))


def multipart(boundary: str, *parts: str, quote: str = "") -> Answer:
    body = "".join(f"--{boundary}\r\nContent-Type: text/plain\r\n\r\n{each}\r\n" for each in parts)
    kind = f"multipart/mixed; boundary={quote}{boundary}{quote}"
    return text(f"{body}--{boundary}--\r\n".encode(), ("Content-Type", kind))


@dataclass
class Wsgi:
    """The old app: WSGI."""

    answer: Answer
    effects: list[Any] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        answer = self.answer
        if answer.before:
            raise answer.before
        self.effects.append(answer.effect)
        start_response(f"{answer.status} Whatever", list(answer.headers))
        return self.body()

    def body(self) -> Iterator[bytes]:
        yield from self.answer.chunks
        if self.answer.error:
            raise self.answer.error


@dataclass
class Asgi:
    """The new app: ASGI, whose header names are lower case by its specification."""

    answer: Answer
    effects: list[Any] = field(default_factory=list)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        answer = self.answer
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        if answer.before:
            raise answer.before
        self.effects.append(answer.effect)
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        for chunk in answer.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if answer.error:
            raise answer.error
        await send({"type": "http.response.body", "body": b""})


class Timed(Client):
    """A client whose answers take a time that is known."""

    def __init__(self, app: Wsgi | Asgi) -> None:
        super().__init__(app)
        self.seconds = app.answer.seconds or 0.0

    def exchange(self, request: RequestLike, *, follow_redirects: bool = False) -> Response:
        return replace(super().exchange(request, follow_redirects=follow_redirects), elapsed=self.seconds)


@dataclass(frozen=True)
class Row:
    """Two answers to one request; for a difference, the kinds and places that are to be found."""

    old: Answer
    new: Answer
    found: tuple[tuple[str, str], ...] = ()
    rules: Rules | None = None
    request: str = "/"
    options: dict[str, Any] = field(default_factory=dict)
    same_interface: bool = False


def differ(old: Answer, new: Answer, kind: str, where: str, *more: tuple[str, str], **options: Any) -> Row:
    return Row(old, new, ((kind, where), *more), **options)


def json(old: bytes, new: bytes, *found: tuple[str, str], rules: Rules | None = None) -> Row:
    return Row(text(old, JSON), text(new, JSON), found, rules)


def html(old: str, new: str, *found: tuple[str, str]) -> Row:
    return Row(text(old.encode(), HTML), text(new.encode(), HTML), found)


GZIP = ("Content-Encoding", "gzip")
LONG = b"the same words again and again, " * 40

DIFFERENCES: dict[str, Row] = {
    "status": differ(text(b"x"), text(b"x", status=201), "status", "status"),
    "204 instead of 200": differ(
        Answer(200, (), ()), Answer(204, (), ()), "status", "status"
    ),
    "header value": differ(plain(("X-A", "1")), plain(("X-A", "2")), "header/value", "X-A"),
    "header missing": differ(plain(("X-A", "1")), plain(), "header/missing", "X-A"),
    "header extra": differ(plain(), plain(("X-Powered-By", "new")), "header/extra", "x-powered-by"),
    "header repeated": differ(
        plain(("X-A", "1"), ("X-A", "1")), plain(("X-A", "1")), "header/repeated", "X-A"
    ),
    "order of the values of one header": differ(
        plain(("X-A", "1"), ("X-A", "2")), plain(("X-A", "2"), ("X-A", "1")), "header/value", "X-A"
    ),
    "case of a name, exactly": differ(
        plain(("X-Abc", "1")), plain(("x-abc", "1")), "header/case", "X-Abc",
        same_interface=True, rules=Rules().exact_headers(),
    ),
    "order of different headers, exactly": differ(
        plain(("X-A", "1"), ("X-B", "1")), plain(("X-B", "1"), ("X-A", "1")), "header/order", "headers",
        rules=Rules().exact_headers(), same_interface=True,
    ),
    "Vary": differ(
        plain(("Vary", "Accept, Cookie")), plain(("Vary", "Accept")), "header/value", "Vary"
    ),
    "Cache-Control": differ(
        plain(("Cache-Control", "public, max-age=60")), plain(("Cache-Control", "private, max-age=60")),
        "header/value", "Cache-Control",
    ),
    "a weak ETag": differ(plain(("ETag", '"1"')), plain(("ETag", 'W/"1"')), "header/value", "ETag"),
    "Allow of a refused method": differ(
        text(b"no", TEXT, ("Allow", "GET, HEAD"), status=405),
        text(b"no", TEXT, ("Allow", "GET"), status=405),
        "header/value", "Allow", request="DELETE /",
    ),
    "media type": differ(
        text(b"x", ("Content-Type", "text/plain")), text(b"x", ("Content-Type", "text/html")),
        "content-type", "Content-Type",
    ),
    "charset": differ(
        text("é".encode(), TEXT),
        text("é".encode("latin-1"), ("Content-Type", "text/plain; charset=latin-1")),
        "charset", "Content-Type",
    ),
    "bytes of another charset than said": differ(
        text("é".encode(), TEXT), text("é".encode("latin-1"), TEXT), "text", "line 1"
    ),
    "cookie value": differ(cookie("a=1"), cookie("a=2"), "cookie/value", "a"),
    "cookie missing": differ(cookie("a=1"), plain(), "cookie/missing", "a"),
    "cookie extra": differ(plain(), cookie("sid=1"), "cookie/extra", "sid"),
    "cookie attribute": differ(
        cookie("a=1; Path=/; Secure"), cookie("a=1; Path=/"), "cookie/attribute", "a; Secure"
    ),
    "cookie attribute's value": differ(
        cookie("a=1; SameSite=Lax"), cookie("a=1; SameSite=None"), "cookie/attribute", "a; SameSite"
    ),
    "cookie lifetime": differ(
        cookie(f"a=1; Expires={formatdate(NOW, usegmt=True)}"),
        cookie(f"a=1; Expires={formatdate(NOW + 3600, usegmt=True)}"),
        "cookie/attribute", "a; Expires",
    ),
    "cookie deleted on one side": differ(
        cookie("a=1; Max-Age=60"), cookie("a=; Max-Age=0"), "cookie/deleted", "a"
    ),
    "cookie set twice": differ(
        plain(("Set-Cookie", "a=1"), ("Set-Cookie", "a=2")), cookie("a=2"), "cookie/repeated", "a"
    ),
    "cookies folded into one line": differ(
        plain(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), cookie("a=1, b=2"),
        "cookie/value", "a", ("cookie/missing", "b"),
    ),
    "JSON integer for a float": json(b'{"a": 1}', b'{"a": 1.0}', ("json/type", "$.a")),
    "JSON string for a number": json(b'{"a": 1}', b'{"a": "1"}', ("json/type", "$.a")),
    "JSON true for 1": json(b'{"a": 1}', b'{"a": true}', ("json/type", "$.a")),
    "JSON rounding": json(b'{"a": 0.3}', b'{"a": 0.30000000000000004}', ("json/value", "$.a")),
    "JSON text": json(b'{"a": {"b c": "x"}}', b'{"a": {"b c": "y"}}', ("json/value", "$.a['b c']")),
    "JSON key missing": json(b'{"a": 1, "b": 2}', b'{"a": 1}', ("json/missing", "$.b")),
    "JSON null for absent": json(b'{"a": null}', b"{}", ("json/missing", "$.a")),
    "JSON absent for null": json(b"{}", b'{"a": null}', ("json/extra", "$.a")),
    "JSON list order": json(b'{"a": [1, 2, 3]}', b'{"a": [3, 1, 2]}', ("json/order", "$.a")),
    "JSON list length": json(
        b'{"a": [{"i": 1}, {"i": 2}, {"i": 3}]}', b'{"a": [{"i": 1}, {"i": 3}]}',
        ("json/length", "$.a"), ("json/missing", "$.a[1]"),
    ),
    "JSON key twice": json(b'{"a": 1}', b'{"a": 0, "a": 1}', ("json/duplicate", "$")),
    "JSON NaN for null": json(b'{"a": null}', b'{"a": NaN}', ("json/type", "$.a")),
    "JSON cut off": json(b'{"a": [1, 2]}', b'{"a": [1, 2', ("json/invalid", "$")),
    "JSON whitespace, exactly": json(
        b'{"a": 1}', b'{"a":1}', ("body/bytes", "byte 5"), rules=Rules().exact_body()
    ),
    "redirect for a trailing slash": differ(
        text(b"", TEXT, ("Location", "/notes/"), status=308), text(b"here", TEXT, status=200),
        "status", "status", ("header/missing", "Location"), ("body/extra", "body"), request="/notes",
    ),
    "redirect target": differ(
        text(b"", TEXT, ("Location", "/login?next=/a"), status=302),
        text(b"", TEXT, ("Location", "/login?next=%2Fb"), status=302),
        "redirect", "Location",
    ),
    "redirect to https": differ(
        text(b"", TEXT, ("Location", "/a"), status=302),
        text(b"", TEXT, ("Location", "https://testserver/a"), status=302),
        "redirect", "Location",
    ),
    "chunk lost": differ(
        Answer(200, (PNG,), (b"\x89ab", b"cd", b"ef")), Answer(200, (PNG,), (b"\x89ab", b"ef")),
        "body/bytes", "byte 3",
    ),
    "a Content-Length that cuts the body": differ(
        Answer(200, (TEXT, ("Content-Length", "5")), (b"hello",)),
        Answer(200, (TEXT, ("Content-Length", "4")), (b"hello",)),
        "text", "line 1",
    ),
    "HEAD with another length": differ(
        Answer(200, (TEXT, ("Content-Length", "5")), ()), Answer(200, (TEXT, ("Content-Length", "0")), ()),
        "header/value", "Content-Length", request="HEAD /",
    ),
    "HEAD without a length": differ(
        Answer(200, (TEXT, ("Content-Length", "5")), ()), Answer(200, (TEXT,), ()),
        "header/missing", "Content-Length", request="HEAD /",
    ),
    "error page": differ(
        text(b"<h1>Not Found</h1><p>Nothing here.</p>", HTML, status=404),
        text(b'{"detail": "Not Found"}', JSON, status=404),
        "content-type", "Content-Type", ("charset", "Content-Type"), ("text", "line 1"),
    ),
    "body missing": differ(text(b"some"), text(b""), "body/missing", "body"),
    "body extra": differ(text(b""), text(b"some"), "body/extra", "body"),
    "line endings": differ(
        text(b"a\r\nb\r\n"), text(b"a\nb\n"), "text/line-endings", "line 1"
    ),
    "whitespace in text": differ(text(b"a  b"), text(b"a b"), "text/whitespace", "line 1"),
    "a line of text": differ(text(b"a\nb\nc\n"), text(b"a\nB\nc\n"), "text", "line 2"),
    "HTML text": html(
        "<body><ul><li>a</li><li>b</li></ul></body>", "<body><ul><li>a</li><li>c</li></ul></body>",
        ("html/text", "body > ul > li[2]"),
    ),
    "HTML attribute": html(
        '<p><a href="/a">x</a></p>', '<p><a href="/b">x</a></p>', ("html/attribute", "p > a @href")
    ),
    "HTML element": html("<p><b>x</b></p>", "<p><i>x</i></p>", ("html/element", "p > b")),
    "HTML element missing": html(
        "<form><input name=a><input name=csrf></form>", "<form><input name=a></form>",
        ("html/missing", "form > input[2]"),
    ),
    "HTML whitespace in pre": html(
        "<pre>a\n b</pre>", "<pre>a\nb</pre>", ("html/text", "pre")
    ),
    "HTML escaped once more": html(
        "<p>a &amp; b</p>", "<p>a &amp;amp; b</p>", ("html/text", "p")
    ),
    "XML attribute": Row(
        text(b'<a><b c="1"/></a>', XML), text(b'<a><b c="2"/></a>', XML), (("xml/attribute", "a > b @c"),)
    ),
    "field of a form": Row(
        text(b"a=1&b=2", FORM), text(b"a=1&b=3", FORM), (("form/value", "b"),)
    ),
    "content coding": differ(
        text(gzip.compress(LONG, mtime=0), TEXT, GZIP), text(LONG), "header/missing", "Content-Encoding"
    ),
    "text inside a content coding": differ(
        text(gzip.compress(LONG, mtime=0), TEXT, GZIP),
        text(gzip.compress(LONG + b"!", mtime=0), TEXT, GZIP),
        "text", "line 1",
    ),
    "coding that is not there": differ(
        text(gzip.compress(LONG, mtime=0), TEXT, GZIP), text(LONG, TEXT, GZIP),
        "body/encoding", "Content-Encoding",
    ),
    "part of a multipart body": differ(
        multipart("one", "a", "b"), multipart("two", "a", "c"), "text", "part 2: line 1"
    ),
    "exception for 500": differ(
        text(b"oops", status=500), Answer(before=KeyError("x")), "error/raised", "exception"
    ),
    "500 for an exception": differ(
        Answer(before=KeyError("x")), text(b"oops", status=500), "error/not-raised", "exception"
    ),
    "another exception": differ(
        Answer(before=KeyError("x")), Answer(before=ValueError("x")), "error/type", "exception"
    ),
    "another message": differ(
        Answer(before=ValueError("x")), Answer(before=ValueError("y")), "error/message", "exception"
    ),
    "incomplete body": differ(
        Answer(chunks=(b"a", b"b")), Answer(chunks=(b"a",), error=ValueError("late")), "incomplete", "body"
    ),
    "effects": differ(
        Answer(effect={"mails": 1}), Answer(effect={"mails": 2}), "effects/value", "$[0].mails",
        options={"effects": lambda app: app.effects},
    ),
    "time": differ(
        Answer(seconds=0.1), Answer(seconds=0.21), "time", "seconds", options={"slower": 2.0}
    ),
}  # fmt: skip

EQUIVALENCES: dict[str, Row] = {
    "case of header names": Row(plain(("X-Request-Kind", "a")), plain(("x-request-kind", "a"))),
    "order of different headers": Row(
        plain(("X-A", "1"), ("X-B", "2")), plain(("X-B", "2"), ("X-A", "1"))
    ),
    "Date": Row(
        plain(("Date", formatdate(NOW, usegmt=True))), plain(("Date", formatdate(NOW + 9, usegmt=True)))
    ),
    "Server": Row(plain(("Server", "gunicorn")), plain(("Server", "uvicorn"))),
    "Expires within seconds": Row(
        plain(("Expires", formatdate(NOW, usegmt=True))), plain(("Expires", formatdate(NOW + 2, usegmt=True)))
    ),
    "Vary in another order and case": Row(
        plain(("Vary", "Accept, Cookie")), plain(("Vary", "cookie, accept"))
    ),
    "Vary in two lines": Row(
        plain(("Vary", "Accept, Cookie")), plain(("Vary", "Accept"), ("Vary", "Cookie"))
    ),
    "Allow in another order": Row(
        text(b"no", TEXT, ("Allow", "GET, HEAD, OPTIONS"), status=405),
        text(b"no", TEXT, ("Allow", "OPTIONS,GET,HEAD"), status=405),
        request="DELETE /",
    ),
    "Cache-Control in another order": Row(
        plain(("Cache-Control", "no-cache, private")), plain(("Cache-Control", "private, no-cache"))
    ),
    "charset spelt otherwise": Row(
        text(b"x", ("Content-Type", "text/plain; charset=utf-8")),
        text(b"x", ("Content-Type", "text/plain;charset=UTF8")),
    ),
    "quoted parameter": Row(
        text(b"x", ("Content-Type", "text/plain; charset=utf-8")),
        text(b"x", ("Content-Type", 'Text/Plain; Charset="utf-8"')),
    ),
    "order of parameters": Row(
        text(b"x", ("Content-Type", "text/x; a=1; b=2")), text(b"x", ("Content-Type", "text/x; b=2; a=1"))
    ),
    "Content-Length or none": Row(
        Answer(200, (TEXT, ("Content-Length", "5")), (b"hello",)), Answer(200, (TEXT,), (b"hel", b"lo"))
    ),
    "chunk boundaries": Row(Answer(chunks=(b"hello",)), Answer(chunks=(b"h", b"el", b"lo"))),
    "JSON key order": Row(text(b'{"a": 1, "b": 2}', JSON), text(b'{"b": 2, "a": 1}', JSON)),
    "JSON whitespace": Row(
        text(b'{"a": [1, 2]}', JSON, ("Content-Length", "13")),
        text(b'{\n  "a":[1,2]}\n', JSON, ("Content-Length", "15")),
    ),
    "JSON escapes": Row(text('{"a": "é/"}'.encode(), JSON), text(b'{"a": "\\u00e9\\/"}', JSON)),
    "JSON number's spelling": Row(text(b"[100.0, 0.5]", JSON), text(b"[1e2, 5.0E-1]", JSON)),
    "HTML attribute order": html('<a href="/" class="x">y</a>', "<A class='x' href=/>y</A>"),
    "HTML layout": html(
        "<ul><li>a</li><li>b <i>c</i></li></ul>", "<ul>\n  <li>a</li>\n  <li>\n b  <i>c</i> </li>\r\n</ul>\n"
    ),
    "HTML entities": html("<p title='&quot;'>&eacute; &lt;</p>", "<p title='\"'>é &#60;</p>"),
    "HTML flags": html("<input disabled>", '<input disabled=""/>'),
    "HTML ends left out": html("<ul><li>a</li><li>b</li></ul>", "<ul><li>a<li>b</ul>"),
    "XML spelling": Row(
        text(b'<?xml version="1.0"?><a><b c="1" d="2"/></a>', XML),
        text(b"<a>\n  <b d='2' c='1'></b>\n</a>", XML),
    ),
    "form order and escapes": Row(text(b"a=1+2&b=%7E", FORM), text(b"b=~&a=1%202", FORM)),
    "gzip level": Row(
        text(gzip.compress(LONG, 1, mtime=0), TEXT, GZIP), text(gzip.compress(LONG, 9, mtime=99), TEXT, GZIP)
    ),
    "deflate with and without its wrapper": Row(
        text(zlib.compress(LONG), TEXT, ("Content-Encoding", "deflate")),
        text(zlib.compress(LONG)[2:-4], TEXT, ("Content-Encoding", "deflate")),
    ),
    "absolute Location": Row(
        text(b"", TEXT, ("Location", "/notes/1"), status=303),
        text(b"", TEXT, ("Location", "http://testserver/notes/1"), status=303),
    ),
    "relative Location": Row(
        text(b"", TEXT, ("Location", "/notes/1"), status=303),
        text(b"", TEXT, ("Location", "1"), status=303),
        request="POST /notes/",
    ),
    "order of cookies": Row(
        plain(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
        plain(("Set-Cookie", "b=2"), ("Set-Cookie", "a=1")),
    ),
    "cookie attributes in another order and case": Row(
        cookie("a=1; Path=/; HttpOnly; SameSite=Lax"), cookie("a=1; samesite=lax; httponly; path=/")
    ),
    "cookie expiry within seconds": Row(
        cookie(f"a=1; Max-Age=60; Expires={formatdate(NOW, usegmt=True)}"),
        cookie(f"a=1; Expires={formatdate(NOW + 1, usegmt=True).replace(' Nov ', '-Nov-', 1)}; Max-Age=60"),
    ),
    "cookie deleted in two ways": Row(
        cookie("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/"),
        cookie('a=""; Max-Age=0; Path=/'),
    ),
    "multipart boundary": Row(multipart("one", "a", "b"), multipart("two", "a", "b", quote='"')),
    "the same exception": Row(Answer(before=KeyError("x")), Answer(before=KeyError("x"))),
    "the same effects": Row(
        Answer(effect={"a": 1, "b": 2}), Answer(effect={"b": 2, "a": 1}),
        options={"effects": lambda app: app.effects},
    ),
    "time that nobody asked for": Row(Answer(seconds=0.1), Answer(seconds=9.9)),
}  # fmt: skip


def compared(row: Row, old: Wsgi | Asgi, new: Wsgi | Asgi) -> Comparison:
    """The comparison that a row is about."""
    if row.old.seconds is None:
        return compare(old, new, [row.request], rules=row.rules, **row.options)
    with Timed(old) as one, Timed(new) as other:
        return compare(one, other, [row.request], rules=row.rules, **row.options)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_planted_difference_is_found(name: str) -> None:
    """With its kind and place, and nothing else."""
    row = DIFFERENCES[name]
    new = Wsgi(row.new) if row.same_interface else Asgi(row.new)
    comparison = compared(row, Wsgi(row.old), new)
    assert [(each.kind, each.where) for each in comparison.differences] == list(row.found)
    assert not comparison.same


@pytest.mark.parametrize("name", EQUIVALENCES)
def test_a_planted_equivalence_is_none(name: str) -> None:
    """Both ways round: the WSGI app is the old one, then the ASGI app."""
    row = EQUIVALENCES[name]
    for one, other in ((Wsgi(row.old), Asgi(row.new)), (Asgi(row.new), Wsgi(row.old))):
        comparison = compared(row, one, other)
        assert comparison.same, comparison.text(color=False)


@pytest.mark.parametrize("name", [*DIFFERENCES, *EQUIVALENCES])
def test_an_answer_is_like_itself(name: str) -> None:
    """WSGI beside ASGI: also byte by byte, but for the case of header names, which ASGI does not keep."""
    row = {**DIFFERENCES, **EQUIVALENCES}[name]
    exact = Rules.strict().exact_headers().exact_body()
    comparison = compare(Wsgi(row.new), Asgi(row.new), [row.request], rules=exact)
    assert {each.kind for each in comparison.differences} <= {"header/case"}


def test_there_are_enough_of_both() -> None:
    assert len(DIFFERENCES) >= 30
    assert len(EQUIVALENCES) >= 30


def test_one_comparison_holds_all_of_them() -> None:
    """In one run, as users have it: each request shows its own differences and no other's."""
    rows = [
        row for row in DIFFERENCES.values() if row.rules is None and not row.options and row.request == "/"
    ]

    class Old(Wsgi):
        def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            self.answer = rows[int(environ["PATH_INFO"][1:])].old
            return super().__call__(environ, start_response)

    class New(Asgi):
        async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.answer = rows[int(scope["path"][1:])].new
            await super().__call__(scope, receive, send)

    requests = [Request("GET", f"/{number}") for number in range(len(rows))]
    results = compare(Old(text(b"")), New(text(b"")), requests).results
    assert [[(each.kind, each.where) for each in result.differences] for result in results] == [
        list(row.found) for row in rows
    ]
