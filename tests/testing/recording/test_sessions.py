"""Browsers told apart by their cookies."""

from __future__ import annotations

from bridge.testing.exchange import Request, Response
from bridge.testing.recording.recordings import Recorded
from bridge.testing.recording.sessions import sessions_of


def item(brought: str = "", *given: str) -> Recorded:
    return Recorded(
        Request("GET", "/", (("Cookie", brought),) if brought else ()),
        Response(200, headers=tuple(("set-cookie", each) for each in given)),
    )


def test_a_cookie_that_was_set_tells_who_comes_back() -> None:
    items = [item("", "s=1; Path=/"), item("", "s=2; Path=/"), item("s=2"), item("s=1"), item('s="2"; x=y')]
    assert sessions_of(items) == [0, 1, 1, 0, 1]


def test_a_session_goes_on_with_new_cookies() -> None:
    items = [item("", "s=1"), item("s=1", "s=2", "t=3"), item("s=2"), item("t=3")]
    assert sessions_of(items) == [0, 0, 0, 0]


def test_cookies_from_before_the_recording() -> None:
    assert sessions_of([item("s=1"), item("s=2"), item("s=1"), item()]) == [0, 1, 0, 2]


def test_without_any_cookie_all_are_one() -> None:
    assert sessions_of([item("", "s=1"), item("", "s=2"), item()]) == [0, 0, 0]


def test_equal_values_of_other_names_are_other_cookies() -> None:
    assert sessions_of([item("a=1"), item("b=1")]) == [0, 1]
