"""The repr of generated values can be pasted, and is short."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bridge.testing.strategies.readable import Readable, expression


@dataclass(frozen=True, repr=False)
class Point(Readable):
    x: int
    y: int = 0
    label: bytes = b""


@pytest.mark.parametrize(
    ("point", "written"),
    [
        (Point(1), "Point(x=1)"),
        (Point(1, 0, b"a"), "Point(x=1, label=b'a')"),
        (Point(0, 2), "Point(x=0, y=2)"),
    ],
)
def test_only_what_is_not_default_is_written(point: Point, written: str) -> None:
    assert repr(point) == written
    assert eval(written) == point


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ((), "()"),
        ((b"x",), "(b'x',)"),
        ((1, ("a", None)), "(1, ('a', None))"),
        (b"x" * 5000, "b'x' * 5000"),
        ("/" * 3 + "a" * 300, repr("/" * 3 + "a" * 300)),
        ("a" * 300 + "/b", "'a' * 300 + '/b'"),
        (b"ab" * 40, repr(b"ab" * 40)),
        ([b"x"], "[b'x']"),
    ],
    ids=["none", "one", "nested", "run", "run-inside", "run-and-rest", "no-run", "list"],
)
def test_expressions_are_read_back(value: object, written: str) -> None:
    assert expression(value) == written
    assert eval(written) == value
