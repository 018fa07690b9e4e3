"""The checks of one response, driven by hand: what is said in which order, and what is wrong with it.

The rules themselves are planted in test_wsgi.py; here are the forms that they take and the borders.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from bridge.exceptions import ProtocolViolation
from bridge.testing.validation.violations import Violation, Violations
from bridge.testing.validation.wsgi_response import ResponseCheck
from bridge.testing.validation.wsgi_rules import Report

TEXT = ("Content-Type", "text/plain")


class Boom(Exception):
    """What the apps of these tests raise."""


class Checked:
    """A response with the server's side and what was reported."""

    def __init__(self, method: str = "GET", start_response: Any = None, raising: bool = False) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.written: list[Any] = []
        self.seen = Violations("raise" if raising else "collect")
        report = Report(self.seen.add, f"{method} /", should=True)
        self.check = ResponseCheck(method, start_response or self.start_response, report)

    def start_response(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.written.append

    def start(self, status: Any = "200 OK", *headers: Any, exc_info: Any = None) -> Any:
        arguments = (status, [TEXT, *headers], *(() if exc_info is None else (exc_info,)))
        return self.check.start_response(*arguments)

    def body(self, *chunks: Any) -> list[str]:
        """The iterable with its end; returns the rules that were broken."""
        self.check.returned_iterable()
        for chunk in chunks:
            self.check.chunk(chunk)
        self.check.end()
        return self.rules

    @property
    def rules(self) -> list[str]:
        return [each.rule for each in self.seen.seen]

    @property
    def last(self) -> Violation:
        return self.seen.seen[-1]


def exc_info() -> Any:
    try:
        raise Boom
    except Boom:
        return sys.exc_info()


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        ("200 OK", []),
        ("404 Not Found", []),
        ("200 \xa3\xff", []),
        ("599 X", []),
        ("200", ["status/form"]),
        ("200 ", ["status/form"]),
        ("200 OK ", ["status/form"]),
        (" 200 OK", ["status/form"]),
        ("OK", ["status/form"]),
        ("", ["status/form"]),
        ("20 OK", ["status/form"]),
        ("2000 OK", ["status/form"]),
        ("\u0662\u0660\u0660 OK", ["status/latin-1", "status/form"]),
        ("200\tOK", ["status/control"]),
        ("200 OK\n", ["status/control"]),
        ("200 O\x7fK", ["status/control"]),
        ("101 Switching Protocols", ["status/interim"]),
        ("600 X", ["status/range"]),
        ("099 X", ["status/range"]),
        (b"200 OK", ["status/type"]),
        (None, ["status/type"]),
    ],
    ids=repr,
)
def test_statuses(status: Any, rules: list[str]) -> None:
    checked = Checked()
    checked.start(status)
    assert checked.rules == rules


@pytest.mark.parametrize(
    ("header", "rules"),
    [
        (("X-A", ""), []),
        (("X-A", "caf\xe9"), []),
        (("x!#$%&'*+.^_`|~9", "a"), []),
        (("", "a"), ["name/token"]),
        (("X:A", "a"), ["name/token"]),
        (("X-A:", "a"), ["name/token", "name/punctuation"]),
        (("X-", "a"), ["name/punctuation"]),
        (("X_", "a"), ["name/punctuation"]),
        (("X-\xe9", "a"), ["name/token", "name/punctuation"]),
        (("X-A", "a\nb"), ["value/splitting"]),
        (("X-A", "a\x00"), ["value/splitting"]),
        (("X-A", "a\x1bb"), ["value/control"]),
        (("X-A", "a "), ["value/white-space"]),
        (("status", "a"), ["name/status"]),
        (("keep-alive", "a"), ["hop-by-hop"]),
        (("Proxy-Authenticate", "a"), ["hop-by-hop"]),
        (("Upgrade", "h2c"), ["hop-by-hop"]),
        (("Content-Length", "two"), ["content-length/digits"]),
        (("Content-Length", "-1"), ["content-length/digits"]),
        (("X-A", b"a"), ["str"]),
        (("X-A", None), ["str"]),
        (("X-A", "\u20ac"), ["latin-1"]),
        (("X-A",), ["tuple"]),
        ("X-A: a", ["tuple"]),
        (["X-A", "a"], ["tuple"]),
    ],
    ids=repr,
)
def test_headers(header: Any, rules: list[str]) -> None:
    checked = Checked()
    checked.start("200 OK", header)
    assert checked.rules == [f"headers/{each}" for each in rules]


