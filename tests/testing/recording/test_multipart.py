"""Multipart bodies taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.recording.multipart import (
    Part,
    boundary_of,
    guessed_boundary,
    join,
    parameters,
    split,
)

BODY = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
    b'--x\r\ncontent-DISPOSITION: form-data;\r\n name=b; filename="f; name=c"\r\n'
    b"Content-Type: text/css\r\n\r\n"
    b"two\r\nlines\r\n--x--\r\n"
)


def parts(body: bytes) -> list[Part]:
    pieces = split(body, b"x")
    assert pieces is not None
    return [piece for piece in pieces if isinstance(piece, Part)]


def test_parts_with_their_names_and_contents() -> None:
    first, second = parts(BODY)
    assert (first.names, first.content) == (["a"], b"one")
    assert (second.names, second.content, second.header("content-type")) == (
        ["b"],
        b"two\r\nlines",
        "text/css",
    )


@pytest.mark.parametrize("end", range(len(BODY)))
def test_a_body_cut_anywhere_comes_out_as_it_went_in(end: int) -> None:
    pieces = split(BODY[:end], b"x")
    assert pieces is None or join(pieces) == BODY[:end]


@given(st.binary(max_size=40).map(lambda data: data.replace(b"q", b"\r\n--x\r\n").replace(b"z", b"\r\n\r\n")))
def test_nothing_is_lost(data: bytes) -> None:
    pieces = split(data, b"x")
    assert pieces is None or join(pieces) == data


def test_a_part_that_was_cut_off_is_a_part() -> None:
    (part,) = parts(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\non')
    assert (part.names, part.content) == (["a"], b"on")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ('form-data; name="password"', ["password"]),
        ("form-data; name=password", ["password"]),
        ("form-data; NAME=password", ["password"]),
        ("form-data; name*=utf-8''%70assword", ["password"]),
        ('form-data; name="pass\\word"', ["password"]),
        ('form-data; name="password', ["password"]),
        ('form-data; name="a"; name="password"', ["a", "password"]),
        ('form-data; filename="x; name=y"; name = "password"', ["password"]),
    ],
)
def test_every_name_that_a_reader_could_take(value: str, names: list[str]) -> None:
    assert [text for name, text in parameters(value) if name == "name"] == names


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('Multipart/Mixed; charset=utf-8; Boundary="a b"', b"a b"),
        ("multipart/form-data", None),
        ("text/plain; boundary=x", None),
    ],
)
def test_the_boundary(kind: str, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


def test_a_boundary_can_be_guessed() -> None:
    assert guessed_boundary(BODY) == b"x"
    assert guessed_boundary(b"--a\nX: y\nContent-Disposition: form-data\n\n") == b"a"
    assert guessed_boundary(b"-- a comment\nhello") is None


def test_a_body_without_the_boundary_is_no_multipart_body() -> None:
    assert split(b"hello", b"x") is None
