"""Generated WSGI apps keep PEP 3333, do what they say, and each field does what its name says."""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.wsgi_drive import drive, make_environ

from bridge.testing.strategies import Behaviour, GeneratedWSGI, bodies, paths, queries, wsgi_apps
from bridge.testing.strategies.behaviour import Seen
from bridge.testing.strategies.wsgi import read
from bridge.translate.interface import Interface, interface_of


@settings(max_examples=50)
@given(
    app=wsgi_apps(),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    path=paths(),
    query=queries(),
    body=bodies(),
)
def test_they_keep_the_rules_and_do_what_they_say(
    app: GeneratedWSGI, method: str, path: str, query: str, body: bytes
) -> None:
    """`drive` watches the rules, and puts `wsgiref.validate` around them."""
    target = f"{path}?{query}" if query else path
    answer = drive(app, make_environ(method, target, body), strict=False).unwrap()
    read_of_it = body if app.does.reads is None else body[: app.does.reads]
    seen = Seen.in_environ(make_environ(method, target, body), read_of_it)
    assert answer.status == app.does.status
    assert answer.headers == app.does.head(seen)
    assert answer.body == b"".join(app.does.body(seen))


def test_the_simplest_is_plain() -> None:
    quick = settings(phases=[Phase.generate, Phase.shrink])
    assert find(wsgi_apps(), lambda _: True, settings=quick) == GeneratedWSGI()


def test_they_shrink_to_what_matters() -> None:
    found = find(
        wsgi_apps(),
        lambda app: app.does.status >= 400 and app.returns == "iterator",
        settings=settings(max_examples=500, phases=[Phase.generate, Phase.shrink]),
    )
    assert found == GeneratedWSGI(does=Behaviour(status=found.does.status), returns="iterator")


def test_they_are_known_as_wsgi() -> None:
    assert interface_of(GeneratedWSGI()).interface is Interface.WSGI


