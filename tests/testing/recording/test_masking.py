"""Recorded and live responses side by side."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from bridge.testing.exchange import Response
from bridge.testing.recording.masking import filled_in, live_side, recorded_side, text_matches
from bridge.testing.recording.recordings import BodyState, RecordedError

A = "[redacted:aaaaaaaaaaaaaaaa]"
B = "[redacted:bbbbbbbbbbbbbbbb]"


@pytest.mark.parametrize(
    ("old", "new", "learned"),
    [
        ("abc", "abc", {}),
        ("abc", "abd", None),
        (A, "x", {A: "x"}),
        (A, "", {}),
        (f"a{A}c", "abc", {A: "b"}),
        (f"a{A}c", "abd", None),
        (f"a{A}c", "bbc", None),
        (f"a{A}c", "abcc", {A: "bc"}),
        (f"{A}-{B}", "x-y-z", {A: "x", B: "y-z"}),
        (f"{A}-{B}-", "x-y", None),
        (f"{A}{B}", "xy", {B: "xy"}),
        (f"{A}!{A}", "x!y", {A: "y"}),
        (f'<a b="{A}">', '<a b="x">', {A: "x"}),
        (f'<a b="{A}">', '<a b="x" c="y">', None),
        (f"a={A}; Path=/", "a=1; Secure; Path=/", None),
    ],
)
def test_text_with_something_in_the_place_of_marks(
    old: str, new: str, learned: dict[str, str] | None
) -> None:
    found: dict[str, str] = {}
    assert text_matches(old, new, found) == (learned is not None)
    assert found == (learned or {})


@pytest.mark.parametrize(
    ("old", "new", "matches"),
    [
        ("ab", "abc", True),
        ("ab", "a", False),
        (f"a{A}", "axyz", True),
        (f"a{A}c", "axyzcde", True),
        ("", "x", True),
    ],
)
def test_the_beginning_of_a_text(old: str, new: str, matches: bool) -> None:
    assert text_matches(old, new, {}, beginning=True) == matches


def test_what_is_known_is_filled_in() -> None:
    assert filled_in(f"a{A}b", {A: "x"}) == ("axb", True)
    assert filled_in(f"a{A}{B}", {A: "x"}) == (f"ax{B}", False)


def both(
    old: bytes | str, new: bytes | str, state: BodyState = "whole", **headers: str
) -> tuple[Response, Response, dict[str, str]]:
    bodies = [each.encode() if isinstance(each, str) else each for each in (old, new)]
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    recorded, live = (
        Response(200, headers=(*pairs, ("Content-Length", str(number))), chunks=(body,))
        for number, body in enumerate(bodies)
    )
    learned: dict[str, str] = {}
    return recorded_side(recorded, state), live_side(recorded, live, state, learned), learned


def test_what_is_whole_and_not_redacted_stays_as_it_is() -> None:
    old, new, _ = both("one", "two")
    assert (old.body, new.body) == (b"one", b"two")
    assert old.header("content-length") == "0"
    assert new.header("content-length") == "1"


def test_a_redacted_value_of_json_is_compared_by_presence() -> None:
    old, new, learned = both(json.dumps({"token": A, "n": 1}), '{"n": 1,  "token": 7}')
    assert json.loads(new.body) == json.loads(old.body)
    assert learned == {A: "7"}
    for other in ('{"n": 1}', '{"n": 1, "token": null}', '{"n": 2, "token": "x"}', "{", '"x"'):
        old, new, _ = both(json.dumps({"token": A, "n": 1}), other)
        assert new.body != old.body, other


def test_lists_keep_their_length() -> None:
    _, new, _ = both(json.dumps([{"token": A}]), '[{"token": "x"}, {"token": "y"}]')
    assert json.loads(new.body) == [{"token": A}, {"token": "y"}]


def test_the_length_is_not_compared_where_the_body_is_not_what_was_sent() -> None:
    old, new, _ = both(json.dumps({"token": A}), '{"token": "longer"}')
    assert old.header("content-length") is new.header("content-length") is None


def test_headers_of_the_body_are_compared_by_presence() -> None:
    recorded = Response(200, headers=(("ETag", '"1"'), ("X", "1")), chunks=(A.encode(),))
    live = Response(200, headers=(("etag", '"2"'), ("x", "2")), chunks=(b"abc",))
    assert live_side(recorded, live, "whole", {}).headers == (("etag", '"1"'), ("x", "2"))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [("abc", "abcdef", True), ("abc", "abd", False), ("abc", "ab", False), ("", "x", True)],
)
def test_of_a_cut_body_the_beginning_is_compared(old: str, new: str, same: bool) -> None:
    recorded, live, _ = both(old, new, "cut")
    assert (recorded.body == live.body) == same


def test_of_a_dropped_body_nothing_is_compared() -> None:
    recorded, live, _ = both("", "anything", "dropped")
    assert recorded.body == live.body == b""


def test_compressed_bodies_are_compared_decoded() -> None:
    old = gzip.compress(json.dumps({"token": A}).encode())
    new = gzip.compress(b'{"token": "x"}', 1)
    recorded, live, learned = both(old, new, content_encoding="gzip")
    assert gzip.decompress(live.body) == gzip.decompress(recorded.body)
    assert learned == {A: "x"}
    recorded, live, _ = both(
        gzip.compress(b"abc" * 1000)[:-10], gzip.compress(b"abc" * 2000), "cut", content_encoding="gzip"
    )
    assert b"abc" in gzip.decompress(live.body)


def test_cookies_are_paired_by_their_names() -> None:
    """Their attributes are left to the comparison."""
    recorded = Response(200, headers=(("Set-Cookie", f"a={A}; Path=/"), ("Set-Cookie", f"b={B}; Path=/")))
    live = Response(
        200, headers=(("set-cookie", "b=2; Path=/"), ("set-cookie", "a=1; Path=/x"), ("set-cookie", "c=3"))
    )
    learned: dict[str, str] = {}
    assert live_side(recorded, live, "whole", learned).all("set-cookie") == [
        f"b={B}; Path=/",
        f"a={A}; Path=/x",
        "c=3",
    ]
    assert learned == {A: "1", B: "2"}


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (RecordedError("ValueError", f"no {A}"), ValueError("no x"), True),
        (RecordedError("ValueError", "no"), ValueError("yes"), False),
        (RecordedError("ValueError", "no"), KeyError("no"), False),
        (RecordedError("IncompleteResponse", "…"), RuntimeError("cut"), True),
        (RecordedError("ValueError", "no"), None, False),
        (None, ValueError("no"), False),
    ],
)
def test_errors_are_compared_by_kind_and_message(old: Any, new: Any, same: bool) -> None:
    live = live_side(Response(0, error=old), Response(0, error=new), "whole", {})
    assert (live.error is old) == same


def test_redirects_on_the_way() -> None:
    old = Response(200, history=(Response(302, headers=(("Location", f"/?token={A}"),)),))
    new = Response(200, history=(Response(302, headers=(("location", "/?token=x"),)), Response(302)))
    live = live_side(old, new, "whole", {})
    assert live.history[0].header("location") == f"/?token={A}"
    assert len(live.history) == 2
