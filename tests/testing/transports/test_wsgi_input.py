"""`wsgi.input` over an iterator: the same answers as a file's, and no more read than was asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import ClientDisconnected
from bridge.testing.transports.wsgi_input import LazyInput

READS: list[tuple[str, Callable[[Any], Any]]] = [
    ("read()", lambda body: body.read()),
    ("read(None)", lambda body: body.read(None)),
    ("read(2)", lambda body: body.read(2)),
    ("read(0)", lambda body: body.read(0)),
    ("readline()", lambda body: body.readline()),
    ("readline(3)", lambda body: body.readline(3)),
    ("readline(0)", lambda body: body.readline(0)),
    ("readlines()", lambda body: body.readlines()),
    ("readlines(3)", lambda body: body.readlines(3)),
    ("next()", lambda body: next(iter(body), None)),
]


@given(
    pieces=st.lists(st.text("ab\n", max_size=5).map(str.encode), max_size=6),
    reads=st.lists(st.sampled_from(READS), max_size=8),
)
def test_it_reads_as_a_file_does(pieces: list[bytes], reads: list[tuple[str, Callable[[Any], Any]]]) -> None:
    lazy = LazyInput(iter(pieces), None)
    file = io.BytesIO(b"".join(pieces))
    for name, read in [*reads, READS[0]]:
        assert read(lazy) == read(file), name


def test_no_more_is_read_than_was_asked_for() -> None:
    taken: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"ab", b"c\nd", b"ef"):
            taken.append(piece)
            yield piece

    lazy = LazyInput(pieces(), None)
    assert taken == []
    assert lazy.read(1) == b"a"
    assert taken == [b"ab"]
    assert lazy.readline() == b"bc\n"
    assert taken == [b"ab", b"c\nd"]


@pytest.mark.parametrize(("length", "words"), [(2, "longer"), (5, "2 bytes shorter")])
def test_a_body_that_is_not_as_long_as_it_should_is_cut_off(length: int, words: str) -> None:
    lazy = LazyInput(iter([b"abc"]), length)
    with pytest.raises(ClientDisconnected):
        lazy.read()
    assert isinstance(lazy.error, httpx2.LocalProtocolError)
    assert words in str(lazy.error)


def test_what_the_iterator_raises_is_kept_and_no_read_succeeds_afterwards() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyError("the file is gone")

    lazy = LazyInput(pieces(), None)
    assert lazy.read(4) == b"half"
    for _ in range(2):
        with pytest.raises(OSError, match="left before the end"):
            lazy.read(1)
    assert isinstance(lazy.error, KeyError)
