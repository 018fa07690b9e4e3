"""Content codings of bodies."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.testing.recording import codings
from bridge.testing.recording.codings import CannotDecode, codings_of, decode, encode


@settings(max_examples=50)
@given(st.binary(max_size=200), st.lists(st.sampled_from(["gzip", "x-gzip", "deflate"]), max_size=3))
def test_what_was_encoded_is_decoded(data: bytes, coded: list[str]) -> None:
    assert decode(encode(data, tuple(coded)), tuple(coded)) == (data, True)


def test_headers_name_the_codings_in_order() -> None:
    headers = [("Content-Encoding", "deflate, identity"), ("x", "y"), ("content-ENCODING", "GZIP")]
    assert codings_of(headers) == ("deflate", "gzip")


def test_deflate_without_its_header() -> None:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert decode(compressor.compress(b"hello") + compressor.flush(), ("deflate",)) == (b"hello", True)


def test_several_members() -> None:
    assert decode(gzip.compress(b"one ") + gzip.compress(b"two"), ("gzip",)) == (b"one two", True)


def test_what_breaks_off_is_decoded_as_far_as_it_goes() -> None:
    data = gzip.compress(b"hello " * 1000)
    decoded, whole = decode(data[:-9], ("gzip",))
    assert not whole
    assert decoded
    assert (b"hello " * 1000).startswith(decoded)


def test_a_bomb_is_decoded_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codings, "MAX_DECODED", 1000)
    decoded, whole = decode(gzip.compress(b"\0" * 1_000_000), ("gzip",))
    assert (len(decoded), whole) == (1000, False)


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (b"x", "br"),
        (b"no gzip", "gzip"),
        (b"no zlib", "deflate"),
        (gzip.compress(b"x", mtime=0) + b"more", "gzip"),
    ],
)
def test_what_cannot_be_decoded(data: bytes, coding: str) -> None:
    with pytest.raises(CannotDecode):
        decode(data, (coding,))


def test_equal_bodies_give_equal_bytes() -> None:
    """Nothing of the time goes into gzip."""
    assert encode(b"hello", ("gzip",))[4:8] == b"\0\0\0\0"
