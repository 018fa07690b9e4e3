"""The answers that are expected, in both directions: an answer counts only if it is the right one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HeaderPairs = Sequence[tuple[bytes, bytes]]

HELLO = b"Hello, world!"


class WrongAnswer(Exception):
    """An answer that is not the one that the application gave."""


@dataclass(frozen=True)
class Expected:
    """The answer that the application gives, header names in lower case."""

    status: int
    headers: HeaderPairs
    body: bytes


HELLO_RAW = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
HELLO_ANSWER = Expected(200, HELLO_RAW, HELLO)


def check_headers(got: Any, expected: HeaderPairs) -> None:
    """Raise `WrongAnswer` unless `got` holds the expected pairs, in any order and any case of names.

    ASGI asks for names in lower case; some adapters do not convert them, and servers cope. That is no
    reason to take a measurement away from them.
    """
    pairs = sorted((bytes(name).lower(), bytes(value)) for name, value in got)
    if pairs != sorted(expected):
        raise WrongAnswer(f"headers {pairs}, expected {sorted(expected)}")
