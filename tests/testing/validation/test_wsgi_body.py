"""What a server gets for an iterable, and what it may do with it; the rules are planted in test_wsgi.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.testing.validation.violations import Violation
from bridge.testing.validation.wsgi_body import (
    CheckedBody,
    CheckedFileWrapper,
    CheckedSizedBody,
    checked_body,
    to_be_closed,
)
from bridge.testing.validation.wsgi_response import ResponseCheck
from bridge.testing.validation.wsgi_rules import Report


class Boom(Exception):
    """What the iterables of these tests raise."""


class Checked:
    """A body around an iterable, its response started."""

    def __init__(self, iterable: Any, length: str | None = None) -> None:
        self.seen: list[Violation] = []
        self.late: list[Violation] = []
        self.moments: list[str] = []
        report = Report(self.seen.append, "GET /", should=True)
        self.response = ResponseCheck("GET", lambda *_: list[bytes]().append, report)
        headers = [("Content-Type", "text/plain")]
        self.response.start_response("200 OK", [*headers, *([("Content-Length", length)] if length else [])])
        late = Report(self.late.append, "GET /", should=True)
        self.body: Any = checked_body(iterable, self.response, self.moments.append, report, late)

    @property
    def rules(self) -> list[str]:
        return [each.rule for each in self.seen]


class Closing:
    """An iterable with `close()`, once or for ever."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        self.closed += 1


class Sized(Closing):
    """The same with a `len()`."""

    def __len__(self) -> int:
        return len(self.chunks)


def test_the_kind_follows_the_iterable() -> None:
    assert type(Checked([b"a"]).body) is CheckedSizedBody
    assert type(Checked(iter([b"a"])).body) is CheckedBody


def test_an_ordinary_iteration_has_no_fault() -> None:
    checked = Checked(source := Closing(b"a", b"b"), "2")
    assert list(checked.body) == [b"a", b"b"]
    assert to_be_closed(checked.body)
    checked.body.close()
    assert (source.closed, to_be_closed(checked.body), checked.rules) == (1, False, [])
    assert checked.moments == ["iter()", "next() 1", "next() 2", "next() 3", "close()"]
    assert checked.response.closed


def test_a_server_may_stop_early() -> None:
    checked = Checked(source := Closing(b"a", b"b"), "2")
    assert next(iter(checked.body)) == b"a"
    checked.body.close()
    assert (source.closed, checked.rules) == (1, [])


def test_a_second_iteration_is_not_counted_as_the_response() -> None:
    """So that what the server does is not laid on the app: there is no wrong length."""
    checked = Checked(Sized(b"a", b"b"), "2")
    chunks = []
    for chunk in checked.body:
        chunks.append(chunk)
        if len(chunks) == 1:
            assert sum(len(each) for each in checked.body) == 2
    assert (chunks, checked.rules) == ([b"a", b"b"], ["iterable/again"])


def test_an_iterator_that_was_never_used_does_not_count() -> None:
    checked = Checked(Sized(b"a"), "1")
    iter(checked.body)
    assert list(checked.body) == [b"a"]
    assert checked.rules == []


def test_the_server_finds_only_the_attributes_of_the_iterable() -> None:
    body = Checked(iter([b"a"])).body
    assert [name for name in dir(body) if not name.startswith("_")] == []
    assert not hasattr(body, "close")
    with pytest.raises(AttributeError, match="'list_iterator' object has no attribute 'fileno'"):
        body.fileno()


def test_a_len_that_fails_is_none() -> None:
    class Refusing(Closing):
        def __len__(self) -> int:
            raise NotImplementedError

    checked = Checked(Refusing(b"a"))
    with pytest.raises(NotImplementedError):
        len(checked.body)
    assert [each for each in checked.body] == [b"a"]  # noqa: C416  list() would ask for the len()
    assert checked.rules == []


def test_exceptions_pass_and_the_end_is_not_checked() -> None:
    def failing() -> Iterator[bytes]:
        yield b"a"
        raise Boom

    checked = Checked(failing(), "5")
    steps = iter(checked.body)
    assert next(steps) == b"a"
    with pytest.raises(Boom):
        next(steps)
    assert checked.rules == []
    assert next(steps, None) is None
    assert checked.rules == ["iterable/after-end"]