def test_a_headers_value_is_not_told() -> None:
    """It may hold a secret."""
    checked = Checked()
    for value in ("secret\r\n", "secret\x1bsecret", " secret", b"secret", "secret\u20ac"):
        checked.start("200 OK", ("Set-Cookie", value), exc_info=exc_info())
    checked.start("200 OK", ("Set-Cookie", "secret", "secret"), exc_info=exc_info())
    assert len(checked.rules) == 6
    assert "secret" not in repr(checked.seen.seen)


def test_an_iterator_of_headers_is_not_used_up() -> None:
    checked = Checked()
    checked.check.start_response("200 OK", iter([TEXT]))
    assert checked.rules == ["headers/list"]
    assert list(checked.calls[0][1]) == [TEXT]


@pytest.mark.parametrize(
    ("method", "status", "length", "chunks", "rules"),
    [
        ("GET", "200 OK", None, [b"a", b"", b"b"], []),
        ("GET", "200 OK", "2", [b"a", b"b"], []),
        ("GET", "200 OK", "2", [b"a", b"", b"b", b""], []),
        ("GET", "200 OK", "0", [], []),
        ("GET", "200 OK", "0", [b""], []),
        ("GET", "200 OK", "2", [b"a"], ["body/too-short"]),
        ("GET", "200 OK", "2", [], ["body/too-short"]),
        ("GET", "200 OK", "2", [b"a", b"bc", b"d", b"e"], ["body/too-long"]),
        ("GET", "200 OK", "0", [b"a"], ["body/too-long"]),
        ("HEAD", "200 OK", "2", [], []),
        ("HEAD", "200 OK", "2", [b""], []),
        ("HEAD", "200 OK", "2", [b"ab"], ["body/head"]),
        ("GET", "304 Not Modified", "2", [], ["headers/content-type/forbidden"]),
        (
            "GET",
            "204 No Content",
            "0",
            [b"", b"a"],
            ["headers/content-length/forbidden", "headers/content-type/forbidden", "body/forbidden"],
        ),
    ],
)
def test_bodies(method: str, status: str, length: str | None, chunks: list[bytes], rules: list[str]) -> None:
    checked = Checked(method)
    checked.start(status, *([("Content-Length", length)] if length else []))
    assert checked.body(*chunks) == rules


@pytest.mark.parametrize(
    "chunk", ["text", bytearray(b"ab"), memoryview(b"ab"), 1, None], ids=lambda each: type(each).__name__
)
def test_chunks_of_other_types_are_told_of_once(chunk: Any) -> None:
    checked = Checked()
    checked.start()
    assert checked.body(chunk, chunk) == ["iterable/bytes"]
    assert checked.last.came == type(chunk).__name__


def test_what_was_written_counts() -> None:
    checked = Checked()
    write = checked.start("200 OK", ("Content-Length", "3"))
    write(b"ab")
    assert checked.body(b"c") == ["write/used"]
    assert checked.written == [b"ab"]
    assert checked.last.where == "GET /, write() 1"


def test_nothing_is_asked_of_a_body_whose_status_could_not_be_read() -> None:
    """One fault is told of, not what follows from it."""
    checked = Checked()
    checked.start("nonsense", ("Content-Length", "1"))
    assert checked.body(b"abc") == ["status/form"]


def test_with_exc_info_everything_is_replaced() -> None:
    checked = Checked()
    checked.start("204 No Content", ("Content-Length", "3"))
    before = len(checked.rules)
    checked.start("500 Internal Server Error", exc_info=exc_info())
    assert checked.body(b"sorry")[before:] == []


