"""The checked streams, between an app and a server's stream; the rules are planted in test_wsgi.py."""

from __future__ import annotations

import io
from typing import Any

import pytest

from bridge.testing.validation.violations import Violations
from bridge.testing.validation.wsgi_input import CheckedErrors, CheckedInput
from bridge.testing.validation.wsgi_rules import Report

LINES = b"one\ntwo\nthree"


class Checked:
    """A checked stream and what was reported."""

    def __init__(
        self, stream: Any = None, length: int | None = len(LINES), ends: bool = False, closed: bool = False
    ) -> None:
        self.seen = Violations("collect")
        report = Report(self.seen.add, "POST /", should=True)
        server: Any = io.BytesIO(LINES) if stream is None else stream
        self.input = CheckedInput(server, length, ends, lambda: closed, report)
        self.errors = CheckedErrors(server, report)

    @property
    def rules(self) -> list[str]:
        return [each.rule for each in self.seen.seen]


class Scripted:
    """A server's stream that gives these values one after the other, whatever is asked for."""

    def __init__(self, *values: Any) -> None:
        self.values = iter(values)

    def read(self, *args: Any) -> Any:
        return next(self.values)

    readline = readlines = read

    def __iter__(self) -> Any:
        return iter(next(self.values))


@pytest.mark.parametrize(
    ("use", "result"),
    [
        (lambda s: s.read(4), b"one\n"),
        (lambda s: s.read(0), b""),
        (lambda s: s.read(len(LINES)), LINES),
        (lambda s: [s.readline(), s.readline(2), s.readline(5)], [b"one\n", b"tw", b"o\n"]),
        (lambda s: s.readline(None), b"one\n"),
        (lambda s: s.readline(-1), b"one\n"),
        (lambda s: s.readlines(), [b"one\n", b"two\n", b"three"]),
        (lambda s: s.readlines(2), [b"one\n"]),
        (lambda s: list(s), [b"one\n", b"two\n", b"three"]),
        (lambda s: [s.read(1), next(iter(s)), s.readlines()], [b"o", b"ne\n", [b"two\n", b"three"]]),
    ],
    ids=["read", "none", "all", "lines", "None", "-1", "readlines", "hint", "iteration", "mixed"],
)  # fmt: skip
def test_a_good_stream_is_read_as_it_is(use: Any, result: Any) -> None:
    checked = Checked()
    assert use(checked.input) == result
    assert checked.rules == []


@pytest.mark.parametrize(
    ("values", "use", "rules"),
    [
        (["text"], lambda s: s.read(4), ["bytes"]),
        ([bytearray(b"text")], lambda s: s.read(4), ["bytes"]),
        ([None], lambda s: s.read(4), ["bytes"]),
        ([b"12345"], lambda s: s.read(4), ["too-much"]),
        ([b"12345"], lambda s: s.readline(4), ["readline-size"]),
        ([b"a\nb\n"], lambda s: s.readline(), ["line"]),
        ([b"a", b"b"], lambda s: [s.readline(), s.read(1)], ["line"]),
        ([b"a", b"b"], lambda s: [s.readline(1), s.read(1)], []),
        ([[b"a", b"b\n"]], lambda s: s.readlines(4), ["line"]),
        ([[b"a", b"b\n"]], lambda s: [next(i := iter(s)), next(i)], ["line"]),
        ([[b"a", "b"]], lambda s: s.readlines(4), ["bytes"]),
        ([(b"a",)], lambda s: s.readlines(), ["lines"]),
        ([b"", b"x"], lambda s: [s.read(4), s.read(4)], ["truncated", "end"]),
        ([b"", b"", b""], lambda s: [s.read(4) for _ in range(3)], ["truncated"]),
        ([[], b"x"], lambda s: [s.readlines(), s.read(4)], ["truncated", "end"]),
        ([[], b"x"], lambda s: [list(s), s.read(4)], ["truncated", "end"]),
        ([b"x" * 12, b"yy", b"zz"], lambda s: [s.read(12), s.read(2), s.read(2)],
         ["beyond-length", "surplus", "beyond-length"]),
    ],
    ids=range(17),
)  # fmt: skip
def test_what_a_server_gives(values: list[Any], use: Any, rules: list[str]) -> None:
    """Thirteen bytes are announced."""
    checked = Checked(Scripted(*values))
    use(checked.input)
    assert checked.rules == [f"input/{each}" for each in rules]