def test_an_error_in_close_passes() -> None:
    class Failing(Closing):
        def close(self) -> None:
            raise RuntimeError("no")

    checked = Checked(Failing())
    with pytest.raises(RuntimeError, match="no"):
        checked.body.close()
    assert (checked.rules, to_be_closed(checked.body)) == ([], False)


def test_close_is_called_before_anything_is_told() -> None:
    """Nothing that is raised may keep the app from releasing what it holds."""

    def refuse(violation: Violation) -> None:
        raise LookupError

    source = Closing()
    report = Report(refuse, "GET /", should=True)
    response = ResponseCheck("GET", print, report)
    body: Any = checked_body(source, response, lambda moment: None, report, report)
    body.close()
    with pytest.raises(LookupError):
        body.close()
    assert source.closed == 2


@pytest.mark.parametrize("keep", ["nothing", "the iterator"])
def test_a_body_that_is_dropped_unclosed_is_told_of_at_once(keep: str) -> None:
    """Without the garbage collector: no circle keeps it. A server that iterates still has it."""
    checked = Checked(Closing(b"a", b"b"))
    steps = iter(checked.body)
    next(steps)
    checked.body = None
    if keep == "nothing":
        del steps
        assert [each.rule for each in checked.late] == ["close/never"]
    else:
        assert checked.late == []
    assert checked.seen == []


def test_what_has_no_close_may_be_dropped() -> None:
    checked = Checked([b"a"])
    checked.body = None
    assert checked.late == []


def test_close_within_next_is_told_of() -> None:
    """As a server does that gives up in one thread while another one is in the application."""

    def chunks() -> Iterator[bytes]:
        checked.body.close()
        yield b"a"

    class Nested(Closing):
        def __iter__(self) -> Iterator[bytes]:
            return chunks()

    checked = Checked(Nested())
    next(iter(checked.body))
    assert checked.rules == ["iterable/reentered"]


def test_next_without_iter_goes_on_where_it_was() -> None:
    checked = Checked([b"a", b"b"])
    assert [next(checked.body), next(checked.body)] == [b"a", b"b"]
    with pytest.raises(StopIteration):
        next(checked.body)
    assert checked.rules == ["iterable/iter"] * 3


# -- the file wrapper


class Wrapper:
    """A server's."""

    def __init__(self, file: Any, size: int = 10) -> None:
        self.file = file
        self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


def wrapped(wrapper: Any) -> tuple[CheckedFileWrapper, list[Violation]]:
    seen: list[Violation] = []
    return CheckedFileWrapper(wrapper, Report(seen.append, "GET /", should=True)), seen


def test_a_file_wrapper_makes_what_the_servers_makes() -> None:
    wrapper, seen = wrapped(Wrapper)
    made = wrapper(file := io.BytesIO(b"a"), 5)
    assert (type(made), made.file, seen) == (Wrapper, file, [])
    assert wrapper.made(made)
    assert not wrapper.made(Wrapper(file))
    kind: Any = wrapper
    assert [isinstance(each, kind) for each in (made, file)] == [True, False]


def test_a_file_wrapper_may_be_a_function() -> None:
    wrapper, seen = wrapped(lambda file, size=0: file)
    file = io.BytesIO(b"a")
    assert wrapper(file) is file
    assert wrapper.made(file)
    assert seen == []


@pytest.mark.parametrize(
    ("args", "kwargs", "came"),
    [
        ((), {}, "none"),
        ((), {"file": io.BytesIO()}, "file="),
        ((io.BytesIO(), "10"), {}, "BytesIO, str"),
        ((io.BytesIO(), 10, 1), {}, "BytesIO, int, int"),
    ],
    ids=["none", "name", "size", "three"],
)
def test_arguments_of_a_file_wrapper(args: Any, kwargs: Any, came: str) -> None:
    wrapper, seen = wrapped(lambda *args, **kwargs: io.BytesIO())
    wrapper(*args, **kwargs)
    assert [(each.rule, each.came) for each in seen] == [("file-wrapper/arguments", came)]