class Server:
    """Notes what an app does, in order."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        self.log.append((status, exc_info is not None))
        return self.log.append

    def call(self, app: GeneratedWSGI, body: bytes = b"") -> Any:
        environ = make_environ("POST", body=body)
        environ["wsgi.input"] = Input(body, self.log)
        return app(environ, self.start_response)


class Input(io.BytesIO):
    def __init__(self, body: bytes, log: list[Any]) -> None:
        super().__init__(body)
        self._log = log

    def read(self, size: int | None = -1) -> bytes:
        self._log.append(f"read {size}")
        return super().read(size)


OK = ("200 OK", False)


@pytest.mark.parametrize(
    ("returns", "kind"),
    [("list", list), ("tuple", tuple), ("generator", types.GeneratorType)],
)
def test_it_returns_what_it_is_told_to(returns: Any, kind: type) -> None:
    assert type(Server().call(GeneratedWSGI(returns=returns))) is kind


@pytest.mark.parametrize(("returns", "is_iterator"), [("iterator", True), ("iterable", False)])
def test_objects_with_close_end_with_it(returns: Any, is_iterator: bool) -> None:
    result = Server().call(GeneratedWSGI(Behaviour(chunks=(b"a", b"b")), returns=returns))
    assert hasattr(result, "__next__") is is_iterator
    assert next(iter(result)) == b"a"
    result.close()
    assert list(result) == []


def test_a_file_is_wrapped_by_the_servers_wrapper_or_read() -> None:
    app = GeneratedWSGI(Behaviour(chunks=(b"abcd",)), returns="file")
    environ = make_environ()
    assert list(app(environ, Server().start_response)) == [b"abc", b"d"]
    wrapped: Any = app({**environ, "wsgi.file_wrapper": lambda file: ["wrapped", file]}, lambda *given: None)
    assert wrapped[0] == "wrapped"
    assert wrapped[1].read() == b"abcd"


TWO = Behaviour(chunks=(b"a", b"b"))
READS = Behaviour(chunks=(b"a",), reads=None)


@pytest.mark.parametrize(
    ("app", "called", "all_of_it"),
    [
        (GeneratedWSGI(TWO, returns="iterator"), [OK], [OK, "next a", "next b"]),
        (GeneratedWSGI(TWO, returns="iterator", written=1), [OK, b"a"], [OK, b"a", "next b"]),
        (GeneratedWSGI(TWO, written=2), [OK, b"a", b"b"], [OK, b"a", b"b"]),
        (GeneratedWSGI(TWO, returns="iterator", starts_late=True), [], [OK, "next a", "next b"]),
        (GeneratedWSGI(TWO, starts_late=True), [OK], [OK, "next a", "next b"]),
        (
            GeneratedWSGI(TWO, corrected=True),
            [("500 Draft", False), ("200 OK", True)],
            [("500 Draft", False), ("200 OK", True), "next a", "next b"],
        ),
        (GeneratedWSGI(READS), ["read 2", OK], ["read 2", OK, "next a"]),
        (GeneratedWSGI(READS, order="start"), [OK, "read 2"], [OK, "read 2", "next a"]),
        (
            GeneratedWSGI(READS, order="chunks", returns="iterator"),
            [OK],
            [OK, "next a", "read 2"],
        ),
        (
            GeneratedWSGI(Behaviour(chunks=(), reads=None, reflects=("body",)), order="chunks", written=1),
            [OK, "read 2"],
            [OK, "read 2", "next body: b'in'"],
        ),
        (
            GeneratedWSGI(
                Behaviour(reads=None, reflects=("body",), length=True), order="chunks", returns="iterator"
            ),
            ["read 2", OK],
            ["read 2", OK, "next x", "next body: b'in'"],
        ),
    ],
    ids=[
        "iterator",
        "written",
        "all-written",
        "late",
        "list-is-not-late",
        "corrected",
        "reads-first",
        "starts-first",
        "chunks-first",
        "what-was-seen-waits-for-the-reading",
        "length-needs-the-reading",
    ],
)
def test_the_order_of_things(app: GeneratedWSGI, called: list[Any], all_of_it: list[Any]) -> None:
    server = Server()
    result = server.call(app, b"in")
    assert server.log == called
    for chunk in result:
        server.log.append(f"next {chunk.decode()}")
    assert server.log == all_of_it


LINES = b"one\ntwo\n\nthree"


@pytest.mark.parametrize("how", ["read", "pieces", "lines", "iteration", "readlines"])
@pytest.mark.parametrize(
    ("environ", "limit", "expected"),
    [
        ({"CONTENT_LENGTH": "14"}, None, LINES),
        ({"CONTENT_LENGTH": "14"}, 6, b"one\ntw"),
        ({"CONTENT_LENGTH": "5"}, None, b"one\nt"),
        ({"CONTENT_LENGTH": "5"}, 9, b"one\nt"),
        ({"CONTENT_LENGTH": "14"}, 0, b""),
        ({"wsgi.input_terminated": True}, None, LINES),
        ({"wsgi.input_terminated": True}, 6, b"one\ntw"),
        ({}, None, b""),
        ({"CONTENT_LENGTH": ""}, None, b""),
    ],
    ids=["all", "part", "length", "length-first", "none", "chunked", "part-of-chunked", "no-end", "empty"],
)
def test_every_way_of_reading_stops_where_it_should(
    how: Any, environ: dict[str, Any], limit: int | None, expected: bytes
) -> None:
    assert read({**environ, "wsgi.input": io.BytesIO(LINES)}, limit, how) == expected


def test_fields_without_effect_are_not_told_of() -> None:
    @settings(max_examples=30)
    @given(app=wsgi_apps(st.just(Behaviour())))
    def check(app: GeneratedWSGI) -> None:
        assert (app.order, app.reads_by) == ("read", "read")
        assert not (app.starts_late and (app.written or app.returns in ("list", "tuple", "file")))

    check()
