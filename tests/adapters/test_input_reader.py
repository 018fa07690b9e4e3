"""`wsgi.input` as a source of pieces."""

from __future__ import annotations

from typing import Any

import pytest
from support.wsgi_drive import ClosingInput

from bridge.adapters.input_reader import PIECE, InputReader
from bridge.exceptions import BodyTooLarge, ClientDisconnected, ServerError


class Boom(Exception):
    """What the inputs of these tests raise."""


class BaseBoom(BaseException):
    """The same, outside of `Exception`."""


def reader(*steps: Any, length: int | None, limit: int | None = None, **options: Any) -> InputReader:
    """A reader of an input with these steps; without a length, one that ends by itself."""
    environ = {"wsgi.input": ClosingInput(*steps, **options), "wsgi.input_terminated": length is None}
    return InputReader(environ, length, limit)


def pieces(of: InputReader) -> list[bytes]:
    """Everything up to the last piece."""
    found = []
    while True:
        data, last = of.read()
        found.append(data)
        if last:
            return found


@pytest.mark.req("A-06", "A-07", "A-08")
@pytest.mark.parametrize(
    ("length", "terminated", "expected"),
    [
        (None, None, False),
        (None, False, False),
        (None, True, True),
        (None, 1, True),
        (0, None, False),
        (0, True, False),
        (1, None, True),
        (1, False, True),
    ],
)
def test_whether_there_is_a_body(length: int | None, terminated: Any, expected: bool) -> None:
    """Without looking at `wsgi.input`, which may be missing."""
    environ = {} if terminated is None else {"wsgi.input_terminated": terminated}
    assert InputReader(environ, length, None).has_body is expected


@pytest.mark.req("A-07")
@pytest.mark.parametrize(
    ("length", "asked"),
    [(1, [1]), (PIECE, [PIECE]), (PIECE + 1, [PIECE, 1]), (2 * PIECE + 5, [PIECE, PIECE, 5])],
)
def test_pieces_are_of_a_bounded_size_and_never_beyond_the_length(length: int, asked: list[int]) -> None:
    source = ClosingInput(b"x" * (length + 100))
    found = pieces(InputReader({"wsgi.input": source}, length, None))
    assert [len(piece) for piece in found] == asked
    assert source.asked == asked


@pytest.mark.req("A-07")
def test_short_reads_are_passed_on_as_they_come() -> None:
    assert pieces(reader(b"ab", b"c", b"de", length=5)) == [b"ab", b"c", b"de"]


@pytest.mark.req("A-08")
def test_without_a_length_the_end_is_an_empty_piece() -> None:
    assert pieces(reader(b"ab", b"c", length=None)) == [b"ab", b"c", b""]
    assert pieces(reader(length=None)) == [b""]


@pytest.mark.req("A-10")
@pytest.mark.parametrize("error", [OSError("x"), ValueError("x"), EOFError(), Boom()], ids=repr)
@pytest.mark.parametrize("length", [5, None])
def test_an_error_of_the_input_is_a_departure(error: Exception, length: int | None) -> None:
    source = reader(b"ab", error, length=length)
    assert source.read() == (b"ab", False)
    for _ in range(2):
        with pytest.raises(ClientDisconnected) as caught:
            source.read()
        assert caught.value.__cause__ is error


@pytest.mark.req("A-10")
def test_an_end_before_the_length_is_a_departure() -> None:
    source = reader(b"ab", length=5)
    assert source.read() == (b"ab", False)
    with pytest.raises(ClientDisconnected, match="2 of 5"):
        source.read()


@pytest.mark.parametrize("error", [BaseBoom(), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_what_ends_a_thread_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        reader(error, length=5).read()
    assert caught.value is error


def test_a_missing_input_is_a_departure() -> None:
    with pytest.raises(ClientDisconnected):
        InputReader({}, 5, None).read()


@pytest.mark.parametrize(
    ("length", "limit", "allowed"), [(None, 5, True), (None, 4, False), (None, 0, False), (None, None, True)]
)
def test_the_limit_counts_what_was_read(length: int | None, limit: int | None, allowed: bool) -> None:
    source = reader(b"ab", b"cde", length=length, limit=limit)
    if allowed:
        assert pieces(source) == [b"ab", b"cde", b""]
    else:
        with pytest.raises(BodyTooLarge):
            pieces(source)


class Odd:
    """An input that returns one thing."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def read(self, size: int) -> Any:
        return self.result


@pytest.mark.parametrize("result", [bytearray(b"ab"), memoryview(b"ab")])
def test_what_holds_bytes_becomes_bytes(result: Any) -> None:
    data, last = InputReader({"wsgi.input": Odd(result)}, 2, None).read()
    assert (type(data), data, last) == (bytes, b"ab", True)


@pytest.mark.parametrize("result", ["ab", None, 2, [97, 98]], ids=repr)
def test_what_holds_none_is_the_servers_mistake(result: Any) -> None:
    """`bytes()` would make a body of a number or a list."""
    with pytest.raises(ServerError, match=type(result).__name__):
        InputReader({"wsgi.input": Odd(result)}, 2, None).read()
