"""Results as values."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from bridge.exceptions import BehaviourDiffers
from bridge.testing.comparison.result import ABSENT, Comparison, Difference, Result
from bridge.testing.exchange import Request, Response

OK = Response(200, "OK", elapsed=0.5)
ALIKE = Result(Request("GET", "/a"), OK, OK)
STATUS = Difference("status", "status", 200, 404)
APART = Result(Request("GET", "/b", name="b"), OK, Response(404), (STATUS,))


def test_a_comparison_is_true_if_all_is_alike() -> None:
    same, not_same = Comparison((ALIKE,)), Comparison((ALIKE, APART))
    assert (same.same, bool(same), len(same), list(same)) == (True, True, 1, [ALIKE])
    assert (not_same.same, bool(not_same)) == (False, False)
    assert (not_same.different, not_same.differences) == ([APART], [STATUS])


def test_asserting_says_what_differs() -> None:
    Comparison((ALIKE,)).assert_same()
    with pytest.raises(BehaviourDiffers) as caught:
        Comparison((ALIKE, APART)).assert_same()
    assert str(caught.value) == Comparison((ALIKE, APART)).text(color=False)
    assert isinstance(caught.value, AssertionError)


def test_what_is_absent_is_one_thing() -> None:
    assert not ABSENT
    assert repr(ABSENT) == "(absent)"
    assert copy.deepcopy(ABSENT) is ABSENT
    assert pickle.loads(pickle.dumps(STATUS)) == STATUS
    assert pickle.loads(pickle.dumps(Difference("a", "b"))).old is ABSENT


def test_a_difference_of_a_part_says_so() -> None:
    assert STATUS.within("redirect 1").where == "redirect 1: status"
    assert Difference("part", "").within("part 1").where == "part 1"


def test_a_difference_is_a_line() -> None:
    assert str(STATUS) == "status: 200 → 404"


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (float("nan"), "nan"),
        (b"a\xff", "a\\xff"),
        ({"a": [1]}, {"a": [1]}),
        ([float("inf")], "[inf]"),
        ({1}, "{1}"),
        (Odd(), "<odd>"),
        ("x" * 3000, "x" * 2000 + "… (3000 characters)"),
        (["x" * 3000], '["' + "x" * 1998 + "… (3004 characters)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_value_has_a_form_in_json(value: Any, expected: Any) -> None:
    found = Difference("a", "b", value).to_json()
    assert found == {"kind": "a", "where": "b", "old": expected}
    json.dumps(found, allow_nan=False)


def test_a_comparison_in_json() -> None:
    found = json.loads(json.dumps(Comparison((ALIKE, APART), "flask", "fastapi", "stopped").to_json()))
    assert found["results"].pop(0)["same"] is True
    assert found == {
        "old": "flask",
        "new": "fastapi",
        "same": False,
        "requests": 2,
        "different": 1,
        "stopped": "stopped",
        "results": [
            {
                "request": {"name": "b", "method": "GET", "target": "/b"},
                "same": False,
                "old": {"status": 200, "seconds": 0.5},
                "new": {"status": 404, "seconds": 0.0},
                "differences": [{"kind": "status", "where": "status", "old": 200, "new": 404}],
            }
        ],
    }


def test_the_report_is_written_whatever_it_holds(tmp_path: Path) -> None:
    """Half of a surrogate pair has no place in UTF-8, but it may stand in JSON."""
    odd = Result(Request(), OK, OK, (Difference("json/value", "$", "\ud800", "\0"),))
    path = tmp_path / "report.html"
    Comparison((odd,)).write_html(path, "Odd & even")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "Odd &amp; even" in path.read_text(encoding="utf-8")


def test_it_is_shown_as_text() -> None:
    assert str(Comparison(())) == "old and new: no request was compared"
    assert repr(Comparison((ALIKE,))) == "<Comparison of old and new: 1 request, all alike>"
