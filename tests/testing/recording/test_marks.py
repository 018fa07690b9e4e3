"""Marks: what they tell, and what they do not."""

from __future__ import annotations

from bridge.testing.recording.marks import MARK, MARKS_ONLY, Marker


def test_equal_secrets_have_equal_marks_and_others_have_others() -> None:
    marker = Marker()
    assert marker.mark("one") == marker.mark("one") != marker.mark("two")
    assert MARK.fullmatch(marker.mark("one"))


def test_a_mark_is_not_marked_again() -> None:
    marker = Marker()
    mark = marker.mark("one")
    assert marker.mark(mark) == mark
    assert marker.mark(mark + mark) == mark + mark
    assert MARKS_ONLY.fullmatch(mark + mark)
    assert marker.mark(mark + "x") != mark + "x"


def test_the_key_decides() -> None:
    """Random by default, so that nobody can try out likely secrets; the same where it is given."""
    assert Marker().mark("one") != Marker().mark("one")
    assert Marker(b"k" * 16).mark("one") == Marker(b"k" * 16).mark("one")


def test_half_of_a_surrogate_pair_can_be_marked() -> None:
    assert MARK.fullmatch(Marker().mark("\ud800\udc80"))