def test_a_first_call_that_raised_counts() -> None:
    """PEP 3333: "this includes the case where the first call raised an error"."""

    def start_response(*args: Any) -> Any:
        raise Boom

    checked = Checked(start_response=start_response)
    for _ in range(2):
        with pytest.raises(Boom):
            checked.start()
    assert checked.rules == ["start_response/twice"]


@pytest.mark.parametrize(
    "value",
    [True, "error", (), (1, 2, 3), (Boom, None, None), [Boom, Boom(), None], (Boom, Boom())],
    ids=lambda each: type(each).__name__,
)
def test_what_is_no_exc_info(value: Any) -> None:
    checked = Checked()
    checked.start(exc_info=value)
    assert checked.rules == ["start_response/exc-info"]


def output_and_failure(trap: bool, chunk: bytes = b"x", length: str | None = None) -> Checked:
    """A chunk, and then `start_response` with an error, which a good server raises."""

    def start_response(*args: Any) -> Any:
        if len(args) == 3:
            raise args[2][1]
        return list[bytes]().append

    checked = Checked(start_response=start_response)
    checked.start("200 OK", *([("Content-Length", length)] if length else []))
    checked.check.returned_iterable()
    checked.check.chunk(chunk)
    with pytest.raises(Boom):
        checked.start(exc_info=exc_info())
    if trap:
        checked.check.end()
    return checked


def test_a_server_raises_once_headers_have_left() -> None:
    assert output_and_failure(trap=False).rules == []
    assert output_and_failure(trap=True).rules == ["start_response/trapped"]


def test_a_server_does_not_raise_before() -> None:
    """An empty chunk sends nothing; a length of 0 may."""
    assert output_and_failure(trap=False, chunk=b"").rules == ["start_response/raised-too-soon"]
    assert output_and_failure(trap=False, chunk=b"", length="0").rules == []


@pytest.mark.parametrize("go_on", ["return", "chunk"])
def test_going_on_after_what_start_response_raised(go_on: str) -> None:
    def start_response(*args: Any) -> Any:
        raise ConnectionError  # any error at all

    checked = Checked(start_response=start_response)
    with pytest.raises(ConnectionError):
        checked.start(exc_info=exc_info())
    if go_on == "chunk":
        checked.check.chunk(b"")
    else:
        checked.check.returned_iterable()
    checked.check.end()
    assert checked.rules == ["start_response/trapped"]  # and once only


def test_the_validators_own_exception_is_not_taken_for_the_servers() -> None:
    """It is raised again elsewhere."""
    outer = Checked(raising=True)
    checked = Checked(start_response=outer.check.start_response)
    with pytest.raises(ProtocolViolation):
        checked.start("200", exc_info=exc_info())
    assert checked.body() == ["status/form"]


def test_no_reference_to_exc_info_is_kept() -> None:
    """Not in a circle through this frame either, which only the garbage collector could break."""

    class Held:
        """What the failing frame holds."""

    def fail(start: Callable[..., object]) -> weakref.ref[Held]:
        held = Held()
        try:
            raise Boom
        except Boom:
            start(exc_info=sys.exc_info())
        return weakref.ref(held)

    gc.disable()
    try:
        assert fail(Checked(start_response=lambda *_: list[bytes]().append).start)() is None
    finally:
        gc.enable()


def test_nothing_is_counted_where_the_server_takes_the_iterable_over() -> None:
    checked = Checked()
    checked.start("200 OK", ("Content-Length", "5"))
    checked.check.end(counted=False)
    assert checked.rules == []
    silent = Checked()
    silent.check.end(counted=False)
    assert silent.rules == ["start_response/never"]


def test_a_late_start_is_told_of_once() -> None:
    checked = Checked()
    checked.check.chunk(b"a")
    checked.start()
    assert checked.body(b"b") == ["start_response/late"]