@pytest.mark.parametrize(
    ("use", "rules"),
    [
        (lambda s: s.read(), ["unbounded"]),
        (lambda s: s.read(-1), ["unbounded"]),
        (lambda s: s.read(None), ["unbounded"]),
        (lambda s: s.read(14), ["beyond-length"]),
        (lambda s: [s.read(13), s.read(1)], ["beyond-length"]),
        (lambda s: [s.read(13), s.read(0)], []),
        (lambda s: [*s, s.readline(), *s.readlines()], []),
    ],
    ids=range(7),
)
def test_what_an_app_asks_for(use: Any, rules: list[str]) -> None:
    checked = Checked()
    use(checked.input)
    assert checked.rules == [f"input/{each}" for each in rules]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1, 2), {}), (("1",), {}), ((1.0,), {}), ((), {"size": 1})], ids=str
)
def test_arguments_are_told_of_and_passed_on(args: Any, kwargs: Any) -> None:
    got: list[Any] = []

    class Noting:
        def read(self, *args: Any, **kwargs: Any) -> bytes:
            got.append((args, kwargs))
            return b""

    checked = Checked(Noting(), None, ends=True)
    checked.input.read(*args, **kwargs)
    assert checked.rules == ["input/arguments"]
    assert got == [(args, kwargs)]


def test_a_body_of_unknown_length_is_read_only_where_the_server_ends_it() -> None:
    for ends, rules in ((True, []), (False, ["input/beyond-length"])):
        checked = Checked(length=None, ends=ends)
        checked.input.read(5)
        assert checked.rules == rules


def test_where_the_server_ends_the_stream_any_size_may_be_asked_for() -> None:
    checked = Checked(ends=True)
    assert [checked.input.read(100), checked.input.read(100)] == [LINES, b""]
    assert checked.rules == []


def test_nothing_is_read_once_the_request_is_over() -> None:
    checked = Checked(closed=True)
    checked.input.read(1)
    next(iter(checked.input))
    assert checked.rules == ["input/after-close", "input/after-close"]


def test_what_the_server_raises_passes() -> None:
    class Broken:
        def read(self, *args: Any) -> bytes:
            raise ConnectionError

        readline = readlines = read

    checked = Checked(Broken())
    for method in (checked.input.read, checked.input.readline, checked.input.readlines):
        with pytest.raises(ConnectionError):
            method(1)
    assert checked.rules == []


def test_only_what_every_server_has_is_there() -> None:
    """Asking is told of, except for special methods, by which `repr()`, copies and the like go."""
    checked = Checked()
    for stream in (checked.input, checked.errors):
        assert not hasattr(stream, "seek")
        assert not hasattr(stream, "__fspath__")
        with pytest.raises(AttributeError, match="no 'fileno' here: PEP 3333 promises no more"):
            stream.fileno()
    assert checked.rules == ["input/attribute"] * 2 + ["errors/attribute"] * 2
    assert "Checked" in repr(checked.input) + repr(checked.errors)


def test_close_is_told_of_and_passed_on() -> None:
    checked = Checked(stream := io.BytesIO())
    checked.input.close()
    assert (checked.rules, stream.closed) == (["input/close"], True)
    checked = Checked(text := io.StringIO())
    checked.errors.close()
    assert (checked.rules, text.closed) == (["errors/close"], True)


def test_text_is_written_as_it_is() -> None:
    checked = Checked(stream := io.StringIO())
    assert checked.errors.write("one\n") == 4
    checked.errors.writelines(line for line in ["two\n", "\u20ac"])
    checked.errors.flush()
    assert (stream.getvalue(), checked.rules) == ("one\ntwo\n\u20ac", [])
    print("three", file=checked.errors)
    assert (stream.getvalue()[-6:], checked.rules) == ("three\n", [])


class Text(str):
    """A str, but not exactly."""


@pytest.mark.parametrize("text", [b"x", 1, Text("x")], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_what_is_no_text(text: Any, method: str) -> None:
    checked = Checked(stream := io.StringIO())
    try:
        getattr(checked.errors, method)(text if method == "write" else [text])
    except TypeError:
        assert stream.getvalue() == ""
    assert checked.rules == ["errors/text"]
